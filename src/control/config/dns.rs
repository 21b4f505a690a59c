//! `[dns]`: names for hosts, and whom to ask for others.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::problem::Problems;
use super::section::Section;
use crate::local::dns::DNS_PORT;
use crate::local::dns::name_table::DEFAULT_TTL;

/// Upstreams that are asked about one name.
const MAX_UPSTREAMS: usize = 3;
/// A week, in seconds.
const MAX_TTL: u64 = 604_800;
const UPSTREAM: &str = "an address such as \"192.0.2.53\" or \"192.0.2.53:5353\"";

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// How long an answer about an own name may be remembered, in seconds.
    pub ttl: u32,
    /// Resolvers for other names, in order; empty: those of this host.
    pub upstreams: Vec<SocketAddr>,
}

impl Default for Dns {
    fn default() -> Self {
        Self { ttl: DEFAULT_TTL, upstreams: Vec::new() }
    }
}

pub(super) fn read<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> Dns {
    let mut dns = Dns::default();
    let Some(mut section) = file.take_section(problems, "dns") else { return dns };
    if let Some(ttl) = section.take_number(problems, "ttl", 0..=MAX_TTL) {
        dns.ttl = ttl.into_inner() as u32;
    }
    let upstreams = section.take_list::<String>(problems, "upstreams", UPSTREAM);
    if let Some(fourth) = upstreams.get(MAX_UPSTREAMS) {
        let what = format!("more than {MAX_UPSTREAMS} resolvers");
        problems.error(fourth.span(), section.key("upstreams"), what, "leave the others out");
    }
    for text in upstreams {
        match upstream(&text) {
            Some(address) => dns.upstreams.push(address),
            None => {
                let what = format!("\"{}\" is not {UPSTREAM}", text.get_ref());
                problems.error(text.span(), section.key("upstreams"), what, "correct it");
            }
        }
    }
    section.finish(problems);
    dns
}

fn upstream(text: &Spanned<String>) -> Option<SocketAddr> {
    let text = text.get_ref();
    let at_port = |ip: IpAddr| SocketAddr::new(ip, DNS_PORT);
    let address = text.parse().ok().or_else(|| text.parse().ok().map(at_port))?;
    let is_one = !address.ip().is_unspecified() && !address.ip().is_multicast();
    (is_one && address.port() != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn upstreams_are_addresses_with_or_without_a_port() {
        let text = "[dns]\nttl = 0\nupstreams = [\"192.0.2.53\", \"[2001:db8::1]:5353\"]";
        let dns = Config::parse("f", text).unwrap().config.dns;
        let shown: Vec<String> = dns.upstreams.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.53:53", "[2001:db8::1]:5353"]);
        assert_eq!(dns.ttl, 0);
        assert_eq!(Config::parse("f", "").unwrap().config.dns, Dns::default());
    }

    #[test]
    fn wrong_ones_are_refused_at_their_place() {
        let text = "[dns]\nttl = 700000\nupstreams = [\"resolver\", \"0.0.0.0\", \"::1\", \"::2\"]";
        let errors = Config::parse("f", text).unwrap_err().to_string();
        for part in [
            "f:2:7: dns.ttl: 700000 is out of range; use 0 to 604800",
            "f:3:14: dns.upstreams: \"resolver\" is not an address such as",
            "f:3:26: dns.upstreams: \"0.0.0.0\" is not an address such as",
            "f:3:44: dns.upstreams: more than 3 resolvers",
        ] {
            assert!(errors.contains(part), "{errors}");
        }
    }
}
