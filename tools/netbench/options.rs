//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::figure::{Scenario, Test};
use crate::forward::End;
use crate::load::Settings;
use crate::peer::ForwarderKind;

/// Measures tapway and its peers between hosts in network namespaces.
///
/// Peers are measured in turn, in an order that rotates, and compared by ratios within each
/// repetition. All is made in namespaces of its own and removed at the end, also after Ctrl-C.
/// Needs root, /dev/net/tun and iproute2; peers that are not installed are skipped.
///
/// Exit codes: 0 measured; 1 failed, or tapway gave no figure; 2 usage; 77 no permission; 130
/// interrupted.
#[derive(Debug, Parser)]
#[command(name = "netbench", version, args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Peers to measure, by name; default: all of --list but those that it marks
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub peers: Vec<String>,

    /// Scenarios; default: all but vxlan
    #[arg(long, value_delimiter = ',', value_enum, value_name = "NAME,...")]
    pub scenarios: Vec<Scenario>,

    /// Measure VXLAN between two machines: alone, or beside what --scenarios names
    #[arg(long)]
    pub vxlan: bool,

    /// Tests; default: all
    #[arg(long, value_delimiter = ',', value_enum, value_name = "NAME,...")]
    pub tests: Vec<Test>,

    /// How often everything is measured [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub repetitions: Option<u16>,

    /// Seconds of each measurement [default: 3, with --quick 1]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// One short repetition: for a first look, not for claims
    #[arg(long)]
    pub quick: bool,

    /// Senders on CPU 0, receivers on CPU 1; default: the scheduler decides
    #[arg(long)]
    pub pin: bool,

    /// The tapway binary; default: this source's, built first
    #[arg(long, value_name = "PATH")]
    pub tapway: Option<PathBuf>,

    /// Do not build tapway first
    #[arg(long)]
    pub no_build: bool,

    /// Show peers, their versions, and which are skipped and why
    #[arg(long)]
    pub list: bool,

    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw a bar chart
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Write tables in Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// Replace what is between `<!-- netbench:begin -->` and `<!-- netbench:end -->` in a file,
    /// and between `netbench-vxlan:begin` and `netbench-vxlan:end`: whichever was measured
    #[arg(long, value_name = "FILE")]
    pub update_readme: Option<PathBuf>,
}

/// What else this program is.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Forward between two TAPs: the benchmark runs this as one of its peers
    #[command(hide = true)]
    Forward {
        /// Which forwarder.
        kind: ForwarderKind,
        /// One end, as NETNS=ADDRESS.
        one: End,
        /// The other.
        other: End,
    },
    /// Forward between a TAP and another machine: a peer of the VXLAN scenario
    #[command(hide = true)]
    Tunnel {
        /// The host, as NETNS=ADDRESS.
        host: End,
        /// This machine's address.
        local: Ipv4Addr,
        /// The other's.
        remote: Ipv4Addr,
    },
}

impl Options {
    /// Where to measure, each once.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = self.scenarios.clone();
        if self.vxlan {
            scenarios.push(Scenario::Vxlan);
        }
        if scenarios.is_empty() {
            scenarios.extend(Scenario::DEFAULT);
        }
        let is_wanted = |scenario: &Scenario| scenarios.contains(scenario);
        Scenario::ALL.into_iter().filter(is_wanted).collect()
    }

    /// How to measure.
    pub fn settings(&self) -> Settings {
        let default = if self.quick { 1.0 } else { 3.0 };
        let seconds = self.seconds.unwrap_or(default);
        Settings {
            span: Duration::from_secs_f64(seconds),
            warm_up: Duration::from_secs_f64((seconds / 3.0).min(0.5)),
            steps: if self.quick { 6 } else { 8 },
            pin: self.pin,
        }
    }

    /// How often.
    pub fn repetitions(&self) -> usize {
        self.repetitions.map_or(if self.quick { 1 } else { 3 }, usize::from)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.05 to 600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenarios(arguments: &[&str]) -> Vec<Scenario> {
        let all = std::iter::once(&"netbench").chain(arguments);
        Options::try_parse_from(all).unwrap().scenarios()
    }

    #[test]
    fn vxlan_is_measured_alone_or_beside_what_is_named() {
        assert_eq!(scenarios(&[]), Scenario::DEFAULT);
        assert_eq!(scenarios(&["--vxlan"]), [Scenario::Vxlan]);
        assert_eq!(scenarios(&["--scenarios", "nat,l2"]), [Scenario::L2, Scenario::Nat]);
        let both = [Scenario::L2, Scenario::Vxlan];
        assert_eq!(scenarios(&["--vxlan", "--scenarios", "l2"]), both);
        assert_eq!(scenarios(&["--vxlan", "--scenarios", "vxlan,l2"]), both);
    }
}
