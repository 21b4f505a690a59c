//! Frames that one worker's engine hands to another's.

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
    /// Another worker has translated it: it arrives as from outside, at an external address.
    Looped,
    /// A copy of what another worker has received and counted.
    Copy,
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
