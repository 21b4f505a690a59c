//! What the kernel leaves undone in frames between hosts that share it: checksums to complete and
//! TCP or UDP super-frames to cut, as told by a virtio-net header (linux/virtio_net.h).
//!
//! A header that does not agree with its frame changes nothing outside the frame: every offset is
//! checked. IPv6 extension headers are not looked through.

use crate::packet::{self, ETHERNET_HEADER, IPV4_HEADER, VLAN_TAG, be16, be32, checksum};

/// Length of the header, in bytes.
pub(super) const VNET_HEADER: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP_FIN_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

/// A virtio-net header, in the byte order of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VnetHeader {
    flags: u8,
    gso_type: u8,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

impl VnetHeader {
    pub(super) const fn parse(bytes: &[u8; VNET_HEADER]) -> Self {
        let [flags, gso_type, _, _, size0, size1, start0, start1, offset0, offset1] = *bytes;
        Self {
            flags,
            gso_type,
            gso_size: u16::from_ne_bytes([size0, size1]),
            csum_start: u16::from_ne_bytes([start0, start1]),
            csum_offset: u16::from_ne_bytes([offset0, offset1]),
        }
    }

    /// True if the frame is several in one.
    pub(super) const fn is_super(self) -> bool {
        self.gso_type & !GSO_ECN != 0
    }

    /// Completes the checksum of a frame that is no super-frame: its field holds the sum of the
    /// pseudo header.
    pub(super) fn complete_checksum(self, frame: &mut [u8]) {
        if self.flags & NEEDS_CSUM == 0 {
            return;
        }
        let start = usize::from(self.csum_start);
        let field = start + usize::from(self.csum_offset);
        let Some(covered) = frame.get(start..).filter(|_| field + 2 <= frame.len()) else { return };
        let complete = match !checksum::sum(covered) {
            0 => 0xffff, // zero would mean "none" in UDP; both mean the same elsewhere
            sum => sum,
        };
        packet::put16(frame, field, complete);
    }
}

/// A super-frame being cut, piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segments {
    ip: usize,
    transport: usize,
    /// Where the payload starts.
    payload: usize,
    is_ipv4: bool,
    is_tcp: bool,
    /// Payload bytes of each segment but the last.
    size: usize,
    len: usize,
    next: usize,
    index: u16,
}

impl Segments {
    /// None if the frame is not what its header says.
    pub(super) fn new(frame: &[u8], vnet: VnetHeader) -> Option<Self> {
        let (is_ipv4, is_tcp) = match vnet.gso_type & !GSO_ECN {
            GSO_TCPV4 => (true, true),
            GSO_TCPV6 => (false, true),
            GSO_UDP_L4 => (frame.get(ip_of(frame)?)? >> 4 == 4, false),
            _ => return None,
        };
        let ip = ip_of(frame)?;
        let ip_header = match (is_ipv4, frame.get(ip)?) {
            (true, first) if first >> 4 == 4 => usize::from(first & 0x0f) * 4,
            (false, first) if first >> 4 == 6 => IPV6_HEADER,
            _ => return None,
        };
        let protocol = *frame.get(ip + if is_ipv4 { 9 } else { 6 })?;
        let transport = ip + ip_header;
        let payload = match (is_tcp, protocol) {
            (true, packet::PROTOCOL_TCP) => {
                transport + usize::from(frame.get(transport + 12)? >> 4) * 4
            }
            (false, packet::PROTOCOL_UDP) => transport + UDP_HEADER,
            _ => return None,
        };
        let is_sound = ip_header >= IPV4_HEADER
            && payload >= transport + if is_tcp { 20 } else { UDP_HEADER }
            && payload < frame.len()
            && vnet.gso_size > 0;
        let size = usize::from(vnet.gso_size);
        let len = frame.len();
        is_sound.then_some(Self {
            ip,
            transport,
            payload,
            is_ipv4,
            is_tcp,
            size,
            len,
            next: payload,
            index: 0,
        })
    }

    /// Writes the next segment of `frame` into `room`; none after the last. A length larger than
    /// the room says that it did not fit and is lost.
    pub(super) fn next(&mut self, frame: &[u8], room: &mut [u8]) -> Option<usize> {
        let from = self.next;
        let to = (from + self.size).min(self.len);
        let body = frame.get(from..to).filter(|body| !body.is_empty())?;
        let index = self.index;
        self.next = to;
        self.index = self.index.wrapping_add(1);
        let len = self.payload + body.len();
        let Some(segment) = room.get_mut(..len) else { return Some(len) };
        let (header, rest) = segment.split_at_mut(self.payload);
        header.copy_from_slice(frame.get(..self.payload)?);
        rest.copy_from_slice(body);
        self.set_transport(segment, from, to);
        self.set_ip(segment, index);
        self.set_checksum(segment);
        Some(len)
    }

    fn set_ip(&self, segment: &mut [u8], index: u16) {
        let len = segment.len();
        if !self.is_ipv4 {
            packet::put16(segment, self.ip + 4, (len - self.ip - IPV6_HEADER) as u16);
            return;
        }
        let id = be16(segment, self.ip + 4).unwrap_or_default();
        packet::put16(segment, self.ip + 2, (len - self.ip) as u16);
        packet::put16(segment, self.ip + 4, id.wrapping_add(index));
        packet::put16(segment, self.ip + 10, 0);
        let sum = segment.get(self.ip..self.transport).map_or(0, checksum::checksum);
        packet::put16(segment, self.ip + 10, sum);
    }

