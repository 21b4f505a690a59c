//! How the kernel shares processors between a worker and everybody else.

use std::io;
use std::mem::size_of;

/// The shortest time slice that the kernel grants, in nanoseconds.
const SLICE_NS: u64 = 100_000;

/// Asks that the calling thread runs often and briefly: its share of the processor stays what it
/// is, but hosts that keep all processors busy delay it less. Needs no privilege; kernels before
/// 6.12 ignore it.
///
/// # Errors
/// If the kernel, or a policy, refuses to be asked.
pub fn ask_for_short_slices() -> io::Result<()> {
    // SAFETY: all zero is a valid `sched_attr`: no flags, an ordinary thread.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    // A policy or nice value that somebody gave is kept; one without time slices refuses.
    attributes.sched_flags = libc::SCHED_FLAG_KEEP_POLICY as u64;
    attributes.sched_nice = own_nice();
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: the kernel reads `size` bytes of the attributes, which live through the call.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The nice value of the calling thread.
fn own_nice() -> i32 {
    // SAFETY: no pointers; an error shows as -1, which is a nice value, too, and harmless.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wish_is_granted_without_a_change_of_nice_or_policy() {
        std::thread::spawn(|| {
            let before = own_nice();
            ask_for_short_slices().unwrap();
            assert_eq!(own_nice(), before);
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_OTHER);
            let batch = libc::sched_param { sched_priority: 0 };
            // SAFETY: the kernel reads the parameters, which live through the call.
            let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const batch) };
            assert_eq!(set, 0);
            ask_for_short_slices().unwrap();
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_BATCH);
        })
        .join()
        .unwrap();
    }
}
