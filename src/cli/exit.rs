//! Exit codes, and the failures that lead to them.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::control::api::{ApiError, ClientError};
use crate::io::OpenError;

/// How the process ends; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed for a reason that has no number of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A named thing is not there.
    NotFound = 3,
    /// No tapway answers on the socket.
    NotRunning = 4,
    /// Something is in the way.
    Conflict = 5,
    /// The privilege is missing (EX_NOPERM of sysexits).
    NoPermission = 77,
    /// The configuration is wrong (EX_CONFIG of sysexits).
    BadConfiguration = 78,
    /// The command of `exec` cannot be run, as of a shell.
    CommandNotRun = 126,
    /// The command of `exec` is not there, as of a shell.
    CommandNotFound = 127,
}

/// Why a command failed: what, where and the remedy, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    message: String,
    is_broken_pipe: bool,
}

impl Failure {
    /// A failure.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), is_broken_pipe: false }
    }

    /// Writing to `place` failed.
    pub fn write(place: impl fmt::Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        let is_broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { exit, message: format!("{place}: {error}"), is_broken_pipe }
    }

    /// True if the reader of stdout has gone.
    pub const fn is_broken_pipe(&self) -> bool {
        self.is_broken_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NotRunning { .. } => Exit::NotRunning,
            ClientError::Permission { .. } => Exit::NoPermission,
            ClientError::Refused(refusal) => match refusal.status() {
                400 => Exit::Usage,
                403 => Exit::NoPermission,
                404 => Exit::NotFound,
                409 => Exit::Conflict,
                422 => Exit::BadConfiguration,
                _ => Exit::Failed,
            },
            ClientError::Broken { .. } => Exit::Failed,
            ClientError::Sink(error) => return Self::write("output", error),
        };
        Self::new(exit, error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let exit = match &error {
            error if error.is_conflict() => Exit::Conflict,
            error if error.is_permission() => Exit::NoPermission,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Permission { .. } => Exit::NoPermission,
            OpenError::NotFound { .. } => Exit::NotFound,
            OpenError::Conflict { .. } => Exit::Conflict,
            OpenError::System { .. } => Exit::Failed,
        };
        Self::new(exit, error)
    }
}
