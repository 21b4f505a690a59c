//! Engines in the states to be measured, and the frames they get.

mod vxlan;

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use tapway::engine::{Command, Engine, EngineConfig, Gateway, NetworkSpec, PortSpec, Totals};
use tapway::id::{NetworkId, PortId};
use tapway::nat::{Endpoint, NatMode, NatPolicy};
use tapway::packet::{BURST_FRAMES, Burst, MacAddr, TxLists, array, be16, checksum, put, put16};
use tapway::switch::{FdbLimits, PortRole};
use tapway::testkit::build::{self, Hop};
use tapway::time::Instant;

use super::Frame;

const UPLINK: NetworkId = NetworkId(0);
const INSIDE: NetworkId = NetworkId(1);
const OUT_PORT: PortId = PortId(0);
const IN_PORT: PortId = PortId(1);
const SECOND_IN_PORT: PortId = PortId(2);

const EXTERNAL: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(100, 64, 255, 254);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The first inside host.
const FIRST_HOST: u32 = 0x0a00_0100;
const FAR: Endpoint = Endpoint::new(Ipv4Addr::new(203, 0, 113, 7), 53);
/// External addresses: one has 64 512 ports, a million flows need seventeen at least, and hosts
/// do not spread over them evenly.
const POOL: u32 = 32;
/// UDP ports per inside host.
const PORTS_PER_HOST: usize = 63;
const FIRST_PORT: u16 = 5000;
/// Longer than any session of this benchmark lives, and than its port rests.
const FORGET: Duration = Duration::from_secs(3600);

type MakeFrame = Box<dyn Fn(usize) -> (PortId, Frame)>;

/// An engine, and the frames to feed it with, again and again in the same order.
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// Its time.
    pub now: Instant,
    order: Vec<u32>,
    at: usize,
    frame: MakeFrame,
    /// Sessions after which all must be forgotten, so that each frame makes a new one.
    forget_at: Option<usize>,
    before: Totals,
}

impl World {
    /// Two ports of one network and `macs` stations, half behind each. Each station sends to one
    /// on the other side.
    pub fn switch(macs: usize) -> Self {
        let limits = FdbLimits { total: macs + 64, per_network: macs + 64, per_port: macs + 64 };
        let config = EngineConfig { fdb: limits, ..EngineConfig::with_sessions(1024) };
        let mut world = Self::bare(config, order(macs));
        world.network(INSIDE, None, NatPolicy::default());
        world.port(IN_PORT, INSIDE);
        world.port(SECOND_IN_PORT, INSIDE);
        let half = macs / 2;
        let partners = permutation(half, 0x9e37);
        let template = template(Endpoint::new(Ipv4Addr::from(FIRST_HOST), FIRST_PORT));
        world.frame = Box::new(move |station| {
            let side = station / half;
            let partner = partners.get(station % half).map_or(0, |at| *at as usize);
            let mut frame = template;
            put(&mut frame, 0, &mac(partner + (1 - side) * half).0);
            put(&mut frame, 6, &mac(station).0);
            (if side == 0 { IN_PORT } else { SECOND_IN_PORT }, frame.into())
        });
        world.learn(macs);
        world
    }

    /// Forwarding without translation: `routes` of 24 bits by one next hop, and `flows`
    /// destinations spread over them.
    pub fn route(routes: usize, flows: usize) -> Self {
        let mut world =
            Self::routed(EngineConfig::with_sessions(1024), NatMode::None, order(flows));
        let subnet = |index: usize| Ipv4Addr::from(0x1400_0000 + ((index as u32) << 8));
        for index in 0..routes {
            let destination = Ipv4Net::new(subnet(index), 24).unwrap_or_default();
            world.apply(Command::AddRoute(destination, ROUTER));
        }
        let template = template(host_endpoint(0));
        world.frame = Box::new(move |flow| {
            let index = flow.wrapping_mul(0x9e37_79b1) % routes;
            let mut frame = template;
            readdress(&mut frame, host_endpoint(0), subnet(index));
            (IN_PORT, frame.into())
        });
        world.meet_router();
        world.warm(flows);
        world
    }

    /// `flows` UDP flows of as many inside hosts as it takes, all known. Tells what memory they
    /// took, where that is more than what the process takes anyway.
    pub fn napt(flows: usize) -> Self {
        let mut world = Self::napt_cold(flows);
        world.meet_hosts(flows.div_ceil(PORTS_PER_HOST));
        let before = resident_bytes();
        world.warm(flows);
        let grown = resident_bytes().saturating_sub(before);
        if flows > 10_000 {
            // The answers' direction would take another entry of the flow cache.
            eprintln!("    {} bytes resident per session, one direction seen", grown / flows);
        }
        world
    }

