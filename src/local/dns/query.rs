//! A query as far as it matters here: the question, and what EDNS says about the asker.
//!
//! Options are kept for the resolver that a query may go to, but for those that only two
//! neighbours have to do with.

use hickory_proto::op::{Header, MessageType, Metadata, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError, Restrict};

use super::{MAX_QUERY, MAX_UDP_ANSWER, MIN_UDP_ANSWER};
use crate::packet::be16;

/// Most records besides the question: EDNS, a signature, and room for what may come.
pub const MAX_RECORDS: u16 = 4;
/// The only version of EDNS (RFC 6891).
const EDNS_VERSION: u8 = 0;
/// In the flags of EDNS: DNSSEC records are wanted (RFC 3225).
const DNSSEC_OK: u16 = 0x8000;
/// Options between two neighbours: keep-alive, cookie, padding (RFC 7828, 7873, 7830).
const HOP_BY_HOP: [u16; 3] = [11, 10, 12];
const HEADER_LEN: usize = 12;

/// What EDNS says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskerEdns {
    /// Longest answer that the asker takes by UDP, in bytes.
    pub payload: u16,
    /// The asker wants DNSSEC records.
    pub is_dnssec_ok: bool,
}

/// A query that can be answered or passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Of the header: its id and flags.
    pub metadata: Metadata,
    /// What is asked, in the letters it was asked in.
    pub question: Question,
    /// None: the asker knows no EDNS.
    pub edns: Option<AskerEdns>,
    /// Options of EDNS that are passed on.
    pub options: Vec<u8>,
}

/// The OPT record of a query.
struct Opt {
    version: u8,
    edns: AskerEdns,
    options: Vec<u8>,
}

/// Why bytes are no query that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// They are an answer, or too short for a header: silence, or two servers might talk for ever.
    NoQuery,
    /// The asker is to be told.
    Refused {
        /// Id and flags of the query.
        metadata: Metadata,
        /// The question, as far as it could be read.
        question: Option<Question>,
        /// What EDNS said, as far as it could be read.
        edns: Option<AskerEdns>,
        /// Why.
        code: ResponseCode,
    },
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// If it is none, is malformed, or asks for what is not served here.
    pub fn parse(bytes: &[u8]) -> Result<Self, QueryError> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).map_err(|_| QueryError::NoQuery)?;
        let metadata = header.metadata;
        if metadata.message_type == MessageType::Response {
            return Err(QueryError::NoQuery);
        }
        let refuse = |question: Option<Question>, edns, code| {
            Err(QueryError::Refused { metadata, question, edns, code })
        };
        if metadata.op_code != OpCode::Query {
            return refuse(None, None, ResponseCode::NotImp);
        }
        let counts = header.counts;
        let is_plain = counts.queries == 1
            && counts.answers == 0
            && counts.additionals <= MAX_RECORDS
            && bytes.len() <= MAX_QUERY;
        let Some(question) = read_question(&mut decoder).filter(|_| is_plain) else {
            return refuse(None, None, ResponseCode::FormErr);
        };
        let is_transfer = matches!(question.query_type, RecordType::AXFR | RecordType::IXFR);
        if question.query_class != DNSClass::IN || is_transfer {
            return refuse(Some(question), None, ResponseCode::Refused);
        }
        let opt = match read_additionals(&mut decoder, counts.additionals) {
            Ok(opt) if counts.authorities == 0 && decoder.is_empty() => opt,
            _ => return refuse(Some(question), None, ResponseCode::FormErr),
        };
        let Some(Opt { version, edns, options }) = opt else {
            return Ok(Self { metadata, question, edns: None, options: Vec::new() });
        };
        if version > EDNS_VERSION {
            return refuse(Some(question), Some(edns), ResponseCode::BADVERS);
        }
        Ok(Self { metadata, question, edns: Some(edns), options })
    }

    /// Longest answer that the asker takes by UDP, in bytes.
    pub fn udp_limit(&self) -> usize {
        let payload = self.edns.map_or(0, |edns| usize::from(edns.payload));
        payload.clamp(MIN_UDP_ANSWER, MAX_UDP_ANSWER)
    }

    /// The name that is asked for, in small letters and without the last dot; none if it has
    /// characters that no name here has.
    pub fn name(&self) -> Option<String> {
        text_of(self.question.name())
    }

    /// Where the question ends that begins behind the header.
    pub fn question_end(&self) -> usize {
        HEADER_LEN + wire_len(self.question.name()) + 4
    }
}

/// The one question. Its name is written out: there is nothing before it to point to.
fn read_question(decoder: &mut BinDecoder<'_>) -> Option<Question> {
    let start = decoder.index();
    let question = Question::read(decoder).ok()?;
    let is_whole = decoder.index() - start == wire_len(question.name()) + 4;
    is_whole.then_some(question)
}

fn wire_len(name: &Name) -> usize {
    name.iter().map(|label| label.len() + 1).sum::<usize>() + 1
}

