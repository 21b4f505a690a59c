//! What the server says.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use smoltcp::wire::{ArpHardware, DhcpFlags, DhcpOpCode, DhcpPacket, EthernetAddress};

use super::{CLIENT_PORT, COOKIE, DhcpMessage, HEAD, SERVER_PORT, option};
use crate::packet::ipv4::{self, NewHeader};
use crate::packet::{MacAddr, PROTOCOL_UDP, checksum, put16};

/// Shortest message, in bytes: what BOOTP clients insist on (RFC 1542 2.1).
pub const MIN_REPLY: usize = 300;
/// Longest message, in bytes: what every client takes (RFC 2131 section 2, less its headers).
pub const MAX_REPLY: usize = 548;

const UDP_HEADER: usize = 8;
/// DNS servers that are told; three is what a resolver of libc uses.
const MAX_DNS: usize = 3;

/// The messages of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// You may have this address.
    Offer,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
}

/// What a network tells its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The server's own address and the subnet.
    pub server: Ipv4Net,
    /// The server's MAC.
    pub server_mac: MacAddr,
    /// The default router; none: there is no way out.
    pub router: Option<Ipv4Addr>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain to search names in.
    pub domain: Option<String>,
    /// Largest packet, in bytes.
    pub mtu: u16,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpReply {
    /// The message type.
    pub kind: ReplyKind,
    /// The client's address; unspecified in a NAK, and where the client has its own.
    pub your_ip: Ipv4Addr,
    /// How long it is the client's, in seconds; none: the address is not the server's matter.
    pub lease_s: Option<u32>,
    /// What the client is called here.
    pub host_name: Option<String>,
    /// Why not, for the client's log.
    pub reason: Option<&'static str>,
}

impl DhcpReply {
    /// The frame that carries the answer to `request`.
    pub fn frame(&self, request: &DhcpMessage, parameters: &Parameters) -> Vec<u8> {
        let message = self.message(request, parameters);
        let (ip, mac) = self.destination(request);
        let src = parameters.server.addr();
        let len = UDP_HEADER + message.len();
        let mut udp = vec![0; UDP_HEADER];
        put16(&mut udp, 0, SERVER_PORT);
        put16(&mut udp, 2, CLIENT_PORT);
        put16(&mut udp, 4, u16::try_from(len).unwrap_or(u16::MAX));
        udp.extend_from_slice(&message);
        let sum = checksum::transport(src, ip, PROTOCOL_UDP, &udp);
        // Zero would mean that there is none (RFC 768).
        put16(&mut udp, 6, if sum == 0 { 0xffff } else { sum });
        let header = NewHeader { src, dst: ip, protocol: PROTOCOL_UDP, tos: 0, id: 0 };
        let mut frame = ipv4::ethernet(mac, parameters.server_mac).to_vec();
        frame.extend_from_slice(&ipv4::datagram(header, &udp));
        frame
    }

    /// Where the answer goes (RFC 2131 section 4.1).
    fn destination(&self, request: &DhcpMessage) -> (Ipv4Addr, MacAddr) {
        let everybody = (Ipv4Addr::BROADCAST, MacAddr::BROADCAST);
        if self.kind == ReplyKind::Nak {
            return everybody;
        }
        if !request.client_ip.is_unspecified() {
            return (request.client_ip, request.mac);
        }
        if request.wants_broadcast || self.your_ip.is_unspecified() {
            return everybody;
        }
        (self.your_ip, request.mac)
    }

    /// The message itself.
    fn message(&self, request: &DhcpMessage, parameters: &Parameters) -> Vec<u8> {
        let mut buffer = vec![0; HEAD];
        let mut packet = DhcpPacket::new_unchecked(&mut buffer[..]);
        packet.set_opcode(DhcpOpCode::Reply);
        packet.set_hardware_type(ArpHardware::Ethernet);
        packet.set_hardware_len(6);
        packet.set_transaction_id(request.xid);
        let flags = if request.wants_broadcast { DhcpFlags::BROADCAST } else { DhcpFlags::empty() };
        packet.set_flags(flags);
        if self.kind == ReplyKind::Ack {
            packet.set_client_ip(request.client_ip);
        }
        packet.set_your_ip(self.your_ip);
        packet.set_client_hardware_address(EthernetAddress(request.mac.0));
        packet.set_magic_number(COOKIE);
        let mut options = Options(buffer);
        options.put(option::MESSAGE_TYPE, &[self.kind.number()]);
        options.put(option::SERVER_ID, &parameters.server.addr().octets());
        self.put_lease(&mut options);
        match self.kind {
            ReplyKind::Nak => {
                options.put(option::MESSAGE, self.reason.unwrap_or_default().as_bytes());
            }
            ReplyKind::Offer | ReplyKind::Ack => self.put_all(&mut options, request, parameters),
        }
        options.finish()
    }

    /// The lease's length, and when it is to be renewed: the defaults of RFC 2131 section 4.4.5,
    /// said aloud.
    fn put_lease(&self, options: &mut Options) {
        let Some(lease) = self.lease_s else { return };
        options.put(option::LEASE_TIME, &lease.to_be_bytes());
        options.put(option::RENEWAL, &(lease / 2).to_be_bytes());
        options.put(option::REBINDING, &(lease - lease / 8).to_be_bytes());
    }

    /// What the client wants to know, in the order of importance: the last may find no room.
    fn put_all(&self, options: &mut Options, request: &DhcpMessage, parameters: &Parameters) {
        let Parameters { server, router, dns, domain, mtu, .. } = parameters;
        let mut put = |option, data: &[u8]| {
            if request.wants(option) {
                options.put(option, data);
            }
        };
        put(option::SUBNET_MASK, &server.netmask().octets());
        if let Some(router) = router {
            let [a, b, c, d] = router.octets();
            // A client that knows this option heeds no other (RFC 3442): 0.0.0.0/0 by the router.
            put(option::CLASSLESS_ROUTES, &[0, a, b, c, d]);
            put(option::ROUTER, &router.octets());
        }
        let dns: Vec<u8> = dns.iter().take(MAX_DNS).flat_map(Ipv4Addr::octets).collect();
        put(option::DNS, &dns);
        put(option::MTU, &mtu.to_be_bytes());
        put(option::BROADCAST, &server.broadcast().octets());
        put(option::HOST_NAME, self.host_name.as_deref().unwrap_or_default().as_bytes());
        put(option::DOMAIN, domain.as_deref().unwrap_or_default().as_bytes());
    }
}

impl ReplyKind {
    const fn number(self) -> u8 {
        match self {
            Self::Offer => 2,
            Self::Ack => 5,
            Self::Nak => 6,
        }
    }
}

/// A message that options are put into.
struct Options(Vec<u8>);

impl Options {
    /// Adds an option; none if it is empty or does not fit any more.
    fn put(&mut self, kind: u8, data: &[u8]) {
        let Ok(len) = u8::try_from(data.len()) else { return };
        if len > 0 && self.0.len() + 2 + data.len() < MAX_REPLY {
            self.0.extend_from_slice(&[kind, len]);
            self.0.extend_from_slice(data);
        }
    }

    /// Ends the options and fills the message up.
    fn finish(self) -> Vec<u8> {
        let Self(mut message) = self;
        message.push(option::END);
        let len = message.len().max(MIN_REPLY);
        message.resize(len, 0);
        message
    }
}
