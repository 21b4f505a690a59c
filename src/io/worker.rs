//! A thread that owns an engine and its ports.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::{Clock, PortIo, ReceiveError};
use crate::drop_reason::DropReason;
use crate::engine::{Command, CommandError, Engine, Event, Observer, Reply};
use crate::id::PortId;
use crate::packet::{Burst, TxLists};
use crate::time::Instant;

/// Frames taken from one port before the next gets its turn.
const PORT_BUDGET: usize = 32;
/// Readiness events taken at once.
const MAX_READY: usize = 256;
/// Events that wait for their reader; more are lost.
const MAX_EVENTS: usize = 4096;
const WAKER: Token = Token(usize::MAX);

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
    Attach(PortId, Box<dyn PortIo>, Sender<io::Result<()>>),
    AttachUp(PortId, Box<dyn PortIo>, Sender<Result<(), WorkerError>>),
    Detach(PortId, Sender<Option<Box<dyn PortIo>>>),
    Query(Query),
    Stop,
}

/// A handle to the thread; dropping it stops the thread.
#[derive(Debug)]
pub struct Worker {
    requests: Sender<Request>,
    waker: Arc<Waker>,
    events: Receiver<WorkerEvent>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread named `name` that runs `engine`.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors.
    pub fn spawn(name: &str, engine: Engine) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (requests, inbox) = unbounded();
        let (outbox, events) = bounded(MAX_EVENTS);
        let mut running = Running {
            engine,
            poll,
            inbox,
            outbox,
            ports: Vec::new(),
            first: 0,
            burst: Burst::new(),
            tx: TxLists::new(),
            scratch: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || running.run())?;
        Ok(Self { requests, waker, events, thread: Some(thread) })
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
        let (reply, answer) = bounded(1);
        self.request(Request::Attach(port, device, reply))?;
        answer.recv().map_err(|_| WorkerError::Gone)?.map_err(WorkerError::Register)
    }

    /// Gives a port its device and sets it up in one step: frames that wait in the device, or all
    /// of a capture file, do not find the port still down.
    ///
    /// # Errors
    /// As of [`Worker::attach`], or if there is no such port.
    pub fn attach_up(&self, port: PortId, device: Box<dyn PortIo>) -> Result<(), WorkerError> {
        let (reply, answer) = bounded(1);
        self.request(Request::AttachUp(port, device, reply))?;
        answer.recv().map_err(|_| WorkerError::Gone)?
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

struct Device {
    id: PortId,
    io: Box<dyn PortIo>,
    /// May have frames: edge-triggered readiness must be remembered until it is drained.
    is_ready: bool,
}

struct Running {
    engine: Engine,
    poll: Poll,
    inbox: Receiver<Request>,
    outbox: Sender<WorkerEvent>,
    ports: Vec<Device>,
    first: usize,
    burst: Burst,
    tx: TxLists,
    /// Where segments are built.
    scratch: Vec<u8>,
}

impl Running {
    fn run(&mut self) {
        let mut events = Events::with_capacity(MAX_READY);
        loop {
            if !self.answer_requests() {
                return;
            }
            let now = Clock.now();
            let is_busy = self.pass(now);
            self.run_timers(now);
            while let Some(event) = self.engine.poll_event() {
                let _ = self.outbox.try_send(WorkerEvent::Engine(event));
            }
            let timeout = if is_busy { Some(Duration::ZERO) } else { self.time_to_wait() };
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            for event in &events {
                let token = event.token();
                let device = self.ports.iter_mut().find(|port| token == token_of(port.id));
                if let Some(device) = device {
                    device.is_ready = true;
                }
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
                Request::Attach(id, io, reply) => {
                    let _ = reply.send(self.attach(id, io));
                }
                Request::AttachUp(id, io, reply) => {
                    let _ = reply.send(self.attach_up(id, io));
                }
                Request::Detach(id, reply) => {
                    let _ = reply.send(self.detach(id));
                }
                Request::Query(read) => {
                    for at in 0..self.ports.len() {
                        self.count_losses(at);
                    }
                    read(&mut self.engine, Clock.now());
                }
                Request::Stop => return false,
            }
        }
        true
    }

    /// Gathers a burst and runs it; true if ports may have more.
    fn pass(&mut self, now: Instant) -> bool {
        self.burst.clear();
        let mut gone = Vec::new();
        let count = self.ports.len();
        self.first = if count == 0 { 0 } else { (self.first + 1) % count };
        for step in 0..count {
            let at = (self.first + step) % count;
            if let Some(error) = self.gather(at)
                && let Some(device) = self.ports.get(at)
            {
                gone.push((device.id, error));
            }
        }
        if !self.burst.is_empty() {
            self.tx.clear();
            self.engine.process(now, &mut self.burst, &mut self.tx);
            gone.extend(self.flush());
        }
        for (port, error) in gone {
            self.lose(port, error);
        }
        self.ports.iter().any(|port| port.is_ready)
    }

    /// Reads from one port up to its budget; an error if its device is gone.
    fn gather(&mut self, at: usize) -> Option<io::Error> {
        let device = self.ports.get_mut(at).filter(|device| device.is_ready)?;
        let max_frame = device.io.max_frame();
        for _ in 0..PORT_BUDGET {
            match self.burst.receive(device.id, max_frame, |room| device.io.receive(room)) {
                Ok(Ok(_)) => {}
                Ok(Err(_full)) => return None,
                Err(ReceiveError::Empty) => {
                    device.is_ready = false;
                    return None;
                }
                Err(ReceiveError::Truncated) => {
                    self.engine.count_device_drops(device.id, DropReason::ReadTruncated, 1);
                }
                Err(ReceiveError::Refused(reason)) => {
                    self.engine.count_device_drops(device.id, reason, 1);
                }
                Err(ReceiveError::Gone(error)) => {
                    device.is_ready = false;
                    return Some(error);
                }
            }
        }
        None
    }

    /// Writes the egress lists; names the ports whose devices are gone.
    fn flush(&mut self) -> Vec<(PortId, io::Error)> {
        let mut gone = Vec::new();
        for port in self.tx.ports() {
            let mut device = self.ports.iter_mut().find(|device| device.id == *port);
            for frame in self.tx.frames(*port, &self.burst) {
                frame.for_each_segment(&mut self.scratch, |frame| {
                    let sent = match &mut device {
                        Some(device) => device.io.send(frame),
                        None => Err(DropReason::TxDeviceGone),
                    };
                    let Err(reason) = sent else { return };
                    self.engine.count_device_drops(*port, reason, 1);
                    if reason == DropReason::TxDeviceGone && device.take().is_some() {
                        gone.push((*port, io::Error::from(io::ErrorKind::NotConnected)));
                    }
                });
            }
        }
        gone
    }

    fn run_timers(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        self.burst.clear();
        self.tx.clear();
        self.engine.handle_timeout(now, &mut self.tx);
        for (port, error) in self.flush() {
            self.lose(port, error);
        }
    }

    /// Until the next timer, rounded up to the poll's millisecond.
    fn time_to_wait(&self) -> Option<Duration> {
        let at = self.engine.poll_timeout()?;
        let wait = at.since(Clock.now());
        Some(wait + Duration::from_micros(999))
    }

    fn attach(&mut self, id: PortId, io: Box<dyn PortIo>) -> io::Result<()> {
        drop(self.detach(id));
        if let Some(fd) = io.raw_fd() {
            self.poll.registry().register(&mut SourceFd(&fd), token_of(id), Interest::READABLE)?;
        }
        self.ports.push(Device { id, io, is_ready: true });
        Ok(())
    }

    fn attach_up(&mut self, id: PortId, io: Box<dyn PortIo>) -> Result<(), WorkerError> {
        self.engine.apply(Clock.now(), Command::SetPortUp(id, true))?;
        self.attach(id, io).map_err(|error| {
            // The port was there a moment ago.
            let _ = self.engine.apply(Clock.now(), Command::SetPortUp(id, false));
            WorkerError::Register(error)
        })
    }

    fn detach(&mut self, id: PortId) -> Option<Box<dyn PortIo>> {
        let at = self.ports.iter().position(|device| device.id == id)?;
        self.count_losses(at);
        let device = self.ports.swap_remove(at);
        if let Some(fd) = device.io.raw_fd() {
            // A device that is gone has left the poll by itself.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        Some(device.io)
    }

    /// Takes a port down whose device is gone.
    fn lose(&mut self, port: PortId, error: io::Error) {
        drop(self.detach(port));
        // The port may have been removed meanwhile.
        let _ = self.engine.apply(Clock.now(), Command::SetPortUp(port, false));
        let _ = self.outbox.try_send(WorkerEvent::PortGone { port, error });
    }

    fn count_losses(&mut self, at: usize) {
        let Some(device) = self.ports.get_mut(at) else { return };
        for loss in device.io.poll_losses() {
            self.engine.count_device_drops(device.id, loss.reason, loss.frames);
        }
    }
}

const fn token_of(port: PortId) -> Token {
    Token(port.index())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineConfig, NetworkSpec, PortSpec};
    use crate::id::NetworkId;
    use crate::io::{WireEnd, wire};
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
