//! What a packet's destination means: nothing, a published port, a host's own external address or
//! a dynamic mapping; and what publishing a port ends.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::{Endpoint, Nat, Publish, PublishConflict, Publishes, Tuple};
use crate::id::NetworkId;
use crate::packet::{FlowKey, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::time::Instant;

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

impl Nat {
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

    /// Keeps an external endpoint for tapway itself, in place of a former one. Sessions that have
    /// it end; returns how many.
    pub fn keep_for_itself(&mut self, now: Instant, own: Option<(u8, Endpoint)>) -> usize {
        self.publishes.set_own(own);
        let Some((protocol, at)) = own else { return 0 };
        self.end_where(now, |session| {
            let reply = &session.reply;
            reply.protocol == protocol && Endpoint::new(reply.dst, reply.dport) == at
        })
    }

    /// All published ports.
    pub const fn publishes(&self) -> &Publishes {
        &self.publishes
    }

    /// Replaces the static 1:1 translations.
    pub fn set_statics(&mut self, statics: Vec<StaticNat>) {
        self.statics = statics;
    }

    /// The static 1:1 translations.
    pub fn statics(&self) -> &[StaticNat] {
        &self.statics
    }
}
