//! Where large tables take their memory.
//!
//! All of it is taken at once and touched as the table fills: nothing is copied when a table
//! grows, and an engine with room for a million sessions starts small.

use std::sync::OnceLock;

/// Told of the place and length of memory that a large table will use, in bytes.
pub type Advise = fn(*mut u8, usize);

/// Memory from this size on is told of: four huge pages of x86-64.
const LARGE_BYTES: usize = 8 << 20;

static ADVISE: OnceLock<Advise> = OnceLock::new();

/// Has `advise` told of the memory of every large table that is made from now on, so that whoever
/// may call the system can ask for huge pages: with pages of 4 KiB a look-up among a million
/// records costs as much for the address as for the data. The first call counts.
pub fn set_advice(advise: Advise) {
    let _ = ADVISE.set(advise);
}

/// Numbers without padding, for which zeroed memory is a value.
///
/// # Safety
/// All bytes zero must be a value of the type.
pub(super) unsafe trait Zero: Copy {}

/// `count` records of zeros; pages are touched when they are used.
pub(super) fn zeroed<T: Zero>(count: usize) -> Box<[T]> {
    let memory = Box::<[T]>::new_zeroed_slice(count);
    // SAFETY: zeroed memory is a value of every `Zero` type.
    let mut records = unsafe { memory.assume_init() };
    tell(records.as_mut_ptr().cast(), size_of_val(&*records));
    records
}

/// An empty vector with room for `capacity` records.
pub fn reserve<T>(capacity: usize) -> Vec<T> {
    let mut records: Vec<T> = Vec::with_capacity(capacity);
    tell(records.as_mut_ptr().cast(), capacity * size_of::<T>());
    records
}

fn tell(memory: *mut u8, bytes: usize) {
    if bytes >= LARGE_BYTES
        && let Some(advise) = ADVISE.get()
    {
        advise(memory, bytes);
    }
}
