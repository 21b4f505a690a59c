//! What waits to be sent, and what of it goes as one message.

use std::net::SocketAddrV4;

use crate::drop_reason::DropReason;
use crate::io::Refusal;
use crate::packet::vxlan::{DATAGRAM_HEADERS, ENCAPSULATION, Outer};
use crate::packet::{FrameView, MacAddr};

/// Most datagrams of a message: Linux before 6.10 takes no more.
pub(super) const MAX_SEGMENTS: usize = 64;
/// Most bytes of a message: what an IPv4 packet holds behind its own and the UDP header.
pub(super) const MAX_BYTES: usize = 65_507;
/// Payload that waits: a frame's, or some pieces of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub view: FrameView<'a>,
    pub outer: Outer,
    /// Where its pieces begin in the arena; none: the payload is the frame's own.
    pub pieces: Option<usize>,
    /// Bytes of each datagram but the last.
    pub size: usize,
    /// Bytes of all together.
    pub len: usize,
    /// The next item of the same port.
    pub next: Option<usize>,
}

impl<'a> Item<'a> {
    pub const fn whole(view: FrameView<'a>, outer: Outer) -> Self {
        let len = view.bytes.len().saturating_sub(DATAGRAM_HEADERS);
        Self { view, outer, pieces: None, size: len, len, next: None }
    }

    pub fn payload<'b>(&self, arena: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.pieces {
            Some(start) => arena.get(start..start + self.len).unwrap_or_default(),
            None => self.view.bytes.get(DATAGRAM_HEADERS..).unwrap_or_default(),
        }
    }

    pub const fn segments(&self) -> usize {
        if self.size == 0 { 1 } else { self.len.div_ceil(self.size) }
    }

    pub fn to(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.outer.dst, self.outer.dport)
    }

    pub fn lost(&self, reason: DropReason) -> Refusal {
        Refusal::Lost { reason, tunnel: Some((self.outer.vni, self.outer.dst)) }
    }

    /// The first datagram of it, as the frame it would be.
    pub fn too_large(&self, mtu: u16) -> Refusal {
        let inner = self.view.bytes.get(ENCAPSULATION..).unwrap_or_default();
        let offload = self.view.offload.unwrapped(ENCAPSULATION as u16);
        let first = FrameView { bytes: inner, offload }.first_segment();
        let macs = (MacAddr::from_ipv4(self.outer.dst), MacAddr::from_ipv4(self.outer.src));
        let headers = self.outer.headers(macs, first.len());
        Refusal::TooLarge { outer: [&headers[..], &first].concat(), mtu }
    }
}

/// A message that may still grow.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub to: SocketAddrV4,
    pub tos: u8,
    /// Bytes of each datagram but the last.
    pub size: usize,
    pub segments: usize,
    len: usize,
}

impl Open {
    /// Begins with an item.
    pub fn new(item: &Item<'_>) -> Self {
        let (size, len) = (item.size, item.len);
        Self { to: item.to(), tos: item.outer.tos, size, segments: item.segments(), len }
    }

    /// Adds an item; false if it does not fit: only the last datagram may be shorter.
    pub fn push(&mut self, item: &Item<'_>) -> bool {
        let is_full = self.len == self.segments * self.size;
        let goes_on = match item.segments() {
            1 => item.len <= self.size,
            _ => item.size == self.size,
        };
        let (segments, len) = (self.segments + item.segments(), self.len + item.len);
        let fits = is_full
            && goes_on
            && item.len > 0
            && segments <= MAX_SEGMENTS
            && len <= MAX_BYTES
            && (item.to(), item.outer.tos) == (self.to, self.tos);
        if fits {
            (self.segments, self.len) = (segments, len);
        }
        fits
    }
}

impl Item<'_> {
    /// The same memory for another list.
    pub const fn forget(self) -> Item<'static> {
        let Self { outer, pieces, size, len, next, .. } = self;
        Item { view: FrameView::finished(&[]), outer, pieces, size, len, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::vxlan::Vni;
    use std::net::Ipv4Addr;

    #[test]
    fn message_is_of_one_size_but_for_its_last_datagram() {
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let vni = Vni::try_from(42).unwrap();
        let outer = Outer { src, dst, sport: 50_000, dport: 4789, tos: 0, vni };
        let full = Item::whole(FrameView::finished(&[0; 542]), outer);
        let short = Item { len: full.len - 1, size: full.size - 1, ..full };
        let many = |count| Item { len: full.size * count, ..full };
        let ending = Item { len: full.size * 3 - 1, ..full };
        let elsewhere = Item { outer: Outer { dst: Ipv4Addr::BROADCAST, ..full.outer }, ..full };
        let marked = Item { outer: Outer { tos: 3, ..full.outer }, ..full };
        let takes = |first: Item<'_>, next: Item<'_>| Open::new(&first).push(&next);
        for next in [full, short, many(2), ending] {
            assert!(takes(full, next) && takes(many(4), next));
            assert!(!takes(ending, next));
        }
        assert!(takes(short, short) && !takes(short, full) && !takes(short, ending));
        assert!(!takes(full, elsewhere) && !takes(full, marked));
        assert!(takes(many(63), full) && !takes(many(64), full) && !takes(many(63), many(2)));
        let large = Item { len: MAX_BYTES - 10, size: MAX_BYTES - 10, ..full };
        assert!(!takes(large, full));
    }
}
