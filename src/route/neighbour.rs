//! The neighbour table: IPv4 address to MAC, with the states `ip neigh` shows.
//!
//! ```text
//!  (none) -> INCOMPLETE -> REACHABLE -> STALE -> DELAY -> PROBE -> FAILED
//!                |  3 requests, 1 s      ^  30 s    | used  | 5 s   | 3 unicast requests, 1 s
//!                +-> FAILED              +----------+-- a reply ----+
//! ```
//! Ageing from REACHABLE to STALE is seen when the entry is used. An entry is made by a packet to
//! send or by a request for an own address; never by a reply nobody asked for (RFC 826 merges,
//! and no more). Packets wait in bounded queues, see `hold`.
//!
//! Bounds: entries in all; unresolved ones per asking port, so a scan of the subnet stops
//! itself; at the bound a failed entry goes first, then the stale one unused for longest; one
//! that is reachable is never evicted.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::hold::HoldQueues;
use crate::id::{NetworkId, PortId};
use crate::packet::{Held, MacAddr};
use crate::table::{HashIndex, Links, List, Slab, TimerWheel};
use crate::time::Instant;

/// Requests before an entry fails (Linux mcast_solicit, ucast_solicit).
const MAX_PROBES: u8 = 3;
/// Between requests (RFC 1122 2.3.2.1: at most one per second).
const RETRANSMIT: Duration = Duration::from_secs(1);
/// An entry is reachable for this long, plus or minus half (RFC 4861 10).
const REACHABLE_MS: u64 = 30_000;
/// From first use of a stale entry to its first probe.
const DELAY: Duration = Duration::from_secs(5);
/// A failed entry is shown for this long.
const FAILED_LIFETIME: Duration = Duration::from_secs(30);
/// A stale entry that nobody uses goes after this long.
const STALE_LIFETIME: Duration = Duration::from_secs(600);
/// Resolution and turn of the timers.
const TICK: Duration = Duration::from_millis(100);
const TURN: usize = 8192;

/// State of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NeighbourState {
    /// Being asked for.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Confirmed some time ago.
    Stale,
    /// Stale and used; a probe follows unless it is confirmed.
    Delay,
    /// Being probed by unicast.
    Probe,
    /// Did not answer.
    Failed,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// The network it is on.
    pub network: NetworkId,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its MAC, once known.
    pub mac: Option<MacAddr>,
    /// State.
    pub state: NeighbourState,
    /// When it was last confirmed.
    pub confirmed: Instant,
    /// The port whose budget of unresolved entries this one counts against.
    asked_by: Option<PortId>,
    probes: u8,
    last_request: Option<Instant>,
    deadline: Instant,
}

impl Neighbour {
    /// The state at `now`: a reachable entry turns stale by itself.
    pub fn state_at(&self, now: Instant) -> NeighbourState {
        if self.state == NeighbourState::Reachable && now > self.deadline {
            return NeighbourState::Stale;
        }
        self.state
    }
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourLimits {
    /// Entries in all.
    pub total: usize,
    /// Unresolved entries that one port may cause.
    pub unresolved_per_port: usize,
}

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Its MAC, and the entry.
    Known(MacAddr, u32),
    /// It is being asked for: hold the packet at this entry.
    Pending(u32),
    /// No room for another unresolved entry.
    Full,
}

/// What the table wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// Send an ARP request, by unicast if a MAC is given.
    Request {
        /// On this network.
        network: NetworkId,
        /// For this address.
        ip: Ipv4Addr,
        /// To this MAC.
        to: Option<MacAddr>,
        /// The port whose packets want it; none for a probe.
        asked_by: Option<PortId>,
    },
    /// A next hop is known: these frames may go.
    Release(Vec<Held>),
    /// A next hop did not answer: these frames end.
    Failed(Vec<Held>),
    /// A frame had to make room for another.
    Overflow(Held),
}

/// The neighbours of all networks.
#[derive(Debug)]
pub struct Neighbours {
    entries: Slab<Neighbour>,
    index: HashIndex,
    hasher: FixedState,
    wheel: TimerWheel,
    links: Links,
    failed: List,
    idle: List,
    unresolved: Vec<usize>,
    hold: HoldQueues,
    limits: NeighbourLimits,
    events: VecDeque<NeighbourEvent>,
}

