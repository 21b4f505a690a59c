//! Compiled flows: what a hit replays without deciding again.
//!
//! Derived state only: sessions, routes, neighbours and MACs live elsewhere, so a full or stale
//! cache breaks no connection. An entry holds while the epoch (configuration and routes) and the
//! generations of its session, neighbour and FDB entry are those it was compiled under. At
//! capacity an arbitrary entry makes room.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::id::PortId;
use crate::nat::{Direction, Rewrite};
use crate::packet::FlowKey;
use crate::switch::FdbKey;
use crate::table::{HashIndex, Slab};

/// A reference to an entry of another table, and its generation then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versioned {
    pub index: u32,
    pub generation: u32,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub key: FlowKey,
    pub rewrite: Rewrite,
    pub egress: PortId,
    pub mtu: u16,
    pub epoch: u32,
    pub session: Option<(Versioned, Direction)>,
    pub neighbour: Versioned,
    pub fdb: (u32, FdbKey),
}

/// Flows by key.
#[derive(Debug)]
pub(super) struct FlowCache {
    flows: Slab<Flow>,
    index: HashIndex,
    hasher: FixedState,
    hand: u32,
}

impl FlowCache {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        Self {
            flows: Slab::new(capacity),
            index: HashIndex::new(capacity),
            hasher: FixedState::with_seed(seed),
            hand: 0,
        }
    }

    pub(super) fn hash(&self, key: &FlowKey) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, key: &FlowKey, hash: u64) -> Option<u32> {
        self.index.find(hash, |index| self.flows.get(index).is_some_and(|flow| flow.key == *key))
    }

    /// The flow at `index` if it is still that of `key`.
    pub(super) fn verify(&self, index: u32, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(index).filter(|flow| flow.key == *key)
    }

    /// Enters a flow, replacing one with the same key.
    pub(super) fn insert(&mut self, flow: Flow) {
        let hash = self.hash(&flow.key);
        if let Some(index) = self.find(&flow.key, hash) {
            if let Some(slot) = self.flows.get_mut(index) {
                *slot = flow;
            }
            return;
        }
        if self.flows.is_full() {
            self.remove(self.hand);
            self.hand = (self.hand + 1) % self.flows.capacity().max(1) as u32;
        }
        if let Ok(index) = self.flows.insert(flow)
            && self.index.insert(hash, index).is_err()
        {
            self.flows.remove(index);
        }
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some(flow) = self.flows.remove(index) {
            self.index.remove(self.hash(&flow.key), index);
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.flows.len()
    }
}
