//! Datagrams of one length, one behind the other in memory: what a UDP socket takes by one system
//! call and a cable by one packet (UDP_SEGMENT in udp(7)). The last of a train may be shorter.

use std::ops::Range;

use crate::underlay::VNI;

/// The header before each frame (RFC 7348 5): a valid VNI, and that.
pub const HEADER: [u8; 8] = {
    let [_, a, b, c] = VNI.to_be_bytes();
    [0x08, 0, 0, 0, a, b, c, 0]
};
/// Most datagrams of a train.
pub const MAX_DATAGRAMS: usize = 64;
/// Most bytes of a train: below those of an IP packet, headers included.
pub const MAX_BYTES: usize = 65_000;
/// Most trains that wait: frames of a burst, if no two go together.
pub const MAX_TRAINS: usize = 64;
/// Bytes of all of them, which stay in a core's second-level cache.
const ARENA_BYTES: usize = 256 * 1024;

/// A train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    start: usize,
    len: usize,
    /// Bytes of each datagram but the last.
    pub size: usize,
    is_closed: bool,
}

impl Train {
    /// Where it is.
    pub const fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// Adds a datagram of `len` bytes if it goes with the others.
    fn take(&mut self, len: usize) -> bool {
        let goes = !self.is_closed
            && len <= self.size
            && self.len + len <= MAX_BYTES
            && self.len < MAX_DATAGRAMS * self.size;
        if goes {
            self.len += len;
            self.is_closed = len < self.size;
        }
        goes
    }
}

/// Trains that wait to be sent.
pub struct Trains {
    arena: Box<[u8]>,
    used: usize,
    list: Vec<Train>,
}

impl Trains {
    /// None.
    pub fn new() -> Self {
        let arena = vec![0; ARENA_BYTES].into_boxed_slice();
        Self { arena, used: 0, list: Vec::with_capacity(MAX_TRAINS) }
    }

    /// True if a frame of `len` bytes finds room.
    pub fn has_room(&self, len: usize) -> bool {
        self.list.len() < MAX_TRAINS && self.used + HEADER.len() + len <= self.arena.len()
    }

    /// Room for a frame of at most `len` bytes, behind a header; [`Trains::add`] says what became
    /// of it.
    pub fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let room = self.arena.get_mut(self.used..self.used + HEADER.len() + len)?;
        let (header, frame) = room.split_at_mut(HEADER.len());
        header.copy_from_slice(&HEADER);
        Some(frame)
    }

    /// A frame of `len` bytes was written into the room.
    pub fn add(&mut self, len: usize) {
        let (start, len) = (self.used, HEADER.len() + len);
        self.used += len;
        if !self.list.last_mut().is_some_and(|train| train.take(len)) {
            self.list.push(Train { start, len, size: len, is_closed: false });
        }
    }

    /// All of them, in order.
    pub fn list(&self) -> &[Train] {
        &self.list
    }

    /// The bytes of a train.
    pub fn bytes(&self, train: Train) -> &[u8] {
        self.arena.get(train.range()).unwrap_or_default()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.used = 0;
        self.list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (bytes, bytes of each datagram) of the trains of frames of these lengths.
    fn trains(lens: impl IntoIterator<Item = usize>) -> Vec<(usize, usize)> {
        let mut trains = Trains::new();
        for len in lens {
            assert!(trains.has_room(len));
            trains.room(len).unwrap().fill(len as u8);
            trains.add(len);
        }
        let shapes = trains.list().iter().map(|train| {
            assert_eq!(trains.bytes(*train).len(), train.len);
            for datagram in trains.bytes(*train).chunks(train.size) {
                let (header, frame) = datagram.split_at(HEADER.len());
                assert_eq!(header, HEADER);
                assert!(frame.iter().all(|byte| *byte == frame.len() as u8), "{frame:?}");
            }
            (train.len, train.size)
        });
        shapes.collect()
    }

    #[test]
    fn datagrams_of_one_length_go_together_and_a_shorter_one_is_the_last() {
        assert_eq!(trains([92, 92, 42, 42, 92]), [(250, 100), (50, 50), (100, 100)]);
        assert_eq!(trains([92]), [(100, 100)]);
    }

    #[test]
    fn a_train_is_as_long_as_the_kernel_takes_it() {
        assert_eq!(trains(std::iter::repeat_n(52, 65)), [(64 * 60, 60), (60, 60)]);
        let full = MAX_BYTES / 1472;
        assert_eq!(
            trains(std::iter::repeat_n(1464, full + 1)),
            [(full * 1472, 1472), (1472, 1472)]
        );
    }

    #[test]
    fn there_is_room_until_the_trains_are_many_or_the_memory_is_full() {
        let mut trains = Trains::new();
        for len in 1..=MAX_TRAINS {
            assert!(trains.has_room(len));
            trains.add(len); // each longer than the one before
        }
        assert!(!trains.has_room(1));
        trains.clear();
        assert!(trains.has_room(1) && !trains.has_room(ARENA_BYTES));
        assert!(trains.room(ARENA_BYTES).is_none());
    }
}
