//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;

/// How much of an offending value is shown, in characters.
const SHOWN_CHARS: usize = 60;

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text, in bytes.
    at: usize,
    /// Line, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// The key it is about, such as `network.bridge.subnet`; empty for a syntax error.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, what, remedy, .. } = self;
        write!(out, "{line}:{column}: ")?;
        if !key.is_empty() {
            write!(out, "{key}: ")?;
        }
        write!(out, "{what}; {remedy}")
    }
}

/// All errors of a file, in its order.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, as the user named it.
    pub file: String,
    /// The errors; at least one.
    pub errors: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let end = if index + 1 == self.errors.len() { "" } else { "\n" };
            write!(out, "{}:{error}{end}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects problems while a text is read.
#[derive(Debug)]
pub(super) struct Problems<'i> {
    text: &'i str,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl<'i> Problems<'i> {
    pub(super) const fn new(text: &'i str) -> Self {
        Self { text, errors: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn error(
        &mut self,
        at: Range<usize>,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = self.problem(at, key.into(), what.into(), remedy.into());
        self.errors.push(problem);
    }

    pub(super) fn warning(
        &mut self,
        at: Range<usize>,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let problem = self.problem(at, key.into(), what.into(), remedy.into());
        self.warnings.push(problem);
    }

    /// The text of a value, cut where it gets long.
    pub(super) fn shown(&self, at: Range<usize>) -> String {
        let text = self.text.get(at).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        if line.chars().count() <= SHOWN_CHARS && line.len() == text.len() {
            return line.to_owned();
        }
        line.chars().take(SHOWN_CHARS).chain("...".chars()).collect()
    }

    /// The line of a place, for messages that name a second place.
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        locate(self.text, at.start).0
    }

    /// Both lists in the order of the text.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_key(|problem| problem.at);
        self.warnings.sort_by_key(|problem| problem.at);
    }

    fn problem(&self, at: Range<usize>, key: String, what: String, remedy: String) -> Problem {
        let (line, column) = locate(self.text, at.start);
        Problem { at: at.start, line, column, key, what, remedy }
    }
}

fn locate(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
