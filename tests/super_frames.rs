//! Super-frames through the whole engine: whatever is done with one must look on the wire as if its
//! sender had sent the segments.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::tcp::{ACK, SYN};
use tapway::packet::{Burst, FrameView, Gso, Headers, Offload, TxLists};
use tapway::switch::{PortLimits, RateLimit};
use tapway::testkit::build;

const MSS: u16 = 1460;

/// A frame that is several.
#[derive(Clone)]
struct Super {
    bytes: Vec<u8>,
    offload: Offload,
}

impl Super {
    fn of(frame: &[u8], gso: Gso, size: u16) -> Self {
        let (bytes, offload) = build::unfinished(frame);
        assert!(offload.partial_start().is_some());
        Self { bytes, offload: offload.segmented(gso, size) }
    }

    fn tcp(hop: Hop, src: Endpoint, dst: Endpoint, len: usize) -> Self {
        let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        Self::of(&build::tcp(hop, src, dst, ACK, &payload), Gso::Tcp4, MSS)
    }

    fn view(&self) -> FrameView<'_> {
        FrameView { bytes: &self.bytes, offload: self.offload }
    }

    /// What its sender would have sent without offloads.
    fn segments(&self) -> Vec<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        let offload =
            self.offload.admit(&Headers::parse(&self.bytes).unwrap(), &mut bytes).unwrap();
        let mut segments = Vec::new();
        FrameView { bytes: &bytes, offload }
            .for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
        segments
    }
}

/// Sends a super-frame in one lab and its segments in another; what comes out must be the same.
fn same_on_the_wire(prepare: impl Fn() -> (Lab, LabPort, Super)) -> Vec<(PortId, Vec<u8>)> {
    let (mut whole, from, frame) = prepare();
    let mut out = whole.send_view(&from, frame.view());
    let (mut cut, from, frame) = prepare();
    let segments = frame.segments();
    assert!(segments.len() > 1);
    let mut expected = Vec::new();
    for segment in &segments {
        expected.extend(cut.send(&from, segment));
    }
    // Order is told per port.
    out.sort_by_key(|(port, _)| *port);
    expected.sort_by_key(|(port, _)| *port);
    let lengths =
        |frames: &[(PortId, Vec<u8>)]| frames.iter().map(|(_, f)| f.len()).collect::<Vec<_>>();
    assert_eq!(lengths(&out), lengths(&expected));
    assert!(out == expected, "other bytes");
    assert!(whole.is_balanced());
    let rx = |lab: &Lab| lab.engine.port_stats()[usize::from(from.port.0)].1.clone();
    assert_eq!(rx(&whole).rx_segments, rx(&cut).rx_segments);
    assert_eq!(rx(&whole).rx_frames + segments.len() as u64, rx(&cut).rx_frames + 1);
    out
}

/// An established connection from inside to [`FAR`] port 80.
fn connected() -> (Lab, LabPort, LabPort) {
    let mut lab = Lab::new();
    let (router, host) = (lab.router(), lab.known_inside(2));
    let open = |flags| build::tcp(host.to_gateway(), host.at(5000), far(80), flags, b"");
    lab.send(&host, &open(SYN));
    let answer = build::tcp(router.to_gateway(), far(80), ext(5000), SYN | ACK, b"");
    lab.send(&router, &answer);
    lab.send(&host, &open(ACK));
    (lab, router, host)
}

#[test]
fn bridged_super_frame() {
    let out = same_on_the_wire(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        (lab, a, Super::tcp(a.to(&b), a.at(1), b.at(2), 10_000))
    });
    assert_eq!(out.len(), 7);
}

#[test]
fn flooded_super_frame() {
    let out = same_on_the_wire(|| {
        let mut lab = Lab::new();
        let (a, b, _) = (lab.known_inside(2), lab.inside(3), lab.inside(4));
        (lab, a, Super::tcp(a.to(&b), a.at(1), b.at(2), 3_000))
    });
    assert_eq!(out.len(), 6);
}

#[test]
fn translated_super_frame_out_and_in() {
    let out = same_on_the_wire(|| {
        let (lab, _, host) = connected();
        (lab, host, Super::tcp(host.to_gateway(), host.at(5000), far(80), 64_000))
    });
    assert_eq!(out.len(), 44);
    assert!(out.iter().all(|(_, frame)| read(frame).src == ext(5000)));
    let back = same_on_the_wire(|| {
        let (lab, router, _) = connected();
        (lab, router, Super::tcp(router.to_gateway(), far(80), ext(5000), 4_000))
    });
    assert_eq!(back.len(), 3);
}

