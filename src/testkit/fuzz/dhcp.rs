//! The reader of DHCP messages, and the writer of answers: whatever a client sends, what is
//! answered can be read by a client that shares no code with it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::local::dhcp::{
    DhcpMessage, DhcpReply, MAX_REPLY, MIN_REPLY, Parameters, ReplyKind, RequestKind,
};
use crate::packet::{Headers, Layer, MacAddr, checksum};
use crate::testkit::dhcp::ServerMessage;

/// Reads a message and writes every kind of answer to it.
///
/// # Panics
/// If what was read or written contradicts the bytes.
pub fn dhcp(payload: &[u8]) {
    let Ok(message) = DhcpMessage::parse(payload) else { return };
    assert!(payload.len() >= 243 && message.mac.is_station());
    assert_eq!(payload.get(4..8), Some(&message.xid.to_be_bytes()[..]));
    assert!(message.host_name.as_ref().is_none_or(|name| (1..=63).contains(&name.len())));
    let parameters = Parameters {
        server: Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 1), 16),
        server_mac: MacAddr([2, 0x42, 172, 17, 0, 1]),
        router: Some(Ipv4Addr::new(172, 17, 0, 1)),
        dns: vec![Ipv4Addr::new(172, 17, 0, 1)],
        domain: Some("x".repeat(255)),
        mtu: 1500,
    };
    for kind in [ReplyKind::Offer, ReplyKind::Ack, ReplyKind::Nak] {
        let address = Ipv4Addr::new(172, 17, 0, 2);
        let is_nak = kind == ReplyKind::Nak;
        let has_own = is_nak || message.kind == RequestKind::Inform;
        let reply = DhcpReply {
            kind,
            your_ip: if has_own { Ipv4Addr::UNSPECIFIED } else { address },
            lease_s: (!has_own).then_some(3600),
            host_name: message.host_name.clone(),
            reason: is_nak.then_some("not here"),
        };
        check(&message, &reply, &reply.frame(&message, &parameters));
    }
}

fn check(message: &DhcpMessage, reply: &DhcpReply, frame: &[u8]) {
    let headers = Headers::parse(frame).expect("an Ethernet frame");
    let Layer::Ipv4(ipv4) = headers.layer else { panic!("no IPv4: {headers:?}") };
    let segment = frame.get(34..).unwrap_or_default();
    assert_eq!(checksum::transport(ipv4.src, ipv4.dst, 17, segment), 0);
    let payload = segment.get(8..).unwrap_or_default();
    assert!((MIN_REPLY..=MAX_REPLY).contains(&payload.len()), "{} bytes", payload.len());
    let read = ServerMessage::parse(payload).expect("a server's message");
    assert_eq!((read.xid, read.your_ip), (message.xid, reply.your_ip));
    assert_eq!(read.option(54), Some(&[172, 17, 0, 1][..]));
    assert_eq!(read.option(51).is_some(), reply.lease_s.is_some());
    let is_to_all = ipv4.dst.is_broadcast();
    assert_eq!(headers.dst == MacAddr::BROADCAST, is_to_all);
    assert!(is_to_all || headers.dst == message.mac);
}
