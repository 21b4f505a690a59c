//! Virtio-net headers and frames of a stranger through everything that handles offloads: nothing
//! may panic, and joining must be undone by cutting, byte for byte.

use std::collections::BTreeSet;

use super::streams::{self, Frame, Lane};
use crate::packet::{
    Coalescer, FrameView, Headers, MAX_SEGMENTS, Offload, Offloads, Outgoing, VNET_HEADER,
};

/// Most frames of one input: more make it slow and find nothing new.
const MAX_FRAMES: usize = 256;

/// The first byte says what the device takes, and whether the rest is a stream of frames that can
/// mostly be joined, or records of a length of two bytes, a virtio-net header and a frame.
///
/// # Panics
/// If something that must hold does not.
pub fn offload(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let mut frames = if first & 0x80 == 0 { streams::frames(rest) } else { strangers(rest) };
    frames.truncate(MAX_FRAMES);
    check_coalesced(&frames, offloads_of(*first));
}

/// What a device takes, a bit each.
pub const fn offloads_of(bits: u8) -> Offloads {
    Offloads {
        checksum: bits & 1 == 0,
        tso4: bits & 2 == 0,
        tso6: bits & 4 == 0,
        ecn: bits & 8 == 0,
        uso: bits & 16 == 0,
    }
}

/// The admitted frames among those of a stranger.
fn strangers(mut rest: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<2>()
        && let Some((header, tail)) = tail.split_first_chunk::<VNET_HEADER>()
    {
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (frame, tail) = tail.split_at(len);
        rest = tail;
        frames.extend(admit(header, frame));
    }
    frames
}

fn admit(header: &[u8; VNET_HEADER], frame: &[u8]) -> Option<Frame> {
    let headers = Headers::parse(frame).ok()?;
    let mut frame = frame.to_vec();
    let offload = Offload::parse(header).ok()?.admit(&headers, &mut frame).ok()?;
    check_cut(FrameView { bytes: &frame, offload });
    Some((frame, offload))
}

/// What an admitted frame stands for is as much as it says, and no longer.
fn check_cut(view: FrameView<'_>) {
    let (mut count, mut first) = (0, None);
    view.for_each_segment(&mut Vec::new(), |segment| {
        count += 1;
        assert!(segment.len() <= view.offload.largest_segment(view.bytes.len()));
        first.get_or_insert_with(|| segment.to_vec());
    });
    assert_eq!(count, view.offload.segments(view.bytes.len()));
    assert_eq!(view.to_complete().len(), view.bytes.len());
    if view.offload.is_super() {
        assert_eq!(first, Some(view.first_segment()));
    }
}

/// Joins a list and cuts it again. Gives back how many frames went into super-frames.
///
/// # Panics
/// If a frame is lost, made, changed, or overtakes another of its flow; or if a super-frame is
/// not one that its device takes and that would be admitted.
pub fn check_coalesced(frames: &[Frame], offloads: Offloads) -> usize {
    let view = |index: usize| {
        let (bytes, offload) = frames
            .get(index)
            .map_or((&[][..], Offload::NONE), |frame| (frame.0.as_slice(), frame.1));
        FrameView { bytes, offload }
    };
    let mut before = Vec::new();
    (0..frames.len()).for_each(|index| finish(view(index), &mut before));
    let mut coalescer = Coalescer::new();
    let has_joined = coalescer.coalesce(offloads, frames.len(), view);
    let (mut after, mut joined) = (Vec::new(), 0);
    for outgoing in coalescer.outgoing() {
        match outgoing {
            Outgoing::Kept(index) => finish(view(index), &mut after),
            Outgoing::Joined(super_frame) => {
                joined += usize::from(super_frame.segments());
                assert!((2..=MAX_SEGMENTS).contains(&usize::from(super_frame.segments())));
                check_joined(super_frame.frame(), super_frame.with_header(), offloads);
                let from = after.len();
                finish(super_frame.frame(), &mut after);
                assert_eq!(after.len() - from, usize::from(super_frame.segments()));
            }
        }
    }
    assert_eq!(has_joined, joined > 0);
    check_order(&before, &after);
    before.sort_unstable();
    after.sort_unstable();
    assert!(before == after, "a frame was lost, made or changed");
    joined
}

fn finish(view: FrameView<'_>, into: &mut Vec<Vec<u8>>) {
    view.for_each_segment(&mut Vec::new(), |segment| into.push(segment.to_vec()));
}

fn check_joined(view: FrameView<'_>, with_header: &[u8], offloads: Offloads) {
    assert!(offloads.take(view.offload));
    let Some((header, bytes)) = with_header.split_first_chunk::<VNET_HEADER>() else {
        panic!("no room for a header")
    };
    assert_eq!(bytes, view.bytes);
    let mut copy = bytes.to_vec();
    let headers = Headers::parse(&copy);
    let (Ok(headers), Ok(offload)) = (headers, Offload::parse(header)) else {
        panic!("a joined frame cannot be read")
    };
    assert_eq!(offload.admit(&headers, &mut copy), Ok(view.offload));
    assert_eq!(copy, view.bytes);
    check_cut(view);
}

/// Each flow, with what may belong to it, in the same order.
fn check_order(before: &[Vec<u8>], after: &[Vec<u8>]) {
    let lanes = |frames: &[Vec<u8>]| -> Vec<Option<Lane>> {
        frames.iter().map(|frame| Lane::of(frame)).collect()
    };
    let (lanes_before, lanes_after) = (lanes(before), lanes(after));
    let flows: BTreeSet<_> = lanes_before.iter().flatten().cloned().collect();
    for flow in flows {
        let of_flow = |frames, lanes| ordered_with(&flow, frames, lanes);
        let same = of_flow(before, &lanes_before).eq(of_flow(after, &lanes_after));
        assert!(same, "a frame overtook another: {flow:?}");
    }
}

fn ordered_with<'a>(
    flow: &'a Lane,
    frames: &'a [Vec<u8>],
    lanes: &'a [Option<Lane>],
) -> impl Iterator<Item = &'a Vec<u8>> {
    let all = frames.iter().zip(lanes);
    all.filter(|(_, lane)| lane.as_ref().is_some_and(|lane| lane.is_ordered_with(flow)))
        .map(|(frame, _)| frame)
}
