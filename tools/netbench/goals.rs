//! What tapway aims at, as ratios within one run; `performance.md` has the reasons.

use crate::figure::{Figure, Scenario};
use crate::peer::{BARE, LINUX, TAPWAY, TAPWAY_BUSY, VPP, VPP_XDP};
use crate::results::Results;

/// Against the bare forwarder, every figure, L2 and translated.
const OF_BARE: [(Scenario, f64); 3] =
    [(Scenario::L2, 0.95), (Scenario::Nat, 0.92), (Scenario::Published, 0.92)];
/// The same, between two machines.
const OF_BARE_VXLAN: f64 = 0.9;
/// CPU that counts as none, in cores: timers and signals.
const AT_REST: f64 = 0.002;

/// What became of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The further goal is reached, too.
    Stretch,
    /// Reached.
    Met,
    /// Not reached.
    Missed,
    /// Something it needs was not measured.
    Unknown,
}

impl Outcome {
    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stretch => "met, and the stretch",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Unknown => "not measured",
        }
    }
}

/// One goal.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Where.
    pub scenario: Scenario,
    /// What.
    pub figure: Figure,
    /// Whose: this switch, or a variant of it.
    pub of: &'static str,
    /// Whom it is compared with; none: an absolute figure.
    pub against: Option<&'static str>,
    /// The ratio, or figure, to reach.
    pub limit: f64,
    /// A further one.
    pub stretch: Option<f64>,
}

/// A goal and what was reached.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// The goal.
    pub goal: Goal,
    /// The ratio, or figure, measured.
    pub reached: Option<f64>,
    /// Reached or not.
    pub outcome: Outcome,
}

impl Goal {
    const fn new(at: (Scenario, Figure), against: &'static str, limit: f64, stretch: f64) -> Self {
        let (scenario, figure) = at;
        let against = Some(against);
        Self { scenario, figure, of: TAPWAY, against, limit, stretch: Some(stretch) }
    }

    /// As in "nat UDP flood >= 1.50 x linux".
    pub fn describe(&self) -> String {
        let sign = if self.figure.is_cost() { "<=" } else { ">=" };
        let whom = self.against.map_or_else(
            || format!("{} {}", self.limit, self.figure.unit()),
            |peer| format!("{:.2} x {peer}", self.limit),
        );
        let goal = format!("{} {} {sign} {whom}", self.scenario.key(), self.figure.title());
        if self.of == TAPWAY { goal } else { format!("{goal}, of {}", self.of) }
    }

    fn judge(self, results: &Results) -> Verdict {
        let at = (self.scenario, self.figure);
        let reached = match self.against {
            Some(peer) => results.ratio(at, self.of, peer),
            None => results.summary(at.0, at.1, self.of).map(|summary| summary.median),
        };
        let is_within = |limit: f64, value: f64| {
            if self.figure.is_cost() { value <= limit } else { value >= limit }
        };
        let outcome = match reached {
            None => Outcome::Unknown,
            Some(value) if !is_within(self.limit, value) => Outcome::Missed,
            Some(value) if self.stretch.is_some_and(|stretch| is_within(stretch, value)) => {
                Outcome::Stretch
            }
            Some(_) => Outcome::Met,
        };
        Verdict { goal: self, reached, outcome }
    }
}

/// Judges every goal.
pub fn judge(results: &Results) -> Vec<Verdict> {
    all().into_iter().map(|goal| goal.judge(results)).collect()
}

