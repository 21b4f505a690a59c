//! What is made of the command line's own description: completions for shells, man pages.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure, Output};

/// Prints what makes a shell complete tapway's commands and options.
///
/// # Errors
/// If stdout does not take it.
pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tapway", &mut script);
    output.bytes(&script).map_err(|error| Failure::write("stdout", &error))
}

/// Writes a man page for tapway and each of its commands into a directory, made if missing.
///
/// # Errors
/// If a page cannot be written.
pub(super) fn man(directory: &Path, output: &mut Output) -> Result<(), Failure> {
    let failed = |error| Failure::write(directory.display(), &error);
    fs::create_dir_all(directory).map_err(failed)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    clap_mangen::generate_to(command, directory).map_err(failed)?;
    output.line(format_args!("{}: man pages written", directory.display()))
}
