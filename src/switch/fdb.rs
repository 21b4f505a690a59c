//! The forwarding database: behind which port a MAC is.
//!
//! One table for all networks, keyed by (network, MAC); an entry is two words in one cache line.
//! Learned entries age; static ones do not, and nothing learned replaces them. Dynamic entries of
//! a port form a list in order of use, in steps of one second, from which ageing and eviction take
//! the oldest.

use std::time::Duration;

use crate::id::{NetworkId, PortId};
use crate::packet::{ETHERNET_HEADER, MacAddr, array};
use crate::table::{Links, List, Placed, WordMap};
use crate::time::Instant;

/// The last use of an entry is known to the second, so an entry is written at most this often.
const NANOS_PER_SECOND: u64 = 1_000_000_000;

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

/// A MAC of a network, as the table is keyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbKey(u64);

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
    /// When a frame from it was last seen, down to the second.
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

/// What the table holds under a key: the port in the low 16 bits, whether it is static, and in
/// the upper half the second of its last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

/// The forwarding database of all networks.
#[derive(Debug)]
pub struct Fdb {
    entries: WordMap,
    links: Links,
    by_port: Vec<List>,
    by_network: Vec<usize>,
    limits: FdbLimits,
    ageing_ns: u64,
    next_sweep: Option<Instant>,
}

impl FdbKey {
    /// The key of a MAC in a network.
    #[inline(always)]
    pub const fn new(network: NetworkId, mac: MacAddr) -> Self {
        Self((network.0 as u64) << 48 | mac.as_u64())
    }

    /// The key of no station.
    pub const NONE: Self = Self(u64::MAX);

    /// The key of the MAC at offset `AT` of an Ethernet header.
    #[inline(always)]
    pub fn at<const AT: usize>(network: NetworkId, ethernet: &[u8; ETHERNET_HEADER]) -> Self {
        let word = array::<8>(ethernet, AT).map_or(0, u64::from_be_bytes);
        Self(u64::from(network.0) << 48 | word >> 16)
    }

    /// The network.
    pub const fn network(self) -> NetworkId {
        NetworkId((self.0 >> 48) as u16)
    }

    /// The MAC.
    pub const fn mac(self) -> MacAddr {
        let [_, _, mac @ ..] = self.0.to_be_bytes();
        MacAddr(mac)
    }

    /// As [`MacAddr::is_group`].
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0 & 1 << 40 != 0
    }

    /// As [`MacAddr::is_station`].
    #[inline(always)]
    pub const fn is_station(self) -> bool {
        !self.is_group() && self.0 << 16 != 0
    }
}

impl Place {
    const STATIC: u64 = 1 << 16;

    #[inline(always)]
    const fn learned(port: PortId, now: Instant) -> Self {
        let second = (now.as_nanos() / NANOS_PER_SECOND) as u32;
        Self((second as u64) << 32 | port.0 as u64)
    }

    const fn fixed(port: PortId) -> Self {
        Self(Self::STATIC | port.0 as u64)
    }

    const fn port(self) -> PortId {
        PortId(self.0 as u16)
    }

    const fn is_static(self) -> bool {
        self.0 & Self::STATIC != 0
    }

    const fn last_seen(self) -> Instant {
        Instant::from_secs(self.0 >> 32)
    }

    #[inline(always)]
    const fn has_aged(self, now: Instant, ageing_ns: u64) -> bool {
        let unused_ns = now.as_nanos().saturating_sub((self.0 >> 32) * NANOS_PER_SECOND);
        unused_ns > ageing_ns && !self.is_static()
    }
}

impl Fdb {
    /// An empty FDB. An entry ages out after `ageing` without use, or up to a second earlier.
    pub fn new(limits: FdbLimits, ageing: Duration, seed: u64) -> Self {
        Self {
            entries: WordMap::new(limits.total, seed),
            links: Links::default(),
            by_port: Vec::new(),
            by_network: Vec::new(),
            limits,
            ageing_ns: u64::try_from(ageing.as_nanos()).unwrap_or(u64::MAX),
            next_sweep: None,
        }
    }

