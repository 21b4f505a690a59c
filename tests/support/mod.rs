//! What scenario tests share: reading frames by etherparse, and running a scenario twice.
#![allow(dead_code, unused_imports, reason = "each test crate uses its part")]

pub mod stretched;

use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::{SlicedPacket, TransportSlice};
pub use tapway::engine::{Command, EngineConfig, PortSpec};
pub use tapway::id::{NetworkId, PortId};
pub use tapway::nat::{Endpoint, NatMode, NatPolicy};
pub use tapway::packet::MacAddr;
use tapway::packet::{Arp, PortSpan, checksum};
pub use tapway::switch::{Guard, PortRole};
pub use tapway::testkit::build::Hop;
pub use tapway::testkit::{BRIDGE, Lab, LabPort, UPLINK, build};

/// A packet as a host sees it, its checksums verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub src_mac: MacAddr,
    pub dst_mac: MacAddr,
    pub src: Endpoint,
    pub dst: Endpoint,
    pub ttl: u8,
    pub id: u16,
    pub protocol: u8,
    pub payload: Vec<u8>,
}

/// Runs a scenario twice and compares every byte sent: the engine is a pure function.
pub fn twice(scenario: impl Fn() -> Lab) {
    let (first, second) = (scenario(), scenario());
    assert!(first.is_balanced(), "{:?}", first.engine.totals());
    assert_eq!(first.log, second.log);
    assert_eq!(first.engine.totals(), second.engine.totals());
    assert_eq!(first.drops(), second.drops());
}

pub fn at(ip: [u8; 4], port: u16) -> Endpoint {
    Endpoint::new(Ipv4Addr::from(ip), port)
}

/// An endpoint of tapway on the uplink.
pub fn ext(port: u16) -> Endpoint {
    Endpoint::new(Lab::EXTERNAL, port)
}

/// The one frame of a result, which must be for `host`.
pub fn only(out: &[(PortId, Vec<u8>)], host: &LabPort) -> Vec<u8> {
    assert_eq!(out.len(), 1, "{out:02x?}");
    assert_eq!(out[0].0, host.port);
    out[0].1.clone()
}

pub fn only_udp(out: &[(PortId, Vec<u8>)], host: &LabPort) -> Seen {
    let seen = read(&only(out, host));
    assert_eq!(seen.protocol, 17);
    seen
}

pub fn only_tcp(out: &[(PortId, Vec<u8>)], host: &LabPort) -> Seen {
    let seen = read(&only(out, host));
    assert_eq!(seen.protocol, 6);
    seen
}

pub fn only_icmp(out: &[(PortId, Vec<u8>)], host: &LabPort) -> Seen {
    let seen = read(&only(out, host));
    assert_eq!(seen.protocol, 1);
    seen
}

/// Reads an IPv4 frame; wrong checksums fail the test. For ICMP the payload is the message.
pub fn read(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else {
        panic!("not IPv4: {frame:02x?}")
    };
    let header = ip.header();
    assert!(checksum::is_valid(header.slice()), "IPv4 checksum");
    let (src, dst) = (header.source_addr(), header.destination_addr());
    let segment = &frame[14 + header.slice().len()..14 + usize::from(header.total_len())];
    let (sport, dport, payload) = match &packet.transport {
        Some(TransportSlice::Udp(udp)) => {
            if udp.checksum() != 0 {
                assert_eq!(checksum::transport(src, dst, 17, segment), 0, "UDP checksum");
            }
            (udp.source_port(), udp.destination_port(), udp.payload().to_vec())
        }
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(checksum::transport(src, dst, 6, segment), 0, "TCP checksum");
            (tcp.source_port(), tcp.destination_port(), tcp.payload().to_vec())
        }
        Some(TransportSlice::Icmpv4(_)) => {
            assert!(checksum::is_valid(segment), "ICMP checksum");
            (0, 0, segment.to_vec())
        }
        _ => (0, 0, segment.to_vec()),
    };
    Seen {
        src_mac: MacAddr(frame[6..12].try_into().unwrap()),
        dst_mac: MacAddr(frame[..6].try_into().unwrap()),
        src: Endpoint::new(src, sport),
        dst: Endpoint::new(dst, dport),
        ttl: header.ttl(),
        id: header.identification(),
        protocol: header.protocol().0,
        payload,
    }
}

/// A second inside network of a lab: 10.2.0.0/16, gateway 10.2.0.1.
pub const OTHER: NetworkId = NetworkId(2);
pub const OTHER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);

pub fn add_other_network(lab: &mut Lab) {
    lab.must(Command::AddNetwork(OTHER, Lab::network_spec("other", OTHER_GATEWAY, 16)));
}

/// A host on [`OTHER`] that tapway knows.
pub fn known_other(lab: &mut Lab, last: u8) -> LabPort {
    let host = lab.attach(OTHER, OTHER_GATEWAY, Ipv4Addr::new(10, 2, 0, last));
    lab.introduce(&host, OTHER_GATEWAY);
    host
}

/// A port of `bridge` as [`Lab::attach`] makes them, to be changed.
pub fn port_spec(name: &str) -> PortSpec {
    PortSpec {
        name: name.to_owned(),
        network: BRIDGE,
        mtu: 1500,
        guard: None,
        host: None,
        static_macs: Vec::new(),
        role: PortRole::Hosts,
        is_up: true,
    }
}

