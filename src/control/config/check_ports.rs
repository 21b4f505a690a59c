//! What needs two values to be judged: ports against networks and each other.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::check::{check_host, check_mac, own_addresses};
use super::check_vxlan;
use super::names::{check_interface, check_name, check_netns};
use super::problem::Problems;
use super::publishes::{self, Misplaced};
use super::read::Draft;
use super::{Network, Port, PortKind, UPLINK_NAME, Uplink, UplinkKind};
use crate::control::publish_syntax::PublishSyntax;
use crate::control::rejection::RejectionKind;
use crate::packet::MacAddr;

/// Ports that a configuration may have, the uplink's besides (see [`crate::id::PortId`]).
const MAX_PORTS: usize = 65_533;

/// Where an interface is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Home<'d> {
    Here,
    Netns(&'d str),
    Process(u32),
}

/// Addresses and MACs in use, by network, with who has them.
#[derive(Default)]
pub(super) struct Taken<'d> {
    pub addresses: HashMap<(&'d str, Ipv4Addr), String>,
    pub macs: HashMap<(&'d str, MacAddr), String>,
    interfaces: HashMap<(Home<'d>, &'d str), String>,
    /// The networks by name.
    networks: HashMap<&'d str, &'d Network>,
}

pub(super) fn check(problems: &mut Problems<'_>, draft: &Draft) {
    let mut taken = Taken::default();
    enter_own(problems, draft, &mut taken);
    let own: usize = draft.config.networks.iter().map(own_ports).sum();
    for (index, port) in draft.config.ports.iter().enumerate() {
        if index + own == MAX_PORTS {
            let what = format!("more than {MAX_PORTS} ports");
            problems.error(port.name.span(), "port", what, "remove some");
        }
        check_port(problems, draft, port, &mut taken);
    }
    if own > MAX_PORTS {
        let what = format!("more than {MAX_PORTS} tunnels to peers");
        problems.error(0..0, "network", what, "remove some peers");
    }
    check_vxlan::check_endpoints(problems, draft, &mut taken);
    check_places(problems, draft);
}

/// Ports that a network has besides those of its hosts: this host's, and tunnels.
fn own_ports(network: &Network) -> usize {
    let tunnels = network.vxlan.as_ref().map_or(0, |vxlan| vxlan.peers.len() + 1);
    tunnels + usize::from(network.host.is_some())
}

/// What tapway and the uplink use themselves.
fn enter_own<'d>(problems: &mut Problems<'_>, draft: &'d Draft, taken: &mut Taken<'d>) {
    for network in &draft.config.networks {
        let name = network.name.get_ref().as_str();
        taken.networks.insert(name, network);
        let Some(router) = &network.router else { continue };
        let gateway = *router.gateway.get_ref();
        let mac = router.mac.as_ref().map_or(MacAddr::from_ipv4(gateway), |mac| *mac.get_ref());
        taken.addresses.insert((name, gateway), "the gateway".to_owned());
        taken.macs.insert((name, mac), "the gateway".to_owned());
        enter_host(problems, network, taken);
    }
    let Some(uplink) = &draft.config.uplink else { return };
    if let Some(own) = uplink.own_address().map(|own| own.addr()) {
        let mac = uplink.mac.as_ref().map_or(MacAddr::from_ipv4(own), |mac| *mac.get_ref());
        taken.macs.insert((UPLINK_NAME, mac), "tapway itself".to_owned());
        taken.addresses.insert((UPLINK_NAME, own), "tapway itself".to_owned());
    }
    for address in &uplink.nat_addresses {
        taken.addresses.insert((UPLINK_NAME, *address.get_ref()), "a NAT address".to_owned());
    }
    for entry in &uplink.static_nat {
        let external = *entry.external.get_ref();
        taken.addresses.insert((UPLINK_NAME, external), "a static NAT address".to_owned());
    }
    if let Some(gateway) = &uplink.gateway {
        let by = "the uplink's gateway".to_owned();
        taken.addresses.insert((UPLINK_NAME, *gateway.get_ref()), by);
    }
    let (UplinkKind::Tap { interface, .. }
    | UplinkKind::Device { device: interface, .. }
    | UplinkKind::Shared { device: interface, .. }) = &uplink.kind;
    let key = match uplink.kind {
        UplinkKind::Tap { .. } => "uplink.interface",
        UplinkKind::Device { .. } | UplinkKind::Shared { .. } => "uplink.device",
    };
    check_place(problems, (key, "uplink.netns"), (uplink.netns.as_ref(), interface));
    let home = uplink.netns.as_ref().map_or(Home::Here, |netns| Home::Netns(netns.get_ref()));
    if let Some(other) =
        taken.interfaces.insert((home, interface.get_ref()), "the uplink".to_owned())
    {
        let what = format!("{} is that of {other}", interface.get_ref());
        problems.error(interface.span(), key, what, "give one of them another name");
    }
}

