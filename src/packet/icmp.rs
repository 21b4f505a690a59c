//! ICMP errors and echo (RFC 792, RFC 1191, RFC 1812 4.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{PROTOCOL_ICMP, checksum, ipv4, put, put16};

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Redirect.
pub const REDIRECT: u8 = 5;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// An error datagram is no longer than this, in bytes (RFC 1812 4.3.2.3).
pub const MAX_ERROR_LEN: usize = 576;
const HEADERS_LEN: usize = 28;
/// Internetwork control precedence (RFC 1812 4.3.2.5).
const ERROR_TOS: u8 = 0xc0;

/// An error that tapway sends about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// 3/0: no route.
    NetworkUnreachable,
    /// 3/1: the next hop does not answer ARP.
    HostUnreachable,
    /// 3/2: a protocol tapway does not serve.
    ProtocolUnreachable,
    /// 3/3: a port of tapway's own where nothing listens.
    PortUnreachable,
    /// 3/4: too big for the next link, DF set.
    FragmentationNeeded {
        /// MTU of the next link in bytes (RFC 1191 section 4).
        mtu: u16,
    },
    /// 3/13: forbidden, or out of sessions or ports (RFC 5508 REQ-8).
    Prohibited,
    /// 11/0: the TTL ran out.
    TtlExceeded,
    /// 11/1: the rest of a datagram did not come in time.
    ReassemblyTimeExceeded,
}

impl IcmpError {
    /// Type and code.
    pub const fn type_and_code(self) -> (u8, u8) {
        match self {
            Self::NetworkUnreachable => (UNREACHABLE, 0),
            Self::HostUnreachable => (UNREACHABLE, 1),
            Self::ProtocolUnreachable => (UNREACHABLE, 2),
            Self::PortUnreachable => (UNREACHABLE, 3),
            Self::FragmentationNeeded { .. } => (UNREACHABLE, 4),
            Self::Prohibited => (UNREACHABLE, 13),
            Self::TtlExceeded => (TIME_EXCEEDED, 0),
            Self::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1),
        }
    }

    /// The datagram that tells `dst` about `original`, quoting as much as fits 576 bytes.
    pub fn datagram(self, src: Ipv4Addr, dst: Ipv4Addr, original: &[u8]) -> Vec<u8> {
        let quote_len = original.len().min(MAX_ERROR_LEN - HEADERS_LEN);
        let (kind, code) = self.type_and_code();
        let mut message = vec![0; 8];
        put(&mut message, 0, &[kind, code]);
        if let Self::FragmentationNeeded { mtu } = self {
            put16(&mut message, 6, mtu);
        }
        message.extend_from_slice(original.get(..quote_len).unwrap_or_default());
        let sum = checksum::checksum(&message);
        put16(&mut message, 2, sum);
        let header = ipv4::NewHeader { src, dst, protocol: PROTOCOL_ICMP, tos: ERROR_TOS, id: 0 };
        ipv4::datagram(header, &message)
    }
}

/// The ICMPv6 error that tells the sender of `packet` that a way takes packets of `mtu` bytes only
/// (RFC 4443 3.2), in the name of its destination. None where none may be sent (2.4): about an
/// ICMPv6 error, or to or from what is no single host.
pub fn packet_too_big(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    const NEXT_HEADER: u8 = 58;
    const PACKET_TOO_BIG: u8 = 2;
    const FIRST_QUERY: u8 = 128;
    const IPV6_HEADER: usize = 40;
    const MAX_LEN: usize = 1280;
    let address = |at| super::array::<16>(packet, at).map(Ipv6Addr::from);
    let (src, dst) = (address(8)?, address(24)?);
    let is_error = packet.get(6) == Some(&NEXT_HEADER) && *packet.get(IPV6_HEADER)? < FIRST_QUERY;
    if is_error || src.is_multicast() || src.is_unspecified() || dst.is_multicast() {
        return None;
    }
    let quote = packet.get(..packet.len().min(MAX_LEN - IPV6_HEADER - 8))?;
    let mut datagram = vec![0; IPV6_HEADER + 8];
    datagram.extend_from_slice(quote);
    let len = (datagram.len() - IPV6_HEADER) as u16;
    put(&mut datagram, 0, &[0x60]);
    put16(&mut datagram, 4, len);
    put(&mut datagram, 6, &[NEXT_HEADER, ipv4::DEFAULT_TTL]);
    put(&mut datagram, 8, &dst.octets());
    put(&mut datagram, 24, &src.octets());
    put(&mut datagram, IPV6_HEADER, &[PACKET_TOO_BIG]);
    put16(&mut datagram, IPV6_HEADER + 6, mtu);
    // The pseudo header: addresses, length, next header (RFC 8200 8.1).
    let addresses = checksum::sum(datagram.get(8..IPV6_HEADER)?);
    let message = checksum::sum(datagram.get(IPV6_HEADER..)?);
    let sum = !checksum::sum_of(&[addresses, message, len, u16::from(NEXT_HEADER)]);
    put16(&mut datagram, IPV6_HEADER + 2, sum);
    Some(datagram)
}

/// Turns an echo request, header and data, into its reply. Everything but type, addresses and
/// TTL stays as it came.
pub fn echo_reply(request: &[u8], header_len: usize, id: u16) -> Vec<u8> {
    let mut message = request.get(header_len..).unwrap_or_default().to_vec();
    put(&mut message, 0, &[ECHO_REPLY]);
    put16(&mut message, 2, 0);
    let sum = checksum::checksum(&message);
    put16(&mut message, 2, sum);
    let address = |at| super::array::<4>(request, at).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from);
    let tos = request.get(1).copied().unwrap_or(0);
    let header =
        ipv4::NewHeader { src: address(16), dst: address(12), protocol: PROTOCOL_ICMP, tos, id };
    ipv4::datagram(header, &message)
}
