//! Hashes of keys that strangers choose.

use std::hash::{Hash, Hasher as _};

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// A hash function out of a family, by a secret seed.
///
/// Which keys meet depends on the seed alone: both what a key is mixed with and what it is
/// multiplied by are secret. With a multiplier that everybody knows, as in foldhash's own states,
/// keys at certain distances meet whatever the seed, and MACs or addresses in a row are such keys.
#[derive(Clone, Debug)]
pub struct KeyHash {
    start: u64,
    secrets: SharedSeed,
}

impl KeyHash {
    /// The function of a seed.
    pub fn new(seed: u64) -> Self {
        let secrets = SharedSeed::from_u64(seed);
        let mut start = FoldHasher::with_seed(seed, &secrets);
        start.write_u64(seed.rotate_left(32));
        Self { start: start.finish(), secrets }
    }

    /// The hash of a key, by value: through a reference to it, it would not be inlined.
    #[inline(always)]
    pub fn hash(&self, key: impl Hash) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.start, &self.secrets);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mixed_in_and_what_is_multiplied_by_depend_on_the_seed() {
        let (one, same, other) = (KeyHash::new(1), KeyHash::new(1), KeyHash::new(2));
        assert_eq!(one.hash(7u64), same.hash(7u64));
        assert_ne!(one.hash(7u64), other.hash(7u64));
        // With the same number mixed in, too.
        let multiplied = KeyHash { start: one.start, ..other };
        assert_ne!(one.hash(7u64), multiplied.hash(7u64));
    }
}
