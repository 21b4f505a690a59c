//! Endpoints, and the addresses and ports of a packet.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::packet::FlowKey;

/// An address and a port (or ICMP identifier, or zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address.
    pub ip: Ipv4Addr,
    /// Port or identifier.
    pub port: u16,
}

/// Source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source.
    pub src: Endpoint,
    /// Destination.
    pub dst: Endpoint,
}

impl Endpoint {
    /// An endpoint.
    pub const fn new(ip: Ipv4Addr, port: u16) -> Self {
        Self { ip, port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ip, self.port)
    }
}

impl Tuple {
    /// The tuple of the opposite direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src }
    }
}

impl From<FlowKey> for Tuple {
    fn from(key: FlowKey) -> Self {
        Self { src: Endpoint::new(key.src, key.sport), dst: Endpoint::new(key.dst, key.dport) }
    }
}
