//! `tapway run`: the switch in the foreground, until SIGTERM or SIGINT.
//!
//! | signal | does |
//! |---|---|
//! | TERM, INT | stop: every TAP, namespace and socket tapway made is removed; exit code 0 |
//! | HUP | nothing yet but a line in the log: the configuration is read at start only |
//! | USR1 | all tables to stderr |

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::instance_lock::InstanceLock;
use super::{Exit, Failure, Output, check, greeting};
use crate::control::api::{self, ApiState};
use crate::control::dump::dump;
use crate::control::model::Model;
use crate::control::registry::Registry;
use crate::control::switch::{StartError, Switch};
use crate::io::{Broker, OpenError, Worker};

/// What is logged: a filter as of `RUST_LOG`; `info` without it.
const LOG_VARIABLE: &str = "TAPWAY_LOG";
/// How often the dataplane is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a configuration, the embedded one if there is no file, with the API on `socket`, or
/// where the configuration says.
///
/// # Errors
/// Why it did not start, all of it; nothing is left behind then.
pub fn run(
    config: Option<&Path>,
    socket: Option<&Path>,
    broker: Box<dyn Broker>,
    output: &mut Output,
) -> Result<(), Failure> {
    let loaded = check::load(config)?;
    start_log();
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| failed("the main loop", &error))?;
    // From here on a signal waits until the switch runs, and then stops it in order.
    let mut signals = Signals::new(&runtime).map_err(|error| failed("signals", &error))?;
    let model = Model::new(&loaded.config);
    let socket = socket.unwrap_or(&model.api_socket).to_owned();
    let lock = InstanceLock::take(&socket)?;
    let lines = greeting::lines(&loaded, &model, broker.as_ref());
    let registry = Registry::default();
    let switch = Switch::start(model, broker, registry.clone())?;
    let worker = switch.worker().clone();
    let api = api::serve(&socket, ApiState::new(worker.clone(), registry.clone()))?;
    let lines = lines.into_iter().chain([format!("api: {}", socket.display())]);
    for line in lines {
        // A reader of the first lines that leaves is no reason to stop.
        let _ = output.line(line);
    }
    let result = runtime.block_on(signals.wait(&switch, &worker, &registry));
    drop(api);
    drop(worker);
    switch.stop();
    drop(lock);
    result
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> io::Result<Self> {
        let _inside = runtime.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Until the switch is to stop.
    async fn wait(
        &mut self,
        switch: &Switch,
        worker: &Arc<Worker>,
        registry: &Registry,
    ) -> Result<(), Failure> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP: a running tapway cannot reload yet; restart it");
                }
                _ = self.user.recv() => write_dump(worker, registry),
                _ = look.tick() => if switch.has_ended() {
                    let what = "the dataplane ended; what it said is above. Start tapway again";
                    return Err(Failure::new(Exit::Failed, what));
                },
            }
        }
    }
}

fn write_dump(worker: &Worker, registry: &Registry) {
    match dump(worker, registry) {
        // Nobody may be reading stderr any more.
        Ok(text) => drop(io::stderr().write_all(text.as_bytes())),
        Err(error) => tracing::error!(%error, "no tables to dump"),
    }
}

/// The log goes to stderr; where journald reads it, without times and colours.
fn start_log() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let is_journal = is_journal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && !is_journal);
    // It is set already where a test runs twice in one process.
    let _ = if is_journal { log.without_time().try_init() } else { log.try_init() };
}

/// True if stderr is the stream that journald offers in `JOURNAL_STREAM` (systemd.exec(5)); the
/// variable alone is inherited by every child.
fn is_journal() -> bool {
    let Ok(offered) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stderr| offered == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot set up {what}: {error}"))
}

impl From<StartError> for Failure {
    /// The worst of the ports: a missing privilege, then something in the way, then something
    /// that is not there.
    fn from(error: StartError) -> Self {
        let rank = |error: &OpenError| match error {
            OpenError::Permission { .. } => (3, Exit::NoPermission),
            OpenError::Conflict { .. } => (2, Exit::Conflict),
            OpenError::NotFound { .. } => (1, Exit::BadConfiguration),
            OpenError::System { .. } => (0, Exit::Failed),
        };
        let StartError::Ports(failures) = &error else { return Self::new(Exit::Failed, error) };
        let worst = failures.iter().map(|failure| rank(&failure.error)).max_by_key(|rank| rank.0);
        let exit = worst.map_or(Exit::Failed, |(_, exit)| exit);
        Self::new(exit, format!("not started\n{error}"))
    }
}