    /// The answers to `flows` UDP flows, to as many inside hosts.
    pub fn napt_back(flows: usize) -> Self {
        let mut world = Self::napt_cold(flows);
        world.meet_hosts(flows.div_ceil(PORTS_PER_HOST));
        let external = world.warm(flows);
        let hop = Hop::new(MacAddr::from_ipv4(ROUTER), MacAddr::from_ipv4(EXTERNAL));
        world.frame = Box::new(move |flow| {
            let to = external.get(flow).copied().unwrap_or(FAR);
            let mut frame = [0; 60];
            put(&mut frame, 0, &build::udp(hop, FAR, to, &[0x5a; 18]));
            (OUT_PORT, frame.into())
        });
        world.warm(flows);
        world
    }

    /// Each frame makes a new session, in a table with room for `sessions`.
    pub fn new_sessions(sessions: usize) -> Self {
        let mut world = Self::napt_cold(sessions);
        world.forget_at = Some(sessions);
        world
    }

    fn napt_cold(flows: usize) -> Self {
        let mut config = EngineConfig::with_sessions(flows + 1024);
        let macs = flows.div_ceil(PORTS_PER_HOST) + 64;
        config.neighbours.total = macs;
        config.fdb = FdbLimits { total: macs, per_network: macs, per_port: macs };
        let mut world = Self::routed(config, NatMode::default(), order(flows));
        let template = template(host_endpoint(0));
        world.frame = Box::new(move |flow| {
            let from = host_endpoint(flow);
            let mut frame = template;
            put(&mut frame, 6, &MacAddr::from_ipv4(from.ip).0);
            readdress(&mut frame, from, FAR.ip);
            (IN_PORT, frame.into())
        });
        world.meet_router();
        world
    }

    fn bare(config: EngineConfig, order: Vec<u32>) -> Self {
        let now = Instant::from_secs(1000);
        Self {
            engine: Engine::new(config, 0x5eed, now),
            now,
            order,
            at: 0,
            frame: Box::new(|_| (IN_PORT, [0; 60].into())),
            forget_at: None,
            before: Totals::default(),
        }
    }

    /// An inside network and the uplink, with a route to everywhere.
    fn routed(config: EngineConfig, mode: NatMode, order: Vec<u32>) -> Self {
        let mut world = Self::bare(config, order);
        world.network(UPLINK, Some(gateway(EXTERNAL, 16, true)), NatPolicy::default());
        world.network(INSIDE, Some(gateway(GATEWAY, 8, false)), NatPolicy::uniform(mode));
        world.port(OUT_PORT, UPLINK);
        world.port(IN_PORT, INSIDE);
        world.apply(Command::AddRoute(Ipv4Net::default(), ROUTER));
        world
    }

    fn network(&mut self, id: NetworkId, gateway: Option<Gateway>, nat: NatPolicy) {
        let mut spec = NetworkSpec::new(&format!("network{}", id.0), gateway);
        spec.is_outside = id == UPLINK;
        spec.nat = nat;
        self.apply(Command::AddNetwork(id, spec));
    }

    fn port(&mut self, id: PortId, network: NetworkId) {
        self.port_as(id, network, PortRole::Hosts);
    }

    fn port_as(&mut self, id: PortId, network: NetworkId, role: PortRole) {
        let spec = PortSpec {
            name: format!("port{}", id.0),
            network,
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role,
            is_up: true,
        };
        self.apply(Command::AddPort(id, spec));
        self.engine.handle_timeout(self.now, &mut TxLists::new());
    }

