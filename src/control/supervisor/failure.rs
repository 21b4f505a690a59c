//! Why a change of the model did not come about.

use std::fmt;

use crate::control::rejection::{Rejection, RejectionKind};
use crate::io::{OpenError, WorkerError};

/// A port that could not be opened.
#[derive(Debug)]
pub struct PortFailure {
    /// The port.
    pub port: String,
    /// Why not.
    pub error: OpenError,
}

/// Why a change was not applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Devices could not be opened: all of them.
    #[error("{}", list(.0))]
    Ports(Vec<PortFailure>),
    /// The dataplane refused a command or a device.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        error: WorkerError,
    },
    /// What follows the model cannot.
    #[error("{follower}: {rejection}")]
    Follower {
        /// Which.
        follower: &'static str,
        /// Why.
        rejection: Rejection,
    },
    /// The switch has stopped.
    #[error("the switch has stopped; see tapway's log, and start it again")]
    Stopped,
}

fn list(failures: &[PortFailure]) -> String {
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl fmt::Display for PortFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "port {}: {}", self.port, self.error)
    }
}

impl From<ApplyError> for Rejection {
    /// The worst of the ports: a missing privilege, then something in the way, then something
    /// that is not there.
    fn from(error: ApplyError) -> Self {
        let kind_of = |failure: &PortFailure| match failure.error {
            OpenError::Permission { .. } => RejectionKind::Permission,
            OpenError::Conflict { .. } => RejectionKind::Conflict,
            OpenError::NotFound { .. } => RejectionKind::NotFound,
            OpenError::System { .. } => RejectionKind::Failed,
        };
        let kind = match &error {
            ApplyError::Ports(failures) => failures.iter().map(kind_of).max(),
            ApplyError::Follower { rejection, .. } => Some(rejection.kind),
            ApplyError::Refused { .. } | ApplyError::Stopped => None,
        };
        Self::new(kind.unwrap_or(RejectionKind::Failed), error, "")
    }
}
