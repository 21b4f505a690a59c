//! What upstreams said lately, byte by byte.
//!
//! An answer is kept as long as the shortest of its TTLs, one that there is nothing as long as its
//! SOA says (RFC 2308 5), and handed out with the time passed taken off. Failures, cut answers and
//! those to questions with options of EDNS are not kept. Bounds: [`MAX_ENTRIES`] of at most
//! [`MAX_BYTES`]; the oldest goes first. It is lost, never wrong, if it is small.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use foldhash::quality::RandomState;
use hickory_proto::op::ResponseCode;

use crate::local::dns::Query;
use crate::local::dns::records::{RawRecord, Section, question, records};
use crate::packet::{be16, be32, put};
use crate::time::Instant;

const MAX_ENTRIES: usize = 4096;
/// Longest answer that is kept, in bytes.
const MAX_BYTES: usize = 4096;
/// Longest time that an answer is kept, in seconds: a day, and three hours if there is nothing
/// (RFC 2308 5).
const MAX_TTL: u32 = 86_400;
const MAX_NEGATIVE_TTL: u32 = 10_800;
const SOA: u16 = 6;
const ANY: u16 = 255;
const TRUNCATED: u8 = 0x02;

/// What tells questions apart whose answers differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// In small letters, with type and class.
    question: Vec<u8>,
    has_edns: bool,
    is_dnssec_ok: bool,
    is_unchecked: bool,
    wants_authentic: bool,
    is_recursive: bool,
}

struct Entry {
    answer: Vec<u8>,
    since: Instant,
    lifetime: Duration,
    /// Tells it from a former one of the same key.
    serial: u64,
}

/// The answers.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry, RandomState>,
    /// In the order they came; perhaps some that were replaced.
    order: VecDeque<(Key, u64)>,
    next_serial: u64,
}

impl Cache {
    /// An answer to a question with these bytes, with its TTLs as they are by now.
    pub(super) fn get(&mut self, now: Instant, query: &Query, asked: &[u8]) -> Option<Vec<u8>> {
        let key = key_of(query, asked)?;
        let entry = self.entries.get(&key)?;
        let age = now.since(entry.since);
        if age >= entry.lifetime {
            self.entries.remove(&key);
            return None;
        }
        let mut answer = entry.answer.clone();
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        for record in records(&answer)?.iter().filter(|record| !record.is_edns()) {
            let ttl = record.ttl.min(MAX_TTL).saturating_sub(age);
            put(&mut answer, record.ttl_at, &ttl.to_be_bytes());
        }
        Some(answer)
    }

