//! What is beyond this host: the peers of networks over several hosts, and the known hosts behind
//! them.
//!
//! Whoever knows them elsewhere, by hand or out of a store, says with [`Draft::set_remote`] what
//! those of a network shall be. Everything here may be said again and changes nothing then.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::edit::Draft;
use super::made::{MadeEndpoint, MadePeer};
use crate::control::config::{Config, Endpoint, MAX_PEERS, Network, NetworkVxlan, Peer};
use crate::control::rejection::Rejection;
use crate::packet::MacAddr;

/// What the peers and known hosts of a network shall be, besides those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// The other tunnel endpoints.
    pub peers: Vec<IpAddr>,
    /// Known hosts behind them.
    #[serde(default)]
    pub endpoints: Vec<RemoteHost>,
}

/// A known host behind a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteHost {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name; none: it has none.
    pub name: Option<String>,
    /// Its MAC; none: derived from the address.
    pub mac: Option<MacAddr>,
    /// The peer that it is behind.
    pub peer: IpAddr,
}

impl<'d> Draft<'d> {
    /// All peers and known hosts of a network that were made live are these from now on. What the
    /// file says stays; a learned peer that is named is one as any other.
    ///
    /// # Errors
    /// If there is no such network, or it is on this host only.
    pub fn set_remote(&mut self, network: &str, remote: Remote) -> Result<(), Rejection> {
        self.stretched(network)?;
        let Remote { peers, endpoints } = remote;
        self.made.peer.retain(|made| made.network != network || made.learned);
        self.made.endpoint.retain(|made| made.network != network);
        let mut seen = HashSet::new();
        for peer in peers.into_iter().filter(|peer| seen.insert(*peer)) {
            self.put_peer(network, peer)?;
        }
        let known = self.endpoints_of_file(network)?;
        for host in endpoints {
            if !self.says_file(network, &host, known.get(&host.address).copied())? {
                self.enter(network, host);
            }
        }
        Ok(())
    }

    /// Another tunnel endpoint has part of a network.
    ///
    /// # Errors
    /// If there is no such network, or it is on this host only.
    pub fn put_peer(&mut self, network: &str, address: IpAddr) -> Result<(), Rejection> {
        let vxlan = self.stretched(network)?;
        let is_it = |made: &MadePeer| made.network == network && made.address == address;
        if self.is_of_file(peer_at(vxlan, address).map(|peer| peer.address.span())) {
            return Ok(());
        }
        self.made.peer.retain(|made| !is_it(made));
        self.made.peer.push(MadePeer { network: network.to_owned(), address, learned: false });
        Ok(())
    }

    /// Another tunnel endpoint has part of a network no more, or was only thought to.
    ///
    /// # Errors
    /// If it is no peer, the file's, or known hosts are behind it.
    pub fn remove_peer(&mut self, network: &str, address: IpAddr) -> Result<(), Rejection> {
        let vxlan = self.stretched(network)?;
        let Some(peer) = peer_at(vxlan, address) else {
            let what = format!("{address} is no peer of network {network}");
            return Err(Rejection::not_found(what, "`tapway show peers` lists them"));
        };
        if self.is_of_file(Some(peer.address.span())) {
            return Err(self.not_made("peer", &format!("{address} of network {network}"), true));
        }
        let made = self.made.endpoint.iter();
        let mut behind = made.filter(|made| made.network == network && made.peer == address);
        if let Some(host) = behind.next() {
            let what = format!("{} is known to be behind {address}", host.address);
            let remedy = format!("`tapway network endpoint rm {network} {}` first", host.address);
            return Err(Rejection::conflict(what, remedy));
        }
        self.made.peer.retain(|made| made.network != network || made.address != address);
        Ok(())
    }

    /// A host is behind a peer; it may have been behind another one.
    ///
    /// # Errors
    /// If there is no such network, or the file says something else of this address.
    pub fn put_endpoint(&mut self, network: &str, host: RemoteHost) -> Result<(), Rejection> {
        let known = self.endpoints_of_file(network)?.get(&host.address).copied();
        if !self.says_file(network, &host, known)? {
            let is_it =
                |made: &MadeEndpoint| made.network == network && made.address == host.address;
            self.made.endpoint.retain(|made| !is_it(made));
            self.enter(network, host);
        }
        Ok(())
    }

