//! One table out of those of all engines.

use std::collections::BTreeMap;

use crate::engine::{DropRow, FdbRow, NeighbourRow, PortStats, SessionRow, Totals};
use crate::id::PortId;
use crate::route::NeighbourState;

/// Outcomes of all frames; what is on its way between workers waits.
pub fn totals(of_each: &[Totals]) -> Totals {
    let mut sum = Totals::default();
    for totals in of_each {
        sum.received += totals.received;
        sum.forwarded += totals.forwarded;
        sum.flooded += totals.flooded;
        sum.local += totals.local;
        sum.dropped += totals.dropped;
        sum.waiting += totals.waiting;
        sum.handed_over += totals.handed_over;
        sum.taken_over += totals.taken_over;
        sum.unknown_port += totals.unknown_port;
        sum.generated += totals.generated;
    }
    sum.waiting += sum.handed_over.saturating_sub(sum.taken_over);
    sum
}

/// Counters of every port.
pub fn port_stats(of_each: Vec<Vec<(PortId, PortStats)>>) -> Vec<(PortId, PortStats)> {
    let mut ports: BTreeMap<PortId, PortStats> = BTreeMap::new();
    for (id, stats) in of_each.into_iter().flatten() {
        match ports.get_mut(&id) {
            Some(sum) => add(sum, &stats),
            None => {
                ports.insert(id, stats);
            }
        }
    }
    ports.into_iter().collect()
}

fn add(sum: &mut PortStats, stats: &PortStats) {
    sum.rx_frames += stats.rx_frames;
    sum.rx_bytes += stats.rx_bytes;
    sum.rx_segments += stats.rx_segments;
    sum.tx_frames += stats.tx_frames;
    sum.tx_bytes += stats.tx_bytes;
    sum.tx_segments += stats.tx_segments;
    sum.dropped += stats.dropped;
}

/// Every reason that occurred, by port, in the order of the first engine that saw it.
pub fn drop_rows(of_each: Vec<Vec<DropRow>>) -> Vec<DropRow> {
    let mut rows: Vec<DropRow> = Vec::new();
    for row in of_each.into_iter().flatten() {
        let known = rows.iter_mut().find(|sum| sum.port == row.port && sum.reason == row.reason);
        match known {
            Some(sum) => sum.frames += row.frames,
            None => rows.push(row),
        }
    }
    rows
}

/// Every MAC, where it was seen last.
pub fn fdb_rows(of_each: Vec<Vec<FdbRow>>) -> Vec<FdbRow> {
    let mut rows: Vec<FdbRow> = of_each.into_iter().flatten().collect();
    rows.sort_by(|a, b| (&a.network, a.mac, a.age_s).cmp(&(&b.network, b.mac, b.age_s)));
    rows.dedup_by(|later, first| later.network == first.network && later.mac == first.mac);
    rows
}

/// Every neighbour, as the engine that knows best has it.
pub fn neighbour_rows(of_each: Vec<Vec<NeighbourRow>>) -> Vec<NeighbourRow> {
    let mut rows: Vec<NeighbourRow> = of_each.into_iter().flatten().collect();
    let rank = |row: &NeighbourRow| match row.state {
        NeighbourState::Reachable => 0,
        NeighbourState::Delay => 1,
        NeighbourState::Probe => 2,
        NeighbourState::Stale => 3,
        NeighbourState::Incomplete => 4,
        NeighbourState::Failed => 5,
    };
    rows.sort_by(|a, b| (a.address, &a.network, rank(a)).cmp(&(b.address, &b.network, rank(b))));
    rows.dedup_by(|later, first| later.network == first.network && later.address == first.address);
    rows
}

/// Up to `limit` sessions.
pub fn session_rows(of_each: Vec<Vec<SessionRow>>, limit: usize) -> Vec<SessionRow> {
    of_each.into_iter().flatten().take(limit).collect()
}
