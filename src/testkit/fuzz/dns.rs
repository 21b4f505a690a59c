//! A DNS message as a query, as an upstream's answer, and as a stream of TCP.
//!
//! The first byte says how the message came, the second where the asker is.

use hickory_proto::op::{Message, MessageType};

use crate::id::NetworkId;
use crate::local::dns::records::{is_same_question, question, records};
use crate::local::dns::{
    MAX_UDP_ANSWER, NameTable, Place, Query, Reply, Transport, limit, refusal, reply,
};

const NETWORK: NetworkId = NetworkId(1);
const INTERNAL: NetworkId = NetworkId(2);

/// Reads a message.
///
/// # Panics
/// If an answer is none, answers something else, is too long, or two readings differ.
pub fn dns(data: &[u8]) {
    let [first, second, message @ ..] = data else { return };
    let transport = if first & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let network = if second & 1 == 0 { NETWORK } else { INTERNAL };
    let place = Place { network, address: Some([172, 17, 0, 2].into()) };
    let names = names();
    let outcome = reply(&names, &[place], message, transport);
    assert_eq!(reply(&names, &[place], message, transport), outcome, "the same twice");
    match outcome {
        Reply::Answer(answer) => check_answer(message, &answer, transport),
        Reply::Forward(query) => {
            assert_eq!(network, NETWORK, "an internal network asks nobody");
            check_forward(message, &query, transport);
        }
        Reply::Silence => {
            let is_answer = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
            assert!(message.len() < 12 || is_answer, "a query without an answer");
        }
    }
    check_records(message);
}

fn check_answer(asked: &[u8], answer: &[u8], transport: Transport) {
    let Ok(read) = Message::from_vec(answer) else { panic!("unreadable: {answer:02x?}") };
    assert_eq!(read.metadata.message_type, MessageType::Response);
    assert_eq!(answer.get(..2), asked.get(..2), "its id");
    assert!(transport == Transport::Tcp || answer.len() <= MAX_UDP_ANSWER);
    assert!(read.answers.is_empty() || records(answer).is_some(), "{answer:02x?}");
    if let Some(question_back) = question(answer).filter(|_| !read.queries.is_empty()) {
        let asked = question(asked);
        assert!(asked.is_some_and(|asked| asked == question_back), "another question");
    }
}

fn check_forward(asked: &[u8], query: &Query, transport: Transport) {
    let Some(bytes) = question(asked) else { panic!("no question: {asked:02x?}") };
    assert_eq!(query.question_end(), 12 + bytes.len());
    if let Ok(theirs) = Message::from_vec(asked) {
        assert_eq!(theirs.queries.first(), Some(&query.question));
        assert_eq!(theirs.edns.is_some(), query.edns.is_some());
    }
    let failure = refusal(query, hickory_proto::op::ResponseCode::ServFail);
    check_answer(asked, &failure, transport);
    let cut = limit(query, vec![0; 60_000], Transport::Udp);
    assert!(cut.len() <= query.udp_limit());
    check_answer(asked, &cut, Transport::Udp);
}

/// As an upstream's answer: everything that is pointed out lies in the message.
fn check_records(message: &[u8]) {
    let Some(found) = records(message) else { return };
    let Some(question) = question(message) else { panic!("records without a question") };
    assert!(is_same_question(question, question));
    let mut end = 0;
    for record in found {
        assert!(record.ttl_at >= end && record.ttl_at + 6 <= record.data.start);
        assert!(record.data.end <= message.len());
        end = record.data.end;
    }
}

fn names() -> NameTable {
    let mut names = NameTable::default();
    names.add_network(NETWORK, "net", "172.17.0.0/16".parse().ok(), true);
    names.add_network(INTERNAL, "in", "10.0.0.0/8".parse().ok(), false);
    names.add_host(NETWORK, "a", [172, 17, 0, 3].into());
    names.add_link(NETWORK, [172, 17, 0, 2].into(), "l", [172, 17, 0, 3].into());
    for last in 0..80 {
        names.add_alias(NETWORK, "m", [172, 17, 1, last].into());
    }
    names
}
