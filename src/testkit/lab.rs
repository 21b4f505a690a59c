//! A bench for one engine: named ports, a virtual clock, frames in and frames out.
//!
//! The standard lab is the tutorial's Docker host: an uplink 192.168.33.10/24 with the gateway
//! 192.168.33.1, and a network `bridge` 172.17.0.0/16 with the gateway 172.17.0.1.
//!
//! Every lab runs two engines: what is sent to the first goes to its twin with the transport
//! checksums left to be done, as a host on the same kernel would send it. Both must say the same,
//! frame by frame, once what is left has been done; so every scenario is one of offloads, too.
//! Beside them two workers share the same work, frames arriving at either in turn, and must send
//! the same to the same ports, up to what they choose freely: identifications and external ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::Crew;
use crate::drop_reason::DropReason;
use crate::engine::{
    Command, CommandError, Engine, EngineConfig, Gateway, NetworkSpec, PortSpec, Reply, Restored,
    Snapshot, SnapshotError, Totals,
};
use crate::id::{NetworkId, PortId, WorkerId};
use crate::nat::{Endpoint, Publish};
use crate::packet::vxlan::for_each_outer;
use crate::packet::{Arp, ArpOperation, Burst, FrameView, MacAddr, Offload, TxLists};
use crate::switch::PortRole;
use crate::time::Instant;

/// The uplink's network in a [`Lab`].
pub const UPLINK: NetworkId = NetworkId(0);
/// The network `bridge` in a [`Lab`].
pub const BRIDGE: NetworkId = NetworkId(1);

/// A host on the bench: the far side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabPort {
    /// Its port.
    pub port: PortId,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its address.
    pub ip: Ipv4Addr,
    /// The MAC of tapway in its network.
    pub gateway: MacAddr,
}

/// A frame to send, by its port.
type Sent = (PortId, Vec<u8>, Offload);

/// The bench.
#[derive(Debug)]
pub struct Lab {
    /// The engine.
    pub engine: Engine,
    twin: Engine,
    crew: Option<Crew>,
    turn: u8,
    now: Instant,
    burst: Burst,
    tx: TxLists,
    next_port: u16,
    /// Ports of whole encapsulated frames: what is left to be done there is about what is inside.
    underlays: BTreeSet<PortId>,
    /// Everything the engine sent since the start, for comparing runs.
    pub log: Vec<(PortId, Vec<u8>)>,
}

impl LabPort {
    /// The hop to tapway.
    pub const fn to_gateway(&self) -> super::build::Hop {
        super::build::Hop::new(self.mac, self.gateway)
    }

    /// The hop to another host of the network.
    pub const fn to(&self, other: &Self) -> super::build::Hop {
        super::build::Hop::new(self.mac, other.mac)
    }

    /// An endpoint of this host.
    pub const fn at(&self, port: u16) -> Endpoint {
        Endpoint::new(self.ip, port)
    }
}

