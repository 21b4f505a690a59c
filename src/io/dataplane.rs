//! The dataplane: one or several workers that carry a switch together.
//!
//! A device with several queues gives each worker one, and the kernel steers a flow to the queue
//! that its answers leave by. Of a device with one queue worker 0 reads, and all write. Commands
//! go to all workers, questions to one or to each.

use crossbeam_channel::{Receiver, bounded};

use super::worker::{AskResolver, OnAttach, Start, Ties, Worker};
use super::{DataplaneSettings, OpenError, PortIo, WorkerError, WorkerEvent, WriteMethod};
use crate::crew::Relay;
use crate::engine::{Command, Engine, NameAsker, Observer, Reply};
use crate::id::{PortId, WorkerId};
use crate::local::dhcp::DhcpRequest;
use crate::time::Instant;

/// Events that wait for their reader; more are lost.
const MAX_EVENTS: usize = 4096;
/// DHCP requests that wait for their server; more are lost, and counted at their port.
const MAX_REQUESTS: usize = 1024;

/// The workers; dropping them stops their threads.
#[derive(Debug)]
pub struct Dataplane {
    workers: Vec<Worker>,
    events: Receiver<WorkerEvent>,
    dhcp: Receiver<DhcpRequest>,
}

impl Dataplane {
    /// Starts one worker.
    ///
    /// # Errors
    /// As of [`Dataplane::spawn_crew`].
    pub fn spawn(engine: Engine, settings: DataplaneSettings) -> Result<Self, OpenError> {
        Self::spawn_crew(vec![engine], settings)
    }

    /// Starts a worker for each engine; their shares are [`Share::of`](crate::engine::Share::of)
    /// as many, in order.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors, or the settings ask for what this
    /// system does not permit.
    pub fn spawn_crew(
        engines: Vec<Engine>,
        settings: DataplaneSettings,
    ) -> Result<Self, OpenError> {
        let count = engines.len();
        let name = |at| if count > 1 { format!("worker{at}") } else { "dataplane".to_owned() };
        let starts = (0..count).map(|at| Start::new(&name(at), settings));
        let starts: Vec<Start> = starts.collect::<Result<_, _>>()?;
        let bells: Vec<_> = starts.iter().map(|start| start.bell.clone()).collect();
        let (outbox, events) = bounded(MAX_EVENTS);
        let (dhcp, requests) = bounded(MAX_REQUESTS);
        let members = starts.into_iter().zip(engines).zip(Relay::between(count)).enumerate();
        let workers = members.map(|(at, ((start, engine), relay))| {
            let (bells, outbox) = (bells.clone(), outbox.clone());
            let ties = Ties { relay, bells, outbox, dhcp: dhcp.clone() };
            start.spawn(&name(at), engine, ties)
        });
        let workers = workers.collect::<Result<_, _>>()?;
        Ok(Self { workers, events, dhcp: requests })
    }

    /// How many workers there are.
    pub const fn workers(&self) -> usize {
        self.workers.len()
    }

    /// True once a worker has ended: the others cannot carry the switch without it.
    pub fn has_ended(&self) -> bool {
        self.workers.iter().any(Worker::has_ended)
    }

    /// How frames are written to devices that are files: the slower way, if workers differ.
    pub fn write_method(&self) -> WriteMethod {
        let slower = self.workers.iter().map(Worker::write_method);
        slower
            .reduce(|a, b| if a == WriteMethod::Write { a } else { b })
            .unwrap_or(WriteMethod::Write)
    }

    /// Applies a command to every engine.
    ///
    /// # Errors
    /// The refusal, which is the same everywhere, or [`WorkerError::Gone`].
    pub fn apply(&self, command: Command) -> Result<Reply, WorkerError> {
        let mut sum = Reply::default();
        for worker in &self.workers {
            sum.ended_sessions += worker.apply(command.clone())?.ended_sessions;
        }
        Ok(sum)
    }

    /// Gives a port its device; the port must be configured. A former device is dropped.
    ///
    /// # Errors
    /// If the device cannot be waited for or shared, or [`WorkerError::Gone`].
    pub fn attach(&self, port: PortId, device: Box<dyn PortIo>) -> Result<(), WorkerError> {
        self.attach_each(port, device, OnAttach::Keep)
    }

    /// Gives a port its device and sets it up in one step: frames that wait in the device, or all
    /// of a capture file, do not find the port still down.
    ///
    /// # Errors
    /// As of [`Dataplane::attach`], or if there is no such port.
    pub fn attach_up(&self, port: PortId, device: Box<dyn PortIo>) -> Result<(), WorkerError> {
        self.attach_each(port, device, OnAttach::SetUp)
    }

    fn attach_each(
        &self,
        port: PortId,
        mut device: Box<dyn PortIo>,
        then: OnAttach,
    ) -> Result<(), WorkerError> {
        let mut others = device.take_queues();
        others.truncate(self.workers.len().saturating_sub(1));
        while others.len() + 1 < self.workers.len() {
            others.push(device.sender().map_err(WorkerError::Register)?);
        }
        // Who reads comes last: what it hands over, the others can send.
        let rest = self.workers.iter().skip(1);
        for (worker, device) in rest.zip(others) {
            worker.attach(port, device, then)?;
        }
        self.workers
            .first()
            .map_or(Err(WorkerError::Gone), |first| first.attach(port, device, then))
    }

