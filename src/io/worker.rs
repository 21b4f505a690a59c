//! A thread that owns an engine and its ports.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;

use super::idle::Idle;
use super::{
    Clock, Devices, Egress, Faults, OpenError, PortIo, WaitMode, WriteChoice, WriteMethod,
};
use crate::engine::{Command, CommandError, Engine, Event, Observer, Reply};
use crate::id::PortId;
use crate::packet::{Burst, TxLists};
use crate::time::Instant;

/// Bursts between two looks at devices that were not ready, while others are.
const LOOK_EVERY: u32 = 4;
/// Events that wait for their reader; more are lost.
const MAX_EVENTS: usize = 4096;

/// How a worker uses the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSettings {
    /// How it writes.
    pub io: WriteChoice,
    /// How it waits.
    pub mode: WaitMode,
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

type Query = Box<dyn FnOnce(&mut Engine, Instant) + Send>;

enum Request {
    Apply(Command, Sender<Result<Reply, CommandError>>),
    Attach(PortId, Box<dyn PortIo>, OnAttach, Sender<Result<(), WorkerError>>),
    Detach(PortId, Sender<Option<Box<dyn PortIo>>>),
    Query(Query),
    Stop,
}

/// What becomes of a port that gets a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnAttach {
    /// It stays up or down.
    Keep,
    /// It is set up.
    SetUp,
}

/// A handle to the thread; dropping it stops the thread.
#[derive(Debug)]
pub struct Worker {
    requests: Sender<Request>,
    waker: Arc<Waker>,
    events: Receiver<WorkerEvent>,
    write_method: WriteMethod,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread named `name` that runs `engine`, with the default settings.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors.
    pub fn spawn(name: &str, engine: Engine) -> Result<Self, OpenError> {
        Self::spawn_with(name, engine, WorkerSettings::default())
    }

    /// Starts a thread named `name` that runs `engine`.
    ///
    /// # Errors
    /// As of [`Worker::spawn`], or if the settings ask for what this system does not permit.
    pub fn spawn_with(
        name: &str,
        engine: Engine,
        settings: WorkerSettings,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::from_io(format!("the {name} thread"), error);
        let (egress, why_not) = Egress::open(settings.io)?;
        if let Some(why) = why_not {
            tracing::warn!(why, "no io_uring: {name} writes frame by frame, small packets suffer");
        }
        let devices = Devices::new().map_err(failed)?;
        let waker = devices.waker().map_err(failed)?;
        let (requests, inbox) = unbounded();
        let (outbox, events) = bounded(MAX_EVENTS);
        let write_method = egress.method();
        tracing::info!(io = %write_method, mode = ?settings.mode, "{name} starts");
        let mut running = Running {
            engine,
            inbox,
            outbox,
            devices,
            egress,
            idle: Idle::new(settings.mode),
            burst: Burst::new(),
            tx: TxLists::new(),
            faults: Faults::default(),
            unlooked: 0,
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || running.run())
            .map_err(failed)?;
        Ok(Self { requests, waker, events, write_method, thread: Some(thread) })
    }

    /// How it writes frames to devices that are files.
    pub const fn write_method(&self) -> WriteMethod {
        self.write_method
    }

