//! The tables at the end.

use super::DemoError;
use super::stage::Stage;
use super::topology::Switch;
use super::transcript::Transcript;
use crate::engine::{DropRow, SessionRow};

/// Sessions shown.
const MAX_SESSIONS: usize = 64;

/// Prints tapway's tables.
///
/// # Errors
/// If the engine is gone.
pub fn print<S: Stage>(stage: &mut S, transcript: &mut Transcript<'_>) -> Result<(), DemoError> {
    let tables = stage.read(Switch::Tapway, |engine, now| {
        let fdb = lines(engine.fdb_rows(now).iter().map(|row| {
            let port = row.port.as_deref().unwrap_or("self");
            format!("{} dev {port} master {}", row.mac, row.network)
        }));
        let neighbours = lines(engine.neighbour_rows(now).iter().map(|row| {
            let mac = row.mac.map(|mac| mac.to_string()).unwrap_or_default();
            format!("{} dev {} lladdr {mac} {:?}", row.address, row.network, row.state)
        }));
        let routes = lines(engine.route_rows().iter().map(|row| {
            let via = row.via.map(|via| format!(" via {via}")).unwrap_or_default();
            format!("{}{via} dev {}", row.destination, row.network)
        }));
        let publishes = lines(
            engine
                .publishes()
                .iter()
                .map(|row| format!("DNAT tcp dpt:{} to:{}", row.port, row.target)),
        );
        [
            ("fdb", fdb),
            ("neigh", neighbours),
            ("route", routes),
            ("nat", publishes),
            ("sessions", sessions(&engine.session_rows(now, MAX_SESSIONS))),
            ("drops", drops(&engine.drop_rows())),
        ]
    })?;
    transcript.note("\nWhat tapway knows now:");
    for (name, table) in tables {
        transcript.note("");
        transcript.typed(Switch::Tapway.name(), format!("tapway show {name}"));
        transcript.printed(&table);
    }
    Ok(())
}

/// Sessions as `conntrack -L` prints them.
pub fn sessions(rows: &[SessionRow]) -> String {
    lines(rows.iter().map(|row| {
        let SessionRow { protocol, expires_s, state, src, dst, reply_src, reply_dst, .. } = row;
        format!("{protocol} {expires_s} {state} {src} > {dst}, {reply_src} > {reply_dst}")
    }))
}

/// Drop counters.
pub fn drops(rows: &[DropRow]) -> String {
    lines(rows.iter().map(|row| format!("{} {} {}", row.port, row.reason, row.frames)))
}

fn lines(rows: impl Iterator<Item = String>) -> String {
    rows.collect::<Vec<_>>().join("\n")
}
