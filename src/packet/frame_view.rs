//! A frame with what is left to be done with it, and the finished frames that it stands for.

use super::{Offload, Segments};

/// A frame that leaves, and what is left to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What is left to be done.
    pub offload: Offload,
}

impl<'a> FrameView<'a> {
    /// A finished frame.
    pub const fn finished(bytes: &'a [u8]) -> Self {
        Self { bytes, offload: Offload::NONE }
    }

    /// The first frame on the wire that it stands for: what its receiver would quote.
    pub fn first_segment(&self) -> Vec<u8> {
        let Some(mut segments) = Segments::new(*self) else { return self.to_complete() };
        let mut first = vec![0; self.offload.largest_segment(self.bytes.len())];
        let len = segments.next(self.bytes, &mut first);
        first.truncate(len.unwrap_or(0));
        first
    }

    /// A copy with its checksum complete. A super-frame stays one, as if it had been sent whole:
    /// its length may exceed every MTU, and its checksum is right for that length.
    pub fn to_complete(&self) -> Vec<u8> {
        let mut copy = self.bytes.to_vec();
        self.offload.complete(&mut copy);
        copy
    }

    /// Calls `emit` with every finished frame that it stands for, in order. `scratch` is the
    /// memory they are built in.
    pub fn for_each_segment(&self, scratch: &mut Vec<u8>, mut emit: impl FnMut(&[u8])) {
        if self.offload.is_none() {
            return emit(self.bytes);
        }
        if !self.offload.is_super() {
            scratch.clear();
            scratch.extend_from_slice(self.bytes);
            self.offload.complete(scratch);
            return emit(scratch);
        }
        let Some(mut segments) = Segments::new(*self) else { return };
        scratch.clear();
        scratch.resize(self.offload.largest_segment(self.bytes.len()), 0);
        while let Some(len) = segments.next(self.bytes, scratch) {
            if let Some(segment) = scratch.get(..len) {
                emit(segment);
            }
        }
    }
}
