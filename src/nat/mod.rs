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

mod fragment;
mod host;
mod ip_id;
mod lease;
mod mapping;
mod mode;
mod port_pool;
mod publish;
mod quote;
mod random;
mod restore;
mod rewrite;
mod session;
mod share;
mod source;
mod tcp_state;
mod tuple;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::drop_reason::DropReason;
use crate::id::{NetworkId, WorkerId};
use crate::packet::{FlowKey, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PortSpan};
use crate::table::{Links, List, NONE, TimerWheel};
use crate::time::Instant;

use host::Hosts;
use ip_id::IpIds;
use lease::Lessee;
use mapping::Mappings;
use port_pool::PortPool;
use session::{Holdings, Sessions};

pub use fragment::{DatagramKey, Expired, FragmentDecision, Fragments};
pub use lease::PortLeases;
pub use mapping::Mapping;
pub use mode::{NatMode, NatPolicy};
pub use publish::{Publish, PublishConflict, Publishes};
pub use quote::Quote;
pub use random::Random;
pub use rewrite::Rewrite;
pub use session::{Direction, HopRef, Session, Timeouts};
pub use share::Share;
pub use tcp_state::{TcpPhase, TcpState};
pub use tuple::{Endpoint, Tuple};

/// Ticks and slots of the session timers: one turn is a little over two hours, as the longest
/// lifetime.
const TICK: Duration = Duration::from_secs(1);
const TURN: usize = 8192;
/// Sessions looked at for one that may be recycled.
const MAX_RECYCLE_TRIES: usize = 16;

/// Bounds and timers of the NAPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatSettings {
    /// Sessions in all.
    pub sessions: usize,
    /// Sessions of one inside host.
    pub sessions_per_host: usize,
    /// External ports of one inside host, per protocol.
    pub ports_per_host: usize,
    /// How long a released external port rests (RFC 6888 REQ-8).
    pub quarantine: Duration,
    /// Lifetimes.
    pub timeouts: Timeouts,
}

/// What a packet's destination means to the NAPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Nothing: it is where the packet goes.
    Plain,
    /// A published port; the packet goes to this inside endpoint.
    Published(NetworkId, Endpoint),
    /// The external address of a static 1:1 translation.
    Static(NetworkId, Endpoint),
    /// A dynamic mapping.
    Mapping(u32),
}

/// What happens to a packet's source when a session is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// It stays.
    Keep,
    /// It becomes an external endpoint out of these addresses.
    Masquerade(NatMode, &'a [Ipv4Addr]),
    /// It becomes this address: a host that reaches itself by its published port.
    Gateway(Ipv4Addr),
}

/// A session to be made.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The packet that makes it.
    pub key: FlowKey,
    /// What its destination means.
    pub destination: Destination,
    /// What happens to its source.
    pub source: Source<'a>,
    /// The network it leaves by, and replies come in by.
    pub egress: NetworkId,
    /// It came in from inside.
    pub is_from_inside: bool,
    /// It comes from inside although it came in from outside: another worker's host, in the second
    /// of two passes.
    pub is_looped: bool,
    /// TCP flags, if it is TCP.
    pub tcp_flags: u8,
}

/// Static 1:1 translation of one inside host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticNat {
    /// The network of the host.
    pub network: NetworkId,
    /// Its inside address.
    pub inside: Ipv4Addr,
    /// The external address that is its own.
    pub external: Ipv4Addr,
}

/// By external address and protocol.
type Pools = HashMap<(Ipv4Addr, u8), PortPool, FixedState>;

/// The NAPT of one engine.
#[derive(Debug)]
pub struct Nat {
    settings: NatSettings,
    sessions: Sessions,
    mappings: Mappings,
    hosts: Hosts,
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
            share,
            span: PortSpan::ALL,
            random,
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

