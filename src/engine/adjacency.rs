//! Ways out: what all flows to one next hop share, compiled once.
//!
//! A flow remembers its way as a [`HopRef`]: the neighbour, and the stamp of the way to it. A way
//! holds while the epoch (configuration and routes), the neighbour's generation and the FDB's
//! place of its MAC are those it was compiled under; compiled anew it has another stamp, so that
//! whoever remembers the old one decides again. Bound: one way per neighbour.

use crate::id::PortId;
use crate::nat::HopRef;
use crate::packet::MacAddr;
use crate::switch::FdbKey;
use crate::table::prefetch;

/// The way to a neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Adjacency {
    /// The configuration and routes it was compiled under.
    pub epoch: u32,
    /// The neighbour's generation then.
    pub generation: u32,
    /// Where the FDB had the neighbour's MAC.
    pub fdb_slot: u32,
    /// The neighbour's MAC on its network.
    pub fdb_key: FdbKey,
    /// MACs of the next Ethernet header: source, destination.
    pub macs: (MacAddr, MacAddr),
    /// The port behind which the neighbour is.
    pub egress: PortId,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// Which of all ways there ever were it is; given by [`Adjacencies::enter`].
    pub stamp: u32,
}

/// Ways by neighbour.
#[derive(Debug, Default)]
pub(super) struct Adjacencies {
    ways: Vec<Adjacency>,
    last_stamp: u32,
}

impl Adjacencies {
    /// The way that a flow remembers, if it was not compiled anew since. What it was compiled
    /// under is for the caller to compare.
    #[inline(always)]
    pub(super) fn get(&self, hop: HopRef) -> Option<&Adjacency> {
        let way = self.ways.get(hop.neighbour as usize)?;
        (way.stamp == hop.stamp && hop.stamp != 0).then_some(way)
    }

    /// The way to a neighbour, if there ever was one.
    pub(super) fn of(&self, neighbour: u32) -> Option<&Adjacency> {
        self.ways.get(neighbour as usize).filter(|way| way.stamp != 0)
    }

    /// Asks for the memory of a way.
    #[inline(always)]
    pub(super) fn prefetch(&self, hop: HopRef) {
        prefetch(&self.ways, hop.neighbour as usize);
    }

    /// Enters the way to a neighbour, unless it is there already.
    pub(super) fn enter(&mut self, neighbour: u32, way: Adjacency) -> HopRef {
        let at = neighbour as usize;
        if self.ways.len() <= at {
            self.ways.resize(at + 1, Adjacency::default());
        }
        let mut stamp = 0;
        if let Some(slot) = self.ways.get_mut(at) {
            stamp = slot.stamp;
            if stamp == 0 || *slot != (Adjacency { stamp, ..way }) {
                self.last_stamp = self.last_stamp.wrapping_add(1).max(1);
                stamp = self.last_stamp;
                *slot = Adjacency { stamp, ..way };
            }
        }
        HopRef { neighbour, stamp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_compiled_anew_is_not_the_one_remembered() {
        let mut ways = Adjacencies::default();
        let way = Adjacency { mtu: 1500, ..Adjacency::default() };
        let first = ways.enter(3, way);
        assert_eq!(ways.enter(3, way), first);
        assert_eq!(ways.get(first).map(|way| way.mtu), Some(1500));
        let second = ways.enter(3, Adjacency { mtu: 1400, ..way });
        assert_eq!(ways.get(first), None);
        assert_eq!(ways.get(second).map(|way| way.mtu), Some(1400));
        // Back to what it was: still another way, decided later.
        assert_ne!(ways.enter(3, way), first);
        assert_eq!(ways.get(HopRef { neighbour: 0, stamp: 0 }), None);
        assert_eq!(ways.get(HopRef { neighbour: 9, stamp: 1 }), None);
    }
}
