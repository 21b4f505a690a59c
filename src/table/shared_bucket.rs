//! A rate limit that several threads keep together, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::time::Instant;

const NANOS: u64 = 1_000_000_000;

/// Lets `rate` events per second pass, to the nanosecond between two of them, and `burst` of them
/// at once. A rate of zero means no limit. Its clones of one [`BucketState`] share their tokens.
///
/// The generic cell rate algorithm (ITU-T I.371): one number says until when what has passed is
/// paid for.
#[derive(Clone, Debug)]
pub struct SharedBucket {
    rate: u32,
    burst: u32,
    state: BucketState,
}

/// What has passed, as clones share it.
#[derive(Clone, Debug, Default)]
pub struct BucketState(Arc<AtomicU64>);

/// The states of buckets that are known by a number. Bound: one per number ever asked for, of
/// which there are at most 65 536.
#[derive(Clone, Debug, Default)]
pub struct BucketStates(Arc<RwLock<Vec<BucketState>>>);

impl SharedBucket {
    /// A bucket with what passed before in this state.
    pub const fn new(rate: u32, burst: u32, state: BucketState) -> Self {
        Self { rate, burst, state }
    }

    /// Events per second.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// The same tokens at another rate.
    #[must_use]
    pub fn at_rate(&self, rate: u32, burst: u32) -> Self {
        Self { rate, burst, state: self.state.clone() }
    }

    /// Lets nobody pay longer for what has passed at another rate than a full bucket takes.
    pub fn settle(&self, now: Instant) {
        self.state.0.fetch_min(self.latest(now), Ordering::Relaxed);
    }

    /// Takes so many tokens, or all of a full bucket if it never holds as many; false if there
    /// are fewer.
    pub fn take_many(&self, now: Instant, count: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        let cost = self.nanos(count.min(u64::from(self.burst.max(1))));
        let latest = self.latest(now);
        let pay = |paid: u64| {
            let paid = paid.max(now.as_nanos()).saturating_add(cost);
            (paid <= latest).then_some(paid)
        };
        self.state.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    /// How long so many tokens take to come, in nanoseconds; without a limit they are there.
    fn nanos(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(NANOS).checked_div(u64::from(self.rate)).unwrap_or(0)
    }

    /// Until when a bucket that is empty by now is paid for, in nanoseconds.
    fn latest(&self, now: Instant) -> u64 {
        (now + Duration::from_nanos(self.nanos(u64::from(self.burst)))).as_nanos()
    }
}

impl BucketState {
    /// Forgets what has passed.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl BucketStates {
    /// The state of the bucket with a number.
    pub fn at(&self, number: u16) -> BucketState {
        // Whoever panicked has left no state half made.
        let mut states = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let at = usize::from(number);
        if states.len() <= at {
            states.resize_with(at + 1, BucketState::default);
        }
        states.get(at).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &SharedBucket, now: Instant) -> usize {
        (0..100).filter(|_| bucket.take_many(now, 1)).count()
    }

    #[test]
    fn burst_then_rate_by_whichever_clone() {
        let states = BucketStates::default();
        let first = SharedBucket::new(10, 3, states.at(7));
        let second = SharedBucket::new(10, 3, states.at(7));
        assert_eq!((taken(&first, Instant::ZERO), taken(&second, Instant::ZERO)), (3, 0));
        assert_eq!(taken(&second, Instant::ZERO + Duration::from_millis(99)), 0);
        assert_eq!(taken(&first, Instant::ZERO + Duration::from_millis(200)), 2);
        assert_eq!(taken(&second, Instant::from_secs(100)), 3);
        let other = SharedBucket::new(10, 3, states.at(6));
        assert_eq!(taken(&other, Instant::ZERO), 3);
        assert_eq!(taken(&SharedBucket::new(0, 0, states.at(6)), Instant::ZERO), 100);
    }

    #[test]
    fn more_than_a_bucket_holds_takes_all_of_a_full_one() {
        let bucket = SharedBucket::new(10, 3, BucketState::default());
        assert!(bucket.take_many(Instant::ZERO, 50));
        assert!(!bucket.take_many(Instant::ZERO + Duration::from_millis(200), 50));
        assert!(bucket.take_many(Instant::ZERO + Duration::from_millis(300), 50));
        assert!(bucket.at_rate(1000, 3).take_many(Instant::ZERO + Duration::from_millis(600), 1));
    }

    #[test]
    fn what_passed_at_a_low_rate_is_no_debt_at_a_high_one() {
        let states = BucketStates::default();
        let slow = SharedBucket::new(1, 100, states.at(7));
        assert!(slow.take_many(Instant::ZERO, 100), "paid for until 100 s");
        let fast = SharedBucket::new(1000, 500, states.at(7));
        fast.settle(Instant::ZERO);
        assert!(!fast.take_many(Instant::ZERO, 1), "as empty as it was");
        assert!(fast.take_many(Instant::ZERO + Duration::from_millis(100), 100));
        states.at(7).clear();
        assert!(fast.take_many(Instant::ZERO + Duration::from_millis(100), 500));
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let bucket = SharedBucket::new(1000, 500, BucketState::default());
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10_000).filter(|_| bucket.take_many(Instant::ZERO, 1)).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 500);
    }
}
