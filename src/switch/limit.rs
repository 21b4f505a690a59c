//! How much may pass a port, each way.

use crate::packet::Offload;
use crate::table::{BucketState, SharedBucket};
use crate::time::Instant;

/// A rate limit, in bytes of frames as they are on the wire, without preamble and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Bytes per second; above 0.
    pub bytes_per_s: u32,
    /// Bytes that may pass at once.
    pub burst: u32,
}

/// The limits of a port; none: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortLimits {
    /// Of what its host sends.
    pub rx: Option<RateLimit>,
    /// Of what its host gets.
    pub tx: Option<RateLimit>,
}

/// A limit at work. What is above it is dropped, not queued.
#[derive(Clone, Debug)]
pub struct Limiter {
    bucket: SharedBucket,
}

impl Limiter {
    /// A limiter; all workers' limiters of one port share `state`, which may come from another
    /// limit.
    pub fn new(now: Instant, limit: RateLimit, state: BucketState) -> Self {
        let bucket = SharedBucket::new(limit.bytes_per_s, limit.burst, state);
        bucket.settle(now);
        Self { bucket }
    }

    /// Its rate.
    pub const fn bytes_per_s(&self) -> u32 {
        self.bucket.rate()
    }

    /// True if a frame of `len` bytes may pass. A super-frame counts as its segments do.
    pub fn admits(&self, now: Instant, len: usize, offload: Offload) -> bool {
        self.bucket.take_many(now, offload.wire_bytes(len))
    }
}
