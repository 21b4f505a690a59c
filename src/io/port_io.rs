//! What a worker needs of a port's device.

use std::io;
use std::os::fd::RawFd;

use crate::drop_reason::DropReason;

/// Why no frame was received.
#[derive(Debug)]
pub enum ReceiveError {
    /// There is none now.
    Empty,
    /// There was one, larger than the room for it; it is lost.
    Truncated,
    /// The device is gone, or the source has ended: the port goes down.
    Gone(io::Error),
}

/// Frames that the kernel lost at a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: DropReason,
    /// How many since the last call.
    pub frames: u64,
}

/// A port's device. Neither method blocks.
pub trait PortIo: Send {
    /// What becomes readable when frames arrive; none: [`PortIo::receive`] is called all the time
    /// until it says that the source has ended.
    fn raw_fd(&self) -> Option<RawFd>;

    /// The largest frame it may deliver, in bytes; a frame larger than the room is lost.
    fn max_frame(&self) -> usize;

    /// Reads one frame into `room` and gives its length.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    fn receive(&mut self, room: &mut [u8]) -> Result<usize, ReceiveError>;

    /// Writes one frame.
    ///
    /// # Errors
    /// Why the device did not take it: [`DropReason::TxQueueFull`] if it may later,
    /// [`DropReason::TxError`], or [`DropReason::TxDeviceGone`], after which the port goes down.
    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason>;

    /// Frames the kernel lost at the device since the last call.
    fn poll_losses(&mut self) -> Vec<Loss> {
        Vec::new()
    }
}
