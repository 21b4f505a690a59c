//! What ARP messages do to the table: only a request for an own address makes an entry, only an
//! answer that was asked for confirms one (RFC 826, RFC 1122).

use std::net::Ipv4Addr;

use super::{NeighbourEvent, NeighbourState, Neighbours};
use crate::id::NetworkId;
use crate::packet::MacAddr;
use crate::time::Instant;

impl Neighbours {
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

    /// Enters a neighbour as stale, as restoring a snapshot does.
    pub fn restore(&mut self, now: Instant, network: NetworkId, ip: Ipv4Addr, mac: MacAddr) {
        self.heard_request(now, network, ip, mac);
    }

    fn set_mac(&mut self, index: u32, mac: MacAddr) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.mac = Some(mac);
            self.entries.invalidate(index);
        }
    }

    fn release(&mut self, index: u32) {
        let held = self.hold.take(index);
        if !held.is_empty() {
            self.events.push_back(NeighbourEvent::Release(held));
        }
    }
}
