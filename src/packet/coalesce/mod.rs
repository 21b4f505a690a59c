//! Joining small segments into super-frames for a device that takes them: what Linux calls GRO,
//! done on an egress list.
//!
//! The rule: cutting what was joined with [`super::Segments`] gives the same bytes again. So
//! pieces have verified checksums, and headers that differ only as those of segments do; a wrong
//! checksum is never repaired by accident. What cannot be joined goes as it is, and closes its
//! flow's open super-frame, so that no frame overtakes another of its flow; flows may overtake
//! each other. Nothing waits for the next list.
//!
//! Bounds: [`OPEN_FLOWS`] super-frames grow at a time, and a new flow takes the place of each in
//! turn; a super-frame has at most [`MAX_SEGMENTS`] segments, or [`MAX_DATAGRAMS`], and 65535
//! bytes of IP. The memory is that of the largest list joined so far.
//!
//! Nothing is summed or copied before a second piece fits the first: a list without such costs a
//! look at each frame's headers.
//!
//! Read first: RFC 9293 3.1, linux/virtio_net.h, net/ipv4/tcp_offload.c (`tcp_gro_receive`).

mod piece;
mod run;
#[cfg(test)]
mod tests;

use super::segment::ip_of;
use super::{FrameView, Gso, MAX_SEGMENTS, Offload, Offloads, VNET_HEADER, checksum, put, put16};
use piece::{Concern, FlowId, Piece};

pub use run::Run;

/// Super-frames that grow at the same time: flows that one host interleaves within one burst.
pub const OPEN_FLOWS: usize = 8;
/// Most datagrams of a UDP super-frame: Linux refuses one of more (UDP_MAX_SEGMENTS, 128 since
/// 6.10), and all would be lost. More than a burst come at once when a neighbour is found.
const MAX_DATAGRAMS: u16 = 64;
/// Most bytes of an IP packet, its header included.
const MAX_PACKET: usize = 65535;
/// Joined frames start at a cache line.
const ALIGNMENT: usize = 64;

/// A super-frame that may still grow; as long as it has one piece, only a frame to remember.
#[derive(Clone, Copy, Debug)]
struct Open {
    flow: FlowId,
    piece: Piece,
    first: usize,
    last: usize,
    /// Bytes of payload so far.
    len: usize,
    count: u16,
    /// TCP flags of the last piece.
    flags: u8,
    is_verified: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, Default)]
enum Fate {
    #[default]
    Kept,
    /// It begins the joined frame of this number.
    First(usize),
    /// It went into one.
    Later,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    fate: Fate,
    /// The next piece of the same super-frame.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Built {
    /// Where the room before it starts.
    start: usize,
    end: usize,
    offload: Offload,
    segments: u16,
}

/// What is to be sent, in this order.
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    /// The frame of the list with this index, as it is.
    Kept(usize),
    /// A super-frame in the place of its first piece.
    Joined(Joined<'a>),
}

/// A super-frame that was joined.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    number: usize,
    with_header: &'a [u8],
    offload: Offload,
    segments: u16,
}

impl<'a> Joined<'a> {
    /// The frame, its offload as if it had been admitted.
    pub fn frame(&self) -> FrameView<'a> {
        let bytes = self.with_header.get(VNET_HEADER..).unwrap_or_default();
        FrameView { bytes, offload: self.offload }
    }

    /// The frame with its virtio-net header of [`VNET_HEADER`] bytes, in one piece.
    pub const fn with_header(&self) -> &'a [u8] {
        self.with_header
    }

    /// By which [`Coalescer::joined`] gives it again.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The frames of the list that went into it, at least 2.
    pub const fn segments(&self) -> u16 {
        self.segments
    }
}

/// Joins the frames of one egress list after the other, in memory of its own.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// Frames in the list.
    count: usize,
    /// One per frame once something was joined, else empty.
    slots: Vec<Slot>,
    open: Vec<Open>,
    /// Whose place another flow takes next if all are taken.
    turn: usize,
    built: Vec<Built>,
    arena: Vec<u8>,
}

