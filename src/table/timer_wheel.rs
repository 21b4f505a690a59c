//! Deadlines of slab indices, to a coarse tick.
//!
//! One turn of slots; a deadline beyond the turn waits in the last slot and is told to its owner
//! early, who then schedules it again. The owner also does so when the record was used
//! meanwhile: a refresh costs nothing here. An index has at most one deadline.
//!
//! When the next one is due is asked far more often than it changes, so that is remembered.

use std::cell::Cell;
use std::time::Duration;

use super::{Links, List, NONE, reserve};
use crate::time::Instant;

/// The first tick whose slot holds something.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// To be found out.
    Unknown,
    /// None does.
    Never,
    At(u64),
}

/// A wheel of timers.
#[derive(Clone, Debug)]
pub struct TimerWheel {
    tick_ns: u64,
    now_tick: u64,
    slots: Vec<List>,
    occupied: Vec<u64>,
    links: Links,
    slot_of: Vec<u32>,
    next: Cell<Next>,
}

impl TimerWheel {
    /// A wheel of `slots` slots (rounded up to a power of two, at least 64) of one `tick` each,
    /// for indices below `capacity`.
    pub fn new(tick: Duration, slots: usize, now: Instant, capacity: usize) -> Self {
        let slots = slots.next_power_of_two().max(64);
        let tick_ns = (tick.as_nanos() as u64).max(1);
        Self {
            tick_ns,
            now_tick: now.as_nanos() / tick_ns,
            slots: vec![List::default(); slots],
            occupied: vec![0; slots / 64],
            links: Links::new(capacity),
            slot_of: reserve(capacity),
            next: Cell::new(Next::Never),
        }
    }

    /// Sets the deadline of `index`, replacing an earlier one. It is due in the tick after `at`,
    /// never before `at` unless `at` lies beyond a whole turn.
    pub fn schedule(&mut self, index: u32, at: Instant) {
        self.cancel(index);
        let turn = self.slots.len() as u64 - 1;
        let due = (at.as_nanos() / self.tick_ns + 1).max(self.now_tick + 1);
        let tick = due.min(self.now_tick + turn);
        let slot = tick as usize & (self.slots.len() - 1);
        if self.slot_of.len() <= index as usize {
            self.slot_of.resize(index as usize + 1, NONE);
        }
        if let (Some(list), Some(slot_of), Some(bits)) = (
            self.slots.get_mut(slot),
            self.slot_of.get_mut(index as usize),
            self.occupied.get_mut(slot / 64),
        ) {
            list.push_back(&mut self.links, index);
            *slot_of = slot as u32;
            *bits |= 1 << (slot % 64);
            self.next.set(match self.next.get() {
                Next::Unknown => Next::Unknown,
                Next::Never => Next::At(tick),
                Next::At(next) => Next::At(next.min(tick)),
            });
        }
    }

    /// Forgets the deadline of `index`, if it has one.
    pub fn cancel(&mut self, index: u32) {
        let Some(slot) = self.slot_of.get_mut(index as usize) else { return };
        let at = std::mem::replace(slot, NONE) as usize;
        if let Some(list) = self.slots.get_mut(at) {
            list.remove(&mut self.links, index);
            if list.is_empty()
                && let Some(bits) = self.occupied.get_mut(at / 64)
            {
                *bits &= !(1 << (at % 64));
                if let Next::At(next) = self.next.get()
                    && next as usize & (self.slots.len() - 1) == at
                {
                    self.next.set(Next::Unknown);
                }
            }
        }
    }

