//! Huge pages for the engine's large tables.

use std::ffi::c_void;

use crate::table;

/// The smallest page; what is advised of begins and ends at one.
const PAGE_BYTES: usize = 4096;

/// Asks the kernel for huge pages for every large table that is made from now on. A wish only:
/// where the kernel grants none, tables work as well and are slower when they are large.
pub fn ask_for_huge_pages() {
    table::set_advice(advise);
}

fn advise(memory: *mut u8, bytes: usize) {
    let skipped = memory.align_offset(PAGE_BYTES);
    let Some(rest) = bytes.checked_sub(skipped) else { return };
    let whole = rest / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: the range lies inside of an allocation of the caller. The advice changes how the
    // memory is backed, not what is in it, and an error means that nothing changes.
    unsafe {
        libc::madvise(memory.wrapping_add(skipped).cast::<c_void>(), whole, libc::MADV_HUGEPAGE);
    }
}
