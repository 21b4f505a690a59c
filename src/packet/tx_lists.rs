//! What a pass of the engine sends: one list of frames per egress port.

use super::{Burst, FrameView, HandOver, Offload, VNET_HEADER};
use crate::id::PortId;

/// Most frames that one pass may generate itself (answers, fragments, released frames): the
/// bound on amplification.
pub const OWN_FRAMES: usize = 1024;
/// Most of them, when segments of a super-frame are added: the rest is for answers, so that no
/// host's tiny segments silence tapway towards the others.
const OWN_FRAMES_WITH_SEGMENTS: usize = OWN_FRAMES / 4 * 3;
/// Most bytes of them.
pub const OWN_BYTES: usize = 2 * 1024 * 1024;
/// After so many no segments are added, for the same reason.
const OWN_BYTES_WITH_SEGMENTS: usize = OWN_BYTES / 4 * 3;

/// A frame to send: a received one, or one of the pass's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRef {
    /// Index into the burst.
    Burst(u16),
    /// Index into the frames the pass generated.
    Own(u16),
}

/// The pass generated as many frames as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many generated frames in one pass")]
pub struct TxFull;

/// Room before each generated frame, for a virtio-net header; frames start at a cache line.
const ROOM: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Own {
    offset: u32,
    len: u32,
    offload: Offload,
}

/// Egress lists of one pass. The order within a list is the order on the wire.
#[derive(Debug, Default)]
pub struct TxLists {
    lists: Vec<Vec<FrameRef>>,
    touched: Vec<PortId>,
    arena: Vec<u8>,
    own: Vec<Own>,
    handed: Vec<HandOver>,
}

impl TxLists {
    /// Empty lists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all frames; keeps the memory.
    pub fn clear(&mut self) {
        for port in self.touched.drain(..) {
            if let Some(list) = self.lists.get_mut(port.index()) {
                list.clear();
            }
        }
        self.arena.clear();
        self.own.clear();
        self.handed.clear();
    }

    /// True if nothing is to be sent.
    pub const fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Appends a frame to a port's list.
    #[inline(always)]
    pub fn push(&mut self, port: PortId, frame: FrameRef) {
        match self.lists.get_mut(port.index()) {
            Some(list) if !list.is_empty() && list.len() < list.capacity() => list.push(frame),
            _ => self.push_first(port, frame),
        }
    }

    /// Appends the first frame of a list, or one for which the list must grow.
    #[inline(never)]
    fn push_first(&mut self, port: PortId, frame: FrameRef) {
        if self.lists.len() <= port.index() {
            self.lists.resize_with(port.index() + 1, Vec::new);
        }
        if let Some(list) = self.lists.get_mut(port.index()) {
            if list.is_empty() {
                self.touched.push(port);
            }
            list.push(frame);
        }
    }

    /// Gives a frame to another worker.
    pub fn hand_over(&mut self, hand_over: HandOver) {
        self.handed.push(hand_over);
    }

    /// The frames for other workers, in order.
    pub fn handed(&self) -> &[HandOver] {
        &self.handed
    }

    /// True if so many segments of a super-frame, or copies for tunnels, may be generated.
    pub const fn has_room_for_segments(&self, count: u64) -> bool {
        self.own.len() as u64 + count <= OWN_FRAMES_WITH_SEGMENTS as u64
            && self.arena.len() <= OWN_BYTES_WITH_SEGMENTS
    }

    /// Takes a generated, finished frame, given in parts, without sending it yet.
    ///
    /// # Errors
    /// [`TxFull`] at the bound of [`OWN_FRAMES`] or [`OWN_BYTES`].
    pub fn generate(&mut self, parts: &[&[u8]]) -> Result<FrameRef, TxFull> {
        self.generate_with(parts, Offload::NONE)
    }

