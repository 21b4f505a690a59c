//! What needs two values to be judged: networks over several hosts, their peers and the known
//! hosts behind them.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use toml::Spanned;

use super::check::{check_host, check_mac, own_addresses};
use super::check_ports::Taken;
use super::names::{check_host_name, check_interface, check_netns};
use super::problem::Problems;
use super::read::Draft;
use super::vxlan::{Endpoint, NetworkVxlan, Peer, PeerSource, UnderlayKind};
use super::{Config, Network, UPLINK_NAME, VTEP_NAME};
use crate::control::rejection::RejectionKind;

/// Peers that a network may have, learned ones included: a frame to many is copied for each.
pub const MAX_PEERS: usize = 1024;
/// Known hosts behind peers that a network may have.
const MAX_ENDPOINTS: usize = 16_384;

/// Checks everything but the endpoints.
pub(super) fn check(problems: &mut Problems<'_>, draft: &Draft) {
    check_vtep(problems, draft);
    check_uplink(problems, draft);
    let mut vnis: HashMap<u32, usize> = HashMap::new();
    let ports: HashSet<&str> =
        draft.config.ports.iter().map(|port| port.name.get_ref().as_str()).collect();
    for network in &draft.config.networks {
        let Some(vxlan) = &network.vxlan else { continue };
        let (vni, span) = (vxlan.vni.get_ref().get(), vxlan.vni.span());
        if let Some(line) = vnis.insert(vni, problems.line(&span)) {
            let key = format!("network.{}.vxlan", network.name.get_ref());
            let what = format!("{vni} is the number of another network (line {line})");
            let remedy = "give each network a number of its own";
            problems.error(span, key, what, remedy).is(RejectionKind::Conflict);
        }
        check_group(problems, draft, network, vxlan);
        check_peers(problems, draft, network, vxlan);
        check_names(problems, &ports, network, vxlan);
        check_choice(problems, draft, network);
    }
}

/// Every host chooses addresses for its own hosts, so each needs a part of the subnet for itself.
fn check_choice(problems: &mut Problems<'_>, draft: &Draft, network: &Network) {
    if network.router.is_none() {
        return;
    }
    let name = network.name.get_ref();
    let what = "addresses are chosen from the whole subnet, and so may be by the other hosts";
    if let Some(dhcp) = network.dhcp.as_ref().filter(|dhcp| dhcp.range.is_none()) {
        let remedy = "give each host a range of its own: `dhcp = { range = ... }`";
        problems.warning(dhcp.span.clone(), format!("network.{name}.dhcp"), what, remedy);
    }
    let mut ports = draft.config.ports.iter().filter(|port| port.network.get_ref() == name);
    if network.range.is_none() && ports.any(|port| port.wish.is_some()) {
        let remedy = "give each host a `range` of its own";
        problems.warning(network.name.span(), format!("network.{name}"), what, remedy);
    }
}

fn check_vtep(problems: &mut Problems<'_>, draft: &Draft) {
    let vtep = &draft.config.vtep;
    if let Some(netns) = &vtep.netns
        && let Err(remedy) = check_netns(netns.get_ref())
    {
        let what = format!("\"{}\" cannot be a namespace's name", netns.get_ref());
        problems.error(netns.span(), "vxlan.netns", what, remedy);
    }
    if let Some(device) = &vtep.device
        && let Err(remedy) = check_interface(device.get_ref())
    {
        let what = format!("\"{}\" cannot be an interface's name", device.get_ref());
        problems.error(device.span(), "vxlan.device", what, remedy);
    }
    if let Some(address) = vtep.address.as_ref().filter(|at| !is_unicast(*at.get_ref())) {
        let what = format!("{} is no address of one host", address.get_ref());
        let remedy = "use an address of this host, or leave it out";
        problems.error(address.span(), "vxlan.address", what, remedy);
    }
    let mut seen = HashSet::new();
    for peer in &vtep.peers {
        check_peer(problems, draft, ("vxlan.peers", peer), &mut seen);
    }
}

