//! The devices of one dataplane: waiting for them, and gathering a burst from those that are
//! ready.
//!
//! Readiness is edge-triggered, so it is remembered until a device says that it is empty. Ready
//! devices take turns of [`TURN`] frames, or of [`TURN_SEGMENTS`] frames on the wire, until the
//! burst is full; the one whose turn it is then, and that had nothing of it, begins the next burst.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::{Faults, Loss, PortIo, ReceiveError, Refusal, TransmitFile};
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::packet::{BURST_FRAMES, Burst, FrameView, Offloads};

/// Frames taken from one device before the next gets its turn.
const TURN: usize = 16;
/// Frames on the wire that super-frames of one device may stand for before the next gets its turn.
/// Of full packets a burst has no room for as many.
const TURN_SEGMENTS: u64 = 512;
/// Reads per burst: lost frames take no room in it.
const MAX_READS: usize = 4 * BURST_FRAMES;
/// Readiness events taken at once.
const MAX_EVENTS: usize = 256;
const WAKER: Token = Token(usize::MAX);

struct Device {
    io: Box<dyn PortIo>,
    /// Waits for its turn.
    is_ready: bool,
    max_frame: usize,
    output: Output,
}

/// How frames leave by a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// What it takes besides finished frames.
    pub offloads: Offloads,
    /// Where they are written; none: the device sends them.
    pub file: Option<TransmitFile>,
}

/// Devices by port.
pub struct Devices {
    poll: Poll,
    events: Events,
    devices: Vec<Option<Device>>,
    /// Those whose `is_ready` is set, in the order of their turns; perhaps some that are gone.
    ready: VecDeque<PortId>,
}

impl Devices {
    /// No devices.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(MAX_EVENTS),
            devices: Vec::new(),
            ready: VecDeque::new(),
        })
    }

    /// What ends a [`Devices::wait`] from another thread; to be asked for once.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn waker(&self) -> io::Result<Arc<Waker>> {
        Waker::new(self.poll.registry(), WAKER).map(Arc::new)
    }

    /// Gives a port its device, in place of a former one, and takes it for ready.
    ///
    /// # Errors
    /// If it cannot be waited for; it is dropped then.
    pub fn attach(&mut self, port: PortId, io: Box<dyn PortIo>) -> io::Result<()> {
        drop(self.detach(port));
        if let Some(fd) = io.raw_fd() {
            let token = Token(port.index());
            self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        if self.devices.len() <= port.index() {
            self.devices.resize_with(port.index() + 1, || None);
        }
        let output = Output { offloads: io.offloads(), file: io.transmit_file() };
        let max_frame = io.max_frame();
        if let Some(slot) = self.devices.get_mut(port.index()) {
            *slot = Some(Device { io, is_ready: false, max_frame, output });
        }
        self.set_ready(port);
        Ok(())
    }

    /// Takes a port's device away.
    pub fn detach(&mut self, port: PortId) -> Option<Box<dyn PortIo>> {
        let device = self.devices.get_mut(port.index())?.take()?;
        self.ready.retain(|other| *other != port);
        if let Some(fd) = device.io.raw_fd() {
            // A device that is gone has left the poll by itself.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        Some(device.io)
    }

    /// The ports that have a device.
    pub fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        let slots = self.devices.iter().enumerate();
        slots.filter(|(_, slot)| slot.is_some()).map(|(index, _)| PortId(index as u16))
    }

    /// Frames that the kernel lost at a port's device since the last call.
    pub fn poll_losses(&mut self, port: PortId) -> Vec<Loss> {
        self.device(port).map(|device| device.io.poll_losses()).unwrap_or_default()
    }

    /// True if a device may have frames.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Waits until a device may have frames, the waker is used or the time is over; none: for as
    /// long as it takes. Zero only looks.
    ///
    /// # Errors
    /// If waiting itself fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let index = event.token().0;
            if let Some(Some(device)) = self.devices.get_mut(index)
                && !device.is_ready
            {
                device.is_ready = true;
                self.ready.push_back(PortId(index as u16));
            }
        }
        Ok(())
    }

    /// Reads frames of ready devices, in turns, until none is ready or the burst has no room for
    /// the largest frame of the next one, which then stays ready: the first of the next burst if
    /// it had nothing of this one, else the last.
    pub fn gather(&mut self, burst: &mut Burst, faults: &mut Faults) {
        let mut reads = 0;
        while reads < MAX_READS
            && let Some(port) = self.ready.pop_front()
        {
            let Some(device) = self.device(port) else { continue };
            match device.take_turn(port, burst, faults) {
                Turn::Ended => {
                    reads += TURN;
                    self.ready.push_back(port);
                }
                Turn::Empty(count) => {
                    reads += count;
                    device.is_ready = false;
                }
                Turn::NoRoom(0) => return self.ready.push_front(port),
                Turn::NoRoom(_) => return self.ready.push_back(port),
            }
        }
    }

    /// How frames leave by a port; none without a device.
    pub(super) fn output(&self, port: PortId) -> Option<Output> {
        Some(self.devices.get(port.index())?.as_ref()?.output)
    }

    /// Sends a list of frames by a device that is no file.
    pub(super) fn send_list<'a>(
        &mut self,
        port: PortId,
        frames: &mut dyn Iterator<Item = FrameView<'a>>,
        refusals: &mut Vec<Refusal>,
    ) {
        match self.device(port) {
            Some(device) => device.io.send_list(frames, refusals),
            None => refusals.extend(frames.map(|_| Refusal::lost(DropReason::TxDeviceGone))),
        }
    }

    /// Why a frame is lost that a port's file refused with this error.
    pub(super) fn refused(&mut self, port: PortId, error: io::Error) -> DropReason {
        match self.device(port) {
            Some(device) => device.io.refused(error),
            None => DropReason::TxDeviceGone,
        }
    }

    fn device(&mut self, port: PortId) -> Option<&mut Device> {
        self.devices.get_mut(port.index())?.as_mut()
    }

    fn set_ready(&mut self, port: PortId) {
        if let Some(Some(device)) = self.devices.get_mut(port.index())
            && !device.is_ready
        {
            device.is_ready = true;
            self.ready.push_back(port);
        }
    }
}

/// How a device's turn went.
enum Turn {
    /// It may have more.
    Ended,
    /// It has nothing more, or is gone; so many reads it took.
    Empty(usize),
    /// The burst is full for it; so many of its frames are there.
    NoRoom(usize),
}

impl Device {
    fn take_turn(&mut self, port: PortId, burst: &mut Burst, faults: &mut Faults) -> Turn {
        let io = &mut self.io;
        let mut segments = 0;
        for count in 1..=TURN {
            match burst.receive(port, self.max_frame, |room| io.receive(room)) {
                Ok(Ok(_)) => {
                    segments += burst.len().checked_sub(1).map_or(0, |last| burst.segments(last));
                }
                Ok(Err(_full)) => return Turn::NoRoom(count - 1),
                Err(ReceiveError::Empty) => return Turn::Empty(count),
                Err(ReceiveError::Truncated) => {
                    faults.drops.push((port, DropReason::ReadTruncated));
                }
                Err(ReceiveError::Refused(reason)) => faults.drops.push((port, reason)),
                Err(ReceiveError::Gone(error)) => {
                    faults.lose(port, error);
                    return Turn::Empty(count);
                }
            }
            if segments >= TURN_SEGMENTS {
                break;
            }
        }
        Turn::Ended
    }
}
