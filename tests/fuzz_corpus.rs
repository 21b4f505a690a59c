//! The fuzz corpora on stable: every input of `fuzz/corpus` through the body of its target.
//!
//! `cargo test --test fuzz_corpus -- --ignored` writes the seeds of `testkit::fuzz::seeds` anew.

use std::fs;
use std::path::{Path, PathBuf};

use tapway::testkit::fuzz::{self, seeds};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The inputs of a target, by name; none in a package, which has no fuzz folder.
#[expect(clippy::unwrap_used, reason = "an unreadable corpus fails the test")]
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder(target)) else { return Vec::new() };
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Runs every input and every seed; the name of a failing one is in the output.
fn replay(target: &str, seeds: Vec<seeds::Seed>, body: impl Fn(&[u8])) {
    for (path, input) in corpus(target) {
        eprintln!("{}", path.display());
        body(&input);
    }
    for (name, input) in seeds {
        eprintln!("{target}: {name}");
        body(&input);
        let stored = fs::read(folder(target).join(name));
        assert!(stored.is_err() || stored.is_ok_and(|stored| stored == input), "{name} is stale");
    }
}

#[test]
fn parse_corpus_replays() {
    replay("parse", seeds::parse(), fuzz::parse);
}

#[test]
fn pcap_corpus_replays() {
    replay("pcap", seeds::pcap(), fuzz::pcap);
}

#[test]
fn dns_corpus_replays() {
    replay("dns", seeds::dns(), fuzz::dns);
}

#[test]
fn offload_corpus_replays() {
    replay("offload", seeds::offload(), fuzz::offload);
}

#[test]
fn dhcp_corpus_replays() {
    replay("dhcp", seeds::dhcp(), fuzz::dhcp);
}

#[test]
fn engine_corpus_replays_the_same_twice() {
    replay("engine", seeds::engine(), |input| {
        let digest = fuzz::engine(input);
        assert_eq!(fuzz::engine(input), digest, "two runs differ");
        assert_eq!(fuzz::engine_unfinished(input), digest, "partial checksums make a difference");
    });
}

#[test]
fn engine_seeds_reach_every_kind_of_outcome() {
    let mut sums = [0; 5];
    for (_, input) in seeds::engine() {
        let totals = fuzz::engine(&input).totals;
        let outcomes =
            [totals.forwarded, totals.flooded, totals.local, totals.dropped, totals.waiting];
        for (sum, outcome) in sums.iter_mut().zip(outcomes) {
            *sum += outcome;
        }
    }
    assert!(sums.iter().all(|sum| *sum > 0), "{sums:?}");
}

#[test]
#[ignore = "writes files: run it after a change of the seeds"]
fn write_the_seed_corpora() {
    let all = [
        ("parse", seeds::parse()),
        ("pcap", seeds::pcap()),
        ("dns", seeds::dns()),
        ("offload", seeds::offload()),
        ("engine", seeds::engine()),
        ("dhcp", seeds::dhcp()),
    ];
    for (target, seeds) in all {
        fs::create_dir_all(folder(target)).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder(target).join(name), bytes).unwrap();
        }
    }
}
