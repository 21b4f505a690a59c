//! Sessions and mappings of a snapshot: entered where they fit, and nothing makes room for them.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::session::Holdings;
use super::{Mapping, Nat, Session};
use crate::id::NetworkId;
use crate::table::NONE;
use crate::time::Instant;

impl Nat {
    /// Enters a session of a snapshot, held by the inside host `owner`; false if it does not fit
    /// what is there. Nothing makes room for it.
    pub fn restore(
        &mut self,
        now: Instant,
        (network, ip): (NetworkId, Ipv4Addr),
        session: Session,
        mapping: Option<Mapping>,
    ) -> bool {
        let held = self.hosts.find(network, ip).and_then(|index| self.hosts.get(index));
        if self.find(&session.original).is_some()
            || self.find(&session.reply).is_some()
            || self.sessions.is_full()
            || held.is_some_and(|host| host.sessions >= self.settings.sessions_per_host)
        {
            return false;
        }
        let Some(host) = self.hosts.find_or_insert(network, ip) else { return false };
        let restored = self.restore_for(now, host, session, mapping);
        if !restored {
            self.hosts.remove_if_idle(host);
        }
        restored
    }

    fn restore_for(
        &mut self,
        now: Instant,
        host: u32,
        session: Session,
        mapping: Option<Mapping>,
    ) -> bool {
        if session.is_overloaded() && !self.may_overload(&session.reply) {
            return false;
        }
        let index = match mapping {
            Some(mapping) => match self.restore_mapping(mapping, host) {
                Some(index) => index,
                None => return false,
            },
            None => NONE,
        };
        let hashes = [self.hash(&session.original), self.hash(&session.reply)];
        let holdings = Holdings { mappings: [index, NONE], host };
        let restored = self.insert(now, (session, hashes), holdings).is_ok();
        if !restored {
            self.drop_unused_mapping(now, index);
        }
        restored
    }

    fn restore_mapping(&mut self, mapping: Mapping, host: u32) -> Option<u32> {
        let Mapping { network, protocol, inside, external, .. } = mapping;
        if let Some(index) = self.mappings.find_inside(network, protocol, inside) {
            return (self.mappings.get(index)?.external == external).then_some(index);
        }
        let is_free = self.publishes.leaves_free(protocol, external);
        let pool = self.pool_of(external.ip, protocol);
        if !is_free || !pool.reserve(external.port) {
            return None;
        }
        let Some(index) = self.mappings.insert(Mapping { sessions: 0, ..mapping }) else {
            self.pool(&mapping).release(Instant::ZERO, external.port, inside.ip, Duration::ZERO);
            return None;
        };
        self.pool(&mapping).set_mapping(external.port, Some(index));
        if let Some(host) = self.hosts.get_mut(host) {
            host.external = Some(external.ip);
        }
        self.count_port(host, protocol, 1);
        Some(index)
    }
}
