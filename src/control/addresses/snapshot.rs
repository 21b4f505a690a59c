//! What is kept of a pool over a restart.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The addresses of a pool, to be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSnapshot {
    /// Those that are taken, by address.
    pub assigned: Vec<PoolEntry>,
    /// Those that were, in the order they were released.
    #[serde(default)]
    pub released: Vec<PoolEntry>,
}

/// One address and its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolEntry {
    /// Whose it is, or was.
    pub owner: String,
    /// The address.
    pub address: Ipv4Addr,
}
