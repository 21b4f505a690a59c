//! What needs two values to be judged: networks, the uplink and routes against each other.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::names::check_name;
use super::nets::{Nets, Subnet, subnets};
use super::problem::Problems;
use super::read::Draft;
use super::{Config, Network, NetworkRouter, UPLINK_NAME, Uplink, UplinkKind};
use crate::control::rejection::RejectionKind;
use crate::packet::MacAddr;
use crate::route::{is_martian_destination, is_martian_source};

/// Networks that a configuration may have, the uplink's besides (see [`crate::id::NetworkId`]).
const MAX_NETWORKS: usize = 65_533;

/// Checks everything but the ports.
pub(super) fn check(problems: &mut Problems<'_>, draft: &Draft) {
    for (index, network) in draft.config.networks.iter().enumerate() {
        if index == MAX_NETWORKS {
            let what = format!("more than {MAX_NETWORKS} networks");
            problems.error(network.name.span(), "network", what, "remove some");
        }
        check_network(problems, network);
    }
    if let Some(uplink) = &draft.config.uplink {
        check_uplink(problems, draft, uplink);
    }
    check_overlaps(problems, draft);
    check_routes(problems, draft);
}

/// The parts of a subnet that no host may have, and which an address must not be.
pub(super) fn why_no_host(subnet: Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    if !subnet.contains(&address) {
        return Some("is outside the subnet");
    }
    if subnet.prefix_len() < 31 && address == subnet.network() {
        return Some("is the network address of the subnet");
    }
    if subnet.prefix_len() < 31 && address == subnet.broadcast() {
        return Some("is the broadcast address of the subnet");
    }
    None
}

/// Reports an address that no host of the subnet can have; true if it is good.
pub(super) fn check_host(
    problems: &mut Problems<'_>,
    key: String,
    address: &Spanned<Ipv4Addr>,
    subnet: Ipv4Net,
) -> bool {
    let Some(why) = why_no_host(subnet, *address.get_ref()) else { return true };
    let subnet = subnet.trunc();
    let what = format!("{} {why} {subnet}", address.get_ref());
    let example = example_host(subnet);
    problems.error(address.span(), key, what, format!("use a host address such as {example}"));
    false
}

/// Reports a MAC that no station has.
pub(super) fn check_mac(problems: &mut Problems<'_>, key: String, mac: &Spanned<MacAddr>) {
    if !mac.get_ref().is_station() {
        let what = format!("{} is a group or zero address", mac.get_ref());
        problems.error(mac.span(), key, what, "use one whose first byte is even, such as 02:...");
    }
}

fn example_host(subnet: Ipv4Net) -> Ipv4Addr {
    subnet.hosts().nth(1).unwrap_or_else(|| subnet.addr())
}

fn check_network(problems: &mut Problems<'_>, network: &Network) {
    let name = network.name.get_ref();
    let key = format!("network.{name}");
    super::dhcp::check(problems, network);
    if let Err(remedy) = check_name(name) {
        problems.error(network.name.span(), &key, "not a name for a network", remedy);
    }
    if name == UPLINK_NAME {
        let what = "this name is the uplink's own";
        problems.error(network.name.span(), &key, what, "choose another name");
    }
    super::host::check(problems, network);
    let Some(NetworkRouter { subnet, gateway, mac }) = &network.router else { return };
    let net = *subnet.get_ref();
    let subnet_key = format!("{key}.subnet");
    if net.addr() != net.network() {
        let what = format!("{net} has bits set behind its prefix");
        problems.error(subnet.span(), &subnet_key, what, format!("write {}", net.trunc()));
    }
    if !(1..=30).contains(&net.prefix_len()) {
        let what = format!("/{} leaves no room for hosts", net.prefix_len());
        problems.error(subnet.span(), &subnet_key, what, "use a prefix from /1 to /30");
        return;
    }
    check_range(problems, subnet_key, subnet);
    check_host(problems, format!("{key}.gateway"), gateway, net);
    if let Some(mac) = mac {
        check_mac(problems, format!("{key}.gateway_mac"), mac);
    }
}

/// Subnets out of ranges that are never forwarded.
fn check_range(problems: &mut Problems<'_>, key: String, subnet: &Spanned<Ipv4Net>) {
    let net = subnet.get_ref();
    let ends = [net.network(), net.broadcast()];
    if ends.into_iter().any(|at| is_martian_source(at) || is_martian_destination(at)) {
        let what = format!("{net} reaches into addresses that no host may have");
        let remedy = "use a private range such as 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16";
        problems.error(subnet.span(), key, what, remedy);
    }
}

