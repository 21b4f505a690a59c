//! Cutting a super-frame into the segments its sender would have sent without offloads: what
//! Linux calls GSO.

use std::ops::Range;

use super::{ETHERNET_HEADER, FrameView, Gso, VLAN_TAG, array, be16, be32, checksum, put, put16};
use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN};
use super::{PROTOCOL_TCP, PROTOCOL_UDP};

const IPV6_HEADER: usize = 40;
const TCP_FIN_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

/// A super-frame being cut, piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    ip: usize,
    transport: usize,
    /// Where the payload starts.
    payload: usize,
    is_ipv4: bool,
    is_tcp: bool,
    /// Payload bytes of each segment but the last.
    size: usize,
    next: usize,
    index: u16,
    /// IPv4 identification of the first.
    id: u16,
    /// TCP sequence number of the first.
    sequence: u32,
    /// Sum of the IPv4 header without what differs from segment to segment.
    ip_sum: u16,
    /// Sum of pseudo header and transport header without that.
    transport_sum: u16,
}

impl Segments {
    /// None if the frame is no super-frame, or its offload was not admitted with it.
    pub fn new(frame: FrameView<'_>) -> Option<Self> {
        let (bytes, offload) = (frame.bytes, frame.offload);
        let (ip, is_ipv4) = ip_of(bytes)?;
        let transport = usize::from(offload.partial_start()?);
        let payload = usize::from(offload.header_len());
        let size = usize::from(offload.gso_size());
        let is_sound = offload.is_super()
            && size > 0
            && ip < transport
            && transport < payload
            && payload < bytes.len();
        let is_tcp = offload.gso() != Gso::Udp;
        is_sound.then(|| Self {
            ip,
            transport,
            payload,
            is_ipv4,
            is_tcp,
            size,
            next: payload,
            index: 0,
            id: be16(bytes, ip + 4).unwrap_or_default(),
            sequence: be32(bytes, transport + 4).unwrap_or_default(),
            ip_sum: sum_of_parts(bytes, &[ip..ip + 2, ip + 6..ip + 10, ip + 12..transport]),
            transport_sum: checksum::sum_of(&[
                pseudo_sum(bytes, (ip, is_ipv4), is_tcp),
                transport_sum(bytes, transport..payload, is_tcp),
            ]),
        })
    }

    /// Writes the next segment of `frame` into `room` and gives its length; none after the last.
    /// A length larger than the room says that it did not fit and is lost.
    pub fn next(&mut self, frame: &[u8], room: &mut [u8]) -> Option<usize> {
        let from = self.next;
        let to = (from + self.size).min(frame.len());
        let body = frame.get(from..to).filter(|body| !body.is_empty())?;
        let index = self.index;
        self.next = to;
        self.index = self.index.wrapping_add(1);
        let len = self.payload + body.len();
        let Some(segment) = room.get_mut(..len) else { return Some(len) };
        let (header, rest) = segment.split_at_mut(self.payload);
        header.copy_from_slice(frame.get(..self.payload)?);
        rest.copy_from_slice(body);
        self.set_ip(header, index, len);
        let header_sum = if self.is_tcp {
            self.set_tcp(header, from, to == frame.len())
        } else {
            put16(header, self.transport + 4, (len - self.transport) as u16);
            (len - self.transport) as u16
        };
        let segment_len = (len - self.transport) as u16;
        self.set_checksum(
            header,
            &[self.transport_sum, segment_len, header_sum, checksum::sum(body)],
        );
        Some(len)
    }

    fn set_ip(&self, header: &mut [u8], index: u16, len: usize) {
        if !self.is_ipv4 {
            put16(header, self.ip + 4, (len - self.ip - IPV6_HEADER) as u16);
            return;
        }
        let (len, id) = ((len - self.ip) as u16, self.id.wrapping_add(index));
        put16(header, self.ip + 2, len);
        put16(header, self.ip + 4, id);
        put16(header, self.ip + 10, !checksum::sum_of(&[self.ip_sum, len, id]));
    }

    /// Sets sequence number and flags; gives back the sum of the words they are in.
    fn set_tcp(&self, header: &mut [u8], from: usize, is_last: bool) -> u16 {
        let sequence = self.sequence.wrapping_add((from - self.payload) as u32);
        put(header, self.transport + 4, &sequence.to_be_bytes());
        let [offset, mut flags] = array(header, self.transport + 12).unwrap_or_default();
        // The end belongs to the last segment, "window reduced" to the first.
        flags &= if is_last { 0xff } else { !TCP_FIN_PSH };
        flags &= if from > self.payload { !TCP_CWR } else { 0xff };
        put(header, self.transport + 13, &[flags]);
        let word = u16::from_be_bytes([offset, flags]);
        checksum::sum_of(&[(sequence >> 16) as u16, sequence as u16, word])
    }

    fn set_checksum(&self, header: &mut [u8], sums: &[u16]) {
        let (field, sum) = match (self.is_tcp, !checksum::sum_of(sums)) {
            (true, sum) => (16, sum),
            // In UDP zero would mean "none" (RFC 768).
            (false, 0) => (6, 0xffff),
            (false, sum) => (6, sum),
        };
        put16(header, self.transport + field, sum);
    }
}

/// The sum of the pseudo header without the length.
fn pseudo_sum(frame: &[u8], (ip, is_ipv4): (usize, bool), is_tcp: bool) -> u16 {
    let addresses = if is_ipv4 { ip + 12..ip + 20 } else { ip + 8..ip + 40 };
    let protocol = if is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
    checksum::pseudo_header_of(frame.get(addresses).unwrap_or_default(), protocol, 0)
}

