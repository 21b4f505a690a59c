//! Outer frames into datagrams.
//!
//! A super-frame is cut once, each piece behind its VXLAN header, and goes to the kernel as one
//! message that it cuts apart again (`UDP_SEGMENT`): the way through the kernel is taken once for
//! all of them. Finished frames that follow each other to one peer and are of one size share a
//! message as well, and are not copied. A flow's frames leave by one port, in their order; ports
//! may overtake each other.
//!
//! Bounds: [`MAX_SEGMENTS`] datagrams and [`MAX_BYTES`] bytes to a message; [`ARENA_BYTES`] of
//! pieces that wait, after which what waits is sent first. What the kernel refuses because of its
//! size is looked at frame by frame; nothing else is tried again.

use std::io::{self, IoSlice};
use std::net::SocketAddrV4;
use std::sync::Arc;

use super::cutting::{cut, room_for};
use super::outbox::{MAX_MESSAGES, Message, Outbox};
use super::pool::{Pool, SLOTS};
use crate::drop_reason::DropReason;
use crate::io::Refusal;
use crate::packet::vxlan::{DATAGRAM_HEADERS, ENCAPSULATION, Outer};
use crate::packet::{FrameView, MacAddr};

/// Most datagrams of a message: Linux before 6.10 takes no more.
pub(super) const MAX_SEGMENTS: usize = 64;
/// Most bytes of a message: what an IPv4 packet holds behind its own and the UDP header.
pub(super) const MAX_BYTES: usize = 65_507;
/// Bytes of pieces that wait to be sent: those of the largest super-frame in the smallest pieces.
const ARENA_BYTES: usize = 512 * 1024;
/// By how much a packet is larger than the payload of its datagram, in bytes.
const IP_AND_UDP: usize = 28;

