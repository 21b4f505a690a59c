//! Frames that one worker's engine hands to another's.

use std::net::Ipv4Addr;

use super::FrameRef;
use crate::id::{PortId, WorkerId};

/// How a frame came into a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A device received it.
    #[default]
    Device,
    /// Another worker received it, and this one owns its traffic. It goes no further.
    Owned,
    /// Another worker received this fragment, and this one knows, or will know, whose it is.
    Fragment,
    /// Another worker owns it if this one has no session for it.
    Asked,
    /// The same, after the other worker had none.
    Settled,
    /// Another worker has given it an external source: it arrives as from outside, at an external
    /// address.
    Looped(BeforeLoop),
    /// A copy of what another worker has received and counted.
    Copy,
    /// tapway put it into a datagram to another VTEP, and it waits for the way there.
    Encapsulated,
}

/// What a looped packet said before its source was translated: what its sender knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeforeLoop {
    /// Source address.
    pub src: Ipv4Addr,
    /// Source port; any of a packet without.
    pub sport: u16,
    /// Identification.
    pub id: u16,
}

impl Origin {
    /// True if it loops.
    pub const fn is_looped(self) -> bool {
        matches!(self, Self::Looped(_))
    }
}

/// A frame for another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// For whom.
    pub to: WorkerId,
    /// The frame, as it is at the end of the pass.
    pub frame: FrameRef,
    /// The port it came in by.
    pub port: PortId,
    /// How the other is to take it.
    pub origin: Origin,
}
