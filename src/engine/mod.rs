//! The sans-I/O core: (state, now, frames in) -> frames out.
//!
//! No syscall, no clock, no thread, no lock. The same commands, times, frames and seed give the
//! same bytes. A frame walks through these files:
//!
//! * `stages`: the burst in stages (parse and hash all, ask for memory, act),
//! * `bridging`, `pipeline`: the bridge, and what enters the router,
//! * `replay`: a packet of a known flow,
//! * `slow_path`, `plan`, `emit`: a packet without a cached flow: session or published port, policy,
//!   route, neighbour, new session, and the [`Rewrite`](crate::nat::Rewrite) that later packets
//!   replay,
//! * `fragments`, `icmp_errors`: packets that have no flow,
//! * `stand_in`: ARP across tunnels,
//! * `answer`: ARP, echo, refusals and ICMP errors that tapway sends itself,
//! * `encapsulate`, `decapsulate`, `overlay`: VXLAN,
//! * `ports`: hosts come and go with their ports,
//! * `dhcp`: requests for control's DHCP server,
//! * `names`: DNS at the gateways,
//! * `outcome`: the lists of the ports, the counters.
//!
//! Every frame has one outcome and is counted under it, so received = forwarded + flooded +
//! local + dropped + waiting, see [`Totals`].
#![warn(clippy::indexing_slicing)]

mod adjacency;
mod answer;
mod apply;
mod bridging;
mod command;
mod config;
mod decapsulate;
mod departed;
mod dhcp;
mod emit;
mod encapsulate;
mod event;
mod flow_cache;
mod fragments;
mod icmp_errors;
mod looping;
mod names;
mod notice;
mod observer;
mod outcome;
mod overlay;
mod ownership;
mod pipeline;
mod plan;
mod ports;
mod replay;
mod restore;
mod shared;
mod slow_path;
mod snapshot;
mod stages;
mod stand_in;
mod stats;
mod view;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::local::dhcp::DhcpRequest;
use crate::nat::{Fragments, Nat, NatPolicy, Random};
use crate::packet::{Burst, FrameView, Headers, Offload, Origin, TxLists};
use crate::route::{Fib, IcmpLimiter, Interfaces, NeighbourEvent, Neighbours};
use crate::switch::{Bridge, Fdb, Guard, Port, PortRole};
use crate::table::{KeyHash, TokenBucket};
use crate::time::Instant;

use adjacency::Adjacencies;
use departed::Departed;
use flow_cache::FlowCache;
use names::Names;
use overlay::Overlay;
use stages::Staging;

pub use crate::nat::Share;
pub use command::{
    Command, CommandError, Gateway, NetworkSpec, PortSpec, Reply, Underlay, Vtep, VxlanSpec,
};
pub use config::EngineConfig;
pub use event::Event;
pub use names::{NameAsker, NameQuery};
pub use notice::{Audience, Notice};
pub use observer::{Observer, Tier};
pub use snapshot::{Restored, SNAPSHOT_VERSION, Snapshot, SnapshotError};
pub use stats::{DropRow, PortStats, Totals};
pub use view::{
    FdbRow, NatNetworkRow, NatView, NeighbourRow, PublishRow, RouteRow, SessionRow, StaticNatRow,
    UplinkRow,
};

/// Ports to which the gateway is announced in one pass; the others come in the next.
const ANNOUNCEMENTS_PER_PASS: usize = 128;
/// Events that wait to be polled; the oldest goes.
const MAX_EVENTS: usize = 1024;
/// Events of one kind told per second, and at once.
const EVENTS_PER_SECOND: u32 = 1;
const EVENT_BURST: u32 = 8;

/// A network as the engine holds it.
#[derive(Debug)]
struct Network {
    bridge: Bridge,
    nat: NatPolicy,
    icc: bool,
    is_internal: bool,
    open_port: Option<PortId>,
    serves_dhcp: bool,
    vxlan: Option<VxlanSpec>,
}

impl Network {
    /// True if a port of it may not talk to others that may not.
    fn isolates(&self, port: PortId) -> bool {
        !self.icc && self.open_port != Some(port)
    }
}

/// One worker's dataplane: bridge, neighbours, routes, NAPT.
pub struct Engine {
    ports: Vec<Option<Port>>,
    networks: Vec<Option<Network>>,
    fdb: Fdb,
    interfaces: Interfaces,
    fib: Fib,
    neighbours: Neighbours,
    icmp_limiter: IcmpLimiter,
    nat: Nat,
    fragments: Fragments,
    adjacencies: Adjacencies,
    flows: FlowCache,
    epoch: u32,
    totals: Totals,
    staging: Staging,
    announce: Vec<PortId>,
    share: Share,
    /// Secret, and the same in all engines of a switch.
    owner_hash: KeyHash,
    notices: VecDeque<(Audience, Notice)>,
    events: VecDeque<Event>,
    dhcp_requests: VecDeque<DhcpRequest>,
    /// Frames of control for a port.
    outgoing: VecDeque<(PortId, Bytes)>,
    departed: Departed,
    /// Hosts to announce in their networks, and their ports.
    introductions: VecDeque<(PortId, Guard)>,
    names: Names,
    overlay: Overlay,
    /// By kind: a flood of one kind hides none of another.
    event_limits: [TokenBucket; Event::KINDS],
    observer: Option<Box<dyn Observer>>,
}

