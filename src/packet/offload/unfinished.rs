//! What a sender's kernel left undone, and nobody told of.
//!
//! A kernel that puts a frame into a datagram leaves the inner checksum and the cutting of a
//! super-frame to the NIC, as it does without a tunnel. Where the datagram never passes a NIC (a
//! veth between namespaces), a socket gets it so, without a word: the checksum field holds the sum
//! of the pseudo header, and a TCP segment may be larger than any link. A segment with that sum in
//! its field is taken for unfinished. One whose whole checksum happens to be the same comes to the
//! same when it is completed. Where a stream of bytes is cut does not matter to its receiver.

use super::super::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_HEADER, PROTOCOL_TCP, PROTOCOL_UDP, be16,
    checksum,
};
use super::admit::IPV6_HEADER;
use super::{Gso, Offload, TCP_CHECKSUM, UDP_CHECKSUM};

const MORE_OR_OFFSET: u16 = 0x3fff;

impl Offload {
    /// What is left to be done with a frame that nothing is told of: its checksum, if that holds
    /// the sum of the pseudo header, and then to cut it, if it is TCP in a packet of more than
    /// `mtu` bytes. Of tagged frames, fragments and packets with extension headers nothing is
    /// found. It is yet to be admitted.
    pub fn found_in(frame: &[u8], mtu: u16) -> Self {
        let found = match be16(frame, ETHERNET_HEADER - 2) {
            Some(ETHERTYPE_IPV4) => ipv4(frame).map(|found| (found, Gso::Tcp4)),
            Some(ETHERTYPE_IPV6) => ipv6(frame).map(|found| (found, Gso::Tcp6)),
            _ => None,
        };
        let Some((found, gso)) = found else { return Self::NONE };
        let is_tcp = found.csum_offset == TCP_CHECKSUM;
        if !is_tcp || frame.len() <= usize::from(mtu) + ETHERNET_HEADER {
            return found;
        }
        let offset = frame.get(usize::from(found.csum_start) + 12).map_or(0, |byte| byte >> 4);
        let headers = usize::from(found.csum_start) - ETHERNET_HEADER + usize::from(offset) * 4;
        match u16::try_from(headers).ok().and_then(|headers| mtu.checked_sub(headers)) {
            Some(size) if size > 0 => found.segmented(gso, size),
            _ => found,
        }
    }
}

fn ipv4(frame: &[u8]) -> Option<Offload> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    let (header, _) = packet.split_first_chunk::<IPV4_HEADER>()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let len = usize::from(be16(header, 2)?).checked_sub(header_len)?;
    let is_whole = be16(header, 6)? & MORE_OR_OFFSET == 0 && header_len >= IPV4_HEADER;
    let addresses = header.get(12..20)?;
    let start = ETHERNET_HEADER + header_len;
    if is_whole { unfinished(frame, (start, len), (header[9], addresses)) } else { None }
}

fn ipv6(frame: &[u8]) -> Option<Offload> {
    let header = frame.get(ETHERNET_HEADER..)?.first_chunk::<IPV6_HEADER>()?;
    let (len, start) = (usize::from(be16(header, 4)?), ETHERNET_HEADER + IPV6_HEADER);
    unfinished(frame, (start, len), (header[6], header.get(8..40)?))
}

fn unfinished(
    frame: &[u8],
    (start, len): (usize, usize),
    (protocol, addresses): (u8, &[u8]),
) -> Option<Offload> {
    let offset = match protocol {
        PROTOCOL_TCP => TCP_CHECKSUM,
        PROTOCOL_UDP => UDP_CHECKSUM,
        _ => return None,
    };
    let field = be16(frame, start + usize::from(offset))?;
    let is_sum = field == checksum::pseudo_header_of(addresses, protocol, len);
    // A trailer would be summed as well.
    let ends_here = start + len == frame.len();
    (is_sum && ends_here).then(|| Offload::partial(start as u16, offset))
}
