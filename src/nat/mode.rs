//! How a network is translated.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

use crate::packet::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

/// Mapping and filtering behaviour (RFC 4787 sections 4 and 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatMode {
    /// Routed, not translated; reachable from outside by its own addresses.
    None,
    /// Endpoint-independent mapping and filtering: anybody may answer a mapping.
    EimEif,
    /// Endpoint-independent mapping, address-dependent filtering: any port of a peer may answer.
    EimAdf,
    /// Endpoint-independent mapping, address-and-port-dependent filtering.
    #[default]
    EimApdf,
    /// Address-and-port-dependent mapping: external ports may overlap per destination.
    Apdm,
}

/// The modes of a network, by protocol (RFC 7857 section 6), and where none applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatPolicy {
    /// For TCP.
    pub tcp: NatMode,
    /// For UDP.
    pub udp: NatMode,
    /// For ICMP queries.
    pub icmp: NatMode,
    /// For protocols without ports, which are translated by address; any mode but
    /// [`NatMode::None`] means the same.
    pub other: NatMode,
    /// Destinations to which nothing is translated (RFC 6888 REQ-6).
    pub exempt: Vec<Ipv4Net>,
}

impl NatPolicy {
    /// The same mode for all protocols.
    pub const fn uniform(mode: NatMode) -> Self {
        Self { tcp: mode, udp: mode, icmp: mode, other: mode, exempt: Vec::new() }
    }

    /// The mode for a protocol towards a destination outside.
    pub fn mode(&self, protocol: u8, remote: Ipv4Addr) -> NatMode {
        if self.exempt.iter().any(|net| net.contains(&remote)) {
            return NatMode::None;
        }
        match protocol {
            PROTOCOL_TCP => self.tcp,
            PROTOCOL_UDP => self.udp,
            PROTOCOL_ICMP => self.icmp,
            _ => self.other,
        }
    }
}