    /// The hash that other methods take, so that the MACs of a burst can be hashed at once.
    #[inline(always)]
    pub fn hash(&self, key: FdbKey) -> u64 {
        self.entries.hash(key.0)
    }

    /// Asks for the memory in which a MAC most likely lies.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.entries.prefetch(hash);
    }

    /// The port a MAC is behind.
    pub fn lookup(&self, now: Instant, key: FdbKey) -> Option<PortId> {
        self.lookup_hashed(now, key, self.hash(key))
    }

    /// The port a MAC is behind, by the hash of [`Fdb::hash`].
    #[inline(always)]
    pub fn lookup_hashed(&self, now: Instant, key: FdbKey, hash: u64) -> Option<PortId> {
        let (_, place) = self.find(key, hash)?;
        (!place.has_aged(now, self.ageing_ns)).then(|| place.port())
    }

    /// The slot in which a MAC lies, and the port it is behind.
    pub fn slot(&self, now: Instant, key: FdbKey) -> Option<(u32, PortId)> {
        let (slot, place) = self.find(key, self.hash(key))?;
        (!place.has_aged(now, self.ageing_ns)).then(|| (slot, place.port()))
    }

    /// True while the MAC that [`Fdb::slot`] found is there and behind that port: neither
    /// refreshing nor learning others changes it.
    #[inline(always)]
    pub fn is_at(&self, slot: u32, key: FdbKey, port: PortId) -> bool {
        let (found, place) = self.entries.get(slot);
        found == key.0 && Place(place).port().0 == port.0
    }

    /// Learns that a MAC is behind `port`.
    #[inline(always)]
    pub fn learn(&mut self, now: Instant, key: FdbKey, port: PortId, hash: u64) -> Learned {
        match self.find(key, hash) {
            Some((_, place)) if place == Place::learned(port, now) => Learned::Known,
            found => self.learn_anew(now, key, port, (hash, found)),
        }
    }

    /// Learns what somebody else saw at `seen`: nothing, if it has aged by now, or is older than what
    /// is known. Its place in the order of use is that of what is seen now, so it may stay a while
    /// after it has aged, unused.
    pub fn learn_seen(&mut self, now: Instant, seen: Instant, key: FdbKey, port: PortId) {
        let hash = self.hash(key);
        let place = Place::learned(port, seen);
        let known = self.find(key, hash);
        let is_news = known.is_none_or(|(_, known)| place.last_seen() >= known.last_seen());
        if is_news && !place.has_aged(now, self.ageing_ns) {
            self.learn(seen, key, port, hash);
        }
    }

    /// The port a MAC is behind, and when it was last seen there.
    pub fn last_seen(&self, now: Instant, key: FdbKey) -> Option<(PortId, Instant)> {
        let (_, place) = self.find(key, self.hash(key))?;
        let seen = if place.is_static() { now } else { place.last_seen() };
        (!place.has_aged(now, self.ageing_ns)).then(|| (place.port(), seen))
    }

    /// Binds a MAC to a port for good, replacing what was learned; false if the table is full.
    pub fn insert_static(&mut self, key: FdbKey, port: PortId) -> bool {
        let hash = self.hash(key);
        if let Some((slot, _)) = self.find(key, hash) {
            self.remove(slot);
        }
        self.insert(key, hash, Place::fixed(port)).is_some()
    }

    /// Sets a MAC free that was bound to a port; false if it was not.
    pub fn remove_static(&mut self, key: FdbKey, port: PortId) -> bool {
        let found = self.find(key, self.hash(key));
        let bound = found.filter(|(_, place)| place.is_static() && place.port() == port);
        bound.map(|(slot, _)| self.remove(slot)).is_some()
    }

    /// Forgets what was learned behind a port, and with `statics` what was bound to it.
    pub fn flush_port(&mut self, port: PortId, statics: bool) {
        let gone: Vec<u32> = self
            .entries
            .iter()
            .filter(|(_, _, place)| {
                Place(*place).port() == port && (statics || !Place(*place).is_static())
            })
            .map(|(slot, _, _)| slot)
            .collect();
        for slot in gone {
            self.remove(slot);
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
            while let Some(slot) = self.by_port.get(port).and_then(List::front) {
                let place = Place(self.entries.get(slot).1);
                if !place.has_aged(now, self.ageing_ns) {
                    let due = self.due(place);
                    next = Some(next.map_or(due, |next| next.min(due)));
                    break;
                }
                self.remove(slot);
            }
        }
        self.next_sweep = next;
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = FdbEntry> {
        self.entries.iter().map(|(_, key, place)| FdbEntry {
            network: FdbKey(key).network(),
            mac: FdbKey(key).mac(),
            port: Place(place).port(),
            is_static: Place(place).is_static(),
            last_seen: Place(place).last_seen(),
        })
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without entries.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline(always)]
    fn find(&self, key: FdbKey, hash: u64) -> Option<(u32, Place)> {
        self.entries.find(key.0, hash).map(|(slot, place)| (slot, Place(place)))
    }

    /// Learns what is not known so already: first seen in this second, static, moved or new.
    #[inline(never)]
    fn learn_anew(
        &mut self,
        now: Instant,
        key: FdbKey,
        port: PortId,
        (hash, found): (u64, Option<(u32, Place)>),
    ) -> Learned {
        let Some((slot, place)) = found else {
            return self.insert_learned(now, key, port, hash);
        };
        match (place.is_static(), place.port() == port) {
            (true, true) => Learned::Known,
            (true, false) => Learned::StaticElsewhere,
            (false, true) => {
                if now >= place.last_seen() {
                    self.entries.set(slot, Place::learned(port, now).0);
                    self.list(port, |list, links| list.touch(links, slot));
                }
                Learned::Known
            }
            (false, false) => {
                self.remove(slot);
                match self.insert_learned(now, key, port, hash) {
                    Learned::New => Learned::Moved,
                    other => other,
                }
            }
        }
    }

    fn insert_learned(&mut self, now: Instant, key: FdbKey, port: PortId, hash: u64) -> Learned {
        let network = key.network();
        if !self.make_room(network, port) {
            return Learned::Full;
        }
        let place = Place::learned(port, now);
        let Some(slot) = self.insert(key, hash, place) else { return Learned::Full };
        self.list(port, |list, links| list.push_back(links, slot));
        if let Some(count) = self.by_network.get_mut(network.index()) {
            *count += 1;
        }
        let due = self.due(place);
        self.next_sweep = Some(self.next_sweep.map_or(due, |at| at.min(due)));
        Learned::New
    }

    fn insert(&mut self, key: FdbKey, hash: u64, place: Place) -> Option<u32> {
        let Placed { slot, moved } = self.entries.insert(key.0, hash, place.0)?;
        if let Some((from, to)) = moved {
            let other = Place(self.entries.get(to).1);
            if !other.is_static() {
                self.list(other.port(), |list, links| list.replace(links, from, to));
            }
        }
        Some(slot)
    }

    /// When an entry will have aged.
    fn due(&self, place: Place) -> Instant {
        place.last_seen() + Duration::from_nanos(self.ageing_ns.saturating_add(1))
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
        let slot = self.by_port.get(port)?.front()?;
        Some(FdbKey(self.entries.get(slot).0).network())
    }

    fn evict_oldest_of(&mut self, port: usize) -> bool {
        let Some(slot) = self.by_port.get(port).and_then(List::front) else { return false };
        self.remove(slot);
        true
    }

    fn remove(&mut self, slot: u32) {
        let Some((key, place)) = self.entries.remove(slot) else { return };
        let (key, place) = (FdbKey(key), Place(place));
        if place.is_static() {
            return;
        }
        self.list(place.port(), |list, links| list.remove(links, slot));
        if let Some(count) = self.by_network.get_mut(key.network().index()) {
            *count = count.saturating_sub(1);
        }
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
        let key = FdbKey::new(NETWORK, mac(last));
        fdb.learn(Instant::from_secs(at), key, PortId(port), fdb.hash(key))
    }

    fn port_of(fdb: &Fdb, at: u64, last: u8) -> Option<u16> {
        fdb.lookup(Instant::from_secs(at), FdbKey::new(NETWORK, mac(last))).map(|port| port.0)
    }

    #[test]
    fn learned_entries_age_and_move() {
        let mut fdb = fdb(LIMITS);
        assert_eq!(learn(&mut fdb, 0, 1, 1), Learned::New);
        assert_eq!(learn(&mut fdb, 200, 1, 1), Learned::Known);
        assert_eq!(port_of(&fdb, 500, 1), Some(1));
        let key = FdbKey::new(NETWORK, mac(1));
        let (slot, port) = fdb.slot(Instant::from_secs(500), key).unwrap();
        assert_eq!(learn(&mut fdb, 500, 1, 1), Learned::Known);
        assert!(fdb.is_at(slot, key, port));
        assert_eq!(learn(&mut fdb, 500, 1, 2), Learned::Moved);
        assert!(!fdb.is_at(slot, key, port));
        assert_eq!(port_of(&fdb, 800, 1), Some(2));
        assert_eq!(port_of(&fdb, 801, 1), None);
        fdb.sweep(Instant::from_secs(801));
        assert!(fdb.is_empty());
        assert_eq!(fdb.next_sweep(), None);
    }

    #[test]
    fn static_entries_neither_age_nor_move() {
        let mut fdb = fdb(LIMITS);
        assert!(fdb.insert_static(FdbKey::new(NETWORK, mac(1)), PortId(1)));
        assert_eq!(learn(&mut fdb, 10, 1, 2), Learned::StaticElsewhere);
        assert_eq!(learn(&mut fdb, 10, 1, 1), Learned::Known);
        assert_eq!(port_of(&fdb, 100_000, 1), Some(1));
        fdb.flush_port(PortId(1), false);
        assert_eq!(fdb.len(), 1);
        fdb.flush_port(PortId(1), true);
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
    #[test]
    fn age_and_eviction_follow_entries_that_the_table_moves() {
        const MACS: u64 = 20_000;
        let limits = FdbLimits { total: MACS as usize, per_network: 30_000, per_port: 30_000 };
        let mut fdb = fdb(limits);
        let key = |number: u64| FdbKey::new(NETWORK, MacAddr::from_ipv4((number as u32).into()));
        let learn = |fdb: &mut Fdb, at, number| {
            let hash = fdb.hash(key(number));
            fdb.learn(Instant::from_secs(at), key(number), PortId(1), hash)
        };
        // A table that is full all the time: the oldest goes, whoever moved meanwhile.
        for number in 1..=MACS * 3 {
            assert_eq!(learn(&mut fdb, number / 1000, number), Learned::New);
        }
        assert_eq!(fdb.len(), MACS as usize);
        let lookup = |fdb: &Fdb, number| fdb.lookup(Instant::from_secs(61), key(number));
        assert!((MACS * 2 + 1..=MACS * 3).all(|number| lookup(&fdb, number).is_some()));
        fdb.sweep(Instant::from_secs(350));
        assert_eq!(
            fdb.len(),
            fdb.iter().filter(|entry| entry.last_seen.as_nanos() >= 50_000_000_000).count()
        );
        fdb.sweep(Instant::from_secs(1000));
        assert!(fdb.is_empty());
    }
}
