//! Networks as they are shown.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::control::config::{Config, Network, NetworkVxlan, Peer, PeerSource};
use crate::packet::MacAddr;
use crate::packet::vxlan::Vni;

/// A network and the hosts in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// Its subnet; none: it is switched only.
    pub subnet: Option<Ipv4Net>,
    /// tapway's address in it.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// It has no way out and none in.
    pub internal: bool,
    /// Its hosts may talk to each other.
    pub icc: bool,
    /// It was made live, and is not in the file.
    pub live: bool,
    /// Its hosts.
    pub hosts: Vec<HostView>,
    /// Its part beyond this host; none: it is on this host only.
    pub vxlan: Option<VxlanView>,
}

/// A network's part beyond this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanView {
    /// Its number, the same on all hosts.
    pub vni: Vni,
    /// The multicast group that frames to many go to.
    pub group: Option<Ipv4Addr>,
    /// Whoever sends frames of the network becomes a peer.
    pub accepts_any: bool,
    /// The other tunnel endpoints.
    pub peers: Vec<PeerView>,
    /// Known hosts behind them.
    pub endpoints: Vec<EndpointView>,
}

/// Another tunnel endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its address.
    pub address: Ipv4Addr,
    /// How it became one.
    pub from: PeerOrigin,
}

/// How another tunnel endpoint became a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerOrigin {
    /// The file names it.
    Configured,
    /// It was made live.
    Live,
    /// It sent frames of the network.
    Learned,
    /// It is the multicast group.
    Group,
}

/// A known host behind a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name.
    pub name: Option<String>,
    /// Its MAC.
    pub mac: MacAddr,
    /// The peer that it is behind.
    pub peer: Ipv4Addr,
    /// It was made live, and is not in the file.
    pub live: bool,
}

/// A host in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: String,
    /// The port by which it is in this network.
    pub port: String,
    /// Its address; none: it brings its own.
    pub address: Option<Ipv4Addr>,
    /// Its MAC, where it is known.
    pub mac: Option<MacAddr>,
}

impl NetworkView {
    /// All networks of a configuration.
    pub fn all(config: &Config) -> Vec<Self> {
        config.networks.iter().map(|network| Self::of(config, network)).collect()
    }

    /// One of them.
    pub fn of(config: &Config, network: &Network) -> Self {
        let name = network.name.get_ref();
        let members = config.ports.iter().filter(|port| port.network.get_ref() == name);
        let hosts = members.map(|port| {
            let address = port.address.as_ref().map(|address| *address.get_ref());
            let mac = port.mac.as_ref().map(|mac| *mac.get_ref());
            HostView {
                name: port.host.clone(),
                port: port.name.get_ref().clone(),
                address,
                mac: mac.or(address.map(MacAddr::from_ipv4)),
            }
        });
        let router = network.router.as_ref();
        Self {
            name: name.clone(),
            subnet: router.map(|router| *router.subnet.get_ref()),
            gateway: router.map(|router| *router.gateway.get_ref()),
            mtu: network.mtu,
            internal: network.internal,
            icc: network.icc,
            live: config.is_live(&network.name.span()),
            hosts: hosts.collect(),
            vxlan: network.vxlan.as_ref().map(|vxlan| VxlanView::of(config, vxlan)),
        }
    }
}

impl VxlanView {
    /// Where its tunnels lead: to its group, and to each peer.
    pub fn far_ends(&self) -> impl Iterator<Item = (Ipv4Addr, PeerOrigin)> {
        let group = self.group.map(|group| (group, PeerOrigin::Group));
        group.into_iter().chain(self.peers.iter().map(|peer| (peer.address, peer.from)))
    }

    /// That of a network.
    pub fn of(config: &Config, vxlan: &NetworkVxlan) -> Self {
        let peers = vxlan.peers.iter().map(|peer| PeerView::of(config, peer));
        let endpoints = vxlan.endpoints.iter().map(|endpoint| EndpointView {
            address: *endpoint.address.get_ref(),
            name: endpoint.name.as_ref().map(|name| name.get_ref().clone()),
            mac: endpoint.mac(),
            peer: *endpoint.peer.get_ref(),
            live: config.is_live(&endpoint.address.span()),
        });
        Self {
            vni: *vxlan.vni.get_ref(),
            group: vxlan.group.as_ref().map(|group| *group.get_ref()),
            accepts_any: vxlan.accepts_any,
            peers: peers.collect(),
            endpoints: endpoints.collect(),
        }
    }
}

impl PeerView {
    fn of(config: &Config, peer: &Peer) -> Self {
        let from = match peer.source {
            PeerSource::Learned => PeerOrigin::Learned,
            _ if config.is_live(&peer.address.span()) => PeerOrigin::Live,
            PeerSource::Own | PeerSource::Common => PeerOrigin::Configured,
        };
        Self { address: *peer.address.get_ref(), from }
    }
}
