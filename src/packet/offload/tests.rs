//! Hostile and sound virtio-net headers over IPv4 and IPv6.

use super::super::{
    ETHERNET_HEADER, FrameView, Headers, Layer, PROTOCOL_ICMP, PROTOCOL_UDP, VLAN_TAG,
};
use super::admit::IPV6_HEADER;
use super::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;

const IP: usize = ETHERNET_HEADER;
const L4: u16 = 34;

fn tcp(payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(80, 81, 1000, 1000);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![7; payload]).unwrap();
    frame
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(53, 54);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn vnet(flags: u8, kind: u8, size: u16, csum: (u16, u16)) -> Result<Offload, DropReason> {
    let [s0, s1] = size.to_ne_bytes();
    let ([a, b], [c, d]) = (csum.0.to_ne_bytes(), csum.1.to_ne_bytes());
    Offload::parse(&[flags, kind, 0, 0, s0, s1, a, b, c, d])
}

fn admit(offload: Offload, frame: &mut [u8]) -> Result<Offload, DropReason> {
    offload.admit(&Headers::parse(frame).unwrap(), frame)
}

#[test]
fn partial_checksum_is_completed() {
    let whole = udp(b"odd");
    let mut frame = whole.clone();
    let ip = |at: usize| std::net::Ipv4Addr::from(*whole[at..].first_chunk::<4>().unwrap());
    put16(&mut frame, 40, checksum::pseudo_header(ip(26), ip(30), PROTOCOL_UDP, 11));
    let offload = admit(vnet(NEEDS_CSUM, 0, 0, (L4, 6)).unwrap(), &mut frame).unwrap();
    assert_eq!(offload, Offload::partial(L4, 6));
    assert_eq!(FrameView { bytes: &frame, offload }.to_complete(), whole);
}

#[test]
fn header_survives_the_way_through() {
    let mut frame = tcp(3000);
    let given = vnet(NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 1000, (L4, 16)).unwrap();
    let offload = admit(given, &mut frame).unwrap();
    assert_eq!((offload.segments(frame.len()), offload.largest_segment(frame.len())), (3, 1054));
    assert_eq!(Offload::parse(&offload.to_header()).unwrap(), Offload { header_len: 0, ..offload });
    assert!(Offloads::ALL.take(offload));
    assert!(!Offloads { ecn: false, ..Offloads::ALL }.take(offload));
    assert!(!Offloads { tso4: false, ..Offloads::ALL }.take(offload));
    assert!(!Offloads::NONE.take(offload) && Offloads::NONE.take(Offload::NONE));
}

#[test]
fn super_frame_whose_checksum_was_verified_becomes_partial() {
    let mut frame = tcp(3000);
    let offload = vnet(DATA_VALID, GSO_TCPV4, 1000, (0, 0)).unwrap();
    let offload = admit(offload, &mut frame).unwrap();
    assert_eq!(offload.partial_start(), Some(L4));
    assert_eq!(FrameView { bytes: &frame, offload }.to_complete(), tcp(3000));
    assert!(admit(vnet(0, GSO_TCPV4, 1000, (0, 0)).unwrap(), &mut frame).is_err());
}