    /// Takes a port's device away.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn detach(&self, port: PortId) -> Result<Option<Box<dyn PortIo>>, WorkerError> {
        let mut first = None;
        for worker in &self.workers {
            let device = worker.detach(port)?;
            first = first.or(device);
        }
        Ok(first)
    }

    /// Reads what all engines have alike, or what only the first has, between two bursts. Losses
    /// in the kernel are fetched first, so counters are complete.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn query<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Engine, Instant) -> R + Send + 'static,
    ) -> Result<R, WorkerError> {
        let first = self.workers.first().ok_or(WorkerError::Gone)?;
        first.ask(read)?.recv().map_err(|_| WorkerError::Gone)
    }

    /// Reads something of every engine, each between two of its bursts.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn query_each<R: Send + 'static>(
        &self,
        read: impl Fn(&mut Engine, Instant) -> R + Clone + Send + 'static,
    ) -> Result<Vec<R>, WorkerError> {
        let asked = self.workers.iter().map(|worker| worker.ask(read.clone()));
        let asked: Vec<Receiver<R>> = asked.collect::<Result<_, _>>()?;
        asked.into_iter().map(|answer| answer.recv().map_err(|_| WorkerError::Gone)).collect()
    }

    /// Sets or removes the watchers of frames: `make` gives each engine one.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn observe(&self, make: impl Fn() -> Option<Box<dyn Observer>>) -> Result<(), WorkerError> {
        for worker in &self.workers {
            let observer = make();
            let done = worker.ask(move |engine, _| engine.set_observer(observer))?;
            done.recv().map_err(|_| WorkerError::Gone)?;
        }
        Ok(())
    }

    /// Requests of DHCP clients.
    pub const fn dhcp(&self) -> &Receiver<DhcpRequest> {
        &self.dhcp
    }

    /// Says whom hosts' questions about names go to that are nobody's here.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn set_resolver(&self, ask: &AskResolver) -> Result<(), WorkerError> {
        self.workers.iter().try_for_each(|worker| worker.set_resolver(ask.clone()))
    }

    /// Answers such a question, without waiting.
    ///
    /// # Errors
    /// [`WorkerError::Gone`].
    pub fn answer_name(
        &self,
        worker: WorkerId,
        to: NameAsker,
        message: Vec<u8>,
    ) -> Result<(), WorkerError> {
        let worker = self.workers.get(worker.index()).ok_or(WorkerError::Gone)?;
        worker.tell(Command::AnswerName(to, message))
    }

    /// What the workers have to tell.
    pub const fn events(&self) -> &Receiver<WorkerEvent> {
        &self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineConfig, NetworkSpec, PortSpec};
    use crate::id::NetworkId;
    use crate::io::Clock;
    use crate::io::{ReceiveError, WireEnd, wire};
    use crate::packet::MacAddr;
    use crate::switch::PortRole;
    use crate::testkit::build;
    use std::net::Ipv4Addr;
    use std::time::Duration;

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
    fn what_was_handed_over_is_not_handed_over_again_by_a_pass_without_frames() {
        use crate::engine::Share;
        use crate::nat::{Endpoint, Publish};
        use crate::testkit::Lab;
        let config = EngineConfig::with_sessions(64);
        let engines =
            Share::of(2).into_iter().map(|share| Engine::with_share(config, 1, Clock.now(), share));
        let crew = Dataplane::spawn_crew(engines.collect(), DataplaneSettings::default()).unwrap();
        let (network, port) = (NetworkId(0), PortId(0));
        let own = Ipv4Addr::new(10, 0, 0, 1);
        crew.apply(Command::AddNetwork(network, Lab::network_spec("n", own, 24))).unwrap();
        let spec = PortSpec {
            name: "p".to_owned(),
            network,
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: true,
        };
        crew.apply(Command::AddPort(port, spec)).unwrap();
        let target = Endpoint::new(Ipv4Addr::new(10, 0, 0, 2), 53);
        let publish = Publish { protocol: 17, address: None, port: 53, count: 1, network, target };
        crew.apply(Command::Publish(publish)).unwrap();
        let (near, mut far) = wire().unwrap();
        crew.attach(port, Box::new(near)).unwrap();
        let ip = Ipv4Addr::new(10, 0, 0, 9);
        let hop = build::Hop::new(MacAddr::from_ipv4(ip), MacAddr::from_ipv4(own));
        // Later fragments wait where they meet, and are handed on from there.
        let whole = build::udp(hop, Endpoint::new(ip, 9), Endpoint::new(own, 53), &[7; 3000]);
        for id in 0..16 {
            for piece in build::fragments(&whole, id, 1400).iter().rev() {
                far.send(piece).unwrap();
            }
        }
        let mut totals = Vec::new();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(2));
            totals = crew.query_each(|engine, _| engine.totals()).unwrap();
        }
        let handed: u64 = totals.iter().map(|totals| totals.handed_over).sum();
        let taken: u64 = totals.iter().map(|totals| totals.taken_over).sum();
        assert!(handed > 0, "{totals:?}");
        assert_eq!(handed, taken, "{totals:?}");
    }

    #[test]
    fn frames_pass_between_wires_and_a_dropped_wire_takes_its_port_down() {
        let engine = Engine::new(EngineConfig::with_sessions(16), 1, Clock.now());
        let worker = Dataplane::spawn(engine, DataplaneSettings::default()).unwrap();
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
                host: None,
                static_macs: Vec::new(),
                role: PortRole::Hosts,
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
