//! What a worker needs of a port's device.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use crate::drop_reason::DropReason;
use crate::packet::vxlan::{Outer, Vni};
use crate::packet::{FrameView, Offloads, Received};

/// Why no frame was received.
#[derive(Debug)]
pub enum ReceiveError {
    /// There is none now.
    Empty,
    /// There was one, larger than the room for it; it is lost.
    Truncated,
    /// There was one that nobody can take; it is lost for this reason.
    Refused(DropReason),
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

/// A file that takes a frame by one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmitFile {
    /// The file, open as long as the device is.
    pub fd: RawFd,
    /// Each frame comes behind a virtio-net header.
    pub has_header: bool,
}

/// What became of a frame that a device did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is lost.
    Lost {
        /// Why.
        reason: DropReason,
        /// The tunnel that it was of: network number and peer; none: it was the port's own.
        tunnel: Option<(Vni, Ipv4Addr)>,
    },
    /// The way to its peer takes no packets of its size.
    TooLarge {
        /// The outer frame; of a super-frame, the first of those on the wire.
        outer: Vec<u8>,
        /// The largest packet that the way takes, in bytes.
        mtu: u16,
    },
}

impl Refusal {
    /// A frame of the port itself is lost.
    pub const fn lost(reason: DropReason) -> Self {
        Self::Lost { reason, tunnel: None }
    }

    /// The tunnel that it was of.
    pub fn tunnel(&self) -> Option<(Vni, Ipv4Addr)> {
        match self {
            Self::Lost { tunnel, .. } => *tunnel,
            Self::TooLarge { outer, .. } => {
                Outer::parse(outer).ok().map(|outer| (outer.vni, outer.dst))
            }
        }
    }

    /// Why it was not taken.
    pub const fn reason(&self) -> DropReason {
        match self {
            Self::Lost { reason, .. } => *reason,
            Self::TooLarge { .. } => DropReason::FragmentationNeeded,
        }
    }
}

/// A port's device. No method blocks.
pub trait PortIo: Send {
    /// What becomes readable when frames arrive; none: [`PortIo::receive`] is called all the time
    /// until it says that the source has ended.
    fn raw_fd(&self) -> Option<RawFd>;

    /// The largest frame it may deliver, in bytes; a frame larger than the room is lost.
    fn max_frame(&self) -> usize;

    /// Reads one frame into `room`, in which [`VNET_HEADER`](crate::packet::VNET_HEADER) bytes
    /// precede the frame's own place.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError>;

    /// What it takes besides finished frames; asked for once, when it is attached.
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    /// The file that takes frames, if one write each is all there is to sending: then
    /// [`PortIo::send`] is not called, and many are written at once.
    fn transmit_file(&self) -> Option<TransmitFile> {
        None
    }

    /// The transmit file refused a frame with this error: why it is lost.
    fn refused(&mut self, _error: io::Error) -> DropReason {
        DropReason::TxError
    }

    /// Sends one finished frame.
    ///
    /// # Errors
    /// Why the device did not take it: [`DropReason::TxQueueFull`] if it may later,
    /// [`DropReason::TxError`], or [`DropReason::TxDeviceGone`], after which the port goes down.
    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason>;

    /// Sends a list of frames in their order, where there is no transmit file. What is left to be
    /// done with them is done here. Those that were not taken are appended to `refusals`.
    fn send_list<'a>(
        &mut self,
        frames: &mut dyn Iterator<Item = FrameView<'a>>,
        refusals: &mut Vec<Refusal>,
    ) {
        let mut scratch = Vec::new();
        for frame in frames {
            frame.for_each_segment(&mut scratch, |frame| {
                refusals.extend(self.send(frame).err().map(Refusal::lost));
            });
        }
    }

    /// Further queues of the device, each for another worker to read and write; none if it has
    /// but one.
    fn take_queues(&mut self) -> Vec<Box<dyn PortIo>> {
        Vec::new()
    }

    /// A handle by which another worker can send, and nothing is received.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    fn sender(&self) -> io::Result<Box<dyn PortIo>>;

    /// Frames the kernel lost at the device since the last call.
    fn poll_losses(&mut self) -> Vec<Loss> {
        Vec::new()
    }
}
