//! Time in clocks of the processor's time stamp counter, shown per frame with nanoseconds and
//! frames per second beside.

use std::time::{Duration, Instant};

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// How long the counter is compared with the system's clock.
const CALIBRATION: Duration = Duration::from_millis(50);

/// Clocks; nanoseconds on machines without a time stamp counter.
pub struct Clocks {
    per_nanosecond: f64,
}

impl Clocks {
    /// Finds out how fast the counter runs.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub fn calibrated() -> Self {
        let (start, from) = (Instant::now(), now());
        let mut passed = Duration::ZERO;
        while passed < CALIBRATION {
            passed = start.elapsed();
        }
        Self { per_nanosecond: now().wrapping_sub(from) as f64 / passed.as_nanos() as f64 }
    }
}

/// The counter.
#[cfg(target_arch = "x86_64")]
pub fn now() -> u64 {
    // SAFETY: the instruction only reads a counter, and every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds in place of the counter.
#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

impl Measurement for Clocks {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        now()
    }

    fn end(&self, start: u64) -> u64 {
        now().wrapping_sub(start)
    }

    fn add(&self, first: &u64, second: &u64) -> u64 {
        first + second
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Clocks {
    fn format_throughput(&self, throughput: &Throughput, clocks: f64) -> String {
        let Throughput::Elements(frames) = throughput else { return self.format_value(clocks) };
        let per_frame = clocks / *frames as f64;
        let nanoseconds = per_frame / self.per_nanosecond;
        let millions = 1000.0 / nanoseconds;
        format!("{per_frame:.1} clocks/frame = {nanoseconds:.1} ns, {millions:.1} Mframe/s")
    }

    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "clocks"
    }

    fn scale_throughputs(
        &self,
        _typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        if let Throughput::Elements(frames) = throughput {
            for value in values {
                *value /= *frames as f64;
            }
        }
        "clocks/frame"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "clocks"
    }
}
