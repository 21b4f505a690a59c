//! Layer 2: each network is one bridge that learns, looks up and floods.
//!
//! VLAN-unaware: tags and any EtherType pass unchanged. The bridge decides by MAC only; what is
//! for the gateway's MAC goes up to the router. Bounds: the FDB as a whole, per network and per
//! port; at a port's bound its own oldest entry goes, at the network's the oldest of the port
//! with the most, so a flood of forged sources forgets its own first.
//!
//! Read first: IEEE 802.1D 7.7 to 7.9.
#![warn(clippy::indexing_slicing)]

mod bridge;
mod fdb;
mod guard;
mod limit;
mod port;
mod rogue_server;

pub use bridge::{Bridge, BridgeSettings};
pub use fdb::{Fdb, FdbEntry, FdbKey, FdbLimits, Learned};
pub use guard::Guard;
pub use limit::{Limiter, PortLimits, RateLimit};
pub use port::{Apart, Port, PortCounters, PortRole, Tunnel};
pub use rogue_server::refuse_rogue_server;
