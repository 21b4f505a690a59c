//! Two dataplanes with one network between them, through the sockets of a real underlay.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/vtep.rs"]
mod vtep;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netns::{Name, must, skipped};
use tapway::drop_reason::DropReason;
use tapway::engine::{Command, Engine, EngineConfig, PortSpec, Share, Underlay, Vtep, VxlanSpec};
use tapway::id::{NetworkId, PortId};
use tapway::io::{
    Broker, Clock, Dataplane, DataplaneSettings, LinuxBroker, PortIo, PortPlan, ReceiveError,
    VxlanPlan, WireEnd, WorkerEvent, wire,
};
use tapway::nat::Endpoint;
use tapway::packet::vxlan::VXLAN_PORT;
use tapway::packet::{MacAddr, VNET_HEADER};
use tapway::switch::{PortRole, Tunnel};
use tapway::testkit::build::{self, Hop};
use tapway::testkit::{BRIDGE, Lab};
use vtep::*;

const HOST: PortId = PortId(0);
const UNDERLAY: PortId = PortId(1);
const TUNNEL: PortId = PortId(2);

/// A tapway with one host, and a tunnel to the other one.
struct Side {
    // Before the broker: its devices go first.
    dataplane: Dataplane,
    broker: LinuxBroker,
    host: WireEnd,
    ip: Ipv4Addr,
    mac: MacAddr,
}

impl Side {
    fn new(netns: &Name, (own, peer): (Ipv4Addr, Ipv4Addr), last: u8, workers: u8) -> Self {
        let config = EngineConfig::with_sessions(64);
        let engines = Share::of(workers.into())
            .into_iter()
            .map(|share| Engine::with_share(config, 1, Clock.now(), share))
            .collect();
        let settings = DataplaneSettings { workers, ..DataplaneSettings::default() };
        let dataplane = Dataplane::spawn_crew(engines, settings).unwrap();
        let (near, host) = wire().unwrap();
        let ip = Ipv4Addr::new(172, 17, 0, last);
        let mut side =
            Self { dataplane, broker: LinuxBroker::new(), host, ip, mac: MacAddr::from_ipv4(ip) };
        // Before there is anything to send.
        side.dataplane.attach(HOST, Box::new(near)).unwrap();
        side.set_up(own, peer);
        let sockets = VxlanPlan { queues: workers, ..plan(netns, own) };
        let tunnel = tunnel(netns, peer);
        for (port, plan) in [(UNDERLAY, PortPlan::Vxlan(sockets)), (TUNNEL, tunnel)] {
            let opened = side.broker.open(&format!("port{port}"), &plan).unwrap();
            if let Some(mtu) = opened.mtu {
                side.dataplane.apply(Command::SetPortMtu(port, mtu)).unwrap();
            }
            side.dataplane.attach(port, opened.io).unwrap();
        }
        side
    }

    fn set_up(&self, own: Ipv4Addr, peer: Ipv4Addr) {
        let must = |command| {
            self.dataplane.apply(command).unwrap();
        };
        let mut network = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        let spec = VxlanSpec { vni: vni(), accepts_any: false, carries_tags: false };
        network.vxlan = Some(spec);
        must(Command::AddNetwork(BRIDGE, network));
        let port = |name: &str, network, role| PortSpec {
            name: name.to_owned(),
            network,
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role,
            is_up: true,
        };
        must(Command::AddPort(HOST, port("host", BRIDGE, PortRole::Hosts)));
        let underlay = port("vxlan", NetworkId::NONE, PortRole::Underlay);
        must(Command::AddPort(UNDERLAY, underlay));
        let way = Underlay::Port(UNDERLAY);
        must(Command::SetVtep(Some(Vtep { address: own, port: VXLAN_PORT, underlay: way })));
        let role = PortRole::Tunnel(Tunnel { peer: IpAddr::V4(peer), floods: true });
        must(Command::AddPort(TUNNEL, port("bridge@peer", BRIDGE, role)));
    }

