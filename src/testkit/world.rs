//! A world in memory: engines and smoltcp hosts, wires between them, and a clock of its own.
//!
//! Time passes only from event to event, so minutes of traffic take milliseconds, and the same
//! seed gives the same frames in the same order. Wires delay, lose, duplicate and reorder.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use super::host::{HostSpec, SimHost};
use crate::engine::Engine;
use crate::id::PortId;
use crate::nat::Random;
use crate::packet::{Burst, TxLists};
use crate::time::Instant;

/// The shortest step of the clock, and the shortest delay of a wire: without one, an echo
/// between two nodes would never let time pass.
pub const TICK: Duration = Duration::from_micros(1);

/// An engine of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId(usize);

/// A host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(usize);

/// Where a wire ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plug {
    /// A port of an engine.
    Engine(EngineId, PortId),
    /// The interface of a host.
    Host(HostId),
}

/// What a wire does to frames, in each direction. Chances are per thousand frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireQuality {
    /// Time on the wire; at least [`TICK`].
    pub delay: Duration,
    /// Frames lost.
    pub loss: u16,
    /// Frames that arrive twice.
    pub duplication: u16,
    /// Frames that are late by up to [`WireQuality::lateness`], so that others overtake them.
    pub reordering: u16,
    /// See [`WireQuality::reordering`].
    pub lateness: Duration,
}

/// What the wires of a world did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Frames put on a wire.
    pub sent: u64,
    /// Lost.
    pub lost: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered late.
    pub late: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Instant,
    number: u64,
    to: Plug,
    frame: Vec<u8>,
}

struct Node {
    engine: Engine,
    inbox: Vec<(PortId, Vec<u8>)>,
}

/// The world.
pub struct World {
    now: Instant,
    random: Random,
    engines: Vec<Node>,
    hosts: Vec<SimHost>,
    wires: BTreeMap<Plug, (Plug, WireQuality)>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    number: u64,
    counts: WireCounts,
    burst: Burst,
    tx: TxLists,
}

impl WireQuality {
    /// A wire that only delays.
    pub const fn perfect(delay: Duration) -> Self {
        Self { delay, loss: 0, duplication: 0, reordering: 0, lateness: Duration::ZERO }
    }
}

impl World {
    /// An empty world.
    pub fn new(seed: u128) -> Self {
        Self {
            now: Instant::from_secs(1000),
            random: Random::new(seed),
            engines: Vec::new(),
            hosts: Vec::new(),
            wires: BTreeMap::new(),
            arrivals: BinaryHeap::new(),
            number: 0,
            counts: WireCounts::default(),
            burst: Burst::new(),
            tx: TxLists::new(),
        }
    }

    /// The present time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Adds an engine, made with [`World::now`].
    pub fn add_engine(&mut self, engine: Engine) -> EngineId {
        self.engines.push(Node { engine, inbox: Vec::new() });
        EngineId(self.engines.len() - 1)
    }

    /// Adds a host.
    pub fn add_host(&mut self, spec: &HostSpec) -> HostId {
        self.hosts.push(SimHost::new(spec, self.random.next_u64(), self.now));
        HostId(self.hosts.len() - 1)
    }

    /// Puts a wire between two plugs; a plug's former wire is gone.
    pub fn connect(&mut self, a: Plug, b: Plug, quality: WireQuality) {
        for plug in [a, b] {
            if let Some((far, _)) = self.wires.remove(&plug) {
                self.wires.remove(&far);
            }
        }
        self.wires.insert(a, (b, quality));
        self.wires.insert(b, (a, quality));
    }

    /// An engine; none if the id is of another world.
    pub fn engine(&mut self, id: EngineId) -> Option<&mut Engine> {
        self.engines.get_mut(id.0).map(|node| &mut node.engine)
    }

    /// A host; none if the id is of another world.
    pub fn host(&mut self, id: HostId) -> Option<&mut SimHost> {
        self.hosts.get_mut(id.0)
    }

    /// What the wires did.
    pub const fn counts(&self) -> WireCounts {
        self.counts
    }

