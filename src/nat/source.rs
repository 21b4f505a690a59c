//! What the source of a new session becomes: its own address, a published port, a mapping, or a
//! port that sessions to different destinations share.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::external_ports::{pool_of, port_class};
use super::port_pool::{PortPool, WELL_KNOWN};
use super::{Endpoint, Mapping, Nat, NatMode, Opening, Publishes, Random, Source};
use crate::drop_reason::DropReason;
use crate::packet::{FlowKey, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PortSpan};
use crate::table::NONE;
use crate::time::Instant;

/// Random ports tried before the gaps between published ranges are searched.
const MAX_POOL_TRIES: usize = 8;
/// External ports tried before a collision of keys is given up.
const MAX_PORT_TRIES: usize = 128;

/// The translated source of a session to be made.
pub(super) struct NewSource {
    pub(super) endpoint: Endpoint,
    pub(super) mapping: u32,
    /// It is a published port.
    pub(super) is_published: bool,
    /// Sessions to different destinations may share it.
    pub(super) is_overloaded: bool,
    /// The port may be chosen again if the reply's key is taken.
    may_change_port: bool,
}

impl Nat {
    /// The source a new session's packets get.
    pub(super) fn new_source(
        &mut self,
        now: Instant,
        opening: &Opening<'_>,
        host: u32,
    ) -> Result<NewSource, DropReason> {
        let key = opening.key;
        let own = Endpoint::new(key.src, key.sport);
        let plain = |endpoint, may_change_port| NewSource {
            endpoint,
            mapping: NONE,
            is_published: false,
            is_overloaded: false,
            may_change_port,
        };
        let (mode, pool) = match opening.source {
            Source::Keep => return Ok(plain(own, has_ports(key.protocol))),
            Source::Gateway(address) => {
                return Ok(plain(Endpoint::new(address, own.port), has_ports(key.protocol)));
            }
            Source::Masquerade(mode, pool) => (mode, pool),
        };
        let fixed = self.statics.iter().find(|s| s.inside == key.src && s.network == key.network);
        if let Some(entry) = fixed {
            return Ok(plain(Endpoint::new(entry.external, own.port), false));
        }
        let external = self.hosts.external(host, pool).ok_or(DropReason::NoExternalAddress)?;
        let published =
            |addresses| self.publishes.source_of(key.network, key.protocol, own, addresses);
        if let Some(source) = published(&[external]).or_else(|| published(pool)) {
            return Ok(NewSource { is_published: true, ..plain(source, false) });
        }
        if !has_ports(key.protocol) && key.protocol != PROTOCOL_ICMP {
            if self.span != PortSpan::ALL {
                return Err(DropReason::SharedProtocol);
            }
            return Ok(plain(Endpoint::new(external, 0), false));
        }
        if mode == NatMode::Apdm {
            return Ok(NewSource {
                is_overloaded: true,
                ..plain(Endpoint::new(external, own.port), true)
            });
        }
        let mapping = match self.mappings.find_inside(key.network, key.protocol, own) {
            Some(mapping) => mapping,
            None => self.map(now, &key, mode, (host, external))?,
        };
        let endpoint = self.mappings.get(mapping).ok_or(DropReason::PortsExhausted)?.external;
        Ok(NewSource { endpoint, mapping, ..plain(endpoint, false) })
    }

    fn map(
        &mut self,
        now: Instant,
        key: &FlowKey,
        mode: NatMode,
        (host, external): (u32, Ipv4Addr),
    ) -> Result<u32, DropReason> {
        let class = port_class(key.protocol);
        let held = self.hosts.get(host).and_then(|host| host.ports.get(class).copied());
        if held.unwrap_or(0) >= self.settings.ports_per_host {
            return Err(DropReason::HostPortQuota);
        }
        // With ICMP a request's identifier is its source port.
        let inside = Endpoint::new(key.src, key.sport);
        let pool = pool_of(&mut self.pools, (&self.share, self.span), external, key.protocol);
        let port = free_port(pool, &self.publishes, &mut self.random, (now, key, external))
            .ok_or(DropReason::PortsExhausted)?;
        let mapping = Mapping {
            network: key.network,
            protocol: key.protocol,
            inside,
            external: Endpoint::new(external, port),
            mode,
            sessions: 0,
        };
        let Some(index) = self.mappings.insert(mapping) else {
            pool.release(now, port, inside.ip, Duration::ZERO);
            return Err(DropReason::SessionTableFull);
        };
        pool.set_mapping(port, Some(index));
        self.count_port(host, key.protocol, 1);
        Ok(index)
    }

