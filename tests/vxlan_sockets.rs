//! The sockets of a VTEP on a veth: what goes in as an outer frame comes out as one at the other
//! side, and what is on the wire between is VXLAN.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/vtep.rs"]
mod vtep;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use netns::{Name, must, skipped};
use tapway::drop_reason::DropReason;
use tapway::io::{
    Broker, Clock, DeviceChange, DevicePlan, LinuxBroker, OpenError, PortPlan, Refusal, TunnelPlan,
    VxlanPlan,
};
use tapway::packet::vxlan::{ENCAPSULATION, Outer, VXLAN_PORT};
use tapway::packet::{FrameView, Headers, MacAddr, Offload};
use vtep::*;

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

/// What a station at the far end of the wire sees, frame by frame.
fn on_the_wire(device: &mut Device, count: usize) -> Vec<Vec<u8>> {
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let start = Clock.now();
    while seen.len() < count {
        assert!(Clock.now().since(start) < PATIENCE, "only {} frames came", seen.len());
        let Some(mut frame) = device.poll() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let headers = Headers::parse(&frame.bytes).unwrap();
        let offload = frame.offload.admit(&headers, &mut frame.bytes).unwrap();
        let view = FrameView { bytes: &frame.bytes, offload };
        view.for_each_segment(&mut Vec::new(), |frame| seen.push(frame.to_vec()));
    }
    seen
}

#[test]
fn only_what_was_cut_has_a_checksum_outside_and_no_datagram_may_be_fragmented() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mac = MacAddr([2, 0, 0, 0, 0, 0x42]);
    let neighbour = ["neigh", "replace", "192.0.2.2", "lladdr", &mac.to_string(), "dev", "eth0"];
    wire.a.exec(&[&["ip"][..], &neighbour].concat());
    let station = PortPlan::Device(DevicePlan {
        netns: Some(wire.b.to_string()),
        device: "eth0".to_owned(),
        mac,
        addresses: Vec::new(),
        receive_buffer: 1 << 20,
    });
    let mut station = Device(LinuxBroker::new().open("station", &station).unwrap().io);
    let mut a = Device::open(&plan(&wire.a, A));
    let outer = outer_to(B, 50_000, 0xb9);
    let (alone, cut) = (small(&outer, 1, 200), large(&outer, 5000, 1398));
    a.must_send(&[alone.clone(), cut.clone()]);
    let seen = on_the_wire(&mut station, 5);
    let wanted: Vec<Vec<u8>> = [pieces(&alone), pieces(&cut)].concat();
    for (at, (frame, inner)) in seen.iter().zip(&wanted).enumerate() {
        assert_eq!(frame[ENCAPSULATION..], inner[..]);
        let read = Outer::parse(frame).unwrap();
        assert_eq!(Outer { sport: outer.sport, ..read }, outer);
        assert_eq!(frame[20] & 0xe0, 0x40, "DF only");
        let checksum = u16::from_be_bytes([frame[40], frame[41]]);
        assert_eq!(checksum == 0, at == 0, "datagram {at}");
        // What has one has the right one.
        let packet = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
        let Some(etherparse::TransportSlice::Udp(udp)) = &packet.transport else { panic!() };
        let header = udp.to_header();
        let right = header.calc_checksum_ipv4_raw(A.octets(), B.octets(), udp.payload()).unwrap();
        assert!(checksum == 0 || checksum == right, "{checksum:04x} is not {right:04x}");
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn datagram_of_a_stranger_comes_as_it_is() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut b = Device::open(&plan(&wire.b, B));
    let stranger = wire.a.udp("192.0.2.1:1234");
    for len in [0, 3, 7, 8, 9, 1400] {
        stranger.send_to(&payload(len), (B, VXLAN_PORT)).unwrap();
        let got = b.receive();
        assert_eq!((got.bytes[42..].to_vec(), got.offload), (payload(len), Offload::NONE));
        let is_long = len >= 8;
        // Bytes of no VXLAN header: bit 3 of the first is not set.
        assert_eq!(Outer::parse(&got.bytes), Err(DropReason::VxlanHeader), "{is_long}");
        assert_eq!((&got.bytes[26..30], &got.bytes[34..36]), (&A.octets()[..], &[4, 210][..]));
    }
}

