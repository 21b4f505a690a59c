//! Cutting a datagram into fragments (RFC 791 3.2, RFC 1812 5.3.2).

use super::{IPV4_HEADER, be16, ipv4, put16};

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const COPIED: u8 = 0x80;

/// Calls `emit` with each fragment of `datagram`, in order, none longer than `mtu` bytes.
///
/// A datagram that is a fragment itself is cut further. Options whose copied flag is clear stay
/// in the first fragment only. Does nothing if the header is malformed or the MTU leaves no room
/// for eight bytes of payload.
pub fn fragment(datagram: &[u8], mtu: usize, mut emit: impl FnMut(&[u8])) {
    let header_len = datagram.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4);
    let total_len = usize::from(be16(datagram, 2).unwrap_or(0));
    let (Some(header), Some(mut payload), Some(flags)) =
        (datagram.get(..header_len), datagram.get(header_len..total_len), be16(datagram, 6))
    else {
        return;
    };
    let later = later_header(header);
    let mut header = header;
    let mut offset = flags & OFFSET;
    let mut piece = Vec::with_capacity(mtu);
    loop {
        let room = mtu.saturating_sub(header.len()) & !7;
        if room == 0 {
            return;
        }
        let is_last = payload.len() + header.len() <= mtu;
        let Some((now, rest)) =
            payload.split_at_checked(if is_last { payload.len() } else { room })
        else {
            return;
        };
        piece.clear();
        piece.extend_from_slice(header);
        piece.extend_from_slice(now);
        let more = if is_last { flags & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        put16(&mut piece, 2, (header.len() + now.len()) as u16);
        put16(&mut piece, 6, more | (offset & OFFSET));
        ipv4::fill_checksum(&mut piece, header.len());
        emit(&piece);
        if is_last {
            return;
        }
        offset = offset.saturating_add((room / 8) as u16);
        payload = rest;
        header = &later;
    }
}

/// The header of the fragments after the first: only options with the copied flag, padded.
fn later_header(first: &[u8]) -> Vec<u8> {
    let mut header = first.get(..IPV4_HEADER).unwrap_or_default().to_vec();
    for option in
        ipv4::options(first).filter(|option| option.first().is_some_and(|kind| kind & COPIED != 0))
    {
        header.extend_from_slice(option);
    }
    header.resize(header.len().next_multiple_of(4), 0);
    let words = header.len() / 4;
    if let Some(byte) = header.first_mut() {
        *byte = 0x40 | words as u8;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::super::{Ipv4, checksum};
    use super::*;

    fn datagram(options: &[u8], payload: usize) -> Vec<u8> {
        let mut packet = vec![0x45 + (options.len() / 4) as u8, 0, 0, 0, 0x12, 0x34, 0, 0, 9, 17];
        packet.extend_from_slice(&[0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend_from_slice(options);
        packet.extend((0..payload).map(|byte| byte as u8));
        let len = packet.len() as u16;
        put16(&mut packet, 2, len);
        ipv4::fill_checksum(&mut packet, IPV4_HEADER + options.len());
        packet
    }

    fn pieces(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        fragment(packet, mtu, |piece| out.push(piece.to_vec()));
        out
    }

    #[test]
    fn pieces_fit_are_in_order_and_join_to_the_payload() {
        let packet = datagram(&[], 4000);
        let mut joined = Vec::new();
        let cut = pieces(&packet, 1499);
        for (index, piece) in cut.iter().enumerate() {
            let parsed = Ipv4::parse(piece).unwrap();
            assert!(piece.len() <= 1499);
            assert!(checksum::is_valid(&piece[..20]));
            assert_eq!(usize::from(parsed.fragment_offset), joined.len());
            assert_eq!(parsed.more_fragments, index + 1 < cut.len());
            assert_eq!(parsed.id, 0x1234);
            joined.extend_from_slice(&piece[20..]);
        }
        assert_eq!(joined, packet[20..]);
    }

    #[test]
    fn a_fragment_is_cut_further_and_keeps_its_place() {
        let whole = datagram(&[], 4000);
        let again: Vec<_> =
            pieces(&whole, 1500).iter().flat_map(|piece| pieces(piece, 600)).collect();
        let mut at = 0;
        for (index, piece) in again.iter().enumerate() {
            let parsed = Ipv4::parse(piece).unwrap();
            assert_eq!(usize::from(parsed.fragment_offset), at);
            assert_eq!(parsed.more_fragments, index + 1 < again.len());
            at += piece.len() - 20;
        }
        assert_eq!(at, 4000);
    }

    #[test]
    fn only_copied_options_go_into_later_fragments() {
        let record_route = [7, 7, 4, 0, 0, 0, 0];
        let security = [0x82, 4, 0xab, 0xcd];
        let options = [&record_route[..], &[1], &security[..]].concat();
        let cut = pieces(&datagram(&options, 1000), 600);
        assert_eq!(cut[0][20..32], options[..]);
        assert_eq!(cut[1][0], 0x46);
        assert_eq!(cut[1][20..24], security);
    }

    #[test]
    fn an_mtu_without_room_gives_nothing() {
        assert!(pieces(&datagram(&[], 100), 27).is_empty());
    }
}
