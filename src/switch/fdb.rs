//! The forwarding database: behind which port a MAC is.
//!
//! One table for all networks, keyed by (network, MAC). Learned entries age; static ones do not,
//! and nothing learned replaces them. Dynamic entries of a port form a list in order of use, in
//! steps of one second, from which ageing and eviction take the oldest.

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::id::{NetworkId, PortId};
use crate::packet::MacAddr;
use crate::table::{HashIndex, Links, List, Slab};
use crate::time::Instant;

/// How exact the time of last use is: an entry is written at most this often.
const TOUCH_STEP: Duration = Duration::from_secs(1);

/// Bounds of the FDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbLimits {
    /// Entries in all, static ones included.
    pub total: usize,
    /// Learned entries per network.
    pub per_network: usize,
    /// Learned entries per port.
    pub per_port: usize,
}

/// One MAC of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// The network.
    pub network: NetworkId,
    /// The MAC.
    pub mac: MacAddr,
    /// The port it is behind.
    pub port: PortId,
    /// Configured, not learned.
    pub is_static: bool,
    /// When a frame from it was last seen, to the second.
    pub last_seen: Instant,
}

/// What learning a source found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Known behind this port.
    Known,
    /// New.
    New,
    /// It was behind another port until now.
    Moved,
    /// Bound to another port by configuration: the frame is forged or misplaced.
    StaticElsewhere,
    /// The table has no room and nothing to evict; frames to it are flooded.
    Full,
}

/// The forwarding database of all networks.
#[derive(Debug)]
pub struct Fdb {
    entries: Slab<FdbEntry>,
    index: HashIndex,
    hasher: FixedState,
    links: Links,
    by_port: Vec<List>,
    by_network: Vec<usize>,
    limits: FdbLimits,
    ageing: Duration,
    next_sweep: Option<Instant>,
}

impl Fdb {
    /// An empty FDB.
    pub fn new(limits: FdbLimits, ageing: Duration, seed: u64) -> Self {
        Self {
            entries: Slab::new(limits.total),
            index: HashIndex::new(limits.total),
            hasher: FixedState::with_seed(seed),
            links: Links::default(),
            by_port: Vec::new(),
            by_network: Vec::new(),
            limits,
            ageing,
            next_sweep: None,
        }
    }

    /// The hash that the other methods take, so that a burst can be hashed at once.
    pub fn hash(&self, network: NetworkId, mac: MacAddr) -> u64 {
        self.hasher.hash_one(u64::from(network.0) << 48 | mac.as_u64())
    }

    /// The entry of a MAC.
    pub fn find(&self, network: NetworkId, mac: MacAddr, hash: u64) -> Option<u32> {
        self.index.find(hash, |index| {
            self.entries
                .get(index)
                .is_some_and(|entry| entry.mac == mac && entry.network == network)
        })
    }

    /// The entry at `index`, if it is still the one of that MAC and has not aged.
    pub fn verify(
        &self,
        now: Instant,
        index: u32,
        network: NetworkId,
        mac: MacAddr,
    ) -> Option<&FdbEntry> {
        self.entries.get(index).filter(|entry| {
            entry.mac == mac
                && entry.network == network
                && (entry.is_static || now.since(entry.last_seen) <= self.ageing)
        })
    }

    /// The port a MAC is behind, and its entry.
    pub fn lookup(&self, now: Instant, network: NetworkId, mac: MacAddr) -> Option<(u32, PortId)> {
        let index = self.find(network, mac, self.hash(network, mac))?;
        self.verify(now, index, network, mac).map(|entry| (index, entry.port))
    }

    /// The port of the entry at `index`.
    pub fn port(&self, index: u32) -> Option<PortId> {
        self.entries.get(index).map(|entry| entry.port)
    }

    /// Changes when the entry at `index` moves or goes; refreshing changes nothing.
    pub fn generation(&self, index: u32) -> u32 {
        self.entries.generation(index)
    }

