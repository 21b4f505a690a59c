//! In-place work on IPv4 headers and building of new ones.

use std::net::Ipv4Addr;

use super::{Delta, IPV4_HEADER, MacAddr, array, be16, checksum, put, put16};

/// TTL of packets that tapway itself sends (RFC 1700).
pub const DEFAULT_TTL: u8 = 64;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

/// True if the header checksum of a parsed packet is right.
#[inline(always)]
pub fn header_is_valid(packet: &[u8], header_len: u8) -> bool {
    if usize::from(header_len) == IPV4_HEADER {
        return packet.first_chunk::<IPV4_HEADER>().is_some_and(checksum::header_is_valid);
    }
    packet.get(..usize::from(header_len)).is_some_and(checksum::is_valid)
}

/// True if the header has a loose or strict source-route option.
pub fn has_source_route(header: &[u8]) -> bool {
    options(header).any(|option| {
        matches!(option.first(), Some(&(OPTION_LOOSE_SOURCE_ROUTE | OPTION_STRICT_SOURCE_ROUTE)))
    })
}

/// The options of a header, each with its type and length octets; stops at a malformed one.
pub fn options(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header.get(IPV4_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let len = match *rest.first()? {
            OPTION_END => return None,
            OPTION_NOP => 1,
            _ => usize::from(*rest.get(1)?).max(2),
        };
        let (option, tail) = rest.split_at_checked(len)?;
        rest = tail;
        Some(option)
    })
}

/// Takes one off the TTL and updates the header checksum (RFC 1624), by `delta` of other changes
/// too.
#[inline(always)]
pub fn decrement_ttl(packet: &mut [u8], delta: Delta) {
    let (Some([ttl, protocol]), Some(sum)) = (array::<2>(packet, 8), be16(packet, 10)) else {
        return;
    };
    let Some(less) = ttl.checked_sub(1) else { return };
    put(packet, 8, &[less]);
    let old = u16::from_be_bytes([ttl, protocol]);
    put16(packet, 10, delta.word(old, old - 0x0100).apply(sum));
}

/// Computes the header checksum anew, for headers that tapway writes itself.
pub fn fill_checksum(packet: &mut [u8], header_len: usize) {
    put16(packet, 10, 0);
    let sum = packet.get(..header_len).map_or(0, checksum::checksum);
    put16(packet, 10, sum);
}

/// What a new IPv4 header says.
#[derive(Clone, Copy, Debug)]
pub struct NewHeader {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
}

/// A datagram of `header` and `payload`, without options, DF clear.
pub fn datagram(header: NewHeader, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; IPV4_HEADER];
    packet.extend_from_slice(payload);
    let total_len = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    put(&mut packet, 0, &[0x45, header.tos]);
    put16(&mut packet, 2, total_len);
    put16(&mut packet, 4, header.id);
    put(&mut packet, 8, &[DEFAULT_TTL, header.protocol]);
    put(&mut packet, 12, &header.src.octets());
    put(&mut packet, 16, &header.dst.octets());
    fill_checksum(&mut packet, IPV4_HEADER);
    packet
}

/// The fourteen bytes before an IPv4 packet.
pub fn ethernet(dst: MacAddr, src: MacAddr) -> [u8; 14] {
    let [d0, d1, d2, d3, d4, d5] = dst.0;
    let [s0, s1, s2, s3, s4, s5] = src.0;
    [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, 0x08, 0x00]
}
