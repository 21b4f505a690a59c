//! The router's interfaces: the gateway of each network, and the uplink.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::quality::FixedState;
use ipnet::Ipv4Net;

use crate::id::NetworkId;
use crate::packet::{MacAddr, PortSpan};

/// The router in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The network.
    pub network: NetworkId,
    /// The gateway's MAC.
    pub mac: MacAddr,
    /// The gateway's address; errors and probes come from it.
    pub address: Ipv4Addr,
    /// Further own addresses (pool and static NAT).
    pub extra: Vec<Ipv4Addr>,
    /// The addresses that packets leaving by it are translated to; empty: its address.
    pub pool: Vec<Ipv4Addr>,
    /// The connected subnet.
    pub subnet: Ipv4Net,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// The outside is behind it: packets from inside are translated on their way there.
    pub is_outside: bool,
    /// MAC and address are those of tapway's host as well, which answers for them; tapway has
    /// these external ports and the published ones.
    pub shared: Option<PortSpan>,
}

impl Interface {
    /// The external addresses of translated packets.
    pub fn external(&self) -> &[Ipv4Addr] {
        if self.pool.is_empty() { std::slice::from_ref(&self.address) } else { &self.pool }
    }

    /// All addresses tapway has in this network.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        std::iter::once(self.address)
            .chain(self.extra.iter().copied())
            .chain(self.pool.iter().copied())
    }
}

/// All interfaces, by network and by address.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    by_network: Vec<Option<Interface>>,
    /// Its keys are configured, so nobody chooses them to collide.
    owned: HashMap<Ipv4Addr, NetworkId, FixedState>,
}

impl Interfaces {
    /// Enters an interface, replacing the network's earlier one.
    pub fn insert(&mut self, interface: Interface) {
        self.remove(interface.network);
        let at = interface.network.index();
        if self.by_network.len() <= at {
            self.by_network.resize(at + 1, None);
        }
        for address in interface.addresses() {
            self.owned.insert(address, interface.network);
        }
        if let Some(slot) = self.by_network.get_mut(at) {
            *slot = Some(interface);
        }
    }

    /// Removes a network's interface.
    pub fn remove(&mut self, network: NetworkId) {
        if let Some(slot) = self.by_network.get_mut(network.index()) {
            *slot = None;
        }
        self.owned.retain(|_, owner| *owner != network);
    }

    /// The interface of a network.
    pub fn get(&self, network: NetworkId) -> Option<&Interface> {
        self.by_network.get(network.index())?.as_ref()
    }

    /// The network in which an address is tapway's own.
    pub fn owner_of(&self, address: Ipv4Addr) -> Option<NetworkId> {
        self.owned.get(&address).copied()
    }

    /// The interface to the outside.
    pub fn outside(&self) -> Option<&Interface> {
        self.iter().find(|interface| interface.is_outside)
    }

    /// All interfaces.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.by_network.iter().flatten()
    }

    /// True if the address is the broadcast or network address of a connected subnet.
    pub fn is_directed_broadcast(&self, address: Ipv4Addr) -> bool {
        self.iter().any(|interface| {
            let subnet = interface.subnet;
            subnet.prefix_len() < 31
                && (address == subnet.broadcast() || address == subnet.network())
        })
    }
}
