//! `iptables -t nat -L -n`: the rules a Docker host would hold for the same behaviour.
//!
//! Columns are those of `iptables`; protocols are printed by name, as by all versions but 1.8.9,
//! whose numbers were taken back as a regression. INPUT and OUTPUT are left out: no process runs on tapway's addresses. Networks are
//! told apart by subnet, since a listing without `-v` has no interface column.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::protocol_name;
use crate::engine::{NatNetworkRow, NatView, PublishRow};
use crate::nat::NatMode;
use crate::packet::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

const ANY: &str = "0.0.0.0/0";

/// A rule as a line shows it.
struct Rule<'a> {
    target: &'a str,
    /// None: all protocols.
    protocol: Option<u8>,
    source: String,
    destination: String,
    /// What follows the columns: matches and target options.
    options: String,
}

/// The chains PREROUTING, POSTROUTING and DOCKER.
pub fn nat(view: &NatView) -> String {
    let mut text = String::new();
    chain(&mut text, "PREROUTING (policy ACCEPT)", &[jump()]);
    text.push('\n');
    chain(&mut text, "POSTROUTING (policy ACCEPT)", &postrouting(view));
    text.push('\n');
    chain(&mut text, "DOCKER (1 references)", &docker(view));
    text
}

fn chain(text: &mut String, name: &str, rules: &[Rule<'_>]) {
    let _ = writeln!(text, "Chain {name}");
    let _ = writeln!(text, "target     prot opt source               destination         ");
    for rule in rules {
        let Rule { target, source, destination, options, .. } = rule;
        let protocol = match rule.protocol {
            None => "all".to_owned(),
            Some(number) => protocol_name(number).map_or(number.to_string(), str::to_owned),
        };
        let _ = write!(text, "{target:<9}  {protocol:<4} --  {source:<19}  {destination:<19} ");
        if !options.is_empty() {
            let _ = write!(text, " {options}");
        }
        text.push('\n');
    }
}

fn jump() -> Rule<'static> {
    Rule {
        target: "DOCKER",
        protocol: None,
        source: ANY.to_owned(),
        destination: ANY.to_owned(),
        options: "ADDRTYPE match dst-type LOCAL".to_owned(),
    }
}

fn postrouting(view: &NatView) -> Vec<Rule<'static>> {
    let statics = view.statics.iter().map(|entry| Rule {
        target: "SNAT",
        protocol: None,
        source: entry.inside.to_string(),
        destination: ANY.to_owned(),
        options: format!("to:{}", entry.external),
    });
    let pool = view.uplink.as_ref().map(|uplink| uplink.pool.as_slice()).unwrap_or_default();
    let networks = view.networks.iter().flat_map(|network| outbound(network, pool));
    // A host that reaches itself by its published port sees the gateway as the source.
    let hairpins = view.publishes.iter().map(|publish| Rule {
        target: "MASQUERADE",
        protocol: Some(publish.protocol),
        source: publish.target.ip.to_string(),
        destination: publish.target.ip.to_string(),
        options: ports(publish.protocol, publish.target.port, publish.count),
    });
    statics.chain(networks).chain(hairpins).collect()
}

/// The rules of one network's packets to the outside.
fn outbound(network: &NatNetworkRow, pool: &[Ipv4Addr]) -> Vec<Rule<'static>> {
    let rule = |target, protocol, destination: String, options| Rule {
        target,
        protocol,
        source: prefix(network.subnet),
        destination,
        options,
    };
    let verdict = |is_translated: bool, protocol| match (is_translated, pool) {
        (false, _) => rule("ACCEPT", protocol, ANY.to_owned(), String::new()),
        (true, []) => rule("MASQUERADE", protocol, ANY.to_owned(), String::new()),
        (true, pool) => rule("SNAT", protocol, ANY.to_owned(), format!("to:{}", range(pool))),
    };
    let others = network.other != NatMode::None;
    let exempt = network.exempt.iter().map(|net| rule("ACCEPT", None, prefix(*net), String::new()));
    let exceptions =
        [(PROTOCOL_TCP, network.tcp), (PROTOCOL_UDP, network.udp), (PROTOCOL_ICMP, network.icmp)]
            .into_iter()
            .map(|(protocol, mode)| (protocol, mode != NatMode::None))
            .filter(|(_, is_translated)| *is_translated != others)
            .map(|(protocol, is_translated)| verdict(is_translated, Some(protocol)));
    exempt.chain(exceptions).chain([verdict(others, None)]).collect()
}

fn docker(view: &NatView) -> Vec<Rule<'static>> {
    let publishes = view.publishes.iter().map(|publish| Rule {
        target: "DNAT",
        protocol: Some(publish.protocol),
        source: ANY.to_owned(),
        destination: publish.address.map_or(ANY.to_owned(), |address| address.to_string()),
        options: format!(
            "{} to:{}",
            ports(publish.protocol, publish.port, publish.count),
            target(publish)
        ),
    });
    let statics = view.statics.iter().map(|entry| Rule {
        target: "DNAT",
        protocol: None,
        source: ANY.to_owned(),
        destination: entry.external.to_string(),
        options: format!("to:{}", entry.inside),
    });
    publishes.chain(statics).collect()
}

/// `tcp dpt:80`, `udp dpts:5000:5010`.
fn ports(protocol: u8, first: u16, count: u16) -> String {
    let name = protocol_name(protocol).unwrap_or("unknown");
    match last(first, count) {
        last if last == first => format!("{name} dpt:{first}"),
        last => format!("{name} dpts:{first}:{last}"),
    }
}

/// The endpoint, its port range, and where the external range starts if it is another one.
fn target(publish: &PublishRow) -> String {
    let first = publish.target.port;
    match (last(first, publish.count), publish.port) {
        (last, _) if last == first => publish.target.to_string(),
        (last, base) if base == first => format!("{}-{last}", publish.target),
        (last, base) => format!("{}-{last}/{base}", publish.target),
    }
}

const fn last(first: u16, count: u16) -> u16 {
    first.saturating_add(count.saturating_sub(1))
}

/// A prefix as iptables prints it: a host without its length.
fn prefix(net: Ipv4Net) -> String {
    if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() }
}

/// `first-last` of consecutive addresses, else all of them.
fn range(pool: &[Ipv4Addr]) -> String {
    let is_run = pool
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.to_bits().checked_add(1) == Some(b.to_bits())));
    match pool {
        [only] => only.to_string(),
        [first, .., last] if is_run => format!("{first}-{last}"),
        _ => pool.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(","),
    }
}
