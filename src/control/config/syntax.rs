//! The syntax of the file: what TOML itself finds wrong with it.

use std::collections::HashMap;
use std::ops::Range;

use toml::de::Error;

use super::problem::Problems;

/// Reports what TOML found; true if its table is whole but for keys and tables that are there
/// twice.
pub(super) fn report(problems: &mut Problems<'_>, text: &str, errors: &[Error]) -> bool {
    let (twice, others): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| error.message().starts_with("duplicate key"));
    report_twice(problems, text, &twice);
    let mut last = None;
    for error in &others {
        let at = error.span().unwrap_or_default();
        if last.replace(at.start) == Some(at.start) {
            continue;
        }
        let message = error.message().replace('\n', ", ");
        problems.error(at, "", message, "correct the TOML syntax");
    }
    others.is_empty()
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
