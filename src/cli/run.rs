//! `tapway run`: the switch in the foreground, until SIGTERM or SIGINT.
//!
//! | signal | does |
//! |---|---|
//! | TERM, INT | stop: every TAP, namespace and socket tapway made is removed; exit code 0. A second one ends it at once |
//! | HUP | nothing yet but a line in the log: the configuration is read at start only |
//! | USR1 | all tables to stderr |

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::instance_lock::InstanceLock;
use super::log::Log;
use super::{Exit, Failure, Output, check, greeting, ordinary_user};
use crate::control::api::{self, ApiState};
use crate::control::dump::dump;
use crate::control::follower::Follower;
use crate::control::hosts::HostsFiles;
use crate::control::model::Model;
use crate::control::names::Names;
use crate::control::registry::Registry;
use crate::control::switch::{ApplyError, StartError, Switch};
use crate::control::taken_ports::TakenPorts;
use crate::io::{Broker, Dataplane, OpenError};

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
    let model = Model::new(&loaded.config);
    let socket = socket.unwrap_or(&model.api_socket);
    // While there is one thread.
    let confined = ordinary_user::confine(&model, socket)?;
    let is_confined = confined.is_some();
    let socket = confined.unwrap_or_else(|| socket.to_owned());
    let log = Log::start().map_err(|error| failed("the log", &error))?;
    raise_file_limit();
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| failed("the main loop", &error))?;
    // From here on a signal waits until the switch runs, and then stops it in order.
    let mut signals = Signals::new(&runtime).map_err(|error| failed("signals", &error))?;
    let lock = InstanceLock::take(&socket)?;
    let lines = match is_confined {
        true => greeting::confined_lines(&loaded, &model),
        false => greeting::lines(&loaded, &model, broker.as_ref()),
    };
    let registry = Registry::default();
    let names = Names::default();
    let view = names.view();
    let switch = Switch::start(model, broker, registry.clone(), followers(names))?;
    let worker = switch.worker().clone();
    let api =
        api::serve(&socket, ApiState::new(worker.clone(), registry.clone()).with_names(view))?;
    let lines = lines.into_iter().chain([format!("api: {}", socket.display())]);
    for line in lines {
        // A reader of the first lines that leaves is no reason to stop.
        let _ = output.line(line);
    }
    let result = runtime.block_on(signals.wait(&switch, &log, &registry));
    signals.is_stopping.store(true, Ordering::Release);
    drop(api);
    drop(worker);
    switch.stop();
    drop(lock);
    result
}

/// What follows the model besides the dataplane and the devices.
fn followers(names: Names) -> Vec<Box<dyn Follower>> {
    vec![Box::new(TakenPorts), Box::new(HostsFiles::default()), Box::new(names)]
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
    /// Once set, TERM and INT end the process at once.
    is_stopping: Arc<AtomicBool>,
}

impl Signals {
    fn new(runtime: &Runtime) -> io::Result<Self> {
        let _inside = runtime.enter();
        let is_stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            register_conditional_shutdown(signal, 128 + signal, is_stopping.clone())?;
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            is_stopping,
        })
    }

    /// Until the switch is to stop.
    async fn wait(
        &mut self,
        switch: &Switch,
        log: &Log,
        registry: &Registry,
    ) -> Result<(), Failure> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                // In this order: what was asked before the end is still answered.
                biased;
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP: a running tapway cannot reload yet; restart it");
                }
                _ = self.user.recv() => log.dump(|| dump_text(switch.worker(), registry)),
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = look.tick() => if switch.has_ended() {
                    let what = "the dataplane ended; what it said is above. Start tapway again";
                    return Err(Failure::new(Exit::Failed, what));
                },
            }
        }
    }
}

fn dump_text(worker: &Dataplane, registry: &Registry) -> Option<String> {
    dump(worker, registry).inspect_err(|error| tracing::error!(%error, "no tables to dump")).ok()
}

/// A TAP takes three file descriptors; the usual soft limit of 1024 is for programs that `select`.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
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
        let errors: Vec<&OpenError> = match &error {
            StartError::Apply(ApplyError::Ports(failures)) => {
                failures.iter().map(|failure| &failure.error).collect()
            }
            StartError::Dataplane(error) => vec![error],
            StartError::Apply(_) | StartError::System { .. } => Vec::new(),
        };
        if errors.is_empty() {
            return Self::new(Exit::Failed, error);
        }
        let worst = errors.into_iter().map(rank).max_by_key(|rank| rank.0);
        let exit = worst.map_or(Exit::Failed, |(_, exit)| exit);
        Self::new(exit, format!("not started\n{error}"))
    }
}
