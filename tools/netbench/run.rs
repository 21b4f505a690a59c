//! The order of measurements: for every scenario and group of tests all peers in turn, in an
//! order that rotates, and all of that again. So peers that are compared are measured soon after
//! one another, and none always comes first.

use crate::error::{BenchError, Result};
use crate::figure::{Scenario, Test};
use crate::interrupt;
use crate::load::{self, Settings};
use crate::peer::Peer;
use crate::progress::Progress;
use crate::results::{Failure, Results};
use crate::testbed::Testbed;

/// What is to be measured.
pub struct Plan {
    /// Of whom; all of them can be measured here.
    pub peers: Vec<Box<dyn Peer>>,
    /// In which scenarios.
    pub scenarios: Vec<Scenario>,
    /// Which tests.
    pub tests: Vec<Test>,
    /// How often.
    pub repetitions: usize,
    /// How.
    pub settings: Settings,
}

/// One start of a switch and the tests it is for.
struct Round<'a> {
    peer: &'a dyn Peer,
    scenario: Scenario,
    tests: Vec<Test>,
    repetition: usize,
}

impl Plan {
    fn rounds(&self) -> Vec<Round<'_>> {
        let mut rounds = Vec::new();
        for repetition in 0..self.repetitions {
            for scenario in &self.scenarios {
                for group in Test::groups(*scenario) {
                    let mut in_turn: Vec<_> = self.peers.iter().map(Box::as_ref).collect();
                    in_turn.retain(|peer| peer.refuses(*scenario).is_none());
                    let turns = repetition % in_turn.len().max(1);
                    in_turn.rotate_left(turns);
                    let tests: Vec<Test> =
                        group.iter().copied().filter(|test| self.tests.contains(test)).collect();
                    if tests.is_empty() {
                        continue;
                    }
                    rounds.extend(in_turn.into_iter().map(|peer| Round {
                        peer,
                        scenario: *scenario,
                        tests: tests.clone(),
                        repetition,
                    }));
                }
            }
        }
        rounds
    }
}

/// Measures all of it.
///
/// # Errors
/// [`BenchError::Interrupted`], with what was measured until then in the results; what goes wrong
/// with a peer is there, too.
pub fn run(plan: &Plan, results: &mut Results) -> Result<()> {
    let rounds = plan.rounds();
    let total = rounds.iter().map(|round| round.tests.len()).sum();
    let mut progress = Progress::new(total);
    for round in rounds {
        interrupt::check()?;
        run_round(&round, plan.settings, results, &mut progress)?;
    }
    Ok(())
}

fn run_round(
    round: &Round<'_>,
    settings: Settings,
    results: &mut Results,
    progress: &mut Progress,
) -> Result<()> {
    let place = round.place();
    progress.doing(&place);
    let mut testbed = match bring_up(round, settings) {
        Ok(testbed) => testbed,
        Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
        Err(error) => {
            round.did_not_start(&error, results, progress);
            return Ok(());
        }
    };
    for test in &round.tests {
        let place = format!("{place} {}", test.key());
        progress.doing(&place);
        match load::measure(*test, &mut testbed, settings) {
            Ok(figures) => {
                let mut told = Vec::new();
                for (figure, value) in figures {
                    let at = (round.scenario, figure);
                    results.add(at, round.peer.name(), round.repetition, value);
                    told.push(format!("{} {value:.3} {}", figure.title(), figure.unit()));
                }
                progress.did(&place, &told.join(", "));
            }
            Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
            Err(error) => {
                let why = error.to_string();
                progress.note(&format!("{place} failed: {why}"));
                progress.did(&place, "failed");
                results.failures.push(round.failure(Some(*test), why));
            }
        }
    }
    Ok(())
}

fn bring_up(round: &Round<'_>, settings: Settings) -> Result<Testbed> {
    let mut testbed = round.peer.start(round.scenario)?;
    load::wait_until_reachable(&mut testbed, settings)?;
    Ok(testbed)
}

impl Round<'_> {
    fn did_not_start(&self, error: &BenchError, results: &mut Results, progress: &mut Progress) {
        let (place, why) = (self.place(), error.to_string());
        progress.note(&format!("{place} did not come up: {why}"));
        for test in &self.tests {
            progress.did(&format!("{place} {}", test.key()), "no switch");
        }
        results.failures.push(self.failure(None, why));
    }

    fn place(&self) -> String {
        format!("{} {}", self.scenario.key(), self.peer.name())
    }

    fn failure(&self, test: Option<Test>, why: String) -> Failure {
        Failure {
            scenario: self.scenario,
            test,
            peer: self.peer.name().to_owned(),
            repetition: self.repetition,
            why,
        }
    }
}
