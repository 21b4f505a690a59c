//! From a hash to the index of a record elsewhere.
//!
//! Buckets of one 64-byte cache line hold eight slots: 32 bits of the hash, which are compared
//! all at once, and a 32-bit index. A record has two buckets. It goes to the first while that has
//! room, so that nearly every look-up that hits touches one line; else to the second; and if both
//! are full, one of the sixteen there moves to its own other bucket. Which bucket that is follows
//! from the bucket and the 32 bits alone, so that nobody hashes a record again. There are no
//! tombstones; no step looks at more than eighteen lines.
//!
//! The index is sized for a load of five eighths, where an insertion is refused less than once in
//! 10^9.
//!
//! The caller hashes with a secret seed: frames come from strangers.

use super::memory::{Zero, Zeroed};
use super::prefetch;

const SLOTS: usize = 8;
/// Slots of a bucket that are in use, on average, at capacity.
const LOAD: usize = 5;
/// No index: the slot is free. Stored so that zeroed memory is an empty table.
const EMPTY: u32 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; SLOTS],
    /// Index plus one.
    entries: [u32; SLOTS],
}

// SAFETY: numbers only, sixteen of 32 bits; all zero is eight free slots.
unsafe impl Zero for Bucket {}

impl Bucket {
    /// A bit per slot whose tag is `tag`.
    #[inline(always)]
    fn matches(&self, tag: u32) -> u32 {
        equal(&self.tags, tag)
    }

    /// Enters a record if there is room.
    #[inline(always)]
    fn insert(&mut self, tag: u32, entry: u32) -> bool {
        let slot = equal(&self.entries, EMPTY).trailing_zeros() as usize;
        match (self.tags.get_mut(slot), self.entries.get_mut(slot)) {
            (Some(to_tag), Some(to_entry)) => {
                (*to_tag, *to_entry) = (tag, entry);
                true
            }
            _ => false,
        }
    }

    fn is_full(&self) -> bool {
        equal(&self.entries, EMPTY) == 0
    }
}

/// A bit per lane that equals `value`. By hand because the compiler takes 29 instructions for
/// what are nine, and a new session has a dozen of these.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal(lanes: &[u32; SLOTS], value: u32) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16,
        _mm_packs_epi32, _mm_set1_epi32, _mm_setzero_si128,
    };
    let at = lanes.as_ptr().cast::<__m128i>();
    // SAFETY: both loads lie inside the eight lanes and need no alignment; every x86-64 has SSE2.
    unsafe {
        let value = _mm_set1_epi32(value as i32);
        let low = _mm_cmpeq_epi32(_mm_loadu_si128(at), value);
        let high = _mm_cmpeq_epi32(_mm_loadu_si128(at.add(1)), value);
        let bytes = _mm_packs_epi16(_mm_packs_epi32(low, high), _mm_setzero_si128());
        _mm_movemask_epi8(bytes) as u32
    }
}

/// A bit per lane that equals `value`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn equal(lanes: &[u32; SLOTS], value: u32) -> u32 {
    let bits = lanes.iter().enumerate().map(|(lane, found)| u32::from(*found == value) << lane);
    bits.fold(0, |all, bit| all | bit)
}

/// Both buckets of a hash are full, and nothing in them can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no slot left for this hash")]
pub struct IndexFull;

/// A bounded multi-map from hashes to 32-bit indices.
#[derive(Clone, Debug)]
pub struct HashIndex {
    buckets: Zeroed<Bucket>,
    len: usize,
}

impl HashIndex {
    /// An index with room for `capacity` records. Memory: 12.8 bytes per record; zero pages
    /// until used.
    pub fn new(capacity: usize) -> Self {
        let count = capacity.div_ceil(LOAD).clamp(2, u32::MAX as usize);
        Self { buckets: Zeroed::new(count), len: 0 }
    }

