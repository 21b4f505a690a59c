//! The session table: translated connections, found by the key of either direction.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Endpoint, Rewrite, TcpPhase, TcpState, Tuple, rewrite};
use crate::packet::{Delta, FlowKey, MacAddr, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::table::{HashIndex, KeyHash, Slab, prefetch, reserve};
use crate::time::Instant;

/// Which way a packet of a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// As the packet that made the session.
    Original,
    /// Back.
    Reply,
}

/// How long a session lives without traffic, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// UDP (RFC 4787 REQ-5: at least 120, 300 recommended).
    pub udp_s: u32,
    /// TCP not yet established (RFC 5382 REQ-5: at least 240).
    pub tcp_opening_s: u32,
    /// TCP established (RFC 5382 REQ-5: at least 7440).
    pub tcp_established_s: u32,
    /// TCP closed or reset (RFC 5382 REQ-5: at least 240).
    pub tcp_closing_s: u32,
    /// ICMP queries (RFC 5508 REQ-2: at least 60).
    pub icmp_s: u32,
    /// Protocols without ports.
    pub other_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp_s: 300,
            tcp_opening_s: 240,
            tcp_established_s: 7440,
            tcp_closing_s: 240,
            icmp_s: 60,
            other_s: 600,
        }
    }
}

/// What somebody else remembers with a direction of a session: where its packets leave. Nothing
/// here reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopRef {
    /// The neighbour they go to.
    pub neighbour: u32,
    /// Which of the ways to that neighbour, of all there ever were; 0: none.
    pub stamp: u32,
}

/// A translated connection, and all that a packet of it touches, in one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Session {
    /// Packets of the direction that made it, as they come in.
    pub original: FlowKey,
    /// Packets back, as they come in.
    pub reply: FlowKey,
    /// When it was last refreshed.
    pub last_seen: Instant,
    hops: [HopRef; 2],
    ip_delta: Delta,
    transport_delta: Delta,
    /// TCP only.
    pub tcp: TcpState,
    flags: u8,
}

const _: () = assert!(size_of::<Session>() == 64);

/// Packets of the original direction refresh it.
pub(super) const ORIGINAL_REFRESHES: u8 = 1;
/// Packets of the reply direction refresh it (RFC 4787 REQ-6a).
pub(super) const REPLY_REFRESHES: u8 = 1 << 1;
/// The far side's filter does not admit the original direction until a reply came: the state of a
/// hairpin to a dynamic mapping that was sent to first from this side.
pub(super) const AWAITS_REPLY: u8 = 1 << 2;
/// The port it came to, or leaves by, is published.
pub(super) const PUBLISHED: u8 = 1 << 3;
/// A reply was seen.
pub(super) const ANSWERED: u8 = 1 << 4;
/// It is among those that may be recycled.
pub(super) const TRANSITORY: u8 = 1 << 5;
/// It shares its external endpoint, the reply's destination, with sessions to other destinations.
pub(super) const OVERLOADED: u8 = 1 << 6;
/// Addresses or ports change.
const TRANSLATED: u8 = 1 << 7;

impl Session {
    /// A session seen now; `flags` are the constants above.
    pub(super) fn new(
        (original, reply): (FlowKey, FlowKey),
        last_seen: Instant,
        tcp: TcpState,
        flags: u8,
    ) -> Self {
        let (from, to) = (Tuple::from(original), Tuple::from(reply).reversed());
        let (ip_delta, transport_delta) = rewrite::deltas(original.protocol, from, to);
        Self {
            original,
            reply,
            last_seen,
            hops: [HopRef::default(); 2],
            ip_delta,
            transport_delta,
            tcp,
            flags: if from == to { flags } else { flags | TRANSLATED },
        }
    }

    /// A session of a snapshot.
    pub fn restored(
        keys: (FlowKey, FlowKey),
        last_seen: Instant,
        tcp: TcpState,
        (original_refreshes, reply_refreshes): (bool, bool),
        (is_published, is_answered): (bool, bool),
    ) -> Self {
        let flags = [
            (ORIGINAL_REFRESHES, original_refreshes),
            (REPLY_REFRESHES, reply_refreshes),
            (PUBLISHED, is_published),
            (ANSWERED, is_answered),
        ];
        let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
        Self::new(keys, last_seen, tcp, flags.fold(0, |bits, (flag, _)| bits | flag))
    }

