//! How long a session lives: what its packets refresh, what TCP's flags change, how it ends.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::port_pool::PortPool;
use super::session::{self, Holdings};
use super::{Direction, Nat, Session, TcpPhase};
use crate::id::NetworkId;
use crate::packet::{FlowKey, PROTOCOL_TCP};
use crate::time::Instant;

impl Nat {
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
        let timeouts = self.sessions.get(index).map(|session| *self.timeouts_of(session));
        let (Some(timeouts), Some(session)) = (timeouts, self.sessions.get_mut(index)) else {
            return;
        };
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
        self.host_sessions.remove(index, &session);
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

    /// Ends the sessions that come from a host, or go to it; returns how many. It costs as much as
    /// there are of them, however many others there are.
    pub fn end_of_host(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr) -> usize {
        let is_its = |key: &FlowKey| key.network == network && key.src == ip;
        let mut gone: Vec<u32> = self.host_sessions.of(network, ip).collect();
        gone.retain(|index| {
            let session = self.sessions.get(*index);
            session.is_some_and(|session| is_its(&session.original) || is_its(&session.reply))
        });
        // One with itself is there twice.
        gone.sort_unstable();
        gone.dedup();
        for index in &gone {
            self.end(now, *index);
        }
        gone.len()
    }

    pub(super) fn end_where_held(
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
            let deadline = session.deadline(self.timeouts_of(session));
            if deadline > now {
                self.wheel.schedule(index, deadline);
            } else {
                self.end(now, index);
            }
        }
    }

    /// Lists a session as transitory, or no longer, as its state has become.
    pub(super) fn set_transitory(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index) else { return };
        let is_transitory = session.original.protocol == PROTOCOL_TCP
            && session.tcp.phase() != TcpPhase::Established;
        if is_transitory != session.has(session::TRANSITORY) {
            self.set_listed(index, is_transitory);
        }
    }

    pub(super) fn set_listed(&mut self, index: u32, listed: bool) {
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
