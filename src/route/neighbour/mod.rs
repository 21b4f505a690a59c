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

mod entry;
mod heard;
mod hold;
mod states;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::id::{NetworkId, PortId};
use crate::packet::{Held, MacAddr};
use crate::table::{HashIndex, KeyHash, Links, List, Slab, TimerWheel};
use crate::time::Instant;

use hold::HoldQueues;

pub use entry::{Neighbour, NeighbourEvent, NeighbourLimits, NeighbourState, Resolution};

const TICK: Duration = Duration::from_millis(100);
const TURN: usize = 8192;

/// The neighbours of all networks.
#[derive(Debug)]
pub struct Neighbours {
    entries: Slab<Neighbour>,
    index: HashIndex,
    hasher: KeyHash,
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
            hasher: KeyHash::new(seed),
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
        let Some(entry) = self.entries.get(index) else { return Resolution::Full };
        if let (NeighbourState::Reachable, Some(mac)) = (entry.state, entry.mac)
            && now <= entry.deadline
        {
            return Resolution::Known(mac, index);
        }
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

    /// The entry of a neighbour.
    pub fn get(&self, network: NetworkId, ip: Ipv4Addr) -> Option<&Neighbour> {
        self.find(network, ip).and_then(|index| self.entries.get(index))
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

    /// Forgets one neighbour; gives back its MAC.
    pub fn forget(&mut self, network: NetworkId, ip: Ipv4Addr) -> Option<MacAddr> {
        let index = self.find(network, ip)?;
        let mac = self.entries.get(index).and_then(|entry| entry.mac);
        self.remove(index);
        mac
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

    pub(super) fn find(&self, network: NetworkId, ip: Ipv4Addr) -> Option<u32> {
        self.index.find(self.hash(network, ip), |index| {
            self.entries.get(index).is_some_and(|entry| entry.ip == ip && entry.network == network)
        })
    }

    fn hash(&self, network: NetworkId, ip: Ipv4Addr) -> u64 {
        self.hasher.hash(u64::from(network.0) << 32 | u64::from(ip.to_bits()))
    }

    pub(super) fn insert(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr) -> Option<u32> {
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

    pub(super) fn remove(&mut self, index: u32) {
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
}
