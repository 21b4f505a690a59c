//! From a 64-bit key to a 64-bit value, both in one cache line.
//!
//! Buckets of 64 bytes hold four keys and their values, so a look-up that hits touches one line,
//! rarely two, and no record elsewhere. A key has two buckets: it goes to the first while that
//! has room, else to the second; if both are full, one of the eight there moves to its own other
//! bucket. An entry has the slot it was put into until it is removed or moved; whoever remembers
//! a slot must look whether the key is still there.
//!
//! Sized for a load of one half, where an insertion is refused less than once in 10^7. Hashing
//! is seeded: keys come from strangers.

use super::key_hash::KeyHash;
use super::memory::{Zero, Zeroed};
use super::prefetch;

const SLOTS: usize = 4;
/// Slots of a bucket that are in use, on average, at capacity.
const LOAD: usize = 2;
/// The key of a free slot.
const FREE: u64 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; SLOTS],
    values: [u64; SLOTS],
}

// SAFETY: numbers only, eight of 64 bits; all zero is four free slots.
unsafe impl Zero for Bucket {}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The slot of the new entry.
    pub slot: u32,
    /// Another entry moved from the first slot to the second.
    pub moved: Option<(u32, u32)>,
}

/// A bounded map. The key 0 means "free" and is never found or taken.
#[derive(Clone, Debug)]
pub struct WordMap {
    buckets: Zeroed<Bucket>,
    hasher: KeyHash,
    len: usize,
    capacity: usize,
}