impl Neighbours {
    /// An empty table.
    pub fn new(limits: NeighbourLimits, seed: u64, now: Instant) -> Self {
        Self {
            entries: Slab::new(limits.total),
            index: HashIndex::new(limits.total),
            hasher: FixedState::with_seed(seed),
            wheel: TimerWheel::new(TICK, TURN, now, limits.total),
            links: Links::default(),
            failed: List::default(),
            idle: List::default(),
            unresolved: Vec::new(),
            hold: HoldQueues::default(),
            limits,
            events: VecDeque::new(),
        }
    }

    /// What to do next; call until none after every other method.
    pub fn poll_event(&mut self) -> Option<NeighbourEvent> {
        self.events.pop_front()
    }

    /// The MAC of a next hop for a packet that came in by `asked_by`; starts asking if unknown.
    pub fn resolve(
        &mut self,
        now: Instant,
        network: NetworkId,
        ip: Ipv4Addr,
        asked_by: PortId,
    ) -> Resolution {
        let Some(index) = self.find(network, ip) else {
            return self.start(now, network, ip, asked_by);
        };
        self.touch(now, index);
        let Some(entry) = self.entries.get(index) else { return Resolution::Full };
        match (entry.state, entry.mac) {
            (NeighbourState::Incomplete, _) => Resolution::Pending(index),
            (NeighbourState::Failed, _) | (_, None) => {
                if self.unresolved_of(asked_by) >= self.limits.unresolved_per_port {
                    return Resolution::Full;
                }
                self.ask_again(now, index, asked_by);
                Resolution::Pending(index)
            }
            (_, Some(mac)) => Resolution::Known(mac, index),
        }
    }

    /// Lets a packet go to the neighbour at `index` if its MAC is still that of `generation`; a
    /// stale one will be probed.
    #[inline(always)]
    pub fn pass(&mut self, now: Instant, index: u32, generation: u32) -> bool {
        let Some(entry) = self.entries.get_versioned(index, generation) else { return false };
        let is_settled = match entry.state {
            NeighbourState::Reachable => now <= entry.deadline,
            NeighbourState::Stale => false,
            _ => true,
        };
        if !is_settled {
            self.touch(now, index);
        }
        true
    }

    /// Asks for the memory of a neighbour.
    #[inline(always)]
    pub fn prefetch(&self, index: u32) {
        self.entries.prefetch(index);
    }

    /// Notes that a packet goes to the neighbour at `index`: a stale one will be probed.
    #[inline(never)]
    fn touch(&mut self, now: Instant, index: u32) {
        let Some(entry) = self.entries.get(index) else { return };
        if entry.state == NeighbourState::Reachable && now > entry.deadline {
            self.set_state(now, index, NeighbourState::Stale);
        }
        if self.entries.get(index).is_some_and(|entry| entry.state == NeighbourState::Stale) {
            self.set_state(now, index, NeighbourState::Delay);
        }
    }

    /// The state of the entry at `index`.
    pub fn state(&self, now: Instant, index: u32) -> Option<NeighbourState> {
        self.entries.get(index).map(|entry| entry.state_at(now))
    }

    /// Asks a neighbour whose state is in doubt at once whether it is still there.
    pub fn probe(&mut self, now: Instant, index: u32) {
        let state = self.entries.get(index).map(|entry| entry.state);
        if matches!(state, Some(NeighbourState::Stale | NeighbourState::Delay)) {
            self.set_state(now, index, NeighbourState::Probe);
            self.request(now, index);
        }
    }

    /// Changes when the MAC at `index` changes, or the entry fails or goes.
    pub fn generation(&self, index: u32) -> u32 {
        self.entries.generation(index)
    }

    /// Lets a frame wait at a pending entry.
    pub fn hold(&mut self, index: u32, held: Held) {
        let gone = match self.entries.get(index) {
            Some(_) => self.hold.push(index, held),
            None => vec![held],
        };
        self.events.extend(gone.into_iter().map(NeighbourEvent::Overflow));
    }