    /// Records in the index.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True without records.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Asks for the line in which a hash most likely lies.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets, self.first(hash));
    }

    /// An index that is likely to be the one under `hash`, from its first bucket only. What lies
    /// there may be asked for; whether it is the right one is for [`HashIndex::find`] to say.
    #[inline(always)]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        let bucket = self.buckets.get(self.first(hash))?;
        let slot = bucket.matches(tag(hash)).trailing_zeros() as usize;
        bucket.entries.get(slot).and_then(|entry| entry.checked_sub(1))
    }

    /// The first index under `hash` that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (tag, first) = (tag(hash), self.first(hash));
        self.find_in(first, tag, &mut is_it)
            .or_else(|| self.find_in(self.other(first, tag), tag, &mut is_it))
    }

    /// Enters `index` under `hash`.
    ///
    /// # Errors
    /// [`IndexFull`] if both buckets of the hash are full and nothing there can move.
    pub fn insert(&mut self, hash: u64, index: u32) -> Result<(), IndexFull> {
        let (tag, entry) = (tag(hash), index.wrapping_add(1));
        let first = self.first(hash);
        let second = self.other(first, tag);
        let placed = self.place(first, tag, entry)
            || self.place(second, tag, entry)
            || (self.displace(first) && self.place(first, tag, entry))
            || (self.displace(second) && self.place(second, tag, entry));
        if !placed {
            return Err(IndexFull);
        }
        self.len += 1;
        Ok(())
    }

    /// Removes `index` under `hash`; false if it was not there.
    pub fn remove(&mut self, hash: u64, index: u32) -> bool {
        let (tag, wanted) = (tag(hash), index.wrapping_add(1));
        let first = self.first(hash);
        for at in [first, self.other(first, tag)] {
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

    #[inline(always)]
    fn find_in(&self, at: usize, tag: u32, is_it: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let bucket = self.buckets.get(at)?;
        let mut matches = bucket.matches(tag);
        while matches != 0 {
            let slot = matches.trailing_zeros() as usize;
            matches &= matches - 1;
            let entry = bucket.entries.get(slot).copied().unwrap_or(EMPTY);
            if entry != EMPTY && is_it(entry - 1) {
                return Some(entry - 1);
            }
        }
        None
    }

    fn place(&mut self, at: usize, tag: u32, entry: u32) -> bool {
        self.buckets.get_mut(at).is_some_and(|bucket| bucket.insert(tag, entry))
    }

    /// Makes room in a full bucket by moving one of its records to its other bucket.
    fn displace(&mut self, at: usize) -> bool {
        let Some(bucket) = self.buckets.get(at).copied() else { return false };
        for (slot, (tag, entry)) in bucket.tags.into_iter().zip(bucket.entries).enumerate() {
            let to = self.other(at, tag);
            if to != at && self.buckets.get(to).is_some_and(|to| !to.is_full()) {
                self.place(to, tag, entry);
                if let Some(slot) = self.buckets.get_mut(at).and_then(|b| b.entries.get_mut(slot)) {
                    *slot = EMPTY;
                }
                return true;
            }
        }
        false
    }

    /// The bucket a record is looked for first.
    #[inline(always)]
    fn first(&self, hash: u64) -> usize {
        scale(hash as u32, self.buckets.len())
    }

    /// The other bucket of a record that is in bucket `at`: the two add up to a number that the
    /// tag gives, so each leads to the other.
    #[inline(always)]
    fn other(&self, at: usize, tag: u32) -> usize {
        let count = self.buckets.len();
        let sum = scale(tag.wrapping_mul(0x9e37_79b1), count);
        if sum >= at { sum - at } else { sum + count - at }
    }
}

/// A number below `count` that follows a 32-bit hash.
#[inline(always)]
const fn scale(hash: u32, count: usize) -> usize {
    ((hash as u64 * count as u64) >> 32) as usize
}

/// The upper half of the hash, which the choice of the first bucket does not use up.
#[inline(always)]
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::KeyHash;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn fills_to_its_capacity_without_refusal() {
        for capacity in [1, 8, 100, 65_536] {
            let state = KeyHash::new(7);
            let mut index = HashIndex::new(capacity);
            for key in 0..capacity as u32 {
                index.insert(state.hash(key), key).unwrap();
            }
            for key in 0..capacity as u32 {
                assert_eq!(index.find(state.hash(key), |found| found == key), Some(key));
            }
        }
    }

    #[test]
    fn stays_right_under_churn_at_full_load() {
        const CAPACITY: u32 = 20_000;
        let state = KeyHash::new(3);
        let mut index = HashIndex::new(CAPACITY as usize);
        for key in 0..CAPACITY * 20 {
            if let Some(oldest) = key.checked_sub(CAPACITY) {
                assert!(index.remove(state.hash(oldest), oldest));
            }
            index.insert(state.hash(key), key).unwrap();
        }
        let find = |key: u32| index.find(state.hash(key), |found| found == key);
        assert!((CAPACITY * 19..CAPACITY * 20).all(|key| find(key) == Some(key)));
        assert!((0..CAPACITY * 19).all(|key| find(key).is_none()));
        let guessed = (CAPACITY * 19..CAPACITY * 20)
            .filter(|key| index.guess(state.hash(*key)) == Some(*key))
            .count();
        assert!(guessed as u32 > CAPACITY * 9 / 10, "{guessed} in their first bucket");
    }

    #[test]
    fn equal_hashes_are_refused_at_two_full_buckets() {
        let mut index = HashIndex::new(1000);
        let hash = 42 << 32 | 42;
        let accepted = (0..100).filter(|key| index.insert(hash, *key).is_ok()).count();
        assert_eq!(accepted, 2 * SLOTS);
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(steps in proptest::collection::vec((any::<bool>(), 0u32..200), 1..400)) {
            let state = KeyHash::new(1);
            let mut index = HashIndex::new(400);
            let mut model = HashMap::new();
            for (insert, key) in steps {
                let hash = state.hash(key);
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
