//! The systems under test.

mod forwarder;
mod linux;
mod ovs;
mod pasta;
mod slirp;
mod tapway;
mod vde;
mod veth;
mod vpp;

use std::path::PathBuf;
use std::process::Command;

pub use forwarder::ForwarderKind;
pub use tapway::find_binary;

use crate::error::Result;
use crate::figure::Scenario;
use crate::process;
use crate::testbed::Testbed;

/// A switch, and how it is brought up for each scenario.
pub trait Peer {
    /// Its name on the command line and in reports.
    fn name(&self) -> &str;

    /// One line: what it is and how it is set up.
    fn about(&self) -> String;

    /// Its version.
    ///
    /// # Errors
    /// Why it cannot be measured here, and the remedy.
    fn version(&self) -> std::result::Result<String, String>;

    /// Why it has no part in a scenario.
    fn refuses(&self, scenario: Scenario) -> Option<&'static str>;

    /// False if it is measured only when it is asked for by name.
    fn is_default(&self) -> bool {
        true
    }

    /// Makes hosts and starts it between them.
    ///
    /// # Errors
    /// Why not; nothing is left behind.
    fn start(&self, scenario: Scenario) -> Result<Testbed>;
}

/// What ratios are taken against.
pub const LINUX: &str = "linux";
/// The ceiling.
pub const BARE: &str = "bare";
/// The switch that this benchmark belongs to.
pub const TAPWAY: &str = "tapway";
/// The same while it polls.
pub const TAPWAY_BUSY: &str = "tapway-busy";
/// VPP as it waits for interrupts.
pub const VPP: &str = "vpp";
/// VPP as it polls.
pub const VPP_XDP: &str = "vpp-xdp";

/// All that the benchmark knows, in the order of reports.
pub fn all(tapway: Option<PathBuf>) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    peers.extend(tapway::variants(tapway));
    peers.push(Box::new(forwarder::Forwarder::new(ForwarderKind::Bare)));
    peers.push(Box::new(forwarder::Forwarder::new(ForwarderKind::Naive)));
    peers.push(Box::new(veth::Veth));
    peers.push(Box::new(linux::Linux));
    peers.push(Box::new(ovs::Ovs));
    peers.extend(vpp::variants());
    peers.push(Box::new(vde::Vde));
    peers.push(Box::new(slirp::Slirp));
    peers.push(Box::new(pasta::Pasta));
    peers
}

/// The first line of what a program says about its version.
fn version_of(
    program: &str,
    arguments: &[&str],
    package: &str,
) -> std::result::Result<String, String> {
    let path = process::find(program)
        .ok_or_else(|| format!("no `{program}`; install the package {package}"))?;
    let said = process::run_with(Command::new(path).args(arguments));
    let said = said.map_err(|error| error.to_string())?;
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    match package_version(package).filter(|_| line.contains("unknown")) {
        Some(version) => Ok(format!("{package} {version}")),
        None => Ok(line.trim().to_owned()),
    }
}

/// What Debian's packages say, for programs that do not know their own version.
fn package_version(package: &str) -> Option<String> {
    let query = ["dpkg-query", "--show", "--showformat=${Version}", package];
    process::run(&query).ok().filter(|version| !version.is_empty())
}

/// For those that are set up on one machine only.
const ONE_MACHINE: &str = "it is measured within one machine";
/// For those that translate and do not switch.
const ONLY_TRANSLATES: &str = "it translates for one host and does not switch";
/// For those that switch and do not translate.
const ONLY_SWITCHES: &str = "it switches and does not translate";
