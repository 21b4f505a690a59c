//! What is said of a port outside of its own section: further networks (`[[connect]]`) and
//! published ports (`[[publish]]`).
//!
//! A host in several networks is several ports, one for each: the first has the host's name, the
//! others `HOST@NETWORK`. No port can be called so by a user.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::problem::Problems;
use super::read::{Draft, MAC, TEXT, read_aliases, read_syntax};
use super::section::Section;
use super::{Port, PortKind};
use crate::control::rejection::RejectionKind;
use crate::switch::PortLimits;

/// Networks that one host may join besides its first.
const MAX_CONNECTIONS: usize = 64;

/// A value, or the wish that tapway chooses one.
pub(super) enum Choice<T> {
    /// tapway chooses.
    Auto,
    /// This one.
    Is(T),
}

impl<'de, T: std::str::FromStr> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "auto" => Ok(Self::Auto),
            text => text.parse().map(Self::Is).map_err(|_| D::Error::custom("another type")),
        }
    }
}

/// An address that may be `"auto"`: the address, and the place of the wish.
pub(super) fn read_address<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
) -> (Option<Spanned<Ipv4Addr>>, Option<std::ops::Range<usize>>) {
    let choice = section.take::<Choice<Ipv4Addr>>(problems, "address", super::read::ADDRESS);
    let Some(choice) = choice else { return (None, None) };
    let span = choice.span();
    match choice.into_inner() {
        Choice::Auto => (None, Some(span)),
        Choice::Is(address) => (Some(Spanned::new(span, address)), None),
    }
}

/// `[[connect]]`: a host of the configuration joins a further network.
pub(super) fn read_connect<'i>(
    problems: &mut Problems<'i>,
    draft: &mut Draft,
    mut section: Section<'i>,
) {
    let host = section.take::<String>(problems, "port", TEXT);
    let host = section.require(problems, "port", host, "\"web\"");
    let network = section.take::<String>(problems, "network", TEXT);
    let network = section.require(problems, "network", network, "\"front\"");
    let interface = section.take::<String>(problems, "interface", TEXT);
    let (address, mut wish) = read_address(problems, &mut section);
    let mac = section.take(problems, "mac", MAC);
    let aliases = read_aliases(problems, &mut section);
    let is_broken = section.has_failed(&["port", "network", "address", "mac", "interface"]);
    section.finish(problems);
    let (Some(host), Some(network), false) = (host, network, is_broken) else { return };
    if address.is_none() && wish.is_none() {
        wish = Some(network.span());
    }
    let ports = &draft.config.ports;
    let Some(first) = ports.iter().find(|port| port.name.get_ref() == host.get_ref()) else {
        let what = format!("there is no port {}", host.get_ref());
        let remedy = format!("add [port.{}]", host.get_ref());
        problems.error(host.span(), "connect.port", what, remedy).is(RejectionKind::NotFound);
        return;
    };
    let joined: Vec<&Port> = ports.iter().filter(|port| port.host == *host.get_ref()).collect();
    if joined.iter().any(|port| port.network.get_ref() == network.get_ref()) {
        let what = format!("{} is in network {} already", host.get_ref(), network.get_ref());
        let problem = problems.error(network.span(), "connect.network", what, "keep one of them");
        problem.is(RejectionKind::Conflict);
        return;
    }
    if joined.len() > MAX_CONNECTIONS {
        let what = format!("{} is in more than {MAX_CONNECTIONS} networks", host.get_ref());
        problems.error(network.span(), "connect.network", what, "remove some");
        return;
    }
    let Some(kind) = next_interface(first, joined.len(), interface) else {
        let what = format!("{} is a capture file, and in one network only", host.get_ref());
        problems.error(host.span(), "connect.port", what, "connect a TAP");
        return;
    };
    let name = format!("{}@{}", host.get_ref(), network.get_ref());
    let port = Port {
        name: Spanned::new(host.span(), name),
        host: host.into_inner(),
        network,
        kind,
        guard: first.guard || first.wish.is_none() && first.address.is_none(),
        address,
        wish,
        mac,
        mtu: None,
        publish: Vec::new(),
        expose: Vec::new(),
        links: Vec::new(),
        static_macs: Vec::new(),
        limits: PortLimits::default(),
        aliases,
    };
    draft.config.ports.push(port);
}

/// The device of a host's next port: in the same place as the first, `eth1` beside `eth0`.
fn next_interface(
    first: &Port,
    number: usize,
    interface: Option<Spanned<String>>,
) -> Option<PortKind> {
    let mut kind = first.kind.clone();
    let PortKind::Tap { netns, process, interface: own, .. } = &mut kind else { return None };
    let is_inside = netns.is_some() || process.is_some();
    let default = match is_inside {
        true => format!("eth{number}"),
        // In this host each TAP is called as its port.
        false => format!("{}-{number}", own.get_ref()),
    };
    *own = interface.unwrap_or_else(|| Spanned::new(first.name.span(), default));
    Some(kind)
}

/// `[[publish]]`: a host of the configuration publishes a port.
pub(super) fn read_publish<'i>(
    problems: &mut Problems<'i>,
    draft: &mut Draft,
    mut section: Section<'i>,
) {
    let host = section.take::<String>(problems, "port", TEXT);
    let host = section.require(problems, "port", host, "\"web\"");
    let text = section.take::<String>(problems, "publish", TEXT);
    let text = section.require(problems, "publish", text, "\"8080:80\"");
    section.finish(problems);
    let syntax = text.and_then(|text| read_syntax(problems, "publish.publish", text));
    let (Some(host), Some(syntax)) = (host, syntax) else { return };
    let port = draft.config.ports.iter_mut().find(|port| port.name.get_ref() == host.get_ref());
    match port {
        Some(port) => port.publish.push(syntax),
        None => {
            let what = format!("there is no port {}", host.get_ref());
            let remedy = format!("add [port.{}]", host.get_ref());
            problems.error(host.span(), "publish.port", what, remedy).is(RejectionKind::NotFound);
        }
    }
}