    /// What lies where no session is: its keys are those of no packet.
    fn vacant() -> Self {
        Self::new((FlowKey::NONE, FlowKey::NONE), Instant::ZERO, TcpState::default(), 0)
    }

    /// The same, sharing its external endpoint ([`NatMode::Apdm`](super::NatMode::Apdm)).
    #[must_use]
    pub const fn overloaded(self) -> Self {
        Self { flags: self.flags | OVERLOADED, ..self }
    }

    /// Whether packets of the original and the reply direction refresh it.
    pub const fn refreshes(&self) -> (bool, bool) {
        (self.has(ORIGINAL_REFRESHES), self.has(REPLY_REFRESHES))
    }

    /// True until a reply came where the far side's filter admits nothing before.
    pub const fn awaits_reply(&self) -> bool {
        self.has(AWAITS_REPLY)
    }

    /// True if the port it came to, or leaves by, is published.
    pub const fn is_published(&self) -> bool {
        self.has(PUBLISHED)
    }

    /// True if a reply was seen.
    pub const fn is_answered(&self) -> bool {
        self.has(ANSWERED)
    }

    /// True if other sessions may share its external endpoint.
    pub const fn is_overloaded(&self) -> bool {
        self.has(OVERLOADED)
    }

    /// The external endpoint it shares with sessions to other destinations.
    pub(super) fn overloads(&self) -> Option<Endpoint> {
        self.is_overloaded().then_some(Endpoint::new(self.reply.dst, self.reply.dport))
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn set(&mut self, flag: u8, is_set: bool) {
        self.flags = if is_set { self.flags | flag } else { self.flags & !flag };
    }

    /// The key of packets of one direction as they come in.
    #[inline(always)]
    pub const fn key(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Original => self.original,
            Direction::Reply => self.reply,
        }
    }

    /// Addresses and ports of packets of one direction as they leave.
    #[inline(always)]
    pub fn translated(&self, direction: Direction) -> Tuple {
        Tuple::from(self.key(direction.opposite())).reversed()
    }

    /// Where packets of one direction leave, as was noted last.
    #[inline(always)]
    pub const fn hop(&self, direction: Direction) -> HopRef {
        let [original, reply] = self.hops;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    pub(super) const fn set_hop(&mut self, direction: Direction, hop: HopRef) {
        let [original, reply] = &mut self.hops;
        match direction {
            Direction::Original => *original = hop,
            Direction::Reply => *reply = hop,
        }
    }

    /// True if packets of one direction leave with another source address.
    #[inline(always)]
    pub fn gives_new_source(&self, direction: Direction) -> bool {
        self.key(direction).src != self.key(direction.opposite()).dst
    }

    /// The change that packets of one direction undergo, with the MACs they leave with.
    #[inline(always)]
    pub fn rewrite(&self, direction: Direction, macs: (MacAddr, MacAddr)) -> Rewrite {
        let (ip_delta, transport_delta) = match direction {
            Direction::Original => (self.ip_delta, self.transport_delta),
            Direction::Reply => (self.ip_delta.reversed(), self.transport_delta.reversed()),
        };
        let to = self.translated(direction);
        Rewrite {
            dst_mac: macs.1,
            src_mac: macs.0,
            to,
            ip_delta,
            transport_delta,
            protocol: self.original.protocol,
            is_translated: self.has(TRANSLATED),
            has_new_source: self.gives_new_source(direction),
            keeps_ttl: false,
        }
    }

    /// True if a packet changes nothing but the time of last use: the state is what it stays.
    #[inline(always)]
    pub(super) const fn is_steady(&self, direction: Direction, tcp_flags: u8) -> bool {
        (self.has(ANSWERED) || matches!(direction, Direction::Original))
            && (self.original.protocol != PROTOCOL_TCP || !self.tcp.wants(tcp_flags))
    }

    /// True if packets of one direction refresh it.
    #[inline(always)]
    pub(super) const fn is_refreshed_by(&self, direction: Direction) -> bool {
        self.has(match direction {
            Direction::Original => ORIGINAL_REFRESHES,
            Direction::Reply => REPLY_REFRESHES,
        })
    }

    /// How long it lives without traffic.
    pub fn timeout(&self, timeouts: &Timeouts) -> Duration {
        let secs = match (self.original.protocol, self.tcp.phase()) {
            (PROTOCOL_TCP, TcpPhase::Opening) => timeouts.tcp_opening_s,
            (PROTOCOL_TCP, TcpPhase::Established) => timeouts.tcp_established_s,
            (PROTOCOL_TCP, TcpPhase::Closing) => timeouts.tcp_closing_s,
            (PROTOCOL_UDP, _) => timeouts.udp_s,
            (PROTOCOL_ICMP, _) => timeouts.icmp_s,
            _ => timeouts.other_s,
        };
        Duration::from_secs(u64::from(secs))
    }

    /// When it ends unless refreshed.
    pub fn deadline(&self, timeouts: &Timeouts) -> Instant {
        self.last_seen + self.timeout(timeouts)
    }
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// What a session holds in other tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holdings {
    /// The mapping of its source, and that of its destination.
    pub mappings: [u32; 2],
    /// The inside host it is counted against.
    pub host: u32,
}

/// Sessions by key. One index holds both directions: the low bit of an entry is the direction.
/// What packets touch lies apart from what only opening and ending need.
#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Vec<Session>,
    holdings: Slab<Holdings>,
    index: HashIndex,
    hasher: KeyHash,
}