    /// Nothing is known any more of a host behind a peer.
    ///
    /// # Errors
    /// If nothing was, or by the file.
    pub fn remove_endpoint(&mut self, network: &str, address: Ipv4Addr) -> Result<(), Rejection> {
        let is_known = self.stretched(network)?.endpoint(address).is_some();
        let before = self.made.endpoint.len();
        self.made.endpoint.retain(|made| made.network != network || made.address != address);
        if self.made.endpoint.len() < before {
            return Ok(());
        }
        if is_known {
            return Err(self.of_file(network, address));
        }
        let what = format!("network {network} has no endpoint {address}");
        Err(Rejection::not_found(what, "`tapway network inspect` lists them"))
    }

    /// A tunnel endpoint sent frames of a network that accepts any: it is a peer until tapway
    /// stops. False if there are as many as there may be.
    pub fn learn_peer(&mut self, network: &str, address: Ipv4Addr) -> bool {
        let config = self.config;
        let accepts = |name: &str| -> Option<&NetworkVxlan> {
            config.network(name)?.vxlan.as_ref().filter(|vxlan| vxlan.accepts_any)
        };
        // Of a network that is no more, or has become choosy, none is kept.
        self.made.peer.retain(|made| !made.learned || accepts(&made.network).is_some());
        let Some(vxlan) = accepts(network).filter(|vxlan| vxlan.peer(address).is_none()) else {
            return true;
        };
        if vxlan.peers.len() >= MAX_PEERS {
            return false;
        }
        let (network, address) = (network.to_owned(), IpAddr::V4(address));
        self.made.peer.push(MadePeer { network, address, learned: true });
        true
    }

    /// A network's part beyond this host.
    fn stretched(&self, network: &str) -> Result<&'d NetworkVxlan, Rejection> {
        let config: &'d Config = self.config;
        let Some(found) = config.network(network) else {
            return Err(self.not_there("network", network));
        };
        let Network { vxlan: Some(vxlan), .. } = found else {
            let what = format!("network {network} is on this host only");
            let remedy =
                "give it a number: `vxlan` in the file, or `tapway network create --vxlan`";
            return Err(Rejection::conflict(what, remedy));
        };
        Ok(vxlan)
    }

    /// Enters a known host. A peer that only was learned is wished for then, or a restart would find
    /// the host behind nobody.
    fn enter(&mut self, network: &str, host: RemoteHost) {
        let RemoteHost { address, name, mac, peer } = host;
        let behind =
            |made: &&mut MadePeer| made.learned && made.address == peer && made.network == network;
        self.made.peer.iter_mut().filter(behind).for_each(|made| made.learned = false);
        let network = network.to_owned();
        self.made.endpoint.push(MadeEndpoint { network, name, mac, address, peer });
    }

    /// Known hosts of a network that the file names.
    fn endpoints_of_file(
        &self,
        network: &str,
    ) -> Result<HashMap<Ipv4Addr, &'d Endpoint>, Rejection> {
        let all = self.stretched(network)?.endpoints.iter();
        let named = all.filter(|known| self.is_of_file(Some(known.address.span())));
        Ok(named.map(|known| (*known.address.get_ref(), known)).collect())
    }

    /// True if the file says the same of a host; what it says otherwise stays.
    fn says_file(
        &self,
        network: &str,
        host: &RemoteHost,
        known: Option<&Endpoint>,
    ) -> Result<bool, Rejection> {
        let Some(known) = known else { return Ok(false) };
        let is_same = IpAddr::V4(*known.peer.get_ref()) == host.peer
            && known.name.as_ref().map(|name| name.get_ref()) == host.name.as_ref()
            && known.mac() == host.mac.unwrap_or(MacAddr::from_ipv4(host.address));
        if is_same { Ok(true) } else { Err(self.of_file(network, host.address)) }
    }

    fn is_of_file(&self, place: Option<std::ops::Range<usize>>) -> bool {
        place.is_some_and(|place| !self.config.is_live(&place))
    }

    fn of_file(&self, network: &str, address: Ipv4Addr) -> Rejection {
        self.not_made("endpoint", &format!("{address} of network {network}"), true)
    }
}

fn peer_at(vxlan: &NetworkVxlan, address: IpAddr) -> Option<&Peer> {
    match address {
        IpAddr::V4(address) => vxlan.peer(address),
        IpAddr::V6(_) => None,
    }
}
