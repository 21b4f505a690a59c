//! What one network's DHCP server is told.

use std::net::Ipv4Addr;

use crate::control::addresses::{AddressRange, PoolSettings};
use crate::id::{NetworkId, PortId};
use crate::local::dhcp::Parameters;
use crate::packet::MacAddr;
use crate::switch::Guard;

/// A network that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSettings {
    /// Its number in the engine.
    pub network: NetworkId,
    /// Its name.
    pub name: String,
    /// Where leases come from; none: the whole subnet.
    pub range: Option<AddressRange>,
    /// Never leased.
    pub exclude: Vec<AddressRange>,
    /// How long a lease lasts, in seconds.
    pub lease_s: u32,
    /// What clients are told.
    pub parameters: Parameters,
    /// The ports of the network.
    pub ports: Vec<ScopePort>,
}

/// A port of a network that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePort {
    /// Its number in the engine.
    pub id: PortId,
    /// Its name, which no client behind another port may take.
    pub name: String,
    /// Its host's configured MAC.
    pub mac: Option<MacAddr>,
    /// Its host's configured address: reserved, and leased to its MAC only.
    pub address: Option<Ipv4Addr>,
    /// What its host may call itself as configured.
    pub guard: Option<Guard>,
}

impl ScopeSettings {
    /// The pool that leases come from.
    pub(super) fn pool(&self) -> PoolSettings {
        PoolSettings {
            gateway: Some(self.parameters.server.addr()),
            range: self.range,
            exclude: self.exclude.clone(),
            ..PoolSettings::new(self.name.clone(), self.parameters.server.trunc())
        }
    }

    /// The port whose address is reserved for a MAC, and the address.
    pub(super) fn reservation(&self, mac: MacAddr) -> Option<(&ScopePort, Ipv4Addr)> {
        let port =
            self.ports.iter().find(|port| port.mac == Some(mac) && port.address.is_some())?;
        Some((port, port.address?))
    }

    /// A port by its number.
    pub(super) fn port(&self, id: PortId) -> Option<&ScopePort> {
        self.ports.iter().find(|port| port.id == id)
    }

    /// Where leases come from.
    pub(super) fn leased_range(&self) -> AddressRange {
        self.range.unwrap_or_else(|| self.parameters.server.trunc().into())
    }
}
