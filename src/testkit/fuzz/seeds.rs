//! The corpora that fuzzing starts from: one small input per thing worth reaching.
//!
//! They are files in `fuzz/corpus`, written by `cargo test --test fuzz_corpus -- --ignored` from
//! what is here. What a fuzzer finds is added to them by hand, under a name that says what it is.

use std::net::Ipv4Addr;

use super::program::{Op, Packet};
use crate::drop_reason::DropReason;
use crate::nat::Endpoint;
use crate::packet::pcap::{CapturedFrame, FrameDirection, Writer};
use crate::packet::{MacAddr, put16};
use crate::testkit::build::{self, Hop};

/// A seed: the name of its file, and its bytes.
pub type Seed = (&'static str, Vec<u8>);

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const SRC: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const DST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// Frames for the parser.
pub fn parse() -> Vec<Seed> {
    let hop = Hop::new(A, B);
    let (src, dst) = (Endpoint::new(SRC, 5000), Endpoint::new(DST, 53));
    let udp = build::udp(hop, src, dst, b"query");
    let tcp = build::tcp(hop, src, dst, 0x12, b"data");
    let echo = build::echo(hop, SRC, DST, 7, false);
    let header = |protocol| build::ip_header(SRC, DST, protocol, 64);
    let ip = |protocol, payload: &[u8]| build::ip(hop, &header(protocol), payload);
    let pieces = build::fragments(&build::udp(hop, src, dst, &[7; 64]), 9, 24);
    let piece = |index: usize| pieces.get(index).cloned().unwrap_or_default();
    let icmp = |kind: u8, len: usize| {
        let mut message = vec![0; len];
        if let Some(first) = message.first_mut() {
            *first = kind;
        }
        ip(1, &message)
    };
    let mut options = header(17);
    let record_route = [7, 7, 4, 0, 0, 0, 0, 1];
    options.options = record_route.into();
    vec![
        ("empty", Vec::new()),
        ("ethernet_only", tcp.get(..14).unwrap_or_default().to_vec()),
        ("ethernet_short", tcp.get(..13).unwrap_or_default().to_vec()),
        ("llc", with(&tcp, 12, 0x0040)),
        ("ipv6", with(&tcp, 12, 0x86dd)),
        ("arp_request", build::arp_request(A, SRC, DST)),
        ("arp_reply", build::arp_reply(A, SRC, (B, DST))),
        ("arp_foreign_hardware", with(&build::arp_request(A, SRC, DST), 14, 6)),
        ("arp_short", build::arp_request(A, SRC, DST).get(..40).unwrap_or_default().to_vec()),
        ("udp_trailer", [udp.clone(), vec![0; 13]].concat()),
        ("udp_short", ip(17, &[0; 7])),
        ("udp_length_beyond", with(&udp, 38, 0xffff)),
        ("udp_options", build::ip(hop, &options, &[0; 16])),
        ("tcp_short", ip(6, &[0; 19])),
        ("tcp_offset_small", ip(6, &[0x40; 20])),
        ("tcp_offset_beyond", ip(6, &[0xf0; 20])),
        ("tcp_options", ip(6, &[0x80; 32])),
        ("echo_reply", build::echo(hop, SRC, DST, 7, true)),
        ("icmp_short", icmp(8, 7)),
        ("icmp_timestamp", icmp(13, 20)),
        ("icmp_timestamp_short", icmp(13, 8)),
        ("icmp_unreachable", icmp(3, 36)),
        ("icmp_router_advertisement", icmp(9, 8)),
        ("gre", ip(47, &[0; 8])),
        ("authentication_header", ip(51, &[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1])),
        ("fragment_first", piece(0)),
        ("fragment_last", piece(2)),
        ("fragment_first_tiny", with(&ip(17, &[0; 4]), 20, 0x2000)),
        ("fragment_offset_most", with(&udp, 20, 0x1fff)),
        ("flags_reserved", with(&udp, 20, 0xc000)),
        ("version_6", with(&udp, 14, 0x6500)),
        ("header_length_4", with(&udp, 14, 0x4400)),
        ("header_length_15", with(&udp, 14, 0x4f00)),
        ("total_length_0", with(&udp, 16, 0)),
        ("total_length_beyond", with(&udp, 16, 0xffff)),
        ("total_length_header", with(&udp, 16, 20)),
        ("vlan", tagged(&echo, &[0x8100])),
        ("vlan_service", tagged(&udp, &[0x88a8, 0x8100])),
        ("vlan_three", tagged(&udp, &[0x8100, 0x8100, 0x8100])),
        ("vlan_9100", tagged(&udp, &[0x9100])),
        ("vlan_short", tagged(&udp, &[0x8100]).get(..17).unwrap_or_default().to_vec()),
        ("vlan_second_short", tagged(&udp, &[0x8100, 0x8100]).get(..20).unwrap_or_default().into()),
        ("macsec", with(&udp, 12, 0x88e5)),
        ("tcp", tcp),
        ("echo_request", echo),
        ("udp", udp),
    ]
}

/// `frame` with another 16-bit number at `at`.
fn with(frame: &[u8], at: usize, value: u16) -> Vec<u8> {
    let mut changed = frame.to_vec();
    put16(&mut changed, at, value);
    changed
}

/// `frame` with VLAN tags of these types.
fn tagged(frame: &[u8], types: &[u16]) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12.min(frame.len()));
    let tags = types.iter().flat_map(|kind| [(kind >> 8) as u8, *kind as u8, 0, 5]);
    macs.iter().copied().chain(tags).chain(rest.iter().copied()).collect()
}

