//! Fragments in any order (RFC 4787 REQ-14): what the first fragment decided, for the others.
//!
//! Only the first fragment has ports. Until it comes the others wait; then they follow its
//! decision. Datagrams for tapway itself wait until they are whole.
//!
//! Bounds: datagrams in all and per source, held bytes in all and per source. At a source's
//! bound its own oldest datagram goes, so that one host's orphans never stop the fragments of
//! another; at the table's bound the oldest of all.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::drop_reason::DropReason;
use crate::id::{NetworkId, WorkerId};
use crate::packet::{Held, Ipv4};
use crate::table::{Links, List, Slab, TimerWheel};
use crate::time::Instant;

/// Datagrams followed at once.
const MAX_DATAGRAMS: usize = 4096;
/// Of one source.
const MAX_DATAGRAMS_PER_SOURCE: u32 = 256;
/// Fragments of one datagram that wait: the largest datagram at the smallest MTU that all must
/// take (RFC 791: 576 bytes) has 119.
const MAX_HELD_PER_DATAGRAM: usize = 128;
/// Bytes of fragments that wait.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;
/// Of one source: room for several of the largest datagrams.
const MAX_HELD_BYTES_PER_SOURCE: usize = 512 * 1024;
/// How long the rest of a datagram may take (RFC 1122 3.3.2: 60 to 120 s at the final host;
/// shorter here, for what is passed on).
const LIFETIME: Duration = Duration::from_secs(30);
const LOCAL_LIFETIME: Duration = Duration::from_secs(60);

/// Names a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatagramKey {
    /// The network its fragments come in by.
    pub network: NetworkId,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Identification.
    pub id: u16,
    /// Protocol.
    pub protocol: u8,
}

impl DatagramKey {
    /// The datagram a fragment belongs to.
    pub const fn new(network: NetworkId, ipv4: &Ipv4) -> Self {
        Self { network, src: ipv4.src, dst: ipv4.dst, id: ipv4.id, protocol: ipv4.protocol }
    }
}

/// What the first fragment decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentDecision {
    /// New source, destination and identification.
    Translate {
        /// New source address.
        src: Ipv4Addr,
        /// New destination address.
        dst: Ipv4Addr,
        /// New identification.
        id: u16,
    },
    /// The datagram is for tapway itself.
    Local,
    /// The datagram stays on its network.
    Bridge,
    /// The datagram belongs to another worker.
    HandOver(WorkerId),
    /// The datagram loops back to a host of another worker, with this source and identification.
    Loop {
        /// That worker.
        to: WorkerId,
        /// New source address.
        src: Ipv4Addr,
        /// New identification.
        id: u16,
    },
    /// The datagram ends here.
    Drop(DropReason),
}

#[derive(Clone, Debug)]
struct Datagram {
    key: DatagramKey,
    decision: Option<FragmentDecision>,
    held: Vec<Held>,
    held_bytes: usize,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    datagrams: u32,
    bytes: usize,
    ages: List,
}

/// Fragments that ended in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Why.
    pub reason: DropReason,
    /// The frames.
    pub held: Vec<Held>,
    /// The datagram was for tapway itself.
    pub is_local: bool,
}

/// Datagrams of which fragments were seen.
#[derive(Debug)]
pub struct Fragments {
    datagrams: Slab<Datagram>,
    by_key: HashMap<DatagramKey, u32>,
    sources: HashMap<(NetworkId, Ipv4Addr), Source>,
    ages: List,
    age_links: Links,
    source_links: Links,
    wheel: TimerWheel,
    held_bytes: usize,
    expired: Vec<Expired>,
}

impl Fragments {
    /// An empty table.
    pub fn new(now: Instant) -> Self {
        Self {
            datagrams: Slab::new(MAX_DATAGRAMS),
            by_key: HashMap::new(),
            sources: HashMap::new(),
            ages: List::default(),
            age_links: Links::default(),
            source_links: Links::default(),
            wheel: TimerWheel::new(Duration::from_millis(100), 1024, now, MAX_DATAGRAMS),
            held_bytes: 0,
            expired: Vec::new(),
        }
    }

