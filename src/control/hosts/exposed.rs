//! Ports that a host says it serves: `port[-end][/proto]`, as of Docker's `--expose`.
//!
//! Nothing is opened by it: links tell of them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::control::publish_syntax::{PortRange, PublishSyntax};
use crate::packet::PROTOCOL_UDP;

/// Ports that one entry may name: each is five variables in the environment of a link.
pub const MAX_EXPOSED_RANGE: u32 = 1024;

/// A protocol above IP, as links name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// SCTP; it can be exposed, not published.
    Sctp,
    /// UDP.
    Udp,
}

/// One port that a host serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExposedPort {
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub transport: Transport,
}

/// What the user wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposeSyntax {
    /// The ports.
    pub ports: PortRange,
    /// Their protocol.
    pub transport: Transport,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExposeSyntaxError {
    /// A port is not one.
    #[error("\"{0}\" is not a port; use 1 to 65535, or a range such as 8000-8010")]
    Port(String),
    /// A range runs backwards.
    #[error("range {0} ends before it starts; swap its ends")]
    Backwards(String),
    /// A range is too long.
    #[error("range {0} is longer than {MAX_EXPOSED_RANGE} ports; expose those that are linked to")]
    TooLong(String),
    /// The protocol is unknown.
    #[error("protocol \"{0}\" cannot be exposed; use tcp, udp or sctp")]
    Protocol(String),
}

impl Transport {
    /// In lower case, as of a URL's scheme.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Sctp => "sctp",
            Self::Udp => "udp",
        }
    }
}

impl ExposeSyntax {
    /// A published port is an exposed one.
    pub const fn published(publish: &PublishSyntax) -> Self {
        let transport = match publish.protocol {
            PROTOCOL_UDP => Transport::Udp,
            _ => Transport::Tcp,
        };
        Self { ports: publish.container, transport }
    }

    /// Each of the ports.
    pub fn each(self) -> impl Iterator<Item = ExposedPort> {
        let transport = self.transport;
        (self.ports.first..=self.ports.last).map(move |port| ExposedPort { port, transport })
    }
}

impl FromStr for ExposeSyntax {
    type Err = ExposeSyntaxError;

    fn from_str(text: &str) -> Result<Self, ExposeSyntaxError> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let transport = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "sctp" => Transport::Sctp,
            _ => return Err(ExposeSyntaxError::Protocol(protocol.to_owned())),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let ports = PortRange { first: port(first)?, last: port(last)? };
        if ports.last < ports.first {
            return Err(ExposeSyntaxError::Backwards(text.to_owned()));
        }
        if ports.count() > MAX_EXPOSED_RANGE {
            return Err(ExposeSyntaxError::TooLong(text.to_owned()));
        }
        Ok(Self { ports, transport })
    }
}

fn port(text: &str) -> Result<u16, ExposeSyntaxError> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if port > 0 && is_digits => Ok(port),
        _ => Err(ExposeSyntaxError::Port(text.to_owned())),
    }
}

impl Ord for ExposedPort {
    /// As links number them: TCP first, then the other protocols by name.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.transport, self.port).cmp(&(other.transport, other.port))
    }
}

impl PartialOrd for ExposedPort {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.port, self.transport.name())
    }
}

impl fmt::Display for ExposeSyntax {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.ports, self.transport.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_syntax_is_read_and_what_is_not_is_named() {
        let read = |text: &str| text.parse::<ExposeSyntax>();
        assert_eq!(read("80").unwrap().to_string(), "80/tcp");
        assert_eq!(read("53/UDP").unwrap().to_string(), "53/udp");
        let range: Vec<String> =
            read("8000-8002/sctp").unwrap().each().map(|port| port.to_string()).collect();
        assert_eq!(range, ["8000/sctp", "8001/sctp", "8002/sctp"]);
        for (text, error) in [
            ("0", "\"0\" is not a port"),
            ("+80", "\"+80\" is not a port"),
            ("", "\"\" is not a port"),
            ("65536", "\"65536\" is not a port"),
            ("80:80", "\"80:80\" is not a port"),
            ("90-80", "range 90-80 ends before it starts"),
            ("1-2000", "range 1-2000 is longer than 1024"),
            ("80/icmp", "protocol \"icmp\""),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.starts_with(error), "{text}: {said}");
        }
    }
}
