//! Huge pages for the engine's large tables, as the daemon asks for them.

/// Asks for them for every table that is made from now on.
#[cfg(target_os = "linux")]
pub fn ask() {
    use std::ffi::{c_int, c_void};

    const MADV_HUGEPAGE: c_int = 14;
    const PAGE_BYTES: usize = 4096;

    unsafe extern "C" {
        fn madvise(memory: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }

    tapway::table::set_advice(|memory, bytes| {
        let skipped = memory.align_offset(PAGE_BYTES);
        let whole = bytes.saturating_sub(skipped) / PAGE_BYTES * PAGE_BYTES;
        // SAFETY: the range lies inside of an allocation of the caller, and the advice changes
        // nothing of what is in it.
        unsafe {
            madvise(memory.wrapping_add(skipped).cast(), whole, MADV_HUGEPAGE);
        }
    });
}

/// Does nothing where nobody is to be asked.
#[cfg(not(target_os = "linux"))]
pub fn ask() {}