/// Sends outer frames. One for each worker; the sockets are shared.
#[derive(Debug)]
pub(super) struct Sending {
    pool: Arc<Pool>,
    outbox: Outbox,
    arena: Vec<u8>,
    messages: Vec<Message>,
    /// By part of the messages, the item that it is.
    order: Vec<usize>,
    /// Empty between two lists; they keep their memory.
    items: Vec<Item<'static>>,
    parts: Vec<IoSlice<'static>>,
}

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
    const fn whole(view: FrameView<'a>, outer: Outer) -> Self {
        let len = view.bytes.len().saturating_sub(DATAGRAM_HEADERS);
        Self { view, outer, pieces: None, size: len, len, next: None }
    }

    fn payload<'b>(&self, arena: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.pieces {
            Some(start) => arena.get(start..start + self.len).unwrap_or_default(),
            None => self.view.bytes.get(DATAGRAM_HEADERS..).unwrap_or_default(),
        }
    }

    const fn segments(&self) -> usize {
        if self.size == 0 { 1 } else { self.len.div_ceil(self.size) }
    }

    fn to(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.outer.dst, self.outer.dport)
    }

    fn lost(&self, reason: DropReason) -> Refusal {
        Refusal::Lost { reason, tunnel: Some((self.outer.vni, self.outer.dst)) }
    }

    /// The first datagram of it, as the frame it would be.
    fn too_large(&self, mtu: u16) -> Refusal {
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
struct Open {
    to: SocketAddrV4,
    tos: u8,
    size: usize,
    segments: usize,
    len: usize,
}

impl Open {
    fn new(item: &Item<'_>) -> Self {
        let (size, len) = (item.size, item.len);
        Self { to: item.to(), tos: item.outer.tos, size, segments: item.segments(), len }
    }

    /// Adds an item; false if it does not fit: only the last datagram may be shorter.
    fn push(&mut self, item: &Item<'_>) -> bool {
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

impl Sending {
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            outbox: Outbox::new(),
            arena: vec![0; ARENA_BYTES],
            messages: Vec::new(),
            order: Vec::new(),
            items: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Another one with the same sockets.
    pub fn sharing(&self) -> Self {
        Self::new(self.pool.clone())
    }

    /// Sends frames; those that were not sent are appended to `refusals`.
    pub fn send<'a>(
        &mut self,
        frames: &mut dyn Iterator<Item = FrameView<'a>>,
        refusals: &mut Vec<Refusal>,
    ) {
        let mut items: Vec<Item<'a>> = std::mem::take(&mut self.items);
        let mut arena = std::mem::take(&mut self.arena);
        let most = if self.pool.cuts() { MAX_SEGMENTS } else { 1 };
        let mut used = 0;
        for view in frames {
            let outer = match Outer::parse(view.bytes) {
                Ok(outer) => outer,
                Err(reason) => {
                    refusals.push(Refusal::lost(reason));
                    continue;
                }
            };
            let item = Item::whole(view, outer);
            if view.offload.is_none() {
                items.push(item);
                continue;
            }
            if used + room_for(view) > arena.len() {
                self.flush(&mut items, &arena, refusals);
                used = 0;
            }
            match cut(item, most, (&mut arena, used), &mut items) {
                Some(end) => used = end,
                None => refusals.push(item.lost(DropReason::VnetHeader)),
            }
        }
        self.flush(&mut items, &arena, refusals);
        self.arena = arena;
        self.items = items.into_iter().map(|item| item.forget()).collect();
    }

    /// Sends what waits, port by port.
    fn flush(&mut self, items: &mut Vec<Item<'_>>, arena: &[u8], refusals: &mut Vec<Refusal>) {
        let firsts = self.chain(items);
        let mut parts: Vec<IoSlice<'_>> = std::mem::take(&mut self.parts);
        for (slot, first) in firsts.into_iter().enumerate() {
            if first.is_none() {
                continue;
            }
            parts.clear();
            self.arrange(first, items, |item| parts.push(IoSlice::new(item.payload(arena))));
            self.send_all(slot, (items, &parts), refusals);
        }
        parts.clear();
        self.parts = parts.into_iter().map(|_| IoSlice::new(&[])).collect();
        items.clear();
    }

    /// Links the items of each port; gives the first of each.
    fn chain(&self, items: &mut [Item<'_>]) -> [Option<usize>; SLOTS] {
        let mut firsts = [None; SLOTS];
        // From the end, so that each knows its follower.
        for index in (0..items.len()).rev() {
            let Some(item) = items.get_mut(index) else { break };
            if let Some(first) = firsts.get_mut(self.pool.slot_of(item.outer.sport)) {
                item.next = first.replace(index);
            }
        }
        firsts
    }

    /// Puts the items of a port into messages; `add` gets each item, which is the next part.
    fn arrange<'a>(
        &mut self,
        first: Option<usize>,
        items: &[Item<'a>],
        mut add: impl FnMut(&Item<'a>),
    ) {
        self.messages.clear();
        self.order.clear();
        let packs = self.pool.cuts();
        let mut open: Option<Open> = None;
        let mut at = first;
        while let Some((index, item)) = at.and_then(|at| Some((at, items.get(at)?))) {
            let end = self.order.len() + 1;
            let is_added = packs && open.as_mut().is_some_and(|open| open.push(item));
            let now = if is_added { open } else { Some(Open::new(item)) };
            if let Some(now) = now {
                let is_cut = now.segments > 1;
                let size = u16::try_from(now.size).ok().filter(|_| is_cut);
                let start = end - 1;
                match self.messages.last_mut().filter(|_| is_added) {
                    Some(last) => (last.size, last.parts.end) = (size, end),
                    None => self.messages.push(Message {
                        to: now.to,
                        tos: now.tos,
                        size,
                        parts: start..end,
                    }),
                }
            }
            open = now;
            self.order.push(index);
            add(item);
            at = item.next;
        }
    }

    /// Sends the messages of a port.
    fn send_all(
        &mut self,
        slot: usize,
        (items, parts): (&[Item<'_>], &[IoSlice<'_>]),
        refusals: &mut Vec<Refusal>,
    ) {
        let messages = std::mem::take(&mut self.messages);
        let mut rest = messages.as_slice();
        while let Some(message) = rest.first() {
            let is_cut = message.size.is_some();
            let same = rest.iter().take_while(|other| other.size.is_some() == is_cut);
            let (run, _) = rest.split_at(same.count().min(MAX_MESSAGES));
            let Some(socket) = self.pool.socket(slot, is_cut) else { break };
            let done = match self.outbox.send(socket, run, parts) {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    self.look_into(slot, (message, &error), (items, parts), refusals);
                    1
                }
            };
            rest = rest.get(done..).unwrap_or_default();
        }
        self.messages = messages;
    }

    /// A message was refused: what of it can be sent in another way, and why not the rest.
    fn look_into(
        &mut self,
        slot: usize,
        (message, error): (&Message, &io::Error),
        (items, parts): (&[Item<'_>], &[IoSlice<'_>]),
        refusals: &mut Vec<Refusal>,
    ) {
        let is_cut = message.size.is_some();
        let code = error.raw_os_error();
        if code == Some(libc::EIO) && is_cut {
            self.pool.cuts_no_more();
        }
        let is_size = code == Some(libc::EMSGSIZE) || (is_cut && code == Some(libc::EINVAL));
        let is_another_way = is_size || (is_cut && code == Some(libc::EIO));
        let mtu = is_size.then(|| self.pool.path_mtu(*message.to.ip()).ok()).flatten();
        for at in message.parts.clone() {
            let item = self.order.get(at).and_then(|index| items.get(*index));
            let Some((item, part)) = item.zip(parts.get(at)) else { continue };
            let too_large = mtu.filter(|mtu| item.size + IP_AND_UDP > usize::from(*mtu));
            let refused = match too_large {
                Some(mtu) => Err(item.too_large(mtu)),
                None if is_another_way => self.send_apart(slot, is_cut, (item, part)),
                None => Err(item.lost(reason_of(error))),
            };
            refusals.extend(refused.err());
        }
    }

    /// Sends each datagram of an item by a call of its own.
    fn send_apart(
        &mut self,
        slot: usize,
        is_cut: bool,
        (item, payload): (&Item<'_>, &[u8]),
    ) -> Result<(), Refusal> {
        let socket = self.pool.socket(slot, is_cut).ok_or(item.lost(DropReason::VxlanNoWay))?;
        let message = Message { to: item.to(), tos: item.outer.tos, size: None, parts: 0..1 };
        for datagram in payload.chunks(item.size.max(1)) {
            let sent =
                self.outbox.send(socket, std::slice::from_ref(&message), &[IoSlice::new(datagram)]);
            sent.map_err(|error| item.lost(reason_of(&error)))?;
        }
        Ok(())
    }
}

impl Item<'_> {
    /// The same memory for another list.
    const fn forget(self) -> Item<'static> {
        let Self { outer, pieces, size, len, next, .. } = self;
        Item { view: FrameView::finished(&[]), outer, pieces, size, len, next }
    }
}

/// Why a datagram is lost that the kernel refused.
fn reason_of(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::TxQueueFull,
        // The last two: the address that it is to come from is not this host's any more.
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL
            | libc::EINVAL,
        ) => DropReason::VxlanNoWay,
        Some(libc::EMSGSIZE) => DropReason::FragmentationNeeded,
        _ => DropReason::TxError,
    }
}
