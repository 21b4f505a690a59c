//! Answers that join what the engine counts with what control knows.

use serde::{Deserialize, Serialize};

use crate::control::live::ChangeRow;
use crate::control::registry::LinkInfo;
use crate::control::resolver::ResolverStats;
use crate::engine::{PortStats, Totals};
use crate::local::dns::NameRow;

/// A port, its counters and its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Number of the port.
    pub index: u16,
    /// Its counters.
    #[serde(flatten)]
    pub stats: PortStats,
    /// Its device; none: a port in memory.
    pub device: Option<LinkInfo>,
}

/// What a change of the state came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedView {
    /// What is other than before.
    pub changes: Vec<ChangeRow>,
}

/// Names of hosts, and what became of questions about others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesReport {
    /// The names of all networks.
    pub names: Vec<NameRow>,
    /// What the resolver counted.
    pub resolver: ResolverStats,
}

/// Sessions now, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUsage {
    /// Sessions now.
    pub used: usize,
    /// Sessions at most.
    pub limit: usize,
}

/// Counters of the whole switch and of each port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsView {
    /// Outcomes of all frames.
    pub totals: Totals,
    /// Those of each worker. Each is asked between two of its bursts, so under traffic their sums
    /// are off by what is on its way between them.
    pub workers: Vec<Totals>,
    /// Use of the session table.
    pub sessions: SessionUsage,
    /// Counters of every port.
    pub ports: Vec<PortStats>,
}
