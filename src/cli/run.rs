//! `tapway run`: the switch in the foreground, until SIGTERM or SIGINT.
//!
//! | signal | does |
//! |---|---|
//! | TERM, INT | stop: every TAP, namespace and socket tapway made is removed; exit code 0. A second one ends it at once |
//! | HUP | the configuration is read anew, as by `tapway reload`: all of it holds, or nothing changes |
//! | USR1 | all tables to stderr |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::greeting::Greeted;
use super::instance_lock::InstanceLock;
use super::log::Log;
use super::{Exit, Failure, Output, check, greeting, ordinary_user};
use crate::control::api::{self, ApiState};
use crate::control::config::{Config, DEFAULT_SOCKET, Origin, StateSetting};
use crate::control::dhcp::{DhcpService, Leases, LeasesFollower};
use crate::control::dump::dump;
use crate::control::follower::Follower;
use crate::control::host_access::HostPorts;
use crate::control::hosts::{Hosts, HostsFiles, PrivateFiles};
use crate::control::learned_peers::LearnedPeers;
use crate::control::live::{self, Control, Desired, Store, StoreError};
use crate::control::model::Model;
use crate::control::names::Names;
use crate::control::registry::Registry;
use crate::control::rejection::RejectionKind;
use crate::control::switch::{ApplyError, StartError, Switch};
use crate::control::taken_ports::TakenPorts;
use crate::io::{Broker, Dataplane, OpenError};

/// Where root's tapway keeps what is made live.
const STATE: &str = "/var/lib/tapway";
/// How often the dataplane is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a configuration with the API on `socket`, or where the configuration says.
///
/// # Errors
/// Why it did not start, all of it; nothing is left behind then.
pub fn run(
    origin: Origin,
    socket: Option<&Path>,
    broker: Box<dyn Broker>,
    output: &mut Output,
) -> Result<(), Failure> {
    let loaded = check::load(&origin)?;
    let socket = socket.unwrap_or(&loaded.config.api_socket).to_owned();
    let directory = state_directory(&loaded.config, &socket);
    // While there is one thread.
    let confined = ordinary_user::confine(&Model::new(&loaded.config), &socket)?;
    let is_confined = confined.is_some();
    let socket = confined.unwrap_or(socket);
    let log = Log::start().map_err(|error| failed("the log", &error))?;
    let store = directory.map_or_else(|| Ok(Store::none()), |path| Store::in_directory(&path));
    let store = store.map_err(live::StartError::from)?;
    let desired = Desired::load(&origin, &store, &broker.host_routes()?)?;
    raise_file_limit();
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| failed("the main loop", &error))?;
    // From here on a signal waits until the switch runs, and then stops it in order.
    let mut signals = Signals::new(&runtime).map_err(|error| failed("signals", &error))?;
    let model = Model::clone(desired.model());
    let lock = InstanceLock::take(&socket)?;
    let config = desired.config().clone();
    let greeted = Greeted { origin: &origin, name: desired.name(), config: &config, model: &model };
    let lines = match is_confined {
        true => greeting::confined_lines(&greeted),
        false => greeting::lines(&greeted, broker.as_ref()),
    };
    let registry = Registry::default();
    let leases = Leases::default();
    let names = Names::new(leases.clone());
    let view = names.view();
    let files = PrivateFiles::default();
    let (learned, learner) = LearnedPeers::new();
    let mut followers = followers(&leases, names, files.clone());
    followers.push(Box::new(learned));
    let switch = Switch::start(model, broker, registry.clone(), followers)?;
    let worker = switch.worker().clone();
    let control = Control::new(desired, switch.orders().clone(), store);
    control.keep().map_err(live::StartError::from)?;
    let learner = learner.start(control.clone());
    learner.map_err(|error| failed("learning of peers", &error))?;
    let dhcp = DhcpService::start(worker.clone(), leases.clone());
    let dhcp = dhcp.map_err(|error| failed("the DHCP server", &error))?;
    let hosts = Hosts::start(control.clone(), files);
    let hosts = hosts.map_err(|error| failed("the ends of commands", &error))?;
    let state = ApiState::new(worker.clone(), registry.clone()).with_control(control.clone());
    let state = state.with_names(view).with_leases(leases).with_hosts(hosts.clone());
    let api = api::serve(&socket, state)?;
    let lines = lines.into_iter().chain([format!("api: {}", socket.display())]);
    for line in lines {
        // A reader of the first lines that leaves is no reason to stop.
        let _ = output.line(line);
    }
    let result = runtime.block_on(signals.wait(&switch, &control, (&log, &registry)));
    signals.is_stopping.store(true, Ordering::Release);
    drop(api);
    drop(hosts);
    drop(dhcp);
    drop(worker);
    switch.stop();
    drop(lock);
    result
}

