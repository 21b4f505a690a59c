//! A walk over the records of a message as it lies there, so that an answer can be passed on and
//! kept byte by byte, with nothing changed but its id, its question's letters and its TTLs.

use std::ops::Range;

use crate::packet::{be16, be32};

/// The type of the pseudo-record of EDNS.
const OPT: u16 = 41;
const HEADER_LEN: usize = 12;
const POINTER: u8 = 0xc0;
/// Longest name in bytes, without its end (RFC 1035 2.3.4).
const MAX_NAME: usize = 254;

/// Which part of a message a record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so, or who says that there is nothing.
    Authority,
    /// What may be of use.
    Additional,
}

/// A record where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Where it is.
    pub section: Section,
    /// Its type.
    pub kind: u16,
    /// Where its TTL begins; that of EDNS is none.
    pub ttl_at: usize,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// Where its data is.
    pub data: Range<usize>,
}

impl RawRecord {
    /// True if it belongs to the way between two neighbours and is no data.
    pub const fn is_edns(&self) -> bool {
        self.kind == OPT
    }
}

/// The records of a message with one question; none if it is malformed.
pub fn records(message: &[u8]) -> Option<Vec<RawRecord>> {
    if be16(message, 4)? != 1 {
        return None;
    }
    let mut at = question_end(message)?;
    let mut records = Vec::new();
    let sections = [(Section::Answer, 6), (Section::Authority, 8), (Section::Additional, 10)];
    for (section, count_at) in sections {
        for _ in 0..be16(message, count_at)? {
            let fixed = name_end(message, at)?;
            let (kind, ttl) = (be16(message, fixed)?, be32(message, fixed + 4)?);
            let start = fixed + 10;
            let end = start + usize::from(be16(message, fixed + 8)?);
            message.get(start..end)?;
            records.push(RawRecord { section, kind, ttl_at: fixed + 4, ttl, data: start..end });
            at = end;
        }
    }
    Some(records)
}

/// Where the question of a message ends.
pub fn question_end(message: &[u8]) -> Option<usize> {
    let end = name_end(message, HEADER_LEN)? + 4;
    (end <= message.len()).then_some(end)
}

/// The question of a message.
pub fn question(message: &[u8]) -> Option<&[u8]> {
    message.get(HEADER_LEN..question_end(message)?)
}

/// True if two questions ask the same, whatever their letters (RFC 4343).
pub fn is_same_question(a: &[u8], b: &[u8]) -> bool {
    let split = |question: &[u8]| question.len().saturating_sub(4);
    let (Some((a_name, a_rest)), Some((b_name, b_rest))) =
        (a.split_at_checked(split(a)), b.split_at_checked(split(b)))
    else {
        return false;
    };
    a_name.eq_ignore_ascii_case(b_name) && a_rest == b_rest
}

/// Where a name ends in its place; what it points to is not looked at.
fn name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let len = *message.get(at)?;
        match len {
            0 => return Some(at + 1),
            POINTER.. => return message.get(at + 1).map(|_| at + 2),
            1..=63 if at - start <= MAX_NAME => at += 1 + usize::from(len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\x01\x03WwW\x01a\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\0\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";

    #[test]
    fn records_are_found_where_they_lie() {
        let found = records(ANSWER).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].section, found[0].kind, found[0].ttl), (Section::Answer, 1, 300));
        assert_eq!(&ANSWER[found[0].data.clone()], [10, 0, 0, 1]);
        assert_eq!(&ANSWER[found[0].ttl_at..][..4], 300u32.to_be_bytes());
        assert!(found[1].is_edns() && found[1].section == Section::Additional);
        assert_eq!(question(ANSWER), Some(&b"\x03WwW\x01a\0\0\x01\0\x01"[..]));
    }

    #[test]
    fn a_message_that_is_cut_has_no_records() {
        for len in 0..ANSWER.len() {
            assert_eq!(records(&ANSWER[..len]), None, "{len}");
        }
    }

    #[test]
    fn letters_do_not_matter_and_types_do() {
        let asked = b"\x03www\x01A\0\0\x41\0\x01";
        assert!(is_same_question(asked, b"\x03WWW\x01a\0\0\x41\0\x01"));
        assert!(!is_same_question(asked, b"\x03WWW\x01a\0\0\x61\0\x01"));
        assert!(!is_same_question(asked, b"\x03WWX\x01a\0\0\x41\0\x01"));
        assert!(!is_same_question(asked, b""));
    }

    #[test]
    fn a_name_without_end_is_none() {
        let endless = [[0; 12].as_slice(), &[1; 600]].concat();
        assert_eq!(question_end(&endless), None);
    }
}
