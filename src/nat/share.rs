//! Which part of a switch's traffic an engine has.

use super::PortLeases;
use crate::id::WorkerId;
use crate::table::BucketStates;

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
    /// What each port has caused to be flooded, by whichever worker it came in.
    pub storms: BucketStates,
    /// What the host of each port has sent, under its limit.
    pub limits_rx: BucketStates,
    /// What it has got.
    pub limits_tx: BucketStates,
}

impl Share {
    /// All of it.
    pub fn sole() -> Self {
        Self {
            worker: WorkerId(0),
            workers: 1,
            leases: PortLeases::default(),
            storms: BucketStates::default(),
            limits_rx: BucketStates::default(),
            limits_tx: BucketStates::default(),
        }
    }

    /// The shares of `workers` engines, at least one and at most [`WorkerId::MAX`].
    pub fn of(workers: usize) -> Vec<Self> {
        let workers = workers.clamp(1, WorkerId::MAX) as u8;
        let all = Self { workers, ..Self::sole() };
        let share = |worker| Self { worker: WorkerId(worker), ..all.clone() };
        (0..workers).map(share).collect()
    }

    /// True if there is nobody else.
    pub const fn is_sole(&self) -> bool {
        self.workers <= 1
    }
}