/// This host's own place in a network.
fn enter_host<'d>(problems: &mut Problems<'_>, network: &'d Network, taken: &mut Taken<'d>) {
    let (Some(place), Some(address)) = (&network.host, network.host_address()) else { return };
    let name = network.name.get_ref().as_str();
    let by = "this host (`host`)".to_owned();
    if let Some(other) = taken.addresses.insert((name, address), by.clone()) {
        let span = place.address.as_ref().map_or(network.name.span(), Spanned::span);
        let what = format!("{address} is that of {other}");
        let remedy = "give this host another one: `host = \"172.17.0.254\"`";
        let problem = problems.error(span, format!("network.{name}.host"), what, remedy);
        problem.is(RejectionKind::Conflict);
    }
    taken.macs.insert((name, MacAddr::from_ipv4(address)), by);
    let interface = (Home::Here, place.interface.get_ref().as_str());
    let by = format!("this host in network {name}");
    if let Some(other) = taken.interfaces.insert(interface, by) {
        let what = format!("{} is that of {other}", place.interface.get_ref());
        let key = format!("network.{name}.host_interface");
        let remedy = "set `host_interface` to another name";
        let problem = problems.error(place.interface.span(), key, what, remedy);
        problem.is(RejectionKind::Conflict);
    }
}

fn check_port<'d>(
    problems: &mut Problems<'_>,
    draft: &'d Draft,
    port: &'d Port,
    taken: &mut Taken<'d>,
) {
    let name = port.name.get_ref();
    // A further port of a host has its name from tapway.
    if let (Err(remedy), true) = (check_name(name), *name == port.host) {
        problems.error(port.name.span(), format!("port.{name}"), "not a name for a port", remedy);
    }
    if let Some(what) = check_vxlan::reserved(name) {
        problems.error(port.name.span(), format!("port.{name}"), what, "choose another name");
    }
    if let PortKind::Tap { netns, process, interface, .. } = &port.kind {
        check_tap(problems, port, (netns.as_ref(), *process, interface), taken);
    }
    let network = taken.networks.get(port.network.get_ref().as_str()).copied();
    if check_network_of(problems, draft, port, network) {
        let uplink = draft.config.uplink.as_ref().filter(|_| is_uplink(draft, port));
        let subnet = match (uplink, network.and_then(|network| network.router.as_ref())) {
            (Some(uplink), _) => uplink.own_address(),
            (None, router) => router.map(|router| *router.subnet.get_ref()),
        };
        check_address(problems, port, subnet, taken);
        check_macs(problems, port, taken);
        check_mtu(problems, port, network);
        check_guard(problems, port, network);
    }
    check_publish(problems, draft, port);
}

/// A host without a configured address is guarded by its lease.
fn check_guard(problems: &mut Problems<'_>, port: &Port, network: Option<&Network>) {
    let is_leased = network.is_some_and(|network| network.dhcp.is_some());
    // With neither, that has been told.
    let Some(mac) = port.mac.as_ref().filter(|_| port.guard && port.address.is_none()) else {
        return;
    };
    if is_leased {
        return;
    }
    let key = format!("port.{}.guard", port.name.get_ref());
    let what = "a port without `address` cannot be guarded on a network without `dhcp`";
    problems.error(mac.span(), key, what, "add the address, or remove it");
}

fn check_tap<'d>(
    problems: &mut Problems<'_>,
    port: &Port,
    (netns, process, interface): (Option<&'d Spanned<String>>, Option<u32>, &'d Spanned<String>),
    taken: &mut Taken<'d>,
) {
    let key = format!("port.{}.interface", port.name.get_ref());
    let netns_key = format!("port.{}.netns", port.name.get_ref());
    check_place(problems, (&key, &netns_key), (netns, interface));
    let home = match process {
        Some(pid) => Home::Process(pid),
        None => netns.map_or(Home::Here, |netns| Home::Netns(netns.get_ref())),
    };
    let place = (home, interface.get_ref().as_str());
    let by = format!("port {}", port.name.get_ref());
    if let Some(other) = taken.interfaces.insert(place, by) {
        let home = match place.0 {
            Home::Here => "this host".to_owned(),
            Home::Netns(netns) => format!("namespace {netns}"),
            Home::Process(pid) => format!("the namespace of process {pid}"),
        };
        let what = format!("interface {} in {home} is that of {other}", place.1);
        let remedy = "set another `interface` or `netns`";
        problems.error(interface.span(), key, what, remedy).is(RejectionKind::Conflict);
    }
}

