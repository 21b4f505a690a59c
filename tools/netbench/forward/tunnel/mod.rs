//! The ceiling of VXLAN: one machine's end of a tunnel between a TAP and a UDP socket, with
//! nothing looked up. Super-frames of the TAP are cut into segments, which leave as trains of
//! datagrams; those that arrive are joined again before the TAP gets them.
//!
//! All in one thread, which sleeps when neither has anything.

mod socket;
mod trains;

use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tapway::drop_reason::DropReason;
use tapway::io::{PortIo, ReceiveError, Tap, ask_for_short_slices};
use tapway::packet::{
    BURST_FRAMES, Coalescer, FrameView, Headers, Outgoing, Received, Segments, VNET_HEADER,
};

use super::{End, bare};
use crate::error::{BenchError, Context, Result};
use crate::underlay::HOST_MTU;
use socket::UnderlaySocket;
use trains::Trains;

const TAP: Token = Token(0);
const SOCKET: Token = Token(1);
/// Rounds between two looks at who was not ready, while the other is.
const LOOK_EVERY: u32 = 4;

/// Forwards between the host's TAP and the machine at `remote` until the TAP is gone.
pub fn run(host: &End, local: Ipv4Addr, remote: Ipv4Addr) -> Result<()> {
    let mut tunnel = Tunnel::open(host, (local, remote))?;
    ask_for_short_slices().context("time slices")?;
    let mut waiting = Waiting::for_both(&tunnel)?;
    loop {
        if waiting.is_tap_ready {
            waiting.is_tap_ready = tunnel.send_out()?;
        }
        if waiting.is_socket_ready {
            waiting.is_socket_ready = tunnel.take_in()?;
        }
        waiting.look()?;
    }
}

/// Who may have something; told by edges, so both are read until they are empty.
struct Waiting {
    poll: Poll,
    events: Events,
    is_tap_ready: bool,
    is_socket_ready: bool,
    unlooked: u32,
}

impl Waiting {
    fn for_both(tunnel: &Tunnel) -> Result<Self> {
        let poll = Poll::new().context("waiting")?;
        let tap = tunnel.tap.raw_fd().unwrap_or_default();
        for (fd, token) in [(tap, TAP), (tunnel.socket.raw_fd(), SOCKET)] {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
                .context("waiting for a TAP and a socket")?;
        }
        let events = Events::with_capacity(2);
        Ok(Self { poll, events, is_tap_ready: true, is_socket_ready: true, unlooked: 0 })
    }

    /// Sleeps when neither has anything, and looks now and then when one has.
    fn look(&mut self) -> Result<()> {
        let is_ready = self.is_tap_ready || self.is_socket_ready;
        self.unlooked += 1;
        if is_ready && self.unlooked < LOOK_EVERY {
            return Ok(());
        }
        self.unlooked = 0;
        let patience = is_ready.then_some(Duration::ZERO);
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            polled => polled.context("waiting for a TAP and a socket")?,
        }
        for event in &self.events {
            match event.token() {
                TAP => self.is_tap_ready = true,
                _ => self.is_socket_ready = true,
            }
        }
        Ok(())
    }
}

/// A TAP, a socket, and the memory between them.
struct Tunnel {
    tap: Tap,
    socket: UnderlaySocket,
    /// A frame as the TAP delivers it.
    room: Box<[u8]>,
    trains: Trains,
    /// Where frames are that came in.
    frames: Vec<Range<usize>>,
    coalescer: Coalescer,
}

impl Tunnel {
    fn open(host: &End, (local, remote): (Ipv4Addr, Ipv4Addr)) -> Result<Self> {
        let socket = UnderlaySocket::connect(local, remote)?;
        let tap = bare::open(host, HOST_MTU).map_err(bare::named)?;
        let room = vec![0; VNET_HEADER + tap.max_frame()].into_boxed_slice();
        let (trains, coalescer) = (Trains::new(), Coalescer::new());
        Ok(Self { tap, socket, room, trains, frames: Vec::new(), coalescer })
    }

