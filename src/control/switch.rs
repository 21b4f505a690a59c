//! The running switch: a dataplane, its ports' devices, and the thread that looks after them.
//!
//! [`Switch::start`] either has everything running or has undone what it began. From then on a
//! device that goes takes only its own port down (see `supervisor`).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::model::{Model, PortEntry};
use super::registry::Registry;
use super::supervisor::Supervisor;
use crate::engine::{Engine, Share};
use crate::io::{Broker, Clock, Dataplane, OpenError, Opened, WorkerError, ask_for_huge_pages};
use crate::time::Instant;

/// How long devices are waited for in all that a killed tapway has not let go of yet.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const STEP: Duration = Duration::from_millis(50);

/// A switch that runs; it stops when dropped.
#[derive(Debug)]
pub struct Switch {
    worker: Arc<Dataplane>,
    /// None once it was told to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A port that could not be opened.
#[derive(Debug)]
pub struct PortFailure {
    /// The port.
    pub port: String,
    /// Why not.
    pub error: OpenError,
}

/// Why a switch could not be started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Devices could not be opened: all of them.
    #[error("{}", list(.0))]
    Ports(Vec<PortFailure>),
    /// The dataplane could not be started.
    #[error("[dataplane]: {0}")]
    Dataplane(OpenError),
    /// The dataplane refused what the configuration asks for.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        error: WorkerError,
    },
    /// The system has no threads, files or random numbers left.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl Switch {
    /// Starts a dataplane, opens every port and enters it in `registry`.
    ///
    /// # Errors
    /// Every port that could not be opened, or what else failed; all is undone then.
    pub fn start(
        model: Model,
        mut broker: Box<dyn Broker>,
        registry: Registry,
    ) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let seed = secret_seed().map_err(system("random numbers"))?;
        ask_for_huge_pages();
        let workers = usize::from(model.dataplane.workers);
        let config = model.engine.for_each_of(workers);
        let engines = Share::of(workers)
            .into_iter()
            .map(|share| Engine::with_share(config, seed, Clock.now(), share));
        let worker = Dataplane::spawn_crew(engines.collect(), model.dataplane);
        let worker = worker.map_err(StartError::Dataplane)?;
        let worker = Arc::new(worker);
        for command in model.commands() {
            let what = format!("{command:?}");
            worker.apply(command).map_err(|error| StartError::Refused { what, error })?;
        }
        let devices = open_all(broker.as_mut(), &model.ports)?;
        let (stop, stopped) = bounded(1);
        let mut supervisor = Supervisor::new(worker.clone(), broker, registry, stopped);
        for (entry, device) in model.ports.into_iter().zip(devices) {
            let what = format!("port {}", entry.spec.name);
            if let Err(error) = supervisor.adopt(entry, device) {
                supervisor.close_all();
                return Err(StartError::Refused { what, error });
            }
        }
        let thread = std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run())
            .map_err(system("the supervisor thread"))?;
        Ok(Self { worker, stop: Some(stop), thread: Some(thread) })
    }

    /// The dataplane.
    pub const fn worker(&self) -> &Arc<Dataplane> {
        &self.worker
    }

    /// True if the dataplane ended by itself: a bug, and told on stderr.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Closes every device and removes what was made for it. The dataplane itself ends with the
    /// last holder of [`Switch::worker`].
    pub fn stop(mut self) {
        self.close();
    }

    fn close(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens all devices, or none.
fn open_all(broker: &mut dyn Broker, ports: &[PortEntry]) -> Result<Vec<Opened>, StartError> {
    let end = Clock.now() + PATIENCE;
    let mut devices = Vec::new();
    let mut failures = Vec::new();
    let mut opened = Vec::new();
    for entry in ports {
        let port = &entry.spec.name;
        match open_patiently(broker, entry, end) {
            Ok(device) => {
                opened.push(port);
                devices.push(device);
            }
            Err(error) => failures.push(PortFailure { port: port.clone(), error }),
        }
    }
    if failures.is_empty() {
        return Ok(devices);
    }
    drop(devices);
    for port in opened {
        broker.close(port);
    }
    Err(StartError::Ports(failures))
}

/// Opens a device; until `end` one that a tapway killed a moment ago may still hold is waited for.
fn open_patiently(
    broker: &mut dyn Broker,
    entry: &PortEntry,
    end: Instant,
) -> Result<Opened, OpenError> {
    loop {
        match broker.open(&entry.spec.name, &entry.plan) {
            Err(OpenError::Conflict { .. }) if Clock.now() < end => std::thread::sleep(STEP),
            done => return done,
        }
    }
}

fn secret_seed() -> io::Result<u128> {
    let mut seed = [0; 16];
    let mut filled = 0;
    while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *rest, flags))?;
    }
    Ok(u128::from_ne_bytes(seed))
}

fn list(failures: &[PortFailure]) -> String {
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl fmt::Display for PortFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "port {}: {}", self.port, self.error)
    }
}

#[cfg(test)]
mod tests;
