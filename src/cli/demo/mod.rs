//! `tapway demo`: the tutorial's network built, used and checked before one's eyes.
//!
//! One list of steps (`steps`) is played on a stage (`stage`): in network namespaces with the
//! kernel's own stacks on real TAPs, or in memory with smoltcp hosts under a virtual clock. Only
//! the hosts and what carries their frames differ; the engines, the steps and the checks are the
//! same.

mod broker;
mod desired;
mod host;
mod http;
mod http_server;
mod interrupt;
mod names;
mod real;
mod real_host;
mod simulated;
mod stage;
mod steps;
mod tables;
mod topology;
mod transcript;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::DemoArgs;
use crate::control::api::{self, ApiError};
use crate::control::config::ConfigErrors;
use crate::control::switch::{ApplyError, StartError};
use crate::engine::CommandError;
use crate::io::{OpenError, WorkerError};
use interrupt::{Interrupt, Signals};
use real::Real;
use simulated::Simulated;
use stage::Stage;
use steps::Script;
use topology::HostName;
use transcript::Transcript;

const REAL: &str = "Real: hosts are network namespaces with the kernel's own stacks, their \
                    interfaces TAPs.";
const SIMULATED: &str = "Simulated: hosts are small TCP/IP stacks on wires in memory under a \
                         virtual clock; the engines are the real ones.";
/// Where the API of a kept demo answers unless told otherwise.
pub const DEMO_SOCKET: &str = "/run/tapway-demo.sock";
/// Added to the number of a signal that ended the demo, as shells do.
const EXIT_SIGNAL: u8 = 128;

/// What `tapway demo` is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoOptions {
    /// Simulate the hosts even where real ones are possible.
    pub simulated: bool,
    /// Leave everything running until a signal.
    pub keep: bool,
    /// Print tapway's part as a configuration file, and do nothing else.
    pub print_config: bool,
    /// Where the API of a kept demo answers; none: [`DEMO_SOCKET`].
    pub socket: Option<PathBuf>,
    /// Break something, to see that the checks notice. For tests.
    pub fault: Option<Fault>,
}

impl From<DemoArgs> for DemoOptions {
    fn from(args: DemoArgs) -> Self {
        let DemoArgs { simulated, keep, print_config } = args;
        Self { simulated, keep, print_config, socket: None, fault: None }
    }
}

/// What can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// tapway routes, but does not translate.
    NoTranslation,
    /// The port is not published.
    NotPublished,
    /// No network has names, and no host a link.
    NoNames,
}

/// How a demo ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed.
    pub failed: usize,
    /// Checks that could not be tried here.
    pub skipped: usize,
}

