//! Joining frames that follow each other, in the room that they are received into.
//!
//! The rule is that of the [`super::Coalescer`], for one flow at a time: frames stay in their
//! order. What a socket delivers as many datagrams at once is so copied once.

use super::super::{FrameView, Offload, Offloads, Received};
use super::piece::Piece;
use super::{Open, ip_of};

/// A frame that is written into its room, and may grow by those that follow it.
#[derive(Debug)]
pub struct Run<'r> {
    room: &'r mut [u8],
    /// Length of the first frame.
    first: usize,
    /// Bytes written.
    len: usize,
    /// None: the first frame can be no piece of a super-frame.
    open: Option<Open>,
    has_ended: bool,
}

impl<'r> Run<'r> {
    /// Begins with a finished frame, which is copied to the front of `room`; none if it does not
    /// fit.
    pub fn start(frame: &[u8], room: &'r mut [u8]) -> Option<Self> {
        room.get_mut(..frame.len())?.copy_from_slice(frame);
        let open = piece_of(frame).map(|piece| Open::new(piece.flow(frame), 0, piece));
        let has_ended = open.is_none_or(|open| open.piece.is_end());
        Some(Self { room, first: frame.len(), len: frame.len(), open, has_ended })
    }

    /// Adds a finished frame. False if it does not go on where the last one ended: then it begins
    /// another run.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Some(open) = self.open.as_mut().filter(|_| !self.has_ended) else { return false };
        let first = self.room.get(..self.first).unwrap_or_default();
        let Some(piece) = piece_of(frame).filter(|piece| open.fits(first, piece, frame)) else {
            return false;
        };
        let payload = frame.get(piece.payload()..).unwrap_or_default();
        let Some(room) = self.room.get_mut(self.len..self.len + payload.len()) else {
            return false;
        };
        room.copy_from_slice(payload);
        self.len += payload.len();
        open.len += piece.len();
        open.count += 1;
        open.flags = piece.flags;
        self.has_ended = piece.len() < open.piece.len() || piece.is_end();
        true
    }

    /// What is in the room now: the first frame, or a super-frame, its offload as if it had been
    /// admitted.
    pub fn finish(self) -> Received {
        let Self { room, len, open, .. } = self;
        let Some(open) = open.filter(|open| open.count > 1) else {
            return Received { len, offload: Offload::NONE };
        };
        open.finish(room.get_mut(..len).unwrap_or_default());
        Received { len, offload: open.piece.offload() }
    }
}

fn piece_of(frame: &[u8]) -> Option<Piece> {
    Piece::read(FrameView::finished(frame), ip_of(frame)?, Offloads::ALL)
}
