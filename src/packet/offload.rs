//! What the sender's kernel left undone in a frame, and told by a virtio-net header
//! (linux/virtio_net.h): a checksum to complete, a super-frame to cut into segments.
//!
//! Frames between hosts that share a kernel travel so from end to end: nobody sums 64 KiB twice
//! or cuts them up to join them again. The header comes from a stranger. It is read by
//! [`Offload::parse`], and [`Offload::admit`] compares it with the frame; after that every offset
//! in it lies inside the frame and behind its IP header.
//!
//! A partial checksum field holds the *uncomplemented* sum of the pseudo header. There 0 is a
//! sum, also in UDP, and not "no checksum".

use std::fmt;

use super::{
    Headers, Ipv4, Layer, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, Transport, be16, checksum,
    put16,
};
use crate::drop_reason::DropReason;

/// Length of a virtio-net header, in bytes.
pub const VNET_HEADER: usize = 10;
/// Most segments of a super-frame: 64 KiB at the smallest MSS that Linux uses (48) are 1365.
pub const MAX_SEGMENTS: usize = 2048;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

const IPV6_HEADER: usize = 40;
/// Most bytes of an IPv6 header with its extensions before a super-frame's transport header: each
/// segment repeats them. Kernels send none or a few dozen.
const MAX_IPV6_HEADERS: usize = 256;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;
const ICMP_CHECKSUM: u16 = 2;

/// How a super-frame is to be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gso {
    /// Not at all: it is one frame.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either: each segment is a datagram.
    Udp,
}

/// What is left to be done with a frame. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    gso: Gso,
    is_partial: bool,
    is_verified: bool,
    has_ecn: bool,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
    /// Bytes of a super-frame before its payload; known once it is admitted.
    header_len: u16,
}

/// What a device takes besides finished frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Partial checksums.
    pub checksum: bool,
    /// TCP super-frames over IPv4.
    pub tso4: bool,
    /// TCP super-frames over IPv6.
    pub tso6: bool,
    /// TCP super-frames whose first segment has CWR set (RFC 3168).
    pub ecn: bool,
    /// UDP super-frames.
    pub uso: bool,
}

impl Offloads {
    /// Finished frames only.
    pub const NONE: Self =
        Self { checksum: false, tso4: false, tso6: false, ecn: false, uso: false };
    /// Everything.
    pub const ALL: Self = Self { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };

    /// True if the device takes a frame with this left to be done.
    pub const fn take(self, offload: Offload) -> bool {
        offload.is_none() || self.take_kind(offload.gso) && (self.ecn || !offload.has_ecn)
    }

    /// True if the device takes partial checksums and, unless that is all, such super-frames.
    pub const fn take_kind(self, gso: Gso) -> bool {
        let segments = match gso {
            Gso::None => true,
            Gso::Tcp4 => self.tso4,
            Gso::Tcp6 => self.tso6,
            Gso::Udp => self.uso,
        };
        self.checksum && segments
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checksum, tso4, tso6, ecn, uso } = *self;
        let all = [("csum", checksum), ("tso4", tso4), ("tso6", tso6), ("ecn", ecn), ("uso", uso)];
        let mut taken = all.into_iter().filter(|(_, is_taken)| *is_taken).map(|(name, _)| name);
        out.write_str(taken.next().unwrap_or("none"))?;
        taken.try_for_each(|name| write!(out, ",{name}"))
    }
}

impl Offload {
    /// Nothing is left to be done.
    pub const NONE: Self = Self {
        gso: Gso::None,
        is_partial: false,
        is_verified: false,
        has_ecn: false,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
        header_len: 0,
    };

