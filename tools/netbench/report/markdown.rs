//! Tables for a README.

use std::fmt::Write;

use super::{Report, Section, digits};
use crate::figure::{Figure, Scenario};
use crate::peer::{BARE, LINUX, TAPWAY};

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

/// What a section says about its figures.
const fn words(section: Section) -> (&'static str, &'static str, &'static str) {
    match section {
        Section::OneMachine => (
            "## Performance",
            "MTU 1500",
            "`bare` is tapway's own TAP input and output without its engine, the ceiling.",
        ),
        Section::Vxlan => (
            "### VXLAN between two machines",
            "two namespaces as machines, a veth pair of MTU 1500 between them, hosts of MTU 1450",
            "`linux` is a `vxlan` device on a bridge, and the veth pair takes its super-frames \
             whole, as a network card that offloads VXLAN would. `bare` cuts, sends, receives and \
             joins as tapway does, without its engine: the ceiling of a program on UDP sockets.",
        ),
    }
}

/// A section, with a picture if there is one.
pub fn to_markdown(report: &Report, section: Section, picture: Option<&str>) -> String {
    let (title, place, peers) = words(section);
    let mut text = format!("{title}\n\n```sh\n{}\n```\n\n", report.command);
    let _ = writeln!(
        text,
        "{}; {place}. Medians of {} repetitions of {} s, the peers in turn. Senders, switches and \
         receivers share the cores, so compare figures with each other, not with other machines; \
         {peers} CPU is all that the machine spends, senders and receivers included.",
        report.machine.describe(),
        report.repetitions,
        report.seconds
    );
    if let Some(picture) = picture {
        let _ = writeln!(text, "\n![throughput, packet rate, connects and latency]({picture})");
    }
    let scenarios = report.scenarios();
    for scenario in scenarios.iter().filter(|scenario| section.shows(**scenario)) {
        text.push_str(&table(report, *scenario));
    }
    let _ = writeln!(text, "\n{}", versions(report, section));
    text
}

fn table(report: &Report, scenario: Scenario) -> String {
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

fn versions(report: &Report, section: Section) -> String {
    let scenarios = report.scenarios().into_iter().filter(|scenario| section.shows(*scenario));
    let names: Vec<&str> = scenarios.flat_map(|scenario| report.measured(scenario)).collect();
    let measured = report.peers.iter().filter(|peer| names.contains(&&*peer.name));
    let measured = measured.filter_map(|peer| {
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
