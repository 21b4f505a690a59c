//! A thread that owns an engine and its ports' devices, or its queues of them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::bell::Bell;
use super::frame_writer::MethodInUse;
use super::idle::Idle;
use super::scheduling;
use super::{
    Clock, Devices, Egress, Faults, OpenError, PortIo, Refusal, WaitMode, WriteChoice, WriteMethod,
};
use crate::crew::Relay;
use crate::drop_reason::DropReason;
use crate::engine::{Command, CommandError, Engine, Event, NameQuery, Reply};
use crate::id::{PortId, WorkerId};
use crate::local::dhcp::DhcpRequest;
use crate::packet::{Burst, TxLists};
use crate::time::Instant;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Bursts between two looks at devices that were not ready, while others are.
const LOOK_EVERY: u32 = 4;
/// Least time between two [`WorkerEvent::PathMtu`]; the owner looks each second by itself.
const BETWEEN_PATH_MTUS: Duration = Duration::from_millis(200);

/// How a dataplane uses the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataplaneSettings {
    /// How it writes.
    pub io: WriteChoice,
    /// How it waits.
    pub mode: WaitMode,
    /// How many workers it has: 1 to [`WorkerId::MAX`].
    pub workers: u8,
}

impl Default for DataplaneSettings {
    fn default() -> Self {
        Self { io: WriteChoice::Auto, mode: WaitMode::Auto, workers: 1 }
    }
}

/// What a worker tells its owner.
#[derive(Debug)]
pub enum WorkerEvent {
    /// Something from the engine.
    Engine(Event),
    /// A port's device is gone; the port is down.
    PortGone {
        /// The port.
        port: PortId,
        /// What the device said.
        error: io::Error,
    },
    /// The way to a peer takes smaller packets than before.
    PathMtu,
    /// It has given io_uring up, and writes frame by frame.
    WritesSingly,
}

/// The worker cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its thread has ended.
    #[error("the dataplane thread has ended")]
    Gone,
    /// The engine refused the command.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The port's device cannot be waited for.
    #[error("cannot wait for the port's device: {0}")]
    Register(io::Error),
}

/// Takes questions about names that are nobody's here; false: there is no room, and the question
/// is lost.
pub type AskResolver = Arc<dyn Fn(NameQuery) -> bool + Send + Sync>;

type Query = Box<dyn FnOnce(&mut Engine, Instant) + Send>;

enum Request {
    Apply(Command, Sender<Result<Reply, CommandError>>),
    Attach(PortId, Box<dyn PortIo>, OnAttach, Sender<Result<(), WorkerError>>),
    Detach(PortId, Sender<Option<Box<dyn PortIo>>>),
    Query(Query),
    Resolver(AskResolver),
    Stop,
}

/// What becomes of a port that gets a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnAttach {
    /// It stays up or down.
    Keep,
    /// It is set up.
    SetUp,
}

/// A handle to the thread; dropping it stops the thread.
#[derive(Debug)]
pub(super) struct Worker {
    requests: Sender<Request>,
    bell: Arc<Bell>,
    method: MethodInUse,
    thread: Option<JoinHandle<()>>,
}

/// The devices and the writer of a worker that is to be started.
pub(super) struct Start {
    devices: Devices,
    egress: Egress,
    pub(super) bell: Arc<Bell>,
    mode: WaitMode,
}

/// What ties a worker to the others.
pub(super) struct Ties {
    pub(super) relay: Relay,
    /// Of all workers, by id.
    pub(super) bells: Vec<Arc<Bell>>,
    pub(super) outbox: Sender<WorkerEvent>,
    pub(super) dhcp: Sender<DhcpRequest>,
}

