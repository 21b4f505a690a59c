//! The demo as it is told: what is typed, what comes back, and whether it is what it should be.

use std::fmt::Display;
use std::io::{self, Write};

use super::Summary;

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be; why that matters.
    Passed(String),
    /// Not as it should be.
    Failed {
        /// What should have been.
        expected: String,
        /// What was.
        found: String,
    },
    /// Not tried; why not.
    Skipped(String),
}

/// Writes the transcript and counts findings. Once the output is gone nothing more is written.
pub struct Transcript<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
    step: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Finding {
    /// Passed if `found` is what was `expected`.
    pub fn equal<T: PartialEq + Display>(expected: &T, found: &T, why: &str) -> Self {
        if expected == found {
            Self::Passed(why.to_owned())
        } else {
            Self::Failed { expected: expected.to_string(), found: found.to_string() }
        }
    }

    /// Failed, unless nothing was expected otherwise.
    pub fn failed(expected: impl Display, found: impl Display) -> Self {
        Self::Failed { expected: expected.to_string(), found: found.to_string() }
    }
}

impl<'a> Transcript<'a> {
    /// A transcript that goes to `out`.
    pub const fn new(out: &'a mut dyn Write) -> Self {
        Self { out, error: None, step: 0, passed: 0, failed: 0, skipped: 0 }
    }

    /// A step begins.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        let step = self.step;
        self.text(&format!("\n{step:2}. {title}\n"));
    }

    /// A command as somebody types it at a host.
    pub fn typed(&mut self, at: &str, command: impl Display) {
        self.text(&format!("    {at}$ {command}\n"));
    }

    /// What it prints.
    pub fn printed(&mut self, output: &str) {
        for line in output.lines() {
            let line = format!("    {line}");
            self.text(&format!("{}\n", line.trim_end()));
        }
    }

    /// The mark below it.
    pub fn mark(&mut self, finding: &Finding) {
        match finding {
            Finding::Passed(why) => {
                self.passed += 1;
                self.text(&format!("    passed: {why}\n"));
            }
            Finding::Failed { expected, found } => {
                self.failed += 1;
                self.text(&format!("    FAILED: expected {expected}, found {found}\n"));
            }
            Finding::Skipped(why) => {
                self.skipped += 1;
                self.text(&format!("    skipped: {why}\n"));
            }
        }
    }

    /// A line outside the steps.
    pub fn note(&mut self, line: impl Display) {
        self.text(&format!("{line}\n"));
    }

    /// How many findings were what.
    pub const fn summary(&self) -> Summary {
        Summary { passed: self.passed, failed: self.failed, skipped: self.skipped }
    }

    /// Makes sure that everything was written.
    ///
    /// # Errors
    /// The first error of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn text(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = self.out.write_all(text.as_bytes()).err();
        }
    }
}
