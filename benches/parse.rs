//! The parser alone, in clocks per frame.

mod support;

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::Clocks;
use tapway::nat::Endpoint;
use tapway::packet::{Headers, MacAddr};
use tapway::testkit::build::{self, Hop};

const FRAMES: usize = 64;

fn parse(criterion: &mut Criterion<Clocks>) {
    let (a, b) = (Ipv4Addr::new(172, 17, 0, 2), Ipv4Addr::new(203, 0, 113, 7));
    let hop = Hop::new(MacAddr::from_ipv4(a), MacAddr::from_ipv4(b));
    let (src, dst) = (Endpoint::new(a, 5000), Endpoint::new(b, 53));
    let udp = build::udp(hop, src, dst, &[0; 18]);
    let cases = [
        ("tcp", build::tcp(hop, src, dst, 0x10, &[0; 6])),
        ("echo", build::echo(hop, a, b, 7, false)),
        ("arp", build::arp_request(hop.src_mac, a, b)),
        ("vlan_udp", [&udp[..12], &[0x81, 0, 0, 5], &udp[12..]].concat()),
        ("udp", udp),
    ];
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for (name, frame) in cases {
        let frames = vec![frame; FRAMES];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for frame in &frames {
                    black_box(Headers::parse(black_box(frame)).is_ok());
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = parse
}
criterion_main!(benches);