    /// The key of the replies and its hash, choosing another source port where that may be.
    pub(super) fn free_reply_key(
        &mut self,
        opening: &Opening<'_>,
        source: &NewSource,
        dst: Endpoint,
    ) -> Option<(FlowKey, u64)> {
        let key = opening.key;
        let reply_to = |endpoint: Endpoint| FlowKey {
            network: opening.egress,
            protocol: key.protocol,
            src: dst.ip,
            dst: endpoint.ip,
            sport: dst.port,
            dport: endpoint.port,
        };
        let mut reply = reply_to(source.endpoint);
        for _ in 0..MAX_PORT_TRIES {
            let hash = self.hash(&reply);
            let is_taken = self.sessions.find(&reply, hash).is_some()
                || source.is_overloaded && !self.may_overload(&reply)
                || matches!(opening.source, Source::Gateway(_)) && self.misleads(&reply);
            if !is_taken {
                return Some((reply, hash));
            }
            if !source.may_change_port {
                return None;
            }
            let port = self.any_port();
            reply = reply_to(Endpoint::new(source.endpoint.ip, port));
        }
        None
    }

    /// An external port by chance, none of the well-known if there are others.
    fn any_port(&mut self) -> u16 {
        let PortSpan { first, last } = self.span;
        let first = if last < WELL_KNOWN { first } else { first.max(WELL_KNOWN) };
        let count = u32::from(last - first) + 1;
        first + ((u32::from(self.random.next_u16()) * count) >> 16) as u16
    }

    /// True if a reply would seem, to workers that do not know its session, to be for the host that
    /// publishes the port.
    fn misleads(&self, reply: &FlowKey) -> bool {
        !self.share.is_sole()
            && self.publishes.find(reply.protocol, reply.dst, reply.dport).is_some()
    }

    /// True if an external endpoint is free for sessions that share it: neither published nor
    /// held by an endpoint-independent mapping.
    pub(super) fn may_overload(&mut self, reply: &FlowKey) -> bool {
        let at = Endpoint::new(reply.dst, reply.dport);
        let is_shared = self.overloads.contains_key(&(reply.protocol, at));
        let pool = pool_of(&mut self.pools, (&self.share, self.span), at.ip, reply.protocol);
        (is_shared || pool.may_wish(at.port) && pool.lease(at.port) && !pool.is_used(at.port))
            && self.publishes.leaves_free(reply.protocol, at)
    }

    /// A session begins to share an external endpoint: no mapping may have its port meanwhile.
    pub(super) fn overload(&mut self, protocol: u8, at: Endpoint) {
        self.pool_of(at.ip, protocol).reserve(at.port);
        *self.overloads.entry((protocol, at)).or_default() += 1;
    }

    pub(super) fn end_overload(&mut self, protocol: u8, at: Endpoint) {
        let Some(sessions) = self.overloads.get_mut(&(protocol, at)) else { return };
        *sessions -= 1;
        if *sessions == 0 {
            self.overloads.remove(&(protocol, at));
            let pool = self.pool_of(at.ip, protocol);
            pool.release(Instant::ZERO, at.port, at.ip, Duration::ZERO);
        }
    }
}

/// A port of the external address that is neither mapped nor published.
fn free_port(
    pool: &mut PortPool,
    publishes: &Publishes,
    random: &mut Random,
    (now, key, external): (Instant, &FlowKey, Ipv4Addr),
) -> Option<u16> {
    let mut published = Vec::new();
    let mut found = None;
    for _ in 0..MAX_POOL_TRIES {
        let Some(port) = pool.allocate(now, key.sport, key.src, random) else { break };
        if publishes.leaves_free(key.protocol, Endpoint::new(external, port)) {
            found = Some(port);
            break;
        }
        published.push(port);
    }
    let found = found.or_else(|| {
        let port = unpublished_port(pool, publishes, key, external)?;
        pool.reserve(port).then_some(port)
    });
    for port in published {
        pool.release(now, port, key.src, Duration::ZERO);
    }
    found
}

/// A free port among large published ranges, found by leaping from gap to gap.
fn unpublished_port(
    pool: &PortPool,
    publishes: &Publishes,
    key: &FlowKey,
    external: Ipv4Addr,
) -> Option<u16> {
    let (mut port, last) = pool.class_of(key.sport);
    loop {
        let unused = pool.next_unused(port, last)?;
        port = publishes.next_free(key.protocol, external, unused)?;
        if port == unused {
            return Some(port);
        }
    }
}

const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP)
}