    /// What the first fragment of the datagram decided, if it came.
    pub fn decision(&self, key: &DatagramKey) -> Option<FragmentDecision> {
        self.by_key.get(key).and_then(|index| self.datagrams.get(*index))?.decision
    }

    /// Remembers the decision and gives back the fragments that waited for it.
    pub fn decide(
        &mut self,
        now: Instant,
        key: DatagramKey,
        decision: FragmentDecision,
    ) -> Vec<Held> {
        let Some(index) = self.entry(now, key) else { return Vec::new() };
        let lifetime = if decision == FragmentDecision::Local { LOCAL_LIFETIME } else { LIFETIME };
        if let Some(datagram) = self.datagrams.get_mut(index) {
            datagram.decision = Some(decision);
            datagram.deadline = now + lifetime;
        }
        self.wheel.schedule(index, now + lifetime);
        self.take_held(index)
    }

    /// Lets a fragment wait; false if there is no room for it, and it is among the expired.
    pub fn hold(&mut self, now: Instant, key: DatagramKey, held: Held) -> bool {
        let index = self.entry(now, key);
        let Some(index) = index.filter(|index| self.make_room(*index, key, held.frame.len()))
        else {
            self.refuse(held);
            return false;
        };
        let bytes = held.frame.len();
        if let Some(datagram) = self.datagrams.get_mut(index) {
            datagram.held.push(held);
            datagram.held_bytes += bytes;
        }
        self.held_bytes += bytes;
        if let Some(source) = self.sources.get_mut(&(key.network, key.src)) {
            source.bytes += bytes;
        }
        true
    }

    /// Makes room for so many bytes more of a datagram by others that are older; false if there is
    /// none to be had.
    fn make_room(&mut self, index: u32, key: DatagramKey, bytes: usize) -> bool {
        if self.datagrams.get(index).is_none_or(|d| d.held.len() >= MAX_HELD_PER_DATAGRAM) {
            return false;
        }
        while self.held_bytes + bytes > MAX_HELD_BYTES {
            if !self.evict_oldest(self.ages.front(), index) {
                return false;
            }
        }
        let place = (key.network, key.src);
        while self.sources.get(&place).is_some_and(|s| s.bytes + bytes > MAX_HELD_BYTES_PER_SOURCE)
        {
            let oldest = self.sources.get(&place).and_then(|source| source.ages.front());
            if !self.evict_oldest(oldest, index) {
                return false;
            }
        }
        true
    }

    /// The fragments of a datagram that waits, in order of arrival.
    pub fn held(&self, key: &DatagramKey) -> &[Held] {
        self.by_key
            .get(key)
            .and_then(|index| self.datagrams.get(*index))
            .map_or(&[], |datagram| &datagram.held)
    }

    /// Forgets a datagram; gives back the fragments that waited.
    pub fn remove(&mut self, key: &DatagramKey) -> Vec<Held> {
        match self.by_key.get(key).copied() {
            Some(index) => self.drop_datagram(index).map_or_else(Vec::new, |gone| gone.held),
            None => Vec::new(),
        }
    }

