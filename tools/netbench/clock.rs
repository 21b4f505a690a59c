//! The benchmark's clock: the only place here that reads time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The present time, to measure spans.
#[expect(clippy::disallowed_methods, reason = "the one clock of the benchmark")]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for reports.
#[expect(clippy::disallowed_methods, reason = "the one clock of the benchmark")]
pub fn wall_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A point in time until which something is tried.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// That long from now.
    pub fn after(patience: Duration) -> Self {
        Self(now() + patience)
    }

    /// True if it has passed.
    pub fn has_passed(self) -> bool {
        now() >= self.0
    }

    /// How long until then.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(now())
    }
}
