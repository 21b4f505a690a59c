//! Streams and strangers' frames for the offload target.

use super::{A, B, DST, SRC, Seed, tagged};
use crate::nat::Endpoint;
use crate::packet::{Gso, Offload, VNET_HEADER, tcp};
use crate::testkit::build::{self, Hop};

/// Bit of the first byte that says that records of strangers follow.
const STRANGERS: u8 = 0x80;
/// A device that takes no UDP super-frames.
const NO_USO: u8 = 0x10;

/// See [`super::super::offload`] for how an input is read.
pub fn offload() -> Vec<Seed> {
    let flow = |index: u8| [index, 0, 0, 0];
    // Every fourth frame has this amiss.
    let amiss = |twist: u8, amount: u8| {
        let step = |at: u8| [0, 0, if at % 4 == 3 { twist } else { 0 }, amount];
        stream(0, &(0..16).map(step).collect::<Vec<_>>())
    };
    let rounds: Vec<_> = (0..6).flat_map(|_| (0..12).map(flow)).collect();
    let (vnet, frame) = super_frame();
    let partial = Offload::partial(34, 16).to_header();
    vec![
        ("nothing", Vec::new()),
        ("tcp4", stream(0, &[flow(0); 20])),
        ("tcp6", stream(0, &[flow(1); 20])),
        ("udp", stream(0, &[flow(2); 20])),
        ("udp_without_uso", stream(NO_USO, &[flow(2); 20])),
        ("tagged", stream(0, &[flow(3); 20])),
        ("twelve_flows", stream(0, &rounds)),
        ("push", amiss(100, 0)),
        ("fin", amiss(120, 0)),
        ("reset", amiss(124, 0x14)),
        ("service", amiss(128, 4)),
        ("fragment", amiss(132, 7)),
        ("options", amiss(136, 31)),
        ("other_mac", amiss(140, 6)),
        ("trailer", amiss(144, 0)),
        ("partial", amiss(210, 0)),
        ("partial_wrong", amiss(218, 1)),
        ("sum_wrong", amiss(221, 1)),
        ("header_sum_wrong", amiss(226, 1)),
        ("super_frame_between", amiss(255, 0)),
        ("short", stream(0, &[flow(2), flow(2), [2, 205, 0, 0], flow(2), flow(2)])),
        ("stranger_super", strangers(&[(vnet, &frame)])),
        ("stranger_super_tagged", strangers(&[(vnet, &tagged(&frame, &[0x8100]))])),
        ("stranger_partial", strangers(&[(partial, &frame), ([0; VNET_HEADER], &frame)])),
        ("stranger_finished", strangers(&[([0; VNET_HEADER], frame.as_slice()); 3])),
    ]
}

fn stream(device: u8, steps: &[[u8; 4]]) -> Vec<u8> {
    [&[device][..], &steps.concat()].concat()
}

fn strangers(records: &[([u8; VNET_HEADER], &[u8])]) -> Vec<u8> {
    let mut input = vec![STRANGERS];
    for (vnet, frame) in records {
        input.extend((frame.len() as u16).to_be_bytes());
        input.extend(vnet);
        input.extend(*frame);
    }
    input
}

fn super_frame() -> ([u8; VNET_HEADER], Vec<u8>) {
    let (src, dst) = (Endpoint::new(SRC, 5000), Endpoint::new(DST, 80));
    let frame = build::tcp(Hop::new(A, B), src, dst, tcp::ACK, &[7; 250]);
    (Offload::partial(34, 16).segmented(Gso::Tcp4, 100).to_header(), frame)
}
