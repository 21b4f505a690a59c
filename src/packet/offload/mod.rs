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

mod admit;
mod offloads;
#[cfg(test)]
mod tests;
mod unfinished;

use super::{checksum, put16};
use crate::drop_reason::DropReason;

pub use offloads::Offloads;

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

const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

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

    /// The same for an admitted frame that `bytes` bytes are put before, as by an encapsulation.
    #[must_use]
    pub const fn wrapped(self, bytes: u16) -> Self {
        let header_len = match self.header_len {
            0 => 0,
            len => len.saturating_add(bytes),
        };
        Self { header_len, ..self.behind(bytes) }
    }

    /// The same for a frame that so many bytes before are taken from.
    #[must_use]
    pub const fn unwrapped(self, bytes: u16) -> Self {
        Self {
            csum_start: self.csum_start.saturating_sub(bytes),
            header_len: self.header_len.saturating_sub(bytes),
            ..self
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

    /// The bytes of all of them together.
    pub fn wire_bytes(self, len: usize) -> u64 {
        let more = self.segments(len).saturating_sub(1);
        (len as u64).saturating_add(more.saturating_mul(u64::from(self.header_len)))
    }

    /// The length of the largest of them, in bytes.
    pub fn largest_segment(self, len: usize) -> usize {
        match self.gso {
            Gso::None => len,
            _ => len.min(usize::from(self.header_len) + usize::from(self.gso_size)),
        }
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