impl Start {
    /// What a worker needs of the system.
    ///
    /// # Errors
    /// If the process is out of file descriptors, or the settings ask for what this system does
    /// not permit.
    pub(super) fn new(name: &str, settings: DataplaneSettings) -> Result<Self, OpenError> {
        let failed = |error| OpenError::from_io(format!("the {name} thread"), error);
        let (egress, why_not) = Egress::open(settings.io)?;
        if let Some(why) = why_not {
            tracing::warn!(why, "no io_uring: {name} writes frame by frame, small packets suffer");
        }
        let devices = Devices::new().map_err(failed)?;
        let bell = Arc::new(Bell::new(devices.waker().map_err(failed)?));
        Ok(Self { devices, egress, bell, mode: settings.mode })
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If the process is out of threads.
    pub(super) fn spawn(self, name: &str, engine: Engine, ties: Ties) -> Result<Worker, OpenError> {
        let (requests, inbox) = unbounded();
        let (bell, method) = (self.bell.clone(), self.egress.method_in_use());
        tracing::info!(io = %method.get(), mode = ?self.mode, "{name} starts");
        let mut running = self.into_running(engine, inbox, ties);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Err(error) = scheduling::ask_for_short_slices() {
                    tracing::debug!(%error, "the kernel chooses the time slices");
                }
                running.run();
            })
            .map_err(|error| OpenError::from_io(format!("the {name} thread"), error))?;
        Ok(Worker { requests, bell, method, thread: Some(thread) })
    }

    fn into_running(self, engine: Engine, inbox: Receiver<Request>, ties: Ties) -> Running {
        let Self { devices, egress, bell, mode } = self;
        let method = egress.method();
        Running {
            engine,
            inbox,
            ties,
            bell,
            devices,
            egress,
            method,
            idle: Idle::new(mode),
            burst: Burst::new(),
            tx: TxLists::new(),
            faults: Faults::default(),
            unlooked: 0,
            is_mail_first: false,
            resolver: None,
            told_path_mtu: None,
        }
    }
}

impl Worker {
    /// True once its thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// How it writes frames to devices that are files.
    pub(super) fn write_method(&self) -> WriteMethod {
        self.method.get()
    }