impl WordMap {
    /// A map with room for `capacity` entries. Memory: 32 bytes per entry; zero pages until used.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.min(1 << 30);
        let count = capacity.div_ceil(LOAD).max(2);
        Self { buckets: Zeroed::new(count), hasher: KeyHash::new(seed), len: 0, capacity }
    }

    /// Entries in the map.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True without entries.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if an insertion would be refused.
    pub const fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    /// The hash that the other methods take, so that the keys of a burst can be hashed at once.
    #[inline(always)]
    pub fn hash(&self, key: u64) -> u64 {
        self.hasher.hash(key)
    }

    /// Asks for the line in which a key most likely lies.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets, self.first(hash));
    }

    /// The slot of a key, and its value.
    #[inline(always)]
    pub fn find(&self, key: u64, hash: u64) -> Option<(u32, u64)> {
        let first = self.first(hash);
        match self.find_in(first, key) {
            None => self.find_in(self.second(hash), key),
            found => found,
        }
    }

    /// The entry in a slot; the key is 0 if it is free.
    #[inline(always)]
    pub fn get(&self, slot: u32) -> (u64, u64) {
        let found = self.buckets.get(slot as usize / SLOTS).and_then(|bucket| {
            let at = slot as usize % SLOTS;
            Some((*bucket.keys.get(at)?, *bucket.values.get(at)?))
        });
        found.unwrap_or((FREE, 0))
    }

    /// Changes the value in a slot.
    #[inline(always)]
    pub fn set(&mut self, slot: u32, value: u64) {
        let bucket = self.buckets.get_mut(slot as usize / SLOTS);
        if let Some(to) = bucket.and_then(|bucket| bucket.values.get_mut(slot as usize % SLOTS)) {
            *to = value;
        }
    }

    /// Enters a key that is not there; none if there is no room for it.
    pub fn insert(&mut self, key: u64, hash: u64, value: u64) -> Option<Placed> {
        if key == FREE || self.is_full() {
            return None;
        }
        let (first, second) = (self.first(hash), self.second(hash));
        let mut moved = None;
        let slot = self.free_slot(first).or_else(|| self.free_slot(second)).or_else(|| {
            moved = self.displace(first).or_else(|| self.displace(second));
            moved.map(|(from, _)| from)
        })?;
        self.put(slot, key, value);
        self.len += 1;
        Some(Placed { slot, moved })
    }

    /// Removes the entry in a slot and returns it; none if the slot is free.
    pub fn remove(&mut self, slot: u32) -> Option<(u64, u64)> {
        let entry = self.get(slot);
        if entry.0 == FREE {
            return None;
        }
        self.put(slot, FREE, 0);
        self.len -= 1;
        Some(entry)
    }

    /// All slots that are taken, with key and value.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.buckets.iter().enumerate().flat_map(|(at, bucket)| {
            let entries = bucket.keys.into_iter().zip(bucket.values).enumerate();
            entries
                .filter(|(_, (key, _))| *key != FREE)
                .map(move |(slot, (key, value))| ((at * SLOTS + slot) as u32, key, value))
        })
    }

    #[inline(always)]
    fn find_in(&self, at: usize, key: u64) -> Option<(u32, u64)> {
        let bucket = self.buckets.get(at)?;
        // Without branches on which slot it is: that is different for every key.
        let mut bits = 0;
        for (slot, found) in bucket.keys.iter().enumerate() {
            bits |= u32::from(*found == key) << slot;
        }
        let slot = bits.trailing_zeros() as usize;
        bucket.values.get(slot).map(|value| ((at * SLOTS + slot) as u32, *value))
    }

    fn free_slot(&self, at: usize) -> Option<u32> {
        let slot = self.buckets.get(at)?.keys.iter().position(|key| *key == FREE)?;
        Some((at * SLOTS + slot) as u32)
    }

    /// Moves an entry of a full bucket to its other bucket: from which slot, and to which.
    fn displace(&mut self, at: usize) -> Option<(u32, u32)> {
        let bucket = *self.buckets.get(at)?;
        for (slot, (key, value)) in bucket.keys.into_iter().zip(bucket.values).enumerate() {
            let hash = self.hash(key);
            let (first, second) = (self.first(hash), self.second(hash));
            let to = if at == first { second } else { first };
            if let Some(to) = self.free_slot(to) {
                self.put(to, key, value);
                return Some(((at * SLOTS + slot) as u32, to));
            }
        }
        None
    }

    fn put(&mut self, slot: u32, key: u64, value: u64) {
        let at = slot as usize % SLOTS;
        if let Some(bucket) = self.buckets.get_mut(slot as usize / SLOTS)
            && let (Some(to_key), Some(to_value)) =
                (bucket.keys.get_mut(at), bucket.values.get_mut(at))
        {
            (*to_key, *to_value) = (key, value);
        }
    }

    #[inline(always)]
    fn first(&self, hash: u64) -> usize {
        self.scale(hash as u32)
    }

    #[inline(always)]
    fn second(&self, hash: u64) -> usize {
        self.scale((hash >> 32) as u32)
    }

    #[inline(always)]
    fn scale(&self, hash: u32) -> usize {
        ((hash as u64 * self.buckets.len() as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn insert(map: &mut WordMap, key: u64, value: u64) -> Option<Placed> {
        map.insert(key, map.hash(key), value)
    }

    fn value(map: &WordMap, key: u64) -> Option<u64> {
        map.find(key, map.hash(key)).map(|(_, value)| value)
    }

    #[test]
    fn fills_to_its_capacity_and_refuses_beyond() {
        for capacity in [1, 2, 100, 65_536] {
            let mut map = WordMap::new(capacity, 5);
            for key in 1..=capacity as u64 {
                assert!(insert(&mut map, key, key * 7).is_some(), "{key} of {capacity}");
            }
            assert_eq!(insert(&mut map, u64::MAX, 1), None);
            assert!((1..=capacity as u64).all(|key| value(&map, key) == Some(key * 7)));
            assert_eq!(map.iter().count(), capacity);
        }
    }

    #[test]
    fn a_million_keys_in_a_row_find_room() {
        const KEYS: u64 = 1_000_000;
        for seed in 1..=2 {
            let mut map = WordMap::new(KEYS as usize, seed);
            let refused =
                (1..=KEYS).filter(|key| insert(&mut map, 0x0242 << 32 | key, 0).is_none());
            assert_eq!(refused.count(), 0);
        }
    }

    #[test]
    fn stays_right_under_churn_at_full_load() {
        const CAPACITY: u64 = 20_000;
        let mut map = WordMap::new(CAPACITY as usize, 3);
        for key in 1..=CAPACITY * 20 {
            if let Some(oldest) = key.checked_sub(CAPACITY).filter(|oldest| *oldest > 0) {
                let (slot, _) = map.find(oldest, map.hash(oldest)).unwrap();
                assert_eq!(map.remove(slot), Some((oldest, !oldest)));
            }
            assert!(insert(&mut map, key, !key).is_some());
        }
        let alive = CAPACITY * 19 + 1..=CAPACITY * 20;
        assert!(alive.clone().all(|key| value(&map, key) == Some(!key)));
        assert!((1..*alive.start()).all(|key| value(&map, key).is_none()));
    }

    #[test]
    fn the_free_key_is_neither_taken_nor_removed() {
        let mut map = WordMap::new(8, 1);
        assert_eq!(insert(&mut map, 0, 1), None);
        assert_eq!(map.remove(0), None);
        assert_eq!(map.remove(u32::MAX), None);
        assert!(map.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map_and_tells_what_moved(
            steps in proptest::collection::vec((any::<bool>(), 1u64..60), 1..400),
        ) {
            let mut map = WordMap::new(40, 2);
            let mut slots: HashMap<u64, u32> = HashMap::new();
            for (is_insert, key) in steps {
                match (slots.get(&key).copied(), is_insert) {
                    (None, true) => {
                        if let Some(Placed { slot, moved }) = insert(&mut map, key, key) {
                            if let Some((from, to)) = moved {
                                for slot in slots.values_mut().filter(|slot| **slot == from) {
                                    *slot = to;
                                }
                            }
                            slots.insert(key, slot);
                        } else {
                            prop_assert!(map.len() > 20, "refused at {}", map.len());
                        }
                    }
                    (Some(slot), false) => {
                        prop_assert_eq!(map.remove(slot), Some((key, key)));
                        slots.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(map.len(), slots.len());
                for (key, slot) in &slots {
                    prop_assert_eq!(map.find(*key, map.hash(*key)), Some((*slot, *key)));
                }
            }
        }
    }
}
