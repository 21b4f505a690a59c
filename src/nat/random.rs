//! Numbers that a stranger cannot guess (RFC 6056): SipHash of a counter under a secret seed.

use std::hash::{DefaultHasher, Hasher};

use crate::id::WorkerId;

/// A keyed generator; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u128,
    counter: u64,
    /// Bits of a number of which only a part was asked for, and how many are left.
    rest: (u64, u32),
}

impl Random {
    /// A generator under a secret seed.
    pub const fn new(seed: u128) -> Self {
        Self { seed, counter: 0, rest: (0, 0) }
    }

    /// The part of its numbers that is one worker's: workers have the same seed, and must not try
    /// the same ports one after the other.
    #[must_use]
    pub const fn of_worker(self, worker: WorkerId) -> Self {
        Self { counter: self.counter + ((worker.0 as u64) << 56), ..self }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.seed);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// The next 16-bit number.
    pub fn next_u16(&mut self) -> u16 {
        if self.rest.1 == 0 {
            self.rest = (self.next_u64(), u64::BITS);
        }
        let (bits, left) = self.rest;
        self.rest = (bits >> u16::BITS, left - u16::BITS);
        bits as u16
    }
}