/// Files for the capture reader.
pub fn pcap() -> Vec<Seed> {
    let ng = pcapng().unwrap_or_default();
    let classic = |magic: [u8; 4], big: bool| {
        let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let version = if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let words = [0, 0, 65_535, 1, 1_700_000_000, 5, 4, 60].map(word).concat();
        [&magic[..], &version, &words, &[1, 2, 3, 4]].concat()
    };
    let cut = |len: usize| ng.get(..len).unwrap_or_default().to_vec();
    vec![
        ("classic_micro_little", classic([0xd4, 0xc3, 0xb2, 0xa1], false)),
        ("classic_micro_big", classic([0xa1, 0xb2, 0xc3, 0xd4], true)),
        ("classic_nano_little", classic([0x4d, 0x3c, 0xb2, 0xa1], false)),
        ("classic_nano_big", classic([0xa1, 0xb2, 0x3c, 0x4d], true)),
        (
            "classic_cut",
            classic([0xd4, 0xc3, 0xb2, 0xa1], false).get(..42).unwrap_or_default().into(),
        ),
        ("pcapng_cut_in_block", cut(ng.len().saturating_sub(7))),
        ("pcapng_header_only", cut(28)),
        ("pcapng_two_sections", [ng.clone(), ng.clone()].concat()),
        ("pcapng_simple", simple_packets(false)),
        ("pcapng_simple_big", simple_packets(true)),
        ("pcapng", ng),
    ]
}

fn pcapng() -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), 64)?;
    let first = writer.add_interface("nginx1")?;
    let second = writer.add_interface("uplink")?;
    let frame = build::udp(Hop::new(A, B), Endpoint::new(SRC, 1), Endpoint::new(DST, 2), b"abc");
    let received =
        CapturedFrame::new(first, 1_700_000_000_123_456_789, FrameDirection::Received, &frame);
    writer.write(&received)?;
    writer.write(&received.dropped(DropReason::NoRoute))?;
    writer.write(&CapturedFrame::new(second, 7, FrameDirection::Sent, &[9; 100]))?;
    Ok(writer.into_inner())
}

