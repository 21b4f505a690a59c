//! All tables as text, for SIGUSR1: what `tapway show` prints, without needing the API.

use super::api::{LinkRow, SessionUsage, StatsView};
use super::registry::Registry;
use super::render;
use crate::io::{Worker, WorkerError};

/// Sessions in a dump at most: the worker forwards nothing while it lists them.
const SESSIONS: usize = 4096;

/// Every table, each under its name.
///
/// # Errors
/// If the dataplane has ended.
pub fn dump(worker: &Worker, registry: &Registry) -> Result<String, WorkerError> {
    let ports = worker.query(|engine, _| engine.port_stats())?;
    let links: Vec<LinkRow> = ports
        .iter()
        .map(|(id, stats)| LinkRow {
            index: id.0,
            stats: stats.clone(),
            device: registry.get(&stats.port),
        })
        .collect();
    let (totals, (used, limit)) =
        worker.query(|engine, _| (engine.totals(), engine.session_usage()))?;
    let stats = StatsView {
        totals,
        sessions: SessionUsage { used, limit },
        ports: ports.into_iter().map(|(_, stats)| stats).collect(),
    };
    let tables = [
        ("link", render::links(&links)),
        ("fdb", render::fdb(&worker.query(|engine, now| engine.fdb_rows(now))?)),
        ("neigh", render::neighbours(&worker.query(|engine, now| engine.neighbour_rows(now))?)),
        ("route", render::routes(&worker.query(|engine, _| engine.route_rows())?)),
        ("nat", render::nat(&worker.query(|engine, _| engine.nat_view())?)),
        ("sessions", {
            let rows = worker.query(|engine, now| engine.session_rows(now, SESSIONS))?;
            render::sessions(&rows)
        }),
        ("drops", render::drops(&worker.query(|engine, _| engine.drop_rows())?)),
        ("stats", render::stats(&stats)),
    ];
    let text = tables.map(|(name, table)| format!("== {name}\n{}\n", table.trim_end()));
    Ok(text.concat())
}
