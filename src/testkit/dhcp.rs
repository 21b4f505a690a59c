//! What a DHCP client says and hears, byte by byte: independent of `local::dhcp`, which it tests.

use std::net::Ipv4Addr;

use super::build::{self, Hop};
use crate::nat::Endpoint;
use crate::packet::MacAddr;

/// The message types of clients (RFC 2132 9.6).
pub const DISCOVER: u8 = 1;
/// See [`DISCOVER`].
pub const OFFER: u8 = 2;
/// See [`DISCOVER`].
pub const REQUEST: u8 = 3;
/// See [`DISCOVER`].
pub const DECLINE: u8 = 4;
/// See [`DISCOVER`].
pub const ACK: u8 = 5;
/// See [`DISCOVER`].
pub const NAK: u8 = 6;
/// See [`DISCOVER`].
pub const RELEASE: u8 = 7;
/// See [`DISCOVER`].
pub const INFORM: u8 = 8;

/// A client's message.
#[derive(Clone, Debug)]
pub struct ClientMessage {
    /// The bytes, to be damaged by who wants to.
    pub bytes: Vec<u8>,
}

/// A server's message, as far as tests want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMessage {
    /// The message type.
    pub kind: u8,
    /// The transaction.
    pub xid: u32,
    /// The address for the client.
    pub your_ip: Ipv4Addr,
    /// Options in their order.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl ClientMessage {
    /// A message of this type, without other options.
    pub fn new(kind: u8, mac: MacAddr, xid: u32) -> Self {
        let mut bytes = vec![0; 240];
        let mut put = |at: usize, data: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(data) {
                *to = *from;
            }
        };
        put(0, &[1, 1, 6, 0]);
        put(4, &xid.to_be_bytes());
        put(28, &mac.0);
        put(236, &[0x63, 0x82, 0x53, 0x63]);
        bytes.extend([53, 1, kind, 255]);
        Self { bytes }
    }

    /// With an option more.
    #[must_use]
    pub fn option(mut self, number: u8, data: &[u8]) -> Self {
        self.bytes.pop();
        self.bytes.extend([number, data.len() as u8]);
        self.bytes.extend(data);
        self.bytes.push(255);
        self
    }

    /// With an address that the client has.
    #[must_use]
    pub fn client_ip(self, ip: Ipv4Addr) -> Self {
        self.field(12, &ip.octets())
    }

    /// With the broadcast flag.
    #[must_use]
    pub fn broadcast(self) -> Self {
        self.field(10, &[0x80, 0])
    }

    /// As a relay agent passed it on.
    #[must_use]
    pub fn relayed(self, by: Ipv4Addr) -> Self {
        self.field(24, &by.octets())
    }

    /// With other bytes at an offset.
    #[must_use]
    pub fn field(mut self, at: usize, data: &[u8]) -> Self {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(data) {
            *to = *from;
        }
        self
    }

    /// The frame that a client without an address sends to all.
    pub fn frame(&self, mac: MacAddr) -> Vec<u8> {
        let hop = Hop::new(mac, MacAddr::BROADCAST);
        let src = Endpoint::new(Ipv4Addr::UNSPECIFIED, 68);
        build::udp(hop, src, Endpoint::new(Ipv4Addr::BROADCAST, 67), &self.bytes)
    }

    /// The frame that a client with an address sends to the server.
    pub fn frame_to(&self, hop: Hop, ip: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
        build::udp(hop, Endpoint::new(ip, 68), Endpoint::new(server, 67), &self.bytes)
    }
}

impl ServerMessage {
    /// Reads the payload of a datagram; none if it is no message of a server.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        let is_reply = payload.starts_with(&[2, 1, 6, 0]) && word(236)? == 0x6382_5363;
        let mut options = Vec::new();
        let mut rest = payload.get(240..).filter(|_| is_reply)?;
        while let [number, len, behind @ ..] = rest
            && *number != 255
        {
            let (data, behind) = behind.split_at_checked(usize::from(*len))?;
            options.push((*number, data.to_vec()));
            rest = behind;
        }
        let kind = options.iter().find(|(number, _)| *number == 53)?;
        let kind = *kind.1.first()?;
        Some(Self { kind, xid: word(4)?, your_ip: Ipv4Addr::from_bits(word(16)?), options })
    }

    /// The value of an option.
    pub fn option(&self, number: u8) -> Option<&[u8]> {
        self.options.iter().find(|(other, _)| *other == number).map(|(_, data)| data.as_slice())
    }
}