    /// What a packet's destination means, if it belongs to no session. `is_owned`: the address is
    /// one of tapway's own.
    pub fn destination(&self, key: &FlowKey, is_owned: bool) -> Destination {
        if !is_owned {
            return Destination::Plain;
        }
        let fixed = self.statics.iter().find(|entry| entry.external == key.dst);
        let publish = self.publishes.find(key.protocol, key.dst, key.dport);
        // An address given to one host is that host's, unless a port is published on just it.
        if let Some(publish) = publish.filter(|p| fixed.is_none() || p.address.is_some()) {
            return Destination::Published(publish.network, publish.target_of(key.dport));
        }
        if let Some(entry) = fixed {
            let inside = Endpoint::new(entry.inside, key.dport);
            return Destination::Static(entry.network, inside);
        }
        if matches!(key.protocol, PROTOCOL_TCP | PROTOCOL_UDP)
            && let Some(index) = self.mapping_at(key.protocol, Endpoint::new(key.dst, key.dport))
        {
            return Destination::Mapping(index);
        }
        Destination::Plain
    }

    /// The inside endpoint a destination leads to.
    pub fn inside_of(&self, destination: Destination) -> Option<(NetworkId, Endpoint)> {
        match destination {
            Destination::Plain => None,
            Destination::Published(network, at) | Destination::Static(network, at) => {
                Some((network, at))
            }
            Destination::Mapping(index) => {
                self.mappings.get(index).map(|mapping| (mapping.network, mapping.inside))
            }
        }
    }

    /// Makes a session.
    ///
    /// # Errors
    /// The named exhaustion, or [`DropReason::Filtered`] if the mapping does not admit the peer.
    pub fn open(&mut self, now: Instant, opening: &Opening<'_>) -> Result<u32, DropReason> {
        let key = opening.key;
        let inside = self.inside_of(opening.destination);
        let (network, ip) = match inside {
            Some((network, at)) if !opening.is_from_inside => (network, at.ip),
            _ => (key.network, key.src),
        };
        if let Destination::Mapping(far) = opening.destination
            && !opening.is_from_inside
            && !self.mappings.admits(far, key.src)
        {
            // Before anything is recycled: a stranger must not end what lives.
            return Err(DropReason::Filtered);
        }
        let far = match opening.destination {
            Destination::Mapping(far) => far,
            _ => NONE,
        };
        let host = self.admit_host(now, (network, ip), far)?;
        let opened = self.open_for(now, opening, host, inside.map(|(_, at)| at));
        if opened.is_err() {
            self.hosts.remove_if_idle(host);
        }
        opened
    }

