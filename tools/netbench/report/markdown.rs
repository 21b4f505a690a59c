//! Tables for a README.

use std::fmt::Write;

use super::{Report, digits};
use crate::error::{BenchError, Result};
use crate::figure::{Figure, Scenario};
use crate::peer::{BARE, LINUX, TAPWAY};

/// Where the generated section begins.
const BEGIN: &str = "<!-- netbench:begin -->";
/// Where it ends.
const END: &str = "<!-- netbench:end -->";

/// What a README shows; the rest is in the JSON.
const SHOWN: [Figure; 11] = [
    Figure::Tcp1,
    Figure::Tcp4,
    Figure::Tcp1Cpu,
    Figure::Flood,
    Figure::Lossless,
    Figure::FloodCpu,
    Figure::Connects,
    Figure::RttP50,
    Figure::RttP99,
    Figure::Rest,
    Figure::FairTcp,
];

/// The section, with a picture if there is one.
pub fn to_markdown(report: &Report, picture: Option<&str>) -> String {
    let mut text = format!("## Performance\n\n```sh\n{}\n```\n\n", report.command);
    let _ = writeln!(
        text,
        "{}; MTU 1500. Medians of {} repetitions of {} s, the peers in turn. Senders, switch and \
         receivers share the cores, so compare figures with each other, not with other machines; \
         `bare` is tapway's own TAP input and output without its engine, the ceiling. CPU is all \
         that the machine spends, senders and receivers included.",
        report.machine.describe(),
        report.repetitions,
        report.seconds
    );
    if let Some(picture) = picture {
        let _ = writeln!(text, "\n![throughput, packet rate, connects and latency]({picture})");
    }
    for scenario in report.scenarios() {
        text.push_str(&section(report, scenario));
    }
    let _ = writeln!(text, "\n{}", versions(report));
    text
}

fn section(report: &Report, scenario: Scenario) -> String {
    let figures: Vec<Figure> = match scenario {
        Scenario::Fairness => report.figures(scenario),
        _ => SHOWN.into_iter().filter(|figure| report.results.has(scenario, *figure)).collect(),
    };
    let heads = figures.iter().map(|figure| format!("{}, {}", figure.title(), figure.unit()));
    let heads: Vec<String> = std::iter::once(String::new()).chain(heads).collect();
    let mut text = format!("\n**{}**\n\n{}", scenario.title(), line(&heads));
    text.push_str(&line(&vec!["---".to_owned(); heads.len()]));
    for peer in report.measured(scenario) {
        let cell = |figure: &Figure| {
            let summary = report.results.summary(scenario, *figure, peer);
            summary.map_or_else(|| "-".to_owned(), |summary| digits(summary.median))
        };
        let name = if peer == TAPWAY { format!("**{peer}**") } else { peer.to_owned() };
        text.push_str(&line(&row(name, figures.iter().map(cell))));
    }
    for against in [LINUX, BARE] {
        let cell = |figure: &Figure| {
            let ratio = report.results.ratio((scenario, *figure), TAPWAY, against);
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let cells = row(format!("{TAPWAY} / {against}"), figures.iter().map(cell));
        if cells.iter().skip(1).any(|cell| cell != "-") {
            text.push_str(&line(&cells));
        }
    }
    text
}

fn row(name: String, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name).chain(cells).collect()
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn versions(report: &Report) -> String {
    let measured = report.peers.iter().filter_map(|peer| {
        let version = peer.version.as_ref().ok()?;
        Some(format!("{}: {version}", peer.name))
    });
    let skipped = report.peers.iter().filter(|peer| peer.version.is_err());
    let skipped: Vec<&str> = skipped.map(|peer| peer.name.as_str()).collect();
    let mut text = measured.collect::<Vec<_>>().join("; ") + ".";
    if !skipped.is_empty() {
        let _ = write!(text, " Not measured: {}.", skipped.join(", "));
    }
    text
}

/// Puts a section between the markers of a document.
///
/// # Errors
/// If it has no markers.
pub fn replace_section(document: &str, name: &str, section: &str) -> Result<String> {
    let missing = || BenchError::Missing {
        what: format!("{name} has no `{BEGIN}` followed by `{END}`"),
        remedy: "put the two lines where the section belongs".to_owned(),
    };
    let (before, rest) = document.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replace_section(&document, "README.md", "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace_section(&new, "README.md", "new\n").unwrap(), new);
        assert!(replace_section("a", "README.md", "new").is_err());
    }
}
