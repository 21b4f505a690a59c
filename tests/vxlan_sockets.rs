//! The sockets of a VTEP on a veth: what goes in as an outer frame comes out as one at the other
//! side, and what is on the wire between is VXLAN.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;

use std::net::Ipv4Addr;
use std::time::Duration;

use netns::{Name, must, skipped};
use tapway::io::{
    Broker, Clock, DeviceChange, LinuxBroker, OpenError, PortIo, PortPlan, ReceiveError, Refusal,
    TunnelPlan, VxlanPlan,
};
use tapway::nat::Endpoint;
use tapway::packet::vxlan::{ENCAPSULATION, Outer, VXLAN_PORT, Vni};
use tapway::packet::{FrameView, Gso, Headers, MacAddr, Offload, VNET_HEADER};
use tapway::testkit::build::{self, Hop};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Long enough for any machine; no test waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two namespaces on one wire.
struct Wire {
    a: Name,
    b: Name,
}

impl Wire {
    fn new() -> Self {
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

    fn open(&self) -> (Device, Device) {
        (Device::open(&plan(&self.a, A)), Device::open(&plan(&self.b, B)))
    }
}

fn plan(netns: &Name, address: Ipv4Addr) -> VxlanPlan {
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

fn tunnel(netns: &Name, peer: Ipv4Addr) -> PortPlan {
    PortPlan::Tunnel(TunnelPlan {
        netns: Some(netns.to_string()),
        peer: peer.into(),
        vni: vni(),
        mtu: None,
    })
}

fn vni() -> Vni {
    Vni::try_from(42).unwrap()
}

/// A frame with what is left to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    bytes: Vec<u8>,
    offload: Offload,
}

impl Owned {
    fn view(&self) -> FrameView<'_> {
        FrameView { bytes: &self.bytes, offload: self.offload }
    }

    fn outer(&self) -> Outer {
        Outer::parse(&self.bytes).unwrap()
    }

    fn inner(&self) -> &[u8] {
        &self.bytes[ENCAPSULATION..]
    }

    /// The same with another source port outside.
    fn with_sport(mut self, sport: u16) -> Self {
        self.bytes[34..36].copy_from_slice(&sport.to_be_bytes());
        self
    }
}

/// The finished frames inside.
fn pieces(frame: &Owned) -> Vec<Vec<u8>> {
    let offload = frame.offload.unwrapped(ENCAPSULATION as u16);
    let mut pieces = Vec::new();
    let inner = FrameView { bytes: frame.inner(), offload };
    inner.for_each_segment(&mut Vec::new(), |piece| pieces.push(piece.to_vec()));
    pieces
}

struct Device(Box<dyn PortIo>);

impl Device {
    fn open(plan: &VxlanPlan) -> Self {
        Self(LinuxBroker::new().open("underlay", &PortPlan::Vxlan(plan.clone())).unwrap().io)
    }

    fn send(&mut self, frames: &[Owned]) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        self.0.send_list(&mut frames.iter().map(Owned::view), &mut refusals);
        refusals
    }

    fn must_send(&mut self, frames: &[Owned]) {
        assert_eq!(self.send(frames), []);
    }

    fn poll(&mut self) -> Option<Owned> {
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
    fn receive_until(&mut self, is_enough: impl Fn(&[Owned]) -> bool) -> Vec<Owned> {
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

    fn receive(&mut self) -> Owned {
        self.receive_until(|got| got.len() == 1).remove(0)
    }

    fn receive_pieces(&mut self, count: usize) -> Vec<Vec<u8>> {
        let pieces_of = |got: &[Owned]| -> Vec<Vec<u8>> { got.iter().flat_map(pieces).collect() };
        let got = self.receive_until(|got| pieces_of(got).len() >= count);
        pieces_of(&got)
    }
}

fn outer_to(dst: Ipv4Addr, sport: u16, tos: u8) -> Outer {
    Outer { src: A, dst, sport, dport: VXLAN_PORT, tos, vni: vni() }
}

fn wrap(outer: &Outer, inner: &[u8], offload: Offload) -> Owned {
    let macs = (MacAddr::from_ipv4(outer.dst), MacAddr::from_ipv4(outer.src));
    let bytes = [&outer.headers(macs, inner.len())[..], inner].concat();
    Owned { bytes, offload: offload.wrapped(ENCAPSULATION as u16) }
}

fn inner_hop() -> Hop {
    Hop::new(MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]))
}