    fn set_transport(&self, segment: &mut [u8], from: usize, to: usize) {
        if !self.is_tcp {
            packet::put16(segment, self.transport + 4, (segment.len() - self.transport) as u16);
            return;
        }
        let sequence = be32(segment, self.transport + 4).unwrap_or_default();
        let sequence = sequence.wrapping_add((from - self.payload) as u32);
        packet::put(segment, self.transport + 4, &sequence.to_be_bytes());
        if let Some(flags) = segment.get_mut(self.transport + 13) {
            // The end belongs to the last segment, "window reduced" to the first.
            *flags &= if to < self.len { !TCP_FIN_PSH } else { 0xff };
            *flags &= if from > self.payload { !TCP_CWR } else { 0xff };
        }
    }

    fn set_checksum(&self, segment: &mut [u8]) {
        let field = self.transport + if self.is_tcp { 16 } else { 6 };
        packet::put16(segment, field, 0);
        let addresses =
            if self.is_ipv4 { self.ip + 12..self.ip + 20 } else { self.ip + 8..self.ip + 40 };
        let protocol = if self.is_tcp { packet::PROTOCOL_TCP } else { packet::PROTOCOL_UDP };
        let len = (segment.len() - self.transport) as u16;
        let sums = [
            checksum::sum(segment.get(addresses).unwrap_or_default()),
            checksum::sum(segment.get(self.transport..).unwrap_or_default()),
            u16::from(protocol),
            len,
        ];
        let total: u32 = sums.into_iter().map(u32::from).sum();
        let total = (total & 0xffff) + (total >> 16);
        let sum = match !((total & 0xffff) + (total >> 16)) as u16 {
            0 => 0xffff,
            sum => sum,
        };
        packet::put16(segment, field, sum);
    }
}

/// Where the IP header is, behind any VLAN tags.
fn ip_of(frame: &[u8]) -> Option<usize> {
    let mut at = ETHERNET_HEADER;
    for _ in 0..3 {
        match be16(frame, at - 2)? {
            packet::ETHERTYPE_VLAN | packet::ETHERTYPE_SERVICE_VLAN => at += VLAN_TAG,
            packet::ETHERTYPE_IPV4 | packet::ETHERTYPE_IPV6 => return Some(at),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    fn header(gso_type: u8, gso_size: u16, csum: (u16, u16)) -> VnetHeader {
        let mut bytes = [0; VNET_HEADER];
        bytes[0] = NEEDS_CSUM;
        bytes[1] = gso_type;
        bytes[4..6].copy_from_slice(&gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&csum.0.to_ne_bytes());
        bytes[8..10].copy_from_slice(&csum.1.to_ne_bytes());
        VnetHeader::parse(&bytes)
    }

    fn cut(frame: &[u8], vnet: VnetHeader) -> Vec<Vec<u8>> {
        let mut segments = Segments::new(frame, vnet).unwrap();
        let mut room = [0; 2048];
        let mut all = Vec::new();
        while let Some(len) = segments.next(frame, &mut room) {
            all.push(room[..len].to_vec());
        }
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
            let kind = if is_ipv4 { GSO_TCPV4 } else { GSO_TCPV6 } | GSO_ECN;
            let segments = cut(&frame, header(kind, 1448, (0, 0)));
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
        let segments = cut(&frame, header(GSO_UDP_L4, 1000, (0, 0)));
        let packets = segments.iter().map(|segment| SlicedPacket::from_ethernet(segment).unwrap());
        let payloads: Vec<Vec<u8>> = packets.map(|packet| payload_of(&packet)).collect();
        assert_eq!(payloads.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(payloads.concat(), payload);
        segments.iter().for_each(|segment| assert_sound(segment));
    }

    #[test]
    fn partial_checksum_is_completed() {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(53, 54);
        let mut frame = Vec::new();
        builder.write(&mut frame, b"odd").unwrap();
        let whole = frame.clone();
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, 17, 0, 11]);
        packet::put16(&mut frame, 40, checksum::sum(&pseudo));
        header(0, 0, (34, 6)).complete_checksum(&mut frame);
        assert_eq!(frame, whole);
    }

    #[test]
    fn header_that_disagrees_with_its_frame_harms_nothing() {
        let mut frame = [0xff; 60];
        for start in [0, 59, 60, 61, u16::MAX] {
            for offset in [0, 1, 60, u16::MAX] {
                header(0, 0, (start, offset)).complete_checksum(&mut frame);
            }
        }
        for kind in 0..=u8::MAX {
            for ethertype in [0x0800_u16, 0x86dd, 0x8100] {
                for first in [0x40, 0x45, 0x4f, 0x60] {
                    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
                    frame[14] = first;
                    for len in 0..frame.len() {
                        let vnet = header(kind, 1, (0, 0));
                        let Some(mut segments) = Segments::new(&frame[..len], vnet) else {
                            continue;
                        };
                        while segments.next(&frame[..len], &mut [0; 64]).is_some() {}
                    }
                }
            }
        }
    }
}
