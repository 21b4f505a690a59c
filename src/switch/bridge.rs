//! A network's bridge: its ports and its policy for frames to many.

use crate::id::PortId;

/// Policy of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// Relay 01-80-C2-00-00-00..0F (LLDP, LACP, STP), which IEEE 802.1D 7.12.6 forbids.
    pub forward_reserved: bool,
    /// Frames per second that one port may cause to be flooded; 0: no limit.
    pub storm_limit: u32,
}

/// The ports of a network.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// What users call the network.
    pub name: String,
    /// Its policy.
    pub settings: BridgeSettings,
    ports: Vec<PortId>,
}

impl Bridge {
    /// A bridge without ports.
    pub const fn new(name: String, settings: BridgeSettings) -> Self {
        Self { name, settings, ports: Vec::new() }
    }

    /// The ports, in the order in which they joined: the order of flooding.
    pub fn ports(&self) -> &[PortId] {
        &self.ports
    }

    /// Adds a port.
    pub fn join(&mut self, port: PortId) {
        if !self.ports.contains(&port) {
            self.ports.push(port);
        }
    }

    /// Removes a port.
    pub fn leave(&mut self, port: PortId) {
        self.ports.retain(|member| *member != port);
    }
}
