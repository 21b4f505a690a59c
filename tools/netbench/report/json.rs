//! Everything, for programs.

use serde_json::{Value, json};

use super::{PeerNote, Report};
use crate::figure::Test;
use crate::goals::Verdict;
use crate::peer::{BARE, LINUX};

/// Version of the schema; a reader refuses another one.
const SCHEMA: u32 = 1;

/// The report as one object.
pub fn to_json(report: &Report) -> Value {
    json!({
        "schema": SCHEMA,
        "command": report.command,
        "started_s": report.started_s,
        "machine": report.machine,
        "repetitions": report.repetitions,
        "seconds": report.seconds,
        "pinned": report.is_pinned,
        "peers": report.peers.iter().map(peer).collect::<Vec<_>>(),
        "results": results(report),
        "failures": failures(report),
        "goals": report.verdicts.iter().map(goal).collect::<Vec<_>>(),
    })
}

fn peer(peer: &PeerNote) -> Value {
    let (version, skipped) = match &peer.version {
        Ok(version) => (Some(version), None),
        Err(why) => (None, Some(why)),
    };
    json!({ "name": peer.name, "about": peer.about, "version": version, "skipped": skipped })
}

fn results(report: &Report) -> Vec<Value> {
    let results = &report.results;
    let row = |(scenario, figure, peer): (_, crate::figure::Figure, &str)| {
        let at = (scenario, figure);
        let samples = results.samples(scenario, figure, peer);
        let summary = results.summary(scenario, figure, peer)?;
        Some(json!({
            "scenario": scenario,
            "figure": figure.key(),
            "unit": figure.unit(),
            "less_is_better": figure.is_cost(),
            "peer": peer,
            "samples": samples.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            "median": summary.median,
            "min": summary.min,
            "max": summary.max,
            "ratio_to_linux": results.ratio(at, peer, LINUX),
            "ratio_to_bare": results.ratio(at, peer, BARE),
        }))
    };
    results.keys().filter_map(row).collect()
}

fn failures(report: &Report) -> Vec<Value> {
    let row = |failure: &crate::results::Failure| {
        json!({
            "scenario": failure.scenario,
            "test": failure.test.map(Test::key),
            "peer": failure.peer,
            "repetition": failure.repetition,
            "why": failure.why,
        })
    };
    report.results.failures.iter().map(row).collect()
}

fn goal(verdict: &Verdict) -> Value {
    let goal = &verdict.goal;
    json!({
        "scenario": goal.scenario,
        "figure": goal.figure.key(),
        "of": goal.of,
        "against": goal.against,
        "at_most": goal.figure.is_cost(),
        "limit": goal.limit,
        "stretch": goal.stretch,
        "reached": verdict.reached,
        "outcome": verdict.outcome.word(),
    })
}