/// A host on `bridge` whose port guards its address.
pub fn guarded(lab: &mut Lab, last: u8) -> LabPort {
    let address = Ipv4Addr::new(172, 17, 0, last);
    let guard = Some(Guard { mac: MacAddr::from_ipv4(address), address });
    let spec = PortSpec { guard, ..port_spec(&format!("guarded-{last}")) };
    let host = lab.attach_with(spec, Lab::GATEWAY, address);
    lab.introduce(&host, Lab::GATEWAY);
    host
}

/// A frame of any EtherType.
pub fn ether(src: MacAddr, dst: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0[..], &ethertype.to_be_bytes()[..], payload].concat()
}

/// An IPv6 packet to all nodes of the link; `next` is the number of its first header.
pub fn ipv6_packet(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    [&packet, payload].concat()
}

/// A packet of any protocol with DF clear.
pub fn packet(hop: Hop, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = build::ip_header(src, dst, protocol, hop.ttl);
    header.dont_fragment = false;
    build::ip(hop, &header, payload)
}

/// A UDP datagram with DF clear.
pub fn udp_df_clear(hop: Hop, src: Endpoint, dst: Endpoint, payload: &[u8]) -> Vec<u8> {
    let mut frame = build::udp(hop, src, dst, payload);
    frame[20] &= !0x40;
    fix_header_checksum(&mut frame);
    frame
}

/// Makes the IPv4 header checksum of a changed frame right again.
pub fn fix_header_checksum(frame: &mut [u8]) {
    let header_len = usize::from(frame[14] & 0x0f) * 4;
    frame[24..26].fill(0);
    let sum = checksum::checksum(&frame[14..14 + header_len]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// An ICMP error about `quoted`, the frame whose packet it quotes, in full.
pub fn icmp_error(
    hop: Hop,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    (kind, code): (u8, u8),
    quoted: &[u8],
) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(quoted);
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(hop, src, dst, 1, &message)
}

/// A host somewhere outside, and another.
pub const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// An endpoint of [`FAR`].
pub fn far(port: u16) -> Endpoint {
    Endpoint::new(FAR, port)
}

/// An endpoint of [`STRANGER`].
pub fn stranger(port: u16) -> Endpoint {
    Endpoint::new(STRANGER, port)
}

/// A lab whose inside network has this mode.
pub fn lab_with_mode(mode: NatMode) -> Lab {
    Lab::with(EngineConfig::with_sessions(4096), |n| n.nat = NatPolicy::uniform(mode))
}

/// Sends a datagram of an inside host to the outside; gives back the source it leaves with.
pub fn leave(
    lab: &mut Lab,
    (host, router): (&LabPort, &LabPort),
    sport: u16,
    to: Endpoint,
) -> Endpoint {
    let datagram = build::udp(host.to_gateway(), host.at(sport), to, b"out");
    only_udp(&lab.send(host, &datagram), router).src
}

/// Sends a datagram from outside; true if it reaches `host` at `sport`.
pub fn arrives(
    lab: &mut Lab,
    (router, host): (&LabPort, &LabPort),
    from: Endpoint,
    to: Endpoint,
    sport: u16,
) -> bool {
    let out = lab.send(router, &build::udp(router.to_gateway(), from, to, b"in"));
    if out.is_empty() {
        return false;
    }
    let seen = only_udp(&out, host);
    assert_eq!((seen.src, seen.dst, seen.payload), (from, host.at(sport), b"in".to_vec()));
    true
}

/// Changes the uplink: addresses to translate to, and static translations of hosts of `bridge`.
pub fn set_uplink(lab: &mut Lab, pool: &[[u8; 4]], statics: &[([u8; 4], [u8; 4])]) {
    let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
    uplink.is_outside = true;
    if let Some(gateway) = &mut uplink.gateway {
        gateway.pool = pool.iter().copied().map(Ipv4Addr::from).collect();
        gateway.statics =
            statics.iter().map(|(inside, ext)| (BRIDGE, (*inside).into(), (*ext).into())).collect();
    }
    lab.must(Command::AddNetwork(UPLINK, uplink));
}

/// Makes the uplink's address one of tapway's host as well; gives back how many sessions end.
pub fn share(lab: &mut Lab, span: PortSpan) -> usize {
    let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
    uplink.is_outside = true;
    if let Some(gateway) = &mut uplink.gateway {
        gateway.shared = Some(span);
    }
    lab.must(Command::AddNetwork(UPLINK, uplink)).ended_sessions
}

/// Lets time pass while the hosts answer ARP, as living hosts do; gives back all else they got.
pub fn pass(lab: &mut Lab, hosts: &[&LabPort], time: Duration) -> Vec<(PortId, Vec<u8>)> {
    let mut got = Vec::new();
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(1));
        left -= step;
        let mut pending = lab.advance(step);
        while let Some((port, frame)) = pending.pop() {
            let asked = Arp::parse(frame.get(14..).unwrap_or_default())
                .ok()
                .filter(|_| frame[12..14] == [8, 6])
                .and_then(|arp| {
                    hosts.iter().find(|h| h.port == port && h.ip == arp.target_ip).map(|h| (h, arp))
                });
            match asked {
                Some((host, arp)) => {
                    let to = (arp.sender_mac, arp.sender_ip);
                    pending.extend(lab.send(host, &build::arp_reply(host.mac, host.ip, to)));
                }
                None => got.push((port, frame)),
            }
        }
    }
    got
}
