//! The hot parser against etherparse, on generated and mutated frames. What must agree, and the
//! few differences on purpose, are in `testkit::fuzz::parse`.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use tapway::testkit::fuzz::{parse, seeds};

/// An Ethernet header with tags.
fn ethernet() -> impl Strategy<Value = Vec<u8>> {
    let kind = select(vec![0x8100u16, 0x88a8, 0x9100, 0x88e5]);
    let tags = proptest::collection::vec((kind, any::<u16>()), 0..4);
    let ethertype = prop_oneof![
        8 => Just(0x0800u16),
        1 => Just(0x0806),
        1 => Just(0x86dd),
        1 => any::<u16>(),
    ];
    (any::<[u8; 12]>(), tags, ethertype).prop_map(|(macs, tags, ethertype)| {
        let mut frame = macs.to_vec();
        for (kind, control) in tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame
    })
}

/// An IPv4 packet that is nearly right: lengths may be off by a little.
fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let version = prop_oneof![12 => Just(4u8), 1 => 0u8..16];
    let words = prop_oneof![6 => Just(5u8), 3 => 5u8..16, 1 => 0u8..5];
    let protocol = prop_oneof![select(vec![1u8, 6, 17, 47, 51]), any::<u8>()];
    let flags =
        prop_oneof![4 => Just(0u16), 1 => Just(0x4000), 1 => Just(0x2000), 2 => any::<u16>()];
    let payload = proptest::collection::vec(any::<u8>(), 0..80);
    let slack =
        prop_oneof![6 => Just(0i32), 2 => -30i32..30, 1 => any::<u16>().prop_map(i32::from)];
    (version, words, protocol, flags, any::<[u8; 14]>(), payload, slack).prop_map(
        |(version, words, protocol, flags, rest, payload, slack)| {
            let mut packet = vec![version << 4 | words, rest[0], 0, 0, rest[1], rest[2]];
            packet.extend(flags.to_be_bytes());
            packet.extend([rest[3], protocol]);
            packet.extend(&rest[4..14]);
            packet.resize(20.max(usize::from(words) * 4), rest[0]);
            packet.extend(payload);
            let total_len = (packet.len() as i32 + slack) as u16;
            packet[2..4].copy_from_slice(&total_len.to_be_bytes());
            packet
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_alike(frame in proptest::collection::vec(any::<u8>(), 0..128)) {
        parse(&frame);
    }

    #[test]
    fn nearly_right_packets_are_read_alike(
        ethernet in ethernet(), packet in ipv4(), cut in any::<Index>(), is_cut in any::<bool>(),
    ) {
        let mut frame = [ethernet, packet].concat();
        if is_cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        parse(&frame);
    }

    #[test]
    fn mutated_seeds_are_read_alike(
        seed in select(seeds::parse()),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
        tail in 0usize..8,
    ) {
        let mut frame = seed.1;
        frame.resize(frame.len() + tail, 0);
        for (at, value) in changes {
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] = value;
            }
        }
        parse(&frame);
        frame.truncate(cut.index(frame.len() + 1));
        parse(&frame);
    }
}

#[test]
fn every_cut_of_every_seed_is_read_alike() {
    for (name, frame) in seeds::parse() {
        eprintln!("{name}");
        for end in 0..=frame.len() {
            parse(&frame[..end]);
        }
    }
}
