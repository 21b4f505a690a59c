//! What is no query, at every socket: an error, or a counted silence.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use hickory_proto::op::{OpCode, ResponseCode};
use tapway::io::Namespace;

use crate::bench::{Bench, GATEWAY, OWN, raw, read, short};
use crate::netns::Name;

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04web2\0\0\x01\0\x01";

fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut query = QUERY.to_vec();
    query[at] = byte;
    query
}

fn connect(netns: &Name, server: &str) -> TcpStream {
    let to = (server.to_owned(), 53);
    let namespace = Namespace::named(netns).unwrap();
    let stream = namespace.run(move || Ok(TcpStream::connect(to).unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    message
}

#[test]
fn malformed_messages_are_answered_by_a_code_or_not_at_all() {
    let Some(bench) = Bench::start("") else { return };
    for server in [OWN, GATEWAY] {
        for silent in [&b""[..], b"\x12\x34", &QUERY[..11], &with(2, 0x81), &[0xff; 512]] {
            assert!(raw(&bench.web1, server, silent).is_empty(), "{server} {silent:02x?}");
        }
        for (message, code) in [
            (with(5, 9), ResponseCode::FormErr),
            (with(5, 0), ResponseCode::FormErr),
            (with(7, 1), ResponseCode::FormErr),
            (with(12, 0xc0), ResponseCode::FormErr),
            (with(12, 0x7f), ResponseCode::FormErr),
            (QUERY[..20].to_vec(), ResponseCode::FormErr),
            ([QUERY, &[0; 1400]].concat(), ResponseCode::FormErr),
            (with(19, 252), ResponseCode::Refused),
            (with(21, 3), ResponseCode::Refused),
            (with(2, 0x29), ResponseCode::NotImp),
        ] {
            let answer = read(&raw(&bench.web1, server, &message));
            assert_eq!(answer.metadata.response_code, code, "{server} {message:02x?}");
            assert_eq!(answer.metadata.id, 0x1234);
        }
        let update = read(&raw(&bench.web1, server, &with(2, 0x29)));
        assert_eq!(update.metadata.op_code, OpCode::Update);
        assert_eq!(short(&bench.web1, &[&format!("@{server}"), "web2"]), ["172.22.0.3"]);
    }
    assert!(bench.report().resolver.not_a_query >= 5);
    assert!(bench.show("drops").contains("dns_malformed"));
}

#[test]
fn connections_are_bounded_and_survive_whatever_is_sent() {
    let Some(bench) = Bench::start("") else { return };
    for server in [OWN, GATEWAY] {
        // Several queries in one segment, one cut in two: answered in order.
        let mut stream = connect(&bench.web1, server);
        let (first, second) = (framed(QUERY), framed(&with(0, 0x55)));
        let (head, tail) = second.split_at(9);
        stream.write_all(&[first.as_slice(), head].concat()).unwrap();
        assert_eq!(receive(&mut stream)[..2], [0x12, 0x34]);
        stream.write_all(tail).unwrap();
        assert_eq!(receive(&mut stream)[..2], [0x55, 0x34]);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "the other side closes, too");
        // Too long, and no query: the connection ends.
        for nonsense in [[0xff; 100].to_vec(), framed(&with(2, 0x81)), framed(b"")] {
            let mut stream = connect(&bench.web1, server);
            stream.write_all(&nonsense).unwrap();
            assert!(matches!(stream.read(&mut [0; 9]), Ok(0) | Err(_)), "{nonsense:02x?}");
        }
        // As many as may be, saying nothing: others are still answered.
        let silent: Vec<TcpStream> = (0..8).map(|_| connect(&bench.web1, server)).collect();
        assert_eq!(short(&bench.web2, &["+tcp", &format!("@{server}"), "web1"]), ["172.22.0.2"]);
        drop(silent);
    }
}
