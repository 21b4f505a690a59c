//! One lease.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::PortId;
use crate::packet::MacAddr;
use crate::time::Instant;

/// How far a lease has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Offered; the client has not said that it takes it.
    Offered,
    /// The client's.
    Bound,
    /// Its client found somebody else using it: nobody gets it for a while.
    Declined,
}

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's MAC.
    pub mac: MacAddr,
    /// The port that the client is behind.
    pub port: PortId,
    /// What the client is called: as its port if the address is reserved, else as it says.
    pub host_name: Option<String>,
    /// How far it has come.
    pub state: LeaseState,
    /// Since when it is the client's.
    pub since: Instant,
    /// When it ends.
    pub until: Instant,
    /// The address is a configured port's, and not the pool's to give.
    pub is_reserved: bool,
}