/// The sum of a transport header without the checksum and what differs from segment to segment:
/// sequence number and flags of TCP, the length of UDP.
fn transport_sum(frame: &[u8], header: Range<usize>, is_tcp: bool) -> u16 {
    let at = header.start;
    if is_tcp {
        sum_of_parts(frame, &[at..at + 4, at + 8..at + 12, at + 14..at + 16, at + 18..header.end])
    } else {
        sum_of_parts(frame, &[at..at + 4, at + 8..header.end])
    }
}

/// The sum of some parts of a frame, each of an even length.
fn sum_of_parts(frame: &[u8], parts: &[Range<usize>]) -> u16 {
    let sum = |part: &Range<usize>| checksum::sum(frame.get(part.clone()).unwrap_or_default());
    parts.iter().map(sum).fold(0, |total, sum| checksum::sum_of(&[total, sum]))
}

/// Where the IP header is, behind any VLAN tags, and whether it is IPv4.
pub(super) fn ip_of(frame: &[u8]) -> Option<(usize, bool)> {
    let mut at = ETHERNET_HEADER;
    for _ in 0..3 {
        match be16(frame, at - 2)? {
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => at += VLAN_TAG,
            ETHERTYPE_IPV4 => return Some((at, true)),
            ETHERTYPE_IPV6 => return Some((at, false)),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Headers, Offload};
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    fn admitted(frame: &mut [u8], gso: Gso, size: u16) -> Offload {
        let headers = Headers::parse(frame).unwrap();
        let transport =
            usize::from(headers.l3) + if frame[headers.l3 as usize] == 0x60 { 40 } else { 20 };
        let field = if gso == Gso::Udp { 6 } else { 16 };
        let offload = Offload::partial(transport as u16, field).segmented(gso, size);
        offload.admit(&headers, frame).unwrap()
    }

    fn cut(frame: &mut [u8], gso: Gso, size: u16) -> Vec<Vec<u8>> {
        let offload = admitted(frame, gso, size);
        let mut all = Vec::new();
        FrameView { bytes: frame, offload }
            .for_each_segment(&mut Vec::new(), |segment| all.push(segment.to_vec()));
        assert_eq!(all.len() as u64, offload.segments(frame.len()));
        all
    }

    fn payload_of(packet: &SlicedPacket<'_>) -> Vec<u8> {
        match packet.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => tcp.payload().to_vec(),
            TransportSlice::Udp(udp) => udp.payload().to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Every checksum, by a library that shares no code with ours.
    fn assert_sound(segment: &[u8]) {
        let packet = SlicedPacket::from_ethernet(segment).unwrap();
        let (net, transport) = (packet.net.unwrap(), packet.transport.unwrap());
        if let Some(ipv4) = net.ipv4_ref() {
            let header = ipv4.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            let (src, dst) = (header.source(), header.destination());
            let sums = match transport {
                TransportSlice::Tcp(tcp) => {
                    (tcp.checksum(), tcp.calc_checksum_ipv4(src, dst).unwrap())
                }
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    let sum = header.calc_checksum_ipv4_raw(src, dst, udp.payload()).unwrap();
                    (udp.checksum(), sum)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(sums.0, sums.1);
        } else if let Some(ipv6) = net.ipv6_ref() {
            let (src, dst) = (ipv6.header().source(), ipv6.header().destination());
            let TransportSlice::Tcp(tcp) = transport else { panic!("{transport:?}") };
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(src, dst).unwrap());
        }
    }

    #[test]
    fn tcp_super_frame_is_cut_into_sound_segments() {
        let payload: Vec<u8> = (0..3500_u32).map(|at| at as u8).collect();
        for is_ipv4 in [true, false] {
            let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
            let ip = if is_ipv4 {
                ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            } else {
                ethernet.ipv6([1; 16], [2; 16], 64)
            };
            let mut frame = Vec::new();
            ip.tcp(80, 81, u32::MAX - 1000, 1000)
                .psh()
                .fin()
                .cwr()
                .write(&mut frame, &payload)
                .unwrap();
            let gso = if is_ipv4 { Gso::Tcp4 } else { Gso::Tcp6 };
            let segments = cut(&mut frame, gso, 1448);
            assert_eq!(segments.len(), 3);
            let mut whole = Vec::new();
            for (index, segment) in segments.iter().enumerate() {
                assert_sound(segment);
                let packet = SlicedPacket::from_ethernet(segment).unwrap();
                let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!() };
                let expected = (u32::MAX - 1000).wrapping_add(whole.len() as u32);
                assert_eq!(tcp.sequence_number(), expected);
                assert_eq!((tcp.psh(), tcp.fin(), tcp.cwr()), (index == 2, index == 2, index == 0));
                if let Some(ipv4) = packet.net.as_ref().unwrap().ipv4_ref() {
                    assert_eq!(ipv4.header().identification(), index as u16);
                }
                whole.extend(payload_of(&packet));
            }
            assert_eq!(whole, payload);
        }
    }

    #[test]
    fn tagged_udp_super_frame_is_cut_into_sound_segments() {
        let payload: Vec<u8> = (0..2500_u32).map(|at| at as u8).collect();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .single_vlan(5.try_into().unwrap())
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(53, 54);
        let mut frame = Vec::new();
        builder.write(&mut frame, &payload).unwrap();
        let segments = cut(&mut frame, Gso::Udp, 1000);
        let packets = segments.iter().map(|segment| SlicedPacket::from_ethernet(segment).unwrap());
        let payloads: Vec<Vec<u8>> = packets.map(|packet| payload_of(&packet)).collect();
        assert_eq!(payloads.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(payloads.concat(), payload);
        segments.iter().for_each(|segment| assert_sound(segment));
    }
}
