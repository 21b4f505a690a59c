//! The ports of the external addresses, by address and protocol: who has which, and how many a
//! host has.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use foldhash::quality::FixedState;

use super::lease::Lessee;
use super::port_pool::PortPool;
use super::{Endpoint, Mapping, Nat, Share};
use crate::id::WorkerId;
use crate::packet::{PROTOCOL_TCP, PROTOCOL_UDP, PortSpan};
use crate::table::NONE;
use crate::time::Instant;

/// By external address and protocol.
pub(super) type Pools = HashMap<(Ipv4Addr, u8), PortPool, FixedState>;

impl Nat {
    /// The worker that has leased an external port, if there are several; none has all the others.
    pub fn port_owner(&mut self, protocol: u8, at: Endpoint) -> Option<WorkerId> {
        self.share.is_sole().then_some(self.share.worker).or_else(|| {
            self.pool_of(at.ip, protocol).lessee().and_then(|lessee| lessee.chunks.owner(at.port))
        })
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

    /// The dynamic mapping that has an external endpoint.
    pub(super) fn mapping_at(&self, protocol: u8, at: Endpoint) -> Option<u32> {
        self.pools.get(&(at.ip, protocol))?.mapping(at.port)
    }

    pub(super) fn pool(&mut self, mapping: &Mapping) -> &mut PortPool {
        self.pool_of(mapping.external.ip, mapping.protocol)
    }

    pub(super) fn pool_of(&mut self, address: Ipv4Addr, protocol: u8) -> &mut PortPool {
        pool_of(&mut self.pools, (&self.share, self.span), address, protocol)
    }

    pub(super) fn free_port(&mut self, now: Instant, gone: &Mapping, rest: Duration) {
        let pool = self.pool(gone);
        pool.set_mapping(gone.external.port, None);
        pool.release(now, gone.external.port, gone.inside.ip, rest);
        if let Some(owner) = self.hosts.find(gone.network, gone.inside.ip) {
            self.count_port(owner, gone.protocol, -1);
            self.hosts.remove_if_idle(owner);
        }
    }

    pub(super) fn count_port(&mut self, host: u32, protocol: u8, by: isize) {
        if let Some(host) = self.hosts.get_mut(host)
            && let Some(count) = host.ports.get_mut(port_class(protocol))
        {
            *count = count.saturating_add_signed(by);
        }
    }
}

/// The pool of an external address and protocol; made when it is first asked for.
pub(super) fn pool_of<'a>(
    pools: &'a mut Pools,
    (share, span): (&Share, PortSpan),
    address: Ipv4Addr,
    protocol: u8,
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

pub(super) const fn port_class(protocol: u8) -> usize {
    match protocol {
        PROTOCOL_TCP => 0,
        PROTOCOL_UDP => 1,
        _ => 2,
    }
}
