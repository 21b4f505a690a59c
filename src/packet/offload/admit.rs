//! The comparison of what a sender's kernel said with the frame it said it about. Nothing before
//! the transport header can be written by what passes here.

use super::super::{
    Headers, Ipv4, Layer, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, Transport, be16, checksum,
    put16,
};
use super::{Gso, MAX_SEGMENTS, Offload, TCP_CHECKSUM, UDP_CHECKSUM};
use crate::drop_reason::DropReason;

pub(super) const IPV6_HEADER: usize = 40;
/// Most bytes of an IPv6 header with its extensions before a super-frame's transport header: each
/// segment repeats them. Kernels send none or a few dozen.
const MAX_IPV6_HEADERS: usize = 256;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_CHECKSUM: u16 = 2;

/// Where a partial checksum of an IPv4 packet is.
enum Place {
    /// In its own TCP or UDP header.
    Transport,
    /// In another transport header, or in a packet inside.
    Deeper,
}

impl Offload {
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
}
