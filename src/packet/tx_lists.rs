//! What a pass of the engine sends: one list of frames per egress port.

use super::Burst;
use crate::id::PortId;

/// Most frames that one pass may generate itself (answers, fragments, released frames): the
/// bound on amplification.
pub const OWN_FRAMES: usize = 1024;
/// Most bytes of them.
pub const OWN_BYTES: usize = 2 * 1024 * 1024;

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

/// Egress lists of one pass. The order within a list is the order on the wire.
#[derive(Debug, Default)]
pub struct TxLists {
    lists: Vec<Vec<FrameRef>>,
    touched: Vec<PortId>,
    arena: Vec<u8>,
    own: Vec<(u32, u32)>,
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
    }

    /// True if nothing is to be sent.
    pub const fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Appends a frame to a port's list.
    pub fn push(&mut self, port: PortId, frame: FrameRef) {
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

    /// Takes a generated frame, given in parts, without sending it yet.
    ///
    /// # Errors
    /// [`TxFull`] at the bound of [`OWN_FRAMES`] or [`OWN_BYTES`].
    pub fn generate(&mut self, parts: &[&[u8]]) -> Result<FrameRef, TxFull> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.own.len() >= OWN_FRAMES || self.arena.len() + len > OWN_BYTES {
            return Err(TxFull);
        }
        let offset = self.arena.len() as u32;
        for part in parts {
            self.arena.extend_from_slice(part);
        }
        self.own.push((offset, len as u32));
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
    ) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let list = self.lists.get(port.index()).map_or(&[][..], Vec::as_slice);
        list.iter().map(|frame| self.frame(*frame, burst))
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

    /// Cuts a frame to `len` bytes.
    pub fn truncate(&mut self, frame: FrameRef, burst: &mut Burst, len: usize) {
        match frame {
            FrameRef::Burst(index) => burst.truncate(usize::from(index), len),
            FrameRef::Own(index) => {
                if let Some(slot) = self.own.get_mut(usize::from(index)) {
                    slot.1 = slot.1.min(len as u32);
                }
            }
        }
    }

    fn range(&self, index: u16) -> Option<std::ops::Range<usize>> {
        let (offset, len) = *self.own.get(usize::from(index))?;
        Some(offset as usize..(offset + len) as usize)
    }
}
