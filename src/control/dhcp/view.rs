//! Leases as users see them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{LeaseState, Scope};
use crate::packet::MacAddr;
use crate::time::Instant;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// The network.
    pub network: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The client's MAC.
    pub mac: MacAddr,
    /// Who the client is: its MAC, or its identifier as `id` and bytes.
    pub client: String,
    /// What it is called.
    pub host_name: Option<String>,
    /// The port it is behind.
    pub port: String,
    /// How far the lease has come.
    pub state: LeaseState,
    /// Seconds until it ends.
    pub remaining_s: u64,
    /// The address is reserved for the host.
    pub is_reserved: bool,
}

impl LeaseRow {
    /// The leases of a network.
    pub(super) fn of(scope: &Scope, now: Instant) -> Vec<Self> {
        let settings = scope.settings();
        let row = |(client, lease): (&crate::local::dhcp::ClientId, &super::Lease)| Self {
            network: settings.name.clone(),
            address: lease.address,
            mac: lease.mac,
            client: client.to_string(),
            host_name: lease.host_name.clone(),
            port: settings.port(lease.port).map(|port| port.name.clone()).unwrap_or_default(),
            state: lease.state,
            remaining_s: lease.until.since(now).as_secs(),
            is_reserved: lease.is_reserved,
        };
        scope.leases().into_iter().filter(|(_, lease)| lease.until > now).map(row).collect()
    }
}