    fn apply(&mut self, command: Command) {
        let outcome = self.engine.apply(self.now, command);
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    fn meet_router(&mut self) {
        let ask = build::arp_request(MacAddr::from_ipv4(ROUTER), ROUTER, EXTERNAL);
        self.feed(&[(OUT_PORT, ask)]);
        // Its own packets confirm it: the neighbour is not to be probed in the middle.
        let reply = (MacAddr::from_ipv4(EXTERNAL), EXTERNAL);
        self.feed(&[(OUT_PORT, build::arp_reply(MacAddr::from_ipv4(ROUTER), ROUTER, reply))]);
        self.before = self.engine.totals();
    }

    /// Lets every inside host ask for the gateway, so that the way back to it is known too.
    fn meet_hosts(&mut self, hosts: usize) {
        for first in (0..hosts).step_by(BURST_FRAMES) {
            let frames: Vec<_> = (first..hosts.min(first + BURST_FRAMES))
                .map(|host| host_endpoint(host * PORTS_PER_HOST).ip)
                .map(|ip| build::arp_request(MacAddr::from_ipv4(ip), ip, GATEWAY))
                .map(|frame| (IN_PORT, frame))
                .collect();
            self.feed(&frames);
        }
        self.before = self.engine.totals();
    }

    /// Lets every station be heard by an ARP message to the partner, which floods nothing once
    /// the partner is known; the storm limit is kept by letting time pass.
    fn learn(&mut self, macs: usize) {
        for chunk in (0..macs).collect::<Vec<_>>().chunks(BURST_FRAMES) {
            let frames: Vec<_> = chunk
                .iter()
                .map(|station| (self.frame)(*station))
                .map(|(port, frame)| (port, frame.as_ref().to_vec()))
                .collect();
            self.feed(&frames);
        }
        self.before = self.engine.totals();
    }

    /// Sends every frame once; returns the sources that they left with.
    fn warm(&mut self, flows: usize) -> Vec<Endpoint> {
        let indices: Vec<usize> = (0..flows).collect();
        let mut sources = Vec::with_capacity(flows);
        for chunk in indices.chunks(BURST_FRAMES) {
            let frames: Vec<_> = chunk
                .iter()
                .map(|flow| (self.frame)(*flow))
                .map(|(port, frame)| (port, frame.as_ref().to_vec()))
                .collect();
            sources.extend(self.feed(&frames));
        }
        sources
    }

    /// Returns the sources of the packets that leave by the uplink.
    fn feed(&mut self, frames: &[(PortId, Vec<u8>)]) -> Vec<Endpoint> {
        let (mut burst, mut tx) = (Burst::new(), TxLists::new());
        for (port, frame) in frames {
            assert!(burst.push(*port, frame).is_ok(), "the burst is full");
        }
        self.engine.process(self.now, &mut burst, &mut tx);
        self.now = self.now + Duration::from_micros(50);
        let source = |frame: &[u8]| {
            let ip = array::<4>(frame, 26).map(Ipv4Addr::from)?;
            Some(Endpoint::new(ip, be16(frame, 34)?))
        };
        tx.frames(OUT_PORT, &burst).filter_map(|frame| source(frame.bytes)).collect()
    }

    /// Makes room for the sessions of another batch, where each frame is to make one.
    pub fn prepare(&mut self, frames: usize) {
        let (sessions, _) = self.engine.session_usage();
        if self.forget_at.is_none_or(|most| sessions + frames <= most) {
            return;
        }
        let mut tx = TxLists::new();
        self.now = self.now + FORGET;
        while self.engine.session_usage().0 > 0 {
            tx.clear();
            self.engine.handle_timeout(self.now, &mut tx);
        }
        self.at = 0;
        let before = self.before;
        self.meet_router();
        self.before = before;
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> (PortId, Frame) {
        let index = self.order.get(self.at).copied().unwrap_or(0);
        self.at = if self.at + 1 < self.order.len() { self.at + 1 } else { 0 };
        (self.frame)(index as usize)
    }

    /// What was measured must be forwarding, not dropping or flooding.
    pub fn verify(&self) {
        let totals = self.engine.totals();
        let lost = totals.dropped - self.before.dropped;
        let flooded = totals.flooded - self.before.flooded;
        assert_eq!((lost, flooded), (0, 0), "{:?}", self.engine.drop_rows());
    }
}

fn gateway(address: Ipv4Addr, prefix: u8, is_outside: bool) -> Gateway {
    let pool = if is_outside {
        (0..POOL).map(|at| Ipv4Addr::from(u32::from(address) + at)).collect()
    } else {
        Vec::new()
    };
    Gateway {
        mac: MacAddr::from_ipv4(address),
        address: Ipv4Net::new(address, prefix).unwrap_or_default(),
        pool,
        statics: Vec::new(),
        shared: None,
    }
}

fn host_endpoint(flow: usize) -> Endpoint {
    let host = (flow / PORTS_PER_HOST) as u32;
    Endpoint::new(Ipv4Addr::from(FIRST_HOST + host), FIRST_PORT + (flow % PORTS_PER_HOST) as u16)
}

const fn mac(station: usize) -> MacAddr {
    let [_, _, _, _, a, b, c, d] = (station as u64).to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

/// A UDP datagram of 60 bytes to the gateway.
fn template(from: Endpoint) -> [u8; 60] {
    let hop = Hop::new(MacAddr::from_ipv4(from.ip), MacAddr::from_ipv4(GATEWAY));
    let mut frame = [0; 60];
    put(&mut frame, 0, &build::udp(hop, from, FAR, &[0x5a; 18]));
    frame
}

/// Gives a frame of [`template`] for the first host another source and destination.
fn readdress(frame: &mut [u8; 60], from: Endpoint, to: Ipv4Addr) {
    let old = host_endpoint(0);
    let delta = checksum::Delta::NONE.address(old.ip, from.ip).address(FAR.ip, to);
    let l4_delta = delta.word(old.port, from.port);
    let field = |at: usize| be16(frame, at).unwrap_or(0);
    let (header, segment) = (delta.apply(field(24)), l4_delta.apply_udp(field(40)));
    put16(frame, 24, header);
    put(frame, 26, &from.ip.octets());
    put(frame, 30, &to.octets());
    put16(frame, 34, from.port);
    put16(frame, 40, segment);
}

/// What the process has in memory; zero where the system does not tell.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    pages.unwrap_or(0) * 4096
}

/// The order in which flows or stations take turns: none has its neighbour in memory next to it.
fn order(count: usize) -> Vec<u32> {
    permutation(count, 0x5eed)
}

/// The numbers below `count`, shuffled by `seed`.
fn permutation(count: usize, seed: u64) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    let mut state = seed | 1;
    for at in (1..count).rev() {
        // xorshift64: the order only has to be far from sequential.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        numbers.swap(at, (state % (at as u64 + 1)) as usize);
    }
    numbers
}
