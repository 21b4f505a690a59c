//! The session table: translated connections, found by the key of either direction.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::{Endpoint, TcpPhase, TcpState, Tuple};
use crate::packet::{FlowKey, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::table::{HashIndex, NONE, Slab};
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

/// A translated connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Packets of the direction that made it, as they come in.
    pub original: FlowKey,
    /// Packets back, as they come in.
    pub reply: FlowKey,
    /// When it was last refreshed.
    pub last_seen: Instant,
    /// TCP only.
    pub tcp: TcpState,
    /// Whether packets of the original direction refresh it.
    pub original_refreshes: bool,
    /// Whether packets of the reply direction refresh it (RFC 4787 REQ-6a).
    pub reply_refreshes: bool,
    /// The far side's filter does not admit the original direction until a reply came: the state
    /// of a hairpin to a dynamic mapping that was sent to first from this side.
    pub awaits_reply: bool,
    /// The port it came to is published.
    pub is_published: bool,
    /// A reply was seen.
    pub is_answered: bool,
    pub(super) is_transitory: bool,
    /// The external endpoint it shares with sessions to other destinations.
    pub(super) overloads: Option<Endpoint>,
    pub(super) mappings: [u32; 2],
    pub(super) host: u32,
}

impl Session {
    /// A session of a snapshot; the table fills in what hangs on its own records.
    pub const fn restored(
        (original, reply): (FlowKey, FlowKey),
        last_seen: Instant,
        tcp: TcpState,
        (original_refreshes, reply_refreshes): (bool, bool),
        (is_published, is_answered): (bool, bool),
    ) -> Self {
        Self {
            original,
            reply,
            last_seen,
            tcp,
            original_refreshes,
            reply_refreshes,
            awaits_reply: false,
            is_published,
            is_answered,
            is_transitory: false,
            overloads: None,
            mappings: [NONE; 2],
            host: NONE,
        }
    }

    /// The same, sharing its external endpoint ([`NatMode::Apdm`](super::NatMode::Apdm)).
    #[must_use]
    pub const fn overloaded(self) -> Self {
        Self { overloads: Some(Endpoint::new(self.reply.dst, self.reply.dport)), ..self }
    }

    /// True if other sessions may share its external endpoint.
    pub const fn is_overloaded(&self) -> bool {
        self.overloads.is_some()
    }

    /// The key of packets of one direction as they come in.
    pub const fn key(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Original => self.original,
            Direction::Reply => self.reply,
        }
    }

    /// Addresses and ports of packets of one direction as they leave.
    pub fn translated(&self, direction: Direction) -> Tuple {
        Tuple::from(self.key(direction.opposite())).reversed()
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

/// Sessions by key. One index holds both directions: the low bit of an entry is the direction.
#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Slab<Session>,
    index: HashIndex,
    hasher: FixedState,
}

impl Sessions {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.min(1 << 30);
        Self {
            sessions: Slab::new(capacity),
            index: HashIndex::new(capacity * 2),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(super) fn find(&self, key: &FlowKey) -> Option<(u32, Direction)> {
        let found = self.index.find(self.hasher.hash_one(key), |entry| {
            let (index, direction) = split(entry);
            self.sessions.get(index).is_some_and(|session| session.key(direction) == *key)
        })?;
        Some(split(found))
    }

    pub(super) fn insert(&mut self, session: Session) -> Option<u32> {
        let original = self.hasher.hash_one(session.original);
        let reply = self.hasher.hash_one(session.reply);
        let index = self.sessions.insert(session).ok()?;
        if self.index.insert(original, join(index, Direction::Original)).is_err() {
            self.sessions.remove(index);
            return None;
        }
        if self.index.insert(reply, join(index, Direction::Reply)).is_err() {
            self.index.remove(original, join(index, Direction::Original));
            self.sessions.remove(index);
            return None;
        }
        Some(index)
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Session> {
        let session = self.sessions.remove(index)?;
        for direction in [Direction::Original, Direction::Reply] {
            let hash = self.hasher.hash_one(session.key(direction));
            self.index.remove(hash, join(index, direction));
        }
        Some(session)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Session> {
        self.sessions.get(index)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.sessions.get_mut(index)
    }

    pub(super) fn generation(&self, index: u32) -> u32 {
        self.sessions.generation(index)
    }

    pub(super) const fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.sessions.is_full()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.sessions.capacity()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.sessions.iter()
    }
}

const fn join(index: u32, direction: Direction) -> u32 {
    index << 1 | matches!(direction, Direction::Reply) as u32
}

const fn split(entry: u32) -> (u32, Direction) {
    let direction = if entry & 1 == 1 { Direction::Reply } else { Direction::Original };
    (entry >> 1, direction)
}
