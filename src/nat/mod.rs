//! Layer 4: sessions, mappings, published ports, and what they do to a packet.
//!
//! [`Nat`] decides and remembers; it never sees a frame. Mapping is endpoint-independent by
//! default, so an inside endpoint keeps one external endpoint towards everybody; filtering is by
//! mode ([`NatMode`]). TCP is tracked only to know a session's lifetime.
//!
//! Bounds: sessions in all and per inside host, external ports per host. At a bound the host's
//! own transitory sessions (TCP that opens, is closed or reset) are recycled, oldest first; at the
//! table's bound anybody's. Ports are not: without a free one the packet ends under a name. A live
//! session is never ended to make room (RFC 6888 REQ-11).
//!
//! Read first: RFC 4787, RFC 5382, RFC 5508, RFC 7857.
#![warn(clippy::indexing_slicing)]

mod destination;
mod external_ports;
mod fragment;
mod host;
mod host_sessions;
mod ip_id;
mod lease;
mod lifetime;
mod mapping;
mod mode;
mod opening;
mod port_pool;
mod publish;
mod quote;
mod random;
mod restore;
mod rewrite;
mod session;
mod settings;
mod share;
mod source;
mod tcp_state;
mod tuple;

use std::collections::HashMap;
use std::time::Duration;

use foldhash::quality::FixedState;

use crate::id::NetworkId;
use crate::packet::{FlowKey, PortSpan};
use crate::table::{Links, List, TimerWheel};
use crate::time::Instant;

use external_ports::Pools;
use host::Hosts;
use host_sessions::HostSessions;
use ip_id::IpIds;
use mapping::Mappings;
use session::Sessions;

pub use destination::{Destination, StaticNat};
pub use fragment::{DatagramKey, Expired, FragmentDecision, Fragments};
pub use lease::PortLeases;
pub use mapping::Mapping;
pub use mode::{NatMode, NatPolicy};
pub use opening::{Opening, Source};
pub use publish::{Publish, PublishConflict, Publishes};
pub use quote::Quote;
pub use random::Random;
pub use rewrite::Rewrite;
pub use session::{Direction, HopRef, Session, Timeouts};
pub use settings::NatSettings;
pub use share::Share;
pub use tcp_state::{TcpPhase, TcpState};
pub use tuple::{Endpoint, Tuple};

/// Ticks and slots of the session timers: one turn is a little over two hours, as the longest
/// lifetime.
const TICK: Duration = Duration::from_secs(1);
const TURN: usize = 8192;

/// The NAPT of one engine.
#[derive(Debug)]
pub struct Nat {
    settings: NatSettings,
    /// Of networks that have their own.
    timeouts: HashMap<NetworkId, Timeouts, FixedState>,
    sessions: Sessions,
    mappings: Mappings,
    hosts: Hosts,
    host_sessions: HostSessions,
    /// Ports of the external addresses, by address and protocol.
    pools: Pools,
    share: Share,
    /// The external ports that may be given out.
    span: PortSpan,
    /// Sessions per external endpoint that several may share ([`NatMode::Apdm`]).
    overloads: HashMap<(u8, Endpoint), u32, FixedState>,
    publishes: Publishes,
    statics: Vec<StaticNat>,
    wheel: TimerWheel,
    transitory: List,
    transitory_links: Links,
    host_links: Links,
    ip_ids: IpIds,
    random: Random,
}

