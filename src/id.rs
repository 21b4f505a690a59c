//! Identifiers of the things a user configures.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A switch port: a TAP, the uplink, a tunnel or a memory port. Bound: 65 534 ports.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PortId(pub u16);

/// A network: one bridge and one router interface. Bound: 65 534 networks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NetworkId(pub u16);

/// A worker: one thread with an engine of its own. Bound: [`WorkerId::MAX`] of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// Most workers of a switch.
    pub const MAX: usize = 16;

    /// The position in a table indexed by worker.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl PortId {
    /// The position in a table indexed by port.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl NetworkId {
    /// The network of a port that is in none; no network has this number.
    pub const NONE: Self = Self(u16::MAX);

    /// The position in a table indexed by network.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port{}", self.0)
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network{}", self.0)
    }
}