impl Coalescer {
    /// Without memory; it grows with the first lists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins what can be joined of a list of `count` frames, as `view` shows them, for a device
    /// with these offloads. False if there was nothing: then the list goes as it is. What an
    /// earlier list left is forgotten.
    pub fn coalesce<'f>(
        &mut self,
        offloads: Offloads,
        count: usize,
        view: impl Fn(usize) -> FrameView<'f>,
    ) -> bool {
        self.clear();
        self.count = count;
        let kinds = [Gso::Tcp4, Gso::Tcp6, Gso::Udp];
        if count < 2 || !kinds.iter().any(|kind| offloads.take_kind(*kind)) {
            return false;
        }
        for index in 0..count {
            self.add(offloads, index, &view);
        }
        while let Some(open) = self.open.pop() {
            self.build(&open, &view);
        }
        !self.built.is_empty()
    }

    /// The list after [`Coalescer::coalesce`].
    pub fn outgoing(&self) -> impl Iterator<Item = Outgoing<'_>> {
        (0..self.count).filter_map(|index| {
            match self.slots.get(index).map_or(Fate::Kept, |slot| slot.fate) {
                Fate::Kept => Some(Outgoing::Kept(index)),
                Fate::First(number) => self.joined(number).map(Outgoing::Joined),
                Fate::Later => None,
            }
        })
    }

    /// A super-frame of the list by its number; none if there is none of that number.
    pub fn joined(&self, number: usize) -> Option<Joined<'_>> {
        let Built { start, end, offload, segments } = *self.built.get(number)?;
        Some(Joined { number, with_header: self.arena.get(start..end)?, offload, segments })
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.open.clear();
        self.turn = 0;
        self.built.clear();
        self.arena.clear();
    }

    fn add<'f>(
        &mut self,
        offloads: Offloads,
        index: usize,
        view: &impl Fn(usize) -> FrameView<'f>,
    ) {
        let frame = view(index);
        let Some((ip, is_ipv4)) = ip_of(frame.bytes) else { return };
        let Some(piece) = Piece::read(frame, (ip, is_ipv4), offloads) else {
            if !self.open.is_empty() {
                self.close_concerned(Concern::of(frame.bytes, ip, is_ipv4), view);
            }
            return;
        };
        let flow = piece.flow(frame.bytes);
        let at = self.open.iter().position(|open| open.flow == flow);
        match at {
            Some(at) if self.join(at, (index, &piece), view) => {}
            Some(at) if piece.is_end() => self.close(at, view),
            None if piece.is_end() => {}
            at => self.start(at, Open::new(flow, index, piece), view),
        }
    }

    /// Remembers a frame that others may follow, in the place of the open one at `at`, or of
    /// another if all places are taken.
    fn start<'f>(&mut self, at: Option<usize>, open: Open, view: &impl Fn(usize) -> FrameView<'f>) {
        let at = match at {
            Some(at) => at,
            None if self.open.len() < OPEN_FLOWS => return self.open.push(open),
            None => {
                let at = self.turn;
                self.turn = (at + 1) % OPEN_FLOWS;
                at
            }
        };
        if let Some(place) = self.open.get_mut(at) {
            let closed = std::mem::replace(place, open);
            self.build(&closed, view);
        }
    }

    /// Adds a piece to an open super-frame; false if it does not fit.
    fn join<'f>(
        &mut self,
        at: usize,
        (index, piece): (usize, &Piece),
        view: &impl Fn(usize) -> FrameView<'f>,
    ) -> bool {
        let Some(open) = self.open.get_mut(at) else { return false };
        let (first, bytes) = (view(open.first).bytes, view(index).bytes);
        if !open.fits(first, piece, bytes) {
            return false;
        }
        if self.slots.is_empty() {
            self.slots.resize(self.count, Slot::default());
        }
        if let Some(slot) = self.slots.get_mut(open.last) {
            slot.next = index;
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.fate = Fate::Later;
        }
        let is_last = piece.len() < open.piece.len() || piece.is_end();
        open.last = index;
        open.len += piece.len();
        open.count += 1;
        open.flags = piece.flags;
        if is_last {
            self.close(at, view);
        }
        true
    }

    fn close_concerned<'f>(&mut self, by: Concern, view: &impl Fn(usize) -> FrameView<'f>) {
        while let Some(at) = self.open.iter().position(|open| by.touches(open.flow)) {
            self.close(at, view);
        }
    }

    fn close<'f>(&mut self, at: usize, view: &impl Fn(usize) -> FrameView<'f>) {
        if at < self.open.len() {
            let open = self.open.swap_remove(at);
            self.build(&open, view);
        }
    }

    /// Writes the super-frame, if it is one.
    fn build<'f>(&mut self, open: &Open, view: &impl Fn(usize) -> FrameView<'f>) {
        if open.count < 2 {
            return;
        }
        let from = (self.arena.len() + VNET_HEADER).next_multiple_of(ALIGNMENT);
        let payload = open.piece.payload();
        self.arena.resize(from, 0);
        self.arena.extend_from_slice(view(open.first).bytes.get(..payload).unwrap_or_default());
        let mut index = open.first;
        for _ in 0..open.count {
            self.arena.extend_from_slice(view(index).bytes.get(payload..).unwrap_or_default());
            index = self.slots.get(index).map_or(0, |slot| slot.next);
        }
        let offload = open.piece.offload();
        let start = from - VNET_HEADER;
        put(&mut self.arena, start, &offload.to_header());
        open.finish(self.arena.get_mut(from..).unwrap_or_default());
        if let Some(slot) = self.slots.get_mut(open.first) {
            slot.fate = Fate::First(self.built.len());
        }
        let end = self.arena.len();
        self.built.push(Built { start, end, offload, segments: open.count });
    }
}

