//! One question to one upstream, so that a forged answer is hard to place (RFC 5452): each has a
//! socket, so a port, and an id of its own, and only what comes from there and repeats both id and
//! question is an answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::counters::{Counters, count};
use crate::local::dns::Query;
use crate::local::dns::records::{is_same_question, question, records};
use crate::packet::{be16, put};

/// How long an upstream is waited for; the same again over TCP.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// Datagrams that are no answer, after which an upstream is given up: somebody is guessing.
const MAX_MISMATCHES: usize = 64;
/// What upstreams may send by UDP, in bytes: no fragments on any common way.
const PAYLOAD: u16 = 1232;
/// Longest message.
const MAX_MESSAGE: usize = 65_535;
const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const OPT: [u8; 3] = [0, 0, 41];

/// The question as it is put to upstreams; its id is still zero.
pub(super) fn outgoing(query: &Query, asked: &[u8]) -> Option<Vec<u8>> {
    let flags = &query.metadata;
    let mut message = vec![0; 12];
    let (recursion, authentic, unchecked) =
        (flags.recursion_desired, flags.authentic_data, flags.checking_disabled);
    let second = u8::from(authentic) << 5 | u8::from(unchecked) << 4;
    put(&mut message, 2, &[u8::from(recursion), second, 0, 1]);
    message.extend_from_slice(question(asked)?);
    if let Some(edns) = query.edns {
        put(&mut message, 11, &[1]);
        message.extend_from_slice(&OPT);
        message.extend_from_slice(&PAYLOAD.to_be_bytes());
        message.extend_from_slice(&[0, 0, u8::from(edns.is_dnssec_ok) << 7, 0]);
        message.extend_from_slice(&(query.options.len() as u16).to_be_bytes());
        message.extend_from_slice(&query.options);
    }
    Some(message)
}

/// Asks one upstream; an answer that does not fit a datagram is fetched over TCP.
pub(super) async fn ask(
    upstream: SocketAddr,
    mut message: Vec<u8>,
    counters: &Counters,
) -> io::Result<Vec<u8>> {
    count(&counters.asked);
    let answer = in_time(by_udp(upstream, &mut message, &counters.mismatched)).await?;
    let is_cut = answer.get(2).is_some_and(|flags| flags & TRUNCATED != 0);
    if !is_cut {
        return Ok(answer);
    }
    count(&counters.asked_by_tcp);
    // An upstream that cannot speak TCP has still said something.
    Ok(in_time(by_tcp(upstream, &mut message)).await.unwrap_or(answer))
}

async fn in_time(asking: impl Future<Output = io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn by_udp(
    upstream: SocketAddr,
    message: &mut [u8],
    mismatched: &AtomicU64,
) -> io::Result<Vec<u8>> {
    let any: IpAddr = match upstream {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    set_random_id(message)?;
    socket.send(message).await?;
    let mut room = vec![0; MAX_MESSAGE];
    for _ in 0..MAX_MISMATCHES {
        let len = socket.recv(&mut room).await?;
        let answer = room.get(..len).unwrap_or_default();
        if answers(answer, message) {
            return Ok(answer.to_vec());
        }
        count(mismatched);
    }
    Err(io::Error::other("its answers do not answer the question"))
}

async fn by_tcp(upstream: SocketAddr, message: &mut [u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    set_random_id(message)?;
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&len.to_be_bytes(), &*message].concat()).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await?;
    match answers(&answer, message) {
        true => Ok(answer),
        false => Err(io::Error::other("its answer does not answer the question")),
    }
}

/// True if a message is a whole answer to the question.
fn answers(answer: &[u8], asked: &[u8]) -> bool {
    let is_response = answer.get(2).is_some_and(|flags| flags & RESPONSE != 0);
    let is_same = question(answer).zip(question(asked));
    is_response
        && be16(answer, 0) == be16(asked, 0)
        && is_same.is_some_and(|(answer, asked)| is_same_question(answer, asked))
        && records(answer).is_some()
}

fn set_random_id(message: &mut [u8]) -> io::Result<()> {
    let mut id = [0; 2];
    rustix::io::retry_on_intr(|| getrandom(&mut id, GetRandomFlags::empty()))?;
    put(message, 0, &id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &[u8] = b"\x12\x34\x01\x30\0\x01\0\0\0\0\0\x01\x04WeB1\0\0\x01\0\x01\
                           \0\0\x29\x10\0\0\0\x80\0\0\x04\0\x03\0\0";

    #[test]
    fn the_question_goes_on_as_it_was_asked() {
        let query = Query::parse(ASKED).unwrap();
        let message = outgoing(&query, ASKED).unwrap();
        let again = Query::parse(&message).unwrap();
        assert_eq!(again.question, query.question);
        assert!(again.question.name().eq_case(query.question.name()), "its letters, too");
        assert_eq!(again.options, query.options);
        assert!(again.edns.unwrap().is_dnssec_ok && again.metadata.checking_disabled);
        assert!(again.metadata.authentic_data && again.metadata.recursion_desired);
        assert_eq!(again.edns.unwrap().payload, PAYLOAD);
    }

    #[test]
    fn only_an_answer_to_this_question_is_one() {
        let asked = &ASKED[..22];
        let mut answer = asked.to_vec();
        answer[2] |= RESPONSE;
        answer[11] = 0;
        assert!(answers(&answer, asked));
        for (at, byte) in [(0, 0), (1, 0), (2, 1), (5, 0), (13, b'x'), (19, 28), (21, 3), (7, 1)] {
            let mut forged = answer.clone();
            forged[at] = byte;
            assert!(!answers(&forged, asked), "byte {at}");
        }
        assert!(!answers(&answer[..20], asked));
    }
}
