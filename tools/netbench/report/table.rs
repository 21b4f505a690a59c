//! Tables for a terminal.

use std::fmt::Write;

use super::{PeerNote, Report, digits};
use crate::figure::{Figure, Scenario};
use crate::goals::{Outcome, Verdict};
use crate::peer::{BARE, LINUX};

/// Figures side by side: more than that do not fit a terminal.
const SIDE_BY_SIDE: usize = 3;

/// Every scenario: median (min-max), then the ratio to linux and to the bare forwarder.
pub fn results_tables(report: &Report) -> String {
    let mut text = String::new();
    for scenario in report.scenarios() {
        let _ = writeln!(text, "\n{}", scenario.title());
        for figures in report.figures(scenario).chunks(SIDE_BY_SIDE) {
            text.push('\n');
            text.push_str(&figures_table(report, scenario, figures));
        }
    }
    let _ = writeln!(
        text,
        "\nmedian (min-max) of {} repetitions; xL, xB: the median ratio to `linux` and to `bare`\n\
         within a repetition. CPU is all that the machine was not idle, senders and receivers\n\
         included; CPU at rest is that of the switch's processes.",
        report.repetitions
    );
    text
}

fn figures_table(report: &Report, scenario: Scenario, figures: &[Figure]) -> String {
    let mut heads = vec![String::new()];
    for figure in figures {
        heads.extend([format!("{} {}", figure.title(), figure.unit()), "xL".into(), "xB".into()]);
    }
    let mut rows = vec![heads];
    for peer in report.measured(scenario) {
        let mut row = vec![peer.to_owned()];
        for figure in figures {
            row.extend(cells(report, (scenario, *figure), peer));
        }
        rows.push(row);
    }
    align(&rows)
}

fn cells(report: &Report, (scenario, figure): (Scenario, Figure), peer: &str) -> [String; 3] {
    let results = &report.results;
    let Some(summary) = results.summary(scenario, figure, peer) else {
        let has_failed = results.failures.iter().any(|failure| {
            failure.peer == peer
                && failure.scenario == scenario
                && failure.test.is_none_or(|test| test.figures().contains(&figure))
        });
        return [if has_failed { "failed" } else { "-" }.into(), String::new(), String::new()];
    };
    let range = if report.repetitions > 1 {
        format!(" ({}-{})", digits(summary.min), digits(summary.max))
    } else {
        String::new()
    };
    let ratio = |against: &str| {
        let ratio = results.ratio((scenario, figure), peer, against);
        ratio.filter(|_| peer != against).map_or_else(|| "-".to_owned(), digits)
    };
    [digits(summary.median) + &range, ratio(LINUX), ratio(BARE)]
}

/// Goals, the missed ones first.
pub fn goals_table(verdicts: &[Verdict]) -> String {
    let mut rows = vec![["goal", "reached", ""].map(str::to_owned).to_vec()];
    for outcome in [Outcome::Missed, Outcome::Met, Outcome::Stretch] {
        for verdict in verdicts.iter().filter(|verdict| verdict.outcome == outcome) {
            let reached = verdict.reached.map_or_else(String::new, digits);
            rows.push(vec![verdict.goal.describe(), reached, outcome.word().to_owned()]);
        }
    }
    let unknown = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Unknown).count();
    let mut text = if rows.len() > 1 { align(&rows) } else { String::new() };
    if unknown > 0 {
        let _ = writeln!(text, "{unknown} goals need figures that were not measured");
    }
    text
}

/// Peers, versions, and what is skipped.
pub fn list_table(peers: &[PeerNote]) -> String {
    let row = |peer: &PeerNote| {
        let state = match &peer.version {
            Ok(version) => version.clone(),
            Err(why) => format!("skipped: {why}"),
        };
        format!("{:14} {}\n{:14} {state}\n", peer.name, peer.about, "")
    };
    peers.iter().map(row).collect()
}

/// Columns of equal width; the first to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match at {
                0 => write!(line, "{cell:width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [["", "µs", "x"], ["linux", "12.3", "-"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "         µs  x\nlinux  12.3  -\n");
    }
}
