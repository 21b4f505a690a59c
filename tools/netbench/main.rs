//! The whole-path benchmark: tapway and its peers between hosts in network namespaces.
//!
//! ```sh
//! cargo run --release --example netbench            # everything, about half an hour
//! cargo run --release --example netbench -- --quick # a first look
//! cargo run --release --example netbench -- --list  # peers, and what is skipped
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `options` | the command line |
//! | `peer` | the systems under test: how each is brought up for each scenario |
//! | `forward` | the forwarders among them, run as processes of this program |
//! | `testbed`, `underlay` | hosts, a running switch or two, and that all of it goes again |
//! | `netns`, `process` | what they are made of |
//! | `load` | traffic, and the tests made of it |
//! | `run` | the order of measurements |
//! | `figure`, `results`, `goals` | what is measured, samples and ratios, what is aimed at |
//! | `report`, `output` | tables, JSON, Markdown, a picture, and where they go |
//! | `system`, `clock`, `cpu`, `machine`, `interrupt` | what is asked of the kernel |

mod clock;
mod cpu;
mod error;
mod figure;
mod forward;
mod goals;
mod interrupt;
mod load;
mod machine;
mod netns;
mod options;
mod output;
mod peer;
mod process;
mod progress;
mod report;
mod results;
mod run;
mod system;
mod testbed;
mod underlay;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use error::{BenchError, Result};
use figure::{Scenario, Test};
use machine::Machine;
use options::{Command, Options};
use peer::{Peer, TAPWAY};
use report::{PeerNote, Report};
use results::Results;
use run::Plan;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_PERMISSION: u8 = 77;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.command {
        Some(Command::Forward { kind, one, other }) => {
            forward::run(*kind, &[one.clone(), other.clone()]).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Tunnel { host, local, remote }) => {
            forward::run_tunnel(host, *local, *remote).map(|()| ExitCode::SUCCESS)
        }
        None => benchmark(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("netbench: {error}");
        ExitCode::from(if matches!(error, BenchError::Interrupted) { INTERRUPTED } else { FAILED })
    })
}

fn benchmark(options: &Options) -> Result<ExitCode> {
    if let Some(unknown) = unknown_peer(options) {
        eprintln!("netbench: there is no peer `{unknown}`; `--list` shows them");
        return Ok(ExitCode::from(USAGE));
    }
    if !options.list
        && let Some(why) = missing_privilege()
    {
        eprintln!("netbench: {why}");
        return Ok(ExitCode::from(NO_PERMISSION));
    }
    output::check(options)?;
    interrupt::catch_signals()?;
    let (peers, notes) = choose_peers(options);
    if options.list {
        output::print(&report::list_table(&notes))?;
        return Ok(ExitCode::SUCCESS);
    }
    let machine = Machine::read();
    for warning in machine.warnings() {
        eprintln!("netbench: warning: {warning}");
    }
    for note in &notes {
        if let Err(why) = &note.version {
            eprintln!("netbench: {} skipped: {why}", note.name);
        }
    }
    if peers.is_empty() {
        eprintln!("netbench: nothing is left to be measured");
        return Ok(ExitCode::from(FAILED));
    }
    testbed::sweep();
    let report = measure(options, peers, notes, machine)?;
    output::publish(options, &report)?;
    let has_tapway = report.results.keys().any(|(_, _, peer)| peer == TAPWAY);
    let wants_tapway = report.peers.iter().any(|peer| peer.name == TAPWAY);
    Ok(if wants_tapway && !has_tapway { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Checks names before anything is built.
fn unknown_peer(options: &Options) -> Option<&str> {
    let known = peer::all(None);
    let is_known = |name: &str| known.iter().any(|peer| peer.name() == name);
    options.peers.iter().map(String::as_str).find(|name| !is_known(name))
}

fn missing_privilege() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root; run it with sudo");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun; `modprobe tun`, or give the container the device");
    }
    process::find("ip").is_none().then_some("there is no `ip`; install the package iproute2")
}

/// Those that were asked for and can be measured, and notes about all that were asked for.
fn choose_peers(options: &Options) -> (Vec<Box<dyn Peer>>, Vec<PeerNote>) {
    let may_build = !options.no_build && !options.list;
    let binary = peer::find_binary(options.tapway.as_deref(), may_build);
    let problem = binary.as_ref().err().map(ToString::to_string);
    let scenarios = options.scenarios();
    let mut chosen = Vec::new();
    let mut notes = Vec::new();
    for peer in peer::all(binary.ok()) {
        let name = peer.name().to_owned();
        let is_wanted = match options.peers.as_slice() {
            [] => options.list || peer.is_default(),
            names => names.contains(&name),
        };
        let refusal = if options.list { None } else { refusal(&*peer, &scenarios) };
        // Who was not asked for by name need not say why he has no part.
        if !is_wanted || refusal.is_some() && options.peers.is_empty() {
            continue;
        }
        let version = match &problem {
            _ if let Some(why) = refusal => Err(why.to_owned()),
            Some(problem) if name.starts_with(TAPWAY) => Err(problem.clone()),
            _ => peer.version(),
        };
        let mut about = peer.about();
        if !peer.is_default() {
            about.push_str(" (measured when asked for by --peers)");
        }
        notes.push(PeerNote { name, about, version: version.clone() });
        if version.is_ok() {
            chosen.push(peer);
        }
    }
    (chosen, notes)
}

/// Why a peer has no part in any of these scenarios; none if it has.
fn refusal(peer: &dyn Peer, scenarios: &[Scenario]) -> Option<&'static str> {
    let refusals = scenarios.iter().map(|scenario| peer.refuses(*scenario));
    refusals.reduce(|one, other| one.and(other)).flatten()
}

fn measure(
    options: &Options,
    peers: Vec<Box<dyn Peer>>,
    notes: Vec<PeerNote>,
    machine: Machine,
) -> Result<Report> {
    let settings = options.settings();
    let started_s = clock::wall_s();
    let plan = Plan {
        peers,
        scenarios: options.scenarios(),
        tests: given_or_all::<Test>(&options.tests),
        repetitions: options.repetitions(),
        settings,
    };
    let mut results = Results::default();
    let outcome = run::run(&plan, &mut results);
    let report = Report {
        command: command_line(),
        started_s,
        machine,
        repetitions: plan.repetitions,
        seconds: settings.span.as_secs_f64(),
        is_pinned: settings.pin,
        peers: notes,
        verdicts: goals::judge(&results),
        results,
    };
    if outcome.is_err() {
        // Half an hour's work is not thrown away because the rest is not wanted.
        output::print(&report::results_tables(&report))?;
    }
    outcome.map(|()| report)
}

fn given_or_all<T: ValueEnum>(given: &[T]) -> Vec<T> {
    if given.is_empty() { T::value_variants().to_vec() } else { given.to_vec() }
}

/// As a user of cargo types it.
fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let separator = if arguments.is_empty() { "" } else { " -- " };
    format!("cargo run --release --example netbench{separator}{}", arguments.join(" "))
}
