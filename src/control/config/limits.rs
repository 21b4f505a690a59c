//! `[limits]` and `[timeouts]`: the bounds and timers of the engine.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::problem::Problems;
use super::section::Section;
use crate::engine::EngineConfig;
use crate::nat::Timeouts;

/// Most sessions: their table takes about 300 bytes each.
const MAX_SESSIONS: u64 = 16_777_216;
const MAX_FDB: u64 = 1_048_576;
const MAX_NEIGHBOURS: u64 = 1_048_576;
/// A week, in seconds.
const MAX_TIMEOUT_S: u64 = 604_800;

pub(super) fn read<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> EngineConfig {
    let mut config = EngineConfig::default();
    if let Some(section) = file.take_section(problems, "limits") {
        config = read_limits(problems, section);
    }
    if let Some(section) = file.take_section(problems, "timeouts") {
        read_timeouts(problems, section, &mut config);
    }
    config
}

fn read_limits<'i>(problems: &mut Problems<'i>, mut section: Section<'i>) -> EngineConfig {
    let sessions = section.take_number(problems, "sessions", 1..=MAX_SESSIONS);
    let mut config = match sessions {
        Some(sessions) => EngineConfig::with_sessions(into_usize(sessions)),
        None => EngineConfig::default(),
    };
    let all = config.nat.sessions as u64;
    let sizes: [(&'static str, RangeInclusive<u64>, &mut usize); 8] = [
        ("sessions_per_host", 1..=all, &mut config.nat.sessions_per_host),
        ("ports_per_host", 1..=64_512, &mut config.nat.ports_per_host),
        ("flows", 16..=4 * MAX_SESSIONS, &mut config.flows),
        ("fdb", 16..=MAX_FDB, &mut config.fdb.total),
        ("fdb_per_network", 1..=MAX_FDB, &mut config.fdb.per_network),
        ("fdb_per_port", 1..=MAX_FDB, &mut config.fdb.per_port),
        ("neighbours", 16..=MAX_NEIGHBOURS, &mut config.neighbours.total),
        ("unresolved_per_port", 1..=MAX_NEIGHBOURS, &mut config.neighbours.unresolved_per_port),
    ];
    for (key, range, size) in sizes {
        if let Some(value) = section.take_number(problems, key, range) {
            *size = into_usize(value);
        }
    }
    let rates =
        [("icmp_per_host", &mut config.icmp.per_host), ("icmp_total", &mut config.icmp.total)];
    for (key, rate) in rates {
        if let Some(value) = section.take_number(problems, key, 0..=1_000_000) {
            *rate = value.into_inner() as u32;
        }
    }
    section.finish(problems);
    config
}

fn read_timeouts<'i>(
    problems: &mut Problems<'i>,
    mut section: Section<'i>,
    config: &mut EngineConfig,
) {
    let lifetimes = read_lifetimes(problems, &mut section);
    config.nat.timeouts = lifetimes.over(config.nat.timeouts);
    let durations: [(&'static str, u64, &mut Duration); 2] = [
        ("fdb_ageing_s", 10, &mut config.fdb_ageing),
        ("port_quarantine_s", 0, &mut config.nat.quarantine),
    ];
    for (key, least, duration) in durations {
        if let Some(value) = section.take_number(problems, key, least..=MAX_TIMEOUT_S) {
            *duration = Duration::from_secs(value.into_inner());
        }
    }
    section.finish(problems);
}

/// Lifetimes of sessions, as far as a table names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes([Option<u32>; LIFETIMES.len()]);

/// Their keys, and the least that the RFCs named at [`Timeouts`] allow.
const LIFETIMES: [(&str, u32); 6] = [
    ("udp_s", 120),
    ("tcp_opening_s", 240),
    ("tcp_established_s", 7440),
    ("tcp_closing_s", 240),
    ("icmp_s", 60),
    ("other_s", 1),
];

impl Lifetimes {
    /// What is named here, and the rest of `base`.
    pub fn over(self, base: Timeouts) -> Timeouts {
        let [udp, opening, established, closing, icmp, other] = self.0;
        Timeouts {
            udp_s: udp.unwrap_or(base.udp_s),
            tcp_opening_s: opening.unwrap_or(base.tcp_opening_s),
            tcp_established_s: established.unwrap_or(base.tcp_established_s),
            tcp_closing_s: closing.unwrap_or(base.tcp_closing_s),
            icmp_s: icmp.unwrap_or(base.icmp_s),
            other_s: other.unwrap_or(base.other_s),
        }
    }
}

pub(super) fn read_lifetimes<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
) -> Lifetimes {
    let mut lifetimes = Lifetimes::default();
    for ((key, least), lifetime) in LIFETIMES.into_iter().zip(&mut lifetimes.0) {
        let Some(value) = section.take_number(problems, key, 1..=MAX_TIMEOUT_S) else { continue };
        let seconds = *value.get_ref() as u32;
        *lifetime = Some(seconds);
        if seconds < least {
            let what = format!("{seconds} s is shorter than the standards allow");
            let remedy = format!("use at least {least}, unless peers are known to keep it up");
            problems.warning(value.span(), section.key(key), what, remedy);
        }
    }
    lifetimes
}

fn into_usize(number: Spanned<u64>) -> usize {
    usize::try_from(number.into_inner()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use crate::engine::EngineConfig;

    #[test]
    fn the_reference_file_holds_the_defaults() {
        let text = include_str!("../../../tools/configs/reference.toml");
        let config = Config::parse("reference.toml", text).unwrap().config;
        assert_eq!(config.engine, EngineConfig::default());
    }
}
