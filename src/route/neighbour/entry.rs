//! One neighbour, and what the table says about it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::{NetworkId, PortId};
use crate::packet::{Held, MacAddr};
use crate::time::Instant;

/// State of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NeighbourState {
    /// Being asked for.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Confirmed some time ago.
    Stale,
    /// Stale and used; a probe follows unless it is confirmed.
    Delay,
    /// Being probed by unicast.
    Probe,
    /// Did not answer.
    Failed,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// The network it is on.
    pub network: NetworkId,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its MAC, once known.
    pub mac: Option<MacAddr>,
    /// State.
    pub state: NeighbourState,
    /// When it was last confirmed.
    pub confirmed: Instant,
    /// The port whose budget of unresolved entries this one counts against.
    pub(super) asked_by: Option<PortId>,
    pub(super) probes: u8,
    pub(super) last_request: Option<Instant>,
    pub(super) deadline: Instant,
}

impl Neighbour {
    /// The state at `now`: a reachable entry turns stale by itself.
    pub fn state_at(&self, now: Instant) -> NeighbourState {
        if self.state == NeighbourState::Reachable && now > self.deadline {
            return NeighbourState::Stale;
        }
        self.state
    }
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourLimits {
    /// Entries in all.
    pub total: usize,
    /// Unresolved entries that one port may cause.
    pub unresolved_per_port: usize,
}

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Its MAC, and the entry.
    Known(MacAddr, u32),
    /// It is being asked for: hold the packet at this entry.
    Pending(u32),
    /// No room for another unresolved entry.
    Full,
}

/// What the table wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// Send an ARP request, by unicast if a MAC is given.
    Request {
        /// On this network.
        network: NetworkId,
        /// For this address.
        ip: Ipv4Addr,
        /// To this MAC.
        to: Option<MacAddr>,
        /// The port whose packets want it; none for a probe.
        asked_by: Option<PortId>,
    },
    /// A next hop is known: these frames may go.
    Release(Vec<Held>),
    /// A next hop did not answer: these frames end.
    Failed(Vec<Held>),
    /// A frame had to make room for another.
    Overflow(Held),
}