/// The uplink can be the underlay if tapway has an address of its own there.
fn check_uplink(problems: &mut Problems<'_>, draft: &Draft) {
    let UnderlayKind::Uplink(span) = &draft.config.vtep.underlay else { return };
    let what = match &draft.config.uplink {
        Some(uplink) if uplink.is_shared() => "the uplink's address is this host's as well",
        None if !draft.is_uplink_broken => "there is no [uplink]",
        _ => return,
    };
    let remedy = "use \"socket\"";
    problems.error(span.clone(), "vxlan.underlay", what, remedy);
}

fn check_group(
    problems: &mut Problems<'_>,
    draft: &Draft,
    network: &Network,
    vxlan: &NetworkVxlan,
) {
    let Some(group) = &vxlan.group else { return };
    let key = format!("network.{}.vxlan.group", network.name.get_ref());
    if !group.get_ref().is_multicast() {
        let what = format!("{} is no multicast address", group.get_ref());
        problems.error(group.span(), &key, what, "use one of 224.0.0.0/4 such as 239.1.1.1");
    }
    if draft.config.vtep.is_uplink() {
        let what = "groups are heard by the kernel's sockets only";
        let remedy = "name `peers`, or use `underlay = \"socket\"` in [vxlan]";
        problems.error(group.span(), &key, what, remedy);
    }
}

fn check_peers(
    problems: &mut Problems<'_>,
    draft: &Draft,
    network: &Network,
    vxlan: &NetworkVxlan,
) {
    let key = format!("network.{}.vxlan.peers", network.name.get_ref());
    // Those of all networks have been looked at, and nobody is to blame for what is learned.
    let (own, others): (Vec<&Peer>, Vec<&Peer>) =
        vxlan.peers.iter().partition(|peer| peer.source == PeerSource::Own);
    let common = others.iter().filter(|peer| peer.source == PeerSource::Common);
    let mut seen: HashSet<Ipv4Addr> = common.map(|peer| *peer.address.get_ref()).collect();
    for peer in own {
        check_peer(problems, draft, (&key, &peer.address), &mut seen);
    }
    if let Some(beyond) = vxlan.peers.get(MAX_PEERS) {
        let span = match beyond.source {
            PeerSource::Own => beyond.address.span(),
            PeerSource::Common | PeerSource::Learned => network.name.span(),
        };
        problems.error(span, key, format!("more than {MAX_PEERS} peers"), "remove some");
    }
}

fn check_peer(
    problems: &mut Problems<'_>,
    draft: &Draft,
    (key, peer): (&str, &Spanned<Ipv4Addr>),
    seen: &mut HashSet<Ipv4Addr>,
) {
    let (at, span) = (*peer.get_ref(), peer.span());
    let (what, remedy) = if !is_unicast(at) {
        (format!("{at} is no address of one host"), "name each endpoint by its own address")
    } else if is_own(&draft.config, at) {
        (format!("{at} is tapway's own address"), "name the other endpoints only")
    } else if draft.config.vtep.is_uplink() && is_inside(draft, at) {
        (format!("{at} is on a network of tapway"), "use an address beyond the uplink")
    } else if !seen.insert(at) {
        let problem = problems.error(span, key, format!("{at} is named twice"), "keep one of them");
        problem.is(RejectionKind::Conflict);
        return;
    } else {
        return;
    };
    problems.error(span, key, what, remedy);
}

/// True if frames from there can be those of another tunnel endpoint: not of tapway itself.
pub fn may_be_peer(config: &Config, address: Ipv4Addr) -> bool {
    is_unicast(address) && !is_own(config, address)
}

const fn is_unicast(address: Ipv4Addr) -> bool {
    !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
}

fn is_own(config: &Config, address: Ipv4Addr) -> bool {
    let vtep = &config.vtep;
    let is_vtep = vtep.address.as_ref().is_some_and(|own| *own.get_ref() == address);
    is_vtep || vtep.is_uplink() && own_addresses(config).contains(&address)
}

fn is_inside(draft: &Draft, address: Ipv4Addr) -> bool {
    let routers = draft.config.networks.iter().filter_map(|network| network.router.as_ref());
    routers.map(|router| router.subnet.get_ref()).any(|subnet| subnet.contains(&address))
}

