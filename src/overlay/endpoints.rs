//! Hosts behind tunnels that somebody told of: whom ARP is answered for.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::quality::FixedState;

use crate::id::NetworkId;
use crate::packet::MacAddr;

/// Known hosts behind tunnels, by network and address. Bound: what control tells.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// Its keys are configured, so nobody chooses them to collide.
    known: HashMap<(NetworkId, Ipv4Addr), MacAddr, FixedState>,
}

impl Endpoints {
    /// Replaces those of a network.
    pub fn set(&mut self, network: NetworkId, hosts: Vec<(Ipv4Addr, MacAddr)>) {
        self.known.retain(|(other, _), _| *other != network);
        self.known.extend(hosts.into_iter().map(|(ip, mac)| ((network, ip), mac)));
    }

    /// The MAC of a known host.
    pub fn get(&self, network: NetworkId, ip: Ipv4Addr) -> Option<MacAddr> {
        self.known.get(&(network, ip)).copied()
    }

    /// True if none is known anywhere.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Those of a network.
    pub fn of(&self, network: NetworkId) -> impl Iterator<Item = (Ipv4Addr, MacAddr)> {
        let hosts = self.known.iter();
        hosts.filter(move |((of, _), _)| *of == network).map(|((_, ip), mac)| (*ip, *mac))
    }
}