/// The buffers of one pass.
struct Pass<'a> {
    now: Instant,
    burst: &'a mut Burst,
    tx: &'a mut TxLists,
}

impl Engine {
    /// An engine without networks and ports. `seed` must be secret: hashing and the choice of
    /// external ports hang on it.
    pub fn new(config: EngineConfig, seed: u128, now: Instant) -> Self {
        Self::with_share(config, seed, now, Share::sole())
    }

    /// One of several engines that carry a switch together: all get the same `seed` and the same
    /// commands, each the frames of its worker, what others hand over to it
    /// ([`TxLists::handed`]) and their notices ([`Engine::poll_notice`]).
    pub fn with_share(config: EngineConfig, seed: u128, now: Instant, share: Share) -> Self {
        let mut random = Random::new(seed);
        // The sixth number: which worker owns a host hangs on it, and a scenario on that.
        let owner_seed = {
            let mut random = random.clone();
            (0..6).map(|_| random.next_u64()).last().unwrap_or_default()
        };
        Self {
            ports: Vec::new(),
            networks: Vec::new(),
            fdb: Fdb::new(config.fdb, config.fdb_ageing, random.next_u64()),
            interfaces: Interfaces::default(),
            fib: Fib::default(),
            neighbours: Neighbours::new(config.neighbours, random.next_u64(), now),
            icmp_limiter: IcmpLimiter::new(config.icmp, random.next_u64(), now),
            nat: Nat::new(
                config.nat,
                KeyHash::new(random.next_u64()).hash(seed).into(),
                now,
                share.clone(),
            ),
            fragments: Fragments::new(now),
            adjacencies: Adjacencies::default(),
            flows: FlowCache::new(config.flows),
            epoch: 0,
            totals: Totals::default(),
            staging: Staging::new(),
            announce: Vec::new(),
            share,
            owner_hash: KeyHash::new(owner_seed),
            notices: VecDeque::new(),
            events: VecDeque::new(),
            dhcp_requests: VecDeque::new(),
            outgoing: VecDeque::new(),
            departed: Departed::default(),
            introductions: VecDeque::new(),
            names: Names::new(random.next_u64(), now),
            overlay: Overlay::new(random.next_u64()),
            event_limits: [TokenBucket::new(EVENTS_PER_SECOND, EVENT_BURST, now); Event::KINDS],
            observer: None,
        }
    }

    /// Takes a burst through the dataplane; what leaves is appended to `tx`, which refers to the
    /// frames of `burst`.
    pub fn process(&mut self, now: Instant, burst: &mut Burst, tx: &mut TxLists) {
        if self.observer.is_some() {
            self.observe_received(now, burst);
        }
        let mut pass = Pass { now, burst, tx };
        self.run_stages(&mut pass);
        self.settle(&mut pass);
        if self.observer.is_some() {
            self.observe_sent(&pass);
        }
    }