impl Lab {
    /// tapway's own address on the uplink.
    pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 10);
    /// The router outside.
    pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 1);
    /// tapway's own address on `bridge`.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

    /// An engine without networks.
    pub fn bare(config: EngineConfig) -> Self {
        let now = Instant::from_secs(1000);
        Self {
            engine: Engine::new(config, 0x5eed, now),
            twin: Engine::new(config, 0x5eed, now),
            crew: Some(Crew::new(2, config, 0x5eed, now)),
            turn: 0,
            now,
            burst: Burst::new(),
            tx: TxLists::new(),
            next_port: 0,
            underlays: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    /// The standard lab.
    pub fn new() -> Self {
        Self::with(EngineConfig::with_sessions(1024), |_| {})
    }

    /// The standard lab with another configuration, its inside network changed by `change`.
    pub fn with(config: EngineConfig, change: impl FnOnce(&mut NetworkSpec)) -> Self {
        let mut lab = Self::bare(config);
        let mut uplink = Self::network_spec("uplink", Self::EXTERNAL, 24);
        uplink.is_outside = true;
        let mut bridge = Self::network_spec("bridge", Self::GATEWAY, 16);
        change(&mut bridge);
        lab.must(Command::AddNetwork(UPLINK, uplink));
        lab.must(Command::AddNetwork(BRIDGE, bridge));
        lab.must(Command::AddRoute(Ipv4Net::default(), Self::ROUTER));
        lab
    }

    /// A network with a gateway.
    pub fn network_spec(name: &str, address: Ipv4Addr, prefix: u8) -> NetworkSpec {
        let address = Ipv4Net::new(address, prefix).unwrap_or_default();
        let mac = MacAddr::from_ipv4(address.addr());
        NetworkSpec::new(
            name,
            Some(Gateway { mac, address, pool: Vec::new(), statics: Vec::new(), shared: None }),
        )
    }

    /// Applies a command.
    ///
    /// # Errors
    /// The engine's refusal.
    pub fn apply(&mut self, command: Command) -> Result<Reply, CommandError> {
        let outcome = self.engine.apply(self.now, command.clone());
        assert_eq!(self.twin.apply(self.now, command.clone()), outcome, "the twin differs");
        if let Some(crew) = &mut self.crew {
            assert_eq!(crew.apply(self.now, &command), outcome, "the crew differs");
        }
        outcome
    }

    /// Goes on without several workers beside: for scenarios about bounds that each worker has of
    /// its own, or whose answers go to ports that several workers choose otherwise.
    pub fn alone(&mut self) {
        self.crew = None;
    }

    /// Takes a snapshot back.
    ///
    /// # Errors
    /// The engine's refusal.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<Restored, SnapshotError> {
        let outcome = self.engine.restore(self.now, snapshot);
        self.crew = None;
        assert_eq!(self.twin.restore(self.now, snapshot).is_ok(), outcome.is_ok());
        outcome
    }

    /// Applies a command that the test takes for granted; a refusal shows as missing effect and
    /// in the log of the test.
    pub fn must(&mut self, command: Command) -> Reply {
        let text = format!("{command:?}");
        match self.apply(command) {
            Ok(reply) => reply,
            Err(error) => {
                debug_assert!(false, "{text}: {error}");
                Reply::default()
            }
        }
    }

    /// Attaches a host to a network, unguarded, and lets the gateway announce itself.
    pub fn attach(&mut self, network: NetworkId, gateway: Ipv4Addr, ip: Ipv4Addr) -> LabPort {
        let spec = PortSpec {
            name: format!("host-{ip}"),
            network,
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: true,
        };
        self.attach_with(spec, gateway, ip)
    }

    /// Attaches a host by a port of any kind.
    pub fn attach_with(&mut self, spec: PortSpec, gateway: Ipv4Addr, ip: Ipv4Addr) -> LabPort {
        let port = PortId(self.next_port);
        self.next_port += 1;
        if spec.role == PortRole::Underlay {
            self.underlays.insert(port);
        }
        self.must(Command::AddPort(port, spec));
        self.advance(Duration::ZERO);
        LabPort { port, mac: MacAddr::from_ipv4(ip), ip, gateway: MacAddr::from_ipv4(gateway) }
    }

    /// A host on `bridge`.
    pub fn inside(&mut self, last: u8) -> LabPort {
        self.attach(BRIDGE, Self::GATEWAY, Ipv4Addr::new(172, 17, 0, last))
    }

    /// The router on the uplink, known to tapway as a neighbour.
    pub fn router(&mut self) -> LabPort {
        let router = self.attach(UPLINK, Self::EXTERNAL, Self::ROUTER);
        self.introduce(&router, Self::EXTERNAL);
        router
    }

    /// Lets a host ask for its gateway, so that tapway knows both its port and its address.
    pub fn introduce(&mut self, host: &LabPort, gateway: Ipv4Addr) {
        self.send(host, &super::build::arp_request(host.mac, host.ip, gateway));
    }

    /// A host on `bridge` that tapway knows.
    pub fn known_inside(&mut self, last: u8) -> LabPort {
        let host = self.inside(last);
        self.introduce(&host, Self::GATEWAY);
        host
    }

    /// Publishes a port of a host on `bridge` on every address of tapway.
    pub fn publish(&mut self, protocol: u8, port: u16, target: Endpoint) -> Publish {
        let publish = Publish { protocol, address: None, port, count: 1, network: BRIDGE, target };
        self.must(Command::Publish(publish));
        publish
    }

    /// Sends one frame; gives back what came out, by port.
    pub fn send(&mut self, from: &LabPort, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.send_all(&[(from.port, frame.to_vec())])
    }

    /// Sends one frame as its sender's kernel left it; gives back what came out, finished.
    pub fn send_view(&mut self, from: &LabPort, frame: FrameView<'_>) -> Vec<(PortId, Vec<u8>)> {
        let frame = (from.port, frame.bytes.to_vec(), frame.offload);
        self.pass(std::slice::from_ref(&frame), std::slice::from_ref(&frame))
    }

    /// Sends frames as one burst; gives back what came out.
    pub fn send_all(&mut self, frames: &[(PortId, Vec<u8>)]) -> Vec<(PortId, Vec<u8>)> {
        let finished: Vec<_> =
            frames.iter().map(|(port, frame)| (*port, frame.clone(), Offload::NONE)).collect();
        let unfinished: Vec<_> = frames
            .iter()
            .map(|(port, frame)| {
                let (frame, offload) = match self.underlays.contains(port) {
                    true => super::build::unfinished_inside(frame),
                    false => super::build::unfinished(frame),
                };
                (*port, frame, offload)
            })
            .collect();
        self.pass(&finished, &unfinished)
    }

    /// One burst for the engine, and one for its twin.
    fn pass(&mut self, frames: &[Sent], for_twin: &[Sent]) -> Vec<(PortId, Vec<u8>)> {
        self.fill(frames);
        self.engine.process(self.now, &mut self.burst, &mut self.tx);
        let out = self.collect();
        self.fill(for_twin);
        self.twin.process(self.now, &mut self.burst, &mut self.tx);
        self.compare(&out);
        self.turn = self.turn.wrapping_add(1);
        if let Some(crew) = &mut self.crew {
            let of_crew = crew.receive(self.now, WorkerId(self.turn), frames);
            compare_outlines(&out, &of_crew);
        }
        out
    }

    fn fill(&mut self, frames: &[Sent]) {
        self.burst.clear();
        self.tx.clear();
        for (port, bytes, offload) in frames {
            let view = FrameView { bytes, offload: *offload };
            assert!(self.burst.push_view(*port, view).is_ok(), "burst too large");
        }
    }

    /// Does what is due now; gives back what came out.
    pub fn run_timers(&mut self) -> Vec<(PortId, Vec<u8>)> {
        self.burst.clear();
        self.tx.clear();
        self.engine.handle_timeout(self.now, &mut self.tx);
        let out = self.collect();
        self.tx.clear();
        self.twin.handle_timeout(self.now, &mut self.tx);
        self.compare(&out);
        if let Some(crew) = &mut self.crew {
            let of_crew = crew.handle_timeout(self.now);
            compare_outlines(&out, &of_crew);
        }
        out
    }

    /// Lets time pass, in steps of at most a tenth of a second as timers want; gives back what
    /// came out.
    pub fn advance(&mut self, by: Duration) -> Vec<(PortId, Vec<u8>)> {
        let end = self.now + by;
        let mut out = Vec::new();
        loop {
            out.extend(self.run_timers());
            match self.engine.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at).min(end);
                    if at <= self.now && self.now == end {
                        out.extend(self.run_timers());
                        break;
                    }
                }
                _ => break,
            }
        }
        self.now = end;
        out
    }

    /// Tells the engines what the way to a VTEP takes.
    pub fn lower_path_mtu(&mut self, peer: Ipv4Addr, mtu: u16) {
        self.engine.lower_path_mtu(self.now, peer, mtu);
        self.twin.lower_path_mtu(self.now, peer, mtu);
        if let Some(crew) = &mut self.crew {
            crew.lower_path_mtu(self.now, peer, mtu);
        }
    }

    /// The present time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Frames of one port out of a result.
    pub fn to(out: &[(PortId, Vec<u8>)], host: &LabPort) -> Vec<Vec<u8>> {
        out.iter().filter(|(port, _)| *port == host.port).map(|(_, frame)| frame.clone()).collect()
    }

    /// The target addresses of the ARP requests in a result.
    pub fn arp_targets(out: &[(PortId, Vec<u8>)]) -> Vec<Ipv4Addr> {
        out.iter()
            .filter(|(_, frame)| frame.get(12..14) == Some(&[8, 6]))
            .filter_map(|(_, frame)| Arp::parse(frame.get(14..)?).ok())
            .filter(|arp| arp.operation == ArpOperation::Request)
            .map(|arp| arp.target_ip)
            .collect()
    }

    /// Drop counters by name, summed over ports.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for row in self.engine.drop_rows() {
            *sums.entry(row.reason).or_default() += row.frames;
        }
        sums
    }

    /// The count of one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops().get(reason.name()).copied().unwrap_or(0)
    }

    /// True if every received frame has an outcome.
    pub fn is_balanced(&self) -> bool {
        let Totals { received, forwarded, flooded, local, dropped, waiting, .. } =
            self.engine.totals();
        received == forwarded + flooded + local + dropped + waiting
    }

    fn collect(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let out = self.finished();
        self.log.extend(out.iter().cloned());
        out
    }

    fn compare(&self, out: &[(PortId, Vec<u8>)]) {
        assert_eq!(self.finished(), out, "the twin says something else");
        assert_eq!(self.twin.totals(), self.engine.totals());
        assert_eq!(self.twin.poll_timeout(), self.engine.poll_timeout());
    }

    /// What was sent, with all done that was left to be done.
    fn finished(&self) -> Vec<(PortId, Vec<u8>)> {
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        for port in self.tx.ports() {
            for frame in self.tx.frames(*port, &self.burst) {
                if self.underlays.contains(port) {
                    for_each_outer(frame, |frame| out.push((*port, frame.to_vec())));
                    continue;
                }
                frame.for_each_segment(&mut scratch, |frame| out.push((*port, frame.to_vec())));
            }
        }
        out
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

fn compare_outlines(one: &[(PortId, Vec<u8>)], several: &[(PortId, Vec<u8>)]) {
    let outlines = |frames: &[(PortId, Vec<u8>)]| {
        let mut all: Vec<_> = frames
            .iter()
            .map(|(port, frame)| {
                let head = frame.get(..14).map(<[u8]>::to_vec);
                let addresses = frame.get(26..34).map(<[u8]>::to_vec);
                (*port, frame.len(), head, addresses)
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(outlines(one), outlines(several), "several workers do something else");
}