fn at(last: u8, port: u16) -> Endpoint {
    Endpoint::new(Ipv4Addr::new(10, 0, 0, last), port)
}

/// Bytes that differ from place to place.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A datagram inside that is number `serial`.
fn small(outer: &Outer, serial: u16, len: usize) -> Owned {
    let mut data = payload(len);
    data[..2].copy_from_slice(&serial.to_be_bytes());
    wrap(outer, &build::udp(inner_hop(), at(1, 7), at(2, 9), &data), Offload::NONE)
}

/// A TCP super-frame inside, cut every `size` bytes.
fn large(outer: &Outer, len: usize, size: u16) -> Owned {
    let frame = build::tcp(inner_hop(), at(1, 7), at(2, 80), 0x18, &payload(len));
    let (mut frame, _) = build::unfinished(&frame);
    let offload = Offload::partial(34, 16).segmented(Gso::Tcp4, size);
    let headers = Headers::parse(&frame).unwrap();
    let offload = offload.admit(&headers, &mut frame).unwrap();
    wrap(outer, &frame, offload)
}

#[test]
fn frame_comes_out_as_it_went_in_but_for_its_source_port() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let (mut a, mut b) = wire.open();
    for (sport, tos, len) in [(50_000, 0, 20), (50_001, 0xb9, 1400), (65_535, 3, 2)] {
        let sent = small(&outer_to(B, sport, tos), 1, len);
        a.must_send(std::slice::from_ref(&sent));
        let got = b.receive();
        let now = got.outer().sport;
        assert!(now >= 49_152, "{now}");
        assert_eq!(got, sent.with_sport(now));
    }
    // The other way.
    let outer = Outer { src: B, dst: A, ..outer_to(A, 50_000, 0x28) };
    let sent = small(&outer, 1, 100);
    b.must_send(std::slice::from_ref(&sent));
    let got = a.receive();
    let now = got.outer().sport;
    assert_eq!(got, sent.with_sport(now));
}

#[test]
fn super_frame_is_cut_on_the_wire_and_joined_again() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let (mut a, mut b) = wire.open();
    for (len, size) in [(20_000, 1398), (60_000, 1398), (4000, 100), (1399, 1398)] {
        let sent = large(&outer_to(B, 50_000, 0xb8), len, size);
        a.must_send(std::slice::from_ref(&sent));
        let wanted = pieces(&sent);
        assert!(wanted.len() > 1 && wanted.iter().all(|piece| piece.len() <= 54 + 1398));
        let got = b.receive_until(|got| got.iter().flat_map(pieces).count() >= wanted.len());
        assert_eq!(got.iter().flat_map(pieces).collect::<Vec<_>>(), wanted);
        // More than the kernel takes at once are two messages, read at once or not.
        assert!(got.len() <= 2, "{} frames", got.len());
        assert!(got.iter().any(|frame| frame.offload.is_super()));
        assert!(got.iter().all(|frame| frame.outer().tos == 0xb8));
    }
}

#[test]
fn flow_has_one_source_port_and_stays_in_order() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let (mut a, mut b) = wire.open();
    let mut ports = Vec::new();
    for sport in [49_152, 51_007, 65_530] {
        let outer = outer_to(B, sport, 0);
        // Of equal size and of others: alone, together, and between what is cut.
        let frames = [
            small(&outer, 1, 500),
            small(&outer, 2, 500),
            small(&outer, 3, 90),
            large(&outer, 5000, 1398),
            small(&outer, 4, 500),
            small(&outer, 5, 900),
            small(&outer, 6, 900),
        ];
        a.must_send(&frames);
        let wanted: Vec<Vec<u8>> = frames.iter().flat_map(pieces).collect();
        let got = b.receive_until(|got| got.iter().flat_map(pieces).count() >= wanted.len());
        assert_eq!(got.iter().flat_map(pieces).collect::<Vec<_>>(), wanted);
        ports.push(got[0].outer().sport);
        assert!(got.iter().all(|frame| frame.outer().sport == got[0].outer().sport));
    }
    ports.dedup();
    assert_eq!(ports.len(), 3, "{ports:?}");
}