fn all() -> Vec<Goal> {
    use Scenario::{L2, Nat, Published};
    let mut goals = vec![
        Goal::new((L2, Figure::Flood), LINUX, 1.3, 1.45),
        Goal::new((Nat, Figure::Flood), LINUX, 1.5, 1.8),
        Goal::new((L2, Figure::Tcp1), LINUX, 0.68, 0.9),
        Goal::new((Nat, Figure::Tcp1), LINUX, 0.72, 0.9),
        Goal::new((L2, Figure::Tcp1Cpu), LINUX, 1.5, 1.3),
        Goal::new((Nat, Figure::Tcp1Cpu), LINUX, 1.5, 1.3),
        Goal::new((L2, Figure::FloodCpu), LINUX, 1.0, 0.9),
        Goal::new((Nat, Figure::FloodCpu), LINUX, 1.0, 0.9),
        Goal::new((Nat, Figure::Connects), LINUX, 0.75, 0.9),
        Goal::new((L2, Figure::RttP50), LINUX, 2.0, 2.0),
        Goal::new((Nat, Figure::RttP50), LINUX, 2.0, 2.0),
    ];
    let plain = |scenario, figure, against, limit| Goal {
        scenario,
        figure,
        of: TAPWAY,
        against,
        limit,
        stretch: None,
    };
    goals.extend([
        plain(L2, Figure::Tcp1, Some("ovs"), 3.0),
        plain(Nat, Figure::Tcp1, Some("ovs"), 3.0),
        plain(Published, Figure::Tcp1, Some("pasta"), 1.2),
        plain(Nat, Figure::Tcp1, Some("slirp4netns"), 12.0),
        plain(L2, Figure::Tcp1, Some(VPP), 1.2),
        plain(Nat, Figure::Tcp1, Some(VPP), 1.2),
        plain(Nat, Figure::Flood, Some(VPP), 1.0),
        // One that polls is compared with one that polls.
        Goal { of: TAPWAY_BUSY, ..plain(Nat, Figure::Flood, Some(VPP_XDP), 1.0) },
        plain(L2, Figure::Rest, None, AT_REST),
        plain(Nat, Figure::Rest, None, AT_REST),
    ]);
    for figure in [Figure::Tcp1, Figure::Flood] {
        goals.push(plain(Scenario::Vxlan, figure, Some(BARE), OF_BARE_VXLAN));
    }
    for (scenario, limit) in OF_BARE {
        for figure in Figure::ALL.into_iter().filter(|figure| is_of_bare(*figure)) {
            let limit = if figure.is_cost() { 1.0 / limit } else { limit };
            goals.push(plain(scenario, figure, Some(BARE), limit));
        }
    }
    goals
}

/// End-to-end figures that the bare forwarder has.
fn is_of_bare(figure: Figure) -> bool {
    use Figure::{FairFlood, FairP50, FairP99, FairTcp, Rest};
    !matches!(figure, Rest | FairTcp | FairP50 | FairP99 | FairFlood)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(mine: f64, figure: Figure) -> Outcome {
        let mut results = Results::default();
        results.add((Scenario::L2, figure), TAPWAY, 0, mine);
        results.add((Scenario::L2, figure), LINUX, 0, 100.0);
        Goal::new((Scenario::L2, figure), LINUX, 1.2, if figure.is_cost() { 0.9 } else { 1.5 })
            .judge(&results)
            .outcome
    }

    #[test]
    fn a_rate_must_be_high_and_a_cost_low() {
        assert_eq!(outcome(160.0, Figure::Flood), Outcome::Stretch);
        assert_eq!(outcome(130.0, Figure::Flood), Outcome::Met);
        assert_eq!(outcome(110.0, Figure::Flood), Outcome::Missed);
        assert_eq!(outcome(80.0, Figure::FloodCpu), Outcome::Stretch);
        assert_eq!(outcome(130.0, Figure::FloodCpu), Outcome::Missed);
    }

    #[test]
    fn whoever_polls_is_held_against_whoever_polls() {
        let mut results = Results::default();
        for (peer, value) in [(TAPWAY, 900.0), (TAPWAY_BUSY, 700.0), (VPP_XDP, 800.0)] {
            results.add((Scenario::Nat, Figure::Flood), peer, 0, value);
        }
        let verdicts = judge(&results);
        let verdict = verdicts.iter().find(|v| v.goal.against == Some(VPP_XDP)).unwrap();
        assert_eq!((verdict.reached, verdict.outcome), (Some(0.875), Outcome::Missed));
        assert_eq!(verdict.goal.describe(), "nat UDP flood >= 1.00 x vpp-xdp, of tapway-busy");
    }

    #[test]
    fn nothing_measured_is_neither_met_nor_missed() {
        assert!(judge(&Results::default()).iter().all(|v| v.outcome == Outcome::Unknown));
    }
}