fn check_place(
    problems: &mut Problems<'_>,
    (key, netns_key): (&str, &str),
    (netns, interface): (Option<&Spanned<String>>, &Spanned<String>),
) {
    if let Err(remedy) = check_interface(interface.get_ref()) {
        let what = format!("\"{}\" cannot be an interface's name", interface.get_ref());
        let field = key.rsplit('.').next().unwrap_or(key);
        problems.error(interface.span(), key, what, format!("set `{field}`: {remedy}"));
    }
    let Some(netns) = netns else { return };
    if let Err(remedy) = check_netns(netns.get_ref()) {
        let what = format!("\"{}\" cannot be a namespace's name", netns.get_ref());
        problems.error(netns.span(), netns_key, what, remedy);
    }
}

/// True if the port's network is known.
fn check_network_of(
    problems: &mut Problems<'_>,
    draft: &Draft,
    port: &Port,
    network: Option<&Network>,
) -> bool {
    let name = port.network.get_ref();
    if name == UPLINK_NAME && draft.is_uplink_broken || draft.broken_networks.contains(name) {
        return false;
    }
    let key = format!("port.{}.network", port.name.get_ref());
    if draft.config.uplink.as_ref().is_some_and(Uplink::is_shared) && name == UPLINK_NAME {
        let what = "the uplink is an interface of this host, which no other port can join";
        problems.error(port.network.span(), key, what, "use another network");
        return false;
    }
    if is_uplink(draft, port) || network.is_some() {
        return true;
    }
    let known: Vec<&str> =
        draft.config.networks.iter().map(|network| network.name.get_ref().as_str()).collect();
    let remedy = match known.as_slice() {
        _ if name.is_empty() => "name one, or leave `network` out".to_owned(),
        [] => format!("add [network.{name}]"),
        known => format!("add [network.{name}], or use {}", some_of(known, " or ")),
    };
    let what = match name.as_str() {
        "" => "the name is empty".to_owned(),
        name => format!("there is no network {name}"),
    };
    problems.error(port.network.span(), key, what, remedy).is(RejectionKind::NotFound);
    false
}

fn is_uplink(draft: &Draft, port: &Port) -> bool {
    port.network.get_ref() == UPLINK_NAME && draft.config.uplink.is_some()
}

fn check_address<'d>(
    problems: &mut Problems<'_>,
    port: &'d Port,
    subnet: Option<Ipv4Net>,
    taken: &mut Taken<'d>,
) {
    // Where there is no subnet, a wish has come to nothing.
    let wish = port.wish.as_ref().filter(|_| subnet.is_none());
    let wish = wish.map(|wish| Spanned::new(wish.clone(), Ipv4Addr::UNSPECIFIED));
    let Some(address) = port.address.as_ref().or(wish.as_ref()) else { return };
    let key = format!("port.{}.address", port.name.get_ref());
    let network = port.network.get_ref();
    let Some(subnet) = subnet else {
        let what = format!("network {network} has no subnet");
        problems.error(address.span(), key, what, format!("add `subnet` to [network.{network}]"));
        return;
    };
    if !check_host(problems, key.clone(), address, subnet) {
        return;
    }
    let by = format!("port {}", port.name.get_ref());
    if let Some(other) = taken.addresses.insert((network, *address.get_ref()), by) {
        let what = format!("{} is that of {other}", address.get_ref());
        let remedy = "give each host an address of its own";
        problems.error(address.span(), key, what, remedy).is(RejectionKind::Conflict);
    }
}

fn check_macs<'d>(problems: &mut Problems<'_>, port: &'d Port, taken: &mut Taken<'d>) {
    let name = port.name.get_ref();
    let configured = port.mac.iter().map(|mac| (mac, format!("port.{name}.mac")));
    let fixed = port.static_macs.iter().map(|mac| (mac, format!("port.{name}.static_macs")));
    for (mac, key) in configured.chain(fixed) {
        check_mac(problems, key.clone(), mac);
        let by = format!("port {name}");
        if let Some(other) = taken.macs.insert((port.network.get_ref(), *mac.get_ref()), by) {
            let what = format!("{} is that of {other}", mac.get_ref());
            let remedy = "give each station of a network its own MAC";
            problems.error(mac.span(), key, what, remedy).is(RejectionKind::Conflict);
        }
    }
    if let (None, Some(address)) = (&port.mac, &port.address) {
        // Equal derived MACs mean equal addresses, which are reported as such.
        let mac = MacAddr::from_ipv4(*address.get_ref());
        taken.macs.entry((port.network.get_ref(), mac)).or_insert(format!("port {name}"));
    }
}

