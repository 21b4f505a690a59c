//! What is said to a query.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, Metadata, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::query::{AskerEdns, text_of};
use super::{MAX_UDP_ANSWER, NameTable, Place, Query, QueryError};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In a datagram: an answer that is too long is cut, and asked for again by TCP.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What becomes of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Nobody here knows: another resolver is to be asked.
    Forward(Query),
    /// Nothing is said.
    Silence,
}

/// Answers a query of a host at these places.
pub fn reply(table: &NameTable, places: &[Place], bytes: &[u8], transport: Transport) -> Reply {
    let query = match Query::parse(bytes) {
        Ok(query) => query,
        Err(QueryError::NoQuery) => return Reply::Silence,
        Err(QueryError::Refused { metadata, question, edns, code }) => {
            let message = message(&metadata, question, edns, code);
            return encoded(&message).map_or(Reply::Silence, Reply::Answer);
        }
    };
    let forwards = table.forwards(places);
    let Some((code, records)) = own(table, places, &query) else {
        return match forwards {
            true => Reply::Forward(query),
            // As Docker says on a network without a way out.
            false => Reply::Answer(refusal(&query, ResponseCode::ServFail)),
        };
    };
    let mut message = message(&query.metadata, Some(query.question.clone()), query.edns, code);
    message.metadata.authoritative = true;
    message.metadata.recursion_available = forwards;
    message.add_answers(records);
    let Some(bytes) = encoded(&message) else { return Reply::Silence };
    Reply::Answer(limit(&query, bytes, transport))
}

/// An answer without records.
pub fn refusal(query: &Query, code: ResponseCode) -> Vec<u8> {
    let question = Some(query.question.clone());
    let mut message = message(&query.metadata, question, query.edns, code);
    message.metadata.recursion_available = true;
    encoded(&message).unwrap_or_default()
}

/// An answer as the asker can take it: cut to its question if it is too long for a datagram, with
/// the sign to ask again by TCP (RFC 2181 9).
pub fn limit(query: &Query, answer: Vec<u8>, transport: Transport) -> Vec<u8> {
    if transport == Transport::Tcp || answer.len() <= query.udp_limit() {
        return answer;
    }
    let code = answer.get(3).map_or(0, |flags| flags & 0x0f);
    let question = Some(query.question.clone());
    let mut message = message(&query.metadata, question, query.edns, ResponseCode::from(0, code));
    message.metadata.recursion_available = true;
    message.metadata.truncation = true;
    encoded(&message).unwrap_or_default()
}

/// What the names here have to say; none if they know nothing of it.
fn own(table: &NameTable, places: &[Place], query: &Query) -> Option<(ResponseCode, Vec<Record>)> {
    let name = text_of(query.question.name())?;
    let kind = query.question.query_type();
    let record = |data| Record::from_rdata(query.question.name().clone(), table.ttl, data);
    if let Some(address) = reversed(&name) {
        let Ok((host, network)) = table.host(places, address)? else {
            return Some((ResponseCode::NXDomain, Vec::new()));
        };
        let target = name_of(host, network);
        let wanted = matches!(kind, RecordType::PTR | RecordType::ANY);
        let records = target.filter(|_| wanted).map(|target| record(RData::PTR(PTR(target))));
        return Some((ResponseCode::NoError, records.into_iter().collect()));
    }
    let mut addresses = table.addresses(places, &name);
    if addresses.is_empty() {
        return None;
    }
    // By what the asker chose at random: the same query has the same answer.
    let turn = usize::from(query.metadata.id) % addresses.len();
    addresses.rotate_left(turn);
    let wanted = matches!(kind, RecordType::A | RecordType::ANY);
    let records = addresses.into_iter().filter(|_| wanted);
    let records = records.map(|address| record(RData::A(A(address)))).collect();
    Some((ResponseCode::NoError, records))
}

/// The address that a name under `in-addr.arpa` stands for.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

/// `web1` and `dns`: `web1.dns.`
fn name_of(host: &str, network: &str) -> Option<Name> {
    let labels = host.split('.').chain(network.split('.'));
    Name::from_labels(labels.map(str::as_bytes)).ok()
}

fn message(
    asked: &Metadata,
    question: Option<Question>,
    edns: Option<AskerEdns>,
    code: ResponseCode,
) -> Message {
    let mut message = Message::response(asked.id, asked.op_code);
    message.metadata = Metadata::response_from_request(asked);
    message.metadata.response_code = code;
    message.add_queries(question);
    if let Some(asker) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_ANSWER as u16).set_dnssec_ok(asker.is_dnssec_ok);
        message.set_edns(edns);
    }
    message
}

