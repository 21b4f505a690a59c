//! `[dataplane]`: how the dataplane uses the system.

use std::num::NonZero;

use serde::Deserialize;
use toml::Spanned;

use super::problem::Problems;
use super::read::read_choice;
use super::section::Section;
use crate::id::WorkerId;
use crate::io::{DataplaneSettings, WaitMode, WriteChoice};

const IO: &str = "\"auto\", \"io_uring\" or \"write\"";
const MODE: &str = "\"auto\" or \"busy\"";
const WORKERS: &str = "a number or \"auto\"";

/// A number of workers, or the wish that tapway chooses.
#[derive(Deserialize)]
#[serde(untagged)]
enum Workers {
    Count(i64),
    Choice(String),
}

pub(super) fn read<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> DataplaneSettings {
    let mut settings = DataplaneSettings::default();
    let Some(mut section) = file.take_section(problems, "dataplane") else { return settings };
    let io = section.take::<String>(problems, "io", IO);
    let io =
        io.and_then(|io| read_choice(problems, &section, "io", io, &["auto", "io_uring", "write"]));
    settings.io = match io.as_deref() {
        Some("io_uring") => WriteChoice::IoUring,
        Some("write") => WriteChoice::Write,
        _ => WriteChoice::Auto,
    };
    let mode = section.take::<String>(problems, "mode", MODE);
    let mode =
        mode.and_then(|mode| read_choice(problems, &section, "mode", mode, &["auto", "busy"]));
    settings.mode = match mode.as_deref() {
        Some("busy") => WaitMode::Busy,
        _ => WaitMode::Auto,
    };
    if let Some(workers) = section.take::<Workers>(problems, "workers", WORKERS) {
        settings.workers = read_workers(problems, &section, &workers);
    }
    section.finish(problems);
    settings
}

fn read_workers<'i>(
    problems: &mut Problems<'i>,
    section: &Section<'i>,
    workers: &Spanned<Workers>,
) -> u8 {
    let shown = match workers.get_ref() {
        Workers::Choice(choice) if choice == "auto" => return workers_by_cores(),
        Workers::Choice(choice) => format!("\"{choice}\""),
        Workers::Count(count) => match u8::try_from(*count) {
            Ok(count @ 1..) if usize::from(count) <= WorkerId::MAX => return count,
            _ => count.to_string(),
        },
    };
    let what = format!("{shown} is no number of workers");
    let remedy = format!("use 1 to {}, or \"auto\"", WorkerId::MAX);
    problems.error(workers.span(), section.key("workers"), what, remedy);
    1
}

/// One for every two cores: the hosts behind the ports need the others.
fn workers_by_cores() -> u8 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    (cores / 2).clamp(1, WorkerId::MAX) as u8
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parsed(text: &str) -> DataplaneSettings {
        Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}")).config.dataplane
    }

    #[test]
    fn io_and_mode_are_read_and_default_to_auto() {
        assert_eq!(parsed(""), DataplaneSettings::default());
        assert_eq!(parsed("[dataplane]"), DataplaneSettings::default());
        let forced =
            DataplaneSettings { io: WriteChoice::IoUring, mode: WaitMode::Busy, workers: 16 };
        let text = "[dataplane]\nio = \"io_uring\"\nmode = \"busy\"\nworkers = 16";
        assert_eq!(parsed(text), forced);
        assert!((1..=16).contains(&parsed("[dataplane]\nworkers = \"auto\"").workers));
        assert_eq!(parsed("[dataplane]\nio = \"write\"").io, WriteChoice::Write);
    }

    #[test]
    fn wrong_values_are_refused_with_those_there_are() {
        let text = "[dataplane]\nio = \"iouring\"\nmode = 3\nworkers = 17\nqueues = 2";
        let errors = Config::parse("f", text).unwrap_err().to_string();
        for part in [
            "f:2:6: dataplane.io: \"iouring\" is unknown; use auto or io_uring or write",
            "f:3:8: dataplane.mode: 3 is not \"auto\" or \"busy\"",
            "f:4:11: dataplane.workers: 17 is no number of workers; use 1 to 16, or \"auto\"",
            "f:5:1: dataplane.queues: unknown key; known here: io, mode, workers",
        ] {
            assert!(errors.contains(part), "{errors}");
        }
    }
}
