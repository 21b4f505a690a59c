//! A new session: the host it counts against, its translated source, its records. At a bound a
//! session that only opens, closes or was reset makes room; a live one never does.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::session::Direction;
use super::session::{self, Holdings};
use super::{Destination, Endpoint, Nat, NatMode, Session, TcpState};
use crate::drop_reason::DropReason;
use crate::id::NetworkId;
use crate::packet::{FlowKey, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::table::{Links, List, NONE};
use crate::time::Instant;

/// Sessions looked at for one that may be recycled.
const MAX_RECYCLE_TRIES: usize = 16;

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
    /// The hash of its key, as [`Nat::hash`] gives it.
    pub hash: u64,
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

impl Nat {
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
        let Some((reply, reply_hash)) = reply else {
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
        // A stranger must not keep a mapping alive (RFC 7857 section 7).
        let refreshes = opening.is_from_inside || opening.is_looped || !is_eif(far);
        let is_refreshed = !opening.is_from_inside || !is_eif(source.mapping);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(refreshes, session::ORIGINAL_REFRESHES)
            | flag(is_refreshed, session::REPLY_REFRESHES)
            | flag(!admitted, session::AWAITS_REPLY)
            | flag(is_published, session::PUBLISHED)
            | flag(source.is_overloaded, session::OVERLOADED);
        let session = Session::new((key, reply), now, tcp, flags);
        let holdings = Holdings { mappings: [source.mapping, far], host };
        match self.insert(now, (session, [opening.hash, reply_hash]), holdings) {
            Ok(index) => Ok(index),
            Err(reason) => {
                self.drop_unused_mapping(now, source.mapping);
                Err(reason)
            }
        }
    }

    pub(super) fn insert(
        &mut self,
        now: Instant,
        (session, hashes): (Session, [u64; 2]),
        holdings: Holdings,
    ) -> Result<u32, DropReason> {
        let deadline = session.deadline(self.timeouts_of(&session)).max(now);
        let inserted = self.sessions.insert((session, hashes), holdings);
        let index = inserted.ok_or(DropReason::SessionTableFull)?;
        self.host_sessions.insert(index, &session);
        let [own, far] = holdings.mappings;
        self.mappings.retain(own, session.original.dst);
        self.mappings.retain(far, session.reply.dst);
        if let Some(at) = session.overloads() {
            self.overload(session.original.protocol, at);
        }
        if let Some(host) = self.hosts.get_mut(holdings.host) {
            host.sessions += 1;
        }
        self.wheel.schedule(index, deadline);
        self.set_transitory(index);
        Ok(index)
    }

    /// Removes a mapping that was made for a session which then could not be made.
    pub(super) fn drop_unused_mapping(&mut self, now: Instant, index: u32) {
        if self.mappings.get(index).is_some_and(|mapping| mapping.sessions == 0)
            && let Some(gone) = self.mappings.remove(index)
        {
            self.free_port(now, &gone, Duration::ZERO);
        }
    }
}