#[test]
fn header_that_disagrees_with_its_frame_is_refused() {
    let mut frame = tcp(3000);
    let good = |kind, size, csum| vnet(NEEDS_CSUM, kind, size, csum);
    let bad = [
        good(GSO_NONE, 0, (L4, 6)),              // not TCP's field
        good(GSO_NONE, 0, (0, 0)),               // would write over the MAC
        good(GSO_NONE, 0, (26, 0)),              // ... over the address
        good(GSO_NONE, 0, (L4 + 2, 0)),          // ... over the port
        good(GSO_NONE, 0, (L4, 3000)),           // beyond the frame
        good(GSO_NONE, 0, (u16::MAX, u16::MAX)), // far beyond
        good(GSO_TCPV4, 0, (L4, 16)),            // no size
        good(GSO_TCPV4, 1, (L4, 16)),            // three thousand segments
        good(GSO_TCPV4, 1000, (L4 + 2, 14)),     // another place
        good(GSO_TCPV6, 1000, (L4, 16)),         // another version
        good(GSO_UDP_L4, 1000, (L4, 6)),         // another protocol
    ];
    for offload in bad {
        let refused = admit(offload.unwrap(), &mut frame);
        assert_eq!(refused, Err(DropReason::VnetHeader), "{offload:?}");
    }
    assert_eq!(frame, tcp(3000));
    assert_eq!(vnet(NEEDS_CSUM, 3, 1000, (L4, 6)), Err(DropReason::VnetHeader)); // UFO
    frame.push(0); // a trailer
    assert!(admit(good(GSO_TCPV4, 1000, (L4, 16)).unwrap(), &mut frame).is_err());
    let mut fragment = udp(&[1; 32]);
    fragment[IP + 6] = 0x20;
    assert!(admit(good(GSO_NONE, 0, (L4, 6)).unwrap(), &mut fragment).is_err());
}

#[test]
fn no_sum_is_written_over_an_icmp_type() {
    for kind in [200u8, 8, 3] {
        let mut frame = udp(&[0; 32]);
        frame[IP + 9] = PROTOCOL_ICMP;
        frame[usize::from(L4)] = kind;
        let before = frame.clone();
        for (start, offset) in [(L4, 0), (L4, 4), (L4 + 2, 0), (L4 + 8, 0)] {
            let refused = admit(Offload::partial(start, offset), &mut frame);
            assert_eq!(refused, Err(DropReason::VnetHeader), "type {kind}: {start}+{offset}");
        }
        assert_eq!(frame, before);
        assert_eq!(admit(Offload::partial(L4, 2), &mut frame), Ok(Offload::NONE));
    }
}

#[test]
fn ipv6_super_frame_shorter_than_its_header_is_refused() {
    let mut frame = vec![0; 24];
    frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
    let offload = Offload::partial(54, 16).segmented(Gso::Tcp6, 8);
    assert_eq!(admit(offload, &mut frame), Err(DropReason::VnetHeader));
}

#[test]
fn ipv6_super_frame_with_a_payload_behind_the_64th_kilobyte_is_refused() {
    let mut frame = vec![0xf0; 54 + 65_499];
    frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
    put16(&mut frame, 18, 65_499);
    for start in [65_485, 1_200] {
        let offload = Offload::partial(start, 16).segmented(Gso::Tcp6, 40);
        assert_eq!(admit(offload, &mut frame), Err(DropReason::VnetHeader), "{start}");
    }
    let offload = Offload::partial(54 + 24, 16).segmented(Gso::Tcp6, 40);
    assert!(admit(offload, &mut frame).is_ok());
}

#[test]
fn checksum_of_a_tunnelled_packet_is_completed_at_once() {
    let inner = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut frame = udp(&inner);
    let offload = Offload::partial(L4 + 8, 2);
    assert_eq!(admit(offload, &mut frame), Ok(Offload::NONE));
    assert!(checksum::is_valid(&frame[usize::from(L4) + 8..]));
}

#[test]
fn tags_move_the_checksum() {
    let whole = udp(b"data");
    let mut frame = whole.clone();
    frame.splice(12..12, [0x81, 0, 0, 5]);
    let offload = Offload::partial(L4, 6).behind(VLAN_TAG as u16);
    assert_eq!(admit(offload, &mut frame), Ok(Offload::partial(L4 + 4, 6)));
    assert_eq!(Offload::NONE.behind(4), Offload::NONE);
}

