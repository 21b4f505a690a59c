//! `[dataplane]`: how the dataplane uses the system.

use super::problem::Problems;
use super::read::read_choice;
use super::section::Section;
use crate::io::{WaitMode, WorkerSettings, WriteChoice};

const IO: &str = "\"auto\", \"io_uring\" or \"write\"";
const MODE: &str = "\"auto\" or \"busy\"";

pub(super) fn read<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> WorkerSettings {
    let mut settings = WorkerSettings::default();
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
    section.finish(problems);
    settings
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parsed(text: &str) -> WorkerSettings {
        Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}")).config.dataplane
    }

    #[test]
    fn io_and_mode_are_read_and_default_to_auto() {
        assert_eq!(parsed(""), WorkerSettings::default());
        assert_eq!(parsed("[dataplane]"), WorkerSettings::default());
        let forced = WorkerSettings { io: WriteChoice::IoUring, mode: WaitMode::Busy };
        assert_eq!(parsed("[dataplane]\nio = \"io_uring\"\nmode = \"busy\""), forced);
        assert_eq!(parsed("[dataplane]\nio = \"write\"").io, WriteChoice::Write);
    }

    #[test]
    fn wrong_values_are_refused_with_those_there_are() {
        let text = "[dataplane]\nio = \"iouring\"\nmode = 3\nworkers = 2";
        let errors = Config::parse("f", text).unwrap_err().to_string();
        for part in [
            "f:2:6: dataplane.io: \"iouring\" is unknown; use auto or io_uring or write",
            "f:3:8: dataplane.mode: 3 is not \"auto\" or \"busy\"",
            "f:4:1: dataplane.workers: unknown key; known here: io, mode",
        ] {
            assert!(errors.contains(part), "{errors}");
        }
    }
}
