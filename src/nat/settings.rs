//! Bounds and timers of the NAPT.

use std::time::Duration;

use super::Timeouts;

/// Bounds and timers of the NAPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatSettings {
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions of one inside host.
    pub sessions_per_host: usize,
    /// External ports of one inside host, per protocol.
    pub ports_per_host: usize,
    /// How long a released external port rests (RFC 6888 REQ-8).
    pub quarantine: Duration,
    /// Lifetimes.
    pub timeouts: Timeouts,
}
