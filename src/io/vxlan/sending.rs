//! Outer frames into datagrams.
//!
//! A super-frame is cut once, each piece behind its VXLAN header, and goes to the kernel as one
//! message that it cuts apart again (`UDP_SEGMENT`): the way through the kernel is taken once for
//! all of them. Finished frames that follow each other to one peer and are of one size share a
//! message as well, and are not copied. A flow's frames leave by one port, in their order; ports
//! may overtake each other.
//!
//! Bounds: [`MAX_SEGMENTS`] datagrams and [`MAX_BYTES`](super::item::MAX_BYTES) bytes to a message; [`ARENA_BYTES`] of
//! pieces that wait, after which what waits is sent first. What the kernel refuses because of its
//! size is looked at frame by frame; nothing else is tried again.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::cutting::{cut, room_for};
use super::item::{Item, MAX_SEGMENTS, Open};
use super::outbox::{MAX_MESSAGES, Message, Outbox};
use super::pool::{Pool, SLOTS};
use crate::drop_reason::DropReason;
use crate::io::Refusal;
use crate::packet::FrameView;
use crate::packet::vxlan::Outer;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Endpoint;
    use crate::packet::vxlan::{DATAGRAM_HEADERS, ENCAPSULATION, Vni};
    use crate::packet::{Gso, Headers, MacAddr, Offload};
    use crate::testkit::build;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    const OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// A super-frame of ten segments, or ten frames, for whoever listens at `dport`.
    fn frames(dport: u16) -> (Vec<u8>, Offload, Vec<Vec<u8>>) {
        let hop = build::Hop::new(MacAddr([2; 6]), MacAddr([4; 6]));
        let at = |last| Endpoint::new(Ipv4Addr::new(10, 0, 0, last), 7);
        let data: Vec<u8> = (0..5000).map(|at| (at * 7) as u8).collect();
        let (mut whole, _) = build::unfinished(&build::tcp(hop, at(1), at(2), 0x10, &data));
        let offload = Offload::partial(34, 16).segmented(Gso::Tcp4, 500);
        let offload = offload.admit(&Headers::parse(&whole).unwrap(), &mut whole).unwrap();
        let vni = Vni::try_from(42).unwrap();
        let outer = Outer { src: OWN, dst: OWN, sport: 50_000, dport, tos: 0, vni };
        let wrap = |inner: &[u8]| {
            let headers = outer.headers((MacAddr::ZERO, MacAddr::ZERO), inner.len());
            [&headers[..], inner].concat()
        };
        let mut pieces = Vec::new();
        let view = FrameView { bytes: &whole, offload };
        view.for_each_segment(&mut Vec::new(), |piece| pieces.push(wrap(piece)));
        (wrap(&whole), offload.wrapped(ENCAPSULATION as u16), pieces)
    }

    fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut room = vec![0; 1 << 16];
        let mut read = || socket.recv(&mut room).map(|len| room[..len].to_vec()).unwrap();
        (0..count).map(|_| read()).collect()
    }

    #[test]
    fn where_the_kernel_cuts_nothing_each_datagram_is_a_message() {
        let listener = UdpSocket::bind((OWN, 0)).unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (whole, offload, pieces) = frames(listener.local_addr().unwrap().port());
        let payloads: Vec<&[u8]> = pieces.iter().map(|piece| &piece[DATAGRAM_HEADERS..]).collect();
        let pool = Arc::new(Pool::open(OWN, None).unwrap());
        let mut sending = Sending::new(pool.clone());
        for is_cut in [true, false] {
            let mut refusals = Vec::new();
            let view = FrameView { bytes: &whole, offload };
            let finished = pieces.iter().map(|piece| FrameView::finished(piece));
            sending.send(&mut std::iter::once(view).chain(finished), &mut refusals);
            assert_eq!(refusals, []);
            let messages = sending.messages.len();
            assert_eq!(messages, if is_cut { 1 } else { 20 });
            let got = received(&listener, 20);
            assert_eq!(got, [&payloads[..], &payloads[..]].concat());
            pool.cuts_no_more();
        }
    }
}
