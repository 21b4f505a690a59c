//! A rate limit.

use crate::time::Instant;

const NANOS: u64 = 1_000_000_000;

/// Lets `rate` events per second pass, and `burst` of them at once. A rate of zero means no
/// limit.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: u32,
    burst: u32,
    /// Nanoseconds worth of tokens times rate: a token is one second of it.
    credit: u64,
    last: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub const fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self { rate, burst, credit: burst as u64 * NANOS, last: now }
    }

    /// Takes a token; false if there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_many(now, 1)
    }

    /// Takes so many tokens, or all of a full bucket if it never holds as many; false if there
    /// are fewer.
    pub fn take_many(&mut self, now: Instant, count: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        let passed = now.as_nanos().saturating_sub(self.last.as_nanos());
        self.last = self.last.max(now);
        let earned = passed.saturating_mul(u64::from(self.rate));
        self.credit = self.credit.saturating_add(earned).min(u64::from(self.burst) * NANOS);
        match self.credit.checked_sub(count.min(u64::from(self.burst.max(1))) * NANOS) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn burst_then_rate() {
        let mut bucket = TokenBucket::new(10, 3, Instant::ZERO);
        let taken = |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, Instant::ZERO), 3);
        assert_eq!(taken(&mut bucket, Instant::ZERO + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, Instant::ZERO + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut bucket, Instant::from_secs(100)), 3);
        assert_eq!(taken(&mut TokenBucket::new(0, 0, Instant::ZERO), Instant::ZERO), 100);
    }
}
