//! Packets that wait for a neighbour, and the bounds on them.
//!
//! Bounds: packets per neighbour, bytes per port they came in by, bytes in all. The oldest
//! packet goes first (RFC 1122 2.3.2.2): at the bound of a neighbour its own, at that of a port
//! the port's, at that of all the oldest of the port that holds most. So a host that sends to
//! addresses nobody has takes no room from hosts behind other ports.

use crate::id::PortId;
use crate::packet::Held;
use crate::table::{Links, List, Slab};

/// Packets that wait for one neighbour (Linux unres_qlen).
const PER_NEIGHBOUR: usize = 101;
/// Bytes of packets that came in by one port.
const PORT_BYTES: usize = 1024 * 1024;
/// Bytes of all packets.
const ALL_BYTES: usize = 8 * 1024 * 1024;
/// What a packet counts on top of its bytes: its record here, and its buffer.
const OVERHEAD: usize = 128;

/// A packet, and the neighbour entry it waits at.
#[derive(Debug)]
struct Waiting {
    held: Held,
    neighbour: u32,
}

/// What came in by one port and waits, oldest first.
#[derive(Clone, Debug, Default)]
struct OfPort {
    list: List,
    bytes: usize,
}

/// All packets that wait.
#[derive(Debug)]
pub(super) struct HoldQueues {
    waiting: Slab<Waiting>,
    /// By the index of the neighbour's entry.
    neighbours: Vec<List>,
    neighbour_links: Links,
    ports: Vec<OfPort>,
    port_links: Links,
    bytes: usize,
}

impl Default for HoldQueues {
    fn default() -> Self {
        Self {
            waiting: Slab::new(ALL_BYTES / OVERHEAD),
            neighbours: Vec::new(),
            neighbour_links: Links::default(),
            ports: Vec::new(),
            port_links: Links::default(),
            bytes: 0,
        }
    }
}

impl HoldQueues {
    /// Packets that wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Lets a packet wait at the entry `neighbour`; gives back those that had to make room,
    /// among them itself if there is none.
    pub(super) fn push(&mut self, neighbour: u32, held: Held) -> Vec<Held> {
        let (port, bytes) = (held.port, cost(&held));
        let mut gone = Vec::new();
        while let Some(bound) = self.bound_at(neighbour, port, bytes) {
            match bound.and_then(|oldest| self.remove(oldest)) {
                Some(oldest) => gone.push(oldest),
                None => {
                    gone.push(held);
                    return gone;
                }
            }
        }
        let index = match self.waiting.insert(Waiting { held, neighbour }) {
            Ok(index) => index,
            Err(refused) => {
                gone.push(refused.held);
                return gone;
            }
        };
        self.bytes += bytes;
        if self.neighbours.len() <= neighbour as usize {
            self.neighbours.resize(neighbour as usize + 1, List::default());
        }
        if let Some(queue) = self.neighbours.get_mut(neighbour as usize) {
            queue.push_back(&mut self.neighbour_links, index);
        }
        if self.ports.len() <= port.index() {
            self.ports.resize(port.index() + 1, OfPort::default());
        }
        if let Some(of_port) = self.ports.get_mut(port.index()) {
            of_port.bytes += bytes;
            of_port.list.push_back(&mut self.port_links, index);
        }
        gone
    }

    /// Takes all packets that wait at an entry, oldest first.
    pub(super) fn take(&mut self, neighbour: u32) -> Vec<Held> {
        let mut held = Vec::new();
        while let Some(next) = self.queue(neighbour).front().and_then(|index| self.remove(index)) {
            held.push(next);
        }
        held
    }

    /// If a packet is beyond a bound: the one that has to go for it, if there is one.
    fn bound_at(&self, neighbour: u32, port: PortId, bytes: usize) -> Option<Option<u32>> {
        let queue = self.queue(neighbour);
        if queue.len() >= PER_NEIGHBOUR {
            return Some(queue.front());
        }
        let own = self.ports.get(port.index());
        let held = own.map_or(0, |own| own.bytes);
        if held + bytes > PORT_BYTES {
            return Some(own.and_then(|own| own.list.front()));
        }
        if self.bytes + bytes > ALL_BYTES {
            let most = self.ports.iter().max_by_key(|port| port.bytes);
            return Some(most.and_then(|most| most.list.front()));
        }
        None
    }

    fn remove(&mut self, index: u32) -> Option<Held> {
        let Waiting { held, neighbour } = self.waiting.remove(index)?;
        let bytes = cost(&held);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(queue) = self.neighbours.get_mut(neighbour as usize) {
            queue.remove(&mut self.neighbour_links, index);
        }
        if let Some(of_port) = self.ports.get_mut(held.port.index()) {
            of_port.bytes = of_port.bytes.saturating_sub(bytes);
            of_port.list.remove(&mut self.port_links, index);
        }
        Some(held)
    }

    fn queue(&self, neighbour: u32) -> List {
        self.neighbours.get(neighbour as usize).copied().unwrap_or_default()
    }
}

/// A counted packet's bytes.
fn cost(held: &Held) -> usize {
    held.frame.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NetworkId;
    use crate::packet::{Offload, Origin};
    use bytes::Bytes;

    fn packet(port: u16, len: usize) -> Held {
        Held {
            port: PortId(port),
            network: NetworkId(1),
            frame: Bytes::from(vec![0; len]),
            offload: Offload::NONE,
            origin: Origin::Owned,
        }
    }

    /// Puts `count` packets of 1 KiB on queues of their own from `first` on.
    fn fill(queues: &mut HoldQueues, port: u16, first: u32, count: u32) -> Vec<Held> {
        (first..first + count)
            .flat_map(|neighbour| queues.push(neighbour, packet(port, 1024 - OVERHEAD)))
            .collect()
    }

    #[test]
    fn a_port_at_its_bound_loses_its_own_oldest() {
        let mut queues = HoldQueues::default();
        assert!(fill(&mut queues, 1, 0, 1024).is_empty());
        assert_eq!(fill(&mut queues, 1, 5000, 3), vec![packet(1, 1024 - OVERHEAD); 3]);
        assert!(fill(&mut queues, 2, 5000, 1).is_empty());
        assert_eq!(
            (queues.take(0).len(), queues.take(3).len(), queues.take(5000).len()),
            (0, 1, 2)
        );
    }

    #[test]
    fn at_the_bound_of_all_the_port_that_holds_most_makes_room() {
        let mut queues = HoldQueues::default();
        for port in 0..8 {
            assert!(fill(&mut queues, port, u32::from(port) * 2000, 1024).is_empty());
        }
        assert!(queues.take(0).len() == 1 && fill(&mut queues, 9, 50_000, 1).is_empty());
        let gone = fill(&mut queues, 9, 50_001, 100);
        assert!(gone.len() == 100 && gone.iter().all(|held| held.port != PortId(9)));
        for neighbour in 0..60_000 {
            queues.take(neighbour);
        }
        assert_eq!((queues.len(), queues.bytes), (0, 0));
        assert!(queues.ports.iter().all(|port| port.bytes == 0 && port.list.is_empty()));
    }
}