    /// An ARP request for one of tapway's addresses came from this neighbour: the one message
    /// that may make an entry (RFC 826).
    pub fn heard_request(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr, mac: MacAddr) {
        if self.find(network, ip).is_some() {
            self.merge(now, network, ip, mac);
        } else if let Some(index) = self.insert(now, network, ip) {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.mac = Some(mac);
            }
            self.set_state(now, index, NeighbourState::Stale);
        }
    }

    /// Any ARP message from a sender: updates an entry, makes none. True if there is one.
    pub fn merge(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr, mac: MacAddr) -> bool {
        let Some(index) = self.find(network, ip) else { return false };
        let Some(entry) = self.entries.get(index) else { return false };
        match entry.state {
            NeighbourState::Incomplete | NeighbourState::Failed => {
                self.set_mac(index, mac);
                self.set_state(now, index, NeighbourState::Stale);
                self.release(index);
            }
            _ if entry.mac != Some(mac) => {
                self.set_mac(index, mac);
                self.set_state(now, index, NeighbourState::Stale);
            }
            _ => {}
        }
        true
    }

    /// An ARP reply addressed to tapway. Confirms the neighbour if it was asked for; false if
    /// there is no entry.
    pub fn heard_reply(
        &mut self,
        now: Instant,
        network: NetworkId,
        ip: Ipv4Addr,
        mac: MacAddr,
    ) -> bool {
        let Some(index) = self.find(network, ip) else { return false };
        let Some(entry) = self.entries.get(index) else { return false };
        let asked = matches!(
            entry.state,
            NeighbourState::Incomplete | NeighbourState::Delay | NeighbourState::Probe
        );
        if !asked {
            return self.merge(now, network, ip, mac);
        }
        if entry.mac != Some(mac) {
            self.set_mac(index, mac);
        }
        if let Some(entry) = self.entries.get_mut(index) {
            entry.confirmed = now;
        }
        self.set_state(now, index, NeighbourState::Reachable);
        self.release(index);
        true
    }

    /// Forgets every neighbour of a network, or only those with one of these MACs.
    pub fn flush(&mut self, network: NetworkId, macs: Option<&HashSet<MacAddr>>) {
        let is_meant = |mac: Option<MacAddr>| {
            macs.is_none_or(|macs| mac.is_some_and(|mac| macs.contains(&mac)))
        };
        let gone: Vec<u32> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.network == network && is_meant(entry.mac))
            .map(|(index, _)| index)
            .collect();
        for index in gone {
            self.remove(index);
        }
    }

    /// When [`Neighbours::handle_timeout`] may have something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// Moves entries whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(index) = self.wheel.pop_due(now) {
            let Some(entry) = self.entries.get(index) else { continue };
            if entry.deadline > now {
                self.wheel.schedule(index, entry.deadline);
                continue;
            }
            match entry.state {
                NeighbourState::Incomplete | NeighbourState::Probe if entry.probes < MAX_PROBES => {
                    self.request(now, index);
                }
                NeighbourState::Incomplete | NeighbourState::Probe => {
                    self.set_state(now, index, NeighbourState::Failed);
                    // Flows that were compiled with its MAC must find out.
                    self.entries.invalidate(index);
                    let held = self.hold.take(index);
                    if !held.is_empty() {
                        self.events.push_back(NeighbourEvent::Failed(held));
                    }
                }
                NeighbourState::Delay => {
                    self.set_state(now, index, NeighbourState::Probe);
                    self.request(now, index);
                }
                NeighbourState::Reachable => self.set_state(now, index, NeighbourState::Stale),
                NeighbourState::Stale | NeighbourState::Failed => self.remove(index),
            }
        }
    }

    /// Enters a neighbour as stale, as restoring a snapshot does.
    pub fn restore(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr, mac: MacAddr) {
        self.heard_request(now, network, ip, mac);
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Frames that wait, for all neighbours.
    pub fn held_frames(&self) -> usize {
        let of_event = |event: &NeighbourEvent| match event {
            NeighbourEvent::Release(held) | NeighbourEvent::Failed(held) => held.len(),
            NeighbourEvent::Overflow(_) => 1,
            NeighbourEvent::Request { .. } => 0,
        };
        self.hold.len() + self.events.iter().map(of_event).sum::<usize>()
    }

    /// True if [`Neighbours::poll_event`] has something to tell.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    fn find(&self, network: NetworkId, ip: Ipv4Addr) -> Option<u32> {
        self.index.find(self.hash(network, ip), |index| {
            self.entries.get(index).is_some_and(|entry| entry.ip == ip && entry.network == network)
        })
    }

    fn hash(&self, network: NetworkId, ip: Ipv4Addr) -> u64 {
        self.hasher.hash_one(u64::from(network.0) << 32 | u64::from(ip.to_bits()))
    }

    fn start(
        &mut self,
        now: Instant,
        network: NetworkId,
        ip: Ipv4Addr,
        asked_by: PortId,
    ) -> Resolution {
        if self.unresolved_of(asked_by) >= self.limits.unresolved_per_port {
            return Resolution::Full;
        }
        let Some(index) = self.insert(now, network, ip) else { return Resolution::Full };
        self.charge(index, asked_by);
        self.request(now, index);
        Resolution::Pending(index)
    }

    fn ask_again(&mut self, now: Instant, index: u32, asked_by: PortId) {
        self.set_state(now, index, NeighbourState::Incomplete);
        self.charge(index, asked_by);
        let Some(entry) = self.entries.get_mut(index) else { return };
        let earliest = entry.last_request.map_or(now, |last| last + RETRANSMIT);
        if earliest <= now {
            self.request(now, index);
        } else {
            entry.deadline = earliest;
            self.wheel.schedule(index, earliest);
        }
    }

    fn request(&mut self, now: Instant, index: u32) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.probes += 1;
        entry.last_request = Some(now);
        entry.deadline = now + RETRANSMIT;
        let to = entry.mac.filter(|_| entry.state == NeighbourState::Probe);
        let Neighbour { network, ip, asked_by, .. } = *entry;
        self.events.push_back(NeighbourEvent::Request { network, ip, to, asked_by });
        self.wheel.schedule(index, entry.deadline);
    }

    fn insert(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr) -> Option<u32> {
        if self.entries.is_full() {
            let oldest = self.failed.front().or_else(|| self.idle.front())?;
            self.remove(oldest);
        }
        let entry = Neighbour {
            network,
            ip,
            mac: None,
            state: NeighbourState::Incomplete,
            confirmed: now,
            asked_by: None,
            probes: 0,
            last_request: None,
            deadline: now,
        };
        let index = self.entries.insert(entry).ok()?;
        if self.index.insert(self.hash(network, ip), index).is_err() {
            self.entries.remove(index);
            return None;
        }
        Some(index)
    }

    fn remove(&mut self, index: u32) {
        let held = self.hold.take(index);
        if !held.is_empty() {
            self.events.push_back(NeighbourEvent::Failed(held));
        }
        self.unlist(index);
        self.wheel.cancel(index);
        if let Some(entry) = self.entries.remove(index) {
            self.index.remove(self.hash(entry.network, entry.ip), index);
        }
    }

    fn set_mac(&mut self, index: u32, mac: MacAddr) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.mac = Some(mac);
            self.entries.invalidate(index);
        }
    }

    /// Takes the entry out of the bookkeeping of its present state.
    fn unlist(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        match entry.state {
            NeighbourState::Failed => self.failed.remove(&mut self.links, index),
            NeighbourState::Stale => self.idle.remove(&mut self.links, index),
            _ => {
                if let Some(port) = entry.asked_by.take() {
                    self.count_unresolved(port, -1);
                }
            }
        }
    }

    fn set_state(&mut self, now: Instant, index: u32, state: NeighbourState) {
        self.unlist(index);
        let lifetime = match state {
            NeighbourState::Incomplete | NeighbourState::Probe => RETRANSMIT,
            NeighbourState::Reachable => self.reachable_time(index, now),
            NeighbourState::Stale => STALE_LIFETIME,
            NeighbourState::Delay => DELAY,
            NeighbourState::Failed => FAILED_LIFETIME,
        };
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.state = state;
        entry.probes = 0;
        entry.deadline = now + lifetime;
        match state {
            NeighbourState::Failed => self.failed.push_back(&mut self.links, index),
            NeighbourState::Stale => self.idle.push_back(&mut self.links, index),
            _ => {}
        }
        self.wheel.schedule(index, now + lifetime);
    }

    /// 30 s plus or minus half, by hash: no two neighbours are probed in step.
    fn reachable_time(&self, index: u32, now: Instant) -> Duration {
        let jitter = self.hasher.hash_one((index, now.as_nanos())) % (REACHABLE_MS + 1);
        Duration::from_millis(REACHABLE_MS / 2 + jitter)
    }

    fn release(&mut self, index: u32) {
        let held = self.hold.take(index);
        if !held.is_empty() {
            self.events.push_back(NeighbourEvent::Release(held));
        }
    }

    /// Counts an incomplete entry against the port that asked for it.
    fn charge(&mut self, index: u32, port: PortId) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.asked_by = Some(port);
            self.count_unresolved(port, 1);
        }
    }

    fn unresolved_of(&self, port: PortId) -> usize {
        self.unresolved.get(port.index()).copied().unwrap_or(0)
    }

    fn count_unresolved(&mut self, port: PortId, by: isize) {
        if self.unresolved.len() <= port.index() {
            self.unresolved.resize(port.index() + 1, 0);
        }
        if let Some(count) = self.unresolved.get_mut(port.index()) {
            *count = count.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NET: NetworkId = NetworkId(1);
    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn table(total: usize) -> Neighbours {
        let limits = NeighbourLimits { total, unresolved_per_port: 4 };
        Neighbours::new(limits, 1, Instant::ZERO)
    }

    fn secs(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn state(table: &Neighbours) -> Option<NeighbourState> {
        table.iter().find(|entry| entry.ip == IP).map(|entry| entry.state)
    }

    fn requests(table: &mut Neighbours) -> Vec<Option<MacAddr>> {
        std::iter::from_fn(|| table.poll_event())
            .filter_map(|event| match event {
                NeighbourEvent::Request { to, .. } => Some(to),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn walks_through_the_states_of_ip_neigh() {
        let mut table = table(10);
        assert!(matches!(table.resolve(secs(0), NET, IP, PortId(1)), Resolution::Pending(_)));
        assert_eq!(requests(&mut table), [None]);
        assert!(table.heard_reply(secs(1), NET, IP, MAC));
        assert_eq!(state(&table), Some(NeighbourState::Reachable));
        table.handle_timeout(secs(60));
        assert_eq!(state(&table), Some(NeighbourState::Stale));
        assert!(matches!(table.resolve(secs(61), NET, IP, PortId(1)), Resolution::Known(MAC, _)));
        assert_eq!(state(&table), Some(NeighbourState::Delay));
        let mut sent = Vec::new();
        for now in 62..75 {
            table.handle_timeout(secs(now));
            sent.extend(requests(&mut table));
        }
        assert_eq!(sent, [Some(MAC); 3]);
        assert_eq!(state(&table), Some(NeighbourState::Failed));
        for now in 75..110 {
            table.handle_timeout(secs(now));
        }
        assert_eq!(state(&table), None);
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn an_unanswered_address_is_asked_for_once_a_second_and_fails_its_packets() {
        let mut table = table(10);
        let Resolution::Pending(index) = table.resolve(secs(0), NET, IP, PortId(1)) else {
            panic!("resolved out of nothing");
        };
        let held = Held {
            port: PortId(1),
            network: NET,
            frame: Bytes::from_static(b"frame"),
            offload: crate::packet::Offload::NONE,
            origin: crate::packet::Origin::Owned,
        };
        table.hold(index, held.clone());
        for _ in 0..50 {
            assert_eq!(table.resolve(secs(0), NET, IP, PortId(1)), Resolution::Pending(index));
        }
        assert_eq!(requests(&mut table).len(), 1);
        let mut events = Vec::new();
        for tenth in 0..50 {
            table.handle_timeout(Instant::from_nanos(tenth * 100_000_000));
            events.extend(std::iter::from_fn(|| table.poll_event()));
        }
        assert_eq!(events.pop(), Some(NeighbourEvent::Failed(vec![held])));
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn replies_nobody_asked_for_make_no_entry_and_a_new_mac_makes_it_stale() {
        let mut table = table(10);
        assert!(!table.heard_reply(secs(0), NET, IP, MAC));
        assert!(!table.merge(secs(0), NET, IP, MAC));
        table.heard_request(secs(0), NET, IP, MAC);
        assert_eq!(state(&table), Some(NeighbourState::Stale));
        let Resolution::Known(_, index) = table.resolve(secs(1), NET, IP, PortId(1)) else {
            panic!("unresolved");
        };
        let generation = table.generation(index);
        table.heard_reply(secs(2), NET, IP, MAC);
        assert_eq!(table.generation(index), generation);
        table.merge(secs(3), NET, IP, MacAddr([2, 0, 0, 0, 0, 8]));
        assert_eq!(state(&table), Some(NeighbourState::Stale));
        assert_ne!(table.generation(index), generation);
    }

    #[test]
    fn a_scan_is_limited_per_port_and_never_evicts_the_living() {
        let mut table = table(6);
        table.heard_request(secs(0), NET, IP, MAC);
        table.resolve(secs(0), NET, IP, PortId(2));
        table.heard_reply(secs(0), NET, IP, MAC);
        let scan = |table: &mut Neighbours, now, from: u8| {
            (from..from + 20)
                .filter(|last| {
                    let ip = Ipv4Addr::new(10, 0, 1, *last);
                    table.resolve(now, NET, ip, PortId(1)) != Resolution::Full
                })
                .count()
        };
        assert_eq!(scan(&mut table, secs(0), 0), 4);
        assert_eq!(scan(&mut table, secs(0), 20), 0);
        for now in 1..10 {
            table.handle_timeout(secs(now));
        }
        assert_eq!(scan(&mut table, secs(10), 40), 4);
        assert_eq!(state(&table), Some(NeighbourState::Reachable));
    }
}
