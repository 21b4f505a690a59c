//! The states of a neighbour: how long each lasts, what follows, and whom it counts against.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Neighbour, NeighbourEvent, NeighbourState, Neighbours, Resolution};
use crate::id::{NetworkId, PortId};
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
impl Neighbours {
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

    pub(super) fn start(
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

    pub(super) fn ask_again(&mut self, now: Instant, index: u32, asked_by: PortId) {
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

    pub(super) fn request(&mut self, now: Instant, index: u32) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        entry.probes += 1;
        entry.last_request = Some(now);
        entry.deadline = now + RETRANSMIT;
        let to = entry.mac.filter(|_| entry.state == NeighbourState::Probe);
        let Neighbour { network, ip, asked_by, .. } = *entry;
        self.events.push_back(NeighbourEvent::Request { network, ip, to, asked_by });
        self.wheel.schedule(index, entry.deadline);
    }

    pub(super) fn set_state(&mut self, now: Instant, index: u32, state: NeighbourState) {
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
        let jitter = self.hasher.hash((index, now.as_nanos())) % (REACHABLE_MS + 1);
        Duration::from_millis(REACHABLE_MS / 2 + jitter)
    }

    /// Takes the entry out of the bookkeeping of its present state.
    pub(super) fn unlist(&mut self, index: u32) {
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

    /// Counts an incomplete entry against the port that asked for it.
    fn charge(&mut self, index: u32, port: PortId) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.asked_by = Some(port);
            self.count_unresolved(port, 1);
        }
    }

    /// The port that an unresolved entry counts against.
    pub fn asked_by(&self, index: u32) -> Option<PortId> {
        self.entries.get(index).and_then(|entry| entry.asked_by)
    }

    /// Counts an unresolved entry against another port, on whose behalf it is asked for next.
    pub fn pass_to(&mut self, index: u32, port: PortId) {
        let former = self.entries.get_mut(index).and_then(|entry| entry.asked_by.take());
        if let Some(former) = former {
            self.count_unresolved(former, -1);
            self.charge(index, port);
        }
    }

    pub(super) fn unresolved_of(&self, port: PortId) -> usize {
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
