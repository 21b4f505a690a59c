//! Records addressed by a 32-bit index that stays theirs until they are removed.

use super::{NONE, prefetch, reserve};

#[derive(Clone, Debug)]
struct Slot<T> {
    generation: u32,
    state: State<T>,
}

#[derive(Clone, Debug)]
enum State<T> {
    Vacant { next: u32 },
    Occupied(T),
}

/// A bounded slab. Insertion is refused at capacity. An index is reused after removal; the
/// generation of a slot changes each time, so a stale index can be told.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
    capacity: usize,
}

impl<T> Slab<T> {
    /// An empty slab for at most `capacity` records.
    pub fn new(capacity: usize) -> Self {
        let capacity = if capacity < NONE as usize { capacity } else { NONE as usize - 1 };
        Self { slots: reserve(capacity), free: NONE, len: 0, capacity }
    }

    /// Records in the slab.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True without records.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if an insertion would be refused.
    pub const fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    /// The most records it takes.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Inserts a record; gives it back at capacity.
    ///
    /// # Errors
    /// The record itself if the slab is full.
    pub fn insert(&mut self, record: T) -> Result<u32, T> {
        if self.is_full() {
            return Err(record);
        }
        let index = self.free;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            if let State::Vacant { next } = slot.state {
                self.free = next;
            }
            slot.state = State::Occupied(record);
            self.len += 1;
            return Ok(index);
        }
        self.slots.push(Slot { generation: 0, state: State::Occupied(record) });
        self.len += 1;
        Ok((self.slots.len() - 1) as u32)
    }

    /// Removes and returns the record at `index`.
    pub fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        if matches!(slot.state, State::Vacant { .. }) {
            return None;
        }
        let state = std::mem::replace(&mut slot.state, State::Vacant { next: self.free });
        slot.generation = slot.generation.wrapping_add(1);
        self.free = index;
        self.len -= 1;
        match state {
            State::Occupied(record) => Some(record),
            State::Vacant { .. } => None,
        }
    }

    /// The record at `index`.
    pub fn get(&self, index: u32) -> Option<&T> {
        match &self.slots.get(index as usize)?.state {
            State::Occupied(record) => Some(record),
            State::Vacant { .. } => None,
        }
    }

    /// The record at `index`, if the slot's generation is still this one.
    #[inline(always)]
    pub fn get_versioned(&self, index: u32, generation: u32) -> Option<&T> {
        match self.slots.get(index as usize)? {
            Slot { generation: now, state: State::Occupied(record) } if *now == generation => {
                Some(record)
            }
            _ => None,
        }
    }

    /// The record at `index`, to be changed.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.slots.get_mut(index as usize)?.state {
            State::Occupied(record) => Some(record),
            State::Vacant { .. } => None,
        }
    }

    /// Asks for the memory of a record.
    #[inline(always)]
    pub fn prefetch(&self, index: u32) {
        prefetch(&self.slots, index as usize);
    }

    /// The generation of a slot; changes when its record is removed or invalidated.
    pub fn generation(&self, index: u32) -> u32 {
        self.slots.get(index as usize).map_or(0, |slot| slot.generation)
    }

    /// Gives the slot a new generation: whoever remembers the old one must look again.
    pub fn invalidate(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = slot.generation.wrapping_add(1);
        }
    }

    /// All records with their indices, in the order of the indices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match &slot.state {
            State::Occupied(record) => Some((index as u32, record)),
            State::Vacant { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_reused_with_a_new_generation_and_capacity_holds() {
        let mut slab = Slab::new(2);
        let first = slab.insert('a').unwrap();
        let second = slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err('c'));
        let generation = slab.generation(first);
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.insert('d'), Ok(first));
        assert_ne!(slab.generation(first), generation);
        assert_eq!(slab.get_versioned(first, generation), None);
        assert_eq!(slab.get_versioned(first, slab.generation(first)), Some(&'d'));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(first, &'d'), (second, &'b')]);
    }
}
