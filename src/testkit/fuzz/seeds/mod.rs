//! The corpora that fuzzing starts from: one small input per thing worth reaching.
//!
//! They are files in `fuzz/corpus`, written by `cargo test --test fuzz_corpus -- --ignored` from
//! what is here. What a fuzzer finds is added to them by hand, under a name that says what it is.

mod dhcp;
mod dns;
mod offload;
mod programs;

use std::net::Ipv4Addr;

use crate::drop_reason::DropReason;
use crate::nat::Endpoint;
use crate::packet::pcap::{CapturedFrame, FrameDirection, Writer};
use crate::packet::{MacAddr, put16};
use crate::testkit::build::{self, Hop};

pub use dhcp::dhcp;
pub use dns::dns;
pub use offload::offload;
pub use programs::engine;

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