#[test]
fn closed_port_and_missing_route_of_one_peer_lose_no_frame_of_another() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let closed = Ipv4Addr::new(192, 0, 2, 3);
    wire.b.exec(&["ip", "addr", "add", "192.0.2.3/24", "dev", "eth0"]);
    let (mut a, mut b) = wire.open();
    let mut wanted = Vec::new();
    // The same port outside, so that what the kernel hears of one could hit the other.
    for serial in 0..200 {
        let to = |dst| small(&outer_to(dst, 50_000, 0), serial, 300);
        a.must_send(&[to(closed), to(B)]);
        wanted.extend(pieces(&to(B)));
        if serial % 50 == 0 {
            // Long enough for the refusals to be back.
            assert_eq!(b.receive_pieces(wanted.len()), wanted);
            wanted.clear();
        }
    }
    assert_eq!(b.receive_pieces(wanted.len()), wanted);
    let nowhere = Ipv4Addr::new(203, 0, 113, 1);
    let lost = small(&outer_to(nowhere, 50_000, 0), 1, 300);
    let fits = small(&outer_to(B, 50_000, 0), 2, 300);
    let refusal = Refusal::Lost { reason: DropReason::VxlanNoWay, tunnel: Some((vni(), nowhere)) };
    let whole = large(&outer_to(nowhere, 50_000, 0), 5000, 1398);
    assert_eq!(a.send(&[lost, fits.clone(), whole]), [refusal.clone(), refusal]);
    assert_eq!(b.receive_pieces(1), pieces(&fits));
}

#[test]
fn frames_that_find_the_receive_buffer_full_are_counted() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut b = Device::open(&VxlanPlan { receive_buffer: 1, ..plan(&wire.b, B) });
    let mut a = Device::open(&plan(&wire.a, A));
    // Of different sizes: each is a message of its own.
    let sent = 100;
    for serial in 0..sent {
        a.must_send(&[small(&outer_to(B, 50_000, 0), serial, 100 + usize::from(serial))]);
    }
    let mut lost = 0;
    let got = b.receive_until(|_| true).len();
    assert_eq!(got, 0);
    let (start, mut received) = (Clock.now(), 0);
    while received + lost < u64::from(sent) {
        assert!(Clock.now().since(start) < PATIENCE, "{received} received, {lost} lost");
        received += u64::from(b.poll().is_some());
        lost += b.0.poll_losses().iter().map(|loss| loss.frames).sum::<u64>();
    }
    assert!(received > 0 && lost > 0, "{received} received, {lost} lost");
}

#[test]
fn queues_share_what_comes_and_a_flow_stays_with_one() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut a = Device::open(&plan(&wire.a, A));
    let mut first = Device::open(&VxlanPlan { queues: 2, ..plan(&wire.b, B) });
    let mut queues: Vec<Device> = first.0.take_queues().into_iter().map(Device).collect();
    assert_eq!(queues.len(), 1);
    queues.insert(0, first);
    let flows: Vec<u16> = (0..16).map(|flow| 50_000 + flow).collect();
    for serial in 0..10 {
        let frames: Vec<Owned> =
            flows.iter().map(|flow| small(&outer_to(B, *flow, 0), serial, 90)).collect();
        a.must_send(&frames);
    }
    let (start, mut seen) = (Clock.now(), vec![Vec::new(), Vec::new()]);
    while seen.iter().map(Vec::len).sum::<usize>() < 160 {
        assert!(Clock.now().since(start) < PATIENCE, "{seen:?}");
        for (queue, seen) in queues.iter_mut().zip(&mut seen) {
            seen.extend(queue.poll().iter().flat_map(|got| {
                pieces(got).into_iter().map(|_| got.outer().sport).collect::<Vec<_>>()
            }));
        }
    }
    let of = |queue: usize| seen[queue].iter().copied().collect::<HashSet<u16>>();
    assert_eq!((of(0).len() + of(1).len(), of(0).intersection(&of(1)).count()), (16, 0));
    assert!(!of(0).is_empty() && !of(1).is_empty(), "{seen:?}");
    // Either sends.
    let mut a = Device::open(&VxlanPlan { address: A, port: 4790, ..plan(&wire.a, A) });
    for queue in &mut queues {
        let outer = Outer { src: B, dst: A, dport: 4790, ..outer_to(A, 50_000, 0) };
        queue.must_send(&[small(&outer, 1, 100)]);
        a.receive();
    }
}

