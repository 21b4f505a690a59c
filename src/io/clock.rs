//! The clock: the only place that reads time.

use crate::time::Instant;

/// CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The present time.
    pub fn now(self) -> Instant {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Instant::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    /// Nanoseconds to add to [`Clock::now`] for nanoseconds since 1970 (CLOCK_REALTIME). Changes
    /// when somebody sets the system's time.
    pub fn wall_offset_ns(self) -> u64 {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let wall_ns = wall.tv_sec as u64 * 1_000_000_000 + wall.tv_nsec as u64;
        wall_ns.wrapping_sub(self.now().as_nanos())
    }
}
