//! What each inside host holds: sessions, external ports, its external address.

use std::net::Ipv4Addr;

use crate::id::NetworkId;
use crate::table::{HashIndex, KeyHash, List, Slab};

/// An inside host with at least one session.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub network: NetworkId,
    pub ip: Ipv4Addr,
    pub sessions: usize,
    /// External ports per protocol class: TCP, UDP, ICMP.
    pub ports: [usize; 3],
    /// Its transitory sessions, oldest first: the ones to recycle.
    pub transitory: List,
    /// The one external address all its mappings use (RFC 4787 REQ-2).
    pub external: Option<Ipv4Addr>,
}

/// Hosts by address. Bound: two per session, its own host and that of the mapping it goes to.
#[derive(Debug)]
pub(super) struct Hosts {
    hosts: Slab<Host>,
    index: HashIndex,
    hasher: KeyHash,
}

impl Hosts {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        Self {
            hosts: Slab::new(capacity),
            index: HashIndex::new(capacity),
            hasher: KeyHash::new(seed),
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Host> {
        self.hosts.get(index)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Host> {
        self.hosts.get_mut(index)
    }

    pub(super) fn find(&self, network: NetworkId, ip: Ipv4Addr) -> Option<u32> {
        self.index.find(self.hash(network, ip), |index| {
            self.hosts.get(index).is_some_and(|host| host.ip == ip && host.network == network)
        })
    }

    pub(super) fn find_or_insert(&mut self, network: NetworkId, ip: Ipv4Addr) -> Option<u32> {
        if let Some(index) = self.find(network, ip) {
            return Some(index);
        }
        let host = Host {
            network,
            ip,
            sessions: 0,
            ports: [0; 3],
            transitory: List::default(),
            external: None,
        };
        let index = self.hosts.insert(host).ok()?;
        if self.index.insert(self.hash(network, ip), index).is_err() {
            self.hosts.remove(index);
            return None;
        }
        Some(index)
    }

    /// Forgets a host that holds nothing any more: another host's session may keep one of its
    /// mappings when its own sessions have ended.
    pub(super) fn remove_if_idle(&mut self, index: u32) {
        let idle = self.hosts.get(index).filter(|host| host.sessions == 0 && host.ports == [0; 3]);
        if let Some((network, ip)) = idle.map(|host| (host.network, host.ip)) {
            self.hosts.remove(index);
            self.index.remove(self.hash(network, ip), index);
        }
    }

    /// The external address of a host out of `pool`: the same as long as it has sessions, and
    /// spread over the pool by a hash of the host.
    pub(super) fn external(&mut self, index: u32, pool: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let host = self.hosts.get_mut(index)?;
        if let Some(external) = host.external.filter(|external| pool.contains(external)) {
            return Some(external);
        }
        let number = self.hasher.hash((host.network.0, host.ip.to_bits())) as usize;
        host.external = pool.get(number.checked_rem(pool.len())?).copied();
        host.external
    }

    fn hash(&self, network: NetworkId, ip: Ipv4Addr) -> u64 {
        self.hasher.hash(u64::from(network.0) << 32 | u64::from(ip.to_bits()))
    }
}