proptest! {
    /// Whatever a stranger announces: what is admitted stays inside the frame, and no byte
    /// before the transport header changes, neither now nor when it is completed.
    #[test]
    fn nothing_before_the_transport_header_can_be_written(
        header in any::<[u8; VNET_HEADER]>(), small in any::<bool>(), len in 0usize..400,
        version in prop::sample::select(vec![0x45u8, 0x4f, 0x60]),
        protocol in prop::sample::select(vec![6u8, 17, 1, 47]),
    ) {
        let mut header = header;
        if small {
            header[7] = 0;
            header[9] = 0;
            header[1] &= 0x87;
        }
        let mut frame = tcp(len);
        frame[IP] = version;
        frame[IP + if version == 0x60 { 6 } else { 9 }] = protocol;
        if version == 0x60 {
            frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
        }
        let before = frame.clone();
        let headers = Headers::parse(&frame).unwrap();
        let start = match headers.layer {
            Layer::Ipv4(ipv4) => IP + usize::from(ipv4.header_len),
            Layer::Ipv6 => IP + IPV6_HEADER,
            _ => frame.len(),
        };
        let Ok(offload) = Offload::parse(&header) else { return Ok(()) };
        if let Ok(offload) = offload.admit(&headers, &mut frame) {
            let view = FrameView { bytes: &frame, offload };
            let mut count = 0;
            view.for_each_segment(&mut Vec::new(), |segment| {
                count += 1;
                assert!(segment.len() <= offload.largest_segment(before.len()));
                assert_eq!(segment[..IP], before[..IP]);
            });
            prop_assert_eq!(count, offload.segments(frame.len()));
            prop_assert_eq!(&view.to_complete()[..start], &before[..start]);
        }
        prop_assert_eq!(&frame[..start], &before[..start]);
    }
}

#[test]
fn a_checksum_that_is_left_undone_is_noticed_where_nobody_tells() {
    use crate::nat::Endpoint;
    use crate::packet::MacAddr;
    use crate::testkit::build::{self, Hop};
    let hop = Hop::new(MacAddr([2; 6]), MacAddr([4; 6]));
    let at = |last: u8, port| Endpoint::new([10, 0, 0, last].into(), port);
    let mut ipv6 = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [2; 16], 64)
        .udp(1, 2)
        .write(&mut ipv6, b"payload")
        .unwrap();
    let frames =
        [build::udp(hop, at(1, 5), at(2, 6), b"x"), build::tcp(hop, at(1, 5), at(2, 6), 2, b"xy")];
    for frame in &frames {
        assert_eq!(Offload::found_in(frame, 1450), Offload::NONE);
        let (mut bytes, offload) = build::unfinished(frame);
        assert_eq!(Offload::found_in(&bytes, 1450), offload);
        Offload::found_in(&bytes, 1450).complete(&mut bytes);
        assert_eq!(&bytes, frame);
        // A fragment has no whole segment, and a trailer is none of it.
        let (bytes, _) = build::unfinished(frame);
        let mut fragment = bytes.clone();
        fragment[20] = 0x20;
        let trailer = [&bytes[..], &[0]].concat();
        for other in [&fragment[..], &trailer, &bytes[..30], &bytes[..13]] {
            assert_eq!(Offload::found_in(other, 1450), Offload::NONE);
        }
    }
    let (mut large, _) = build::unfinished(&build::tcp(hop, at(1, 5), at(2, 6), 0x10, &[7; 4000]));
    let found = Offload::found_in(&large, 1450);
    let headers = Headers::parse(&large).unwrap();
    let admitted = found.admit(&headers, &mut large).unwrap();
    let view = FrameView { bytes: &large, offload: admitted };
    let mut lengths = Vec::new();
    view.for_each_segment(&mut Vec::new(), |segment| lengths.push(segment.len()));
    assert_eq!(lengths, [1464, 1464, 1234]);
    assert_eq!(Offload::found_in(&ipv6, 1450), Offload::NONE);
    let sum = checksum::pseudo_header_of(&ipv6[22..54], 17, 15);
    let mut unfinished = ipv6.clone();
    unfinished[60..62].copy_from_slice(&sum.to_be_bytes());
    Offload::found_in(&unfinished, 1450).complete(&mut unfinished);
    assert_eq!(unfinished, ipv6);
}