#[test]
fn more_frames_than_one_call_takes_all_arrive() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let (mut a, mut b) = wire.open();
    let outer = outer_to(B, 50_000, 0);
    let frames: Vec<Owned> =
        (0..500).map(|serial| small(&outer, serial, 20 + usize::from(serial % 7))).collect();
    a.must_send(&frames);
    let wanted: Vec<Vec<u8>> = frames.iter().flat_map(pieces).collect();
    assert_eq!(b.receive_pieces(wanted.len()), wanted);
    assert_eq!(b.0.poll_losses(), []);
}

#[test]
fn what_is_too_large_for_its_way_comes_back_with_the_mtu() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let (mut a, mut b) = wire.open();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("t", &tunnel(&wire.a, B)).unwrap();
    assert_eq!((opened.mtu, opened.description.as_str()), (Some(1450), "vxlan 42 to 192.0.2.2"));
    assert_eq!(broker.poll_changes(), []);
    wire.a.exec(&["ip", "route", "add", "192.0.2.2/32", "dev", "eth0", "mtu", "1200"]);
    let change = DeviceChange::Mtu { port: "t".to_owned(), mtu: 1150 };
    assert_eq!((broker.poll_changes(), broker.poll_changes()), (vec![change], vec![]));

    let outer = outer_to(B, 50_000, 0);
    let (fits, alone) = (small(&outer, 1, 1122), small(&outer, 2, 1123));
    let too_large = |frame: &Owned| Refusal::TooLarge { outer: frame.bytes.clone(), mtu: 1200 };
    assert_eq!(a.send(&[alone.clone(), fits.clone()]), [too_large(&alone)]);
    assert_eq!(b.receive_pieces(1), pieces(&fits));
    let whole = large(&outer, 5000, 1398);
    let first = wrap(&outer, &pieces(&whole)[0], Offload::NONE);
    assert_eq!(a.send(&[whole, fits.clone()]), [too_large(&first)]);
    assert_eq!(b.receive_pieces(1), pieces(&fits));
    // Of several that were one message, only those that are too large.
    assert_eq!(
        a.send(&[alone.clone(), alone.clone(), fits.clone()]),
        [too_large(&alone), too_large(&alone)]
    );
    assert_eq!(b.receive_pieces(1), pieces(&fits));

    wire.a.exec(&["ip", "route", "del", "192.0.2.2/32", "dev", "eth0"]);
    let change = DeviceChange::Mtu { port: "t".to_owned(), mtu: 1450 };
    assert_eq!(broker.poll_changes(), [change]);
    a.must_send(std::slice::from_ref(&alone));
    assert_eq!(b.receive_pieces(1), pieces(&alone));
}

#[test]
fn port_in_use_is_refused_by_the_name_of_its_holder() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let (_device, own) = (Device::open(&plan(&wire.a, A)), std::process::id());
    let refusal = |plan: VxlanPlan| match LinuxBroker::new().open("u", &PortPlan::Vxlan(plan)) {
        Err(refusal @ OpenError::Conflict { .. }) => refusal.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    };
    let text = refusal(VxlanPlan { queues: 2, ..plan(&wire.a, A) });
    let place = format!("UDP port 4789 in namespace {} is in use by process {own} (", &*wire.a);
    assert!(text.starts_with(&place), "{text}");
    let vxlan = ["ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789"];
    wire.b.exec(&[&vxlan[..], &["dev", "eth0"]].concat());
    wire.b.exec(&["ip", "link", "set", "vx0", "up"]);
    let text = refusal(plan(&wire.b, B));
    assert!(text.contains("in use by an interface that `ip -d link"), "{text}");
    let text = refusal(plan(&wire.b, A));
    assert!(text.starts_with("192.0.2.1 is no address of namespace"), "{text}");
}