    /// Takes a frame with which something is left to be done.
    ///
    /// # Errors
    /// As [`TxLists::generate`].
    pub fn generate_with(&mut self, parts: &[&[u8]], offload: Offload) -> Result<FrameRef, TxFull> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let start = self.arena.len().next_multiple_of(ROOM) + ROOM;
        if self.own.len() >= OWN_FRAMES || start + len > OWN_BYTES {
            return Err(TxFull);
        }
        self.arena.resize(start, 0);
        for part in parts {
            self.arena.extend_from_slice(part);
        }
        self.own.push(Own { offset: start as u32, len: len as u32, offload });
        Ok(FrameRef::Own((self.own.len() - 1) as u16))
    }

    /// The ports that have frames, in the order of their first one.
    pub fn ports(&self) -> &[PortId] {
        &self.touched
    }

    /// The frames for a port, in order.
    pub fn frames<'a>(
        &'a self,
        port: PortId,
        burst: &'a Burst,
    ) -> impl ExactSizeIterator<Item = FrameView<'a>> {
        self.list(port).iter().map(|frame| self.view(*frame, burst))
    }

    /// The same as references, for who changes frames while he walks through them.
    pub fn list(&self, port: PortId) -> &[FrameRef] {
        self.lists.get(port.index()).map_or(&[][..], Vec::as_slice)
    }

    /// A frame with what is left to be done with it.
    pub fn view<'a>(&'a self, frame: FrameRef, burst: &'a Burst) -> FrameView<'a> {
        FrameView { bytes: self.frame(frame, burst), offload: self.offload(frame, burst) }
    }

    /// A frame to be changed in place, and what is left to be done with it.
    #[inline(always)]
    pub fn view_mut<'a>(
        &'a mut self,
        frame: FrameRef,
        burst: &'a mut Burst,
    ) -> (&'a mut [u8], Offload) {
        match frame {
            FrameRef::Burst(index) => burst.view_mut(usize::from(index)),
            FrameRef::Own(_) => {
                let offload = self.offload(frame, burst);
                (self.frame_mut(frame, burst), offload)
            }
        }
    }

    /// What is left to be done with a frame.
    pub fn offload(&self, frame: FrameRef, burst: &Burst) -> Offload {
        match frame {
            FrameRef::Burst(index) => burst.offload(usize::from(index)),
            FrameRef::Own(index) => {
                self.own.get(usize::from(index)).map_or(Offload::NONE, |own| own.offload)
            }
        }
    }

    /// Says what is left to be done with a frame.
    pub fn set_offload(&mut self, frame: FrameRef, burst: &mut Burst, offload: Offload) {
        match frame {
            FrameRef::Burst(index) => burst.set_offload(usize::from(index), offload),
            FrameRef::Own(index) => {
                if let Some(own) = self.own.get_mut(usize::from(index)) {
                    own.offload = offload;
                }
            }
        }
    }

    /// Completes a partial checksum in place. A super-frame stays as it is.
    pub fn complete(&mut self, frame: FrameRef, burst: &mut Burst) {
        let offload = self.offload(frame, burst);
        if !offload.is_none() && !offload.is_super() {
            offload.complete(self.frame_mut(frame, burst));
            self.set_offload(frame, burst, Offload::NONE);
        }
    }

    /// A frame as a device takes it: [`VNET_HEADER`] bytes of room before it.
    pub fn outgoing<'a>(&'a mut self, frame: FrameRef, burst: &'a mut Burst) -> &'a mut [u8] {
        match frame {
            FrameRef::Burst(index) => burst.outgoing(usize::from(index)),
            FrameRef::Own(index) => match self.range(index) {
                Some(range) => {
                    self.arena.get_mut(range.start - VNET_HEADER..range.end).unwrap_or_default()
                }
                None => &mut [],
            },
        }
    }

    /// The same to be read only.
    pub fn with_room<'a>(&'a self, frame: FrameRef, burst: &'a Burst) -> &'a [u8] {
        match frame {
            FrameRef::Burst(index) => burst.with_room(usize::from(index)),
            FrameRef::Own(index) => {
                let range = self.range(index).map(|range| range.start - VNET_HEADER..range.end);
                range.and_then(|range| self.arena.get(range)).unwrap_or_default()
            }
        }
    }

    /// The bytes of a frame.
    pub fn frame<'a>(&'a self, frame: FrameRef, burst: &'a Burst) -> &'a [u8] {
        match frame {
            FrameRef::Burst(index) => burst.frame(usize::from(index)),
            FrameRef::Own(index) => {
                self.range(index).and_then(|range| self.arena.get(range)).unwrap_or_default()
            }
        }
    }

    /// The bytes of a frame, to be changed in place.
    pub fn frame_mut<'a>(&'a mut self, frame: FrameRef, burst: &'a mut Burst) -> &'a mut [u8] {
        match frame {
            FrameRef::Burst(index) => burst.frame_mut(usize::from(index)),
            FrameRef::Own(index) => match self.range(index) {
                Some(range) => self.arena.get_mut(range).unwrap_or_default(),
                None => &mut [],
            },
        }
    }

    /// Puts headers before a frame, into the room there. At most `ROOM` less a virtio-net header, and
    /// once for each frame; it must be in no list yet.
    pub fn prepend<const N: usize>(
        &mut self,
        frame: FrameRef,
        burst: &mut Burst,
        headers: &[u8; N],
    ) {
        const { assert!(N + VNET_HEADER <= ROOM) };
        match frame {
            FrameRef::Burst(index) => burst.prepend(usize::from(index), headers),
            FrameRef::Own(index) => {
                let Some(own) = self.own.get_mut(usize::from(index)) else { return };
                let Some(start) = own.offset.checked_sub(N as u32) else { return };
                if let Some(room) = self.arena.get_mut(start as usize..own.offset as usize) {
                    room.copy_from_slice(headers);
                    own.offset = start;
                    own.len += N as u32;
                    own.offload = own.offload.wrapped(N as u16);
                }
            }
        }
    }

    /// Cuts a frame to `len` bytes.
    pub fn truncate(&mut self, frame: FrameRef, burst: &mut Burst, len: usize) {
        match frame {
            FrameRef::Burst(index) => burst.truncate(usize::from(index), len),
            FrameRef::Own(index) => {
                if let Some(own) = self.own.get_mut(usize::from(index)) {
                    own.len = own.len.min(len as u32);
                }
            }
        }
    }

    fn range(&self, index: u16) -> Option<std::ops::Range<usize>> {
        let own = self.own.get(usize::from(index))?;
        Some(own.offset as usize..(own.offset + own.len) as usize)
    }
}
