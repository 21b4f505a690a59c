//! Results as text, JSON, Markdown and a picture.

mod json;
mod markdown;
mod section;
mod svg;
mod table;

pub use json::to_json;
pub use markdown::to_markdown;
pub use section::Section;
pub use svg::to_svg;
pub use table::{goals_table, list_table, results_tables};

use crate::figure::{Figure, Scenario};
use crate::goals::Verdict;
use crate::machine::Machine;
use crate::results::Results;

/// All that a report needs.
pub struct Report {
    /// How it was called.
    pub command: String,
    /// Seconds since 1970 at the start.
    pub started_s: u64,
    /// Where.
    pub machine: Machine,
    /// How often.
    pub repetitions: usize,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// Senders and receivers had a CPU each.
    pub is_pinned: bool,
    /// Whom, in the order of reports.
    pub peers: Vec<PeerNote>,
    /// What came out.
    pub results: Results,
    /// What that means for the goals.
    pub verdicts: Vec<Verdict>,
}

/// A peer as reports name it.
#[derive(Clone, Debug)]
pub struct PeerNote {
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Its version, or why it was skipped.
    pub version: Result<String, String>,
}

impl Report {
    /// Names of the peers that have a figure, or should have one, in a scenario.
    fn measured(&self, scenario: Scenario) -> Vec<&str> {
        let results = &self.results;
        let has_part = |name: &str| {
            let mut figures = Figure::ALL.iter();
            figures.any(|figure| !results.samples(scenario, *figure, name).is_empty())
                || results.failures.iter().any(|f| f.peer == name && f.scenario == scenario)
        };
        self.peers.iter().map(|peer| peer.name.as_str()).filter(|name| has_part(name)).collect()
    }

    /// Scenarios with any figure.
    pub fn scenarios(&self) -> Vec<Scenario> {
        Scenario::ALL.into_iter().filter(|scenario| !self.measured(*scenario).is_empty()).collect()
    }

    /// Figures that somebody has in a scenario.
    fn figures(&self, scenario: Scenario) -> Vec<Figure> {
        Figure::ALL.into_iter().filter(|figure| self.results.has(scenario, *figure)).collect()
    }
}

/// A figure to three digits or so.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [1234.5, 12.34, 1.234, 0.1234, 0.0].map(digits);
        assert_eq!(shown, ["1234", "12.3", "1.23", "0.123", "0.00"]);
    }
}
