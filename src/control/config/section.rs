//! Reading a table of a TOML file key by key, so that every wrong key of it is reported and not
//! only the first.

use std::ops::{Range, RangeInclusive};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::Problems;

/// A table that is being read.
pub(super) struct Section<'i> {
    /// Its name in messages: `network.bridge`; empty for the file.
    path: String,
    span: Range<usize>,
    table: DeTable<'i>,
    known: Vec<&'static str>,
    /// Keys whose value was wrong.
    failed: Vec<&'static str>,
}

impl<'i> Section<'i> {
    pub(super) fn new(path: impl Into<String>, span: Range<usize>, table: DeTable<'i>) -> Self {
        Self { path: path.into(), span, table, known: Vec::new(), failed: Vec::new() }
    }

    /// Where the section is.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// A key's name in messages.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A value of any type; `expected` ends the sentence "is not ...".
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
        expected: &str,
    ) -> Option<Spanned<T>> {
        let value = self.take_raw(key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(_) => {
                self.failed.push(key);
                let what = format!("{} is not {expected}", problems.shown(span.clone()));
                problems.error(span, self.key(key), what, "correct it");
                None
            }
        }
    }

    /// A list of values; each wrong one is reported.
    pub(super) fn take_list<T: DeserializeOwned>(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
        expected: &str,
    ) -> Vec<Spanned<T>> {
        let Some(value) = self.take_raw(key) else { return Vec::new() };
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let what = format!("{} is not a list", problems.shown(span.clone()));
            problems.error(span, self.key(key), what, format!("write [ ... ], each {expected}"));
            self.failed.push(key);
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items {
            let span = item.span();
            match T::deserialize(ValueDeserializer::from(item)) {
                Ok(value) => list.push(Spanned::new(span, value)),
                Err(_) => {
                    self.failed.push(key);
                    let what = format!("{} is not {expected}", problems.shown(span.clone()));
                    problems.error(span, self.key(key), what, "correct it");
                }
            }
        }
        list
    }

    /// A whole number within bounds.
    pub(super) fn take_number(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Spanned<u64>> {
        let number = self.take::<i128>(problems, key, "a whole number")?;
        let span = number.span();
        match u64::try_from(*number.get_ref()).ok().filter(|number| range.contains(number)) {
            Some(number) => Some(Spanned::new(span, number)),
            None => {
                self.failed.push(key);
                let what = format!("{} is out of range", number.get_ref());
                let remedy = format!("use {} to {}", range.start(), range.end());
                problems.error(span, self.key(key), what, remedy);
                None
            }
        }
    }

    /// A table inside this one.
    pub(super) fn take_section(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
    ) -> Option<Section<'i>> {
        let value = self.take_raw(key)?;
        let path = self.key(key);
        section_of(problems, path, value)
    }

    /// The tables of a table, such as `[port.NAME]`, in the order of the file.
    pub(super) fn take_sections(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
    ) -> Vec<(Spanned<String>, Section<'i>)> {
        let Some(parent) = self.take_section(problems, key) else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, value) in parent.table {
            let path = format!("{key}.{}", name.get_ref());
            let name = Spanned::new(name.span(), name.into_inner().into_owned());
            if value.get_ref().is_table() {
                let section = section_of(problems, path, value);
                sections.extend(section.map(|section| (name, section)));
            } else {
                // Often a key of the table whose name was forgotten.
                let what = format!("{} is not a table", problems.shown(value.span()));
                let remedy = format!("write [{key}.NAME] and its keys below");
                problems.error(value.span(), path, what, remedy);
            }
        }
        sections.sort_by_key(|(name, _)| name.span().start);
        sections
    }

    /// The tables of a list, such as `[[route]]`.
    pub(super) fn take_section_list(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
    ) -> Vec<Section<'i>> {
        let Some(value) = self.take_raw(key) else { return Vec::new() };
        let (span, path) = (value.span(), self.key(key));
        let DeValue::Array(items) = value.into_inner() else {
            self.failed.push(key);
            problems.error(span, path.clone(), "not a list of tables", format!("write [[{path}]]"));
            return Vec::new();
        };
        items.into_iter().filter_map(|item| section_of(problems, path.clone(), item)).collect()
    }

    /// Reports a key that may not be here.
    pub(super) fn refuse(&mut self, problems: &mut Problems<'i>, key: &'static str, what: &str) {
        if let Some((name, _)) = self.table.remove_entry(key) {
            self.failed.push(key);
            problems.error(name.span(), self.key(key), what, "remove it");
        }
    }

    /// True if a value of one of these keys was wrong, or missing though required.
    pub(super) fn has_failed(&self, keys: &[&str]) -> bool {
        self.failed.iter().any(|failed| keys.contains(failed))
    }

    /// Notes that a value turned out to be wrong; that has been reported.
    pub(super) fn fail(&mut self, key: &'static str) {
        self.failed.push(key);
    }

    /// True if the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// True if the key is there and is a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Reports a key that must be there.
    pub(super) fn require<T>(
        &mut self,
        problems: &mut Problems<'i>,
        key: &'static str,
        value: Option<T>,
        example: &str,
    ) -> Option<T> {
        if value.is_none() && !self.failed.contains(&key) {
            let what = format!("`{key}` is missing");
            problems.error(self.span(), self.path.clone(), what, format!("add {key} = {example}"));
            self.failed.push(key);
        }
        value
    }

    /// Reports the keys that nobody took; true if every value of the section was good.
    pub(super) fn finish(self, problems: &mut Problems<'i>) -> bool {
        for name in self.table.keys() {
            let remedy = match self.known.as_slice() {
                [] => "remove it".to_owned(),
                known => format!("known here: {}", known.join(", ")),
            };
            problems.error(name.span(), self.key(name.get_ref()), "unknown key", remedy);
        }
        self.failed.is_empty()
    }

    fn take_raw(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.remove(key)
    }
}

fn section_of<'i>(
    problems: &mut Problems<'i>,
    path: String,
    value: Spanned<DeValue<'i>>,
) -> Option<Section<'i>> {
    let span = value.span();
    if let DeValue::Table(table) = value.into_inner() {
        return Some(Section::new(path, span, table));
    }
    let what = format!("{} is not a table", problems.shown(span.clone()));
    let remedy = format!("write [{path}] and its keys below");
    problems.error(span, path, what, remedy);
    None
}
