//! Identifications for packets whose source address is shared (RFC 6864 section 5.3).
//!
//! A counter in a secret permutation: hard to guess, and no value comes again before all the
//! others have been given out, so that two hosts' fragments are not mixed up.

use super::Random;

const ROUNDS: usize = 4;

/// A source of identifications.
#[derive(Clone, Debug)]
pub(super) struct IpIds {
    counter: u16,
    keys: [u32; ROUNDS],
}

impl IpIds {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { counter: random.next_u16(), keys: std::array::from_fn(|_| random.next_u64() as u32) }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> u16 {
        self.counter = self.counter.wrapping_add(1);
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
        let mut ids = IpIds::new(&mut Random::new(7));
        let first = ids.next();
        let given: HashSet<u16> = (0..65_535).map(|_| ids.next()).collect();
        assert_eq!(given.len(), 65_535);
        assert!(!given.contains(&first));
        assert_eq!(ids.next(), first);
    }
}
