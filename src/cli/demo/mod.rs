//! `tapway demo`: the tutorial's network built, used and checked before one's eyes.
//!
//! One list of steps ([`steps`](self)) is played on a [`Stage`]: in network namespaces with the
//! kernel's own stacks on real TAPs, or in memory with smoltcp hosts under a virtual clock. Only
//! the hosts and what carries their frames differ; the engines, the steps and the checks are the
//! same.

mod host;
mod http;
mod simulated;
mod stage;
mod steps;
mod tables;
mod topology;
mod transcript;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::engine::CommandError;
use stage::Stage;
use steps::Script;
use transcript::Transcript;

/// What `tapway demo` is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemoOptions {
    /// Simulate the hosts even where real ones are possible.
    pub simulated: bool,
    /// Leave everything running until a signal.
    pub keep: bool,
    /// Print tapway's part as a configuration file, and do nothing else.
    pub print_config: bool,
    /// Break something, to see that the checks notice. For tests.
    pub fault: Option<Fault>,
}

/// What can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// tapway routes, but does not translate.
    NoTranslation,
    /// The port is not published.
    NotPublished,
}

/// How a demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed.
    pub failed: usize,
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
    /// The transcript cannot be written.
    #[error("cannot write the transcript: {0}")]
    Output(#[source] io::Error),
}

/// Runs the demo for the command line; the exit code tells whether every check passed.
pub fn demo(options: DemoOptions) -> ExitCode {
    let mut out = io::stdout().lock();
    match run(options, &mut out) {
        Ok(Summary { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody may be listening any more; the exit code tells it too.
            let _ = writeln!(io::stderr(), "tapway demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo and writes its transcript to `out`.
///
/// # Errors
/// What kept it from going on. Everything has been taken down then.
pub fn run(options: DemoOptions, out: &mut dyn Write) -> Result<Summary, DemoError> {
    let mut transcript = Transcript::new(out);
    if options.print_config {
        transcript.note(topology::config().trim_end());
        transcript.flush().map_err(DemoError::Output)?;
        return Ok(Summary { passed: 0, failed: 0 });
    }
    transcript.note(
        "Simulated: hosts are smoltcp stacks on wires in memory, time is virtual; \
         the engines are the real ones.",
    );
    let mut stage = simulated::Simulated::new(options.fault)?;
    play(&mut stage, &mut transcript, options.fault)
}

fn play<S: Stage>(
    stage: &mut S,
    transcript: &mut Transcript<'_>,
    fault: Option<Fault>,
) -> Result<Summary, DemoError> {
    Script::new(stage, transcript, fault).play()?;
    let (passed, failed) = transcript.counts();
    transcript.note(format!("\n{passed} checks passed, {failed} failed."));
    transcript.flush().map_err(DemoError::Output)?;
    Ok(Summary { passed, failed })
}