fn check_uplink(problems: &mut Problems<'_>, draft: &Draft, uplink: &Uplink) {
    let Some(address) = &uplink.address else { return check_shared(problems, uplink) };
    let subnet = *address.get_ref();
    check_uplink_own(problems, uplink, address);
    let mut taken: HashMap<Ipv4Addr, &str> = HashMap::new();
    if let Some(gateway) = &uplink.gateway {
        taken.insert(*gateway.get_ref(), "the gateway");
    }
    for address in &uplink.nat_addresses {
        check_external(problems, "uplink.nat_addresses", (address, subnet), &taken);
        taken.entry(*address.get_ref()).or_insert("listed before");
    }
    taken.entry(subnet.addr()).or_insert("tapway's own address");
    for entry in &uplink.static_nat {
        check_external(problems, "uplink.static_nat.external", (&entry.external, subnet), &taken);
        taken.entry(*entry.external.get_ref()).or_insert("listed before");
    }
    check_static_insides(problems, draft, uplink);
}

/// The first external port that may be tapway's: those below are for servers.
const FIRST_PORT: u16 = 1024;
/// Fewer external ports are of no use.
const FEWEST_PORTS: u32 = 256;

/// Where tapway is on a shared device is known at start only.
fn check_shared(problems: &mut Problems<'_>, uplink: &Uplink) {
    let UplinkKind::Shared { ports: Some(ports), .. } = &uplink.kind else { return };
    let (span, ports) = (ports.span(), ports.get_ref());
    if ports.first < FIRST_PORT || ports.count() < FEWEST_PORTS {
        let what = format!("{ports} are too few, or reach below {FIRST_PORT}");
        let remedy = format!("use {FEWEST_PORTS} ports or more, such as \"61000-65535\"");
        problems.error(span, "uplink.nat_ports", what, remedy);
    }
}

fn check_uplink_own(problems: &mut Problems<'_>, uplink: &Uplink, address: &Spanned<Ipv4Net>) {
    let (span, subnet) = (address.span(), *address.get_ref());
    if !(1..=31).contains(&subnet.prefix_len()) {
        let what = format!("/{} leaves no room for a gateway", subnet.prefix_len());
        problems.error(span, "uplink.address", what, "use a prefix from /1 to /31");
        return;
    }
    let own = Spanned::new(span, subnet.addr());
    check_host(problems, "uplink.address".to_owned(), &own, subnet);
    check_range(problems, "uplink.address".to_owned(), address);
    if let Some(mac) = &uplink.mac {
        check_mac(problems, "uplink.mac".to_owned(), mac);
    }
    let Some(gateway) = &uplink.gateway else {
        let what = format!("without `gateway` only {} is reachable outside", subnet.trunc());
        problems.warning(address.span(), "uplink", what, "add the router's address");
        return;
    };
    if check_host(problems, "uplink.gateway".to_owned(), gateway, subnet)
        && *gateway.get_ref() == subnet.addr()
    {
        let what = format!("{} is tapway's own address", gateway.get_ref());
        let remedy = "name the router beyond the uplink";
        problems.error(gateway.span(), "uplink.gateway", what, remedy);
    }
}

fn check_external(
    problems: &mut Problems<'_>,
    key: &str,
    (address, subnet): (&Spanned<Ipv4Addr>, Ipv4Net),
    taken: &HashMap<Ipv4Addr, &str>,
) {
    if !check_host(problems, key.to_owned(), address, subnet) {
        return;
    }
    if let Some(by) = taken.get(address.get_ref()) {
        let what = format!("{} is {by}", address.get_ref());
        problems.error(address.span(), key, what, "use an address that nobody else has");
    }
}

fn check_static_insides(problems: &mut Problems<'_>, draft: &Draft, uplink: &Uplink) {
    let key = "uplink.static_nat.inside";
    let homes: Vec<_> = subnets(draft).filter(|home| home.name != UPLINK_NAME).collect();
    let home = Nets::of(&homes);
    let addresses = draft.config.ports.iter().filter_map(|port| port.address.as_ref());
    let known: HashSet<Ipv4Addr> = addresses.map(|address| *address.get_ref()).collect();
    let mut seen: HashSet<Ipv4Addr> = HashSet::new();
    for entry in &uplink.static_nat {
        let (inside, span) = (*entry.inside.get_ref(), entry.inside.span());
        if !seen.insert(inside) {
            let what = format!("{inside} has a static translation already");
            problems.error(span, key, what, "give each host one external address");
            continue;
        }
        let home = home.first_around(inside).and_then(|first| homes.get(first));
        let Some(Subnet { name, net, .. }) = home else {
            if draft.broken_networks.is_empty() {
                let what = format!("{inside} is on no network");
                problems.error(span, key, what, "use the address of a host on a network");
            }
            continue;
        };
        let address = Spanned::new(span.clone(), inside);
        if !check_host(problems, key.to_owned(), &address, *net) {
            continue;
        }
        if !known.contains(&inside) {
            let what = format!("no port of network {name} has the address {inside}");
            problems.warning(span, key, what, "set `address` at the host's port");
        }
    }
}

