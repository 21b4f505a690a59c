//! Published ports: permanent mappings from external ports to ports of an inside host.
//!
//! A range is one entry whatever its width, found by a search over range starts.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::id::NetworkId;
use crate::packet::{PROTOCOL_TCP, PROTOCOL_UDP};

/// A published port or range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// The address it answers on; none: every address of tapway.
    pub address: Option<Ipv4Addr>,
    /// First external port.
    pub port: u16,
    /// Ports in the range, at least one.
    pub count: u16,
    /// The network of the host.
    pub network: NetworkId,
    /// The host and its first port.
    pub target: Endpoint,
}

/// Two published ranges meet on one address and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("already published to {}", .0.target)]
pub struct PublishConflict(pub Publish);

impl Publish {
    /// The inside endpoint behind an external port of the range.
    pub const fn target_of(&self, port: u16) -> Endpoint {
        let step = port.wrapping_sub(self.port);
        Endpoint::new(self.target.ip, self.target.port.wrapping_add(step))
    }

    /// True if it answers on an external endpoint.
    pub fn answers(&self, protocol: u8, at: Endpoint) -> bool {
        self.protocol == protocol
            && self.address.is_none_or(|address| address == at.ip)
            && self.covers(at.port)
    }

    /// The last external port.
    pub const fn last(&self) -> u16 {
        self.port.saturating_add(self.count.saturating_sub(1))
    }

    const fn covers(&self, port: u16) -> bool {
        port >= self.port && port - self.port < self.count
    }

    const fn covers_target(&self, port: u16) -> bool {
        port >= self.target.port && port - self.target.port < self.count
    }
}

type Ranges = BTreeMap<u16, Publish>;

/// All published ports.
#[derive(Clone, Debug, Default)]
pub struct Publishes {
    by_address: HashMap<(u8, Option<Ipv4Addr>), Ranges>,
    /// The entries of a host, in the order of publishing.
    by_target: HashMap<(NetworkId, u8, Ipv4Addr), Vec<Publish>>,
    /// An external endpoint at which tapway itself listens: protocol, address, port.
    own: Option<(u8, Endpoint)>,
}

impl Publishes {
    /// Publishes.
    ///
    /// # Errors
    /// The entry that has a port of the range already, on this address or on all.
    pub fn insert(&mut self, publish: Publish) -> Result<(), PublishConflict> {
        if let Some(other) = self.conflict(&publish) {
            return Err(PublishConflict(other));
        }
        let Publish { protocol, address, network, target, .. } = publish;
        self.by_address.entry((protocol, address)).or_default().insert(publish.port, publish);
        self.by_target.entry((network, protocol, target.ip)).or_default().push(publish);
        Ok(())
    }

    /// Takes a range back; none if it was not published so.
    pub fn remove(&mut self, publish: &Publish) -> Option<Publish> {
        let Publish { protocol, address, network, target, .. } = *publish;
        let ranges = self.by_address.get_mut(&(protocol, address))?;
        if ranges.get(&publish.port) != Some(publish) {
            return None;
        }
        let removed = ranges.remove(&publish.port);
        let place = (network, protocol, target.ip);
        if let Some(targets) = self.by_target.get_mut(&place) {
            targets.retain(|other| other != publish);
            if targets.is_empty() {
                self.by_target.remove(&place);
            }
        }
        removed
    }

    /// The entry that answers on an external endpoint.
    pub fn find(&self, protocol: u8, address: Ipv4Addr, port: u16) -> Option<&Publish> {
        if self.by_address.is_empty() {
            return None;
        }
        let in_ranges = |address| {
            let ranges = self.by_address.get(&(protocol, address))?;
            let (_, publish) = ranges.range(..=port).next_back()?;
            publish.covers(port).then_some(publish)
        };
        in_ranges(Some(address)).or_else(|| in_ranges(None))
    }

    /// Keeps an external endpoint for tapway itself, in place of a former one: no session gets it.
    pub fn set_own(&mut self, own: Option<(u8, Endpoint)>) {
        self.own = own;
    }

    /// True if a session may have an external endpoint: it is neither published nor tapway's own.
    pub(super) fn leaves_free(&self, protocol: u8, at: Endpoint) -> bool {
        self.own != Some((protocol, at)) && self.find(protocol, at.ip, at.port).is_none()
    }

    /// The first port from `from` on that a session may have on an address.
    pub(super) fn next_free(&self, protocol: u8, address: Ipv4Addr, from: u16) -> Option<u16> {
        let mut port = from;
        loop {
            match self.find(protocol, address, port) {
                Some(publish) => port = publish.last().checked_add(1)?,
                None if self.own == Some((protocol, Endpoint::new(address, port))) => {
                    port = port.checked_add(1)?;
                }
                None => return Some(port),
            }
        }
    }

