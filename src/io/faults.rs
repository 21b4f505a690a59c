//! What went wrong at devices while a burst was gathered or written.

use std::io;

use super::Refusal;
use crate::drop_reason::DropReason;
use crate::id::PortId;

/// Lost frames and lost devices. Who handles them clears it.
#[derive(Debug, Default)]
pub struct Faults {
    /// Frames that were lost, one entry each.
    pub drops: Vec<(PortId, DropReason)>,
    /// Frames of tunnels that the underlay's device did not take.
    pub refusals: Vec<(PortId, Refusal)>,
    /// Devices that are gone, and what they said; each once.
    pub gone: Vec<(PortId, io::Error)>,
}

impl Faults {
    /// True without any.
    pub const fn is_empty(&self) -> bool {
        self.drops.is_empty() && self.refusals.is_empty() && self.gone.is_empty()
    }

    /// A frame for `port` was not taken; that may tell that the device is gone.
    pub(super) fn refuse(&mut self, port: PortId, reason: DropReason) {
        self.drops.push((port, reason));
        if reason == DropReason::TxDeviceGone {
            self.lose(port, io::ErrorKind::NotConnected.into());
        }
    }

    /// The device of `port` is gone.
    pub(super) fn lose(&mut self, port: PortId, error: io::Error) {
        if self.gone.iter().all(|(other, _)| *other != port) {
            self.gone.push((port, error));
        }
    }
}