    /// Applies a command to the engine.
    ///
    /// # Errors
    /// The engine's refusal, or [`WorkerError::Gone`].
    pub(super) fn apply(&self, command: Command) -> Result<Reply, WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Apply(command, reply))?;
        Ok(answer.recv().map_err(|_| WorkerError::Gone)??)
    }

    /// Applies a command that is never refused, without waiting.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub(super) fn tell(&self, command: Command) -> Result<(), WorkerError> {
        let (reply, _) = bounded(1);
        self.request(Request::Apply(command, reply))
    }

    /// Says whom to ask about names that are nobody's here.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub(super) fn set_resolver(&self, ask: AskResolver) -> Result<(), WorkerError> {
        self.request(Request::Resolver(ask))
    }

    /// Gives a port its device, or this worker's queue of it.
    ///
    /// # Errors
    /// If the device cannot be waited for, or [`WorkerError::Gone`].
    pub(super) fn attach(
        &self,
        port: PortId,
        device: Box<dyn PortIo>,
        then: OnAttach,
    ) -> Result<(), WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Attach(port, device, then, reply))?;
        answer.recv().map_err(|_| WorkerError::Gone)?
    }

    /// Takes a port's device away.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub(super) fn detach(&self, port: PortId) -> Result<Option<Box<dyn PortIo>>, WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Detach(port, reply))?;
        answer.recv().map_err(|_| WorkerError::Gone)
    }

    /// Lets the worker read something of its engine between two bursts; the answer comes by the
    /// channel. Losses in the kernel are fetched first, so counters are complete.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub(super) fn ask<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Engine, Instant) -> R + Send + 'static,
    ) -> Result<Receiver<R>, WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Query(Box::new(move |engine, now| {
            // Nobody waits any more if this fails.
            let _ = reply.send(read(engine, now));
        })))?;
        Ok(answer)
    }

    fn request(&self, request: Request) -> Result<(), WorkerError> {
        self.requests.send(request).map_err(|_| WorkerError::Gone)?;
        self.bell.ring().map_err(|_| WorkerError::Gone)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.request(Request::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

struct Running {
    engine: Engine,
    inbox: Receiver<Request>,
    ties: Ties,
    bell: Arc<Bell>,
    devices: Devices,
    egress: Egress,
    /// How it wrote until now.
    method: WriteMethod,
    idle: Idle,
    burst: Burst,
    tx: TxLists,
    faults: Faults,
    /// Bursts since the last look at devices that were not ready.
    unlooked: u32,
    is_mail_first: bool,
    /// None: nobody is asked.
    resolver: Option<AskResolver>,
    told_path_mtu: Option<Instant>,
}

impl Running {
    fn run(&mut self) {
        loop {
            if !self.answer_requests() {
                return;
            }
            let now = Clock.now();
            let had_frames = self.pass(now);
            self.run_timers(now);
            while let Some(event) = self.engine.poll_event() {
                let _ = self.ties.outbox.try_send(WorkerEvent::Engine(event));
            }
            self.pass_on_requests();
            if self.wait(had_frames).is_err() {
                return;
            }
        }
    }

    /// Hands what the engine took for control's servers to them.
    fn pass_on_requests(&mut self) {
        while let Some(query) = self.engine.poll_name_query() {
            // One that is lost is asked again.
            let _ = self.resolver.as_ref().is_some_and(|ask| ask(query));
        }
        while let Some(request) = self.engine.poll_dhcp() {
            let port = request.port;
            if self.ties.dhcp.try_send(request).is_err() {
                self.engine.count_device_drops(port, DropReason::DhcpLimit, 1);
            }
        }
    }

    /// False when the worker is to stop.
    fn answer_requests(&mut self) -> bool {
        while let Ok(request) = self.inbox.try_recv() {
            match request {
                Request::Apply(command, reply) => {
                    let _ = reply.send(self.engine.apply(Clock.now(), command));
                }
                Request::Attach(port, io, then, reply) => {
                    let _ = reply.send(self.attach(port, io, then));
                }
                Request::Detach(port, reply) => {
                    let _ = reply.send(self.detach(port));
                }
                Request::Query(read) => {
                    let ports: Vec<PortId> = self.devices.ports().collect();
                    ports.into_iter().for_each(|port| self.count_losses(port));
                    read(&mut self.engine, Clock.now());
                }
                Request::Resolver(ask) => self.resolver = Some(ask),
                Request::Stop => return false,
            }
        }
        true
    }

    /// Gathers a burst and runs it; false if there was nothing.
    fn pass(&mut self, now: Instant) -> bool {
        self.burst.clear();
        // Even if nothing comes: what the last pass handed over must not go once more.
        self.tx.clear();
        // In turns, so that neither devices nor other workers can keep a burst full for good.
        self.is_mail_first = !self.is_mail_first;
        if self.is_mail_first {
            self.ties.relay.take(&mut self.engine, now, &mut self.burst);
        }
        self.devices.gather(&mut self.burst, &mut self.faults);
        if !self.is_mail_first {
            self.ties.relay.take(&mut self.engine, now, &mut self.burst);
        }
        let had_frames = !self.burst.is_empty();
        if had_frames {
            self.engine.process(now, &mut self.burst, &mut self.tx);
            self.send();
        } else {
            self.hand_over();
        }
        self.settle_faults();
        had_frames
    }

    fn run_timers(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        self.burst.clear();
        self.tx.clear();
        self.engine.handle_timeout(now, &mut self.tx);
        self.send();
        self.settle_faults();
    }

    /// Sends what a pass left: to other workers, and to devices.
    fn send(&mut self) {
        self.hand_over();
        let Self { tx, burst, devices, faults, .. } = self;
        self.egress.send(tx, burst, devices, faults);
        let method = self.egress.method();
        if method != self.method {
            self.method = method;
            let _ = self.ties.outbox.try_send(WorkerEvent::WritesSingly);
        }
    }

    fn hand_over(&mut self) {
        let Self { engine, ties, tx, burst, .. } = self;
        let Ties { relay, bells, .. } = ties;
        relay.dispatch(engine, (tx, burst), |worker: WorkerId| {
            if let Some(bell) = bells.get(worker.index()) {
                bell.ring_if_asleep();
            }
        });
    }

    /// Counts lost frames, tells senders what was too large, and takes ports down whose devices are
    /// gone.
    fn settle_faults(&mut self) {
        if self.faults.is_empty() {
            return;
        }
        self.take_back();
        for (port, refusal) in self.faults.refusals.drain(..) {
            let reason = refusal.reason();
            match refusal.tunnel() {
                Some(tunnel) => self.engine.count_tunnel_drop(port, tunnel, reason),
                None => self.engine.count_device_drops(port, reason, 1),
            }
        }
        for (port, reason) in self.faults.drops.drain(..) {
            self.engine.count_device_drops(port, reason, 1);
        }
        for (port, error) in std::mem::take(&mut self.faults.gone) {
            drop(self.detach(port));
            // The port may have been removed meanwhile.
            let _ = self.engine.apply(Clock.now(), Command::SetPortUp(port, false));
            let _ = self.ties.outbox.try_send(WorkerEvent::PortGone { port, error });
        }
    }

    /// Gives the engine what was too large for its way, and sends what comes out: once, as what is
    /// refused then was sent with that in mind.
    fn take_back(&mut self) {
        let refusals = std::mem::take(&mut self.faults.refusals);
        let mut is_cleared = false;
        for (port, refusal) in refusals {
            let Refusal::TooLarge { outer, mtu } = refusal else {
                self.faults.refusals.push((port, refusal));
                continue;
            };
            if !std::mem::replace(&mut is_cleared, true) {
                self.burst.clear();
                self.tx.clear();
            }
            self.engine.take_back(Clock.now(), &outer, mtu, &mut self.tx);
        }
        if is_cleared {
            self.send();
            self.tell_path_mtu();
        }
    }

    /// Tells the owner; not for every frame of a host that does not listen to what it is told.
    fn tell_path_mtu(&mut self) {
        let now = Clock.now();
        if self.told_path_mtu.is_none_or(|told| now.since(told) >= BETWEEN_PATH_MTUS) {
            self.told_path_mtu = Some(now);
            let _ = self.ties.outbox.try_send(WorkerEvent::PathMtu);
        }
    }

    /// Until there may be something to do.
    fn wait(&mut self, had_frames: bool) -> io::Result<()> {
        if self.devices.has_ready() || self.ties.relay.has_mail() {
            self.unlooked += 1;
            if self.unlooked < LOOK_EVERY {
                return Ok(());
            }
        }
        self.unlooked = 0;
        let has_work = self.devices.has_ready() || self.ties.relay.has_mail();
        if has_work || self.idle.is_busy() {
            return self.devices.wait(Some(Duration::ZERO));
        }
        if let Some(time) = self.idle.spin(had_frames) {
            let found = self.spin(time)?;
            self.idle.spun(found);
            if found {
                return Ok(());
            }
        }
        let start = Clock.now();
        self.bell.go_to_sleep();
        // What came before the bell was told is not rung for.
        let timeout = match self.ties.relay.has_mail() {
            true => Some(Duration::ZERO),
            false => self.time_to_wait(start),
        };
        self.devices.wait(timeout)?;
        self.bell.wake_up();
        if self.devices.has_ready() {
            self.idle.slept(Clock.now().since(start));
        }
        Ok(())
    }

    /// Looks for frames, requests and timers for so long; true if there are any.
    fn spin(&mut self, time: Duration) -> io::Result<bool> {
        let end = Clock.now() + time;
        loop {
            self.devices.wait(Some(Duration::ZERO))?;
            let now = Clock.now();
            let is_due = self.engine.poll_timeout().is_some_and(|at| at <= now);
            let has_mail = !self.inbox.is_empty() || self.ties.relay.has_mail();
            if self.devices.has_ready() || has_mail || is_due {
                return Ok(true);
            }
            if now >= end {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    /// Until the next timer, rounded up to the poll's millisecond.
    fn time_to_wait(&self, now: Instant) -> Option<Duration> {
        let at = self.engine.poll_timeout()?;
        Some(at.since(now) + Duration::from_micros(999))
    }

    fn attach(
        &mut self,
        port: PortId,
        io: Box<dyn PortIo>,
        then: OnAttach,
    ) -> Result<(), WorkerError> {
        if then == OnAttach::SetUp {
            self.engine.apply(Clock.now(), Command::SetPortUp(port, true))?;
        }
        drop(self.detach(port));
        self.devices.attach(port, io).map_err(|error| {
            if then == OnAttach::SetUp {
                // The port was there a moment ago.
                let _ = self.engine.apply(Clock.now(), Command::SetPortUp(port, false));
            }
            WorkerError::Register(error)
        })
    }

    fn detach(&mut self, port: PortId) -> Option<Box<dyn PortIo>> {
        self.count_losses(port);
        self.devices.detach(port)
    }

    fn count_losses(&mut self, port: PortId) {
        for loss in self.devices.poll_losses(port) {
            self.engine.count_device_drops(port, loss.reason, loss.frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineConfig;
    use crate::packet::{HandOver, Origin};

    fn running(relay: Relay) -> Running {
        let start = Start::new("test", DataplaneSettings::default()).unwrap();
        let (outbox, dhcp) = (unbounded().0, unbounded().0);
        let ties = Ties { relay, bells: Vec::new(), outbox, dhcp };
        let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
        start.into_running(engine, unbounded().1, ties)
    }

    #[test]
    fn pass_without_frames_hands_nothing_over_again() {
        let mut relays = Relay::between(2);
        let (mut other, mut own) = (relays.remove(1), running(relays.remove(0)));
        let port = PortId(1);
        let frame = own.tx.generate(&[&[1; 60]]).unwrap();
        own.tx.hand_over(HandOver { to: WorkerId(1), frame, port, origin: Origin::Owned });
        own.send();
        let mut burst = Burst::new();
        other.take(&mut own.engine, Clock.now(), &mut burst);
        assert_eq!(burst.len(), 1);
        assert!(!own.pass(Clock.now()));
        assert!(!other.has_mail(), "nothing wakes it");
    }
}