    /// One index whose deadline has come, or none. Call until none.
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let target = now.as_nanos() / self.tick_ns;
        loop {
            let slot = self.now_tick as usize & (self.slots.len() - 1);
            if let Some(index) = self.slots.get(slot).and_then(List::front) {
                self.cancel(index);
                return Some(index);
            }
            if self.now_tick >= target {
                return None;
            }
            let next = self.next_tick().unwrap_or(target);
            self.now_tick = next.min(target);
        }
    }

    /// When the next deadline may be due; none without deadlines.
    pub fn next_deadline(&self) -> Option<Instant> {
        Some(Instant::from_nanos(self.next_tick()?.saturating_mul(self.tick_ns)))
    }

    /// The first tick from the present one on whose slot holds something.
    fn next_tick(&self) -> Option<u64> {
        match self.next.get() {
            Next::At(tick) => Some(tick),
            Next::Never => None,
            Next::Unknown => {
                let found = self.next_occupied();
                self.next.set(found.map_or(Next::Never, Next::At));
                found
            }
        }
    }

    fn next_occupied(&self) -> Option<u64> {
        let mask = self.slots.len() as u64 - 1;
        let start = self.now_tick & mask;
        let words = self.occupied.len() as u64;
        for step in 0..=words {
            // As many words as a power of two.
            let word = (start / 64 + step) & (words - 1);
            let mut bits = *self.occupied.get(word as usize)?;
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == words {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + u64::from(bits.trailing_zeros());
                return Some(self.now_tick + (slot.wrapping_sub(start) & mask));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn due(wheel: &mut TimerWheel, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(Instant::from_secs(now))).collect()
    }

    #[test]
    fn a_deadline_fires_once_and_not_early() {
        let mut wheel = TimerWheel::new(Duration::from_secs(1), 64, Instant::ZERO, 8);
        wheel.schedule(5, Instant::from_secs(10));
        wheel.schedule(6, Instant::from_secs(3));
        wheel.cancel(6);
        assert!(due(&mut wheel, 10).is_empty());
        assert_eq!(wheel.next_deadline(), Some(Instant::from_secs(11)));
        assert_eq!(due(&mut wheel, 11), [5]);
        assert!(due(&mut wheel, 500).is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_deadline_beyond_the_turn_is_told_early() {
        let mut wheel = TimerWheel::new(Duration::from_secs(1), 64, Instant::from_secs(1000), 8);
        wheel.schedule(1, Instant::from_secs(9000));
        assert_eq!(due(&mut wheel, 1063), [1]);
    }

    proptest! {
        #[test]
        fn what_is_remembered_of_the_next_deadline_is_the_least_of_all(
            ops in proptest::collection::vec((0u32..8, 0u64..90, 0u8..4), 1..60),
        ) {
            let mut wheel = TimerWheel::new(Duration::from_secs(1), 64, Instant::ZERO, 8);
            let (mut due_at, mut now) = ([None; 8], 0);
            for (index, at, kind) in ops {
                match kind {
                    0 => {
                        wheel.cancel(index);
                        due_at[index as usize] = None;
                    }
                    1 => {
                        now += at / 8;
                        for index in due(&mut wheel, now) {
                            due_at[index as usize] = None;
                        }
                    }
                    _ => {
                        wheel.schedule(index, Instant::from_secs(at));
                        due_at[index as usize] = Some((at + 1).clamp(now + 1, now + 63));
                    }
                }
                let least = due_at.iter().flatten().min();
                prop_assert_eq!(wheel.next_deadline(), least.map(|at| Instant::from_secs(*at)));
            }
        }

        #[test]
        fn fires_in_the_tick_after_the_deadline(
            at in proptest::collection::vec(0u64..200, 1..40), step in 1u64..50,
        ) {
            let mut wheel = TimerWheel::new(Duration::from_secs(1), 256, Instant::ZERO, 8);
            for (index, at) in at.iter().enumerate() {
                wheel.schedule(index as u32, Instant::from_secs(*at));
            }
            let mut fired = vec![None; at.len()];
            let mut now = 0;
            while now < 260 {
                now += step;
                let before = wheel.next_deadline();
                for index in due(&mut wheel, now) {
                    prop_assert!(before.is_some_and(|at| at <= Instant::from_secs(now)));
                    prop_assert!(fired[index as usize].replace(now).is_none());
                }
            }
            for (at, fired) in at.iter().zip(fired) {
                let fired = fired.unwrap();
                prop_assert!(fired > *at && fired <= *at + step, "{} {}", at, fired);
            }
        }
    }
}