    /// Lets time pass until `done` says so or `limit` is over; true if `done` did.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            match self.next_event() {
                Some(at) if at <= end => self.now = at,
                _ => {
                    self.now = end;
                    return false;
                }
            }
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Everything that happens now.
    fn settle(&mut self) {
        while let Some(Reverse(next)) = self.arrivals.peek()
            && next.at <= self.now
        {
            if let Some(Reverse(arrival)) = self.arrivals.pop() {
                self.deliver(arrival);
            }
        }
        for engine in 0..self.engines.len() {
            self.run_engine(EngineId(engine));
        }
        for host in 0..self.hosts.len() {
            self.run_host(HostId(host));
        }
    }

    fn deliver(&mut self, arrival: Arrival) {
        match arrival.to {
            Plug::Engine(id, port) => {
                if let Some(node) = self.engines.get_mut(id.0) {
                    node.inbox.push((port, arrival.frame));
                }
            }
            Plug::Host(id) => {
                if let Some(host) = self.hosts.get_mut(id.0) {
                    host.receive(arrival.frame);
                }
            }
        }
    }

    fn run_engine(&mut self, id: EngineId) {
        let Some(node) = self.engines.get_mut(id.0) else { return };
        let mut out = Vec::new();
        let mut frames = std::mem::take(&mut node.inbox).into_iter().peekable();
        while frames.peek().is_some() {
            self.burst.clear();
            self.tx.clear();
            while let Some((port, frame)) = frames.peek() {
                if self.burst.push(*port, frame).is_err() {
                    break;
                }
                frames.next();
            }
            if self.burst.is_empty() {
                // Larger than a whole burst: no wire carries it.
                frames.next();
                continue;
            }
            node.engine.process(self.now, &mut self.burst, &mut self.tx);
            collect(&self.tx, &self.burst, &mut out);
        }
        if node.engine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.burst.clear();
            self.tx.clear();
            node.engine.handle_timeout(self.now, &mut self.tx);
            collect(&self.tx, &self.burst, &mut out);
        }
        for (port, frame) in out {
            self.transmit(Plug::Engine(id, port), frame);
        }
    }

    fn run_host(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(id.0) else { return };
        host.poll(self.now);
        let frames: Vec<Vec<u8>> = host.take_frames().collect();
        for frame in frames {
            self.transmit(Plug::Host(id), frame);
        }
    }

    /// Puts a frame on the wire of a plug; without a wire it is gone.
    fn transmit(&mut self, from: Plug, frame: Vec<u8>) {
        let Some((to, quality)) = self.wires.get(&from).copied() else { return };
        self.counts.sent += 1;
        if self.happens(quality.loss) {
            self.counts.lost += 1;
            return;
        }
        if self.happens(quality.duplication) {
            self.counts.duplicated += 1;
            self.arrive(to, quality, frame.clone());
        }
        self.arrive(to, quality, frame);
    }

    fn arrive(&mut self, to: Plug, quality: WireQuality, frame: Vec<u8>) {
        let mut delay = quality.delay.max(TICK);
        let lateness = u64::try_from(quality.lateness.as_nanos()).unwrap_or(u64::MAX);
        if lateness > 0 && self.happens(quality.reordering) {
            self.counts.late += 1;
            delay += Duration::from_nanos(self.random.next_u64() % lateness);
        }
        self.number += 1;
        let arrival = Arrival { at: self.now + delay, number: self.number, to, frame };
        self.arrivals.push(Reverse(arrival));
    }

    fn happens(&mut self, per_thousand: u16) -> bool {
        per_thousand > 0 && self.random.next_u64() % 1000 < u64::from(per_thousand)
    }

    fn next_event(&mut self) -> Option<Instant> {
        let arrival = self.arrivals.peek().map(|Reverse(arrival)| arrival.at);
        let engines = self.engines.iter().filter_map(|node| node.engine.poll_timeout());
        let now = self.now;
        let hosts = self.hosts.iter_mut().filter_map(|host| host.poll_at(now));
        let at = arrival.into_iter().chain(engines).chain(hosts).min()?;
        Some(at.max(now + TICK))
    }
}

fn collect(tx: &TxLists, burst: &Burst, out: &mut Vec<(PortId, Vec<u8>)>) {
    for port in tx.ports() {
        out.extend(tx.frames(*port, burst).map(|frame| (*port, frame.bytes.to_vec())));
    }
}