fn encoded(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NetworkId;
    use hickory_proto::op::{MessageType, OpCode};

    const DNS: NetworkId = NetworkId(1);
    const INTERNAL: NetworkId = NetworkId(2);

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 22, 0, last)
    }

    fn table() -> NameTable {
        let mut table = NameTable::default();
        table.add_network(DNS, "dns", "172.22.0.0/16".parse().ok(), true);
        table.add_network(INTERNAL, "internal", "10.0.0.0/24".parse().ok(), false);
        table.add_host(DNS, "web1", ip(2));
        table.add_host(INTERNAL, "db", Ipv4Addr::new(10, 0, 0, 2));
        for host in 2..=60 {
            table.add_alias(DNS, "many", ip(host));
        }
        table
    }

    fn query(id: u16, name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Question::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask_by(network: NetworkId, message: &Message, transport: Transport) -> Reply {
        reply(&table(), &[Place { network, address: None }], &message.to_vec().unwrap(), transport)
    }

    fn ask(network: NetworkId, name: &str, kind: RecordType) -> Message {
        match ask_by(network, &query(7, name, kind), Transport::Udp) {
            Reply::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn addresses(message: &Message) -> Vec<Ipv4Addr> {
        let address = |record: &Record| match record.data {
            RData::A(A(address)) => address,
            ref other => panic!("{other:?}"),
        };
        message.answers.iter().map(address).collect()
    }

    #[test]
    fn an_own_name_is_answered_in_the_letters_it_was_asked_in() {
        for name in ["WeB1.", "web1.DNS."] {
            let answer = ask(DNS, name, RecordType::A);
            assert_eq!(addresses(&answer), [ip(2)]);
            assert!(answer.queries[0].name().eq_case(&Name::from_ascii(name).unwrap()));
            assert!(answer.answers[0].name.eq_case(&Name::from_ascii(name).unwrap()));
            assert_eq!((answer.metadata.id, answer.answers[0].ttl), (7, 600));
            let flags = answer.metadata;
            assert!(flags.authoritative && flags.recursion_desired && flags.recursion_available);
            assert!(!flags.truncation && answer.edns.is_none());
        }
    }

    #[test]
    fn what_an_own_name_does_not_have_is_no_data_and_asked_nowhere_else() {
        for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS] {
            let answer = ask(DNS, "web1.", kind);
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert!(answer.answers.is_empty(), "{answer}");
        }
    }

    #[test]
    fn an_address_is_turned_into_host_and_network() {
        let answer = ask(DNS, "2.0.22.172.in-addr.arpa.", RecordType::PTR);
        let RData::PTR(PTR(name)) = &answer.answers[0].data else { panic!("{answer}") };
        assert_eq!(name.to_ascii(), "web1.dns.");
        let empty = ask(DNS, "99.0.22.172.in-addr.arpa.", RecordType::PTR);
        assert_eq!(empty.metadata.response_code, ResponseCode::NXDomain);
        let beyond = query(7, "8.8.8.8.in-addr.arpa.", RecordType::PTR);
        assert!(matches!(ask_by(DNS, &beyond, Transport::Udp), Reply::Forward(_)));
    }

    #[test]
    fn a_name_that_is_nobodys_is_forwarded_and_on_an_internal_network_fails() {
        let foreign = query(7, "db.", RecordType::A);
        let Reply::Forward(query) = ask_by(DNS, &foreign, Transport::Udp) else { panic!() };
        assert_eq!(query.name().as_deref(), Some("db"));
        let answer = ask(INTERNAL, "example.com.", RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(addresses(&ask(INTERNAL, "db.", RecordType::A)), [Ipv4Addr::new(10, 0, 0, 2)]);
    }

    #[test]
    fn several_addresses_are_rotated() {
        let first = |id| match ask_by(DNS, &query(id, "many.", RecordType::A), Transport::Tcp) {
            Reply::Answer(bytes) => addresses(&Message::from_vec(&bytes).unwrap())[0],
            other => panic!("{other:?}"),
        };
        assert_eq!((first(0), first(1), first(59)), (ip(2), ip(3), ip(2)));
    }

    #[test]
    fn an_answer_too_long_for_the_asker_is_cut_by_udp_and_whole_by_tcp() {
        let mut many = query(7, "many.", RecordType::A);
        let length = |message: &Message, transport| match ask_by(DNS, message, transport) {
            Reply::Answer(bytes) => {
                let answer = Message::from_vec(&bytes).unwrap();
                (answer.metadata.truncation, answer.answers.len(), bytes.len())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(length(&many, Transport::Udp), (true, 0, 22));
        assert_eq!(length(&many, Transport::Tcp).1, 59);
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(true);
        many.set_edns(edns);
        let (is_cut, count, len) = length(&many, Transport::Udp);
        assert!(!is_cut && count == 59 && len > 512);
    }

    #[test]
    fn edns_is_answered_by_edns_and_an_unknown_version_by_badvers() {
        let mut asked = query(7, "web1.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true).set_version(1);
        asked.set_edns(edns);
        let Reply::Answer(bytes) = ask_by(DNS, &asked, Transport::Udp) else { panic!() };
        let answer = Message::from_vec(&bytes).unwrap();
        // The same number as another code's, which is for signatures.
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(ResponseCode::BADVERS));
        let edns = answer.edns.unwrap();
        assert!(edns.flags().dnssec_ok && edns.version() == 0);
    }

    #[test]
    fn an_answer_is_never_answered() {
        let mut answer = query(7, "web1.", RecordType::A);
        answer.metadata.message_type = MessageType::Response;
        assert_eq!(ask_by(DNS, &answer, Transport::Udp), Reply::Silence);
    }
}
