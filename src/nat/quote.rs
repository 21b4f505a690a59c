//! The packet an ICMP error quotes, and the translation of both (RFC 5508 section 4).

use std::net::Ipv4Addr;

use etherparse::LaxIpv4Slice;

use super::Tuple;
use crate::drop_reason::DropReason;
use crate::id::NetworkId;
use crate::packet::{
    Delta, FlowKey, IPV4_HEADER, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, be16, checksum, icmp,
    put, put16,
};

/// ICMP header before the quote, in bytes.
const ICMP_HEADER: usize = 8;

/// The quoted packet of an ICMP error. Eight bytes behind its IP header are enough (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    tuple: Tuple,
    protocol: u8,
    at: usize,
    header_len: usize,
    /// The quoted ICMP message is a reply, which carries its identifier as destination.
    is_reply: bool,
}

impl Quote {
    /// Reads the quote of an ICMP error; `packet` is the whole IPv4 packet, `header_len` the
    /// length of its header.
    ///
    /// # Errors
    /// [`DropReason::IcmpErrorMalformed`] if the ICMP checksum or the quoted header's is wrong,
    /// or the quote is too short. Options of the quoted header are stepped over; the quoted
    /// transport checksum is not looked at (RFC 5508 REQ-3).
    pub fn parse(packet: &[u8], header_len: usize) -> Result<Self, DropReason> {
        const MALFORMED: DropReason = DropReason::IcmpErrorMalformed;
        let message = packet.get(header_len..).ok_or(MALFORMED)?;
        if !checksum::is_valid(message) {
            return Err(MALFORMED);
        }
        let quoted = message.get(ICMP_HEADER..).ok_or(MALFORMED)?;
        let (slice, _) = LaxIpv4Slice::from_slice(quoted).map_err(|_| MALFORMED)?;
        let header = slice.header();
        let quoted_header_len = header.slice().len();
        if !checksum::is_valid(header.slice()) || header.fragments_offset().value() != 0 {
            return Err(MALFORMED);
        }
        let protocol = header.protocol().0;
        let segment = quoted.get(quoted_header_len..).filter(|s| s.len() >= 8).ok_or(MALFORMED)?;
        let word = |at| be16(segment, at).unwrap_or(0);
        let kind = segment.first().copied().unwrap_or(0);
        let is_reply = protocol == PROTOCOL_ICMP && matches!(kind, icmp::ECHO_REPLY | 14 | 16 | 18);
        if protocol == PROTOCOL_ICMP
            && !is_reply
            && !matches!(kind, icmp::ECHO_REQUEST | 13 | 15 | 17)
        {
            return Err(MALFORMED); // an error about an error (RFC 1122 3.2.2)
        }
        let (sport, dport) = match protocol {
            PROTOCOL_TCP | PROTOCOL_UDP => (word(0), word(2)),
            PROTOCOL_ICMP if is_reply => (0, word(4)),
            PROTOCOL_ICMP => (word(4), 0),
            _ => (0, 0),
        };
        let tuple = Tuple {
            src: super::Endpoint::new(header.source_addr(), sport),
            dst: super::Endpoint::new(header.destination_addr(), dport),
        };
        let at = header_len + ICMP_HEADER;
        Ok(Self { tuple, protocol, at, header_len: quoted_header_len, is_reply })
    }

    /// The key of the direction the error travels in: the reverse of the quoted packet.
    pub fn key(&self, network: NetworkId) -> FlowKey {
        FlowKey {
            network,
            protocol: self.protocol,
            src: self.tuple.dst.ip,
            dst: self.tuple.src.ip,
            sport: self.tuple.dst.port,
            dport: self.tuple.src.port,
        }
    }

    /// Translates the error: the outer addresses become `src` and `dst`, the quoted packet's
    /// `inner`. Everything else, RFC 4884 extensions included, stays; checksums are updated, the
    /// quoted transport's too where it lies inside the quote.
    pub fn translate(&self, packet: &mut [u8], inner: Tuple, (src, dst): (Ipv4Addr, Ipv4Addr)) {
        self.translate_quoted(packet, inner);
        let header_len = self.at - ICMP_HEADER;
        if let Some(message) = packet.get_mut(header_len..) {
            put16(message, 2, 0);
            let sum = checksum::checksum(message);
            put16(message, 2, sum);
        }
        let old = |at| {
            crate::packet::array::<4>(packet, at).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
        };
        let delta = Delta::NONE.address(old(12), src).address(old(16), dst);
        let sum = delta.apply(be16(packet, 10).unwrap_or(0));
        put(packet, 12, &src.octets());
        put(packet, 16, &dst.octets());
        put16(packet, 10, sum);
    }

    fn translate_quoted(&self, packet: &mut [u8], inner: Tuple) {
        let Some(quoted) = packet.get_mut(self.at..) else { return };
        let (from, to) = (self.tuple, inner);
        let ip_delta = Delta::NONE.address(from.src.ip, to.src.ip).address(from.dst.ip, to.dst.ip);
        let ports = Delta::NONE.word(from.src.port, to.src.port).word(from.dst.port, to.dst.port);
        put(quoted, 12, &to.src.ip.octets());
        put(quoted, 16, &to.dst.ip.octets());
        let sum = ip_delta.apply(be16(quoted, 10).unwrap_or(0));
        put16(quoted, 10, sum);
        let Some(segment) = quoted.get_mut(self.header_len.max(IPV4_HEADER)..) else { return };
        let update = |segment: &mut [u8], at: usize, delta: Delta| {
            if let Some(sum) = be16(segment, at) {
                put16(segment, at, delta.apply(sum));
            }
        };
        match self.protocol {
            PROTOCOL_TCP => {
                update(segment, 16, ip_delta.plus(ports));
                put16(segment, 0, to.src.port);
                put16(segment, 2, to.dst.port);
            }
            PROTOCOL_UDP => {
                if let Some(sum) = be16(segment, 6) {
                    put16(segment, 6, ip_delta.plus(ports).apply_udp(sum));
                }
                put16(segment, 0, to.src.port);
                put16(segment, 2, to.dst.port);
            }
            PROTOCOL_ICMP => {
                update(segment, 2, ports);
                put16(segment, 4, if self.is_reply { to.dst.port } else { to.src.port });
            }
            _ => {}
        }
    }
}
