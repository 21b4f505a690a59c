//! The DHCP server: leases of addresses for hosts that ask (RFC 2131).
//!
//! A [`Scope`] decides for one network: a pure function of requests, time and its lease table.
//! [`DhcpServer`] has them all; [`DhcpService`] is the thread that reads the dataplane's requests,
//! probes an address that is about to be offered, and sends the answers. Leases live in memory. A
//! client that asks for its address again after a restart of tapway gets it, unless somebody else
//! has it meanwhile: the server is the only one of its network and answers with authority.
//!
//! Bounds: [`scope::MAX_LEASES`] per network, of which one port may hold
//! [`scope::MAX_LEASES_PER_PORT`] and half of all addresses; requests as the engine limits them.

mod lease;
mod leases;
pub mod scope;
mod server;
mod service;
mod settings;
mod view;

#[cfg(test)]
mod tests;

pub use lease::{Lease, LeaseState};
pub use leases::{Leases, LeasesFollower};
pub use scope::{Answer, Scope, Silence};
pub use server::DhcpServer;
pub use service::DhcpService;
pub use settings::{ScopePort, ScopeSettings};
pub use view::LeaseRow;
