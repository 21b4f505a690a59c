//! A lab whose network stretches over several hosts by VXLAN.

use std::net::{IpAddr, Ipv4Addr};

use tapway::drop_reason::DropReason;
use tapway::engine::{NetworkSpec, Underlay, Vtep, VxlanSpec};
use tapway::packet::vxlan::{ENCAPSULATION, Outer, VXLAN_PORT, Vni};
use tapway::switch::Tunnel;

use super::*;

pub const VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const EAST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const WEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
pub const VNI: u32 = 42;

/// A lab whose network `bridge` has tunnels to two peers, by an underlay's port.
pub struct Stretched {
    pub lab: Lab,
    pub underlay: LabPort,
    pub east: PortId,
    pub west: PortId,
}

pub fn vni(number: u32) -> Vni {
    Vni::try_from(number).unwrap()
}

pub fn spec(vni: Vni) -> VxlanSpec {
    VxlanSpec { vni, accepts_any: false, carries_tags: false }
}

pub fn tunnel_spec(peer: Ipv4Addr) -> PortSpec {
    let role = PortRole::Tunnel(Tunnel { peer: IpAddr::V4(peer), floods: true });
    PortSpec { role, mtu: 1450, ..port_spec(&format!("bridge@{peer}")) }
}

pub fn tunnel(lab: &mut Lab, spec: PortSpec) -> PortId {
    lab.attach_with(spec, Lab::GATEWAY, Ipv4Addr::UNSPECIFIED).port
}

pub fn stretched_by(change: impl FnOnce(&mut NetworkSpec)) -> Stretched {
    let mut lab = Lab::new();
    let (underlay, east, west) = stretch(&mut lab, change);
    Stretched { lab, underlay, east, west }
}

/// Stretches the network `bridge` of a lab; the underlay's port, and the tunnels to two peers.
pub fn stretch(lab: &mut Lab, change: impl FnOnce(&mut NetworkSpec)) -> (LabPort, PortId, PortId) {
    let mut network = Lab::network_spec("bridge", Lab::GATEWAY, 16);
    network.vxlan = Some(spec(vni(VNI)));
    change(&mut network);
    lab.must(Command::AddNetwork(BRIDGE, network));
    let role = PortRole::Underlay;
    let of_underlay = PortSpec { role, network: NetworkId::NONE, ..port_spec("vxlan") };
    let underlay = lab.attach_with(of_underlay, Lab::GATEWAY, VTEP);
    let way = Underlay::Port(underlay.port);
    lab.must(Command::SetVtep(Some(Vtep { address: VTEP, port: VXLAN_PORT, underlay: way })));
    let east = tunnel(lab, tunnel_spec(EAST));
    let west = tunnel(lab, tunnel_spec(WEST));
    (underlay, east, west)
}

pub fn stretched() -> Stretched {
    stretched_by(|_| {})
}

/// A frame of a peer, encapsulated as the kernel does it.
pub fn wrapped(peer: Ipv4Addr, tos: u8, inner: &[u8]) -> Vec<u8> {
    let outer =
        Outer { src: peer, dst: VTEP, sport: 55_555, dport: VXLAN_PORT, tos, vni: vni(VNI) };
    [&outer.headers((MacAddr::ZERO, MacAddr::ZERO), inner.len())[..], inner].concat()
}

impl Stretched {
    /// A frame comes from a peer.
    pub fn arrives(&mut self, peer: Ipv4Addr, inner: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.lab.send(&self.underlay, &wrapped(peer, 0, inner))
    }

    /// What left by the underlay: to whom, and the frame inside. The headers outside are as they
    /// must be.
    pub fn tunnelled(&self, out: &[(PortId, Vec<u8>)]) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let outside = out.iter().filter(|(port, _)| *port == self.underlay.port);
        let read = outside.map(|(_, frame)| {
            let outer = Outer::parse(frame).unwrap();
            assert_eq!((outer.src, outer.dport, outer.vni), (VTEP, VXLAN_PORT, vni(VNI)));
            assert!(outer.sport >= 49_152);
            let seen = read(frame);
            assert_eq!((seen.ttl, seen.payload.len()), (64, frame.len() - 42));
            assert_eq!(frame[20] & 0x60, 0x40, "DF, no fragment");
            (outer.dst, frame[ENCAPSULATION..].to_vec())
        });
        read.collect()
    }

    pub fn counted(&self, port: PortId, reason: DropReason) -> u64 {
        let rows = self.lab.engine.drop_rows();
        let stats = self.lab.engine.port_stats();
        let name = &stats.iter().find(|(id, _)| *id == port).unwrap().1.port;
        let of_port = rows.into_iter().filter(|row| row.port == *name);
        of_port.filter(|row| row.reason == reason.name()).map(|row| row.frames).sum()
    }
}

/// A station behind a peer: MAC and address.
pub fn remote(last: u8) -> LabPort {
    let ip = Ipv4Addr::new(172, 17, 1, last);
    LabPort {
        port: PortId(u16::MAX),
        mac: MacAddr::from_ipv4(ip),
        ip,
        gateway: MacAddr::from_ipv4(Lab::GATEWAY),
    }
}

pub fn hello(from: &LabPort, to: &LabPort) -> Vec<u8> {
    build::udp(from.to(to), from.at(1000), to.at(2000), b"hello")
}

pub fn broadcast(from: &LabPort) -> Vec<u8> {
    ether(from.mac, MacAddr::BROADCAST, 0x1234, &[7; 46])
}

/// The MTU that an ICMP "fragmentation needed" tells.
pub fn told_mtu(seen: &Seen) -> u16 {
    assert_eq!((seen.protocol, &seen.payload[..2]), (1, &[3, 4][..]));
    u16::from_be_bytes([seen.payload[6], seen.payload[7]])
}
