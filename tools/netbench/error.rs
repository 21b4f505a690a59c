//! What can go wrong, named.

use std::io;

/// Why the benchmark, or one measurement of it, ended.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A command failed.
    #[error("`{command}`: {said}")]
    Command {
        /// As one would type it.
        command: String,
        /// What it said.
        said: String,
    },
    /// The system refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// Something is needed.
    #[error("{what}; {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A peer did not do its part.
    #[error("{0}")]
    Peer(String),
}

/// The benchmark's result.
pub type Result<T> = std::result::Result<T, BenchError>;

/// Names what was tried when the system refuses.
pub trait Context<T> {
    /// Adds what was tried.
    ///
    /// # Errors
    /// The same, named.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| BenchError::System { what: what.into(), error: error.into() })
    }
}
