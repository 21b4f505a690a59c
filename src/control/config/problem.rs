//! What is wrong with a configuration, and where.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use crate::control::rejection::{Rejection, RejectionKind};

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
    /// What kind of no it is where it was asked for live.
    pub kind: RejectionKind,
    /// It is about something that was made live, and so is in no file.
    pub is_live: bool,
}

impl Problem {
    /// A problem whose line and column are still to be counted.
    fn new(at: usize, key: String, what: String, remedy: String) -> Self {
        let [key, what, remedy] = [key, what, remedy].map(|text| escape(&text));
        let kind = RejectionKind::Wrong;
        Self { at, line: 1, column: 1, key, what, remedy, kind, is_live: false }
    }

    /// Says what kind of no it is, if it was asked for live.
    pub(super) fn is(&mut self, kind: RejectionKind) {
        self.kind = kind;
    }

    /// The same without its place: nobody wrote what was made live into a file.
    pub fn rejection(&self) -> Rejection {
        let what = match self.key.as_str() {
            "" => self.what.clone(),
            key => format!("{key}: {}", self.what),
        };
        Rejection::new(self.kind, what, &self.remedy)
    }
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
            match error.is_live {
                true => write!(out, "made live: {}{end}", error.rejection())?,
                false => write!(out, "{}:{error}{end}", self.file)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects problems while a text is read.
#[derive(Debug)]
pub(super) struct Problems<'i> {
    text: &'i str,
    /// Where the part begins that is in no file.
    live_at: usize,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
    /// Lines of which only the syntax is judged.
    muted: HashSet<usize>,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl<'i> Problems<'i> {
    /// Problems of a text whose part from `live_at` on is in no file.
    pub(super) fn new(text: &'i str, live_at: usize) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self {
            text,
            live_at,
            lines,
            muted: HashSet::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(
        &mut self,
        at: Range<usize>,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Problem {
        let mut problem = Problem::new(at.start, key.into(), what.into(), remedy.into());
        problem.is_live = at.start >= self.live_at;
        self.errors.push_mut(problem)
    }

    /// True if a place is in no file: it was made live.
    pub(super) const fn is_live(&self, at: &Range<usize>) -> bool {
        at.start >= self.live_at
    }

    pub(super) fn warning(
        &mut self,
        at: Range<usize>,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(Problem::new(at.start, key.into(), what.into(), remedy.into()));
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
        self.lines.partition_point(|start| *start <= at.start)
    }

    /// Drops whatever is told of a line besides its syntax.
    pub(super) fn mute_line(&mut self, at: &Range<usize>) {
        let line = self.line(at);
        self.muted.insert(line);
    }

    /// Both lists in the order of the text, each problem with its line and column.
    pub(super) fn finish(&mut self) {
        place(self.text, &self.lines, &mut self.errors);
        place(self.text, &self.lines, &mut self.warnings);
        let muted = &self.muted;
        self.errors.retain(|error| error.key.is_empty() || !muted.contains(&error.line));
    }
}

/// Sorts problems and counts their places out in one pass over the text, however many share a
/// line.
fn place(text: &str, lines: &[usize], problems: &mut [Problem]) {
    problems.sort_by_key(|problem| problem.at);
    let (mut from, mut column) = (0, 1);
    for problem in problems {
        problem.line = lines.partition_point(|start| *start <= problem.at);
        let start = lines.get(problem.line - 1).copied().unwrap_or_default();
        if start > from {
            (from, column) = (start, 1);
        }
        let between = text.get(from..problem.at.min(text.len())).unwrap_or_default();
        column += between.chars().count();
        from += between.len();
        problem.column = column;
    }
}

/// A text whose control characters, and those that reorder or hide what is around them, are
/// escaped: a file must not steer the terminal that its errors are read on.
pub(super) fn escape(text: &str) -> String {
    let is_invisible = |c: char| {
        matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}
