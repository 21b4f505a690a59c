//! TCP flags, and the reset that refuses a connection (RFC 9293 3.10.7.1).

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;

use super::{array, be16, be32, ipv4};

/// FIN: no more data from the sender.
pub const FIN: u8 = 0x01;
/// SYN: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// RST: reset the connection.
pub const RST: u8 = 0x04;
/// ACK: the acknowledgment field counts.
pub const ACK: u8 = 0x10;

/// The reset that answers `original`, an IPv4 packet with a whole TCP header, as a closed port
/// does. None if `original` is a reset itself or malformed.
pub fn reset(original: &[u8], header_len: usize) -> Option<Vec<u8>> {
    let segment = original.get(header_len..usize::from(be16(original, 2)?))?;
    let [offset, flags] = array::<2>(segment, 12)?;
    if flags & RST != 0 {
        return None;
    }
    let address = |at| array::<4>(original, at).map(Ipv4Addr::from);
    let (sequence, acknowledgment) = (be32(segment, 4)?, be32(segment, 8)?);
    let payload = segment.len().saturating_sub(usize::from(offset >> 4) * 4) as u32;
    let syn_fin = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let ip = PacketBuilder::ipv4(address(16)?.octets(), address(12)?.octets(), ipv4::DEFAULT_TTL);
    let (from, to) = (be16(segment, 2)?, be16(segment, 0)?);
    let builder = if flags & ACK != 0 {
        ip.tcp(from, to, acknowledgment, 0).rst()
    } else {
        let next = sequence.wrapping_add(payload).wrapping_add(syn_fin);
        ip.tcp(from, to, 0, 0).rst().ack(next)
    };
    let mut packet = Vec::with_capacity(builder.size(0));
    builder.write(&mut packet, &[]).ok()?;
    Some(packet)
}
