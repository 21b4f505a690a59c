//! What scenario tests share: reading frames by etherparse, and running a scenario twice.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::net::Ipv4Addr;

use etherparse::{SlicedPacket, TransportSlice};
pub use tapway::id::PortId;
pub use tapway::nat::Endpoint;
use tapway::packet::MacAddr;
use tapway::packet::checksum;
pub use tapway::testkit::{Lab, LabPort};

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