/// What follows the model besides the dataplane and the devices.
fn followers(leases: &Leases, names: Names, files: PrivateFiles) -> Vec<Box<dyn Follower>> {
    let (ports, hosts) = (HostPorts::default(), HostsFiles::new(files));
    let leases = LeasesFollower::new(leases.clone());
    vec![Box::new(ports), Box::new(TakenPorts), Box::new(hosts), Box::new(names), Box::new(leases)]
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
        control: &Control,
        (log, registry): (&Log, &Registry),
    ) -> Result<(), Failure> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                // In this order: what was asked before the end is still answered.
                biased;
                _ = self.hang_up.recv() => reload(control),
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

/// What changed, or why nothing did.
fn reload(control: &Control) {
    match control.reload() {
        Ok(edited) => {
            tracing::info!(changes = edited.rows.len(), "the configuration was read anew");
            for row in edited.rows {
                tracing::info!("{row}");
            }
        }
        Err(rejection) => tracing::error!("not reloaded, nothing has changed: {rejection}"),
    }
}

/// Where what is made live is kept: one directory cannot serve several tapways, so one on another
/// socket has to name its own.
fn state_directory(config: &Config, socket: &Path) -> Option<PathBuf> {
    match &config.state {
        StateSetting::Directory(directory) => Some(directory.clone()),
        StateSetting::Usual if socket == Path::new(DEFAULT_SOCKET) => usual_directory(),
        StateSetting::Usual | StateSetting::None => None,
    }
}

fn usual_directory() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(STATE));
    }
    // The XDG base directory specification.
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local/state"));
    let state = set("XDG_STATE_HOME").or_else(home).map(|state| state.join("tapway"));
    // A user who was switched to without his environment has another one's home in it.
    let is_closed = |path: &PathBuf| {
        path.metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    state.filter(|path| !is_closed(path))
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

impl From<live::StartError> for Failure {
    fn from(error: live::StartError) -> Self {
        match error {
            live::StartError::File(error) => check::failure(&error),
            live::StartError::Store(error) => {
                let exit = match &error {
                    StoreError::Damaged { .. } => Exit::BadConfiguration,
                    StoreError::InUse { .. } => Exit::Conflict,
                    StoreError::System { error, .. } => match error.kind() {
                        io::ErrorKind::PermissionDenied => Exit::NoPermission,
                        _ => Exit::Failed,
                    },
                };
                Self::new(exit, error)
            }
            clash @ live::StartError::Clash { .. } => Self::new(Exit::BadConfiguration, clash),
        }
    }
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
        if let StartError::Apply(ApplyError::Follower { rejection, .. }) = &error {
            let exit = match rejection.kind {
                RejectionKind::Permission => Exit::NoPermission,
                RejectionKind::Conflict => Exit::Conflict,
                RejectionKind::Wrong | RejectionKind::Configuration | RejectionKind::NotFound => {
                    Exit::BadConfiguration
                }
                RejectionKind::Failed => Exit::Failed,
            };
            return Self::new(exit, format!("not started\n{error}"));
        }
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