    /// Keeps an answer, if it may be kept.
    pub(super) fn keep(&mut self, now: Instant, query: &Query, asked: &[u8], answer: &[u8]) {
        let Some(lifetime) = lifetime(answer).filter(|lifetime| !lifetime.is_zero()) else {
            return;
        };
        let Some(key) = key_of(query, asked).filter(|_| answer.len() <= MAX_BYTES) else { return };
        while self.order.len() >= MAX_ENTRIES
            && let Some((oldest, serial)) = self.order.pop_front()
        {
            if self.entries.get(&oldest).is_some_and(|entry| entry.serial == serial) {
                self.entries.remove(&oldest);
            }
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.order.push_back((key.clone(), serial));
        let answer = answer.to_vec();
        self.entries.insert(key, Entry { answer, since: now, lifetime, serial });
    }

    /// Forgets all: other upstreams may say something else.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

/// None: the answer is for this asker alone.
pub(super) fn key_of(query: &Query, asked: &[u8]) -> Option<Key> {
    if !query.options.is_empty() {
        return None;
    }
    let mut question = question(asked)?.to_vec();
    let name_len = question.len().saturating_sub(4);
    question.get_mut(..name_len)?.make_ascii_lowercase();
    Some(Key {
        question,
        has_edns: query.edns.is_some(),
        is_dnssec_ok: query.edns.is_some_and(|edns| edns.is_dnssec_ok),
        is_unchecked: query.metadata.checking_disabled,
        wants_authentic: query.metadata.authentic_data,
        is_recursive: query.metadata.recursion_desired,
    })
}

/// How long an answer may be kept; none: not at all.
fn lifetime(answer: &[u8]) -> Option<Duration> {
    let [flags, code] = [*answer.get(2)?, *answer.get(3)? & 0x0f];
    if flags & TRUNCATED != 0 {
        return None;
    }
    let found = records(answer)?;
    let asked = question(answer)?;
    let asked_kind = be16(asked, asked.len().checked_sub(4)?)?;
    let is_data = |record: &RawRecord| {
        record.section == Section::Answer && (record.kind == asked_kind || asked_kind == ANY)
    };
    let has_data = match ResponseCode::from(0, code) {
        ResponseCode::NoError => found.iter().any(is_data),
        ResponseCode::NXDomain => false,
        _ => return None,
    };
    let shortest = found.iter().filter(|record| !record.is_edns()).map(|record| record.ttl).min();
    let (ttl, most) = if has_data {
        (shortest?, MAX_TTL)
    } else {
        let is_soa =
            |record: &&RawRecord| record.section == Section::Authority && record.kind == SOA;
        let soa = found.iter().find(is_soa)?;
        let minimum = be32(answer, soa.data.end.checked_sub(4)?)?;
        (shortest?.min(minimum), MAX_NEGATIVE_TTL)
    };
    Some(Duration::from_secs(ttl.min(most).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query as Question};
    use hickory_proto::rr::rdata::{A, CNAME, SOA as Soa};
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    const START: Instant = Instant::from_secs(100);

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn asked(text: &str) -> (Query, Vec<u8>) {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Question::query(name(text), RecordType::A));
        let bytes = message.to_vec().unwrap();
        (Query::parse(&bytes).unwrap(), bytes)
    }

    fn answer(text: &str, code: ResponseCode, answers: Vec<Record>, soa: Option<u32>) -> Vec<u8> {
        let mut message = Message::response(7, OpCode::Query);
        message.metadata.response_code = code;
        message.add_query(Question::query(name(text), RecordType::A));
        message.add_answers(answers);
        if let Some(minimum) = soa {
            let data = Soa::new(name("ns."), name("me."), 1, 1, 1, 1, minimum);
            message.add_authority(Record::from_rdata(name("."), 900, RData::SOA(data)));
        }
        message.to_vec().unwrap()
    }

    fn address(text: &str, ttl: u32) -> Record {
        Record::from_rdata(name(text), ttl, RData::A(A::new(10, 0, 0, 1)))
    }

    fn ttls(answer: &[u8]) -> Vec<u32> {
        records(answer).unwrap().iter().map(|record| record.ttl).collect()
    }

    fn after(secs: u64) -> Instant {
        START + Duration::from_secs(secs)
    }

    #[test]
    fn an_answer_lives_as_long_as_its_shortest_ttl_and_grows_old() {
        let mut cache = Cache::default();
        let (query, bytes) = asked("a.b.");
        let records = vec![address("a.b.", 300), address("a.b.", 60)];
        cache.keep(START, &query, &bytes, &answer("a.b.", ResponseCode::NoError, records, None));
        let (other, other_bytes) = asked("A.B.");
        assert_eq!(ttls(&cache.get(after(59), &other, &other_bytes).unwrap()), [241, 1]);
        assert!(cache.get(after(60), &query, &bytes).is_none());
        assert!(cache.entries.is_empty());
    }

    #[test]
    fn nothing_lives_as_long_as_its_soa_says() {
        let (query, bytes) = asked("a.b.");
        for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
            let mut cache = Cache::default();
            let alias = RData::CNAME(CNAME(name("c.")));
            let alias = vec![Record::from_rdata(name("a.b."), 3600, alias)];
            cache.keep(START, &query, &bytes, &answer("a.b.", code, alias, Some(30)));
            assert_eq!(ttls(&cache.get(after(29), &query, &bytes).unwrap()), [3571, 871]);
            assert!(cache.get(after(30), &query, &bytes).is_none());
        }
    }

    #[test]
    fn what_may_not_be_kept_is_not() {
        let mut cache = Cache::default();
        let (query, bytes) = asked("a.b.");
        let good = || vec![address("a.b.", 300)];
        let mut cut = answer("a.b.", ResponseCode::NoError, good(), None);
        cut[2] |= TRUNCATED;
        for answer in [
            cut,
            answer("a.b.", ResponseCode::ServFail, good(), None),
            answer("a.b.", ResponseCode::NXDomain, Vec::new(), None),
            answer("a.b.", ResponseCode::NoError, vec![address("a.b.", 0)], None),
            b"short".to_vec(),
        ] {
            cache.keep(START, &query, &bytes, &answer);
            assert!(cache.entries.is_empty(), "{answer:?}");
        }
        let with_options = Query { options: vec![0; 4], ..query };
        let answer = answer("a.b.", ResponseCode::NoError, good(), None);
        cache.keep(START, &with_options, &bytes, &answer);
        assert!(cache.entries.is_empty());
    }

    #[test]
    fn flags_that_change_the_answer_are_kept_apart() {
        let mut cache = Cache::default();
        let (query, bytes) = asked("a.b.");
        let records = vec![address("a.b.", 300)];
        cache.keep(START, &query, &bytes, &answer("a.b.", ResponseCode::NoError, records, None));
        let mut unchecked = query.clone();
        unchecked.metadata.checking_disabled = true;
        assert!(cache.get(START, &unchecked, &bytes).is_none());
        assert!(cache.get(START, &query, &bytes).is_some());
        cache.clear();
        assert!(cache.get(START, &query, &bytes).is_none());
    }

    #[test]
    fn the_oldest_goes_at_the_bound() {
        let mut cache = Cache::default();
        for at in 0..=MAX_ENTRIES {
            let text = format!("n{at}.");
            let (query, bytes) = asked(&text);
            let records = vec![address(&text, 300)];
            cache.keep(START, &query, &bytes, &answer(&text, ResponseCode::NoError, records, None));
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (MAX_ENTRIES, MAX_ENTRIES));
        let (query, bytes) = asked("n0.");
        assert!(cache.get(START, &query, &bytes).is_none());
    }
}