    /// Learns that `mac` is behind `port`. `hint` is what [`Fdb::find`] gave earlier.
    pub fn learn(
        &mut self,
        now: Instant,
        (network, mac): (NetworkId, MacAddr),
        port: PortId,
        (hash, hint): (u64, Option<u32>),
    ) -> Learned {
        let hint = hint.filter(|index| self.verify(now, *index, network, mac).is_some());
        let Some(index) = hint.or_else(|| self.find(network, mac, hash)) else {
            return self.insert_learned(now, (network, mac), port, hash);
        };
        let Some(entry) = self.entries.get_mut(index) else { return Learned::Full };
        if entry.is_static {
            return if entry.port == port { Learned::Known } else { Learned::StaticElsewhere };
        }
        if entry.port == port {
            if now.since(entry.last_seen) >= TOUCH_STEP {
                entry.last_seen = now;
                self.list(port, |list, links| list.touch(links, index));
            }
            return Learned::Known;
        }
        let from = entry.port;
        self.forget_learned(index);
        debug_assert_ne!(from, port);
        match self.insert_learned(now, (network, mac), port, hash) {
            Learned::New => Learned::Moved,
            other => other,
        }
    }

    /// Binds a MAC to a port for good, replacing what was learned; false if the table is full.
    pub fn insert_static(&mut self, network: NetworkId, mac: MacAddr, port: PortId) -> bool {
        let hash = self.hash(network, mac);
        if let Some(index) = self.find(network, mac, hash) {
            self.remove(index);
        }
        let entry = FdbEntry { network, mac, port, is_static: true, last_seen: Instant::ZERO };
        let Ok(index) = self.entries.insert(entry) else { return false };
        if self.index.insert(hash, index).is_err() {
            self.entries.remove(index);
            return false;
        }
        true
    }

    /// Removes a static entry; false if there is none.
    pub fn remove_static(&mut self, network: NetworkId, mac: MacAddr) -> bool {
        let found = self.find(network, mac, self.hash(network, mac));
        match found.filter(|index| self.entries.get(*index).is_some_and(|entry| entry.is_static)) {
            Some(index) => {
                self.remove(index);
                true
            }
            None => false,
        }
    }

