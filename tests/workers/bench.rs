//! The tutorial's host with several workers.

use std::hash::{BuildHasher, Hasher};
use std::net::Ipv4Addr;
use std::time::Duration;

use tapway::engine::NetworkSpec;
use tapway::id::WorkerId;
use tapway::nat::Publish;
use tapway::packet::Offload;
use tapway::testkit::{Crew, build};
use tapway::time::Instant;

use super::support::*;

pub const WORKERS: [usize; 4] = [1, 2, 3, 16];
pub const ROUTER: PortId = PortId(0);

/// The tutorial's host with several workers; frames come in by whichever a hash names.
pub struct Bench {
    pub crew: Crew,
    pub now: Instant,
    pub salt: u64,
    pub hosts: u16,
}

pub fn bench(workers: usize, salt: u64, change: impl FnOnce(&mut NetworkSpec)) -> Bench {
    let now = Instant::from_secs(1000);
    let crew = Crew::new(workers, EngineConfig::with_sessions(4096), 0x5eed, now);
    let mut bench = Bench { crew, now, salt, hosts: 0 };
    let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
    uplink.is_outside = true;
    let mut bridge = Lab::network_spec("bridge", Lab::GATEWAY, 16);
    change(&mut bridge);
    bench.must(Command::AddNetwork(UPLINK, uplink));
    bench.must(Command::AddNetwork(BRIDGE, bridge));
    bench.must(Command::AddRoute("0.0.0.0/0".parse().unwrap(), Lab::ROUTER));
    bench.must(Command::AddPort(ROUTER, PortSpec { network: UPLINK, ..port_spec("router") }));
    let router = router();
    bench.send(&router, &build::arp_request(router.mac, router.ip, Lab::EXTERNAL));
    bench
}

/// Each number of workers, and several ways in which frames come in by them.
pub fn everywhere(scenario: impl Fn(Bench)) {
    everywhere_with(NatMode::default(), scenario);
}

pub fn everywhere_with(mode: NatMode, scenario: impl Fn(Bench)) {
    for workers in WORKERS {
        for salt in 0..6 {
            let policy = NatPolicy::uniform(mode);
            scenario(bench(workers, salt, |bridge| bridge.nat = policy));
        }
    }
}

pub fn router() -> LabPort {
    LabPort {
        port: ROUTER,
        mac: MacAddr::from_ipv4(Lab::ROUTER),
        ip: Lab::ROUTER,
        gateway: MacAddr::from_ipv4(Lab::EXTERNAL),
    }
}

impl Bench {
    pub fn must(&mut self, command: Command) {
        self.crew.apply(self.now, &command).unwrap();
        self.crew.handle_timeout(self.now);
    }

    /// A host on `bridge` that has asked for its gateway.
    pub fn host(&mut self) -> LabPort {
        self.host_with_mtu(1500)
    }

    /// The same behind a port of another MTU.
    pub fn host_with_mtu(&mut self, mtu: u16) -> LabPort {
        self.hosts += 1;
        let [high, low] = (self.hosts + 1).to_be_bytes();
        let ip = Ipv4Addr::new(172, 17, high, low);
        let port = PortId(self.hosts);
        let spec = PortSpec { mtu, ..port_spec(&format!("host{}", self.hosts)) };
        self.must(Command::AddPort(port, spec));
        let host = LabPort {
            port,
            mac: MacAddr::from_ipv4(ip),
            ip,
            gateway: MacAddr::from_ipv4(Lab::GATEWAY),
        };
        self.send(&host, &build::arp_request(host.mac, host.ip, Lab::GATEWAY));
        host
    }

    pub fn publish(&mut self, protocol: u8, port: u16, target: Endpoint) {
        let publish = Publish { protocol, address: None, port, count: 1, network: BRIDGE, target };
        self.must(Command::Publish(publish));
    }

    /// External addresses that are single hosts' own.
    pub fn set_statics(&mut self, statics: &[(Ipv4Addr, Ipv4Addr)]) {
        let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
        uplink.is_outside = true;
        if let Some(gateway) = &mut uplink.gateway {
            gateway.statics = statics.iter().map(|(inside, own)| (BRIDGE, *inside, *own)).collect();
        }
        self.must(Command::AddNetwork(UPLINK, uplink));
    }

    pub fn send(&mut self, from: &LabPort, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let mut hasher = foldhash::fast::FixedState::with_seed(self.salt).build_hasher();
        hasher.write(frame);
        let worker = WorkerId((hasher.finish() % self.crew.len() as u64) as u8);
        let out =
            self.crew.receive(self.now, worker, &[(from.port, frame.to_vec(), Offload::NONE)]);
        self.now = self.now + Duration::from_millis(1);
        out
    }

    pub fn advance(&mut self, by: Duration) -> Vec<(PortId, Vec<u8>)> {
        let out = self.crew.advance(self.now, by);
        self.now = self.now + by;
        out
    }

    /// A datagram of an inside host outside; gives back the endpoint it is seen by there.
    pub fn leave(&mut self, host: &LabPort, sport: u16, to: Endpoint) -> Endpoint {
        let frame = build::udp(host.to_gateway(), host.at(sport), to, b"out");
        only_udp(&self.send(host, &frame), &router()).src
    }

    pub fn assert_balanced(&self) {
        let totals = self.crew.totals();
        let outcomes = totals.forwarded + totals.flooded + totals.local + totals.dropped;
        assert_eq!(totals.received, outcomes + totals.waiting, "{totals:?}");
        assert_eq!(totals.handed_over, totals.taken_over);
    }

    pub fn drops(&self) -> Vec<(String, u64)> {
        self.crew.drop_rows().into_iter().map(|row| (row.reason, row.frames)).collect()
    }
}
