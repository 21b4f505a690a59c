//! The running switch: a dataplane, its ports' devices, and the thread that looks after them.
//!
//! [`Switch::start`] either has everything running or has undone what it began. From then on a
//! device that goes takes only its own port down (see `supervisor`).

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use ipnet::Ipv4Net;

use super::follower::Follower;
use super::model::{Change, Model};
use super::registry::Registry;
use super::rejection::{Rejection, RejectionKind};
use super::supervisor::{Charge, Order, PATIENCE, Supervisor};
use crate::engine::{Engine, Share};
use crate::io::{Broker, Clock, Dataplane, OpenError, ask_for_huge_pages};

pub use super::supervisor::{ApplyError, PortFailure};

/// Orders that wait for the supervisor; whoever gives more waits.
const MAX_ORDERS: usize = 64;

/// A switch that runs; it stops when dropped.
#[derive(Debug)]
pub struct Switch {
    worker: Arc<Dataplane>,
    /// None once it was told to stop.
    stop: Option<Sender<()>>,
    orders: Orders,
    thread: Option<JoinHandle<()>>,
}

/// Changes what a switch runs, until it stops.
#[derive(Clone, Debug)]
pub struct Orders {
    orders: Sender<Order>,
}

impl Orders {
    /// Goes from what runs to another model, all or nothing; what changed.
    ///
    /// # Errors
    /// Why not; everything runs as before then.
    pub fn apply(&self, model: Model) -> Result<Change, ApplyError> {
        let (reply, answer) = bounded(1);
        let order = Order::Apply { model: Box::new(model), reply };
        self.orders.send(order).map_err(|_| ApplyError::Stopped)?;
        answer.recv().map_err(|_| ApplyError::Stopped)?
    }

    /// Subnets that this host has routes to.
    ///
    /// # Errors
    /// If the system does not tell them.
    pub fn host_routes(&self) -> Result<Vec<Ipv4Net>, Rejection> {
        let stopped = |_| Rejection::from(ApplyError::Stopped);
        let (reply, answer) = bounded(1);
        self.orders.send(Order::HostRoutes { reply }).map_err(|_| ApplyError::Stopped)?;
        let routes = answer.recv().map_err(stopped)?;
        routes.map_err(|error| Rejection::new(RejectionKind::Failed, error, ""))
    }
}

/// Why a switch could not be started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The dataplane could not be started.
    #[error("[dataplane]: {0}")]
    Dataplane(OpenError),
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
    /// Starts a dataplane, opens every port and enters it in `registry`. `followers` are told of
    /// this first change, too, and of all that come.
    ///
    /// # Errors
    /// Every port that could not be opened, or what else failed; all is undone then.
    pub fn start(
        model: Model,
        broker: Box<dyn Broker>,
        registry: Registry,
        followers: Vec<Box<dyn Follower>>,
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
        let (stop, stopped) = bounded(1);
        let (orders, ordered) = bounded(MAX_ORDERS);
        let charge = Charge {
            worker: worker.clone(),
            broker,
            registry,
            followers,
            stop: stopped,
            orders: ordered,
        };
        let mut supervisor = Supervisor::new(charge, &model);
        supervisor.apply(model, PATIENCE)?;
        let thread = std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervisor.run())
            .map_err(system("the supervisor thread"))?;
        let orders = Orders { orders };
        Ok(Self { worker, stop: Some(stop), orders, thread: Some(thread) })
    }

    /// The dataplane.
    pub const fn worker(&self) -> &Arc<Dataplane> {
        &self.worker
    }

    /// What changes it.
    pub const fn orders(&self) -> &Orders {
        &self.orders
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

fn secret_seed() -> io::Result<u128> {
    let mut seed = [0; 16];
    let mut filled = 0;
    while let Some(rest) = seed.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *rest, flags))?;
    }
    Ok(u128::from_ne_bytes(seed))
}

#[cfg(test)]
pub(super) mod tests;

#[cfg(test)]
mod change_tests;
