//! Dynamic endpoint-independent mappings (RFC 4787 REQ-1): inside endpoint <-> external endpoint.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::quality::FixedState;

use super::{Endpoint, NatMode};
use crate::id::NetworkId;
use crate::table::{HashIndex, KeyHash, Slab};

/// A mapping. It lives as long as a session uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The network of the inside endpoint.
    pub network: NetworkId,
    /// IP protocol number.
    pub protocol: u8,
    /// Inside endpoint.
    pub inside: Endpoint,
    /// External endpoint.
    pub external: Endpoint,
    /// Who may use it from outside.
    pub mode: NatMode,
    /// Sessions that use it.
    pub sessions: u32,
}

/// Mappings by inside endpoint; by external endpoint the port pools have them. Bound: one per
/// session.
#[derive(Debug)]
pub(super) struct Mappings {
    mappings: Slab<Mapping>,
    by_inside: HashIndex,
    /// Sessions per peer address, kept for address-dependent filtering only.
    peers: HashMap<(u32, Ipv4Addr), u32, FixedState>,
    hasher: KeyHash,
}

impl Mappings {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        Self {
            mappings: Slab::new(capacity),
            by_inside: HashIndex::new(capacity),
            peers: HashMap::with_hasher(FixedState::with_seed(seed)),
            hasher: KeyHash::new(seed),
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Mapping> {
        self.mappings.get(index)
    }

    pub(super) fn find_inside(
        &self,
        network: NetworkId,
        protocol: u8,
        at: Endpoint,
    ) -> Option<u32> {
        self.by_inside.find(self.hash(network, protocol, at), |index| {
            self.mappings.get(index).is_some_and(|mapping| {
                mapping.inside == at && mapping.protocol == protocol && mapping.network == network
            })
        })
    }

    pub(super) fn insert(&mut self, mapping: Mapping) -> Option<u32> {
        let index = self.mappings.insert(mapping).ok()?;
        let inside = self.hash(mapping.network, mapping.protocol, mapping.inside);
        if self.by_inside.insert(inside, index).is_err() {
            self.mappings.remove(index);
            return None;
        }
        Some(index)
    }

    /// A session with `peer` begins to use the mapping.
    pub(super) fn retain(&mut self, index: u32, peer: Ipv4Addr) {
        let Some(mapping) = self.mappings.get_mut(index) else { return };
        mapping.sessions += 1;
        if mapping.mode == NatMode::EimAdf {
            *self.peers.entry((index, peer)).or_default() += 1;
        }
    }

    /// A session with `peer` ends; gives the mapping back if it was the last.
    pub(super) fn release(&mut self, index: u32, peer: Ipv4Addr) -> Option<Mapping> {
        let mapping = self.mappings.get_mut(index)?;
        mapping.sessions = mapping.sessions.saturating_sub(1);
        let (idle, mode) = (mapping.sessions == 0, mapping.mode);
        if mode == NatMode::EimAdf
            && let Some(count) = self.peers.get_mut(&(index, peer))
        {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&(index, peer));
            }
        }
        idle.then(|| self.remove(index)).flatten()
    }

    /// True if the filter admits a peer that no session knows.
    pub(super) fn admits(&self, index: u32, peer: Ipv4Addr) -> bool {
        match self.mappings.get(index).map(|mapping| mapping.mode) {
            Some(NatMode::EimEif) => true,
            Some(NatMode::EimAdf) => self.peers.contains_key(&(index, peer)),
            _ => false,
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Mapping> {
        let mapping = self.mappings.remove(index)?;
        let inside = self.hash(mapping.network, mapping.protocol, mapping.inside);
        self.by_inside.remove(inside, index);
        Some(mapping)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Mapping)> {
        self.mappings.iter()
    }

    fn hash(&self, network: NetworkId, protocol: u8, at: Endpoint) -> u64 {
        let place = u64::from(network.0) << 8 | u64::from(protocol);
        let endpoint = u64::from(at.ip.to_bits()) << 16 | u64::from(at.port);
        self.hasher.hash(place << 48 ^ endpoint)
    }
}