/// What kept the demo from going on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A part of the stage is gone.
    #[error("the demo has lost {0}")]
    Missing(&'static str),
    /// An engine refused a command.
    #[error("the engine refused: {0}")]
    Refused(#[from] CommandError),
    /// A worker refused a command, or is gone.
    #[error(transparent)]
    Dataplane(#[from] WorkerError),
    /// A namespace, TAP or socket cannot be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// tapway did not start.
    #[error(transparent)]
    Start(StartError),
    /// The system refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Signals cannot be caught, so nothing was built that they would leave behind.
    #[error("cannot catch signals: {0}")]
    Signals(#[source] io::Error),
    /// This signal came before the end.
    #[error("ended by signal {0}; everything has been removed")]
    Interrupted(u8),
    /// Simulated hosts have nothing that could be kept.
    #[error(
        "--keep with --simulated: simulated hosts live in this process only; \
         run `tapway demo --keep` as root"
    )]
    NothingToKeep,
    /// The embedded configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The API of a kept demo cannot be served.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The transcript cannot be written.
    #[error("cannot write the transcript: {0}")]
    Output(#[source] io::Error),
}

/// Runs the demo for the command line; the exit code tells whether every check passed.
pub fn demo(options: &DemoOptions) -> ExitCode {
    let mut out = io::stdout().lock();
    match run(options, &mut out) {
        Ok(Summary { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        // A reader that has seen enough, as `head`.
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nobody may be listening any more; the exit code tells it too.
            let _ = writeln!(io::stderr(), "tapway demo: {error}");
            error.exit_code().into()
        }
    }
}

impl DemoError {
    /// The exit code, as for every command of tapway.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NothingToKeep => 2,
            Self::Open(OpenError::Conflict { .. }) => 5,
            Self::Interrupted(signal) => EXIT_SIGNAL.saturating_add(*signal),
            _ => 1,
        }
    }

    const fn system(what: &'static str, error: io::Error) -> Self {
        Self::System { what, error }
    }
}

impl From<StartError> for DemoError {
    /// A device that cannot be opened decides whether the demo is simulated.
    fn from(error: StartError) -> Self {
        match error {
            StartError::Apply(ApplyError::Ports(failures)) => {
                let first = failures.into_iter().next().map(|failure| failure.error);
                first.map_or(Self::Missing("its ports"), Self::Open)
            }
            error => Self::Start(error),
        }
    }
}

/// Runs the demo and writes its transcript to `out`.
///
/// # Errors
/// What kept it from going on. Everything has been taken down then.
pub fn run(options: &DemoOptions, out: &mut dyn Write) -> Result<Summary, DemoError> {
    let mut transcript = Transcript::new(out);
    if options.print_config {
        transcript.note(desired::CONFIG.trim_end());
        transcript.flush().map_err(DemoError::Output)?;
        return Ok(Summary::default());
    }
    if options.simulated {
        if options.keep {
            return Err(DemoError::NothingToKeep);
        }
        return simulate(options, &mut transcript);
    }
    let signals = Signals::catch()?;
    match Real::new(options.fault, signals.interrupt()) {
        Ok(mut stage) => {
            transcript.note(REAL);
            transcript.note(topology::PICTURE);
            let summary = play(&mut stage, &mut transcript, options.fault)?;
            if options.keep {
                let socket = options.socket.as_deref().unwrap_or(Path::new(DEMO_SOCKET));
                keep(&stage, socket, &mut transcript, signals.interrupt())?;
            }
            Ok(summary)
        }
        Err(DemoError::Open(OpenError::Conflict { what, remedy })) => {
            Err(OpenError::Conflict { what, remedy }.into())
        }
        Err(DemoError::Open(why)) => {
            transcript.note(format!("Real hosts cannot be had: {why}.\n"));
            simulate(options, &mut transcript)
        }
        Err(error) => Err(error),
    }
}

fn simulate(options: &DemoOptions, transcript: &mut Transcript<'_>) -> Result<Summary, DemoError> {
    transcript.note(SIMULATED);
    if options.keep {
        transcript.note("--keep does nothing here: simulated hosts end with this process.");
    }
    transcript.note(topology::PICTURE);
    play(&mut Simulated::new(options.fault)?, transcript, options.fault)
}

/// Leaves everything running until a signal.
fn keep(
    stage: &Real,
    socket: &Path,
    transcript: &mut Transcript<'_>,
    interrupt: &Interrupt,
) -> Result<(), DemoError> {
    let _api = api::serve(socket, stage.api_state())?;
    transcript.note("\nEverything keeps running until Ctrl-C. Enter a host with one of:");
    for host in HostName::ALL.into_iter().filter(|host| *host != HostName::Here) {
        transcript.note(format!("    ip netns exec {} sh", real::namespace_of(host)));
    }
    transcript.note("Look inside, and try what you like:");
    let show = format!("tapway --socket {}", socket.display());
    let at = real::namespace_of(HostName::Nginx1);
    transcript.note(format!("    {show} show sessions"));
    transcript.note(format!("    {show} capture -w - | tcpdump -nr -"));
    transcript.note(format!("    ip netns exec {at} ping {}", HostName::Far.address()));
    let at = real::namespace_of(HostName::Web2);
    transcript.note(format!("    ip netns exec {at} ping {}", HostName::Web1.name()));
    transcript.flush().map_err(DemoError::Output)?;
    interrupt.wait();
    transcript.note("Removing everything.");
    transcript.flush().map_err(DemoError::Output)
}

fn play<S: Stage>(
    stage: &mut S,
    transcript: &mut Transcript<'_>,
    fault: Option<Fault>,
) -> Result<Summary, DemoError> {
    Script::new(stage, transcript, fault).play()?;
    let summary = transcript.summary();
    let Summary { passed, failed, skipped } = summary;
    transcript.note(match skipped {
        0 => format!("\n{passed} checks passed, {failed} failed."),
        _ => format!("\n{passed} checks passed, {failed} failed, {skipped} skipped."),
    });
    transcript.flush().map_err(DemoError::Output)?;
    Ok(summary)
}