    /// When [`Fragments::handle_timeout`] may have something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// Ends datagrams whose rest did not come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(index) = self.wheel.pop_due(now) {
            match self.datagrams.get(index).map(|datagram| datagram.deadline) {
                Some(deadline) if deadline > now => self.wheel.schedule(index, deadline),
                _ => self.expire(index, DropReason::FragmentTimeout),
            }
        }
    }

    /// Fragments that ended in the table since the last call.
    pub fn take_expired(&mut self) -> Vec<Expired> {
        std::mem::take(&mut self.expired)
    }

    /// True if [`Fragments::take_expired`] has something to give.
    pub const fn has_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    /// Fragments that wait.
    pub fn held_frames(&self) -> usize {
        self.datagrams.iter().map(|(_, datagram)| datagram.held.len()).sum()
    }

    fn entry(&mut self, now: Instant, key: DatagramKey) -> Option<u32> {
        if let Some(index) = self.by_key.get(&key) {
            return Some(*index);
        }
        let place = (key.network, key.src);
        let source = self.sources.get(&place).copied().unwrap_or_default();
        if source.datagrams >= MAX_DATAGRAMS_PER_SOURCE {
            self.expire(source.ages.front()?, DropReason::FragmentTableFull);
        }
        if self.datagrams.is_full() {
            self.expire(self.ages.front()?, DropReason::FragmentTableFull);
        }
        let deadline = now + LIFETIME;
        let datagram = Datagram { key, decision: None, held: Vec::new(), held_bytes: 0, deadline };
        let index = self.datagrams.insert(datagram).ok()?;
        self.by_key.insert(key, index);
        self.ages.push_back(&mut self.age_links, index);
        let source = self.sources.entry(place).or_default();
        source.datagrams += 1;
        source.ages.push_back(&mut self.source_links, index);
        self.wheel.schedule(index, deadline);
        Some(index)
    }

    /// Evicts `oldest` unless it is `keep` itself; false if nothing could be evicted.
    fn evict_oldest(&mut self, oldest: Option<u32>, keep: u32) -> bool {
        let Some(oldest) = oldest.filter(|oldest| *oldest != keep) else { return false };
        self.expire(oldest, DropReason::FragmentTableFull);
        true
    }

    fn refuse(&mut self, held: Held) {
        let reason = DropReason::FragmentTableFull;
        self.expired.push(Expired { reason, held: vec![held], is_local: false });
    }

    fn expire(&mut self, index: u32, reason: DropReason) {
        let Some(gone) = self.drop_datagram(index) else { return };
        if !gone.held.is_empty() {
            let is_local = gone.decision == Some(FragmentDecision::Local);
            self.expired.push(Expired { reason, held: gone.held, is_local });
        }
    }

    fn take_held(&mut self, index: u32) -> Vec<Held> {
        let Some(datagram) = self.datagrams.get_mut(index) else { return Vec::new() };
        let bytes = std::mem::take(&mut datagram.held_bytes);
        let place = (datagram.key.network, datagram.key.src);
        let held = std::mem::take(&mut datagram.held);
        self.uncount(place, bytes);
        held
    }

    fn uncount(&mut self, place: (NetworkId, Ipv4Addr), bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        if let Some(source) = self.sources.get_mut(&place) {
            source.bytes = source.bytes.saturating_sub(bytes);
        }
    }

    fn drop_datagram(&mut self, index: u32) -> Option<Datagram> {
        self.wheel.cancel(index);
        let gone = self.datagrams.remove(index)?;
        let place = (gone.key.network, gone.key.src);
        self.by_key.remove(&gone.key);
        self.ages.remove(&mut self.age_links, index);
        self.uncount(place, gone.held_bytes);
        if let Some(source) = self.sources.get_mut(&place) {
            source.ages.remove(&mut self.source_links, index);
            source.datagrams -= 1;
            if source.datagrams == 0 {
                self.sources.remove(&place);
            }
        }
        Some(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PortId;
    use crate::packet::{Offload, Origin};
    use bytes::Bytes;

    #[test]
    fn a_fragment_without_room_is_refused_and_said_to_be() {
        let now = Instant::from_secs(1);
        let mut fragments = Fragments::new(now);
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1));
        let key = DatagramKey { network: NetworkId(1), src, dst, id: 7, protocol: 17 };
        let held = |len: usize| Held {
            port: PortId(1),
            network: NetworkId(1),
            frame: Bytes::from(vec![0; len]),
            offload: Offload::NONE,
            origin: Origin::Owned,
        };
        for _ in 0..MAX_HELD_PER_DATAGRAM {
            assert!(fragments.hold(now, key, held(42)));
        }
        assert!(!fragments.hold(now, key, held(42)));
        // Its own fragments make no room for another of a datagram that has all of a source's bytes.
        let large = DatagramKey { id: 8, ..key };
        assert!(fragments.hold(now, large, held(MAX_HELD_BYTES_PER_SOURCE - 100)));
        assert!(!fragments.hold(now, large, held(200)));
        let expired = fragments.take_expired();
        assert!(expired.iter().all(|gone| gone.reason == DropReason::FragmentTableFull));
        // The refused two, and the first datagram, which was the older one.
        let frames: usize = expired.iter().map(|gone| gone.held.len()).sum();
        assert_eq!((frames, fragments.held_frames()), (2 + MAX_HELD_PER_DATAGRAM, 1));
    }
}
