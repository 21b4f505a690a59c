//! All tables as text, for SIGUSR1: what `tapway show` prints, without needing the API.

use super::api::LinkRow;
use super::registry::Registry;
use super::{render, tables};
use crate::io::{Dataplane, WorkerError};

/// Sessions in a dump at most: the worker forwards nothing while it lists them.
const SESSIONS: usize = 4096;

/// Every table, each under its name.
///
/// # Errors
/// If the dataplane has ended.
pub fn dump(dataplane: &Dataplane, registry: &Registry) -> Result<String, WorkerError> {
    let links: Vec<LinkRow> = tables::ports(dataplane)?
        .into_iter()
        .map(|(id, stats)| LinkRow { index: id.0, device: registry.get(&stats.port), stats })
        .collect();
    let texts = [
        ("link", render::links(&links)),
        ("fdb", render::fdb(&tables::fdb(dataplane)?)),
        ("neigh", render::neighbours(&tables::neighbours(dataplane)?)),
        ("route", render::routes(&tables::routes(dataplane)?)),
        ("nat", render::nat(&tables::nat(dataplane)?)),
        ("sessions", render::sessions(&tables::sessions(dataplane, SESSIONS)?)),
        ("drops", render::drops(&tables::drops(dataplane)?)),
        ("stats", render::stats(&tables::stats(dataplane)?)),
    ];
    let text = texts.map(|(name, table)| format!("== {name}\n{}\n", table.trim_end()));
    Ok(text.concat())
}
