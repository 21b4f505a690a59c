//! Docker's syntax of published ports: `[ip:][hostport[-end]:]port[-end][/proto]`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::packet::{PROTOCOL_TCP, PROTOCOL_UDP};

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first, at least 1.
    pub first: u16,
    /// The last, at least the first.
    pub last: u16,
}

impl PortRange {
    /// Ports in it.
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.first)?;
        if self.last > self.first { write!(out, "-{}", self.last) } else { Ok(()) }
    }
}

/// A published port as the user wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishSyntax {
    /// The address it answers on; none: every address of tapway.
    pub address: Option<Ipv4Addr>,
    /// External ports; none: a free one is chosen. As many as `container`, or more where
    /// `container` is one port: then the first free one is chosen.
    pub host: Option<PortRange>,
    /// The host's own ports.
    pub container: PortRange,
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
}

impl fmt::Display for PublishSyntax {
    /// As it is parsed.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, host, container, protocol } = self;
        if let Some(address) = address {
            write!(out, "{address}:")?;
        }
        match host {
            Some(host) => write!(out, "{host}:")?,
            None if address.is_some() => write!(out, ":")?,
            None => {}
        }
        write!(out, "{container}")?;
        if *protocol == PROTOCOL_UDP { write!(out, "/udp") } else { Ok(()) }
    }
}

/// What is wrong with a published port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishSyntaxError {
    /// Too many parts, or none.
    #[error("expected [ip:][hostport[-end]:]port[-end][/proto]")]
    Form,
    /// The address is IPv6.
    #[error("IPv6 addresses cannot be published on; leave the address out or use IPv4")]
    Ipv6,
    /// The address is not one.
    #[error("\"{0}\" is not an IPv4 address")]
    Address(String),
    /// An address with one port.
    #[error("an address is followed by two ports; write {0}:{1}:{1}, or {0}::{1} for a free one")]
    OnePort(Ipv4Addr, String),
    /// A port is not one.
    #[error("\"{0}\" is not a port; use 1 to 65535")]
    Port(String),
    /// A range runs backwards.
    #[error("range {0} ends before it starts; swap its ends")]
    Backwards(String),
    /// The protocol is unknown.
    #[error("protocol \"{0}\" cannot be published; use tcp or udp")]
    Protocol(String),
    /// The ranges have different lengths.
    #[error("ranges {0} and {1} differ in length; make them equal, or the right one a single port")]
    Lengths(PortRange, PortRange),
}

impl FromStr for PublishSyntax {
    type Err = PublishSyntaxError;

    fn from_str(text: &str) -> Result<Self, PublishSyntaxError> {
        if text.starts_with('[') {
            return Err(PublishSyntaxError::Ipv6);
        }
        let (ports, protocol) = match text.rsplit_once('/') {
            Some((ports, protocol)) => (ports, parse_protocol(protocol)?),
            None => (text, PROTOCOL_TCP),
        };
        let parts: Vec<&str> = ports.split(':').collect();
        let (address, host, container) = match *parts.as_slice() {
            [container] => (None, None, container),
            [host, container] => (None, Some(host), container),
            // `ip::port`: that address, a port of tapway's choice.
            [ip, "", container] => (Some(ip), None, container),
            [ip, host, container] => (Some(ip), Some(host), container),
            _ => return Err(PublishSyntaxError::Form),
        };
        if let (None, Some(Ok(ip))) = (address, host.map(str::parse)) {
            return Err(PublishSyntaxError::OnePort(ip, container.to_owned()));
        }
        let address = address.map(parse_address).transpose()?.flatten();
        let host = host.map(parse_range).transpose()?;
        let container = parse_range(container)?;
        if let Some(host) = host
            && container.count() != 1
            && host.count() != container.count()
        {
            return Err(PublishSyntaxError::Lengths(host, container));
        }
        Ok(Self { address, host, container, protocol })
    }
}

/// 0.0.0.0 stands for every address.
fn parse_address(text: &str) -> Result<Option<Ipv4Addr>, PublishSyntaxError> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| PublishSyntaxError::Address(text.to_owned()))?;
    Ok(Some(address).filter(|address| !address.is_unspecified()))
}

fn parse_protocol(text: &str) -> Result<u8, PublishSyntaxError> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(PROTOCOL_TCP),
        "udp" => Ok(PROTOCOL_UDP),
        _ => Err(PublishSyntaxError::Protocol(text.to_owned())),
    }
}

fn parse_range(text: &str) -> Result<PortRange, PublishSyntaxError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = PortRange { first: parse_port(first)?, last: parse_port(last)? };
    if range.last < range.first {
        return Err(PublishSyntaxError::Backwards(text.to_owned()));
    }
    Ok(range)
}

fn parse_port(text: &str) -> Result<u16, PublishSyntaxError> {
    // `+80` parses as a number, but nobody means it.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| *port > 0 && is_plain)
        .ok_or_else(|| PublishSyntaxError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { first, last }
    }

    #[test]
    fn every_form_of_docker_is_understood() {
        let lan = Some(Ipv4Addr::new(192, 168, 33, 10));
        let cases = [
            ("80", None, None, range(80, 80), 6),
            ("80/UDP", None, None, range(80, 80), 17),
            ("8080:80", None, Some(range(8080, 8080)), range(80, 80), 6),
            ("8080:80/tcp", None, Some(range(8080, 8080)), range(80, 80), 6),
            ("8000-8009:80", None, Some(range(8000, 8009)), range(80, 80), 6),
            ("8000-8009:9000-9009/udp", None, Some(range(8000, 8009)), range(9000, 9009), 17),
            ("9000-9009", None, None, range(9000, 9009), 6),
            ("192.168.33.10:53:53/udp", lan, Some(range(53, 53)), range(53, 53), 17),
            ("192.168.33.10::80", lan, None, range(80, 80), 6),
            ("0.0.0.0:80:80", None, Some(range(80, 80)), range(80, 80), 6),
            ("1-65535:1-65535", None, Some(range(1, 65535)), range(1, 65535), 6),
        ];
        for (text, address, host, container, protocol) in cases {
            let expected = PublishSyntax { address, host, container, protocol };
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{expected}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let cases = [
            ("", "\"\" is not a port; use 1 to 65535"),
            ("0", "\"0\" is not a port; use 1 to 65535"),
            ("65536", "\"65536\" is not a port; use 1 to 65535"),
            ("+80:80", "\"+80\" is not a port; use 1 to 65535"),
            ("web:80", "\"web\" is not a port; use 1 to 65535"),
            (":80", "\"\" is not a port; use 1 to 65535"),
            ("80-", "\"\" is not a port; use 1 to 65535"),
            ("90-80", "range 90-80 ends before it starts; swap its ends"),
            ("80/sctp", "protocol \"sctp\" cannot be published; use tcp or udp"),
            ("1.2.3:80:80", "\"1.2.3\" is not an IPv4 address"),
            (
                "127.0.0.1:80",
                "an address is followed by two ports; write 127.0.0.1:80:80, or 127.0.0.1::80 for \
                 a free one",
            ),
            ("1:2:3:4", "expected [ip:][hostport[-end]:]port[-end][/proto]"),
            (
                "[::1]:80:80",
                "IPv6 addresses cannot be published on; leave the address out or use IPv4",
            ),
            (
                "80-81:80-82",
                "ranges 80-81 and 80-82 differ in length; make them equal, or the right one a \
                 single port",
            ),
        ];
        for (text, expected) in cases {
            let error = text.parse::<PublishSyntax>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