impl Sessions {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.min(1 << 30);
        Self {
            sessions: reserve(capacity),
            holdings: Slab::new(capacity),
            index: HashIndex::new(capacity * 2),
            hasher: KeyHash::new(seed),
        }
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &FlowKey) -> u64 {
        self.hasher.hash(*key)
    }

    #[inline(always)]
    pub(super) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Where the session of a hash lies, most likely; asks for its memory.
    #[inline(always)]
    pub(super) fn guess(&self, hash: u64) -> Option<(u32, Direction)> {
        let (index, direction) = split(self.index.guess(hash)?);
        prefetch(&self.sessions, index as usize);
        Some((index, direction))
    }

    #[inline]
    pub(super) fn find(&self, key: &FlowKey, hash: u64) -> Option<(u32, Direction)> {
        let found = self.index.find(hash, |entry| {
            let (index, direction) = split(entry);
            self.is_of(index, direction, key)
        })?;
        Some(split(found))
    }

    /// True if the session at `index` is the one of a key. A key never has two.
    #[inline(always)]
    pub(super) fn is_of(&self, index: u32, direction: Direction, key: &FlowKey) -> bool {
        self.sessions.get(index as usize).is_some_and(|session| session.key(direction) == *key)
    }

    /// Enters a session with the hashes of its keys.
    pub(super) fn insert(
        &mut self,
        (session, [original, reply]): (Session, [u64; 2]),
        holdings: Holdings,
    ) -> Option<u32> {
        let index = self.holdings.insert(holdings).ok()?;
        if self.index.insert(original, join(index, Direction::Original)).is_err() {
            self.holdings.remove(index);
            return None;
        }
        if self.index.insert(reply, join(index, Direction::Reply)).is_err() {
            self.index.remove(original, join(index, Direction::Original));
            self.holdings.remove(index);
            return None;
        }
        match self.sessions.get_mut(index as usize) {
            Some(slot) => *slot = session,
            None => self.sessions.push(session),
        }
        Some(index)
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<(Session, Holdings)> {
        let holdings = self.holdings.remove(index)?;
        let slot = self.sessions.get_mut(index as usize)?;
        let session = std::mem::replace(slot, Session::vacant());
        for direction in [Direction::Original, Direction::Reply] {
            let hash = self.hash(&session.key(direction));
            self.index.remove(hash, join(index, direction));
        }
        Some((session, holdings))
    }

    /// The session at `index`; one that has ended has the key of no packet.
    #[inline(always)]
    pub(super) fn get(&self, index: u32) -> Option<&Session> {
        self.sessions.get(index as usize)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.sessions.get_mut(index as usize)
    }

    pub(super) fn holdings(&self, index: u32) -> Option<&Holdings> {
        self.holdings.get(index)
    }

    pub(super) const fn len(&self) -> usize {
        self.holdings.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.holdings.is_full()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.holdings.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Session, &Holdings)> {
        self.holdings
            .iter()
            .filter_map(|(index, holdings)| Some((index, self.get(index)?, holdings)))
    }
}

const fn join(index: u32, direction: Direction) -> u32 {
    index << 1 | matches!(direction, Direction::Reply) as u32
}

#[inline(always)]
const fn split(entry: u32) -> (u32, Direction) {
    let direction = if entry & 1 == 1 { Direction::Reply } else { Direction::Original };
    (entry >> 1, direction)
}
