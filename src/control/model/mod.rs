//! The desired state, as the dataplane and the broker are told of it.
//!
//! * `build`: from a checked configuration,
//! * `ids`: numbers that stay with their names,
//! * `station`: the place on an uplink that is shared with the host,
//! * `vxlan`: networks over several hosts,
//! * `change`: the difference between two models, and the order in which it is applied.

mod build;
mod change;
mod host;
mod ids;
mod names;
mod station;
mod vxlan;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::config::Config;
use super::dhcp::ScopeSettings;
use crate::engine::{Command, EngineConfig, NetworkSpec, PortSpec, Vtep};
use crate::id::{NetworkId, PortId};
use crate::io::{DataplaneSettings, PortPlan, ProcessNetns};
use crate::local::dns::NameTable;
use crate::nat::Publish;
use crate::packet::MacAddr;
use crate::switch::PortLimits;

pub use change::{Change, PortChange, Route, Step};
pub use host::{HostEntry, HostIndex};
pub use names::HOST_NAME;
pub use vxlan::EndpointEntry;

/// The uplink's network.
pub const UPLINK: NetworkId = NetworkId(0);
/// The uplink's port.
pub const UPLINK_PORT: PortId = PortId(0);

/// The namespaces of processes that hosts live in, by their number.
pub type Processes = HashMap<u32, ProcessNetns>;

/// A port: what the engine knows of it, and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// Its number.
    pub id: PortId,
    /// What the engine is told; the name is in it.
    pub spec: PortSpec,
    /// What the broker is told.
    pub plan: PortPlan,
    /// The host's MAC, where it is known.
    pub mac: Option<MacAddr>,
    /// The host's address, where it is configured.
    pub address: Option<Ipv4Addr>,
    /// How much may pass it.
    pub limits: PortLimits,
}

/// The desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Networks; the uplink is number 0.
    pub networks: Vec<(NetworkId, NetworkSpec)>,
    /// Ports; the uplink is number 0.
    pub ports: Vec<PortEntry>,
    /// The hosts behind the ports.
    pub hosts: Vec<HostEntry>,
    /// Routes: prefix and next hop.
    pub routes: Vec<Route>,
    /// This host's own addresses in networks.
    pub host_places: Vec<(NetworkId, Ipv4Addr)>,
    /// tapway as a tunnel endpoint; none: it is none.
    pub vtep: Option<Vtep>,
    /// Known hosts behind peers, sorted.
    pub endpoints: Vec<EndpointEntry>,
    /// Published ports.
    pub publishes: Vec<Publish>,
    /// Networks whose hosts are served by DHCP.
    pub dhcp: Vec<ScopeSettings>,
    /// Bounds and timers.
    pub engine: EngineConfig,
    /// How the dataplane uses the system.
    pub dataplane: DataplaneSettings,
    /// Names of hosts.
    pub names: Arc<NameTable>,
    /// Resolvers for other names, in order; empty: those of this host.
    pub upstreams: Vec<SocketAddr>,
    /// The API's socket.
    pub api_socket: PathBuf,
}

impl Model {
    /// The state a configuration asks for. Ports start down: each goes up with its device.
    pub fn new(config: &Config) -> Self {
        Self::succeeding(config, None, &Processes::new())
    }

    /// The same, where names that `before` has keep their numbers. `processes` are those that
    /// ports live in the namespaces of.
    pub fn succeeding(config: &Config, before: Option<&Self>, processes: &Processes) -> Self {
        build::build(config, &ids::Ids::of(config, before), processes)
    }

    /// A state without networks under the same settings.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            networks: Vec::new(),
            ports: Vec::new(),
            hosts: Vec::new(),
            routes: Vec::new(),
            host_places: Vec::new(),
            vtep: None,
            endpoints: Vec::new(),
            publishes: Vec::new(),
            dhcp: Vec::new(),
            engine: self.engine,
            dataplane: self.dataplane,
            names: Arc::default(),
            upstreams: self.upstreams.clone(),
            api_socket: self.api_socket.clone(),
        }
    }

    /// What leads from `before` to this state.
    pub fn since(&self, before: &Self) -> Change {
        Change::between(before, self)
    }

    /// The section with settings that are other than those of `before` and hold from a start only.
    pub fn needs_restart(&self, before: &Self) -> Option<&'static str> {
        let sections = [
            ("[limits] or [timeouts]", self.engine != before.engine),
            ("[dataplane]", self.dataplane != before.dataplane),
            ("[api]", self.api_socket != before.api_socket),
        ];
        sections.into_iter().find_map(|(section, is_other)| is_other.then_some(section))
    }

    /// The network whose subnet an address is in.
    pub fn home_of(&self, address: Ipv4Addr) -> Option<NetworkId> {
        let is_home = |spec: &NetworkSpec| {
            spec.gateway.as_ref().is_some_and(|own| own.address.contains(&address))
        };
        self.networks.iter().find(|(_, spec)| is_home(spec)).map(|(id, _)| *id)
    }

    /// A network.
    pub fn network(&self, id: NetworkId) -> Option<&NetworkSpec> {
        self.networks.iter().find(|(other, _)| *other == id).map(|(_, spec)| spec)
    }

    /// What an engine is told to get there.
    pub fn commands(&self) -> Vec<Command> {
        let steps = self.since(&self.emptied()).steps();
        steps.into_iter().map(|step| step.command).collect()
    }

    /// tapway's own address on the uplink.
    pub fn uplink_address(&self) -> Option<Ipv4Addr> {
        self.network(UPLINK)?.gateway.as_ref().map(|gateway| gateway.address.addr())
    }

    /// True if this host has a place in a network.
    pub fn has_host(&self, network: NetworkId) -> bool {
        self.host_place(network).is_some()
    }

    /// This host's address in a network that it has a place in.
    pub fn host_place(&self, network: NetworkId) -> Option<Ipv4Addr> {
        self.host_places.iter().find(|(id, _)| *id == network).map(|(_, address)| *address)
    }

    /// The uplink's port.
    pub fn uplink(&self) -> Option<&PortEntry> {
        self.ports.iter().find(|port| port.id == UPLINK_PORT)
    }
}