fn check_mtu(problems: &mut Problems<'_>, port: &Port, network: Option<&Network>) {
    let (Some(mtu), Some(network)) = (port.mtu, network) else { return };
    if mtu != network.mtu {
        let what =
            format!("mtu {mtu} is not the {} of network {}", network.mtu, network.name.get_ref());
        let key = format!("port.{}", port.name.get_ref());
        let remedy = "hosts of one network should agree: larger frames are dropped between them";
        problems.warning(port.name.span(), key, what, remedy);
    }
}

fn check_publish(problems: &mut Problems<'_>, draft: &Draft, port: &Port) {
    let Some(first) = port.publish.first() else { return };
    let key = format!("port.{}.publish", port.name.get_ref());
    let networks = draft.config.ports_of(&port.host).map(|port| port.network.get_ref());
    let mut networks = networks.map(|name| draft.config.network(name));
    if networks.all(|network| network.is_some_and(|network| network.internal)) {
        let network = port.network.get_ref();
        let what = format!("network {network} is internal: nothing comes in from outside");
        let remedy = "remove `publish`, or connect the host to another network";
        problems.error(first.span(), &key, what, remedy);
        return;
    }
    if port.address.is_none() && port.wish.is_none() {
        let remedy = "add `address` to the port, so that it is known where to deliver";
        problems.error(first.span(), &key, "a port without `address` cannot publish", remedy);
    }
    if is_uplink(draft, port) {
        let what = "a host on the uplink is outside already";
        problems.error(first.span(), &key, what, "remove `publish`, or use another network");
    }
    let has_host = |network: &Network| {
        network.host.is_some() && network.name.get_ref() == port.network.get_ref()
    };
    let has_host = draft.config.networks.iter().any(has_host);
    if draft.config.uplink.is_none() && !draft.is_uplink_broken && !has_host {
        let what = "there is no uplink, so it is published on the gateways only";
        problems.warning(first.span(), &key, what, "add [uplink]");
    }
}

/// The addresses and external ports that are published on.
fn check_places(problems: &mut Problems<'_>, draft: &Draft) {
    let own = own_addresses(&draft.config);
    let is_shared = draft.config.uplink.as_ref().is_some_and(Uplink::is_shared);
    let is_known = !draft.is_uplink_broken && !is_shared && draft.broken_networks.is_empty();
    let set: HashSet<Ipv4Addr> = own.iter().copied().collect();
    // Where this host has a place, its own addresses are known at start.
    let hosts: HashSet<&str> = draft
        .config
        .networks
        .iter()
        .filter(|network| network.host.is_some())
        .map(|network| network.name.get_ref().as_str())
        .collect();
    let foreign = |port: &Port, entry: &PublishSyntax| {
        let has_host = hosts.contains(port.network.get_ref().as_str());
        entry.address.filter(|at| is_known && !has_host && !set.contains(at))
    };
    for port in &draft.config.ports {
        for entry in &port.publish {
            let Some(address) = foreign(port, entry.get_ref()) else { continue };
            let key = format!("port.{}.publish", port.name.get_ref());
            let what = format!("{address} is not an address of tapway");
            let remedy = match own.as_slice() {
                [] => "leave it out".to_owned(),
                own => format!("leave it out for all addresses, or use {}", some_of(own, ", ")),
            };
            problems.error(entry.span(), key, what, remedy);
        }
    }
    // What is published nowhere is in nobody's way.
    let (_, misplaced) =
        publishes::place_those(&draft.config, |port, entry| foreign(port, entry).is_none());
    for Misplaced { port, span, wanted, by } in misplaced {
        let key = format!("port.{}.publish", name_at(draft, port));
        let what = match &by {
            Some(by) => {
                let other = name_at(draft, by.port);
                let line = problems.line(&by.span);
                format!(
                    "{wanted} is published already by port {other} ({}, line {line})",
                    by.external
                )
            }
            None => format!("no free port is left in {wanted}"),
        };
        let problem = problems.error(span, key, what, "choose other external ports");
        problem.is(RejectionKind::Conflict);
    }
}

/// A list for a remedy, cut where it gets long.
fn some_of(all: &[impl ToString], separator: &str) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    if all.len() > SHOWN {
        shown.push("...".to_owned());
    }
    shown.join(separator)
}

fn name_at(draft: &Draft, port: usize) -> &str {
    draft.config.ports.get(port).map_or("", |port| port.name.get_ref())
}