/// Tunnels are ports, called by network and peer: as a host's further ports may be.
fn check_names(
    problems: &mut Problems<'_>,
    ports: &HashSet<&str>,
    network: &Network,
    vxlan: &NetworkVxlan,
) {
    let name = network.name.get_ref();
    let group = vxlan.group.iter();
    for address in vxlan.peers.iter().map(|peer| &peer.address).chain(group) {
        let tunnel = tunnel_name(name, *address.get_ref());
        if ports.contains(tunnel.as_str()) {
            let what = format!("a port is called {tunnel} as the tunnel to this peer");
            let remedy = format!("give network {} another name", address.get_ref());
            let key = format!("network.{name}.vxlan.peers");
            problems.error(address.span(), key, what, remedy).is(RejectionKind::Conflict);
        }
    }
}

/// What the port of a tunnel is called.
pub fn tunnel_name(network: &str, peer: Ipv4Addr) -> String {
    format!("{network}@{peer}")
}

/// Checks the known hosts behind peers against all others of their networks.
pub(super) fn check_endpoints<'d>(
    problems: &mut Problems<'_>,
    draft: &'d Draft,
    taken: &mut Taken<'d>,
) {
    for network in &draft.config.networks {
        let Some(vxlan) = &network.vxlan else { continue };
        if let Some(beyond) = vxlan.endpoints.get(MAX_ENDPOINTS) {
            let what = format!("more than {MAX_ENDPOINTS} of one network");
            problems.error(beyond.address.span(), "endpoint", what, "remove some");
        }
        let peers: HashSet<Ipv4Addr> =
            vxlan.peers.iter().map(|peer| *peer.address.get_ref()).collect();
        for endpoint in &vxlan.endpoints {
            check_endpoint(problems, network, endpoint, taken);
            let peer = &endpoint.peer;
            if !peers.contains(peer.get_ref()) {
                let name = network.name.get_ref();
                let what = format!("{} is no peer of network {name}", peer.get_ref());
                let remedy = "add it to the network's `peers`";
                let problem = problems.error(peer.span(), "endpoint.peer", what, remedy);
                problem.is(RejectionKind::NotFound);
            }
        }
    }
}

fn check_endpoint<'d>(
    problems: &mut Problems<'_>,
    network: &'d Network,
    endpoint: &Endpoint,
    taken: &mut Taken<'d>,
) {
    let (name, address) = (network.name.get_ref().as_str(), &endpoint.address);
    if let Some(own) = &endpoint.name
        && let Err(remedy) = check_host_name(own.get_ref())
    {
        let what = format!("\"{}\" is no name for a host", own.get_ref());
        problems.error(own.span(), "endpoint.name", what, remedy);
    }
    let key = "endpoint.address".to_owned();
    match &network.router {
        Some(router) if !check_host(problems, key.clone(), address, *router.subnet.get_ref()) => {
            return;
        }
        _ => {}
    }
    let by = format!("endpoint {}", address.get_ref());
    let remedy = "give each host an address of its own";
    if let Some(other) = taken.addresses.insert((name, *address.get_ref()), by.clone()) {
        let other = if other == by { "another endpoint" } else { &other };
        let what = format!("{} is that of {other}", address.get_ref());
        problems.error(address.span(), key, what, remedy).is(RejectionKind::Conflict);
        // As are derived MACs then.
        return;
    }
    let span = endpoint.mac.as_ref().map_or(address.span(), Spanned::span);
    let mac = Spanned::new(span, endpoint.mac());
    check_mac(problems, "endpoint.mac".to_owned(), &mac);
    if let Some(other) = taken.macs.insert((name, *mac.get_ref()), by) {
        let what = format!("{} is that of {other}", mac.get_ref());
        let remedy = "give each station of a network its own MAC";
        let problem = problems.error(mac.span(), "endpoint.mac", what, remedy);
        problem.is(RejectionKind::Conflict);
    }
}

/// Why a port cannot have a name: it is one of tapway's own.
pub(super) fn reserved(name: &str) -> Option<&'static str> {
    match name {
        UPLINK_NAME => Some("this name is the uplink's own"),
        VTEP_NAME => Some("this name is that of the port to other tunnel endpoints"),
        _ => None,
    }
}
