//! `tapway check`: everything that is wrong with a configuration.

use std::io::{self, Write as _};

use super::{Exit, Failure, Output};
use crate::control::config::{LoadError, Loaded, Origin};

/// Checks a configuration.
///
/// # Errors
/// [`Exit::BadConfiguration`] with all that is wrong, or that the file cannot be read.
pub fn check(origin: &Origin, output: &mut Output) -> Result<(), Failure> {
    let loaded = load(origin)?;
    output.line(format_args!("{}: ok", loaded.name))
}

/// Loads a configuration; warnings go to stderr.
pub(super) fn load(origin: &Origin) -> Result<Loaded, Failure> {
    let loaded = origin.load().map_err(|error| failure(&error))?;
    warn(&loaded);
    Ok(loaded)
}

/// Warnings go to stderr.
fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        let _ = writeln!(io::stderr(), "{warning}");
    }
}

/// Why a configuration cannot be used, with its exit code.
pub(super) fn failure(error: &LoadError) -> Failure {
    match error {
        LoadError::Unreadable { error: cause, .. } => {
            let exit = match cause.kind() {
                io::ErrorKind::NotFound => Exit::NotFound,
                io::ErrorKind::PermissionDenied => Exit::NoPermission,
                _ => Exit::Failed,
            };
            Failure::new(exit, error)
        }
        LoadError::TooLong { .. } => Failure::new(Exit::BadConfiguration, error),
        // Each line of its own, so that editors find the places.
        LoadError::Wrong(errors) => {
            Failure::new(Exit::BadConfiguration, format!("the configuration is wrong\n{errors}"))
        }
    }
}
