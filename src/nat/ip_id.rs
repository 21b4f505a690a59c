//! Identifications for packets whose source address is shared (RFC 6864 section 5.3).
//!
//! A counter in a secret permutation: hard to guess, and no value comes again before all the
//! others have been given out, so that two hosts' fragments are not mixed up. Several workers share
//! the permutation and take turns in it.

use super::Random;
use crate::id::WorkerId;

const ROUNDS: usize = 4;

/// A source of identifications.
#[derive(Clone, Debug)]
pub(super) struct IpIds {
    counter: u16,
    /// Of which values this one's are: the first, and how many there are in between.
    turn: (u16, u16),
    keys: [u32; ROUNDS],
}

impl IpIds {
    /// The identifications of one of `workers` workers; all have the same `random`.
    pub(super) fn new(random: &mut Random, worker: WorkerId, workers: u8) -> Self {
        let turn = (u16::from(worker.0), u16::from(workers.max(1)));
        let start = random.next_u16();
        let counter = if turn.1 == 1 { start } else { turn.0 };
        Self { counter, turn, keys: std::array::from_fn(|_| random.next_u64() as u32) }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> u16 {
        let (first, step) = self.turn;
        self.counter = self.counter.checked_add(step).unwrap_or(first);
        let [mut left, mut right] = self.counter.to_be_bytes();
        for key in self.keys {
            // A Feistel round is a bijection whatever it mixes in.
            let mixed = (u32::from(right) ^ key).wrapping_mul(0x9e37_79b1) >> 24;
            (left, right) = (right, left ^ mixed as u8);
        }
        u16::from_be_bytes([left, right])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_identification_comes_once_in_65536() {
        let mut ids = IpIds::new(&mut Random::new(7), WorkerId(0), 1);
        let first = ids.next();
        let given: HashSet<u16> = (0..65_535).map(|_| ids.next()).collect();
        assert_eq!(given.len(), 65_535);
        assert!(!given.contains(&first));
        assert_eq!(ids.next(), first);
    }

    #[test]
    fn workers_give_out_different_identifications() {
        let ids = |worker| IpIds::new(&mut Random::new(7), WorkerId(worker), 3);
        let mut given = HashSet::new();
        for worker in 0..3 {
            let mut ids = ids(worker);
            assert!((0..21_000).all(|_| given.insert(ids.next())), "worker {worker}");
        }
    }
}
