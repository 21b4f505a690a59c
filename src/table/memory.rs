//! Where large tables take their memory.
//!
//! All of it is taken at once and touched as the table fills: nothing is copied when a table
//! grows, and an engine with room for a million sessions starts small.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

/// Told of the place and length of memory that a large table will use, in bytes.
pub type Advise = fn(*mut u8, usize);

/// Memory from this size on is told of: four huge pages of x86-64.
const LARGE_BYTES: usize = 8 << 20;
const CACHE_LINE: usize = 64;
const WORD: usize = size_of::<u64>();

static ADVISE: OnceLock<Advise> = OnceLock::new();

/// Has `advise` told of the memory of every large table that is made from now on, so that whoever
/// may call the system can ask for huge pages: with pages of 4 KiB a look-up among a million
/// records costs as much for the address as for the data. The first call counts.
pub fn set_advice(advise: Advise) {
    let _ = ADVISE.set(advise);
}

/// An empty vector with room for `capacity` records.
pub fn reserve<T>(capacity: usize) -> Vec<T> {
    let mut records: Vec<T> = Vec::with_capacity(capacity);
    tell(records.as_mut_ptr().cast(), capacity * size_of::<T>());
    records
}

/// A type for which zeroed memory is a value.
///
/// # Safety
/// It has no invalid bit patterns and nothing to drop, its size is a multiple of eight bytes, and
/// it is aligned to a cache line at most.
pub(super) unsafe trait Zero: Copy {}

/// A fixed number of records that start as zeros, aligned to a cache line.
///
/// A boxed slice of aligned records would be written to be zeroed; words come zeroed from the
/// system, untouched.
#[derive(Debug)]
pub(super) struct Zeroed<T> {
    words: Box<[u64]>,
    /// Words before the first cache line.
    first: usize,
    count: usize,
    records: PhantomData<T>,
}

impl<T: Zero> Zeroed<T> {
    pub(super) fn new(count: usize) -> Self {
        let len = count * (size_of::<T>() / WORD) + CACHE_LINE / WORD;
        let mut words = vec![0; len].into_boxed_slice();
        tell(words.as_mut_ptr().cast(), len * WORD);
        let first = words.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE / WORD);
        Self { words, first, count, records: PhantomData }
    }
}

impl<T: Zero> Deref for Zeroed<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` took words for `count` records behind at most a cache line; every bit
        // pattern of them is a record, and they are borrowed as `self` is.
        unsafe {
            std::slice::from_raw_parts(self.words.as_ptr().add(self.first).cast(), self.count)
        }
    }
}

impl<T: Zero> DerefMut for Zeroed<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; `self` is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.words.as_mut_ptr().add(self.first).cast(),
                self.count,
            )
        }
    }
}

impl<T: Zero> Clone for Zeroed<T> {
    fn clone(&self) -> Self {
        // The copy's cache lines may begin elsewhere.
        let mut copy = Self::new(self.count);
        copy.copy_from_slice(self);
        copy
    }
}

fn tell(memory: *mut u8, bytes: usize) {
    if bytes >= LARGE_BYTES
        && let Some(advise) = ADVISE.get()
    {
        advise(memory, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(align(64))]
    struct Line([u64; 8]);

    // SAFETY: words only, without padding.
    unsafe impl Zero for Line {}

    #[test]
    fn records_start_as_zeros_on_cache_lines_and_are_copied_by_value() {
        for count in [0, 1, 7, 1000] {
            let mut table = Zeroed::<Line>::new(count);
            assert_eq!(table.len(), count);
            assert_eq!(table.as_ptr().align_offset(CACHE_LINE), 0);
            assert!(table.iter().all(|line| *line == Line([0; 8])));
            for (number, line) in table.iter_mut().enumerate() {
                *line = Line([number as u64; 8]);
            }
            let copy = table.clone();
            drop(table);
            assert!(
                copy.iter().enumerate().all(|(number, line)| *line == Line([number as u64; 8]))
            );
        }
    }
}
