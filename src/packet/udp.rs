//! Datagrams that tapway itself takes and sends (RFC 768).

use std::net::Ipv4Addr;

use super::{Ipv4, PROTOCOL_UDP, be16, checksum, put16};

const UDP_HEADER: usize = 8;

/// What a whole datagram carries; none if its length or its checksum is wrong.
pub fn payload<'a>(packet: &'a [u8], ipv4: &Ipv4) -> Option<&'a [u8]> {
    let segment = packet.get(usize::from(ipv4.header_len)..usize::from(ipv4.total_len))?;
    let segment = segment.get(..usize::from(be16(segment, 4)?))?;
    let has_checksum = be16(segment, 6)? != 0;
    let is_right = || checksum::transport(ipv4.src, ipv4.dst, PROTOCOL_UDP, segment) == 0;
    if has_checksum && !is_right() {
        return None;
    }
    segment.get(UDP_HEADER..)
}

/// A datagram without its IPv4 header, between address and port each.
pub fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; UDP_HEADER];
    segment.extend_from_slice(payload);
    let len = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    put16(&mut segment, 0, from.1);
    put16(&mut segment, 2, to.1);
    put16(&mut segment, 4, len);
    let sum = match checksum::transport(from.0, to.0, PROTOCOL_UDP, &segment) {
        // Zero would mean that there is none.
        0 => u16::MAX,
        sum => sum,
    };
    put16(&mut segment, 6, sum);
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ipv4::{NewHeader, datagram};

    #[test]
    fn what_was_made_is_read_and_what_was_damaged_is_not() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let header = NewHeader { src: a, dst: b, protocol: PROTOCOL_UDP, tos: 0, id: 0 };
        let packet = datagram(header, &segment((a, 53), (b, 4000), b"names"));
        let read = |packet: &[u8]| {
            let ipv4 = Ipv4::parse(packet).unwrap();
            payload(packet, &ipv4).map(<[u8]>::to_vec)
        };
        assert_eq!(read(&packet).as_deref(), Some(&b"names"[..]));
        for at in 20..packet.len() {
            let mut damaged = packet.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(&damaged), None, "byte {at}");
        }
        let mut without = packet.clone();
        without[26..28].fill(0);
        assert_eq!(read(&without).as_deref(), Some(&b"names"[..]));
        for len in [0u16, 7, 14] {
            let mut wrong = without.clone();
            wrong[24..26].copy_from_slice(&len.to_be_bytes());
            assert_eq!(read(&wrong), None, "length {len}");
        }
    }
}