/// The one OPT record; other records are passed over.
fn read_additionals(decoder: &mut BinDecoder<'_>, count: u16) -> Result<Option<Opt>, DecodeError> {
    let mut opt = None;
    for _ in 0..count {
        let owner = Name::read(decoder)?;
        let kind = RecordType::read(decoder)?;
        let payload = decoder.read_u16().map(Restrict::unverified)?;
        let [_, version, flags @ ..] = decoder.read_u32().map(Restrict::unverified)?.to_be_bytes();
        let len = decoder.read_u16().map(Restrict::unverified)?;
        let data = decoder.read_slice(usize::from(len)).map(Restrict::unverified)?;
        if kind != RecordType::OPT {
            continue;
        }
        if opt.is_some() || !owner.is_root() {
            return Err(DecodeError::DuplicateEdns);
        }
        let is_dnssec_ok = u16::from_be_bytes(flags) & DNSSEC_OK != 0;
        let edns = AskerEdns { payload, is_dnssec_ok };
        opt = Some(Opt { version, edns, options: passed_on(data)? });
    }
    Ok(opt)
}

/// The options that go on to another resolver.
fn passed_on(mut data: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut passed = Vec::new();
    while !data.is_empty() {
        let [code, len] = [be16(data, 0), be16(data, 2)];
        let (Some(code), Some(len)) = (code, len) else {
            return Err(DecodeError::InsufficientBytes);
        };
        let split = data.split_at_checked(4 + usize::from(len));
        let (option, rest) = split.ok_or(DecodeError::InsufficientBytes)?;
        if !HOP_BY_HOP.contains(&code) {
            passed.extend_from_slice(option);
        }
        data = rest;
    }
    Ok(passed)
}

/// A name in small letters and without the last dot; none if it has characters that no own name
/// has.
pub(super) fn text_of(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(wire_len(name));
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            let is_plain = byte.is_ascii_graphic() && *byte != b'.';
            text.push(is_plain.then(|| byte.to_ascii_lowercase().into())?);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB1: &[u8] = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x04WeB1\0\0\x01\0\x01\
                          \0\0\x29\x04\xd0\0\0\x80\0\0\0";

    fn code_of(bytes: &[u8]) -> Option<ResponseCode> {
        match Query::parse(bytes) {
            Err(QueryError::Refused { code, .. }) => Some(code),
            Err(QueryError::NoQuery) => None,
            Ok(query) => panic!("{query:?}"),
        }
    }

    fn with(at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = WEB1.to_vec();
        bytes[at] = byte;
        bytes
    }

    #[test]
    fn a_query_is_read_with_what_edns_says() {
        let query = Query::parse(WEB1).unwrap();
        assert_eq!(query.name().as_deref(), Some("web1"));
        assert_eq!(query.question.name().to_ascii(), "WeB1.");
        assert_eq!(query.edns, Some(AskerEdns { payload: 1232, is_dnssec_ok: true }));
        assert_eq!((query.udp_limit(), query.question_end()), (1232, 22));
        assert!(query.metadata.recursion_desired && query.metadata.authentic_data);
    }

    #[test]
    fn what_is_no_query_is_met_by_silence_and_what_is_wrong_by_a_code() {
        assert_eq!(code_of(&WEB1[..11]), None);
        assert_eq!(code_of(&with(2, 0x81)), None, "an answer");
        assert_eq!(code_of(&with(2, 0x29)), Some(ResponseCode::NotImp), "an update");
        assert_eq!(code_of(&with(5, 2)), Some(ResponseCode::FormErr), "two questions");
        assert_eq!(code_of(&with(5, 0)), Some(ResponseCode::FormErr), "no question");
        assert_eq!(code_of(&with(7, 1)), Some(ResponseCode::FormErr), "an answer in it");
        assert_eq!(code_of(&with(9, 1)), Some(ResponseCode::FormErr), "an authority in it");
        assert_eq!(code_of(&with(11, 2)), Some(ResponseCode::FormErr), "a record is missing");
        assert_eq!(code_of(&with(11, 0)), Some(ResponseCode::FormErr), "something is left over");
        assert_eq!(code_of(&with(12, 0xc0)), Some(ResponseCode::FormErr), "a pointer to itself");
        assert_eq!(code_of(&with(19, 252)), Some(ResponseCode::Refused), "a zone transfer");
        assert_eq!(code_of(&with(21, 3)), Some(ResponseCode::Refused), "class CH");
        assert_eq!(code_of(&with(28, 1)), Some(ResponseCode::BADVERS));
        for len in 12..WEB1.len() {
            assert_eq!(code_of(&WEB1[..len]), Some(ResponseCode::FormErr), "{len} bytes");
        }
        let long = [WEB1, &[0; MAX_QUERY]].concat();
        assert_eq!(code_of(&long), Some(ResponseCode::FormErr));
    }

    #[test]
    fn options_go_on_but_for_those_between_neighbours() {
        let options = b"\0\x0a\0\x02ck\0\x03\0\0\0\x0c\0\x01p";
        let mut bytes = with(32, options.len() as u8);
        bytes.extend_from_slice(options);
        assert_eq!(Query::parse(&bytes).unwrap().options, b"\0\x03\0\0");
        bytes[32] -= 1;
        bytes.pop();
        assert_eq!(code_of(&bytes), Some(ResponseCode::FormErr));
    }

    #[test]
    fn a_name_with_a_dot_in_a_label_is_nobodys() {
        assert_eq!(Query::parse(&with(14, b'.')).unwrap().name(), None);
    }
}
