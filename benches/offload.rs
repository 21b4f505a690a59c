//! What offloads cost and save: summing, cutting a super-frame, joining segments, and looking in
//! vain for something to join. Clocks per frame; for checksums a "frame" is the whole of the data.

mod support;

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::Clocks;
use tapway::nat::Endpoint;
use tapway::packet::{
    Coalescer, FrameView, Gso, Headers, MacAddr, Offload, Offloads, Outgoing, Segments, checksum,
    tcp,
};
use tapway::testkit::build::{self, Hop};

/// Segments of a super-frame: as many as fit 64 KiB.
const SEGMENTS: usize = 44;
const MSS: usize = 1460;
/// Where the TCP header of an untagged IPv4 frame starts.
const TRANSPORT: u16 = 34;
/// Small frames in a list.
const FRAMES: usize = 64;

fn ends() -> (Hop, Endpoint, Endpoint) {
    let (a, b) = (Ipv4Addr::new(172, 17, 0, 2), Ipv4Addr::new(203, 0, 113, 7));
    let hop = Hop::new(MacAddr::from_ipv4(a), MacAddr::from_ipv4(b));
    (hop, Endpoint::new(a, 5000), Endpoint::new(b, 53))
}

/// A super-frame of [`SEGMENTS`] full segments.
fn super_frame() -> (Vec<u8>, Offload) {
    let (hop, src, dst) = ends();
    let mut frame = build::tcp(hop, src, dst, tcp::ACK, &[7; SEGMENTS * MSS]);
    let offload = Offload::partial(TRANSPORT, 16).segmented(Gso::Tcp4, MSS as u16);
    let admitted = Headers::parse(&frame).map(|headers| offload.admit(&headers, &mut frame));
    let Ok(Ok(offload)) = admitted else { panic!("the super-frame is not admitted") };
    (frame, offload)
}

fn sums(criterion: &mut Criterion<Clocks>) {
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Elements(1));
    for len in [20, 1500, 65536] {
        let data = vec![0xa5; len];
        group.bench_function(len.to_string(), |bencher| {
            bencher.iter(|| checksum::sum(black_box(&data)));
        });
    }
    group.finish();
}

fn cut(criterion: &mut Criterion<Clocks>) {
    let (frame, offload) = super_frame();
    let view = FrameView { bytes: &frame, offload };
    let mut room = vec![0; offload.largest_segment(frame.len())];
    let mut group = criterion.benchmark_group("segment");
    group.throughput(Throughput::Elements(SEGMENTS as u64));
    group.bench_function("64KiB", |bencher| {
        bencher.iter(|| {
            let Some(mut segments) = Segments::new(black_box(view)) else { return };
            while let Some(len) = segments.next(&frame, &mut room) {
                black_box(len);
            }
        });
    });
    group.finish();
}

/// Measures joining a list of which `joined` frames go into super-frames.
fn list(
    group: &mut criterion::BenchmarkGroup<'_, Clocks>,
    name: &str,
    (frames, offloads): (&[Vec<u8>], Offloads),
    joined: usize,
) {
    let mut coalescer = Coalescer::new();
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function(name, |bencher| {
        let view = |index: usize| FrameView::finished(black_box(&frames[index]));
        bencher.iter(|| coalescer.coalesce(offloads, frames.len(), view));
        let segments = coalescer.outgoing().map(|outgoing| match outgoing {
            Outgoing::Kept(_) => 0,
            Outgoing::Joined(joined) => usize::from(joined.segments()),
        });
        assert_eq!(segments.sum::<usize>(), joined);
    });
}

fn join(criterion: &mut Criterion<Clocks>) {
    let (frame, offload) = super_frame();
    let mut segments = Vec::new();
    FrameView { bytes: &frame, offload }
        .for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
    let (hop, src, dst) = ends();
    let udp = vec![build::udp(hop, src, dst, &[7; 18]); FRAMES];
    let flows: Vec<_> = (0..FRAMES as u16)
        .map(|port| build::tcp(hop, Endpoint::new(src.ip, port), dst, tcp::ACK, &[7; 6]))
        .collect();
    let no_uso = Offloads { uso: false, ..Offloads::ALL };
    let mut group = criterion.benchmark_group("coalesce");
    list(&mut group, "44_segments", (&segments, no_uso), SEGMENTS);
    list(&mut group, "64_udp_without_uso", (&udp, no_uso), 0);
    list(&mut group, "64_udp_apart", (&udp, Offloads::ALL), 0);
    list(&mut group, "64_tcp_flows", (&flows, no_uso), 0);
    list(&mut group, "64_for_plain_device", (&flows, Offloads::NONE), 0);
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = sums, cut, join
}
criterion_main!(benches);
