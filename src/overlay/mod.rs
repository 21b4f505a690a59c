//! The overlay: networks that stretch over several hosts by VXLAN (RFC 7348), and what tapway knows
//! of the other tunnel endpoints.
//!
//! Each network has a tunnel, a port of its own, to each other endpoint. So the FDB learns behind
//! which endpoint a MAC is as it learns ports, entries move and age alike, and each tunnel has its
//! own counters and MTU. What is decided here is which tunnel a datagram came by, and what its ECN
//! field means for the packet inside; the engine puts headers on and takes them off.
//!
//! Read first: RFC 7348 4 and 5, RFC 6040 4.
#![warn(clippy::indexing_slicing)]

mod ecn;
mod endpoints;
mod tunnels;

pub use ecn::decapsulated;
pub use endpoints::Endpoints;
pub use tunnels::{NoTunnel, Tunnels};
