//! What a tunnel wants to know of the frame inside, read in one glance.

use super::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN,
    PROTOCOL_TCP, PROTOCOL_UDP, array, be16, tcp,
};

const IPV6_HEADER: usize = 40;
/// Where the flags are in a TCP header.
const TCP_FLAGS: usize = 13;

/// A frame inside of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// It has a VLAN tag.
    pub is_tagged: bool,
    /// DSCP and ECN of its packet; zero if there is none.
    pub tos: u8,
    /// It opens a TCP connection, or answers that.
    pub is_syn: bool,
    /// What all frames of its flow have alike, and hardly another one: addresses and ports; of
    /// fragments, and behind tags or extension headers, no ports; without IP the MACs.
    pub flow: (u64, u64),
}

impl Inside {
    /// Reads a frame; none if it is shorter than an Ethernet header. What cannot be read of the
    /// packet counts as not there.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_first_chunk::<ETHERNET_HEADER>()?;
        let [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, e0, e1] = *ethernet;
        let ethertype = u16::from_be_bytes([e0, e1]);
        let of_macs = || {
            let low = u64::from_be_bytes([m8, m9, m10, m11, 0, 0, e0, e1]);
            (u64::from_be_bytes([m0, m1, m2, m3, m4, m5, m6, m7]), low)
        };
        let read = match ethertype {
            ETHERTYPE_IPV4 => Self::of_ipv4(packet),
            ETHERTYPE_IPV6 => Self::of_ipv6(packet),
            _ => None,
        };
        let is_tagged = matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN);
        Some(read.unwrap_or_else(|| Self { is_tagged, flow: of_macs(), ..Self::default() }))
    }

    #[inline]
    fn of_ipv4(packet: &[u8]) -> Option<Self> {
        let [vihl, tos, _, _, _, _, f0, f1, _, protocol, _, _, addresses @ ..] =
            array::<20>(packet, 0)?;
        let is_fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
        let segment = match is_fragment {
            true => &[],
            false => packet.get(usize::from(vihl & 0x0f) * 4..).unwrap_or_default(),
        };
        let (ports, is_syn) = transport(protocol, segment);
        Some(Self {
            is_tagged: false,
            tos,
            is_syn,
            flow: (u64::from_be_bytes(addresses), u64::from(protocol) << 32 | u64::from(ports)),
        })
    }

    fn of_ipv6(packet: &[u8]) -> Option<Self> {
        let header = array::<IPV6_HEADER>(packet, 0)?;
        let word = |at| array::<8>(&header, at).map_or(0, u64::from_be_bytes);
        let [first, second, _, label, _, _, next, ..] = header;
        let segment = packet.get(IPV6_HEADER..).unwrap_or_default();
        let (ports, is_syn) = transport(next, segment);
        // The flow label tells flows apart whose ports lie deeper (RFC 6438).
        let high = u64::from(label) << 40 | u64::from(next) << 32 | u64::from(ports);
        let addresses = word(8).rotate_left(17) ^ word(16) ^ word(24).rotate_left(31) ^ word(32);
        let tos = (u16::from_be_bytes([first, second]) >> 4) as u8;
        Some(Self { is_tagged: false, tos, is_syn, flow: (addresses, high) })
    }
}

/// Both ports, and whether it is a SYN.
#[inline]
fn transport(protocol: u8, segment: &[u8]) -> (u32, bool) {
    if !matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
        return (0, false);
    }
    let ports = u32::from(be16(segment, 0).unwrap_or(0)) << 16;
    let ports = ports | u32::from(be16(segment, 2).unwrap_or(0));
    let flags = segment.get(TCP_FLAGS).filter(|_| protocol == PROTOCOL_TCP);
    (ports, flags.is_some_and(|flags| flags & tcp::SYN != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame);
        frame
    }

    fn tcp4(sport: u16, is_syn: bool) -> Vec<u8> {
        built(|frame| {
            let step = PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .tcp(sport, 80, 1, 2);
            let step = if is_syn { step.syn() } else { step };
            step.write(frame, b"payload").unwrap();
        })
    }

    fn udp6(sport: u16) -> Vec<u8> {
        built(|frame| {
            PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv6([1; 16], [2; 16], 64)
                .udp(sport, 53)
                .write(frame, b"payload")
                .unwrap();
        })
    }

    #[test]
    fn flows_are_told_apart_and_connections_noticed() {
        let read = |frame: &[u8]| Inside::read(frame).unwrap();
        let (one, syn, other) =
            (read(&tcp4(1, false)), read(&tcp4(1, true)), read(&tcp4(2, false)));
        assert_eq!((one.flow, one.is_syn, syn.is_syn), (syn.flow, false, true));
        assert_ne!(one.flow, other.flow);
        assert_ne!(read(&udp6(1)).flow, read(&udp6(2)).flow);
        let mut marked = tcp4(1, false);
        marked[15] = 0xb9;
        assert_eq!(read(&marked).tos, 0xb9);
        let mut marked = udp6(1);
        (marked[14], marked[15]) = (0x6b, 0x90);
        assert_eq!(read(&marked).tos, 0xb9);
    }

    #[test]
    fn fragments_stay_together_and_tags_are_seen() {
        let read = |frame: &[u8]| Inside::read(frame).unwrap();
        let fragment = |mut frame: Vec<u8>, at: u8| {
            (frame[20], frame[21]) = (if at == 0 { 0x20 } else { 0 }, at);
            frame
        };
        let first = read(&fragment(tcp4(1, true), 0));
        assert_eq!(first.flow, read(&fragment(tcp4(7, false), 9)).flow);
        assert!(!first.is_syn);
        let mut tagged = tcp4(1, false);
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        assert!(read(&tagged).is_tagged && !read(&tcp4(1, false)).is_tagged);
    }

    #[test]
    fn what_is_cut_is_read_as_far_as_it_goes() {
        for frame in [tcp4(1, true), udp6(1)] {
            for len in 0..frame.len() {
                assert_eq!(Inside::read(&frame[..len]).is_some(), len >= ETHERNET_HEADER);
            }
        }
    }
}
