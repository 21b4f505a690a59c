//! The engine alone, in clocks per 60-byte frame: frames in cache, filled outside of the
//! measured time, bursts of 64 unless the name says otherwise.
//!
//! One case: `cargo bench --no-default-features --features testkit --bench engine -- switch/2`
//! (`-- '^switch/2$'` for exactly that one).

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Clocks, World, measure};

const BURST: usize = 64;
const BURSTS: [usize; 4] = [1, 8, 32, 256];

/// Learning and forwarding to a known MAC, by number of MACs.
fn switch(criterion: &mut Criterion<Clocks>) {
    let mut group = criterion.benchmark_group("switch");
    for macs in [2, 1_000, 100_000, 1_000_000] {
        measure(&mut group, (&macs.to_string(), BURST), || World::switch(macs));
    }
    group.finish();
    let mut group = criterion.benchmark_group("switch_burst");
    for burst in BURSTS {
        measure(&mut group, (&burst.to_string(), burst), || World::switch(1_000));
    }
    group.finish();
}

/// IPv4 forwarding without translation, by number of routes. `any` has more destinations than
/// the flow cache has entries, so that most packets take the slow path.
fn route(criterion: &mut Criterion<Clocks>) {
    let mut group = criterion.benchmark_group("route");
    measure(&mut group, ("1", BURST), || World::route(1, 1));
    measure(&mut group, ("1000000", BURST), || World::route(1_000_000, 1_000));
    measure(&mut group, ("1000000_any", BURST), || World::route(1_000_000, 1_000_000));
    group.finish();
}

/// Translated packets of known sessions, by number of flows; `back` are the answers.
fn napt(criterion: &mut Criterion<Clocks>) {
    let mut group = criterion.benchmark_group("napt");
    for flows in [1, 1_000, 64_512, 1_032_192] {
        measure(&mut group, (&flows.to_string(), BURST), || World::napt(flows));
    }
    group.finish();
    let mut group = criterion.benchmark_group("napt_back");
    for flows in [1_000, 64_512, 1_032_192] {
        measure(&mut group, (&flows.to_string(), BURST), || World::napt_back(flows));
    }
    group.finish();
    let mut group = criterion.benchmark_group("napt_burst");
    for burst in BURSTS {
        measure(&mut group, (&burst.to_string(), burst), || World::napt(1_000));
    }
    group.finish();
}

/// The first packet of a session, in a table that fills up and is emptied again.
fn new_session(criterion: &mut Criterion<Clocks>) {
    let mut group = criterion.benchmark_group("napt_new");
    measure(&mut group, ("64512", BURST), || World::new_sessions(64_512));
    group.finish();
}

/// Frames of a network that stretches over two machines: what leaves by a tunnel is known to be
/// there, what comes by it is for a host here.
fn vxlan(criterion: &mut Criterion<Clocks>) {
    let mut group = criterion.benchmark_group("vxlan");
    measure(&mut group, ("encapsulate", BURST), || World::encapsulate(1_000));
    measure(&mut group, ("decapsulate", BURST), || World::decapsulate(1_000));
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::criterion();
    targets = switch, route, napt, new_session, vxlan
}
criterion_main!(benches);
