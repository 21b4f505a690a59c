//! A frame as a piece of a super-frame to be: whether it could be one, and whether it is whole.

use super::super::{
    ETHERNET_HEADER, FrameView, Gso, IPV4_HEADER, Offload, Offloads, PROTOCOL_TCP, PROTOCOL_UDP,
    array, be16, be32, checksum, tcp,
};

const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const TCP_PSH: u8 = 0x08;
/// MF and the fragment offset: DF and the reserved bit only have to be the same in all.
const FRAGMENT: u16 = 0x3fff;

/// What a frame must be to go into a super-frame, first or later. Nothing of it is verified yet.
/// Small: one is kept for each open super-frame.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub gso: Gso,
    pub is_ipv4: bool,
    is_partial: bool,
    /// Byte 13 of the TCP header: ACK, perhaps with PSH or FIN; 0 for UDP.
    pub flags: u8,
    /// Where the IP header starts, at most 22.
    ip: u8,
    /// Where the payload starts, at most 22 + 40 + 60.
    payload: u8,
    /// Bytes of payload, at least one.
    len: u16,
    /// IPv4 identification; 0 for IPv6.
    id: u16,
    /// TCP sequence number; 0 for UDP.
    sequence: u32,
}

impl Piece {
    /// Reads a frame whose IP header of that version is at `ip`. None if a device with these
    /// offloads would not take a super-frame of it, or if it can be neither the first nor a later
    /// piece of one.
    pub fn read(
        frame: FrameView<'_>,
        (ip, is_ipv4): (usize, bool),
        offloads: Offloads,
    ) -> Option<Self> {
        let (protocol, id) =
            if is_ipv4 { read_ipv4(frame.bytes, ip)? } else { (read_ipv6(frame.bytes, ip)?, 0) };
        let gso = match (protocol, is_ipv4) {
            (PROTOCOL_TCP, true) => Gso::Tcp4,
            (PROTOCOL_TCP, false) => Gso::Tcp6,
            _ => Gso::Udp,
        };
        if !offloads.take_kind(gso) {
            return None;
        }
        let piece = Self {
            gso,
            is_ipv4,
            is_partial: !frame.offload.is_none(),
            flags: 0,
            ip: ip as u8,
            payload: 0,
            len: 0,
            id,
            sequence: 0,
        };
        if piece.is_tcp() { piece.with_tcp(frame) } else { piece.with_udp(frame) }
    }