impl Open {
    const fn new(flow: FlowId, index: usize, piece: Piece) -> Self {
        Self {
            flow,
            piece,
            first: index,
            last: index,
            len: piece.len(),
            count: 1,
            flags: piece.flags,
            is_verified: false,
        }
    }

    /// True if a piece goes on where this ends. The cheap tests come first.
    fn fits(&mut self, first: &[u8], piece: &Piece, bytes: &[u8]) -> bool {
        let packet = self.piece.payload() - self.piece.ip() + self.len + piece.len();
        let most = if self.piece.is_tcp() { MAX_SEGMENTS as u16 } else { MAX_DATAGRAMS };
        if self.count >= most
            || packet > MAX_PACKET
            || !self.piece.is_followed(first, (piece, bytes), self.count)
        {
            return false;
        }
        self.is_verified = self.is_verified || self.piece.is_verified(first);
        self.is_verified && piece.is_verified(bytes)
    }

    /// Turns the headers of the first piece into those of the whole.
    fn finish(&self, frame: &mut [u8]) {
        let (ip, transport) = (self.piece.ip(), self.piece.transport());
        let segment = frame.len() - transport;
        if self.piece.is_ipv4 {
            put16(frame, ip + 2, (frame.len() - ip) as u16);
            put16(frame, ip + 10, 0);
            let sum = frame.get(ip..transport).map_or(0, checksum::checksum);
            put16(frame, ip + 10, sum);
        } else {
            put16(frame, ip + 4, segment as u16);
        }
        if self.piece.is_tcp() {
            put(frame, transport + 13, &[self.flags]);
        } else {
            put16(frame, transport + 4, segment as u16);
        }
        let addresses = self.piece.addresses(frame);
        let sum = checksum::pseudo_header_of(addresses, self.piece.protocol(), segment);
        put16(frame, transport + self.piece.checksum_field(), sum);
    }
}
