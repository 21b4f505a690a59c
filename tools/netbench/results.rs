//! Samples and what is computed from them.

use std::collections::BTreeMap;

use crate::figure::{Figure, Scenario, Test};

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// A measurement that gave no figure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In which scenario.
    pub scenario: Scenario,
    /// Which; none if the switch did not come up.
    pub test: Option<Test>,
    /// Of which peer.
    pub peer: String,
    /// In which repetition, from 0.
    pub repetition: usize,
    /// Why.
    pub why: String,
}

/// Everything measured so far.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By scenario, figure and peer: (repetition, value).
    samples: BTreeMap<(Scenario, Figure, String), Vec<(usize, f64)>>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

impl Results {
    /// Adds a figure of a repetition.
    pub fn add(
        &mut self,
        (scenario, figure): (Scenario, Figure),
        peer: &str,
        repetition: usize,
        value: f64,
    ) {
        let key = (scenario, figure, peer.to_owned());
        self.samples.entry(key).or_default().push((repetition, value));
    }

    /// The samples of one figure, in the order in which they were taken.
    pub fn samples(&self, scenario: Scenario, figure: Figure, peer: &str) -> &[(usize, f64)] {
        let key = (scenario, figure, peer.to_owned());
        self.samples.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Median and range of one figure.
    pub fn summary(&self, scenario: Scenario, figure: Figure, peer: &str) -> Option<Summary> {
        summarize(self.samples(scenario, figure, peer).iter().map(|(_, value)| *value))
    }

    /// One peer's figure over another's: the median of the ratios within each repetition, in
    /// which the two were measured soon after one another.
    pub fn ratio(
        &self,
        (scenario, figure): (Scenario, Figure),
        peer: &str,
        against: &str,
    ) -> Option<f64> {
        if figure == Figure::Rest {
            return None; // noise over nothing
        }
        let divisors = self.samples(scenario, figure, against);
        let in_pair = |(repetition, value): &(usize, f64)| {
            let (_, divisor) = divisors.iter().find(|(other, _)| other == repetition)?;
            (*divisor > 0.0).then(|| value / divisor)
        };
        let ratios = self.samples(scenario, figure, peer).iter().filter_map(in_pair);
        summarize(ratios).map(|summary| summary.median)
    }

    /// True if something of that scenario was measured.
    pub fn has(&self, scenario: Scenario, figure: Figure) -> bool {
        self.samples.keys().any(|key| (key.0, key.1) == (scenario, figure))
    }

    /// Every (scenario, figure, peer) with samples, in the order of reports.
    pub fn keys(&self) -> impl Iterator<Item = (Scenario, Figure, &str)> {
        self.samples.keys().map(|(scenario, figure, peer)| (*scenario, *figure, peer.as_str()))
    }
}

fn summarize(values: impl Iterator<Item = f64>) -> Option<Summary> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    };
    Some(Summary { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: (Scenario, Figure) = (Scenario::L2, Figure::Tcp1);

    #[test]
    fn ratios_are_of_pairs_within_a_repetition() {
        let mut results = Results::default();
        for (repetition, (mine, theirs)) in
            [(2.0, 1.0), (30.0, 10.0), (4.0, 4.0)].iter().enumerate()
        {
            results.add(TCP, "a", repetition, *mine);
            results.add(TCP, "b", repetition, *theirs);
        }
        results.add(TCP, "a", 3, 99.0);
        assert_eq!(results.ratio(TCP, "a", "b"), Some(2.0));
        assert_eq!(results.ratio(TCP, "a", "c"), None);
    }

    #[test]
    fn an_even_number_of_samples_has_its_median_between_the_middle_ones() {
        let summary = summarize([4.0, 1.0, 3.0, 2.0].into_iter()).unwrap();
        assert_eq!(summary, Summary { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(summarize(std::iter::empty()), None);
    }
}
