//! One test per rule of what is joined and what is not. That cutting gives the same bytes again
//! is in `tests/coalesce.rs`, for random streams.

use super::super::{Gso, put16};
use super::*;
use etherparse::{PacketBuilder, TcpOptionElement};

const IP: usize = 14;
const TCP4: usize = IP + 20;
const TCP6: usize = IP + 40;
const SIZE: usize = 1000;

/// A super-frame as one host would send it. TCP over IPv4 has timestamps, 12 bytes of options.
fn whole(gso: Gso, port: u16, len: usize) -> (Vec<u8>, Offload) {
    let payload: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let mut frame = Vec::new();
    let (src, dst) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let written = match gso {
        Gso::Tcp4 => ethernet
            .ipv4(src, dst, 64)
            .tcp(port, 81, u32::MAX - 1500, 500)
            .ack(7)
            .options(&[TcpOptionElement::Timestamp(1, 2)])
            .unwrap()
            .write(&mut frame, &payload),
        Gso::Tcp6 => ethernet
            .ipv6([1; 16], [2; 16], 64)
            .tcp(port, 81, u32::MAX - 1500, 500)
            .ack(7)
            .write(&mut frame, &payload),
        _ => ethernet.ipv4(src, dst, 64).udp(port, 81).write(&mut frame, &payload),
    };
    written.unwrap();
    if gso != Gso::Tcp6 {
        put16(&mut frame, IP + 4, u16::MAX); // the next one is 0
    }
    let is_partial = true;
    resum(&mut frame, is_partial);
    let (transport, field) = places(&frame);
    let payload = frame.len() - len;
    assert_eq!(usize::from(field), if gso == Gso::Udp { 6 } else { 16 });
    (frame, Offload::joined(gso, SIZE as u16, (transport, payload as u16)))
}

/// The segments of that.
fn cut(gso: Gso, port: u16, len: usize) -> Vec<Vec<u8>> {
    let (frame, offload) = whole(gso, port, len);
    segments_of(FrameView { bytes: &frame, offload })
}

fn segments_of(view: FrameView<'_>) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    view.for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
    segments
}

/// Where an untagged frame has its transport header, and in that the checksum.
fn places(frame: &[u8]) -> (u16, u16) {
    let (transport, protocol) = if frame[IP] >> 4 == 6 {
        (TCP6, IP + 6)
    } else {
        (IP + 4 * (frame[IP] & 15) as usize, IP + 9)
    };
    (transport as u16, if frame[protocol] == 17 { 6 } else { 16 })
}

/// Makes all checksums right.
fn resum(frame: &mut [u8], is_partial: bool) {
    let (transport, field) = places(frame);
    let at = usize::from(transport);
    let is_ipv4 = frame[IP] >> 4 == 4;
    let addresses = if is_ipv4 { IP + 12..IP + 20 } else { IP + 8..IP + 40 };
    if is_ipv4 {
        put16(frame, IP + 10, 0);
        let sum = checksum::checksum(&frame[IP..at]);
        put16(frame, IP + 10, sum);
    }
    let protocol = if field == 6 { 17 } else { 6 };
    let sum = checksum::pseudo_header_of(&frame[addresses], protocol, frame.len() - at);
    put16(frame, at + usize::from(field), sum);
    if !is_partial {
        Offload::partial(transport, field).complete(frame);
    }
}