#[test]
fn groups_are_heard_once_and_not_by_their_sender() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let group = Ipv4Addr::new(239, 1, 1, 1);
    let member = |netns: &Name, address| VxlanPlan {
        groups: vec![group],
        device: Some("eth0".to_owned()),
        queues: 2,
        ..plan(netns, address)
    };
    let (mut broker, mut b) = (LinuxBroker::new(), Device::open(&member(&wire.b, B)));
    let mut a = Device(broker.open("u", &PortPlan::Vxlan(member(&wire.a, A))).unwrap().io);
    // The way to a group is that interface.
    wire.a.exec(&["ip", "link", "set", "eth0", "mtu", "1400"]);
    assert_eq!(broker.open("t", &tunnel(&wire.a, group)).unwrap().mtu, Some(1350));
    let other = Ipv4Addr::new(239, 1, 1, 2);
    // One that nobody is a member of, though it is on the wire.
    must(&["ip", "-n", &wire.b, "maddr", "add", "01:00:5e:01:01:02", "dev", "eth0"]);
    let sent = small(&outer_to(group, 50_000, 0), 1, 100);
    a.must_send(&[small(&outer_to(other, 50_000, 0), 9, 100), sent.clone()]);
    let got = b.receive();
    let sport = got.outer().sport;
    assert_eq!(got, sent.with_sport(sport));
    // Unicast comes by the same sockets, to one of the queues.
    let unicast = small(&outer_to(B, 50_000, 0), 2, 100);
    a.must_send(std::slice::from_ref(&unicast));
    let mut queues: Vec<Device> = b.0.take_queues().into_iter().map(Device).collect();
    queues.push(b);
    let (start, mut seen) = (Clock.now(), Vec::new());
    while seen.is_empty() {
        assert!(Clock.now().since(start) < PATIENCE);
        seen.extend(queues.iter_mut().filter_map(Device::poll));
    }
    assert_eq!(seen, [unicast.with_sport(seen[0].outer().sport)]);
    let mut own: Vec<Device> = a.0.take_queues().into_iter().map(Device).collect();
    own.push(a);
    assert!(own.iter_mut().chain(&mut queues).all(|queue| queue.poll().is_none()));
}

#[test]
fn sockets_in_a_namespace_that_is_gone_are_lost() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("u", &PortPlan::Vxlan(plan(&wire.a, A))).unwrap();
    let place = format!("vxlan udp 4789 192.0.2.1 netns {}", &*wire.a);
    assert_eq!((opened.description, opened.mtu), (place, None));
    assert_eq!(broker.poll_changes(), []);
    must(&["ip", "netns", "del", &wire.a]);
    let lost = broker.poll_changes();
    assert!(matches!(&lost[..], [DeviceChange::Lost { port, .. }] if port == "u"), "{lost:?}");
    assert_eq!(broker.poll_changes(), []);
    let again = broker.open("u", &PortPlan::Vxlan(plan(&wire.a, A)));
    assert!(matches!(again, Err(OpenError::NotFound { .. })));
}

#[test]
fn tunnel_without_a_route_takes_what_is_usual_until_there_is_one() {
    if skipped() {
        return;
    }
    let wire = Wire::new();
    let mut broker = LinuxBroker::new();
    let far = Ipv4Addr::new(203, 0, 113, 1);
    assert_eq!(broker.open("t", &tunnel(&wire.a, far)).unwrap().mtu, Some(1450));
    assert_eq!(broker.poll_changes(), []);
    let route = ["203.0.113.0/24", "via", "192.0.2.2"];
    wire.a.exec(&[&["ip", "route", "add"][..], &route, &["mtu", "1300"]].concat());
    let change = DeviceChange::Mtu { port: "t".to_owned(), mtu: 1250 };
    assert_eq!(broker.poll_changes(), [change]);
    wire.a.exec(&[&["ip", "route", "del"][..], &route].concat());
    assert_eq!(broker.poll_changes(), [], "it stays what it was");
    let plan = TunnelPlan {
        netns: Some(wire.a.to_string()),
        peer: "2001:db8::1".parse().unwrap(),
        vni: vni(),
        mtu: None,
    };
    let opened = broker.open("six", &PortPlan::Tunnel(plan.clone()));
    assert!(matches!(opened, Err(OpenError::Conflict { .. })));
    let given = TunnelPlan { mtu: Some(1400), ..plan };
    assert_eq!(broker.open("six", &PortPlan::Tunnel(given)).unwrap().mtu, Some(1400));
    // Groups without a route and without an interface.
    let groups = vec![Ipv4Addr::new(239, 1, 1, 1)];
    let nowhere = VxlanPlan { groups, ..vtep::plan(&wire.a, A) };
    let Err(refusal) = broker.open("u", &PortPlan::Vxlan(nowhere)) else { panic!("opened") };
    let text = refusal.to_string();
    assert!(text.starts_with("no route in namespace") && text.contains("`device`"), "{text}");
}