    /// Applies a command to the engine.
    ///
    /// # Errors
    /// The engine's refusal, or [`WorkerError::Gone`].
    pub fn apply(&self, command: Command) -> Result<Reply, WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Apply(command, reply))?;
        Ok(answer.recv().map_err(|_| WorkerError::Gone)??)
    }

    /// Gives a port its device; the port must be configured. A former device is dropped.
    ///
    /// # Errors
    /// If the device cannot be waited for, or [`WorkerError::Gone`].
    pub fn attach(&self, port: PortId, device: Box<dyn PortIo>) -> Result<(), WorkerError> {
        self.request_attach(port, device, OnAttach::Keep)
    }

    /// Gives a port its device and sets it up in one step: frames that wait in the device, or all
    /// of a capture file, do not find the port still down.
    ///
    /// # Errors
    /// As of [`Worker::attach`], or if there is no such port.
    pub fn attach_up(&self, port: PortId, device: Box<dyn PortIo>) -> Result<(), WorkerError> {
        self.request_attach(port, device, OnAttach::SetUp)
    }

    /// Takes a port's device away.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn detach(&self, port: PortId) -> Result<Option<Box<dyn PortIo>>, WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Detach(port, reply))?;
        answer.recv().map_err(|_| WorkerError::Gone)
    }

    /// Lets the worker read something of its engine between two bursts. Losses in the kernel are
    /// fetched first, so counters are complete.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn query<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Engine, Instant) -> R + Send + 'static,
    ) -> Result<R, WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Query(Box::new(move |engine, now| {
            // Nobody waits any more if this fails.
            let _ = reply.send(read(engine, now));
        })))?;
        answer.recv().map_err(|_| WorkerError::Gone)
    }

    /// Sets or removes the watcher of frames.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn observe(&self, observer: Option<Box<dyn Observer>>) -> Result<(), WorkerError> {
        self.query(move |engine, _| engine.set_observer(observer))
    }

    /// What the worker has to tell.
    pub const fn events(&self) -> &Receiver<WorkerEvent> {
        &self.events
    }

    fn request_attach(
        &self,
        port: PortId,
        device: Box<dyn PortIo>,
        then: OnAttach,
    ) -> Result<(), WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::Attach(port, device, then, reply))?;
        answer.recv().map_err(|_| WorkerError::Gone)?
    }

    fn request(&self, request: Request) -> Result<(), WorkerError> {
        self.requests.send(request).map_err(|_| WorkerError::Gone)?;
        self.waker.wake().map_err(|_| WorkerError::Gone)
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
    outbox: Sender<WorkerEvent>,
    devices: Devices,
    egress: Egress,
    idle: Idle,
    burst: Burst,
    tx: TxLists,
    faults: Faults,
    /// Bursts since the last look at devices that were not ready.
    unlooked: u32,
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
                let _ = self.outbox.try_send(WorkerEvent::Engine(event));
            }
            if self.wait(had_frames).is_err() {
                return;
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
                Request::Stop => return false,
            }
        }
        true
    }

    /// Gathers a burst and runs it; false if there was nothing.
    fn pass(&mut self, now: Instant) -> bool {
        self.burst.clear();
        self.devices.gather(&mut self.burst, &mut self.faults);
        let had_frames = !self.burst.is_empty();
        if had_frames {
            self.tx.clear();
            self.engine.process(now, &mut self.burst, &mut self.tx);
            self.send();
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

    fn send(&mut self) {
        let Self { tx, burst, devices, faults, .. } = self;
        self.egress.send(tx, burst, devices, faults);
    }

    /// Counts lost frames and takes ports down whose devices are gone.
    fn settle_faults(&mut self) {
        if self.faults.is_empty() {
            return;
        }
        for (port, reason) in self.faults.drops.drain(..) {
            self.engine.count_device_drops(port, reason, 1);
        }
        for (port, error) in std::mem::take(&mut self.faults.gone) {
            drop(self.detach(port));
            // The port may have been removed meanwhile.
            let _ = self.engine.apply(Clock.now(), Command::SetPortUp(port, false));
            let _ = self.outbox.try_send(WorkerEvent::PortGone { port, error });
        }
    }

    /// Until there may be something to do.
    fn wait(&mut self, had_frames: bool) -> io::Result<()> {
        if self.devices.has_ready() {
            self.unlooked += 1;
            if self.unlooked < LOOK_EVERY {
                return Ok(());
            }
        }
        self.unlooked = 0;
        if self.devices.has_ready() || self.idle.is_busy() {
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
        self.devices.wait(self.time_to_wait(start))?;
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
            if self.devices.has_ready() || !self.inbox.is_empty() || is_due {
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
    use crate::engine::{EngineConfig, NetworkSpec, PortSpec};
    use crate::id::NetworkId;
    use crate::io::{ReceiveError, WireEnd, wire};
    use crate::packet::MacAddr;
    use crate::testkit::build;
    use std::net::Ipv4Addr;

    fn receive(end: &mut WireEnd) -> Option<Vec<u8>> {
        let mut room = [0; 2048];
        for _ in 0..2000 {
            match end.receive(&mut room) {
                Ok(got) => return Some(got.frame_in(&room).bytes.to_vec()),
                Err(ReceiveError::Empty) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error:?}"),
            }
        }
        None
    }

    #[test]
    fn frames_pass_between_wires_and_a_dropped_wire_takes_its_port_down() {
        let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
        let worker = Worker::spawn("test", engine).unwrap();
        let network = NetworkId(0);
        worker.apply(Command::AddNetwork(network, NetworkSpec::new("n", None))).unwrap();
        let mut ends = Vec::new();
        for id in 0..2 {
            let (near, far) = wire().unwrap();
            let spec = PortSpec {
                name: format!("p{id}"),
                network,
                mtu: 1500,
                guard: None,
                static_macs: Vec::new(),
                is_up: true,
            };
            worker.apply(Command::AddPort(PortId(id), spec)).unwrap();
            worker.attach(PortId(id), Box::new(near)).unwrap();
            ends.push(far);
        }
        let ip = Ipv4Addr::new(10, 0, 0, 1);
        let frame = build::arp_request(MacAddr::from_ipv4(ip), ip, ip);
        ends[0].send(&frame).unwrap();
        assert_eq!(receive(&mut ends[1]), Some(frame));
        drop(ends.remove(0));
        let event = worker.events().recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(matches!(event, WorkerEvent::PortGone { port: PortId(0), .. }), "{event:?}");
        let stats = worker.query(|engine, _| engine.port_stats()).unwrap();
        assert!(!stats[0].1.is_up && stats[1].1.is_up);
    }
}
