//! Who may talk to whom: isolation between networks, and between the hosts of one.

use crate::drop_reason::DropReason;

/// A packet that is about to be routed and belongs to no session yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// It came in from the outside.
    pub from_outside: bool,
    /// It goes to the outside.
    pub to_outside: bool,
    /// It stays on the network it came from.
    pub same_network: bool,
    /// That network's hosts are isolated from each other (`icc = false`).
    pub is_isolated: bool,
    /// One of the networks has no way out and none in (`internal = true`).
    pub is_internal: bool,
    /// Its destination is a published port, a static translation or a mapping.
    pub is_translated: bool,
    /// The inside network is routed, not translated, towards this peer.
    pub is_routed: bool,
}

impl Crossing {
    /// Whether it may pass.
    ///
    /// # Errors
    /// The reason why not.
    pub const fn check(&self) -> Result<(), DropReason> {
        if self.is_internal && !self.same_network {
            return Err(DropReason::InternalNetwork);
        }
        match (self.from_outside, self.to_outside) {
            _ if self.is_translated => Ok(()),
            (true, true) => Err(DropReason::NoTransit),
            (true, false) if !self.is_routed => Err(DropReason::DirectRouting),
            (false, false) if self.same_network && self.is_isolated => Err(DropReason::Isolated),
            (false, false) if !self.same_network => Err(DropReason::NetworkIsolated),
            _ => Ok(()),
        }
    }
}