    fn to(&self, other: &Self, len: usize) -> Vec<u8> {
        let (from, to) = (Endpoint::new(self.ip, 1000), Endpoint::new(other.ip, 2000));
        build::udp(Hop::new(self.mac, other.mac), from, to, &payload(len))
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        let mut room = vec![0; VNET_HEADER + self.host.max_frame()];
        match self.host.receive(&mut room) {
            Ok(got) => Some(got.frame_in(&room).bytes.to_vec()),
            Err(ReceiveError::Empty) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The next frame that its host gets for which `is_it`.
    fn receive(&mut self, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let start = Clock.now();
        loop {
            match self.poll() {
                Some(frame) if is_it(&frame) => return frame,
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(Clock.now().since(start) < PATIENCE, "no such frame came: {:?}", self.drops());
        }
    }

    /// By name of the port, what was lost there.
    fn drops(&self) -> Vec<(String, String, u64)> {
        let rows = self.dataplane.query_each(|engine, _| engine.drop_rows()).unwrap();
        let mut drops: Vec<_> = rows
            .into_iter()
            .flatten()
            .map(|row| (row.port.to_string(), row.reason, row.frames))
            .collect();
        drops.sort();
        drops
    }

    fn drops_of_tunnel(&self, reason: DropReason) -> u64 {
        let drops = self.drops().into_iter();
        drops.filter(|row| row.0 == "bridge@peer" && row.1 == reason.name()).map(|row| row.2).sum()
    }

    /// The tunnel's path MTU is as the broker looks now.
    fn follow_mtu(&mut self) {
        for change in self.broker.poll_changes() {
            if let tapway::io::DeviceChange::Mtu { mtu, .. } = change {
                self.dataplane.apply(Command::SetPortMtu(TUNNEL, mtu)).unwrap();
            }
        }
    }

    fn was_told_of_path_mtu(&self) -> bool {
        self.dataplane.events().try_iter().any(|event| matches!(event, WorkerEvent::PathMtu))
    }
}

fn is_icmp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1)
}

/// The MTU that an ICMP "fragmentation needed" tells.
fn told_mtu(frame: &[u8]) -> u16 {
    assert_eq!(frame[34..36], [3, 4], "type and code");
    u16::from_be_bytes([frame[40], frame[41]])
}

/// Fragments that a namespace sent since it was made.
fn fragments_of(netns: &Name) -> u64 {
    let text = netns.exec(&["cat", "/proc/net/snmp"]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("Ip:"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let at = rows[0].iter().position(|name| *name == "FragCreates").unwrap();
    rows[1][at].parse().unwrap()
}

fn frames_pass_both_ways(workers: u8) {
    let wire = Wire::new();
    let mut a = Side::new(&wire.a, (A, B), 2, workers);
    let mut b = Side::new(&wire.b, (B, A), 3, workers);
    // Unknown, so to all; then known.
    for _ in 0..3 {
        for len in [10, 1400] {
            let there = a.to(&b, len);
            a.host.send(&there).unwrap();
            assert_eq!(b.receive(|frame| frame == there), there);
            let back = b.to(&a, len);
            b.host.send(&back).unwrap();
            assert_eq!(a.receive(|frame| frame == back), back);
        }
    }
    // Many at once, of many flows.
    let flows: Vec<Vec<u8>> = (0..400_u16)
        .map(|flow| {
            let (from, to) = (Endpoint::new(a.ip, 1000 + flow), Endpoint::new(b.ip, 2000));
            build::udp(Hop::new(a.mac, b.mac), from, to, &payload(100 + usize::from(flow % 3)))
        })
        .collect();
    flows.iter().for_each(|frame| a.host.send(frame).unwrap());
    let (start, mut got) = (Clock.now(), Vec::new());
    while got.len() < flows.len() {
        got.extend(b.poll());
        assert!(Clock.now().since(start) < PATIENCE, "{} came; {:?}", got.len(), a.drops());
    }
    got.sort();
    let mut wanted = flows;
    wanted.sort();
    assert!(got == wanted);
    assert_eq!((a.drops(), b.drops()), (vec![], vec![]));
}

#[test]
fn hosts_of_two_dataplanes_are_on_one_network() {
    if !skipped() {
        frames_pass_both_ways(1);
    }
}

#[test]
fn hosts_of_two_dataplanes_with_two_workers_are_on_one_network() {
    if !skipped() {
        frames_pass_both_ways(2);
    }
}

#[test]
fn sender_is_told_at_once_that_the_kernels_route_takes_less() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut a = Side::new(&wire.a, (A, B), 2, 1);
    let mut b = Side::new(&wire.b, (B, A), 3, 1);
    wire.a.exec(&["ip", "route", "add", "192.0.2.2/32", "dev", "eth0", "mtu", "1200"]);
    let large = a.to(&b, 1300);
    a.host.send(&large).unwrap();
    let told = a.receive(is_icmp);
    assert_eq!(told_mtu(&told), 1150);
    assert_eq!(a.drops_of_tunnel(DropReason::FragmentationNeeded), 1);
    assert!(a.was_told_of_path_mtu());
    // The largest that goes; and the next that does not is told by the engine itself.
    let fits = a.to(&b, 1150 - 28);
    a.host.send(&fits).unwrap();
    assert_eq!(b.receive(|frame| frame == fits), fits);
    a.host.send(&a.to(&b, 1150 - 27)).unwrap();
    assert_eq!(told_mtu(&a.receive(is_icmp)), 1150);
    let lost = DropReason::FragmentationNeeded.name();
    let drops = [("bridge@peer", 1), ("host", 1)];
    assert_eq!(a.drops(), drops.map(|(port, count)| (port.to_owned(), lost.to_owned(), count)));
    // What may be cut is, inside of the tunnel.
    let mut cut = a.to(&b, 1300);
    cut[20] &= !0x40;
    let sum = 0_u16;
    cut[24..26].copy_from_slice(&sum.to_be_bytes());
    let sum = tapway::packet::checksum::checksum(&cut[14..34]);
    cut[24..26].copy_from_slice(&sum.to_be_bytes());
    a.host.send(&cut).unwrap();
    b.receive(|frame| frame[20] & 0x20 != 0 && frame.len() <= 1164);
    b.receive(|frame| frame[20] & 0x20 == 0 && frame[21] != 0);
    assert_eq!(fragments_of(&wire.a), 0);
    // The broker sees the route as well, and when it is gone.
    a.follow_mtu();
    wire.a.exec(&["ip", "route", "del", "192.0.2.2/32", "dev", "eth0"]);
    a.follow_mtu();
    a.host.send(&large).unwrap();
    assert_eq!(b.receive(|frame| frame == large), large);
}

#[test]
fn what_a_router_on_the_way_takes_is_learned_from_it() {
    if skipped() {
        return;
    }
    let (east, west) = (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 1));
    let (a_ns, router, b_ns) = (Name::made(), Name::made(), Name::made());
    for (side, name, own) in [(&a_ns, "to-a", east), (&b_ns, "to-b", west)] {
        let veth = ["ip", "-n", side, "link", "add", "eth0", "type", "veth"];
        must(&[&veth[..], &["peer", "name", name, "netns", &router]].concat());
        let [x, y, z, _] = own.octets();
        let gateway = format!("{x}.{y}.{z}.254");
        side.exec(&["ip", "addr", "add", &format!("{own}/24"), "dev", "eth0"]);
        side.exec(&["ip", "link", "set", "eth0", "up"]);
        router.exec(&["ip", "addr", "add", &format!("{gateway}/24"), "dev", name]);
        router.exec(&["ip", "link", "set", name, "up"]);
        side.exec(&["ip", "route", "add", "default", "via", &gateway]);
    }
    router.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    router.exec(&["ip", "link", "set", "to-b", "mtu", "1300"]);
    a_ns.exec(&["ping", "-c", "1", "-W", "10", &west.to_string()]);
    let mut a = Side::new(&a_ns, (east, west), 2, 1);
    let mut b = Side::new(&b_ns, (west, east), 3, 1);
    let large = a.to(&b, 1300);
    // The first is lost at the router, which tells the kernel, and the kernel the next.
    let start = Clock.now();
    let told = loop {
        assert!(Clock.now().since(start) < PATIENCE, "{:?}", a.drops());
        a.host.send(&large).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        if let Some(frame) = a.poll().filter(|frame| is_icmp(frame)) {
            break frame;
        }
    };
    assert_eq!(told_mtu(&told), 1250);
    let fits = a.to(&b, 1250 - 28);
    a.host.send(&fits).unwrap();
    assert_eq!(b.receive(|frame| frame == fits), fits);
    assert_eq!((fragments_of(&a_ns), fragments_of(&router)), (0, 0));
    assert!(a.drops_of_tunnel(DropReason::FragmentationNeeded) > 0);
}

#[test]
fn frames_without_a_way_are_counted_at_their_tunnel_and_it_recovers() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut a = Side::new(&wire.a, (A, B), 2, 1);
    let mut b = Side::new(&wire.b, (B, A), 3, 1);
    wire.a.exec(&["ip", "route", "add", "unreachable", "192.0.2.2/32"]);
    let frame = a.to(&b, 100);
    a.host.send(&frame).unwrap();
    let start = Clock.now();
    while a.drops_of_tunnel(DropReason::VxlanNoWay) == 0 {
        assert!(Clock.now().since(start) < PATIENCE, "{:?}", a.drops());
        std::thread::sleep(Duration::from_millis(1));
    }
    let drops = a.drops();
    assert_eq!(drops, [("bridge@peer".to_owned(), DropReason::VxlanNoWay.name().to_owned(), 1)]);
    wire.a.exec(&["ip", "route", "del", "unreachable", "192.0.2.2/32"]);
    a.host.send(&frame).unwrap();
    assert_eq!(b.receive(|got| got == frame), frame);
    assert_eq!(a.drops(), drops);
}
