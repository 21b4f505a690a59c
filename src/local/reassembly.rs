//! Putting a datagram for tapway itself together (RFC 791 3.2, RFC 815).

use crate::drop_reason::DropReason;
use crate::packet::{Ipv4, ipv4, put16};

/// The largest datagram, in bytes.
const MAX_DATAGRAM: usize = 65_535;

/// Joins the fragments of one datagram, given in any order; none while some are missing.
///
/// # Errors
/// [`DropReason::FragmentOverlap`] if fragments contradict each other or are too large: then the
/// datagram ends (RFC 5722 has the reasons). An exact duplicate is ignored.
pub fn reassemble(fragments: &[&[u8]]) -> Result<Option<Vec<u8>>, DropReason> {
    let mut parts: Vec<(Ipv4, &[u8])> = Vec::with_capacity(fragments.len());
    for packet in fragments {
        let ipv4 = Ipv4::parse(packet)?;
        let payload = packet
            .get(usize::from(ipv4.header_len)..usize::from(ipv4.total_len))
            .ok_or(DropReason::Ipv4Truncated)?;
        parts.push((ipv4, payload));
    }
    parts.sort_by_key(|(ipv4, _)| ipv4.fragment_offset);
    parts.dedup_by(|a, b| a.0.fragment_offset == b.0.fragment_offset && a.1 == b.1);
    let Some((first, _)) = parts.first().filter(|(ipv4, _)| ipv4.fragment_offset == 0) else {
        return Ok(None);
    };
    let header_len = usize::from(first.header_len);
    let (mut end, mut is_whole) = (0, false);
    for (ipv4, part) in &parts {
        let offset = usize::from(ipv4.fragment_offset);
        let is_aligned = part.len().is_multiple_of(8) || !ipv4.more_fragments;
        let is_too_large = header_len + offset + part.len() > MAX_DATAGRAM;
        if is_whole || offset < end || !is_aligned || is_too_large {
            return Err(DropReason::FragmentOverlap);
        }
        if offset > end {
            return Ok(None);
        }
        end = offset + part.len();
        is_whole = !ipv4.more_fragments;
    }
    if !is_whole {
        return Ok(None);
    }
    let header = fragments.iter().find_map(|packet| {
        let is_first = Ipv4::parse(packet).is_ok_and(|ipv4| ipv4.fragment_offset == 0);
        is_first.then(|| packet.get(..header_len)).flatten()
    });
    let mut datagram = header.unwrap_or_default().to_vec();
    // Copied once, however many attempts it took.
    parts.iter().for_each(|(_, part)| datagram.extend_from_slice(part));
    let total_len = datagram.len() as u16;
    put16(&mut datagram, 2, total_len);
    put16(&mut datagram, 6, 0);
    ipv4::fill_checksum(&mut datagram, header_len);
    Ok(Some(datagram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::fragment::fragment;
    use crate::packet::ipv4::{NewHeader, datagram};
    use std::net::Ipv4Addr;

    fn pieces(len: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let ip = Ipv4Addr::new(10, 0, 0, 1);
        let header = NewHeader { src: ip, dst: ip, protocol: 17, tos: 0, id: 7 };
        let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let packet = datagram(header, &payload);
        let mut out = Vec::new();
        fragment(&packet, 1500, |piece| out.push(piece.to_vec()));
        (packet, out)
    }

    #[test]
    fn any_order_and_duplicates_give_the_datagram() {
        let (whole, mut cut) = pieces(65_000);
        cut.reverse();
        cut.push(cut[3].clone());
        let refs: Vec<&[u8]> = cut.iter().map(Vec::as_slice).collect();
        assert_eq!(reassemble(&refs[1..cut.len() - 1]), Ok(None));
        assert_eq!(reassemble(&refs), Ok(Some(whole)));
    }

    #[test]
    fn an_overlap_ends_the_datagram() {
        let (_, mut cut) = pieces(4000);
        let mut evil = cut[1].clone();
        evil[30] ^= 1;
        cut.push(evil);
        let refs: Vec<&[u8]> = cut.iter().map(Vec::as_slice).collect();
        assert_eq!(reassemble(&refs), Err(DropReason::FragmentOverlap));
    }
}
