//! The engine alone, in instructions per frame: no clock, so that a busy machine changes nothing
//! and a difference of one instruction is a difference of the code.
//!
//! `tools/instructions` runs each case under callgrind, which counts inside of `Bursts::process`
//! only. Without an argument the cases are listed; with one, that case runs and the number of
//! measured frames is printed.

mod support;

use support::{Bursts, World};

/// Batches that are counted, after one that warms up.
const BATCHES: usize = 8;

type Case = (&'static str, usize, fn() -> World);

/// Name, frames per burst, and what is measured.
const CASES: [Case; 13] = [
    ("switch/2", 64, || World::switch(2)),
    ("switch/1000", 64, || World::switch(1_000)),
    ("switch_burst/1", 1, || World::switch(1_000)),
    ("route/1", 64, || World::route(1, 1)),
    ("route/1000", 64, || World::route(1_000, 1_000)),
    ("napt/1", 64, || World::napt(1)),
    ("napt/1000", 64, || World::napt(1_000)),
    ("napt_back/1000", 64, || World::napt_back(1_000)),
    ("napt_burst/1", 1, || World::napt(1_000)),
    ("napt_new/64512", 64, || World::new_sessions(64_512)),
    ("vxlan/encapsulate", 64, || World::encapsulate(1_000)),
    ("vxlan/decapsulate", 64, || World::decapsulate(1_000)),
    ("napt_again/1024", 64, || World::new_sessions(1_024)),
];

#[expect(clippy::print_stdout, reason = "its output is its purpose")]
fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    for (name, burst, make) in CASES {
        match &wanted {
            None => println!("{name}"),
            Some(wanted) if wanted == name => println!("{}", run(burst, &mut make())),
            Some(_) => {}
        }
    }
}

/// Processes the same number of batches in every case; returns their frames.
fn run(burst: usize, world: &mut World) -> usize {
    let mut bursts = Bursts::of(burst);
    let mut frames = 0;
    for batch in 0..=BATCHES {
        world.prepare(bursts.frames());
        bursts.fill(|| world.next_frame());
        if batch == 0 {
            bursts.warm_up(&mut world.engine, world.now);
        } else {
            bursts.process(&mut world.engine, world.now);
            frames += bursts.frames();
        }
    }
    world.verify();
    frames
}
