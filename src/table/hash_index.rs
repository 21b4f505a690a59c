//! From a hash to the index of a record in a slab.
//!
//! Buckets of one 64-byte cache line hold eight slots: 32 bits of the hash, which are compared
//! all at once, and a 32-bit index.
//! A record lies in one of two buckets, chosen by different bits of its hash, and goes to the
//! emptier one; so a look-up touches one or two lines, hit or miss, there are no tombstones, and
//! nothing ever moves. The index is sized for a load of at most one half, where an insertion
//! finds both buckets full less than once in 10^9; then it is refused.
//!
//! The caller hashes with a secret seed: frames come from strangers.

const SLOTS: usize = 8;
/// No index: the slot is free. Stored so that zeroed memory is an empty table.
const EMPTY: u32 = 0;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; SLOTS],
    /// Index plus one.
    entries: [u32; SLOTS],
}

impl Bucket {
    /// A bit per slot whose tag is `tag`; without branches, so that it is a vector comparison.
    fn matches(&self, tag: u32) -> u32 {
        let mut bits = 0;
        for (slot, found) in self.tags.iter().enumerate() {
            bits |= u32::from(*found == tag) << slot;
        }
        bits
    }

    fn free_slots(&self) -> usize {
        self.entries.iter().filter(|entry| **entry == EMPTY).count()
    }
}

/// Both buckets of a hash are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no slot left for this hash")]
pub struct IndexFull;

/// A bounded multi-map from hashes to 32-bit indices.
#[derive(Clone, Debug)]
pub struct HashIndex {
    buckets: Vec<Bucket>,
    mask: usize,
    len: usize,
}

impl HashIndex {
    /// An index with room for `capacity` records. Memory: 16 bytes per record, rounded up to a
    /// power of two of buckets; zero pages until used.
    pub fn new(capacity: usize) -> Self {
        let count = (capacity.max(1) * 2).div_ceil(SLOTS).next_power_of_two();
        Self { buckets: vec![Bucket::default(); count], mask: count - 1, len: 0 }
    }

    /// Records in the index.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True without records.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first index under `hash` that `is_it` accepts.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        for bucket in self.pair(hash) {
            let Some(bucket) = self.buckets.get(bucket) else { continue };
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                matches &= matches - 1;
                let entry = bucket.entries.get(slot).copied().unwrap_or(EMPTY);
                if entry != EMPTY && is_it(entry - 1) {
                    return Some(entry - 1);
                }
            }
        }
        None
    }

    /// Enters `index` under `hash`.
    ///
    /// # Errors
    /// [`IndexFull`] if both buckets of the hash are full.
    pub fn insert(&mut self, hash: u64, index: u32) -> Result<(), IndexFull> {
        let [first, second] = self.pair(hash);
        let free = |at: usize| self.buckets.get(at).map_or(0, Bucket::free_slots);
        let chosen = if free(second) > free(first) { second } else { first };
        let bucket = self.buckets.get_mut(chosen).ok_or(IndexFull)?;
        let mut slots = bucket.tags.iter_mut().zip(bucket.entries.iter_mut());
        let (slot_tag, entry) = slots.find(|(_, entry)| **entry == EMPTY).ok_or(IndexFull)?;
        *slot_tag = tag(hash);
        *entry = index.wrapping_add(1);
        self.len += 1;
        Ok(())
    }

    /// Removes `index` under `hash`; false if it was not there.
    pub fn remove(&mut self, hash: u64, index: u32) -> bool {
        let (tag, wanted) = (tag(hash), index.wrapping_add(1));
        for at in self.pair(hash) {
            let Some(bucket) = self.buckets.get_mut(at) else { continue };
            let mut slots = bucket.tags.iter_mut().zip(bucket.entries.iter_mut());
            let found = slots.find(|(found, entry)| **entry == wanted && **found == tag);
            if let Some((slot_tag, entry)) = found {
                (*slot_tag, *entry) = (0, EMPTY);
                self.len -= 1;
                return true;
            }
        }
        false
    }

    fn pair(&self, hash: u64) -> [usize; 2] {
        let first = hash as usize & self.mask;
        let second = hash.rotate_right(29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let second = second as usize & self.mask;
        // With one bucket both are the same; a remove or find then merely looks twice.
        [first, if second == first { (first + 1) & self.mask } else { second }]
    }
}

/// The upper half of the hash, which the choice of buckets does not use up.
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::fast::FixedState;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::hash::BuildHasher;

    #[test]
    fn fills_to_its_capacity_without_refusal() {
        for capacity in [1, 8, 100, 65_536] {
            let state = FixedState::with_seed(7);
            let mut index = HashIndex::new(capacity);
            for key in 0..capacity as u32 {
                index.insert(state.hash_one(key), key).unwrap();
            }
            for key in 0..capacity as u32 {
                assert_eq!(index.find(state.hash_one(key), |found| found == key), Some(key));
            }
        }
    }

    #[test]
    fn equal_hashes_are_refused_at_two_full_buckets() {
        let mut index = HashIndex::new(1000);
        let accepted = (0..100).filter(|key| index.insert(42, *key).is_ok()).count();
        assert_eq!(accepted, 2 * SLOTS);
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(steps in proptest::collection::vec((any::<bool>(), 0u32..200), 1..400)) {
            let state = FixedState::with_seed(1);
            let mut index = HashIndex::new(400);
            let mut model = HashMap::new();
            for (insert, key) in steps {
                let hash = state.hash_one(key);
                if insert {
                    if model.insert(key, ()).is_none() {
                        index.insert(hash, key).unwrap();
                    }
                } else {
                    prop_assert_eq!(index.remove(hash, key), model.remove(&key).is_some());
                }
                prop_assert_eq!(index.len(), model.len());
                prop_assert_eq!(index.find(hash, |found| found == key).is_some(), model.contains_key(&key));
            }
        }
    }
}
