//! Frames and notices on their way from one worker to another.

use crate::engine::Notice;
use crate::id::{PortId, WorkerId};
use crate::packet::{BURST_FRAMES, Burst, FrameView, Offload, Origin};

/// Most bytes of frames in a parcel: as in the arena they come from.
const MAX_BYTES: usize = crate::packet::ARENA_BYTES;
/// Most notices in a parcel; more go in the next.
const MAX_NOTICES: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    len: u32,
    port: PortId,
    offload: Offload,
    origin: Origin,
}

/// Bounds: [`BURST_FRAMES`] frames, [`MAX_BYTES`], [`MAX_NOTICES`].
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) from: WorkerId,
    pub(super) notices: Vec<Notice>,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// Frames that have been taken out.
    taken: usize,
}

impl Parcel {
    pub(super) fn clear(&mut self) {
        self.notices.clear();
        self.bytes.clear();
        self.slots.clear();
        self.taken = 0;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.notices.is_empty()
    }

    /// The ports of the frames in it, for who has to count them as lost.
    pub(super) fn ports(&self) -> impl Iterator<Item = (PortId, Origin)> + '_ {
        self.slots.iter().map(|slot| (slot.port, slot.origin))
    }

    /// Packs a copy of a frame; false if there is no room.
    pub(super) fn push(&mut self, port: PortId, frame: FrameView<'_>, origin: Origin) -> bool {
        let FrameView { bytes, offload } = frame;
        if self.slots.len() >= BURST_FRAMES || self.bytes.len() + bytes.len() > MAX_BYTES {
            return false;
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        self.slots.push(Slot { start, len: bytes.len() as u32, port, offload, origin });
        true
    }

    /// Packs a notice; false if there is no room.
    pub(super) fn push_notice(&mut self, notice: Notice) -> bool {
        let has_room = self.notices.len() < MAX_NOTICES;
        if has_room {
            self.notices.push(notice);
        }
        has_room
    }

    /// Moves frames into a burst; true if all have been taken.
    pub(super) fn unpack(&mut self, burst: &mut Burst) -> bool {
        while let Some(slot) = self.slots.get(self.taken) {
            let range = slot.start as usize..(slot.start + slot.len) as usize;
            let bytes = self.bytes.get(range).unwrap_or_default();
            let frame = FrameView { bytes, offload: slot.offload };
            if burst.push_handed(slot.port, frame, slot.origin).is_err() {
                return false;
            }
            self.taken += 1;
        }
        true
    }
}
