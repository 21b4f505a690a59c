//! The syntax of the file: what TOML itself finds wrong with it.

use std::collections::HashMap;
use std::ops::Range;

use toml::de::Error;

use super::problem::Problems;

/// Reports what TOML found; true if its table is whole but for keys and tables that are there
/// twice and values that are none.
pub(super) fn report(problems: &mut Problems<'_>, text: &str, errors: &[Error]) -> bool {
    let (twice, others): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| error.message().starts_with("duplicate key"));
    report_twice(problems, text, &twice);
    let is_whole = others.iter().all(|error| is_of_value(error));
    let mut last = None;
    for error in others {
        let at = error.span().unwrap_or_default();
        if last.replace(at.start) == Some(at.start) {
            continue;
        }
        let (at, what, remedy) = explain(problems, text, error);
        // The value that stands in for this one must not be judged.
        problems.mute_line(&at);
        problems.error(at, "", what, remedy);
    }
    is_whole
}

/// The place, what is wrong, and the remedy.
fn explain(
    problems: &Problems<'_>,
    text: &str,
    error: &Error,
) -> (Range<usize>, String, &'static str) {
    let at = error.span().unwrap_or_default();
    let message = error.message().replace('\n', ", ");
    if !is_of_value(error) {
        return (at, message, "correct the TOML syntax, then the other values are checked");
    }
    let is_bare = ["string values", "invalid float", "invalid integer"];
    if at.is_empty() || !is_bare.iter().any(|start| message.starts_with(start)) {
        return (at, message, "correct the TOML syntax");
    }
    // TOML points at what cannot be in a number; the user wrote an address.
    let before = text.get(..at.start).unwrap_or_default();
    let is_before_value = |c: char| c.is_whitespace() || matches!(c, '=' | '[' | ',');
    let start = before.rfind(is_before_value).map_or(0, |at| at + 1);
    let what = format!("{} is not a value", problems.shown(start..at.end));
    (start..at.end, what, "put texts and addresses in quotes, or write a number, true or false")
}

/// True if the error is inside one value, so that every key has its place all the same.
fn is_of_value(error: &Error) -> bool {
    let message = error.message();
    let is_key_or_block = ["unquoted key", "multi-line", "array", "table"];
    (message.starts_with("string values must be quoted") || message.starts_with("invalid "))
        && !is_key_or_block.iter().any(|what| message.contains(what))
}

/// Keys and tables that are there twice. What a table repeats because it is there twice itself
/// is not told.
fn report_twice(problems: &mut Problems<'_>, text: &str, errors: &[&Error]) {
    if errors.is_empty() {
        return;
    }
    let mut headers = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = table_name(line) {
            headers.entry(name).or_insert(index + 1);
        }
    }
    let mut repeated: Range<usize> = 0..0;
    for error in errors {
        let at = error.span().unwrap_or_default();
        if repeated.contains(&at.start) {
            continue;
        }
        let key = text.get(at.clone()).unwrap_or_default();
        let start =
            text.get(..at.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let rest = text.get(start..).unwrap_or_default();
        let Some(name) = rest.lines().next().and_then(table_name) else {
            let before = text.get(..start).unwrap_or_default();
            let key = match before.lines().rev().find_map(table_name) {
                Some(table) => format!("{table}.{key}"),
                None => key.to_owned(),
            };
            problems.error(at, key, "this key is there already", "keep one of them");
            continue;
        };
        let first = headers.get(name).copied().filter(|first| *first < problems.line(&at));
        let what = match first {
            Some(first) => format!("this table is there already (line {first})"),
            None => "this name is used already".to_owned(),
        };
        problems.error(at, name, what, "rename it, or join the two");
        repeated = start..end_of_table(text, start);
    }
}

/// The name in a table's header.
fn table_name(line: &str) -> Option<&str> {
    let (name, _) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    Some(name.trim_start_matches('[').trim())
}

/// Where the next table starts.
fn end_of_table(text: &str, start: usize) -> usize {
    let body = text.get(start + 1..).unwrap_or_default();
    let mut at = start + 1;
    for (index, line) in body.split_inclusive('\n').enumerate() {
        if index > 0 && table_name(line).is_some() {
            return at;
        }
        at += line.len();
    }
    text.len()
}
