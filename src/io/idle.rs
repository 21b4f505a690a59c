//! What a dataplane does while no device is ready: sleep, or look again and again for a while.
//!
//! Waking a thread that sleeps costs the sender more than most frames do. So, where a core is to
//! spare, a dataplane that had traffic looks for more of it for up to [`MAX_SPIN`]; the time is
//! halved whenever that was in vain, and comes back when a sleep turns out to have been shorter.

use std::num::NonZero;
use std::time::Duration;

/// Longest looking before a sleep.
const MAX_SPIN: Duration = Duration::from_micros(50);
/// Where looking has become so short that it is left out.
const MIN_SPIN: Duration = Duration::from_micros(3);
/// Cores of hosts and tapway that are busy at least when traffic flows between two hosts.
const BUSY_CORES: usize = 2;

/// How a dataplane waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitMode {
    /// It sleeps when there is nothing to do.
    #[default]
    Auto,
    /// It never sleeps, and takes a core for itself.
    Busy,
}

/// How long to look before a sleep.
#[derive(Debug)]
pub(super) struct Idle {
    mode: WaitMode,
    has_spare_core: bool,
    spin: Duration,
}

impl Idle {
    pub(super) fn new(mode: WaitMode) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { mode, has_spare_core: cores > BUSY_CORES, spin: MAX_SPIN }
    }

    /// True if it never sleeps.
    pub(super) fn is_busy(&self) -> bool {
        self.mode == WaitMode::Busy
    }

    /// How long to look, after a pass with frames or without.
    pub(super) fn spin(&self, had_frames: bool) -> Option<Duration> {
        (self.has_spare_core && had_frames && self.spin >= MIN_SPIN).then_some(self.spin)
    }

    /// It was looked, and frames came or not.
    pub(super) fn spun(&mut self, found: bool) {
        self.spin = if found { MAX_SPIN } else { self.spin / 2 };
    }

    /// It slept for so long until frames came.
    pub(super) fn slept(&mut self, time: Duration) {
        if time < MAX_SPIN {
            self.spin = MAX_SPIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_stops_when_it_is_in_vain_and_returns_when_sleeps_are_short() {
        let mut idle = Idle { mode: WaitMode::Auto, has_spare_core: true, spin: MAX_SPIN };
        assert_eq!(idle.spin(false), None, "no traffic");
        for _ in 0..5 {
            idle.spun(false);
        }
        assert_eq!(idle.spin(true), None);
        idle.slept(Duration::from_millis(1));
        assert_eq!(idle.spin(true), None);
        idle.slept(Duration::from_micros(20));
        assert_eq!(idle.spin(true), Some(MAX_SPIN));
        idle.has_spare_core = false;
        assert_eq!(idle.spin(true), None);
    }
}