    /// A packet of a session passes: refreshes it and follows TCP.
    #[inline(always)]
    pub fn track(&mut self, now: Instant, index: u32, direction: Direction, tcp_flags: u8) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.is_refreshed_by(direction) {
            session.last_seen = now;
        }
        if !session.is_steady(direction, tcp_flags) {
            self.track_change(now, index, direction, tcp_flags);
        }
    }

    /// A packet that may change what a session is: its first answer, or TCP that opens or ends.
    #[inline(never)]
    fn track_change(&mut self, now: Instant, index: u32, direction: Direction, tcp_flags: u8) {
        let timeouts = self.settings.timeouts;
        let Some(session) = self.sessions.get_mut(index) else { return };
        if direction == Direction::Reply {
            session.set(session::ANSWERED, true);
            session.set(session::AWAITS_REPLY, false);
        }
        if session.original.protocol != PROTOCOL_TCP || !session.tcp.wants(tcp_flags) {
            return;
        }
        let before = session.tcp.phase();
        session.tcp = session.tcp.after(direction, tcp_flags);
        let phase = session.tcp.phase();
        if phase != before {
            session.last_seen = now;
            let deadline = session.deadline(&timeouts);
            self.wheel.schedule(index, deadline);
        }
        self.set_transitory(index);
    }

    /// Ends a session.
    pub fn end(&mut self, now: Instant, index: u32) {
        self.set_listed(index, false);
        self.wheel.cancel(index);
        let Some((session, holdings)) = self.sessions.remove(index) else { return };
        let closed =
            session.original.protocol == PROTOCOL_TCP && session.tcp.phase() == TcpPhase::Closing;
        let rest = if closed { Duration::ZERO } else { self.settings.quarantine };
        if let Some(host) = self.hosts.get_mut(holdings.host) {
            host.sessions = host.sessions.saturating_sub(1);
        }
        let peers = [session.original.dst, session.reply.dst];
        for (mapping, peer) in holdings.mappings.into_iter().zip(peers) {
            if let Some(gone) = self.mappings.release(mapping, peer) {
                self.free_port(now, &gone, rest);
            }
        }
        if let Some(at) = session.overloads() {
            self.end_overload(session.original.protocol, at);
        }
        self.hosts.remove_if_idle(holdings.host);
    }

    /// Ends every session that `matches`; returns how many.
    pub fn end_where(&mut self, now: Instant, matches: impl Fn(&Session) -> bool) -> usize {
        self.end_where_held(now, |session, _| matches(session))
    }

    fn end_where_held(
        &mut self,
        now: Instant,
        matches: impl Fn(&Session, &Holdings) -> bool,
    ) -> usize {
        let gone: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, session, holdings)| matches(session, holdings))
            .map(|(index, _, _)| index)
            .collect();
        for index in &gone {
            self.end(now, *index);
        }
        gone.len()
    }

    /// When [`Nat::handle_timeout`] may have something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let end_of_rest = self.leasing_pools().filter_map(PortPool::next_end_of_rest).min();
        self.wheel.next_deadline().into_iter().chain(end_of_rest).min()
    }

    /// The pools whose ports other workers wait for.
    fn leasing_pools(&self) -> impl Iterator<Item = &PortPool> {
        let is_shared = !self.share.is_sole();
        is_shared.then(|| self.pools.values()).into_iter().flatten()
    }

    /// Ends expired sessions.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.share.is_sole() {
            self.pools.values_mut().for_each(|pool| pool.end_rests(now));
        }
        while let Some(index) = self.wheel.pop_due(now) {
            let Some(session) = self.sessions.get(index) else { continue };
            let deadline = session.deadline(&self.settings.timeouts);
            if deadline > now {
                self.wheel.schedule(index, deadline);
            } else {
                self.end(now, index);
            }
        }
    }

    /// Publishes a port or range. Dynamic mappings on it, and sessions that went there before,
    /// end; returns how many sessions.
    ///
    /// # Errors
    /// The entry that has the port already.
    pub fn publish(&mut self, now: Instant, publish: Publish) -> Result<usize, PublishConflict> {
        self.publishes.insert(publish)?;
        let taken: HashSet<u32> = self
            .mappings
            .iter()
            .filter(|(_, mapping)| publish.answers(mapping.protocol, mapping.external))
            .map(|(index, _)| index)
            .collect();
        Ok(self.end_where_held(now, |session, holdings| {
            holdings.mappings.iter().any(|mapping| taken.contains(mapping))
                || session
                    .overloads()
                    .is_some_and(|at| publish.answers(session.original.protocol, at))
        }))
    }

    /// Takes a published port back and ends its sessions; none if it was not published so.
    pub fn unpublish(&mut self, now: Instant, publish: &Publish) -> Option<usize> {
        let gone = self.publishes.remove(publish)?;
        // Its sessions came in by the external port, or left by it.
        let is_its = |protocol: u8, network: NetworkId, external: Endpoint, inside: Endpoint| {
            network == gone.network
                && gone.answers(protocol, external)
                && gone.target_of(external.port) == inside
        };
        Some(self.end_where(now, |session| {
            let protocol = session.original.protocol;
            let (original, reply) = (Tuple::from(session.original), Tuple::from(session.reply));
            session.is_published()
                && (is_its(protocol, session.reply.network, original.dst, reply.src)
                    || is_its(protocol, session.original.network, reply.dst, original.src))
        }))
    }

    /// All published ports.
    pub const fn publishes(&self) -> &Publishes {
        &self.publishes
    }

    /// Gives external ports out of `span` only. If that is another one, sessions that have an
    /// external port of tapway's choice end; returns how many.
    pub fn set_span(&mut self, now: Instant, span: PortSpan) -> usize {
        if span == self.span {
            return 0;
        }
        let ended = self.end_where_held(now, |session, holdings| {
            holdings.mappings != [NONE; 2] || session.overloads().is_some()
        });
        self.span = span;
        self.pools.values_mut().for_each(|pool| pool.restrict(span));
        ended
    }

    /// Replaces the static 1:1 translations.
    pub fn set_statics(&mut self, statics: Vec<StaticNat>) {
        self.statics = statics;
    }

    /// The static 1:1 translations.
    pub fn statics(&self) -> &[StaticNat] {
        &self.statics
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

    /// The lifetimes.
    pub const fn timeouts(&self) -> &Timeouts {
        &self.settings.timeouts
    }

    /// The record of a host that may have another session; makes room if it must and can, but
    /// not by a session that keeps the mapping `far` alive.
    fn admit_host(
        &mut self,
        now: Instant,
        (network, ip): (NetworkId, Ipv4Addr),
        far: u32,
    ) -> Result<u32, DropReason> {
        let found = self.hosts.find(network, ip);
        let own = found.and_then(|index| self.hosts.get(index));
        let (held, list) =
            own.map_or((0, List::default()), |host| (host.sessions, host.transitory));
        let is_at_quota = held >= self.settings.sessions_per_host;
        if is_at_quota || self.sessions.is_full() {
            let own = self.oldest_of(&list, &self.host_links, far);
            let oldest = if is_at_quota {
                own.ok_or(DropReason::HostSessionQuota)?
            } else {
                own.or_else(|| self.oldest_of(&self.transitory, &self.transitory_links, far))
                    .ok_or(DropReason::SessionTableFull)?
            };
            // With its last session the host itself may have gone.
            self.end(now, oldest);
        } else if let Some(index) = found {
            return Ok(index);
        }
        self.hosts.find_or_insert(network, ip).ok_or(DropReason::SessionTableFull)
    }

    /// The oldest session of a list, of the first few, that does not keep a mapping alive.
    fn oldest_of(&self, list: &List, links: &Links, mapping: u32) -> Option<u32> {
        std::iter::successors(list.front(), |at| list.next(links, *at))
            .take(MAX_RECYCLE_TRIES)
            .find(|at| {
                mapping == NONE
                    || self.sessions.holdings(*at).is_some_and(|s| !s.mappings.contains(&mapping))
            })
    }

    fn open_for(
        &mut self,
        now: Instant,
        opening: &Opening<'_>,
        host: u32,
        inside: Option<Endpoint>,
    ) -> Result<u32, DropReason> {
        let key = opening.key;
        let dst = inside.unwrap_or(Endpoint::new(key.dst, key.dport));
        let source = self.new_source(now, opening, host)?;
        let reply = self.free_reply_key(opening, &source, dst);
        let Some(reply) = reply else {
            self.drop_unused_mapping(now, source.mapping);
            let by_address = !matches!(key.protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_ICMP);
            return Err(if by_address {
                DropReason::ProtocolConflict
            } else {
                DropReason::PortsExhausted
            });
        };
        let far = match opening.destination {
            Destination::Mapping(index) => index,
            _ => NONE,
        };
        let admitted = far == NONE || self.mappings.admits(far, reply.dst);
        let is_eif =
            |index| self.mappings.get(index).is_some_and(|mapping| mapping.mode == NatMode::EimEif);
        let tcp = TcpState::default().after(Direction::Original, opening.tcp_flags);
        let is_published =
            source.is_published || matches!(opening.destination, Destination::Published(..));
        let flags = [
            // A stranger must not keep a mapping alive (RFC 7857 section 7).
            (
                session::ORIGINAL_REFRESHES,
                opening.is_from_inside || opening.is_looped || !is_eif(far),
            ),
            (session::REPLY_REFRESHES, !opening.is_from_inside || !is_eif(source.mapping)),
            (session::AWAITS_REPLY, !admitted),
            (session::PUBLISHED, is_published),
            (session::OVERLOADED, source.is_overloaded),
        ];
        let flags = flags.into_iter().map(|(flag, is_set)| if is_set { flag } else { 0 });
        let session = Session::new((key, reply), now, tcp, flags.sum());
        match self.insert(now, session, Holdings { mappings: [source.mapping, far], host }) {
            Ok(index) => Ok(index),
            Err(reason) => {
                self.drop_unused_mapping(now, source.mapping);
                Err(reason)
            }
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        session: Session,
        holdings: Holdings,
    ) -> Result<u32, DropReason> {
        let inserted = self.sessions.insert(session, holdings);
        let index = inserted.ok_or(DropReason::SessionTableFull)?;
        let [own, far] = holdings.mappings;
        self.mappings.retain(own, session.original.dst);
        self.mappings.retain(far, session.reply.dst);
        if let Some(at) = session.overloads() {
            self.overload(session.original.protocol, at);
        }
        if let Some(host) = self.hosts.get_mut(holdings.host) {
            host.sessions += 1;
        }
        self.wheel.schedule(index, session.deadline(&self.settings.timeouts).max(now));
        self.set_transitory(index);
        Ok(index)
    }

    /// Removes a mapping that was made for a session which then could not be made.
    fn drop_unused_mapping(&mut self, now: Instant, index: u32) {
        if self.mappings.get(index).is_some_and(|mapping| mapping.sessions == 0)
            && let Some(gone) = self.mappings.remove(index)
        {
            self.free_port(now, &gone, Duration::ZERO);
        }
    }

    fn free_port(&mut self, now: Instant, gone: &Mapping, rest: Duration) {
        let pool = self.pool(gone);
        pool.set_mapping(gone.external.port, None);
        pool.release(now, gone.external.port, gone.inside.ip, rest);
        if let Some(owner) = self.hosts.find(gone.network, gone.inside.ip) {
            self.count_port(owner, gone.protocol, -1);
            self.hosts.remove_if_idle(owner);
        }
    }

    /// The dynamic mapping that has an external endpoint.
    fn mapping_at(&self, protocol: u8, at: Endpoint) -> Option<u32> {
        self.pools.get(&(at.ip, protocol))?.mapping(at.port)
    }

    fn pool(&mut self, mapping: &Mapping) -> &mut PortPool {
        self.pool_of(mapping.external.ip, mapping.protocol)
    }

    fn pool_of(&mut self, address: Ipv4Addr, protocol: u8) -> &mut PortPool {
        pool_of(&mut self.pools, &self.share, (address, protocol), self.span)
    }

    /// The worker that has leased an external port, if there are several; none has all the others.
    pub fn port_owner(&mut self, protocol: u8, at: Endpoint) -> Option<WorkerId> {
        self.share.is_sole().then_some(self.share.worker).or_else(|| {
            self.pool_of(at.ip, protocol).lessee().and_then(|lessee| lessee.chunks.owner(at.port))
        })
    }

    fn count_port(&mut self, host: u32, protocol: u8, by: isize) {
        if let Some(host) = self.hosts.get_mut(host)
            && let Some(count) = host.ports.get_mut(port_class(protocol))
        {
            *count = count.saturating_add_signed(by);
        }
    }

    /// Lists a session as transitory, or no longer, as its state has become.
    fn set_transitory(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index) else { return };
        let is_transitory = session.original.protocol == PROTOCOL_TCP
            && session.tcp.phase() != TcpPhase::Established;
        if is_transitory != session.has(session::TRANSITORY) {
            self.set_listed(index, is_transitory);
        }
    }

    fn set_listed(&mut self, index: u32, listed: bool) {
        let Some(host) = self.sessions.holdings(index).map(|held| held.host) else { return };
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.has(session::TRANSITORY) == listed {
            return;
        }
        session.set(session::TRANSITORY, listed);
        if listed {
            self.transitory.push_back(&mut self.transitory_links, index);
        } else {
            self.transitory.remove(&mut self.transitory_links, index);
        }
        if let Some(host) = self.hosts.get_mut(host) {
            if listed {
                host.transitory.push_back(&mut self.host_links, index);
            } else {
                host.transitory.remove(&mut self.host_links, index);
            }
        }
    }
}

/// The pool of an external address and protocol; made when it is first asked for.
fn pool_of<'a>(
    pools: &'a mut Pools,
    share: &Share,
    (address, protocol): (Ipv4Addr, u8),
    span: PortSpan,
) -> &'a mut PortPool {
    pools.entry((address, protocol)).or_insert_with(|| {
        let mut pool = if share.is_sole() {
            PortPool::default()
        } else {
            let chunks = share.leases.chunks(address, protocol);
            PortPool::leasing(Lessee { chunks, worker: share.worker, workers: share.workers })
        };
        if span != PortSpan::ALL {
            pool.restrict(span);
        }
        pool
    })
}

const fn port_class(protocol: u8) -> usize {
    match protocol {
        PROTOCOL_TCP => 0,
        PROTOCOL_UDP => 1,
        _ => 2,
    }
}
