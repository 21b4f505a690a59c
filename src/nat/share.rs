//! Which part of a switch's traffic an engine has.

use super::PortLeases;
use crate::id::WorkerId;

/// The part of one of several engines that carry a switch together. Each inside host belongs to
/// one of them, and so do its mappings, sessions and external ports.
#[derive(Clone, Debug)]
pub struct Share {
    /// This one.
    pub worker: WorkerId,
    /// Of how many; at most [`WorkerId::MAX`].
    pub workers: u8,
    /// The external ports they share.
    pub leases: PortLeases,
}

impl Share {
    /// All of it.
    pub fn sole() -> Self {
        Self { worker: WorkerId(0), workers: 1, leases: PortLeases::default() }
    }

    /// The shares of `workers` engines, at least one and at most [`WorkerId::MAX`].
    pub fn of(workers: usize) -> Vec<Self> {
        let workers = workers.clamp(1, WorkerId::MAX) as u8;
        let leases = PortLeases::default();
        let share = |worker| Self { worker: WorkerId(worker), workers, leases: leases.clone() };
        (0..workers).map(share).collect()
    }

    /// True if there is nobody else.
    pub const fn is_sole(&self) -> bool {
        self.workers <= 1
    }
}