    /// Reads a virtio-net header, in the byte order of this machine.
    ///
    /// # Errors
    /// [`DropReason::VnetHeader`] if it asks for something that tapway did not agree to.
    pub fn parse(header: &[u8; VNET_HEADER]) -> Result<Self, DropReason> {
        let [flags, kind, _, _, size0, size1, start0, start1, offset0, offset1] = *header;
        let gso = match kind & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 => Gso::Tcp4,
            GSO_TCPV6 => Gso::Tcp6,
            GSO_UDP_L4 => Gso::Udp,
            _ => return Err(DropReason::VnetHeader),
        };
        let is_partial = flags & NEEDS_CSUM != 0;
        if gso == Gso::None && !is_partial {
            return Ok(Self::NONE);
        }
        Ok(Self {
            gso,
            is_partial,
            is_verified: flags & DATA_VALID != 0,
            has_ecn: kind & GSO_ECN != 0,
            gso_size: if gso == Gso::None { 0 } else { u16::from_ne_bytes([size0, size1]) },
            csum_start: u16::from_ne_bytes([start0, start1]),
            csum_offset: u16::from_ne_bytes([offset0, offset1]),
            header_len: 0,
        })
    }

    /// A partial checksum of the transport header at `start`, its field `offset` bytes behind.
    pub const fn partial(start: u16, offset: u16) -> Self {
        Self { is_partial: true, csum_start: start, csum_offset: offset, ..Self::NONE }
    }

    /// A super-frame with a partial checksum, cut every `size` bytes of payload.
    #[must_use]
    pub const fn segmented(self, gso: Gso, size: u16) -> Self {
        Self { gso, gso_size: size, ..self }
    }

    /// A super-frame that tapway made itself, with a partial checksum: as if it had been admitted
    /// with a transport header at the first and a payload at the second offset.
    pub(super) const fn joined(gso: Gso, size: u16, (transport, payload): (u16, u16)) -> Self {
        let field = match gso {
            Gso::Udp => UDP_CHECKSUM,
            _ => TCP_CHECKSUM,
        };
        Self { header_len: payload, ..Self::partial(transport, field).segmented(gso, size) }
    }

    /// The same for a frame into which `bytes` bytes were put before its network layer.
    #[must_use]
    pub const fn behind(self, bytes: u16) -> Self {
        if self.is_partial {
            Self { csum_start: self.csum_start.saturating_add(bytes), ..self }
        } else {
            self
        }
    }

    /// The header that tells a device, in the byte order of this machine. The offload must have
    /// been admitted.
    pub fn to_header(self) -> [u8; VNET_HEADER] {
        if self.is_none() {
            return [0; VNET_HEADER];
        }
        let ecn = if self.has_ecn { GSO_ECN } else { 0 };
        let kind = match self.gso {
            Gso::None => GSO_NONE,
            Gso::Tcp4 => GSO_TCPV4 | ecn,
            Gso::Tcp6 => GSO_TCPV6 | ecn,
            Gso::Udp => GSO_UDP_L4,
        };
        let [len0, len1] = self.header_len.to_ne_bytes();
        let [size0, size1] = self.gso_size.to_ne_bytes();
        let [start0, start1] = self.csum_start.to_ne_bytes();
        let [offset0, offset1] = self.csum_offset.to_ne_bytes();
        let flags = if self.is_partial { NEEDS_CSUM } else { 0 };
        [flags, kind, len0, len1, size0, size1, start0, start1, offset0, offset1]
    }

    /// True if the frame is finished.
    pub const fn is_none(self) -> bool {
        matches!(self.gso, Gso::None) && !self.is_partial
    }

    /// True if the frame is several in one.
    pub const fn is_super(self) -> bool {
        !matches!(self.gso, Gso::None)
    }

    /// How it is to be cut.
    pub const fn gso(self) -> Gso {
        self.gso
    }

    /// Payload bytes of each segment of a super-frame but the last.
    pub const fn gso_size(self) -> u16 {
        self.gso_size
    }

    /// Bytes of a super-frame before its payload.
    pub const fn header_len(self) -> u16 {
        self.header_len
    }

    /// Where the header starts whose checksum is partial; none if the checksum is whole.
    pub const fn partial_start(self) -> Option<u16> {
        if self.is_partial { Some(self.csum_start) } else { None }
    }

    /// The frames on the wire that a frame of `len` bytes stands for.
    pub fn segments(self, len: usize) -> u64 {
        match (self.gso, usize::from(self.gso_size)) {
            (Gso::None, _) | (_, 0) => 1,
            (_, size) => {
                (len.saturating_sub(usize::from(self.header_len)).div_ceil(size) as u64).max(1)
            }
        }
    }

    /// The length of the largest of them, in bytes.
    pub fn largest_segment(self, len: usize) -> usize {
        match self.gso {
            Gso::None => len,
            _ => len.min(usize::from(self.header_len) + usize::from(self.gso_size)),
        }
    }

    /// Compares what the sender's kernel said with the frame. A super-frame whose checksum that
    /// kernel had verified, and that is not partial, becomes so.
    ///
    /// # Errors
    /// [`DropReason::VnetHeader`] if they disagree.
    pub fn admit(self, headers: &Headers, frame: &mut [u8]) -> Result<Self, DropReason> {
        if self.is_none() {
            return Ok(self);
        }
        let l3 = usize::from(headers.l3);
        let admitted = match (self.gso, headers.layer) {
            (Gso::None, layer) => self.admit_partial(layer, l3, frame),
            (Gso::Tcp4 | Gso::Udp, Layer::Ipv4(ipv4)) => self.admit_super4(&ipv4, l3, frame),
            (Gso::Tcp6 | Gso::Udp, Layer::Ipv6) => self.admit_super6(l3, frame),
            _ => None,
        };
        admitted.ok_or(DropReason::VnetHeader)
    }

    /// Over IPv4 only TCP and UDP stay with a partial checksum; others are completed here.
    fn admit_partial(self, layer: Layer, l3: usize, frame: &mut [u8]) -> Option<Self> {
        let (start, offset) = (usize::from(self.csum_start), usize::from(self.csum_offset));
        if start + offset + 2 > frame.len() {
            return None;
        }
        let admitted = Self::partial(self.csum_start, self.csum_offset);
        match layer {
            Layer::Ipv4(ipv4) => match self.place_in(&ipv4, l3)? {
                Place::Transport => return Some(admitted),
                Place::Deeper => {}
            },
            Layer::Ipv6 if start >= l3 + IPV6_HEADER => return Some(admitted),
            Layer::Other if start >= l3 => {}
            // No checksum may be written over MACs, tags or addresses.
            _ => return None,
        }
        admitted.complete(frame);
        Some(Self::NONE)
    }

    /// Where in an IPv4 packet the partial checksum is; none where it may not be.
    fn place_in(self, ipv4: &Ipv4, l3: usize) -> Option<Place> {
        let start = usize::from(self.csum_start);
        let transport = l3 + usize::from(ipv4.header_len);
        if ipv4.is_fragment() || start < transport {
            return None;
        }
        let field = (start == transport).then_some(self.csum_offset);
        match (ipv4.transport, field) {
            (Transport::Tcp { .. }, Some(TCP_CHECKSUM))
            | (Transport::Udp { .. }, Some(UDP_CHECKSUM)) => Some(Place::Transport),
            (Transport::Tcp { .. }, _) | (Transport::Udp { .. }, Some(_)) => None,
            // A tunnelled packet's.
            (Transport::Udp { .. }, None) if start < transport + UDP_HEADER => None,
            (Transport::Query { .. } | Transport::IcmpError, Some(ICMP_CHECKSUM)) => {
                Some(Place::Deeper)
            }
            (Transport::Query { .. } | Transport::IcmpError, _) => None,
            // A type that is neither query nor error: a sum over it would make another of it.
            _ if ipv4.protocol == PROTOCOL_ICMP && field != Some(ICMP_CHECKSUM) => None,
            _ => Some(Place::Deeper),
        }
    }

    fn admit_super4(self, ipv4: &Ipv4, l3: usize, frame: &mut [u8]) -> Option<Self> {
        let transport = l3 + usize::from(ipv4.header_len);
        let is_whole = !ipv4.is_fragment() && l3 + usize::from(ipv4.total_len) == frame.len();
        let field = match (self.gso, ipv4.transport) {
            (Gso::Tcp4, Transport::Tcp { .. }) => TCP_CHECKSUM,
            (Gso::Udp, Transport::Udp { .. }) => UDP_CHECKSUM,
            _ => return None,
        };
        if !is_whole {
            return None;
        }
        let admitted = self.admit_super(transport, field, frame)?;
        if !self.is_partial {
            let protocol = if field == TCP_CHECKSUM { PROTOCOL_TCP } else { PROTOCOL_UDP };
            let len = frame.len() - transport;
            let sum = checksum::pseudo_header(ipv4.src, ipv4.dst, protocol, len);
            put16(frame, transport + usize::from(field), sum);
        }
        Some(admitted)
    }

    fn admit_super6(self, l3: usize, frame: &[u8]) -> Option<Self> {
        // Extension headers are the kernel's word: nothing routes IPv6, and the offsets are safe.
        let transport = usize::from(self.csum_start);
        let field = if self.gso == Gso::Tcp6 { TCP_CHECKSUM } else { UDP_CHECKSUM };
        let len = be16(frame, l3 + 4).map(usize::from);
        let is_sound = self.is_partial
            && (l3 + IPV6_HEADER..=l3 + MAX_IPV6_HEADERS).contains(&transport)
            && len.is_some()
            && len == frame.len().checked_sub(l3 + IPV6_HEADER);
        if is_sound { self.admit_super(transport, field, frame) } else { None }
    }

    fn admit_super(self, transport: usize, field: u16, frame: &[u8]) -> Option<Self> {
        let header = match self.gso {
            Gso::Udp => UDP_HEADER,
            _ => usize::from(frame.get(transport + 12)? >> 4) * 4,
        };
        let payload = transport + header;
        let size = usize::from(self.gso_size);
        let agrees = !self.is_partial && self.is_verified
            || usize::from(self.csum_start) == transport && self.csum_offset == field;
        let is_sound = agrees
            && (self.gso == Gso::Udp || header >= TCP_HEADER)
            && payload < frame.len()
            && size > 0
            && (frame.len() - payload).div_ceil(size) <= MAX_SEGMENTS;
        is_sound.then_some(Self {
            is_partial: true,
            csum_start: transport as u16,
            csum_offset: field,
            header_len: payload as u16,
            ..self
        })
    }

    /// Completes a partial checksum in place; the frame must not be a super-frame.
    pub fn complete(self, frame: &mut [u8]) {
        if !self.is_partial {
            return;
        }
        let start = usize::from(self.csum_start);
        let field = start + usize::from(self.csum_offset);
        let Some(covered) = frame.get(start..) else { return };
        let sum = match (!checksum::sum(covered), self.csum_offset) {
            // In UDP zero would mean "none" (RFC 768).
            (0, UDP_CHECKSUM) => 0xffff,
            (sum, _) => sum,
        };
        put16(frame, field, sum);
    }
}