#[test]
fn udp_super_frame_to_a_published_port_and_by_hairpin() {
    for from_outside in [true, false] {
        same_on_the_wire(|| {
            let mut lab = Lab::new();
            let (router, server, client) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
            lab.publish(17, 53, server.at(53));
            let (from, src) = if from_outside { (router, far(9)) } else { (client, client.at(9)) };
            let frame = build::udp(from.to_gateway(), src, ext(53), &[7; 3333]);
            (lab, from, Super::of(&frame, Gso::Udp, 1000))
        });
    }
}

#[test]
fn super_frame_waits_whole_for_its_next_hop() {
    let (mut lab, router, host) = connected();
    let frame = Super::tcp(host.to_gateway(), host.at(5000), far(80), 4_000);
    // The router falls silent until it has failed, and is asked for again.
    lab.advance(Duration::from_secs(40));
    for _ in 0..12 {
        lab.send_view(&host, frame.view());
        lab.advance(Duration::from_secs(1));
    }
    let held = lab.send_view(&host, frame.view());
    assert!(!held.iter().any(|(_, frame)| frame.len() > 100), "{held:02x?}");
    let reply = build::arp_reply(router.mac, router.ip, (router.gateway, Lab::EXTERNAL));
    let out = lab.send(&router, &reply);
    let packets: Vec<_> = out.iter().map(|(_, frame)| read(frame)).collect();
    assert!(packets.len() >= 3 && packets.len().is_multiple_of(3));
    assert_eq!(packets.iter().map(|p| p.payload.len()).take(3).sum::<usize>(), 4_000);
}

#[test]
fn segments_that_do_not_fit_the_next_link_are_reported_once() {
    let (mut lab, router, host) = connected();
    lab.must(Command::SetPortMtu(router.port, 1400));
    let frame = Super::tcp(host.to_gateway(), host.at(5000), far(80), 10_000);
    let error = only_icmp(&lab.send_view(&host, frame.view()), &host);
    assert_eq!((error.payload[..2].to_vec(), &error.payload[6..8]), (vec![3, 4], &[5, 0x78][..]));
    // It quotes what its sender's peer would have got: the first segment.
    assert_eq!(error.payload[8..], frame.segments()[0][14..14 + error.payload.len() - 8]);
    assert_eq!(lab.dropped(DropReason::FragmentationNeeded), 1);
    // What fits passes, though the super-frame itself is much larger.
    let frame = Super { offload: frame.offload.segmented(Gso::Tcp4, 1300), ..frame };
    assert_eq!(lab.send_view(&host, frame.view()).len(), 8);
}

#[test]
fn segments_that_may_be_fragmented_are() {
    let out = same_on_the_wire(|| {
        let (mut lab, router, host) = connected();
        lab.must(Command::SetPortMtu(router.port, 1400));
        let mut frame = build::tcp(host.to_gateway(), host.at(5000), far(80), ACK, &[3; 4000]);
        frame[20] &= !0x40;
        fix_header_checksum(&mut frame);
        (lab, host, Super::of(&frame, Gso::Tcp4, MSS))
    });
    assert_eq!(out.len(), 5, "two of three in two pieces");
    assert!(out.iter().all(|(_, frame)| frame.len() <= 1414));
}

