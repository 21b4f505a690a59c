//! A frame that left its burst to wait.

use bytes::Bytes;

use super::{Offload, Origin};
use crate::id::{NetworkId, PortId};

/// A frame that waits for its next hop's MAC, or for the first fragment of its datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The port it came in by.
    pub port: PortId,
    /// That port's network then; the number may have a new owner when the frame goes on.
    pub network: NetworkId,
    /// The frame as it came.
    pub frame: Bytes,
    /// What is left to be done with it.
    pub offload: Offload,
    /// How it came in, as far as it matters after a wait.
    pub origin: Origin,
}
