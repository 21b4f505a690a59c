//! Settings of an engine that hold for its life: bounds and timers.

use std::time::Duration;

use crate::nat::{NatSettings, Timeouts};
use crate::route::{IcmpLimits, NeighbourLimits};
use crate::switch::FdbLimits;

/// Half of the ports of an external address above 1023, per protocol: no host can take them all.
const PORTS_PER_HOST: usize = 32_256;

/// Bounds and timers of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// MAC entries.
    pub fdb: FdbLimits,
    /// How long a learned MAC is kept without traffic (IEEE 802.1D: 300 s).
    pub fdb_ageing: Duration,
    /// Neighbour entries.
    pub neighbours: NeighbourLimits,
    /// Rates of ICMP errors.
    pub icmp: IcmpLimits,
    /// Sessions.
    pub nat: NatSettings,
    /// Cached routed flows. Those of sessions need no entry: a session remembers its ways itself.
    pub flows: usize,
}

impl EngineConfig {
    /// The default settings with room for another number of sessions.
    pub fn with_sessions(sessions: usize) -> Self {
        Self {
            fdb: FdbLimits { total: 65_536, per_network: 32_768, per_port: 8_192 },
            fdb_ageing: Duration::from_secs(300),
            neighbours: NeighbourLimits { total: 16_384, unresolved_per_port: 256 },
            icmp: IcmpLimits { per_host: 50, total: 1_000 },
            nat: NatSettings {
                sessions,
                sessions_per_host: (sessions / 2).max(1),
                ports_per_host: PORTS_PER_HOST,
                quarantine: Duration::from_secs(120),
                timeouts: Timeouts::default(),
            },
            flows: sessions.saturating_mul(2).max(1024),
        }
    }
}

impl EngineConfig {
    /// The settings of each of several engines that carry a switch together: what counts the whole
    /// switch is divided, what counts one host, port or network is not. Every engine may come to
    /// know all MACs and neighbours.
    #[must_use]
    pub fn for_each_of(self, workers: usize) -> Self {
        let workers = workers.max(1);
        let mut own = self;
        own.nat.sessions = self.nat.sessions.div_ceil(workers);
        if workers > 1 {
            // Else one host could fill its worker's table.
            let most = (own.nat.sessions / 2).max(1);
            own.nat.sessions_per_host = self.nat.sessions_per_host.min(most);
        }
        own.flows = self.flows.div_ceil(workers);
        own.icmp.total = self.icmp.total.div_ceil(workers as u32);
        own
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self::with_sessions(262_144)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_may_fill_the_table_of_its_worker() {
        let all = EngineConfig::with_sessions(1000);
        assert_eq!(all.for_each_of(1), all);
        let own = all.for_each_of(4).nat;
        assert_eq!((own.sessions, own.sessions_per_host), (250, 125));
        let own = EngineConfig::with_sessions(1).for_each_of(16).nat;
        assert_eq!((own.sessions, own.sessions_per_host), (1, 1));
    }
}
