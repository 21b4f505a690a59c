//! A burst: the frames that are handled together, in one arena.

use super::{FrameView, MAX_SEGMENTS, Offload, Origin, VNET_HEADER};
use crate::id::PortId;

/// Most frames in a burst.
pub const BURST_FRAMES: usize = 64;
/// Frames on the wire that a burst's frames stand for, at which it is full: where they leave by a
/// port without offloads each is a write of its own. Super-frames of full packets stay far below,
/// and tiny segments hold nobody up for longer. Two of the most segmented fit.
pub const BURST_SEGMENTS: u64 = 2 * MAX_SEGMENTS as u64;
/// Bytes of the arena: small enough to stay in a core's second-level cache.
pub const ARENA_BYTES: usize = 256 * 1024;
/// Free bytes before each frame, for a virtio-net header or an encapsulation to be written in
/// place.
pub const HEADROOM: usize = 128;
/// Frames start at a cache line.
const ALIGNMENT: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Slot {
    offset: u32,
    len: u32,
    port: PortId,
    offload: Offload,
    origin: Origin,
}

/// A frame that a device wrote into the room it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its length in bytes; zero if there is none.
    pub len: usize,
    /// What is left to be done with it, not yet compared with the frame.
    pub offload: Offload,
}

impl Received {
    /// A finished frame of `len` bytes.
    pub const fn finished(len: usize) -> Self {
        Self { len, offload: Offload::NONE }
    }

    /// The frame in the room it was received into.
    pub fn frame_in(self, room: &[u8]) -> FrameView<'_> {
        let bytes = room.get(VNET_HEADER..VNET_HEADER + self.len).unwrap_or_default();
        FrameView { bytes, offload: self.offload }
    }
}

/// Frames received together, each with the port it came in by. Bounds: [`BURST_FRAMES`] frames,
/// [`ARENA_BYTES`] bytes with [`HEADROOM`] before each, no further frame after [`BURST_SEGMENTS`]
/// segments.
#[derive(Debug)]
pub struct Burst {
    arena: Vec<u8>,
    used: usize,
    slots: Vec<Slot>,
    segments: u64,
}