fn check_overlaps(problems: &mut Problems<'_>, draft: &Draft) {
    let mut all: Vec<_> = subnets(draft).collect();
    all.sort_by_key(|subnet| subnet.span.start);
    let mut earlier = Nets::default();
    for (index, Subnet { name, net, span }) in all.iter().enumerate() {
        if let Some(other) = earlier.first_overlapping(*net).and_then(|first| all.get(first)) {
            let key = match *name {
                UPLINK_NAME => "uplink.address".to_owned(),
                name => format!("network.{name}.subnet"),
            };
            let line = problems.line(&other.span);
            let what = format!("{net} overlaps {} of {} (line {line})", other.net, other.name);
            let remedy = "give each network a subnet of its own";
            problems.error(span.clone(), key, what, remedy).is(RejectionKind::Conflict);
        }
        earlier.insert(*net, index);
    }
}

fn check_routes(problems: &mut Problems<'_>, draft: &Draft) {
    let homes: Vec<_> = subnets(draft).collect();
    let home = Nets::of(&homes);
    let own: HashSet<Ipv4Addr> = own_addresses(&draft.config).into_iter().collect();
    let mut seen: HashMap<Ipv4Net, String> = HashMap::new();
    for Subnet { name, net, .. } in &homes {
        seen.entry(*net).or_insert_with(|| format!("the subnet of {name}"));
    }
    if let Some(gateway) = draft.config.uplink.as_ref().and_then(|uplink| uplink.gateway.as_ref()) {
        let what = format!("the default route by uplink.gateway {}", gateway.get_ref());
        seen.entry(Ipv4Net::default()).or_insert(what);
    }
    let is_shared = draft.config.uplink.as_ref().is_some_and(Uplink::is_shared);
    let is_whole = draft.broken_networks.is_empty() && !draft.is_uplink_broken && !is_shared;
    for route in &draft.config.routes {
        let to = *route.to.get_ref();
        if to != to.trunc() {
            let what = format!("{to} has bits set behind its prefix");
            problems.error(route.to.span(), "route.to", what, format!("write {}", to.trunc()));
        }
        if let Some(what) = seen.get(&to.trunc()) {
            let what = format!("{to} is {what}");
            let problem = problems.error(route.to.span(), "route.to", what, "keep one of them");
            problem.is(RejectionKind::Conflict);
        }
        let line = problems.line(&route.to.span());
        seen.entry(to.trunc()).or_insert_with(|| format!("routed already (line {line})"));
        let via = *route.via.get_ref();
        match home.first_around(via).and_then(|first| homes.get(first)) {
            Some(home) => check_via(problems, &route.via, home.net, own.contains(&via)),
            None if is_whole => {
                let what = format!("{via} is on no network of tapway");
                let remedy = "use a router in the subnet of a network or of the uplink";
                problems.error(route.via.span(), "route.via", what, remedy);
            }
            None => (),
        }
    }
}

fn check_via(problems: &mut Problems<'_>, via: &Spanned<Ipv4Addr>, net: Ipv4Net, is_own: bool) {
    if check_host(problems, "route.via".to_owned(), via, net) && is_own {
        let what = format!("{} is tapway's own address", via.get_ref());
        problems.error(via.span(), "route.via", what, "name another router");
    }
}

/// tapway's own addresses that ports can be published on.
pub(super) fn own_addresses(config: &Config) -> Vec<Ipv4Addr> {
    let uplink = config.uplink.iter().flat_map(|uplink| {
        let pool = uplink.nat_addresses.iter().map(|address| *address.get_ref());
        uplink.own_address().map(|own| own.addr()).into_iter().chain(pool)
    });
    let networks = config.networks.iter().filter_map(|network| network.router.as_ref());
    let mut all: Vec<Ipv4Addr> =
        uplink.chain(networks.map(|router| *router.gateway.get_ref())).collect();
    all.dedup();
    all
}