    fn with_tcp(self, frame: FrameView<'_>) -> Option<Self> {
        let header = array::<TCP_HEADER>(frame.bytes, self.transport())?;
        let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, offset, flags, ..] = header;
        let header_len = usize::from(offset >> 4) * 4;
        // The low half of `offset` has AE (RFC 9768) and reserved bits: flags, too.
        let is_data = flags & !(TCP_PSH | tcp::FIN) == tcp::ACK && offset & 0x0f == 0;
        if !is_data || header_len < TCP_HEADER {
            return None;
        }
        let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
        Self { flags, sequence, ..self }.with_payload(frame, header_len)
    }

    fn with_udp(self, frame: FrameView<'_>) -> Option<Self> {
        let len = usize::from(be16(frame.bytes, self.transport() + 4)?);
        if len + self.transport() != frame.bytes.len() {
            return None;
        }
        self.with_payload(frame, UDP_HEADER)
    }

    fn with_payload(self, frame: FrameView<'_>, header_len: usize) -> Option<Self> {
        let payload = self.transport() + header_len;
        let len = frame.bytes.len().checked_sub(payload).filter(|len| *len > 0)?;
        // A super-frame, or a checksum elsewhere, is not equal to this.
        let own = Offload::partial(self.transport() as u16, self.checksum_field() as u16);
        let is_own = frame.offload.is_none() || frame.offload == own;
        is_own.then_some(Self { payload: payload as u8, len: len as u16, ..self })
    }

    /// Where the IP header starts.
    pub const fn ip(&self) -> usize {
        self.ip as usize
    }

    /// Where the TCP or UDP header starts.
    pub const fn transport(&self) -> usize {
        self.ip() + if self.is_ipv4 { IPV4_HEADER } else { IPV6_HEADER }
    }

    /// Where the payload starts.
    pub const fn payload(&self) -> usize {
        self.payload as usize
    }

    /// Bytes of payload.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    pub const fn is_tcp(&self) -> bool {
        !matches!(self.gso, Gso::Udp)
    }

    pub const fn protocol(&self) -> u8 {
        if self.is_tcp() { PROTOCOL_TCP } else { PROTOCOL_UDP }
    }

    /// Where in the transport header its checksum is.
    pub const fn checksum_field(&self) -> usize {
        if self.is_tcp() { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }

    /// What is left to be done with a super-frame that begins with this.
    pub fn offload(&self) -> Offload {
        let parts = (self.transport() as u16, u16::from(self.payload));
        Offload::joined(self.gso, self.len, parts)
    }

    /// True if no piece may follow it: PSH and FIN belong to the last segment.
    pub const fn is_end(&self) -> bool {
        self.flags & (TCP_PSH | tcp::FIN) != 0
    }

    /// The addresses as they stand in the frame.
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let from = self.ip() + if self.is_ipv4 { 12 } else { 8 };
        frame.get(from..self.transport()).unwrap_or_default()
    }

    /// True if `later` is what cutting a super-frame that begins with `self` gives as segment
    /// `index` (see [`super::super::Segments`]), checksums aside.
    pub fn is_followed(&self, frame: &[u8], later: (&Self, &[u8]), index: u16) -> bool {
        let (piece, bytes) = later;
        let passed = u32::from(self.len).wrapping_mul(u32::from(index));
        let is_next = !self.is_tcp() || piece.sequence == self.sequence.wrapping_add(passed);
        let has_id = !self.is_ipv4 || piece.id == self.id.wrapping_add(index);
        is_next
            && has_id
            && piece.len <= self.len
            && piece.gso == self.gso
            && piece.is_ipv4 == self.is_ipv4
            && (piece.ip, piece.payload) == (self.ip, self.payload)
            && self.has_headers_of(frame, bytes)
    }

    /// Compares all that must be the same: everything but lengths, identification, sequence
    /// number, PSH, FIN and checksums.
    fn has_headers_of(&self, frame: &[u8], other: &[u8]) -> bool {
        let (ip, at) = (self.ip(), self.transport());
        let both = (frame, other);
        let has_ip = if self.is_ipv4 {
            same::<2>(both, ip) && same::<4>(both, ip + 6) && same::<12>(both, ip + 12)
        } else {
            same::<4>(both, ip) && same::<38>(both, ip + 6)
        };
        let has_tcp = || {
            let rest = at + 18..self.payload();
            same::<5>(both, at + 8)
                && same::<2>(both, at + 14)
                && frame.get(rest.clone()).is_some_and(|own| other.get(rest) == Some(own))
        };
        // The ports are compared with the addresses; the tags, two at most, with the MACs.
        has_ip
            && same::<ETHERNET_HEADER>(both, 0)
            && frame.get(..ip) == other.get(..ip)
            && (!self.is_tcp() || has_tcp())
    }

    /// True if every checksum is right, and written as [`super::super::Segments`] would: of the
    /// two forms of zero, only one.
    pub fn is_verified(&self, frame: &[u8]) -> bool {
        let header = || frame.get(self.ip()..self.transport()).unwrap_or_default();
        if self.is_ipv4
            && (!checksum::is_valid(header()) || be16(frame, self.ip() + 10) == Some(0xffff))
        {
            return false;
        }
        let Some(segment) = frame.get(self.transport()..) else { return false };
        let Some(field) = be16(segment, self.checksum_field()) else { return false };
        let pseudo =
            checksum::pseudo_header_of(self.addresses(frame), self.protocol(), segment.len());
        if self.is_partial {
            return field == pseudo;
        }
        // In UDP, 0 is no checksum (RFC 768): what is not there is not verified.
        let other_zero = if self.is_tcp() { 0xffff } else { 0 };
        field != other_zero && checksum::sum_of(&[pseudo, checksum::sum(segment)]) == 0xffff
    }

    /// The flow it belongs to.
    pub fn flow(&self, frame: &[u8]) -> FlowId {
        let ports = be32(frame, self.transport()).unwrap_or_default();
        FlowId { pair: pair_of(self.addresses(frame)), ports: ports_of(self.protocol(), ports) }
    }
}

