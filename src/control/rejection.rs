//! What was asked for and cannot be done: the one form in which control says no, to the API, to
//! the log and to the command line.

use std::fmt;

/// What kind of no it is; the API's status and the exit code follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectionKind {
    /// It was tried and did not work.
    Failed,
    /// What was asked for makes no sense.
    Wrong,
    /// The configuration file is wrong.
    Configuration,
    /// Something that was named is not there.
    NotFound,
    /// Something is in the way.
    Conflict,
    /// The privilege is missing.
    Permission,
}

/// A no, with what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Rejection {
    /// The kind.
    pub kind: RejectionKind,
    /// What is wrong, and where.
    pub what: String,
    /// What to do; may be empty if `what` says it.
    pub remedy: String,
}

impl Rejection {
    /// A no of a kind.
    pub fn new(kind: RejectionKind, what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { kind, what: what.to_string(), remedy: remedy.to_string() }
    }

    /// Something that was named is not there.
    pub fn not_found(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(RejectionKind::NotFound, what, remedy)
    }

    /// Something is in the way.
    pub fn conflict(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(RejectionKind::Conflict, what, remedy)
    }

    /// What was asked for makes no sense.
    pub fn wrong(what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self::new(RejectionKind::Wrong, what, remedy)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy.as_str() {
            "" => out.write_str(&self.what),
            remedy => write!(out, "{}; {remedy}", self.what),
        }
    }
}
