//! What the dataplane knows, as the tables that are shown: one out of those of all its workers.

use super::api::{SessionUsage, StatsView};
use crate::crew::merge;
use crate::engine::{DropRow, FdbRow, NatView, NeighbourRow, PortStats, RouteRow, SessionRow};
use crate::id::PortId;
use crate::io::{Dataplane, WorkerError};

/// Counters of every port.
///
/// # Errors
/// As all here: if the dataplane has ended.
pub fn ports(dataplane: &Dataplane) -> Result<Vec<(PortId, PortStats)>, WorkerError> {
    Ok(merge::port_stats(dataplane.query_each(|engine, _| engine.port_stats())?))
}

/// As `bridge fdb`.
///
/// # Errors
/// See [`ports`].
pub fn fdb(dataplane: &Dataplane) -> Result<Vec<FdbRow>, WorkerError> {
    Ok(merge::fdb_rows(dataplane.query_each(|engine, now| engine.fdb_rows(now))?))
}

/// As `ip neigh`.
///
/// # Errors
/// See [`ports`].
pub fn neighbours(dataplane: &Dataplane) -> Result<Vec<NeighbourRow>, WorkerError> {
    Ok(merge::neighbour_rows(dataplane.query_each(|engine, now| engine.neighbour_rows(now))?))
}

/// As `ip route`; all workers have the same.
///
/// # Errors
/// See [`ports`].
pub fn routes(dataplane: &Dataplane) -> Result<Vec<RouteRow>, WorkerError> {
    dataplane.query(|engine, _| engine.route_rows())
}

/// The rules of the NAPT; all workers have the same.
///
/// # Errors
/// See [`ports`].
pub fn nat(dataplane: &Dataplane) -> Result<NatView, WorkerError> {
    dataplane.query(|engine, _| engine.nat_view())
}

/// Up to `limit` sessions.
///
/// # Errors
/// See [`ports`].
pub fn sessions(dataplane: &Dataplane, limit: usize) -> Result<Vec<SessionRow>, WorkerError> {
    let of_each = dataplane.query_each(move |engine, now| engine.session_rows(now, limit))?;
    Ok(merge::session_rows(of_each, limit))
}

/// Every drop reason that occurred.
///
/// # Errors
/// See [`ports`].
pub fn drops(dataplane: &Dataplane) -> Result<Vec<DropRow>, WorkerError> {
    Ok(merge::drop_rows(dataplane.query_each(|engine, _| engine.drop_rows())?))
}

/// The outcome of every frame, and the use of the session table.
///
/// # Errors
/// See [`ports`].
pub fn stats(dataplane: &Dataplane) -> Result<StatsView, WorkerError> {
    let of_each = dataplane
        .query_each(|engine, _| (engine.totals(), engine.session_usage(), engine.port_stats()))?;
    let totals: Vec<_> = of_each.iter().map(|(totals, _, _)| *totals).collect();
    let used = of_each.iter().map(|(_, (used, _), _)| used).sum();
    let limit = of_each.iter().map(|(_, (_, limit), _)| limit).sum();
    let ports = merge::port_stats(of_each.into_iter().map(|(_, _, ports)| ports).collect());
    Ok(StatsView {
        totals: merge::totals(&totals),
        workers: totals,
        sessions: SessionUsage { used, limit },
        ports: ports.into_iter().map(|(_, stats)| stats).collect(),
    })
}
