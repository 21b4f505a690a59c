//! Routed flows without a session: where their packets leave, without deciding again.
//!
//! Derived state only, so a full or stale cache breaks no connection; sessions remember their
//! ways themselves. What an entry says holds as long as its way does, see `adjacency`. At capacity
//! an arbitrary entry makes room. Keys are hashed by the caller, under a secret seed.

use crate::nat::HopRef;
use crate::packet::FlowKey;
use crate::table::{HashIndex, Slab};

/// One direction of a flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    key: FlowKey,
    /// So that it can be removed without hashing it again.
    hash: u64,
    hop: HopRef,
}

/// Flows by key.
#[derive(Debug)]
pub(super) struct FlowCache {
    flows: Slab<Flow>,
    index: HashIndex,
    hand: u32,
}

impl FlowCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { flows: Slab::new(capacity), index: HashIndex::new(capacity), hand: 0 }
    }

    /// Asks for the memory to look a hash up in.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Where packets with a key leave, as was noted last.
    #[inline(always)]
    pub(super) fn find(&self, key: &FlowKey, hash: u64) -> Option<HopRef> {
        if self.flows.is_empty() {
            return None;
        }
        let index = self.find_index(key, hash)?;
        self.flows.get(index).map(|flow| flow.hop)
    }

    /// Enters a flow, replacing one with the same key.
    pub(super) fn insert(&mut self, key: FlowKey, hash: u64, hop: HopRef) {
        let flow = Flow { key, hash, hop };
        if let Some(index) = self.find_index(&key, hash) {
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

    pub(super) const fn len(&self) -> usize {
        self.flows.len()
    }

    fn remove(&mut self, index: u32) {
        if let Some(flow) = self.flows.remove(index) {
            self.index.remove(flow.hash, index);
        }
    }

    #[inline(always)]
    fn find_index(&self, key: &FlowKey, hash: u64) -> Option<u32> {
        self.index.find(hash, |index| self.flows.get(index).is_some_and(|flow| flow.key == *key))
    }
}
