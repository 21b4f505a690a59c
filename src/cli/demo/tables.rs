//! The tables at the end, as `tapway show` prints them.

use super::DemoError;
use super::stage::Stage;
use super::topology::Switch;
use super::transcript::Transcript;
use crate::control::render;

/// Sessions shown at most.
pub const MAX_SESSIONS: usize = 64;

/// Prints tapway's tables.
///
/// # Errors
/// If the engine is gone.
pub fn print<S: Stage>(stage: &mut S, transcript: &mut Transcript<'_>) -> Result<(), DemoError> {
    let tables = stage.read(Switch::Tapway, |engine, now| {
        [
            ("fdb", render::fdb(&engine.fdb_rows(now))),
            ("neigh", render::neighbours(&engine.neighbour_rows(now))),
            ("route", render::routes(&engine.route_rows())),
            ("nat", render::nat(&engine.nat_view())),
            ("sessions", render::sessions(&engine.session_rows(now, MAX_SESSIONS))),
            ("drops", render::drops(&engine.drop_rows())),
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
