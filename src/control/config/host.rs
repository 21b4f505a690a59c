//! `host` of a network: this host's own place in it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::names::check_interface;
use super::problem::Problems;
use super::section::Section;
use super::{DEFAULT_NETWORK, Network};

/// The interface of this host in the default network, and what those in others begin with.
const INTERFACE: &str = "tapway0";
const PREFIX: &str = "tw-";
/// Longest name of an interface, in bytes.
const MAX_INTERFACE: usize = 15;

/// This host's place in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlace {
    /// Its address there; none: the last of the subnet.
    pub address: Option<Spanned<Ipv4Addr>>,
    /// The TAP it is reached by.
    pub interface: Spanned<String>,
}

/// Reads `host` and `host_interface` of a network.
pub(super) fn read<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    network: &Spanned<String>,
) -> Option<HostPlace> {
    const EXPECTED: &str = "true, false or an IPv4 address such as \"172.17.0.254\"";
    let wish = section.take::<toml::Value>(problems, "host", EXPECTED);
    let named = section.take::<String>(problems, "host_interface", "a text in quotes");
    let interface =
        named.unwrap_or_else(|| Spanned::new(network.span(), default_interface(network.get_ref())));
    let wish = wish?;
    let span = wish.span();
    let address = match wish.get_ref() {
        toml::Value::Boolean(false) => return None,
        toml::Value::Boolean(true) => None,
        toml::Value::String(text) if text.parse::<Ipv4Addr>().is_ok() => {
            text.parse().ok().map(|address| Spanned::new(span, address))
        }
        other => {
            let what = format!("{other} is not {EXPECTED}");
            problems.error(span, section.key("host"), what, "correct it");
            return None;
        }
    };
    Some(HostPlace { address, interface })
}

fn default_interface(network: &str) -> String {
    if network == DEFAULT_NETWORK {
        return INTERFACE.to_owned();
    }
    PREFIX.chars().chain(network.chars()).take(MAX_INTERFACE).collect()
}

impl Network {
    /// This host's address in it, if it has a place there.
    pub fn host_address(&self) -> Option<Ipv4Addr> {
        let place = self.host.as_ref()?;
        let subnet = *self.router.as_ref()?.subnet.get_ref();
        Some(place.address.as_ref().map_or_else(|| last_host(subnet), |at| *at.get_ref()))
    }
}

/// The last address of a subnet that a host can have.
fn last_host(subnet: Ipv4Net) -> Ipv4Addr {
    match subnet.prefix_len() {
        31.. => subnet.broadcast(),
        _ => Ipv4Addr::from_bits(subnet.broadcast().to_bits().saturating_sub(1)),
    }
}

/// Checks the place by itself: whether others are there is looked at with the ports.
pub(super) fn check(problems: &mut Problems<'_>, network: &Network) {
    let Some(HostPlace { address, interface }) = &network.host else { return };
    let key = |key: &str| format!("network.{}.{key}", network.name.get_ref());
    if let Err(remedy) = check_interface(interface.get_ref()) {
        let what = format!("\"{}\" cannot be an interface's name", interface.get_ref());
        problems.error(interface.span(), key("host_interface"), what, remedy);
    }
    match (&network.router, address) {
        (None, _) => {
            let what = "there is no `subnet` in which this host could have an address";
            let remedy = "add the subnet, or remove `host`";
            problems.error(network.name.span(), key("host"), what, remedy);
        }
        (Some(router), Some(address)) => {
            super::check::check_host(problems, key("host"), address, *router.subnet.get_ref());
        }
        (Some(_), None) => {}
    }
}
