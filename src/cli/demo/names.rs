//! How a demo's host finds a name: in its hosts file, then by its resolver, as libc does.
//!
//! The little of DNS (RFC 1035) that this takes: one question, the records of one answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::DemoError;
use super::host::Host;
use crate::io::EtcFile;

/// How long a resolver is waited for that must know the name itself.
const OWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Each of the demo's questions has a socket of its own, so they need not differ.
const ID: u16 = 0x7477;

/// What a resolver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub code: ResponseCode,
    /// Addresses in it.
    pub addresses: Vec<Ipv4Addr>,
    /// Names in it, without the last dot.
    pub names: Vec<String>,
}

/// The address that a host finds for a name.
///
/// # Errors
/// What kept the host from looking.
pub fn address_of(host: &mut dyn Host, name: &str) -> Result<Option<Ipv4Addr>, DemoError> {
    let file = host.etc(EtcFile::Hosts)?.unwrap_or_default();
    let in_file = lines(&file).find(|(_, names)| names.split_whitespace().any(|n| n == name));
    if let Some((address, _)) = in_file {
        return Ok(Some(address));
    }
    let answer = ask(host, name, RecordType::A, OWN_TIMEOUT)?;
    Ok(answer.and_then(|answer| answer.addresses.first().copied()))
}

/// The name that a host finds for an address.
///
/// # Errors
/// What kept the host from looking.
pub fn name_of(host: &mut dyn Host, address: Ipv4Addr) -> Result<Option<String>, DemoError> {
    let file = host.etc(EtcFile::Hosts)?.unwrap_or_default();
    let in_file = lines(&file).find(|(at, _)| *at == address);
    if let Some(name) = in_file.and_then(|(_, names)| names.split_whitespace().next()) {
        return Ok(Some(name.to_owned()));
    }
    let [a, b, c, d] = address.octets();
    let reversed = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
    let answer = ask(host, &reversed, RecordType::PTR, OWN_TIMEOUT)?;
    Ok(answer.and_then(|answer| answer.names.into_iter().next()))
}

/// Asks a host's resolver; none if it keeps silent.
///
/// # Errors
/// What kept the host from asking.
pub fn ask(
    host: &mut dyn Host,
    name: &str,
    kind: RecordType,
    timeout: Duration,
) -> Result<Option<Answer>, DemoError> {
    let Some(question) = question(name, kind) else { return Ok(None) };
    Ok(host.ask_resolver(&question, timeout)?.and_then(|answer| read(&answer)))
}

/// The lines of a hosts file that are about IPv4: address and names.
fn lines(file: &str) -> impl Iterator<Item = (Ipv4Addr, &str)> {
    file.lines().filter_map(|line| {
        let (address, names) = line.split_once(char::is_whitespace)?;
        Some((address.parse().ok()?, names))
    })
}

fn question(name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let name = Name::from_ascii(format!("{name}.")).ok()?;
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message.to_vec().ok()
}

fn read(answer: &[u8]) -> Option<Answer> {
    let message = Message::from_vec(answer).ok()?;
    if message.metadata.id != ID || message.metadata.message_type != MessageType::Response {
        return None;
    }
    let mut found =
        Answer { code: message.metadata.response_code, addresses: Vec::new(), names: Vec::new() };
    for record in &message.answers {
        match &record.data {
            RData::A(address) => found.addresses.push(address.0),
            RData::PTR(name) => {
                found.names.push(name.0.to_ascii().trim_end_matches('.').to_owned());
            }
            _ => {}
        }
    }
    Some(found)
}
