//! What the benchmarks share: the unit of time, and an engine that is fed with bursts.
#![allow(dead_code, reason = "each benchmark uses its part")]

mod clocks;
mod frame;
mod huge_pages;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use tapway::engine::{Engine, Observer, Tier};
use tapway::id::PortId;
use tapway::packet::{BURST_FRAMES, Burst, TxLists};
use tapway::time::Instant;

pub use clocks::{Clocks, now};
pub use frame::Frame;
pub use world::World;

/// Frames between two readings of the clock: what they need stays in the second-level cache.
pub const BATCH_FRAMES: usize = 512;
/// Most bursts in a batch: their arenas need address translations, too.
const MAX_BURSTS: usize = 64;
/// How much virtual time passes from batch to batch.
const STEP: Duration = Duration::from_micros(50);

/// Criterion in clocks, fast enough to look at one case.
pub fn criterion() -> Criterion<Clocks> {
    Criterion::default()
        .with_measurement(Clocks::calibrated())
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args()
}

/// Bursts that are filled outside of the measured time, and then processed.
pub struct Bursts {
    bursts: Vec<Burst>,
    tx: TxLists,
    /// Frames per batch.
    frames: usize,
    /// Frames per pass.
    pass: usize,
}

impl Bursts {
    /// Bursts of `size` frames, handled in passes of at most [`BURST_FRAMES`].
    pub fn of(size: usize) -> Self {
        let pass = size.min(BURST_FRAMES);
        let count = (BATCH_FRAMES / pass).min(MAX_BURSTS);
        let bursts = (0..count).map(|_| Burst::new()).collect();
        Self { bursts, tx: TxLists::new(), frames: count * pass, pass }
    }

    /// Frames per batch.
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// Fills all bursts with the frames that `next` gives.
    pub fn fill(&mut self, mut next: impl FnMut() -> (PortId, Frame)) {
        for burst in &mut self.bursts {
            burst.clear();
            for _ in 0..self.pass {
                let (port, frame) = next();
                assert!(burst.push(port, frame.as_ref()).is_ok(), "the burst is full");
            }
        }
    }

    /// Lets the engine process all bursts; gives back the clocks it took. What `tools/instructions`
    /// counts happens in here, so that the function must be found by its name.
    #[inline(never)]
    pub fn process(&mut self, engine: &mut Engine, at: Instant) -> u64 {
        let start = now();
        self.pass_all(engine, at);
        now().wrapping_sub(start)
    }

    /// The same, neither timed nor counted.
    pub fn warm_up(&mut self, engine: &mut Engine, at: Instant) {
        self.pass_all(engine, at);
    }

    #[inline(always)]
    fn pass_all(&mut self, engine: &mut Engine, at: Instant) {
        for burst in &mut self.bursts {
            self.tx.clear();
            engine.process(at, burst, &mut self.tx);
        }
    }
}

/// Measures `world` under `name`. It is only made if the name passes the filter, and once.
pub fn measure<M: Measurement<Value = u64>>(
    group: &mut BenchmarkGroup<'_, M>,
    (name, burst): (&str, usize),
    make: impl Fn() -> World,
) {
    let mut bursts = Bursts::of(burst);
    group.throughput(Throughput::Elements(bursts.frames() as u64));
    let mut made: Option<World> = None;
    group.bench_function(name, |bencher| {
        huge_pages::ask();
        let world = made.get_or_insert_with(&make);
        bencher.iter_custom(|iterations| {
            let mut clocks = 0;
            for _ in 0..iterations {
                world.prepare(bursts.frames());
                bursts.fill(|| world.next_frame());
                clocks += bursts.process(&mut world.engine, world.now);
                world.now = world.now + STEP;
            }
            clocks
        });
    });
    if let Some(mut world) = made {
        let slow = slow_path_frames(&mut world, &mut bursts);
        world.verify();
        eprintln!("    {slow} of {} frames took the slow path", bursts.frames());
    }
}

/// Frames of another batch that were decided anew: none where hits are to be measured.
fn slow_path_frames(world: &mut World, bursts: &mut Bursts) -> u64 {
    let slow = Arc::new(AtomicU64::new(0));
    world.engine.set_observer(Some(Box::new(SlowPath(Arc::clone(&slow)))));
    world.prepare(bursts.frames());
    bursts.fill(|| world.next_frame());
    bursts.warm_up(&mut world.engine, world.now);
    world.engine.set_observer(None);
    slow.load(Ordering::Relaxed)
}

/// Counts packets without a cached flow.
struct SlowPath(Arc<AtomicU64>);

impl Observer for SlowPath {
    fn reached(&mut self, _now: Instant, _port: PortId, tier: Tier) {
        if tier == Tier::SlowPath {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