/// No room for another frame; hand the burst to the engine first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the burst is full")]
pub struct BurstFull;

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Burst {
    /// An empty burst with its arena.
    pub fn new() -> Self {
        let slots = Vec::with_capacity(BURST_FRAMES);
        Self { arena: vec![0; ARENA_BYTES], used: 0, slots, segments: 0 }
    }

    /// A burst that holds nothing and allocates nothing, for passes without received frames.
    pub const fn empty() -> Self {
        Self { arena: Vec::new(), used: 0, slots: Vec::new(), segments: 0 }
    }

    /// Appends a copy of a finished frame.
    ///
    /// # Errors
    /// [`BurstFull`] if there is no slot or not enough arena left.
    pub fn push(&mut self, port: PortId, frame: &[u8]) -> Result<(), BurstFull> {
        self.push_view(port, FrameView::finished(frame))
    }

    /// Appends a copy of a frame.
    ///
    /// # Errors
    /// As [`Burst::push`].
    pub fn push_view(&mut self, port: PortId, frame: FrameView<'_>) -> Result<(), BurstFull> {
        let FrameView { bytes, offload } = frame;
        let pushed = self.receive(port, bytes.len(), |room| {
            if let Some(room) = room.get_mut(VNET_HEADER..VNET_HEADER + bytes.len()) {
                room.copy_from_slice(bytes);
            }
            Ok::<_, std::convert::Infallible>(Received { len: bytes.len(), offload })
        });
        match pushed {
            Ok(outcome) => outcome.map(|_| ()),
            Err(never) => match never {},
        }
    }

    /// Appends a copy of a frame that another worker has handed over.
    ///
    /// # Errors
    /// As [`Burst::push`].
    pub fn push_handed(
        &mut self,
        port: PortId,
        frame: FrameView<'_>,
        origin: Origin,
    ) -> Result<(), BurstFull> {
        let known = self.slots.len();
        self.push_view(port, frame)?;
        // An empty frame is not appended: the last one is another's.
        if let Some(slot) = self.slots.get_mut(known) {
            slot.origin = origin;
        }
        Ok(())
    }

    /// Lets `read` write one frame of at most `max_len` bytes into the arena. The room it gets
    /// begins [`VNET_HEADER`] bytes before the frame, so that a device may write both at once. A
    /// length of zero appends nothing.
    ///
    /// # Errors
    /// The outer error is `read`'s; the inner one says that the burst is full and `read` was not
    /// called.
    pub fn receive<E>(
        &mut self,
        port: PortId,
        max_len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<Received, E>,
    ) -> Result<Result<usize, BurstFull>, E> {
        let start = self.next_start();
        if self.slots.len() >= BURST_FRAMES || self.segments >= BURST_SEGMENTS {
            return Ok(Err(BurstFull));
        }
        let Some(room) = self.arena.get_mut(start - VNET_HEADER..start + max_len) else {
            return Ok(Err(BurstFull));
        };
        let Received { len, offload } = read(room)?;
        let len = len.min(max_len);
        if len > 0 {
            let slot = Slot {
                offset: start as u32,
                len: len as u32,
                port,
                offload,
                origin: Origin::Device,
            };
            self.slots.push(slot);
            self.used = start + len;
            self.segments += offload.segments(len);
        }
        Ok(Ok(len))
    }

    const fn next_start(&self) -> usize {
        (self.used + HEADROOM).next_multiple_of(ALIGNMENT)
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.used = 0;
        self.slots.clear();
        self.segments = 0;
    }

    /// How many frames it holds.
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without frames.
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The frame at `index`; empty if there is none.
    pub fn frame(&self, index: usize) -> &[u8] {
        self.slots.get(index).and_then(|slot| self.arena.get(slot.range())).unwrap_or_default()
    }

    /// The frame at `index`, to be changed in place.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        match self.slots.get(index) {
            Some(slot) => self.arena.get_mut(slot.range()).unwrap_or_default(),
            None => &mut [],
        }
    }

    /// What is left to be done with the frame at `index`.
    pub fn offload(&self, index: usize) -> Offload {
        self.slots.get(index).map_or(Offload::NONE, |slot| slot.offload)
    }

    /// The frames on the wire that the frame at `index` stands for.
    pub fn segments(&self, index: usize) -> u64 {
        self.slots.get(index).map_or(0, |slot| slot.offload.segments(slot.len as usize))
    }

    /// Says what is left to be done with the frame at `index`.
    pub fn set_offload(&mut self, index: usize, offload: Offload) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.offload = offload;
        }
    }

    /// The frame at `index` as a device takes it: [`VNET_HEADER`] bytes of room before it.
    pub fn outgoing(&mut self, index: usize) -> &mut [u8] {
        match self.slots.get(index) {
            Some(slot) => {
                let start = slot.offset as usize - VNET_HEADER;
                self.arena.get_mut(start..slot.range().end).unwrap_or_default()
            }
            None => &mut [],
        }
    }

    /// The frame at `index`, what is left to be done with it, and how it came in.
    #[inline(always)]
    pub fn received(&self, index: usize) -> Option<(PortId, Origin, FrameView<'_>)> {
        let slot = self.slots.get(index)?;
        let bytes = self.arena.get(slot.range())?;
        Some((slot.port, slot.origin, FrameView { bytes, offload: slot.offload }))
    }

    /// How the frame at `index` came in.
    pub fn origin(&self, index: usize) -> Origin {
        self.slots.get(index).map_or(Origin::Device, |slot| slot.origin)
    }

    /// The frame at `index` to be changed in place, and what is left to be done with it.
    #[inline(always)]
    pub fn view_mut(&mut self, index: usize) -> (&mut [u8], Offload) {
        match self.slots.get(index) {
            Some(slot) => (self.arena.get_mut(slot.range()).unwrap_or_default(), slot.offload),
            None => (&mut [], Offload::NONE),
        }
    }

    /// As [`Burst::outgoing`], to be read only.
    pub fn with_room(&self, index: usize) -> &[u8] {
        match self.slots.get(index) {
            Some(slot) => {
                let start = slot.offset as usize - VNET_HEADER;
                self.arena.get(start..slot.range().end).unwrap_or_default()
            }
            None => &[],
        }
    }

    /// The port the frame at `index` came in by.
    pub fn port(&self, index: usize) -> Option<PortId> {
        self.slots.get(index).map(|slot| slot.port)
    }

    /// Takes `bytes` bytes from the front of the frame at `index`, which came in by another port
    /// then.
    pub fn strip(&mut self, index: usize, bytes: usize, port: PortId) {
        if let Some(slot) = self.slots.get_mut(index) {
            let bytes = (bytes as u32).min(slot.len);
            slot.offset += bytes;
            slot.len -= bytes;
            slot.port = port;
            slot.offload = slot.offload.unwrapped(bytes as u16);
        }
    }

    /// Puts headers before the frame at `index`, into its headroom. `N` is at most [`HEADROOM`] less
    /// a virtio-net header, once for a frame as it was received.
    pub fn prepend<const N: usize>(&mut self, index: usize, headers: &[u8; N]) {
        const { assert!(N + VNET_HEADER <= HEADROOM) };
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(start) = slot.offset.checked_sub(N as u32) else { return };
        if let Some(room) = self.arena.get_mut(start as usize..slot.offset as usize) {
            room.copy_from_slice(headers);
            slot.offset = start;
            slot.len += N as u32;
            slot.offload = slot.offload.wrapped(N as u16);
        }
    }

    /// Cuts the frame at `index` to `len` bytes.
    pub fn truncate(&mut self, index: usize, len: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.len = slot.len.min(len as u32);
        }
    }
}

impl Slot {
    const fn range(self) -> std::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiny_segments_fill_a_burst_before_its_slots() {
        let (mut burst, bytes) = (Burst::new(), [0; 2000]);
        let frame = FrameView {
            bytes: &bytes,
            offload: Offload::NONE.segmented(super::super::Gso::Tcp4, 1),
        };
        let pushed = (0..64).take_while(|_| burst.push_view(PortId(1), frame).is_ok()).count();
        assert_eq!((pushed, burst.push(PortId(2), &[0; 60])), (3, Err(BurstFull)));
        burst.clear();
        assert!(burst.push(PortId(2), &[0; 60]).is_ok());
    }

    #[test]
    fn empty_frame_of_another_worker_changes_no_other_frame() {
        let mut burst = Burst::new();
        burst.push(PortId(1), &[1; 60]).unwrap();
        burst.push_handed(PortId(2), FrameView::finished(&[]), Origin::Owned).unwrap();
        assert_eq!((burst.len(), burst.origin(0)), (1, Origin::Device));
        burst.push_handed(PortId(2), FrameView::finished(&[2; 60]), Origin::Owned).unwrap();
        assert_eq!((burst.origin(0), burst.origin(1)), (Origin::Device, Origin::Owned));
    }
}
