//! Layer 3: interfaces of the router, routes, neighbours, and the rules for ICMP errors.
//!
//! A network with an address has one [`Interface`]; the uplink is such a network too, with the
//! outside behind it. Nothing here touches a frame.
//!
//! Read first: RFC 1812 (router), RFC 826 and RFC 1122 2.3.2 (ARP), RFC 4861 7.3 (states).
#![warn(clippy::indexing_slicing)]

mod fib;
mod icmp_policy;
mod interface;
mod neighbour;

pub use fib::{Fib, NextHop, Route, RouteKind};
pub use icmp_policy::{
    IcmpLimiter, IcmpLimits, is_martian_destination, is_martian_source, may_report,
};
pub use interface::{Interface, Interfaces};
pub use neighbour::{
    Neighbour, NeighbourEvent, NeighbourLimits, NeighbourState, Neighbours, Resolution,
};