fn same<const N: usize>((one, other): (&[u8], &[u8]), at: usize) -> bool {
    array::<N>(one, at).is_some_and(|one| array(other, at) == Some(one))
}

/// Protocol and identification of an IPv4 packet that fills its frame, whole and without options.
fn read_ipv4(frame: &[u8], ip: usize) -> Option<(u8, u16)> {
    let [version, _, l0, l1, i0, i1, f0, f1, _, protocol, ..] = array::<IPV4_HEADER>(frame, ip)?;
    let is_plain = version == 0x45
        && usize::from(u16::from_be_bytes([l0, l1])) == frame.len() - ip
        && u16::from_be_bytes([f0, f1]) & FRAGMENT == 0
        && matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    is_plain.then_some((protocol, u16::from_be_bytes([i0, i1])))
}

/// Protocol of an IPv6 packet that fills its frame, without extension headers.
fn read_ipv6(frame: &[u8], ip: usize) -> Option<u8> {
    let [version, _, _, _, l0, l1, protocol, _] = array::<8>(frame, ip)?;
    let is_plain = version >> 4 == 6
        && usize::from(u16::from_be_bytes([l0, l1])) + ip + IPV6_HEADER == frame.len()
        && matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    is_plain.then_some(protocol)
}

/// Names a flow. Two flows may share a name: then they only part each other's super-frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    pair: u64,
    ports: u64,
}

/// The open super-frames that a frame may belong to, and must not be overtaken by.
#[derive(Clone, Copy, Debug)]
pub enum Concern {
    /// An IP packet that cannot be read.
    All,
    /// One without ports, such as a fragment.
    Pair(u64),
    /// One with them.
    Flow(FlowId),
}

impl Concern {
    /// Of a frame whose IP header is at `ip`.
    pub fn of(frame: &[u8], ip: usize, is_ipv4: bool) -> Self {
        Self::read(frame, ip, is_ipv4).unwrap_or(Self::All)
    }

    fn read(frame: &[u8], ip: usize, is_ipv4: bool) -> Option<Self> {
        let version = frame.get(ip)?;
        let (addresses, protocol, transport) = if is_ipv4 {
            let is_fragment = be16(frame, ip + 6)? & FRAGMENT != 0;
            let protocol = *frame.get(ip + 9)?;
            let transport = ip + usize::from(version & 0x0f) * 4;
            (ip + 12..ip + IPV4_HEADER, if is_fragment { 0 } else { protocol }, transport)
        } else {
            (ip + 8..ip + IPV6_HEADER, *frame.get(ip + 6)?, ip + IPV6_HEADER)
        };
        if version >> 4 != if is_ipv4 { 4 } else { 6 } {
            return None;
        }
        let pair = pair_of(frame.get(addresses)?);
        match (protocol, be32(frame, transport)) {
            (PROTOCOL_TCP | PROTOCOL_UDP, Some(ports)) => {
                Some(Self::Flow(FlowId { pair, ports: ports_of(protocol, ports) }))
            }
            _ => Some(Self::Pair(pair)),
        }
    }

    /// True if a frame of this concern must not be overtaken by one of `flow`.
    pub fn touches(self, flow: FlowId) -> bool {
        match self {
            Self::All => true,
            Self::Pair(pair) => pair == flow.pair,
            Self::Flow(own) => own == flow,
        }
    }
}

/// An odd number with its bits well spread (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

fn pair_of(addresses: &[u8]) -> u64 {
    let (words, _) = addresses.as_chunks::<8>();
    words.iter().fold(0, |pair: u64, word| {
        pair.wrapping_mul(SPREAD).rotate_left(29) ^ u64::from_ne_bytes(*word)
    })
}

const fn ports_of(protocol: u8, ports: u32) -> u64 {
    (protocol as u64) << 32 | ports as u64
}