    /// When [`Engine::handle_timeout`] wants to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // What a command left to do: announcements, frames that waited for what is gone.
        let has_frames = !self.announce.is_empty()
            || !self.introductions.is_empty()
            || !self.outgoing.is_empty();
        if has_frames || self.neighbours.has_events() {
            return Some(Instant::ZERO);
        }
        [
            self.fdb.next_sweep(),
            self.neighbours.next_deadline(),
            self.nat.next_deadline(),
            self.fragments.next_deadline(),
            self.names.next_deadline(),
            self.overlay.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due: ageing, probes, expiry, announcements.
    pub fn handle_timeout(&mut self, now: Instant, tx: &mut TxLists) {
        let mut burst = Burst::empty();
        let mut pass = Pass { now, burst: &mut burst, tx };
        self.fdb.sweep(now);
        self.neighbours.handle_timeout(now);
        self.nat.handle_timeout(now);
        self.fragments.handle_timeout(now);
        self.age_path_mtus(now);
        let now_announced = self.announce.len().min(ANNOUNCEMENTS_PER_PASS);
        let ports: Vec<PortId> = self.announce.drain(..now_announced).collect();
        // Worker 0 announces for all.
        let announces = self.is_arp_worker();
        for port in ports.into_iter().filter(|_| announces) {
            self.announce_gateway(&mut pass, port);
        }
        self.send_introductions(&mut pass);
        self.send_outgoing(&mut pass);
        self.handle_names(&mut pass);
        self.settle(&mut pass);
        self.observe_sent(&pass);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sets or removes the watcher of frames.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.observer = observer;
    }

    /// Counts frames that a port's device lost: they never came in, or were not taken.
    pub fn count_device_drops(&mut self, port: PortId, reason: DropReason, frames: u64) {
        if let Some(port) = self.port_mut(port) {
            port.counters.drop(reason, frames);
        }
    }

    /// Counts a frame that was handed over, and lost on its way to the other worker.
    pub fn lose_handed(&mut self, port: PortId, frames: u64) {
        self.totals.handed_over = self.totals.handed_over.saturating_sub(frames);
        self.totals.dropped += frames;
        match self.port_mut(port) {
            Some(port) => port.counters.drop(DropReason::HandOverQueueFull, frames),
            None => self.totals.unknown_port += frames,
        }
    }

    /// What neighbours and fragments want done after a pass: requests, released and failed
    /// frames. Released frames may wait again; each round makes one hop of progress.
    #[inline(always)]
    fn settle(&mut self, pass: &mut Pass<'_>) {
        if self.neighbours.has_events() || self.fragments.has_expired() {
            self.settle_events(pass);
        }
    }

    #[inline(never)]
    fn settle_events(&mut self, pass: &mut Pass<'_>) {
        while let Some(event) = self.neighbours.poll_event() {
            match event {
                NeighbourEvent::Request { network, ip, to, asked_by } if self.is_arp_worker() => {
                    self.request_neighbour(pass, network, ip, (to, asked_by));
                }
                NeighbourEvent::Request { network, ip, asked_by, .. } => {
                    let asked = Notice::Asked { network, ip, asked_by };
                    self.notify(Audience::One(notice::ARP_WORKER), asked);
                }
                NeighbourEvent::Release(held) => {
                    for held in held {
                        match held.origin {
                            Origin::Encapsulated => self.resume_outer(pass, &held),
                            _ => self.resume(pass, &held),
                        }
                    }
                }
                NeighbourEvent::Failed(held) => {
                    for held in held {
                        self.fail_held(pass, &held);
                    }
                }
                NeighbourEvent::Overflow(held) => {
                    self.drop_held(pass.now, &held, DropReason::HoldQueueFull);
                }
            }
        }
        for expired in self.fragments.take_expired() {
            self.end_fragments(pass, &expired);
        }
    }

    fn tell(&mut self, now: Instant, event: Event) {
        let limit = self.event_limits.get_mut(event.kind());
        if limit.is_some_and(|limit| limit.take(now)) {
            if self.events.len() >= MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }

    fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())?.as_ref()
    }

    fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(id.index())?.as_mut()
    }

    fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.get(id.index())?.as_ref()
    }

    fn report(&mut self, now: Instant, port: PortId, tier: Tier) {
        if let Some(observer) = &mut self.observer {
            observer.reached(now, port, tier);
        }
    }

    fn observe_received(&mut self, now: Instant, burst: &Burst) {
        let Some(observer) = &mut self.observer else { return };
        for index in 0..burst.len() {
            // The worker that received it has shown it.
            let is_received = burst.origin(index) == Origin::Device;
            if let Some(port) = burst.port(index).filter(|_| is_received) {
                let (bytes, offload) = (burst.frame(index), burst.offload(index));
                if offload.is_none() {
                    observer.received(now, port, FrameView::finished(bytes));
                    continue;
                }
                // What the sender's kernel said is not admitted yet: a watcher must not complete
                // what is to be refused.
                let mut copy = bytes.to_vec();
                if self.ports.get(port.index()).and_then(Option::as_ref).is_some_and(is_underlay) {
                    // tapway's own device said it, about what is inside.
                    observer.received(now, port, FrameView { bytes: &copy, offload });
                    continue;
                }
                let admitted =
                    Headers::parse(&copy).and_then(|headers| offload.admit(&headers, &mut copy));
                let offload = admitted.unwrap_or(Offload::NONE);
                observer.received(now, port, FrameView { bytes: &copy, offload });
            }
        }
    }

    #[inline(never)]
    fn observe_sent(&mut self, pass: &Pass<'_>) {
        let Some(observer) = &mut self.observer else { return };
        for port in pass.tx.ports() {
            for frame in pass.tx.frames(*port, pass.burst) {
                observer.sent(pass.now, *port, frame);
            }
        }
    }
}

fn is_underlay(port: &Port) -> bool {
    port.role == PortRole::Underlay
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("totals", &self.totals)
            .field("sessions", &self.nat.usage())
            .field("flows", &self.flows.len())
            .finish_non_exhaustive()
    }
}
