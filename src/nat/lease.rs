//! Which worker has which external ports.
//!
//! The ports of one external address and protocol are leased in aligned chunks of 64: both
//! parities are in each, and the well-known ports (RFC 4787 REQ-3a) fill chunks of their own. A
//! worker leases a chunk when it needs a port, and gives it back when it holds none in it. Whose
//! a chunk is tells every worker where an answer from outside belongs.
//!
//! Bounds: 1 KiB for each external address and protocol in use. Leasing is rare and takes a lock;
//! looking is one atomic load.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::id::WorkerId;

/// Ports in a chunk.
pub(super) const CHUNK: u16 = 64;
const CHUNKS: usize = 65_536 / CHUNK as usize;
const FREE: u8 = 0;

/// Whose the chunks of one external address and protocol are.
#[derive(Debug)]
pub(super) struct Chunks([AtomicU8; CHUNKS]);

type ByAddress = HashMap<(Ipv4Addr, u8), Arc<Chunks>>;

/// The leases that all workers of a switch share.
#[derive(Clone, Debug, Default)]
pub struct PortLeases(Arc<RwLock<ByAddress>>);

/// What one worker may lease of an external address and protocol.
#[derive(Clone, Debug)]
pub(super) struct Lessee {
    pub(super) chunks: Arc<Chunks>,
    pub(super) worker: WorkerId,
    /// Of how many.
    pub(super) workers: u8,
}

impl PortLeases {
    /// The number of the chunk that a port is in.
    pub const fn chunk(port: u16) -> u16 {
        port / CHUNK
    }

    /// The chunks of an external address and protocol.
    pub(super) fn chunks(&self, address: Ipv4Addr, protocol: u8) -> Arc<Chunks> {
        // A worker that panicked has left no chunk half leased.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunks) = known.get(&(address, protocol)) {
            return chunks.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry((address, protocol)).or_default().clone()
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self([const { AtomicU8::new(FREE) }; CHUNKS])
    }
}

impl Chunks {
    /// The worker that has leased a port's chunk.
    pub(super) fn owner(&self, port: u16) -> Option<WorkerId> {
        match self.chunk(port).map_or(FREE, |chunk| chunk.load(Ordering::Acquire)) {
            FREE => None,
            owner => Some(WorkerId(owner - 1)),
        }
    }

    fn chunk(&self, port: u16) -> Option<&AtomicU8> {
        self.0.get(usize::from(port / CHUNK))
    }
}

impl Lessee {
    /// Leases the chunk of a port; false if another worker has it.
    pub(super) fn lease(&self, port: u16) -> bool {
        let own = self.worker.0.saturating_add(1);
        let Some(chunk) = self.chunks.chunk(port) else { return false };
        match chunk.compare_exchange(FREE, own, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(owner) => owner == own,
        }
    }

    /// Gives the chunk of a port back.
    pub(super) fn give_back(&self, port: u16) {
        let own = self.worker.0.saturating_add(1);
        if let Some(chunk) = self.chunks.chunk(port) {
            // Whoever else has it keeps it.
            let _ = chunk.compare_exchange(own, FREE, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn a_chunk_is_one_workers_until_it_is_given_back() {
        let leases = PortLeases::default();
        let lessee = |worker| Lessee {
            chunks: leases.chunks(ADDRESS, 6),
            worker: WorkerId(worker),
            workers: 2,
        };
        let (first, second) = (lessee(0), lessee(1));
        assert!(first.lease(5000) && first.lease(5000));
        assert!(!second.lease(5001) && second.lease(5060));
        assert_eq!(second.chunks.owner(5000), Some(WorkerId(0)));
        assert_eq!(leases.chunks(ADDRESS, 17).owner(5000), None);
        second.give_back(5000);
        assert_eq!(first.chunks.owner(5000), Some(WorkerId(0)));
        first.give_back(5000);
        assert!(second.lease(5001));
        assert_eq!(first.chunks.owner(65_535), None);
    }

    #[test]
    fn workers_that_race_for_chunks_never_share_one() {
        let leases = PortLeases::default();
        let taken: Vec<usize> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let chunks = leases.chunks(ADDRESS, 17);
                    let lessee = Lessee { chunks, worker: WorkerId(worker), workers: 4 };
                    scope.spawn(move || (0..=u16::MAX).filter(|port| lessee.lease(*port)).count())
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().sum::<usize>(), 65_536, "{taken:?}");
    }
}