    /// Sends a burst of the TAP's frames; false if it has no more of them.
    fn send_out(&mut self) -> Result<bool> {
        let mut may_have_more = true;
        for _ in 0..BURST_FRAMES {
            match self.tap.receive(&mut self.room) {
                Ok(received) => self.encapsulate(received),
                Err(ReceiveError::Empty) => {
                    may_have_more = false;
                    break;
                }
                // Lost, as on any forwarder.
                Err(ReceiveError::Truncated | ReceiveError::Refused(_)) => {}
                Err(ReceiveError::Gone(error)) => return Err(error).context("the TAP"),
            }
        }
        self.socket.send(&mut self.trains);
        Ok(may_have_more)
    }

    /// Puts the frame in the room behind the others that are to leave, in segments if it has some.
    fn encapsulate(&mut self, received: Received) {
        let Some(frame) = self.room.get_mut(VNET_HEADER..VNET_HEADER + received.len) else {
            return;
        };
        let mut offload = received.offload;
        if !offload.is_super() {
            offload.complete(frame);
            if let Some(room) = room_for(&mut self.trains, &mut self.socket, frame.len()) {
                room.copy_from_slice(frame);
                self.trains.add(frame.len());
            }
            return;
        }
        let Ok(headers) = Headers::parse(frame) else { return };
        let Ok(admitted) = offload.admit(&headers, frame) else { return };
        offload = admitted;
        let Some(mut segments) = Segments::new(FrameView { bytes: frame, offload }) else { return };
        let largest = offload.largest_segment(frame.len());
        while let Some(room) = room_for(&mut self.trains, &mut self.socket, largest)
            && let Some(len) = segments.next(frame, room)
        {
            self.trains.add(len);
        }
    }

    /// Gives the TAP what came in; false if the socket has no more.
    fn take_in(&mut self) -> Result<bool> {
        let may_have_more = self.socket.receive(&mut self.frames).context("the socket")?;
        let (socket, frames) = (&self.socket, &self.frames);
        let view = |index: usize| {
            let bytes = frames.get(index).map(|range| socket.bytes(range.clone()));
            FrameView::finished(bytes.unwrap_or_default())
        };
        let offloads = self.tap.offloads();
        if !self.coalescer.coalesce(offloads, frames.len(), view) {
            for index in 0..frames.len() {
                fate(self.tap.send(view(index).bytes))?;
            }
            return Ok(may_have_more);
        }
        for outgoing in self.coalescer.outgoing() {
            match outgoing {
                Outgoing::Kept(index) => fate(self.tap.send(view(index).bytes))?,
                Outgoing::Joined(joined) => {
                    fate(write_whole(&mut self.tap, joined.with_header()))?;
                }
            }
        }
        Ok(may_have_more)
    }
}

/// Room for a frame; what is there already is sent if there is none.
fn room_for<'a>(
    trains: &'a mut Trains,
    socket: &mut UnderlaySocket,
    len: usize,
) -> Option<&'a mut [u8]> {
    if !trains.has_room(len) {
        socket.send(trains);
    }
    trains.room(len)
}

/// Writes a super-frame with its virtio-net header.
fn write_whole(tap: &mut Tap, bytes: &[u8]) -> std::result::Result<(), DropReason> {
    let Some(file) = tap.transmit_file() else { return Err(DropReason::TxDeviceGone) };
    // SAFETY: a transmit file is open as long as its device is, which is borrowed here.
    let fd = unsafe { BorrowedFd::borrow_raw(file.fd) };
    let written = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes));
    written.map(|_| ()).map_err(|error| tap.refused(error.into()))
}

/// A frame that a TAP does not take is lost, as on any forwarder; one that is gone ends it all.
fn fate(sent: std::result::Result<(), DropReason>) -> Result<()> {
    match sent {
        Err(DropReason::TxDeviceGone) => Err(BenchError::Peer("the TAP is gone".to_owned())),
        _ => Ok(()),
    }
}
