//! A hit allocates nothing: neither in the bridge nor in the translation.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use support::*;
use tapway::packet::tcp::{ACK, SYN};
use tapway::packet::{Burst, TxLists};

thread_local! {
    /// Allocations of this thread; the harness has threads of its own.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `System`, as `alloc` and `realloc` get it there.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations while bursts of these frames pass, after some have warmed everything up.
fn allocations(lab: &mut Lab, frames: &[(PortId, Vec<u8>)]) -> u64 {
    let (mut burst, mut tx) = (Burst::new(), TxLists::new());
    let now = lab.now();
    let mut run = |rounds: usize| {
        let before = COUNT.with(Cell::get);
        for _ in 0..rounds {
            burst.clear();
            tx.clear();
            for (port, frame) in frames {
                burst.push(*port, frame).unwrap();
            }
            lab.engine.process(now, &mut burst, &mut tx);
            let sent: usize = tx.ports().iter().map(|port| tx.frames(*port, &burst).len()).sum();
            assert_eq!(sent, frames.len());
        }
        COUNT.with(Cell::get) - before
    };
    run(4);
    run(100)
}

#[test]
fn the_counter_counts() {
    let before = COUNT.with(Cell::get);
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(COUNT.with(Cell::get) > before);
}

#[test]
fn a_bridge_hit_allocates_nothing() {
    let mut lab = Lab::new();
    let (a, b) = (lab.known_inside(2), lab.known_inside(3));
    let there = build::udp(a.to(&b), a.at(1), b.at(2), b"payload");
    let back = build::udp(b.to(&a), b.at(2), a.at(1), b"payload");
    let frames: Vec<_> =
        (0..30).flat_map(|_| [(a.port, there.clone()), (b.port, back.clone())]).collect();
    assert_eq!(allocations(&mut lab, &frames), 0);
    assert!(lab.drops().is_empty());
}

#[test]
fn a_translation_hit_allocates_nothing() {
    let mut lab = Lab::new();
    let (router, host) = (lab.router(), lab.known_inside(2));
    let mut frames = Vec::new();
    for sport in 5000..5008 {
        let out = |flags| build::tcp(host.to_gateway(), host.at(sport), far(80), flags, b"x");
        let back = |flags| build::tcp(router.to_gateway(), far(80), ext(sport), flags, b"x");
        lab.send(&host, &out(SYN));
        lab.send(&router, &back(SYN | ACK));
        frames.extend([(host.port, out(ACK)), (router.port, back(ACK))]);
        let query = udp_df_clear(host.to_gateway(), host.at(sport), far(53), b"query");
        frames.push((host.port, query));
    }
    assert_eq!(allocations(&mut lab, &frames), 0);
    assert!(lab.drops().is_empty());
}

#[test]
fn a_hit_of_a_routed_flow_a_published_port_and_a_hairpin_allocates_nothing() {
    let mut lab = Lab::new();
    let (router, server, client) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
    lab.publish(17, 53, server.at(53));
    let frames = [
        (router.port, build::udp(router.to_gateway(), far(9), ext(53), b"in")),
        (server.port, build::udp(server.to_gateway(), server.at(53), far(9), b"out")),
        (client.port, build::udp(client.to_gateway(), client.at(9), ext(53), b"in")),
        (server.port, build::udp(server.to(&client), server.at(53), client.at(9), b"out")),
        (client.port, build::udp(client.to_gateway(), client.at(9), server.at(7), b"routed")),
    ];
    assert_eq!(allocations(&mut lab, &frames), 0);
    assert!(lab.drops().is_empty());
}
