//! The highest rate that is hardly lossy, by bisection.

use std::time::Duration;

use super::{Settings, udp};
use crate::error::Result;
use crate::interrupt;
use crate::testbed::Route;

/// Share of datagrams that may be lost.
const MAX_LOSS: f64 = 0.005;
/// A rate that fails is tried again: a moment in which the machine did something else must not
/// decide.
const ATTEMPTS: u32 = 2;
/// Where the search ends, relative to what arrives under flood: under flood a switch may deliver
/// less than at a rate it can take.
const HIGHEST: f64 = 1.6;

/// Datagrams per second of the highest rate with at most 0.5 % loss; 0 if there is none.
pub fn lossless_rate(route: &Route, settings: Settings) -> Result<f64> {
    let span = (settings.span / 3).max(Duration::from_millis(300));
    let settings = Settings { span, ..settings };
    let (flooded, _) = udp::measure(route, settings)?;
    bisect(flooded * HIGHEST, settings.steps, |rate| {
        for _ in 0..ATTEMPTS {
            interrupt::check()?;
            let trial = udp::try_rate(route, rate, settings)?;
            if trial.loss <= MAX_LOSS {
                return Ok(Some(trial.rate));
            }
        }
        Ok(None)
    })
}

/// `try_rate` gives the rate that was reached, if it was reached without loss.
fn bisect(
    highest: f64,
    steps: u32,
    mut try_rate: impl FnMut(f64) -> Result<Option<f64>>,
) -> Result<f64> {
    let (mut good, mut bad, mut best) = (0.0, highest, 0.0_f64);
    for _ in 0..steps {
        let rate = (good + bad) / 2.0;
        match try_rate(rate)? {
            Some(reached) => (good, best) = (rate, best.max(reached)),
            None => bad = rate,
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_closes_in_on_the_rate() {
        let found = bisect(1600.0, 12, |rate| Ok((rate <= 700.0).then_some(rate))).unwrap();
        assert!((699.0..=700.0).contains(&found), "{found}");
    }

    #[test]
    fn a_switch_that_always_loses_has_no_lossless_rate() {
        assert_eq!(bisect(1600.0, 8, |_| Ok(None)).unwrap(), 0.0);
    }

    #[test]
    fn the_rate_reached_counts_not_the_one_asked_for() {
        let found = bisect(1600.0, 8, |rate| Ok(Some(rate.min(500.0)))).unwrap();
        assert_eq!(found, 500.0);
    }
}
