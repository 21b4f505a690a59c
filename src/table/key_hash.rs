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
    fn distances_of_hashes_depend_on_the_seed() {
        // With a multiplier that is known, each is one of few for all seeds.
        let distance = |seed| {
            let hash = KeyHash::new(seed);
            hash.hash(2u64).wrapping_sub(hash.hash(3u64))
        };
        let distances: std::collections::HashSet<u64> = (0..1_000).map(distance).collect();
        assert_eq!(distances.len(), 1_000);
        assert_eq!(distance(7), distance(7));
    }
}
