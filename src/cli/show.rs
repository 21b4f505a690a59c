//! `tapway show`: asks the API and prints its answer.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Exit, Failure, Output, ShowArgs, Table};
use crate::control::api::{Client, LinkRow, StatsView};
use crate::control::render;
use crate::engine::SessionRow;

/// Prints a table of the switch that answers on `socket`.
///
/// # Errors
/// If nobody answers, it refuses, or stdout does not take the answer.
pub fn show(socket: &Path, args: &ShowArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(socket).map_err(|error| Failure::new(Exit::Failed, error))?;
    let answer = Answer { client, json: args.json, output };
    match args.table {
        Table::Link => answer.print("/v1/links", |rows: &Vec<LinkRow>| render::links(rows)),
        Table::Fdb => answer.print("/v1/fdb", |rows: &Vec<_>| render::fdb(rows)),
        Table::Neigh => answer.print("/v1/neighbours", |rows: &Vec<_>| render::neighbours(rows)),
        Table::Route => answer.print("/v1/routes", |rows: &Vec<_>| render::routes(rows)),
        Table::Nat => answer.print("/v1/nat", render::nat),
        Table::Sessions { limit } => sessions(answer, limit),
        Table::Hosts => answer.print("/v1/hosts", |rows: &Vec<_>| render::hosts(rows)),
        Table::Names => answer.print("/v1/names", render::names),
        Table::Drops => answer.print("/v1/drops", |rows: &Vec<_>| render::drops(rows)),
        Table::Leases => answer.print("/v1/leases", |rows: &Vec<_>| render::leases(rows)),
        Table::Vxlan => answer.print("/v1/vxlan", |rows: &Vec<_>| render::vxlan(rows)),
        Table::Peers => answer.print("/v1/peers", |rows: &Vec<_>| render::peers(rows)),
        Table::Stats => answer.print("/v1/stats", render::stats),
    }
}

struct Answer<'a> {
    client: Client,
    json: bool,
    output: &'a mut Output,
}

impl Answer<'_> {
    fn print<T: DeserializeOwned + Serialize>(
        self,
        path: &str,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let rows = self.client.get(path)?;
        self.write(&rows, render)
    }

    fn write<T: Serialize>(
        self,
        rows: &T,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return self.output.text(&render(rows));
        }
        let text =
            serde_json::to_string(rows).map_err(|error| Failure::new(Exit::Failed, error))?;
        self.output.text(&text)?;
        self.output.text("\n")
    }
}

/// Says on stderr how many there are, as `conntrack -L` does.
fn sessions(answer: Answer<'_>, limit: usize) -> Result<(), Failure> {
    let rows: Vec<SessionRow> = answer.client.get(&format!("/v1/sessions?limit={limit}"))?;
    let used = answer.client.get::<StatsView>("/v1/stats")?.sessions.used;
    let (shown, is_json) = (rows.len(), answer.json);
    answer.write(&rows, |rows| render::sessions(rows))?;
    if !is_json {
        let _ = writeln!(std::io::stderr(), "tapway: {shown} of {used} sessions have been shown.");
    }
    Ok(())
}
