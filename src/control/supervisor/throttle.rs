//! Bounds on the log's lines about what hosts cause.

use std::time::Duration;

use crate::time::Instant;

/// Between two lines of the log about engine events of one kind.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// Lets one line of a kind pass per [`QUIET`], and counts the others: what one host does must
/// not flood the log.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When the next line may pass; none: now.
    next: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// True if the line is to be written.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let is_quiet = self.next.is_some_and(|next| now < next);
        if is_quiet {
            self.held_back += 1;
        } else {
            self.next = Some(now + QUIET);
        }
        !is_quiet
    }

    /// How many lines were held back, once that may be told.
    pub(super) fn summary(&mut self, now: Instant) -> Option<u64> {
        if self.held_back == 0 || self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + QUIET);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Clock;

    #[test]
    fn a_flood_of_one_kind_is_one_line_and_a_count_per_ten_seconds() {
        let start = Clock.now();
        let mut throttle = Throttle::default();
        assert!(throttle.admit(start));
        for _ in 0..1000 {
            assert!(!throttle.admit(start));
        }
        assert_eq!(throttle.summary(start), None);
        let later = start + QUIET;
        assert_eq!(throttle.summary(later), Some(1000));
        assert!(!throttle.admit(later), "the count was this period's line");
        assert_eq!(throttle.summary(later + QUIET), Some(1));
        assert_eq!(throttle.summary(later + QUIET), None);
        assert!(throttle.admit(later + QUIET + QUIET));
    }
}