/// A section with an interface whose time has other units, an unknown block, a simple packet.
fn simple_packets(big: bool) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let pair = |high: u16, low: u16| {
        let order = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        [order(high), order(low)].concat()
    };
    let block = |kind: u32, body: &[u8]| {
        let length = word(body.len() as u32 + 12);
        [&word(kind)[..], &length, body, &length].concat()
    };
    let section = [&word(0x1a2b_3c4d)[..], &pair(1, 0), &[0xff; 8]].concat();
    let interface = [pair(1, 0), word(6).to_vec(), pair(9, 1), vec![0x8a, 0, 0, 0]].concat();
    [
        block(0x0a0d_0d0a, &section),
        block(1, &interface),
        block(0x0bad_cafe, &[1; 32]),
        block(3, &[&word(80)[..], &[5; 8]].concat()),
    ]
    .concat()
}

const ROUTER: u8 = 0;
const MAC: u8 = 1;
const NGINX1: u8 = 2;
const NGINX2: u8 = 3;
const GUARDED: u8 = 4;
const ISOLATED: u8 = 5;
const PLAIN: u8 = 7;
const EXTERNAL: u8 = 9;
const STATIC: u8 = 11;
const GATEWAY: u8 = 12;
const GATEWAY2: u8 = 13;
const FAR: u8 = 14;
const ABSENT: u8 = 16;

/// To the gateway, TTL 64.
const UP: u8 = 0xc0;
/// To the target's MAC, TTL 64.
const ACROSS: u8 = 0xc4;
/// To everybody.
const ALL: u8 = 0xc5;

const UDP: u8 = 0;
const TCP: u8 = 1;
const ECHO: u8 = 3;
const ARP: u8 = 4;
const GRE: u8 = 6;
const FRAGMENTS: u8 = 8;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const PUBLISH: u8 = 9;

fn packet(kind: u8, sender: u8, target: u8, hop: u8) -> Packet {
    Packet { kind, sender, target, hop, sport: 4, dport: 0, flags: SYN, size: 2, damage: vec![] }
}

const fn command(kind: u8, a: u8, b: u8, c: u8) -> Op {
    Op::Command { kind, a, b, c }
}

/// The router and the hosts of the bridge ask for their gateways, so that all are known.
fn introductions() -> Vec<Op> {
    let asks = [(ROUTER, EXTERNAL), (MAC, EXTERNAL), (NGINX1, GATEWAY), (NGINX2, GATEWAY)];
    let more = [(GUARDED, GATEWAY), (ISOLATED, GATEWAY2)];
    let mut ops: Vec<Op> = asks
        .iter()
        .chain(&more)
        .map(|(host, gateway)| Op::Packet(packet(ARP, *host, *gateway, ALL)))
        .collect();
    ops.push(Op::Flush);
    ops
}

/// A program after the introductions.
fn program(ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for op in introductions().iter().chain(ops) {
        op.encode(&mut bytes);
    }
    bytes
}