    /// The external endpoint that an inside endpoint is published as, among `addresses`; its
    /// traffic leaves by it. A port published on all addresses has the first of them. Of several
    /// entries the first published counts.
    pub fn source_of(
        &self,
        network: NetworkId,
        protocol: u8,
        at: Endpoint,
        addresses: &[Ipv4Addr],
    ) -> Option<Endpoint> {
        if self.by_target.is_empty() {
            return None;
        }
        let entries = self.by_target.get(&(network, protocol, at.ip))?;
        entries.iter().find_map(|publish| {
            let address = match publish.address {
                Some(address) => addresses.iter().find(|own| **own == address),
                None => addresses.first(),
            };
            let port = publish.port.wrapping_add(at.port.wrapping_sub(publish.target.port));
            publish.covers_target(at.port).then_some(Endpoint::new(*address?, port))
        })
    }

    /// True if a host publishes anything.
    pub fn has_target(&self, network: NetworkId, ip: Ipv4Addr) -> bool {
        [PROTOCOL_TCP, PROTOCOL_UDP]
            .into_iter()
            .any(|protocol| self.by_target.contains_key(&(network, protocol, ip)))
    }

    /// All entries, by protocol, address and port.
    pub fn iter(&self) -> impl Iterator<Item = &Publish> {
        let mut keys: Vec<_> = self.by_address.keys().collect();
        keys.sort();
        keys.into_iter().filter_map(|key| self.by_address.get(key)).flat_map(BTreeMap::values)
    }

    fn conflict(&self, new: &Publish) -> Option<Publish> {
        self.by_address
            .iter()
            .filter(|((protocol, address), _)| {
                let overlap = address.is_none() || new.address.is_none() || *address == new.address;
                *protocol == new.protocol && overlap
            })
            .find_map(|(_, ranges)| {
                let (_, below) = ranges.range(..=new.last()).next_back()?;
                (below.last() >= new.port).then_some(*below)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(address: Option<[u8; 4]>, port: u16, count: u16, target: u16) -> Publish {
        Publish {
            protocol: 6,
            address: address.map(Ipv4Addr::from),
            port,
            count,
            network: NetworkId(1),
            target: Endpoint::new(Ipv4Addr::new(172, 17, 0, 2), target),
        }
    }

    #[test]
    fn a_host_publishes_until_its_last_entry_is_removed() {
        let mut table = Publishes::default();
        let host = Ipv4Addr::new(172, 17, 0, 2);
        let entries =
            [publish(None, 80, 1, 80), Publish { protocol: 17, ..publish(None, 53, 1, 53) }];
        for entry in entries {
            table.insert(entry).unwrap();
        }
        assert!(!table.has_target(NetworkId(2), host));
        assert!(!table.has_target(NetworkId(1), Ipv4Addr::new(172, 17, 0, 3)));
        for entry in entries {
            assert!(table.has_target(NetworkId(1), host));
            table.remove(&entry);
        }
        assert!(!table.has_target(NetworkId(1), host));
    }

    #[test]
    fn ranges_translate_both_ways_and_conflicts_are_named() {
        let mut table = Publishes::default();
        let range = publish(None, 8000, 100, 9000);
        let single = publish(Some([192, 168, 33, 10]), 80, 1, 80);
        table.insert(range).unwrap();
        table.insert(single).unwrap();
        let external = Ipv4Addr::new(192, 168, 33, 10);
        let target = |port| table.find(6, external, port).map(|found| found.target_of(port).port);
        assert_eq!(target(8099), Some(9099));
        assert_eq!(target(8100), None);
        assert_eq!(target(80), Some(80));
        assert_eq!(table.find(6, Ipv4Addr::new(172, 17, 0, 1), 80), None);
        assert_eq!(table.find(17, external, 80), None);
        let source = |table: &Publishes, port| {
            let inside = Endpoint::new(Ipv4Addr::new(172, 17, 0, 2), port);
            table.source_of(NetworkId(1), 6, inside, &[external]).map(|source| source.port)
        };
        // A second way to a port in the middle of a range hides nothing of the range.
        table.insert(publish(None, 443, 1, 9050)).unwrap();
        assert_eq!((source(&table, 9050), source(&table, 9051)), (Some(8050), Some(8051)));
        // An address that is not among those translated to gives no source.
        table.insert(publish(Some([172, 17, 0, 1]), 22, 1, 22)).unwrap();
        assert_eq!(source(&table, 22), None);
        assert_eq!(table.insert(publish(None, 80, 1, 81)), Err(PublishConflict(single)));
        assert_eq!(
            table.insert(publish(Some([1, 1, 1, 1]), 7990, 11, 1)),
            Err(PublishConflict(range))
        );
        assert_eq!(table.remove(&range), Some(range));
        assert_eq!((source(&table, 9050), source(&table, 9051)), (Some(443), None));
        assert_eq!(table.remove(&range), None);
    }
}