impl Nat {
    /// An empty NAPT; `seed` must be secret, and the same for all who share external addresses.
    pub fn new(settings: NatSettings, seed: u128, now: Instant, share: Share) -> Self {
        let mut random = Random::new(seed);
        Self {
            settings,
            timeouts: HashMap::default(),
            sessions: Sessions::new(settings.sessions, random.next_u64()),
            mappings: Mappings::new(settings.sessions, random.next_u64()),
            hosts: Hosts::new(settings.sessions.saturating_mul(2), random.next_u64()),
            pools: HashMap::with_hasher(FixedState::with_seed(random.next_u64())),
            overloads: HashMap::with_hasher(FixedState::with_seed(random.next_u64())),
            publishes: Publishes::default(),
            statics: Vec::new(),
            wheel: TimerWheel::new(TICK, TURN, now, settings.sessions),
            transitory: List::default(),
            transitory_links: Links::default(),
            host_links: Links::default(),
            ip_ids: IpIds::new(&mut random, share.worker, share.workers),
            host_sessions: HostSessions::new(settings.sessions, random.next_u64()),
            random: random.of_worker(share.worker),
            share,
            span: PortSpan::ALL,
        }
    }

    /// The session a packet belongs to, and its direction.
    pub fn find(&self, key: &FlowKey) -> Option<(u32, Direction)> {
        self.sessions.find(key, self.sessions.hash(key))
    }

    /// The hash of a key, so that the keys of a burst can be hashed at once.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.sessions.hash(key)
    }

    /// Asks for the memory to look a hash up in.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.sessions.prefetch_index(hash);
    }

    /// The session that a hash most likely means; asks for its memory.
    #[inline(always)]
    pub fn guess(&self, hash: u64) -> Option<(u32, Direction)> {
        self.sessions.guess(hash)
    }

    /// As [`Nat::find`], with what [`Nat::hash`] and [`Nat::guess`] gave before. A right
    /// guess spares the search; whatever happened since, the answer is exact.
    #[inline(always)]
    pub fn find_guessed(
        &self,
        key: &FlowKey,
        hash: u64,
        guess: Option<(u32, Direction)>,
    ) -> Option<(u32, Direction)> {
        match guess {
            Some((index, direction)) if self.sessions.is_of(index, direction, key) => guess,
            _ => self.sessions.find(key, hash),
        }
    }

    /// The session at `index`; if it has ended, one with keys of no packet.
    #[inline(always)]
    pub fn session(&self, index: u32) -> Option<&Session> {
        self.sessions.get(index)
    }

    /// Notes where packets of one direction of a session leave, see [`Session::hop`].
    pub fn set_hop(&mut self, index: u32, direction: Direction, hop: HopRef) {
        if let Some(session) = self.sessions.get_mut(index) {
            session.set_hop(direction, hop);
        }
    }

    /// Sessions now, and at most.
    pub const fn usage(&self) -> (usize, usize) {
        (self.sessions.len(), self.sessions.capacity())
    }

    /// An identification for a packet whose source address is shared.
    pub fn next_ip_id(&mut self) -> u16 {
        self.ip_ids.next()
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().map(|(_, session, _)| session)
    }

    /// All dynamic mappings.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().map(|(_, mapping)| mapping)
    }

    /// All sessions, each with the mapping of its source and that of its destination.
    pub fn mapped_sessions(
        &self,
    ) -> impl Iterator<Item = (&Session, Option<&Mapping>, Option<&Mapping>)> {
        self.sessions.iter().map(|(_, session, holdings)| {
            let [own, far] = holdings.mappings;
            (session, self.mappings.get(own), self.mappings.get(far))
        })
    }

    /// The lifetimes that hold for a session: those of its client's network, else those of its
    /// server's, else those of all.
    pub fn timeouts_of(&self, session: &Session) -> &Timeouts {
        let ends = [session.original.network, session.reply.network];
        let own = ends.into_iter().find_map(|network| self.timeouts.get(&network));
        own.unwrap_or(&self.settings.timeouts)
    }

    /// Gives a network lifetimes of its own, or none. Sessions that exist follow when their time
    /// is next looked at.
    pub fn set_timeouts(&mut self, network: NetworkId, timeouts: Option<Timeouts>) {
        match timeouts {
            Some(timeouts) => drop(self.timeouts.insert(network, timeouts)),
            None => drop(self.timeouts.remove(&network)),
        }
    }
}