/// Programs for the engine.
pub fn engine() -> Vec<Seed> {
    let send = |kind, sender, target, hop| Op::Packet(packet(kind, sender, target, hop));
    let answer = |flags| Op::Answer { back: 0, flags };
    let wait = |step, times| Op::Wait { step, times };
    let mut many: Vec<Op> =
        (0..10).map(|sport| Op::Packet(Packet { sport, ..packet(UDP, NGINX1, FAR, UP) })).collect();
    many.extend(
        (0..10).map(|sport| Op::Packet(Packet { sport, dport: 3, ..packet(TCP, NGINX2, FAR, UP) })),
    );
    let fragments =
        |flags| Op::Packet(Packet { flags, size: 60, ..packet(FRAGMENTS, NGINX1, FAR, UP) });
    let error = Op::Error { back: 0, kind: 0, code: 4 };
    let broken = |damage: &[(u8, u8)]| {
        Op::Packet(Packet { damage: damage.to_vec(), ..packet(UDP, NGINX1, FAR, UP) })
    };
    let modes = |mode| {
        let open = [command(0, 1, mode, 0), send(UDP, NGINX1, FAR, UP), Op::Flush, answer(0)];
        program(&[&open[..], &[Op::Flush, send(UDP, MAC, EXTERNAL, UP), Op::Flush]].concat())
    };
    vec![
        ("nothing", Vec::new()),
        ("introductions", program(&[])),
        ("bridge", program(&[send(UDP, NGINX1, NGINX2, ACROSS), Op::Flush, answer(0), Op::Flush])),
        ("bridge_unknown", program(&[send(UDP, NGINX1, ABSENT, ACROSS), Op::Flush])),
        ("bridge_plain", program(&[send(UDP, PLAIN, PLAIN + 1, ACROSS), Op::Flush, answer(0)])),
        ("mac_moves", program(&[send(UDP, NGINX1, NGINX2, 0xc6), Op::Loop { back: 0, port: 1 }])),
        ("reserved_group", program(&[send(UDP, NGINX1, NGINX2, 0xc7), Op::Flush])),
        ("isolated", program(&[send(UDP, ISOLATED, ISOLATED + 1, ACROSS), Op::Flush])),
        (
            "guard_ip",
            program(&[Op::Packet(Packet {
                damage: vec![(29, 1)],
                ..packet(UDP, GUARDED, FAR, UP)
            })]),
        ),
        ("napt_udp", program(&[send(UDP, NGINX1, FAR, UP), Op::Flush, answer(0), Op::Flush])),
        (
            "napt_tcp",
            program(&[
                send(TCP, NGINX1, FAR, UP),
                Op::Flush,
                answer(SYN_ACK),
                Op::Flush,
                answer(0x10),
                Op::Flush,
                answer(0x11),
                Op::Flush,
                answer(0x14),
                wait(6, 0),
            ]),
        ),
        ("napt_echo", program(&[send(ECHO, NGINX1, FAR, UP), Op::Flush, answer(0), Op::Flush])),
        ("napt_gre", program(&[send(GRE, NGINX1, FAR, UP), Op::Flush, answer(0), Op::Flush])),
        ("napt_full", program(&many)),
        ("napt_expires", program(&[send(UDP, NGINX1, FAR, UP), wait(6, 1), answer(0), Op::Flush])),
        ("napt_eim_adf", modes(1)),
        ("napt_eim_eif", modes(2)),
        ("napt_apdm", modes(3)),
        ("routed_untranslated", modes(4)),
        ("pool", program(&[command(0, 0, 0, 1), send(UDP, NGINX1, FAR, UP), Op::Flush, answer(0)])),
        (
            "static",
            program(&[
                command(0, 0, 0, 2),
                send(TCP, MAC, STATIC, UP),
                Op::Flush,
                answer(SYN_ACK),
                send(UDP, NGINX2, FAR, UP),
                send(UDP, NGINX1, STATIC, UP),
                Op::Flush,
            ]),
        ),
        ("exempt", program(&[command(0, 1, 0, 32), send(UDP, NGINX1, FAR + 1, UP), Op::Flush])),
        (
            "publish",
            program(&[
                command(PUBLISH, NGINX1, 0, 1),
                send(TCP, MAC, EXTERNAL, UP),
                Op::Flush,
                answer(SYN_ACK),
                Op::Flush,
                command(11, NGINX1, 0, 1),
                send(TCP, MAC, EXTERNAL, UP),
            ]),
        ),
        ("publish_range", program(&[command(PUBLISH, NGINX1, 1, 5), send(UDP, MAC, EXTERNAL, UP)])),
        (
            "hairpin_published",
            program(&[
                command(PUBLISH, NGINX1, 0, 1),
                send(TCP, NGINX2, EXTERNAL, UP),
                Op::Flush,
                answer(SYN_ACK),
                send(TCP, NGINX1, EXTERNAL, UP),
                Op::Flush,
                answer(SYN_ACK),
                Op::Flush,
            ]),
        ),
        (
            "hairpin_dynamic",
            program(&[
                send(UDP, NGINX1, FAR, UP),
                Op::Packet(Packet { dport: 4, ..packet(UDP, NGINX2, EXTERNAL, UP) }),
                Op::Flush,
            ]),
        ),
        ("unsolicited", program(&[send(TCP, MAC, EXTERNAL, UP), send(UDP, MAC, EXTERNAL, UP)])),
        ("direct_routing", program(&[send(UDP, MAC, NGINX1, UP), Op::Flush])),
        ("networks_apart", program(&[send(UDP, NGINX1, ISOLATED, UP), Op::Flush])),
        (
            "hold_and_release",
            program(&[
                send(UDP, NGINX1, 17, UP),
                send(UDP, NGINX1, 17, UP),
                Op::Flush,
                answer(0),
                Op::Flush,
            ]),
        ),
        ("hold_and_fail", program(&[send(UDP, NGINX1, 17, UP), wait(4, 0), wait(5, 1)])),
        (
            "neighbours_full",
            program(&(9..26).map(|target| send(UDP, NGINX1, target, UP)).collect::<Vec<_>>()),
        ),
        ("fragments_in_order", program(&[fragments(0x30), Op::Flush])),
        ("fragments_backwards", program(&[fragments(0x31), Op::Flush])),
        ("fragments_one_missing", program(&[fragments(0x34), wait(5, 0)])),
        (
            "echo_fragments_to_gateway",
            program(&[Op::Packet(Packet {
                size: 200,
                flags: 0xf0,
                ..packet(FRAGMENTS, NGINX1, GATEWAY, UP)
            })]),
        ),
        (
            "too_big",
            program(&[
                command(6, 0, 60, 0),
                Op::Packet(Packet { size: 180, ..packet(UDP, NGINX1, FAR, UP) }),
            ]),
        ),
        ("ttl", program(&[send(UDP, NGINX1, FAR, 0), send(UDP, NGINX1, FAR, 0x40), Op::Flush])),
        (
            "ping_gateways",
            program(&[
                send(ECHO, NGINX1, GATEWAY, UP),
                send(ECHO, MAC, EXTERNAL, UP),
                send(ECHO, NGINX1, EXTERNAL, UP),
            ]),
        ),
        (
            "closed_ports",
            program(&[send(UDP, NGINX1, GATEWAY, UP), send(TCP, NGINX1, GATEWAY, UP)]),
        ),
        ("icmp_error_inbound", program(&[send(UDP, NGINX1, FAR, UP), Op::Flush, error.clone()])),
        (
            "icmp_error_outbound",
            program(&[
                command(PUBLISH, NGINX1, 1, 1),
                send(UDP, MAC, EXTERNAL, UP),
                Op::Flush,
                error,
                Op::Flush,
            ]),
        ),
        (
            "damaged",
            program(&[
                broken(&[(14, 0x20)]),
                broken(&[(17, 0x40)]),
                broken(&[(24, 1)]),
                broken(&[(12, 0x89)]),
                broken(&[(6, 1)]),
                Op::Flush,
            ]),
        ),
        (
            "raw",
            program(&[
                Op::Raw { port: 1, bytes: vec![0xff; 13] },
                Op::Raw { port: 8, bytes: vec![0xff; 60] },
            ]),
        ),
        (
            "ports_come_and_go",
            program(&[
                send(UDP, NGINX1, FAR, UP),
                command(5, 0, 0, 0),
                answer(0),
                command(5, 0, 1, 0),
                command(4, 1, 0, 0),
                command(3, 1, 3, 0),
                wait(1, 0),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
            ]),
        ),
        (
            "networks_come_and_go",
            program(&[
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
                command(2, 1, 0, 0),
                answer(0),
                command(0, 1, 0, 4),
                command(3, 1, 0, 0),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
            ]),
        ),
        (
            "routes",
            program(&[
                command(7, FAR, MAC, 24),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
                answer(0),
                command(8, FAR, 0, 24),
                send(UDP, NGINX1, FAR, UP),
                Op::Flush,
            ]),
        ),
        ("ageing", program(&[wait(6, 0), send(UDP, NGINX1, NGINX2, ACROSS), wait(7, 1)])),
        (
            "storm",
            program(&[
                command(0, 1, 0, 16),
                command(4, 1, 0, 0),
                command(3, 1, 0, 0),
                send(UDP, NGINX1, NGINX2, ALL),
                send(UDP, NGINX1, NGINX2, ALL),
                send(UDP, NGINX1, NGINX2, ALL),
                Op::Flush,
            ]),
        ),
    ]
}