    /// Forgets what was learned behind a port, and with `statics` what was bound to it.
    pub fn flush_port(&mut self, port: PortId, statics: bool) {
        let gone: Vec<u32> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.port == port && (statics || !entry.is_static))
            .map(|(index, _)| index)
            .collect();
        for index in gone {
            self.remove(index);
        }
    }

    /// When [`Fdb::sweep`] may have something to do.
    pub const fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Removes aged entries.
    pub fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|at| at > now) {
            return;
        }
        let mut next: Option<Instant> = None;
        for port in 0..self.by_port.len() {
            while let Some(index) = self.by_port.get(port).and_then(List::front) {
                let Some(entry) = self.entries.get(index) else { break };
                if now.since(entry.last_seen) <= self.ageing {
                    let due = entry.last_seen + self.ageing + Duration::from_nanos(1);
                    next = Some(next.map_or(due, |next| next.min(due)));
                    break;
                }
                self.remove(index);
            }
        }
        self.next_sweep = next;
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &FdbEntry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without entries.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn insert_learned(
        &mut self,
        now: Instant,
        (network, mac): (NetworkId, MacAddr),
        port: PortId,
        hash: u64,
    ) -> Learned {
        if !self.make_room(network, port) {
            return Learned::Full;
        }
        let entry = FdbEntry { network, mac, port, is_static: false, last_seen: now };
        let Ok(index) = self.entries.insert(entry) else { return Learned::Full };
        if self.index.insert(hash, index).is_err() {
            self.entries.remove(index);
            return Learned::Full;
        }
        self.list(port, |list, links| list.push_back(links, index));
        if let Some(count) = self.by_network.get_mut(network.index()) {
            *count += 1;
        }
        let due = now + self.ageing + Duration::from_nanos(1);
        self.next_sweep = Some(self.next_sweep.map_or(due, |at| at.min(due)));
        Learned::New
    }

    /// Evicts what must go before `port` may learn another MAC.
    fn make_room(&mut self, network: NetworkId, port: PortId) -> bool {
        if self.by_port.len() <= port.index() {
            self.by_port.resize(port.index() + 1, List::default());
        }
        if self.by_network.len() <= network.index() {
            self.by_network.resize(network.index() + 1, 0);
        }
        let of_port = self.by_port.get(port.index()).map_or(0, List::len);
        let of_network = self.by_network.get(network.index()).copied().unwrap_or(0);
        if of_port >= self.limits.per_port {
            return self.evict_oldest_of(port.index());
        }
        if of_network < self.limits.per_network && !self.entries.is_full() {
            return true;
        }
        let everywhere = self.entries.is_full();
        let largest = (0..self.by_port.len())
            .filter(|at| everywhere || self.network_of(*at) == Some(network))
            .max_by_key(|at| self.by_port.get(*at).map_or(0, List::len));
        largest.is_some_and(|at| self.evict_oldest_of(at))
    }

    /// The network of the entries a port has learned.
    fn network_of(&self, port: usize) -> Option<NetworkId> {
        let index = self.by_port.get(port)?.front()?;
        self.entries.get(index).map(|entry| entry.network)
    }

    fn evict_oldest_of(&mut self, port: usize) -> bool {
        let Some(index) = self.by_port.get(port).and_then(List::front) else { return false };
        self.remove(index);
        true
    }

    fn remove(&mut self, index: u32) {
        if self.entries.get(index).is_some_and(|entry| entry.is_static) {
            self.drop_entry(index);
        } else {
            self.forget_learned(index);
        }
    }

    fn forget_learned(&mut self, index: u32) {
        let Some(FdbEntry { network, port, .. }) = self.drop_entry(index) else { return };
        self.list(port, |list, links| list.remove(links, index));
        if let Some(count) = self.by_network.get_mut(network.index()) {
            *count = count.saturating_sub(1);
        }
    }

    fn drop_entry(&mut self, index: u32) -> Option<FdbEntry> {
        let entry = self.entries.remove(index)?;
        self.index.remove(self.hash(entry.network, entry.mac), index);
        Some(entry)
    }

    fn list(&mut self, port: PortId, act: impl FnOnce(&mut List, &mut Links)) {
        if let Some(list) = self.by_port.get_mut(port.index()) {
            act(list, &mut self.links);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId(1);
    const LIMITS: FdbLimits = FdbLimits { total: 100, per_network: 6, per_port: 4 };

    fn fdb(limits: FdbLimits) -> Fdb {
        Fdb::new(limits, Duration::from_secs(300), 1)
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    fn learn(fdb: &mut Fdb, at: u64, last: u8, port: u16) -> Learned {
        let hash = fdb.hash(NETWORK, mac(last));
        fdb.learn(Instant::from_secs(at), (NETWORK, mac(last)), PortId(port), (hash, None))
    }

    fn port_of(fdb: &Fdb, at: u64, last: u8) -> Option<u16> {
        fdb.lookup(Instant::from_secs(at), NETWORK, mac(last)).map(|(_, port)| port.0)
    }

    #[test]
    fn learned_entries_age_and_move() {
        let mut fdb = fdb(LIMITS);
        assert_eq!(learn(&mut fdb, 0, 1, 1), Learned::New);
        assert_eq!(learn(&mut fdb, 200, 1, 1), Learned::Known);
        assert_eq!(port_of(&fdb, 500, 1), Some(1));
        let (index, _) = fdb.lookup(Instant::from_secs(500), NETWORK, mac(1)).unwrap();
        let generation = fdb.generation(index);
        assert_eq!(learn(&mut fdb, 500, 1, 2), Learned::Moved);
        assert_ne!(fdb.generation(index), generation);
        assert_eq!(port_of(&fdb, 800, 1), Some(2));
        assert_eq!(port_of(&fdb, 801, 1), None);
        fdb.sweep(Instant::from_secs(801));
        assert!(fdb.is_empty());
        assert_eq!(fdb.next_sweep(), None);
    }

    #[test]
    fn static_entries_neither_age_nor_move() {
        let mut fdb = fdb(LIMITS);
        assert!(fdb.insert_static(NETWORK, mac(1), PortId(1)));
        assert_eq!(learn(&mut fdb, 10, 1, 2), Learned::StaticElsewhere);
        assert_eq!(learn(&mut fdb, 10, 1, 1), Learned::Known);
        assert_eq!(port_of(&fdb, 100_000, 1), Some(1));
        assert!(fdb.remove_static(NETWORK, mac(1)));
        assert!(fdb.is_empty());
    }

    #[test]
    fn a_flood_of_sources_evicts_its_own_port_first() {
        let mut fdb = fdb(LIMITS);
        learn(&mut fdb, 0, 1, 1);
        learn(&mut fdb, 1, 2, 1);
        for last in 100..200 {
            learn(&mut fdb, 2, last, 2);
        }
        assert_eq!(port_of(&fdb, 3, 1), Some(1));
        assert_eq!(port_of(&fdb, 3, 2), Some(1));
        assert_eq!(fdb.len(), 6);
        learn(&mut fdb, 4, 3, 1);
        assert_eq!((port_of(&fdb, 4, 3), fdb.len()), (Some(1), 6));
    }
}
