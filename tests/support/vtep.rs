//! Two namespaces on a wire, and VTEPs in them by their sockets.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::net::Ipv4Addr;
use std::time::Duration;

use tapway::io::{
    Broker, Clock, LinuxBroker, PortIo, PortPlan, ReceiveError, Refusal, TunnelPlan, VxlanPlan,
};
use tapway::nat::Endpoint;
use tapway::packet::vxlan::{ENCAPSULATION, Outer, VXLAN_PORT, Vni};
use tapway::packet::{FrameView, Gso, Headers, MacAddr, Offload, VNET_HEADER};
use tapway::testkit::build::{self, Hop};

use crate::netns::{Name, must};

pub const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Long enough for any machine; no test waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Two namespaces on one wire.
pub struct Wire {
    pub a: Name,
    pub b: Name,
}

impl Wire {
    pub fn new() -> Self {
        let (a, b) = (Name::made(), Name::made());
        let device = ["ip", "-n", &a, "link", "add", "eth0", "type", "veth"];
        must(&[&device[..], &["peer", "name", "eth0", "netns", &b]].concat());
        for (side, address) in [(&a, A), (&b, B)] {
            side.exec(&["ip", "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
            side.exec(&["ip", "link", "set", "eth0", "up"]);
        }
        // Neighbours before the first frame: the kernel holds only some that wait for one.
        a.exec(&["ping", "-c", "1", "-W", "10", &B.to_string()]);
        Self { a, b }
    }

    pub fn open(&self) -> (Device, Device) {
        (Device::open(&plan(&self.a, A)), Device::open(&plan(&self.b, B)))
    }
}

pub fn plan(netns: &Name, address: Ipv4Addr) -> VxlanPlan {
    VxlanPlan {
        netns: Some(netns.to_string()),
        address,
        port: VXLAN_PORT,
        groups: Vec::new(),
        device: None,
        receive_buffer: 4 << 20,
        queues: 1,
    }
}

pub fn tunnel(netns: &Name, peer: Ipv4Addr) -> PortPlan {
    PortPlan::Tunnel(TunnelPlan {
        netns: Some(netns.to_string()),
        peer: peer.into(),
        vni: vni(),
        mtu: None,
    })
}

pub fn vni() -> Vni {
    Vni::try_from(42).unwrap()
}

/// A frame with what is left to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub bytes: Vec<u8>,
    pub offload: Offload,
}

impl Owned {
    pub fn view(&self) -> FrameView<'_> {
        FrameView { bytes: &self.bytes, offload: self.offload }
    }

    pub fn outer(&self) -> Outer {
        Outer::parse(&self.bytes).unwrap()
    }

    pub fn inner(&self) -> &[u8] {
        &self.bytes[ENCAPSULATION..]
    }

    /// The same with another source port outside.
    pub fn with_sport(mut self, sport: u16) -> Self {
        self.bytes[34..36].copy_from_slice(&sport.to_be_bytes());
        self
    }
}

/// The finished frames inside.
pub fn pieces(frame: &Owned) -> Vec<Vec<u8>> {
    let offload = frame.offload.unwrapped(ENCAPSULATION as u16);
    let mut pieces = Vec::new();
    let inner = FrameView { bytes: frame.inner(), offload };
    inner.for_each_segment(&mut Vec::new(), |piece| pieces.push(piece.to_vec()));
    pieces
}

pub struct Device(pub Box<dyn PortIo>);

impl Device {
    pub fn open(plan: &VxlanPlan) -> Self {
        Self(LinuxBroker::new().open("underlay", &PortPlan::Vxlan(plan.clone())).unwrap().io)
    }

    pub fn send(&mut self, frames: &[Owned]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        self.0.send_list(&mut frames.iter().map(Owned::view), &mut refusals);
        refusals
    }

    pub fn must_send(&mut self, frames: &[Owned]) {
        assert_eq!(self.send(frames), []);
    }

    pub fn poll(&mut self) -> Option<Owned> {
        let mut room = vec![0; VNET_HEADER + self.0.max_frame()];
        match self.0.receive(&mut room) {
            Ok(got) => {
                let FrameView { bytes, offload } = got.frame_in(&room);
                Some(Owned { bytes: bytes.to_vec(), offload })
            }
            Err(ReceiveError::Empty) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// What comes until there is as much as `is_enough` says.
    pub fn receive_until(&mut self, is_enough: impl Fn(&[Owned]) -> bool) -> Vec<Owned> {
        let (start, mut got) = (Clock.now(), Vec::new());
        while !is_enough(&got) {
            match self.poll() {
                Some(frame) => got.push(frame),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(Clock.now().since(start) < PATIENCE, "only {} frames came", got.len());
        }
        got
    }

    pub fn receive(&mut self) -> Owned {
        self.receive_until(|got| got.len() == 1).remove(0)
    }

    pub fn receive_pieces(&mut self, count: usize) -> Vec<Vec<u8>> {
        let pieces_of = |got: &[Owned]| -> Vec<Vec<u8>> { got.iter().flat_map(pieces).collect() };
        let got = self.receive_until(|got| pieces_of(got).len() >= count);
        pieces_of(&got)
    }
}

pub fn outer_to(dst: Ipv4Addr, sport: u16, tos: u8) -> Outer {
    Outer { src: A, dst, sport, dport: VXLAN_PORT, tos, vni: vni() }
}

pub fn wrap(outer: &Outer, inner: &[u8], offload: Offload) -> Owned {
    let macs = (MacAddr::from_ipv4(outer.dst), MacAddr::from_ipv4(outer.src));
    let bytes = [&outer.headers(macs, inner.len())[..], inner].concat();
    Owned { bytes, offload: offload.wrapped(ENCAPSULATION as u16) }
}

pub fn inner_hop() -> Hop {
    Hop::new(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]))
}

pub fn at(last: u8, port: u16) -> Endpoint {
    Endpoint::new(Ipv4Addr::new(10, 0, 0, last), port)
}

/// Bytes that differ from place to place.
pub fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A datagram inside that is number `serial`.
pub fn small(outer: &Outer, serial: u16, len: usize) -> Owned {
    let mut data = payload(len);
    data[..2].copy_from_slice(&serial.to_be_bytes());
    wrap(outer, &build::udp(inner_hop(), at(1, 7), at(2, 9), &data), Offload::NONE)
}

/// A TCP super-frame inside, cut every `size` bytes.
pub fn large(outer: &Outer, len: usize, size: u16) -> Owned {
    let frame = build::tcp(inner_hop(), at(1, 7), at(2, 80), 0x18, &payload(len));
    let (mut frame, _) = build::unfinished(&frame);
    let offload = Offload::partial(34, 16).segmented(Gso::Tcp4, size);
    let headers = Headers::parse(&frame).unwrap();
    let offload = offload.admit(&headers, &mut frame).unwrap();
    wrap(outer, &frame, offload)
}