#[test]
fn datagrams_of_a_super_frame_each_get_an_identification_of_their_own() {
    let out = same_on_the_wire(|| {
        let mut lab = Lab::new();
        let (_, host) = (lab.router(), lab.known_inside(2));
        let frame = udp_df_clear(host.to_gateway(), host.at(5000), far(53), &[1; 3000]);
        (lab, host, Super::of(&frame, Gso::Udp, 1000))
    });
    let mut ids: Vec<u16> = out.iter().map(|(_, frame)| read(frame).id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert_ne!([ids[0].wrapping_add(1), ids[0].wrapping_add(2)], ids[1..]);
}

#[test]
fn super_frame_whose_segments_exceed_a_port_is_oversize() {
    let mut lab = Lab::new();
    let (a, b) = (lab.known_inside(2), lab.known_inside(3));
    lab.must(Command::SetPortMtu(b.port, 1000));
    let frame = Super::tcp(a.to(&b), a.at(1), b.at(2), 3_000);
    assert!(lab.send_view(&a, frame.view()).is_empty());
    assert_eq!(lab.dropped(DropReason::Oversize), 1);
}

#[test]
fn errors_about_a_super_frame_quote_a_whole_segment() {
    let (mut lab, _, host) = connected();
    let hop = host.to_gateway().ttl(1);
    let frame = Super::tcp(hop, host.at(5000), far(80), 10_000);
    let error = only_icmp(&lab.send_view(&host, frame.view()), &host);
    assert_eq!(error.payload[..2], [11, 0]);
    let quoted = &error.payload[8..];
    assert_eq!(quoted[2..4], 1500_u16.to_be_bytes(), "its length");
    assert_eq!(quoted, &frame.segments()[0][14..14 + quoted.len()]);
}

#[test]
fn closed_port_refuses_a_super_frame_once() {
    let mut lab = Lab::new();
    let host = lab.known_inside(2);
    let own = Endpoint::new(Lab::GATEWAY, 81);
    let frame = Super::tcp(host.to_gateway(), host.at(5000), own, 3_000);
    only_tcp(&lab.send_view(&host, frame.view()), &host);
    let frame = build::udp(host.to_gateway(), host.at(5000), own, &[1; 3000]);
    let frame = Super::of(&frame, Gso::Udp, 1000);
    let error = only_icmp(&lab.send_view(&host, frame.view()), &host);
    assert_eq!(error.payload[..2], [3, 3]);
    assert_eq!(error.payload[8..], frame.segments()[0][14..14 + error.payload.len() - 8]);
}

#[test]
fn tiny_segments_of_one_host_leave_room_for_answers_to_others() {
    let mut lab = Lab::new();
    let (router, host, other) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
    let mut burst = Burst::new();
    // DF clear: each segment wants an identification of its own, 1500 of them.
    let frame = udp_df_clear(host.to_gateway(), host.at(5000), far(53), &[1; 3000]);
    let frame = Super::of(&frame, Gso::Udp, 2);
    let fits = Super { offload: frame.offload.segmented(Gso::Udp, 5), ..frame.clone() };
    for frame in [&frame, &fits, &fits] {
        burst.push_view(host.port, frame.view()).unwrap();
    }
    let ping = build::echo(other.to_gateway(), other.ip, Lab::GATEWAY, 7, false);
    burst.push(other.port, &ping).unwrap();
    let mut tx = TxLists::new();
    lab.engine.process(lab.now(), &mut burst, &mut tx);
    assert_eq!(tx.list(other.port).len(), 1, "the answer");
    assert_eq!(tx.list(router.port).len(), 600, "all segments of a frame, or none");
    assert_eq!(lab.dropped(DropReason::EgressQueueFull), 2);
    assert!(lab.is_balanced());
}

#[test]
fn flooded_super_frame_counts_as_its_segments_against_the_storm_limit() {
    let mut lab = Lab::with(EngineConfig::with_sessions(64), |n| n.bridge.storm_limit = 10);
    lab.alone(); // each worker has a limit of its own
    let (a, b) = (lab.inside(2), lab.inside(3));
    let frame = Super::tcp(a.to(&b), a.at(1), b.at(2), 10_000);
    assert_eq!(lab.send_view(&a, frame.view()).len(), 7);
    assert!(lab.send_view(&a, frame.view()).is_empty());
    assert_eq!(lab.dropped(DropReason::StormLimit), 1);
    // More than the limit at once is what the limit lets pass in a second.
    lab.advance(Duration::from_secs(1));
    let large = Super::tcp(a.to(&b), a.at(1), b.at(2), 30_000);
    assert_eq!(lab.send_view(&a, large.view()).len(), 21);
    assert!(lab.is_balanced());
}

#[test]
fn a_super_frame_counts_as_its_segments_against_a_limit() {
    let mut lab = Lab::new();
    let (a, b) = (lab.known_inside(2), lab.known_inside(3));
    // 10 000 bytes in seven segments, each with 54 bytes of headers.
    let frame = Super::tcp(a.to(&b), a.at(1), b.at(2), 10_000);
    let wire = 10_000 + 7 * 54;
    for (burst, passes) in [(wire, true), (wire - 1, false)] {
        // More than a burst at once takes all of it: so another frame goes before.
        let limit = RateLimit { bytes_per_s: 1_000, burst: burst + 60 };
        lab.must(Command::SetPortLimits(a.port, PortLimits { rx: Some(limit), tx: None }));
        lab.advance(Duration::from_secs(60));
        let small = [&b.mac.0[..], &a.mac.0, &[0x88, 0xb5], &[0; 46]].concat();
        assert_eq!(lab.send(&a, &small).len(), 1);
        assert_eq!(lab.send_view(&a, frame.view()).len(), if passes { 7 } else { 0 });
    }
    assert_eq!(lab.dropped(DropReason::LimitRx), 1);
    assert!(lab.is_balanced());
}