/// How many frames of the list are in each that goes out.
fn groups_of(views: &[FrameView<'_>], offloads: Offloads) -> Vec<u16> {
    let mut coalescer = Coalescer::new();
    coalescer.coalesce(offloads, views.len(), |index| views[index]);
    coalescer
        .outgoing()
        .map(|outgoing| match outgoing {
            Outgoing::Kept(_) => 1,
            Outgoing::Joined(joined) => joined.segments(),
        })
        .collect()
}

/// Frames that follow each other are joined one after the other, and cutting gives them again.
fn runs_of(frames: &[Vec<u8>]) -> Vec<u64> {
    let (mut room, mut again, mut counts) = (vec![0; 1 << 17], Vec::new(), Vec::new());
    let mut rest = frames.iter().peekable();
    while let Some(first) = rest.next() {
        let mut run = Run::start(first, &mut room).unwrap();
        while rest.next_if(|frame| run.push(frame)).is_some() {}
        let got = run.finish();
        counts.push(got.offload.segments(got.len));
        again.extend(segments_of(FrameView { bytes: &room[..got.len], offload: got.offload }));
    }
    assert_eq!(again, frames);
    counts
}

fn groups(frames: &[Vec<u8>]) -> Vec<u16> {
    runs_of(frames);
    let views: Vec<_> = frames.iter().map(|frame| FrameView::finished(frame)).collect();
    groups_of(&views, Offloads::ALL)
}

/// Two segments are joined, but not if `edit` was done to those of these indexes.
fn assert_apart(gso: Gso, edited: &[usize], edit: impl Fn(&mut Vec<u8>)) {
    let mut frames = cut(gso, 80, 2 * SIZE);
    assert_eq!(groups(&frames), [2]);
    for index in edited {
        edit(&mut frames[*index]);
        resum(&mut frames[*index], false);
    }
    assert_eq!(groups(&frames), [1, 1]);
}

fn flip(at: usize, bits: u8) -> impl Fn(&mut Vec<u8>) {
    move |frame| frame[at] ^= bits
}

#[test]
fn joined_segments_are_the_super_frame_that_they_were_cut_from() {
    for gso in [Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
        let (mut bytes, offload) = whole(gso, 80, 5 * SIZE + 1);
        if gso != Gso::Udp {
            let (transport, _) = places(&bytes);
            bytes[usize::from(transport) + 13] |= 0x09; // PSH and FIN, of the last
        }
        let frames = segments_of(FrameView { bytes: &bytes, offload });
        let mut coalescer = Coalescer::new();
        let view = |index: usize| FrameView::finished(&frames[index]);
        assert!(coalescer.coalesce(Offloads::ALL, frames.len(), view));
        let outgoing: Vec<_> = coalescer.outgoing().collect();
        let [Outgoing::Joined(joined)] = outgoing[..] else { panic!("{outgoing:?}") };
        assert_eq!(joined.frame(), FrameView { bytes: &bytes, offload });
        assert_eq!(joined.with_header(), [&offload.to_header()[..], &bytes].concat());
        assert_eq!(joined.segments(), 6);
    }
}

#[test]
fn super_frame_stands_where_its_first_segment_was_and_lone_ones_are_kept() {
    let (a, b) = (cut(Gso::Tcp4, 80, 2 * SIZE), cut(Gso::Udp, 53, SIZE));
    let frames = [b[0].clone(), a[0].clone(), cut(Gso::Tcp6, 9, SIZE)[0].clone(), a[1].clone()];
    let mut coalescer = Coalescer::new();
    coalescer.coalesce(Offloads::ALL, 4, |index| FrameView::finished(&frames[index]));
    let outgoing: Vec<_> = coalescer.outgoing().collect();
    let [Outgoing::Kept(0), Outgoing::Joined(_), Outgoing::Kept(2)] = outgoing[..] else {
        panic!("{outgoing:?}")
    };
    let lone = |index: usize| FrameView::finished(&frames[index]);
    assert!(!coalescer.coalesce(Offloads::ALL, 1, lone), "an earlier list is forgotten");
    assert_eq!(coalescer.outgoing().count(), 1);
}

#[test]
fn device_gets_only_the_super_frames_that_it_takes() {
    let takes = |gso, offloads| {
        let frames = cut(gso, 80, 2 * SIZE);
        let views: Vec<_> = frames.iter().map(|frame| FrameView::finished(frame)).collect();
        groups_of(&views, offloads) == [2]
    };
    let all = Offloads::ALL;
    for gso in [Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
        assert!(!takes(gso, Offloads::NONE) && !takes(gso, Offloads { checksum: false, ..all }));
        assert_eq!(takes(gso, Offloads { tso4: false, ..all }), gso != Gso::Tcp4);
        assert_eq!(takes(gso, Offloads { tso6: false, ..all }), gso != Gso::Tcp6);
        assert_eq!(takes(gso, Offloads { uso: false, ..all }), gso != Gso::Udp);
    }
}

#[test]
fn segments_with_other_ipv4_headers_stay_apart() {
    let cases = [
        ("source MAC", 6, 2),
        ("service", IP + 1, 0x10),
        ("congestion", IP + 1, 0x03),
        ("id", IP + 5, 1),
        ("DF", IP + 6, 0x40),
        ("reserved bit", IP + 6, 0x80),
        ("TTL", IP + 8, 1),
        ("source address", IP + 15, 1),
    ];
    for (name, at, bits) in cases {
        eprintln!("{name}");
        assert_apart(Gso::Tcp4, &[1], flip(at, bits));
        assert_apart(Gso::Udp, &[1], flip(at, bits));
    }
}

#[test]
fn segments_with_other_ipv6_headers_stay_apart() {
    for at in [IP, IP + 1, IP + 3, IP + 7, IP + 8, IP + 39] {
        assert_apart(Gso::Tcp6, &[1], flip(at, 1));
    }
}

#[test]
fn segments_with_other_tcp_headers_stay_apart() {
    // Ports, sequence, acknowledgment, window, urgent pointer, options.
    for at in [0, 2, 7, 4, 11, 14, 15, 18, 20, 31] {
        assert_apart(Gso::Tcp4, &[1], flip(TCP4 + at, 1));
    }
}

#[test]
fn segments_with_other_flags_than_ack_stay_apart() {
    for flags in [0x02, 0x04, 0x20, 0x40, 0x80] {
        assert_apart(Gso::Tcp4, &[0, 1], flip(TCP4 + 13, flags));
        assert_apart(Gso::Tcp6, &[1], flip(TCP6 + 13, flags));
    }
    assert_apart(Gso::Tcp4, &[0, 1], flip(TCP4 + 13, 0x10));
    assert_apart(Gso::Tcp4, &[0, 1], flip(TCP4 + 12, 0x01)); // AE
}

#[test]
fn push_and_fin_are_of_the_last_segment_and_end_a_super_frame() {
    for flag in [0x08, 0x01] {
        assert_apart(Gso::Tcp4, &[0], flip(TCP4 + 13, flag));
        let mut frames = cut(Gso::Tcp4, 80, 4 * SIZE);
        frames[1][TCP4 + 13] |= flag;
        resum(&mut frames[1], false);
        assert_eq!(groups(&frames), [2, 2]);
    }
}

#[test]
fn vlan_tags_must_be_the_same() {
    let tag = |frame: &mut Vec<u8>, vlan| drop(frame.splice(12..12, [0x81, 0, 0, vlan]));
    let mut frames = cut(Gso::Tcp4, 80, 4 * SIZE);
    for (frame, vlan) in frames.iter_mut().zip([5, 5, 6, 5]) {
        tag(frame, vlan);
    }
    assert_eq!(groups(&frames), [2, 1, 1]);
}

#[test]
fn ip_options_and_extension_headers_are_not_joined() {
    assert_apart(Gso::Tcp4, &[0, 1], |frame| {
        frame[IP] = 0x46;
        frame.splice(TCP4..TCP4, [1, 1, 1, 0]);
        let len = (frame.len() - IP) as u16;
        put16(frame, IP + 2, len);
    });
    // Nor if what follows the shortest header could pass for TCP.
    let mut frames = cut(Gso::Tcp4, 80, 2 * SIZE);
    for frame in &mut frames {
        frame[IP] = 0x46;
        put16(frame, IP + 10, 0);
        let sum = checksum::checksum(&frame[IP..TCP4]);
        put16(frame, IP + 10, sum);
    }
    assert_eq!(groups(&frames), [1, 1]);
    let mut frames = cut(Gso::Tcp6, 80, 2 * SIZE);
    for frame in &mut frames {
        frame.splice(TCP6..TCP6, [6, 0, 1, 4, 0, 0, 0, 0]); // destination options
        frame[IP + 6] = 60;
        let len = (frame.len() - TCP6) as u16;
        put16(frame, IP + 4, len);
    }
    assert_eq!(groups(&frames), [1, 1]);
}

#[test]
fn fragments_are_not_joined() {
    assert_apart(Gso::Udp, &[0, 1], flip(IP + 6, 0x20));
    assert_apart(Gso::Udp, &[0, 1], flip(IP + 7, 0x01));
}

#[test]
fn frame_with_a_trailer_is_not_joined() {
    for gso in [Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
        for index in [0, 1] {
            let mut frames = cut(gso, 80, 2 * SIZE);
            frames[index].push(0);
            assert_eq!(groups(&frames), [1, 1]);
        }
    }
    assert_apart(Gso::Udp, &[1], flip(TCP4 + 5, 1)); // a trailer of the datagram
    // Nor if the checksum would be right with the trailer counted in.
    for (gso, field) in [(Gso::Tcp4, IP + 2), (Gso::Tcp6, IP + 4)] {
        let mut frames = cut(gso, 80, 2 * SIZE);
        for frame in &mut frames {
            let len = be16_at(frame, field) - 1;
            put16(frame, field, len);
            resum(frame, false);
        }
        assert_eq!(groups(&frames), [1, 1]);
    }
}

#[test]
fn shorter_segment_ends_a_super_frame_and_longer_one_starts_another() {
    // Of datagrams only the length tells that 1000, 500, 500 cannot be cut from one.
    let mut frames = cut(Gso::Udp, 80, 2 * SIZE);
    let short = cut(Gso::Udp, 80, 500);
    for id in [1, 2] {
        let mut frame = short[0].clone();
        put16(&mut frame, IP + 4, id);
        resum(&mut frame, false);
        frames.push(frame);
    }
    assert_eq!(groups(&frames), [3, 1]);
    frames.remove(2);
    frames.swap(0, 2);
    for (id, frame) in frames.iter_mut().enumerate() {
        put16(frame, IP + 4, id as u16);
        resum(frame, false);
    }
    assert_eq!(groups(&frames), [1, 2]);
}

#[test]
fn wrong_checksum_is_never_joined() {
    for (gso, field) in [
        (Gso::Tcp4, TCP4 + 16),
        (Gso::Tcp4, IP + 10),
        (Gso::Tcp6, TCP6 + 16),
        (Gso::Udp, TCP4 + 6),
        (Gso::Udp, IP + 10),
        (Gso::Tcp4, TCP4 + 40), // payload
    ] {
        let mut frames = cut(gso, 80, 3 * SIZE);
        frames[1][field] ^= 1;
        assert_eq!(groups(&frames), [1, 1, 1]);
        frames[0][field] ^= 1;
        frames[1][field] ^= 1;
        assert_eq!(groups(&frames), [1, 2]);
    }
}

#[test]
fn other_form_of_zero_is_not_joined() {
    // Each is as good a checksum as its complement, but not the one that cutting writes.
    let mut frames = cut(Gso::Tcp4, 80, 2 * SIZE);
    take_up(&mut frames[1], TCP4 + 34, TCP4 + 16);
    resum(&mut frames[1], false);
    assert_eq!((be16_at(&frames[1], TCP4 + 16), groups(&frames)), (0, vec![2]));
    put16(&mut frames[1], TCP4 + 16, 0xffff);
    assert_eq!(groups(&frames), [1, 1]);
    let mut frames = cut(Gso::Tcp4, 80, 2 * SIZE);
    // Identifications 0xffff and 0 add the same, so one source address does it for both.
    for frame in &mut frames {
        take_up(frame, IP + 12, IP + 10);
        resum(frame, false);
    }
    assert_eq!((be16_at(&frames[1], IP + 10), groups(&frames)), (0, vec![2]));
    put16(&mut frames[1], IP + 10, 0xffff);
    assert_eq!(groups(&frames), [1, 1]);
}

fn be16_at(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// Adds the checksum to a word that it covers: the rest then sums to all ones, and 0 is right.
fn take_up(frame: &mut [u8], word: usize, field: usize) {
    let sum = checksum::sum_of(&[be16_at(frame, word), be16_at(frame, field)]);
    put16(frame, word, sum);
}

#[test]
fn datagram_without_checksum_is_not_joined() {
    let mut frames = cut(Gso::Udp, 80, 2 * SIZE);
    for frame in &mut frames {
        take_up(frame, TCP4 + 8, TCP4 + 6);
        put16(frame, TCP4 + 6, 0);
    }
    assert_eq!(groups(&frames), [1, 1]);
}

#[test]
fn partial_checksum_is_joined_only_if_it_is_the_sum_of_its_pseudo_header() {
    for (gso, transport, field) in
        [(Gso::Tcp4, TCP4, 16), (Gso::Tcp6, TCP6, 16), (Gso::Udp, TCP4, 6)]
    {
        let mut frames = cut(gso, 80, 3 * SIZE);
        resum(&mut frames[1], true);
        let own = Offload::partial(transport as u16, field as u16);
        let groups_with = |frames: &[Vec<u8>], offload| {
            let mut views: Vec<_> = frames.iter().map(|frame| FrameView::finished(frame)).collect();
            views[1].offload = offload;
            groups_of(&views, Offloads::ALL)
        };
        assert_eq!(groups_with(&frames, own), [3]);
        assert_eq!(groups_with(&frames, Offload::NONE), [1, 1, 1]);
        let elsewhere = Offload::partial(transport as u16 + 2, field as u16 - 2);
        assert_eq!(groups_with(&frames, elsewhere), [1, 1, 1]);
        frames[1][transport + field] ^= 1;
        assert_eq!(groups_with(&frames, own), [1, 1, 1]);
    }
}

#[test]
fn whatever_else_is_of_a_flow_is_not_overtaken() {
    let data = cut(Gso::Tcp4, 80, 4 * SIZE);
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = data[0].clone();
        edit(&mut frame);
        resum(&mut frame, false);
        frame
    };
    let strangers = [
        edited(&|frame| {
            frame.truncate(TCP4 + 32);
            put16(frame, IP + 2, 52);
        }), // a pure ACK
        edited(&flip(TCP4 + 13, 0x04)),     // a reset
        edited(&flip(IP + 7, 0x01)),        // a fragment
        edited(&|frame| frame[IP + 9] = 1), // ICMP
        edited(&|frame| frame[IP] = 0x55),  // not to be read
        edited(&|frame| frame.push(0)),
    ];
    for stranger in strangers {
        let frames = [&data[..2], &[stranger], &data[2..]].concat();
        assert_eq!(groups(&frames), [2, 1, 2]);
    }
    let (bytes, offload) = whole(Gso::Tcp4, 80, 2 * SIZE);
    let mut views: Vec<_> = data.iter().map(|frame| FrameView::finished(frame)).collect();
    views.insert(2, FrameView { bytes: &bytes, offload });
    assert_eq!(groups_of(&views, Offloads::ALL), [2, 1, 2]);
}

#[test]
fn frames_of_other_flows_may_be_overtaken() {
    let data = cut(Gso::Tcp4, 80, 4 * SIZE);
    let mut other_pair = cut(Gso::Udp, 80, SIZE)[0].clone();
    put16(&mut other_pair, IP + 6, 1);
    put16(&mut other_pair, IP + 12, 0x0b00);
    let others = [
        cut(Gso::Udp, 80, SIZE)[0].clone(),
        cut(Gso::Tcp4, 79, SIZE)[0].clone(),
        cut(Gso::Tcp6, 80, SIZE)[0].clone(),
        other_pair,
        vec![0xff; 60],
    ];
    for other in others {
        let frames = [&data[..2], &[other], &data[2..]].concat();
        assert_eq!(groups(&frames), [4, 1]);
    }
}

#[test]
fn bounded_number_of_flows_grows_at_a_time() {
    let interleaved = |flows: usize| {
        let flows: Vec<_> = (0..flows).map(|at| cut(Gso::Tcp4, at as u16, 3 * SIZE)).collect();
        let rounds = (0..3).flat_map(|at| flows.iter().map(move |flow| flow[at].clone()));
        groups(&rounds.collect::<Vec<_>>())
    };
    assert_eq!(interleaved(OPEN_FLOWS), [3; OPEN_FLOWS]);
    assert_eq!(interleaved(OPEN_FLOWS + 1), [1; 3 * (OPEN_FLOWS + 1)]);
}

#[test]
fn super_frame_is_at_most_the_longest_packet() {
    // 52 bytes of headers and 65 segments of 1000 are 65052, one more would be 66052.
    let mut frames = cut(Gso::Tcp4, 80, 65 * SIZE);
    let mut more = cut(Gso::Tcp4, 80, SIZE)[0].clone();
    put16(&mut more, IP + 4, 64);
    let sequence = (u32::MAX - 1500).wrapping_add(65 * SIZE as u32);
    put(&mut more, TCP4 + 4, &sequence.to_be_bytes());
    resum(&mut more, false);
    frames.push(more);
    assert_eq!(groups(&frames), [65, 1]);
}

#[test]
fn super_frame_has_at_most_the_datagrams_that_linux_takes() {
    let (frame, offload) = whole(Gso::Udp, 80, 70 * 100);
    let (transport, payload) = (offload.partial_start().unwrap(), offload.header_len());
    let offload = Offload::joined(Gso::Udp, 100, (transport, payload));
    let frames = segments_of(FrameView { bytes: &frame, offload });
    assert_eq!(groups(&frames), [MAX_DATAGRAMS, 6]);
}

#[test]
fn super_frame_has_at_most_the_most_segments() {
    let (mut frame, _) = whole(Gso::Tcp4, 80, 1);
    resum(&mut frame, false);
    let frames: Vec<_> = (0..=MAX_SEGMENTS as u16)
        .map(|id| {
            put16(&mut frame, IP + 4, id);
            put(&mut frame, TCP4 + 4, &u32::from(id).to_be_bytes());
            resum(&mut frame, false);
            frame.clone()
        })
        .collect();
    assert_eq!(groups(&frames), [MAX_SEGMENTS as u16, 1]);
}

#[test]
fn memory_is_used_again() {
    let frames = cut(Gso::Tcp4, 80, 60 * SIZE);
    let mut coalescer = Coalescer::new();
    let mut run = || {
        coalescer.coalesce(Offloads::ALL, 60, |index| FrameView::finished(&frames[index]));
        let built = (coalescer.built.capacity(), coalescer.open.capacity());
        (coalescer.arena.capacity(), coalescer.slots.capacity(), built)
    };
    let first = run();
    assert_eq!([run(), run()], [first; 2]);
}

#[test]
fn run_of_segments_is_the_super_frame_that_they_were_cut_from() {
    for gso in [Gso::Tcp4, Gso::Tcp6, Gso::Udp] {
        let (bytes, offload) = whole(gso, 80, 5 * SIZE + 1);
        let frames = segments_of(FrameView { bytes: &bytes, offload });
        let mut room = vec![0; bytes.len()];
        let mut run = Run::start(&frames[0], &mut room).unwrap();
        assert!(frames[1..].iter().all(|frame| run.push(frame)));
        assert!(!run.push(&frames[0]), "the last one is shorter");
        let got = run.finish();
        assert_eq!((got.len, got.offload), (bytes.len(), offload));
        assert_eq!(room, bytes);
        let stranger = cut(gso, 81, SIZE).remove(0);
        let frames = [&frames[..2], &[stranger], &frames[2..]].concat();
        assert_eq!(runs_of(&frames), [2, 1, 4]);
    }
}

#[test]
fn run_takes_no_more_than_its_room() {
    let frames = cut(Gso::Tcp4, 80, 3 * SIZE);
    let mut room = vec![0; frames[0].len() + SIZE + 1];
    assert!(Run::start(&frames[0], &mut room[..SIZE]).is_none());
    let mut run = Run::start(&frames[0], &mut room).unwrap();
    assert!(run.push(&frames[1]) && !run.push(&frames[2]));
    assert_eq!(run.finish().len, frames[0].len() + SIZE);
}