/// Where a partial checksum of an IPv4 packet is.
enum Place {
    /// In its own TCP or UDP header.
    Transport,
    /// In another transport header, or in a packet inside.
    Deeper,
}

#[cfg(test)]
mod tests {
    use super::super::{ETHERNET_HEADER, FrameView, VLAN_TAG};
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const IP: usize = ETHERNET_HEADER;
    const L4: u16 = 34;

    fn tcp(payload: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(80, 81, 1000, 1000);
        let mut frame = Vec::new();
        builder.write(&mut frame, &vec![7; payload]).unwrap();
        frame
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(53, 54);
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).unwrap();
        frame
    }

    fn vnet(flags: u8, kind: u8, size: u16, csum: (u16, u16)) -> Result<Offload, DropReason> {
        let [s0, s1] = size.to_ne_bytes();
        let ([a, b], [c, d]) = (csum.0.to_ne_bytes(), csum.1.to_ne_bytes());
        Offload::parse(&[flags, kind, 0, 0, s0, s1, a, b, c, d])
    }

    fn admit(offload: Offload, frame: &mut [u8]) -> Result<Offload, DropReason> {
        offload.admit(&Headers::parse(frame).unwrap(), frame)
    }

    #[test]
    fn partial_checksum_is_completed() {
        let whole = udp(b"odd");
        let mut frame = whole.clone();
        let ip = |at: usize| std::net::Ipv4Addr::from(*whole[at..].first_chunk::<4>().unwrap());
        put16(&mut frame, 40, checksum::pseudo_header(ip(26), ip(30), PROTOCOL_UDP, 11));
        let offload = admit(vnet(NEEDS_CSUM, 0, 0, (L4, 6)).unwrap(), &mut frame).unwrap();
        assert_eq!(offload, Offload::partial(L4, 6));
        assert_eq!(FrameView { bytes: &frame, offload }.to_complete(), whole);
    }

    #[test]
    fn header_survives_the_way_through() {
        let mut frame = tcp(3000);
        let given = vnet(NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 1000, (L4, 16)).unwrap();
        let offload = admit(given, &mut frame).unwrap();
        assert_eq!(
            (offload.segments(frame.len()), offload.largest_segment(frame.len())),
            (3, 1054)
        );
        assert_eq!(
            Offload::parse(&offload.to_header()).unwrap(),
            Offload { header_len: 0, ..offload }
        );
        assert!(Offloads::ALL.take(offload));
        assert!(!Offloads { ecn: false, ..Offloads::ALL }.take(offload));
        assert!(!Offloads { tso4: false, ..Offloads::ALL }.take(offload));
        assert!(!Offloads::NONE.take(offload) && Offloads::NONE.take(Offload::NONE));
    }

    #[test]
    fn super_frame_whose_checksum_was_verified_becomes_partial() {
        let mut frame = tcp(3000);
        let offload = vnet(DATA_VALID, GSO_TCPV4, 1000, (0, 0)).unwrap();
        let offload = admit(offload, &mut frame).unwrap();
        assert_eq!(offload.partial_start(), Some(L4));
        assert_eq!(FrameView { bytes: &frame, offload }.to_complete(), tcp(3000));
        assert!(admit(vnet(0, GSO_TCPV4, 1000, (0, 0)).unwrap(), &mut frame).is_err());
    }

    #[test]
    fn header_that_disagrees_with_its_frame_is_refused() {
        let mut frame = tcp(3000);
        let good = |kind, size, csum| vnet(NEEDS_CSUM, kind, size, csum);
        let bad = [
            good(GSO_NONE, 0, (L4, 6)),              // not TCP's field
            good(GSO_NONE, 0, (0, 0)),               // would write over the MAC
            good(GSO_NONE, 0, (26, 0)),              // ... over the address
            good(GSO_NONE, 0, (L4 + 2, 0)),          // ... over the port
            good(GSO_NONE, 0, (L4, 3000)),           // beyond the frame
            good(GSO_NONE, 0, (u16::MAX, u16::MAX)), // far beyond
            good(GSO_TCPV4, 0, (L4, 16)),            // no size
            good(GSO_TCPV4, 1, (L4, 16)),            // three thousand segments
            good(GSO_TCPV4, 1000, (L4 + 2, 14)),     // another place
            good(GSO_TCPV6, 1000, (L4, 16)),         // another version
            good(GSO_UDP_L4, 1000, (L4, 6)),         // another protocol
        ];
        for offload in bad {
            let refused = admit(offload.unwrap(), &mut frame);
            assert_eq!(refused, Err(DropReason::VnetHeader), "{offload:?}");
        }
        assert_eq!(frame, tcp(3000));
        assert_eq!(vnet(NEEDS_CSUM, 3, 1000, (L4, 6)), Err(DropReason::VnetHeader)); // UFO
        frame.push(0); // a trailer
        assert!(admit(good(GSO_TCPV4, 1000, (L4, 16)).unwrap(), &mut frame).is_err());
        let mut fragment = udp(&[1; 32]);
        fragment[IP + 6] = 0x20;
        assert!(admit(good(GSO_NONE, 0, (L4, 6)).unwrap(), &mut fragment).is_err());
    }

    #[test]
    fn no_sum_is_written_over_an_icmp_type() {
        for kind in [200u8, 8, 3] {
            let mut frame = udp(&[0; 32]);
            frame[IP + 9] = PROTOCOL_ICMP;
            frame[usize::from(L4)] = kind;
            let before = frame.clone();
            for (start, offset) in [(L4, 0), (L4, 4), (L4 + 2, 0), (L4 + 8, 0)] {
                let refused = admit(Offload::partial(start, offset), &mut frame);
                assert_eq!(refused, Err(DropReason::VnetHeader), "type {kind}: {start}+{offset}");
            }
            assert_eq!(frame, before);
            assert_eq!(admit(Offload::partial(L4, 2), &mut frame), Ok(Offload::NONE));
        }
    }

    #[test]
    fn ipv6_super_frame_shorter_than_its_header_is_refused() {
        let mut frame = vec![0; 24];
        frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
        let offload = Offload::partial(54, 16).segmented(Gso::Tcp6, 8);
        assert_eq!(admit(offload, &mut frame), Err(DropReason::VnetHeader));
    }

    #[test]
    fn ipv6_super_frame_with_a_payload_behind_the_64th_kilobyte_is_refused() {
        let mut frame = vec![0xf0; 54 + 65_499];
        frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
        put16(&mut frame, 18, 65_499);
        for start in [65_485, 1_200] {
            let offload = Offload::partial(start, 16).segmented(Gso::Tcp6, 40);
            assert_eq!(admit(offload, &mut frame), Err(DropReason::VnetHeader), "{start}");
        }
        let offload = Offload::partial(54 + 24, 16).segmented(Gso::Tcp6, 40);
        assert!(admit(offload, &mut frame).is_ok());
    }

    #[test]
    fn checksum_of_a_tunnelled_packet_is_completed_at_once() {
        let inner = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let mut frame = udp(&inner);
        let offload = Offload::partial(L4 + 8, 2);
        assert_eq!(admit(offload, &mut frame), Ok(Offload::NONE));
        assert!(checksum::is_valid(&frame[usize::from(L4) + 8..]));
    }

    #[test]
    fn tags_move_the_checksum() {
        let whole = udp(b"data");
        let mut frame = whole.clone();
        frame.splice(12..12, [0x81, 0, 0, 5]);
        let offload = Offload::partial(L4, 6).behind(VLAN_TAG as u16);
        assert_eq!(admit(offload, &mut frame), Ok(Offload::partial(L4 + 4, 6)));
        assert_eq!(Offload::NONE.behind(4), Offload::NONE);
    }

    proptest! {
        /// Whatever a stranger announces: what is admitted stays inside the frame, and no byte
        /// before the transport header changes, neither now nor when it is completed.
        #[test]
        fn nothing_before_the_transport_header_can_be_written(
            header in any::<[u8; VNET_HEADER]>(), small in any::<bool>(), len in 0usize..400,
            version in prop::sample::select(vec![0x45u8, 0x4f, 0x60]),
            protocol in prop::sample::select(vec![6u8, 17, 1, 47]),
        ) {
            let mut header = header;
            if small {
                header[7] = 0;
                header[9] = 0;
                header[1] &= 0x87;
            }
            let mut frame = tcp(len);
            frame[IP] = version;
            frame[IP + if version == 0x60 { 6 } else { 9 }] = protocol;
            if version == 0x60 {
                frame[12..14].copy_from_slice(&0x86dd_u16.to_be_bytes());
            }
            let before = frame.clone();
            let headers = Headers::parse(&frame).unwrap();
            let start = match headers.layer {
                Layer::Ipv4(ipv4) => IP + usize::from(ipv4.header_len),
                Layer::Ipv6 => IP + IPV6_HEADER,
                _ => frame.len(),
            };
            let Ok(offload) = Offload::parse(&header) else { return Ok(()) };
            if let Ok(offload) = offload.admit(&headers, &mut frame) {
                let view = FrameView { bytes: &frame, offload };
                let mut count = 0;
                view.for_each_segment(&mut Vec::new(), |segment| {
                    count += 1;
                    assert!(segment.len() <= offload.largest_segment(before.len()));
                    assert_eq!(segment[..IP], before[..IP]);
                });
                prop_assert_eq!(count, offload.segments(frame.len()));
                prop_assert_eq!(&view.to_complete()[..start], &before[..start]);
            }
            prop_assert_eq!(&frame[..start], &before[..start]);
        }
    }
}
