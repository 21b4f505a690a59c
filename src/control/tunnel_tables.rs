//! Networks over several hosts and their peers, as they are shown: what is configured, joined with
//! what the ports of the tunnels count.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::config::{Config, Network, NetworkVxlan, tunnel_name};
use super::live::{PeerOrigin, VxlanView};
use super::model::Model;
use super::registry::Registry;
use crate::engine::{FdbRow, PortStats};
use crate::packet::vxlan::Vni;

/// A network over several hosts; what it counts is of all its tunnels together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanRow {
    /// The network.
    pub network: String,
    /// Its number.
    pub vni: Vni,
    /// What carries its frames: `socket` or `uplink`.
    pub underlay: String,
    /// tapway's own address there; none: the kernel chooses by route.
    pub address: Option<Ipv4Addr>,
    /// The UDP port of all tunnel endpoints.
    pub port: u16,
    /// Largest packet of its hosts, in bytes.
    pub mtu: u16,
    /// How many other tunnel endpoints have part of it.
    pub peers: usize,
    /// The multicast group that frames to many go to.
    pub group: Option<Ipv4Addr>,
    /// Whoever sends frames of it becomes a peer.
    pub accepts_any: bool,
    /// How many hosts are known behind its peers.
    pub endpoints: usize,
    /// What passed its tunnels.
    #[serde(flatten)]
    pub traffic: TunnelTraffic,
}

/// A tunnel to another endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    /// The network.
    pub network: String,
    /// Its number.
    pub vni: Vni,
    /// The other endpoint, or the group.
    pub peer: Ipv4Addr,
    /// How it became a peer.
    pub from: PeerOrigin,
    /// Frames can go there.
    pub is_up: bool,
    /// Why not.
    pub error: Option<String>,
    /// Largest packet of a host that the way there takes, in bytes.
    pub mtu: u16,
    /// How many MACs were learned there.
    pub macs: usize,
    /// How many hosts are known there.
    pub endpoints: usize,
    /// What passed the tunnel.
    #[serde(flatten)]
    pub traffic: TunnelTraffic,
}

/// What passed tunnels: inner frames, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelTraffic {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// The datagrams they came in: a super-frame is several.
    pub rx_segments: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// The datagrams they left in.
    pub tx_segments: u64,
    /// Lost frames of all reasons.
    pub dropped: u64,
}

impl TunnelTraffic {
    fn add(&mut self, port: &PortStats) {
        self.rx_frames += port.rx_frames;
        self.rx_bytes += port.rx_bytes;
        self.rx_segments += port.rx_segments;
        self.tx_frames += port.tx_frames;
        self.tx_bytes += port.tx_bytes;
        self.tx_segments += port.tx_segments;
        self.dropped += port.dropped;
    }
}

/// What the rows are made of.
pub struct TunnelTables<'t> {
    config: &'t Config,
    model: &'t Model,
    ports: HashMap<&'t str, &'t PortStats>,
}

impl<'t> TunnelTables<'t> {
    /// The tunnels of a configuration with what `ports` have counted.
    pub fn new(config: &'t Config, model: &'t Model, ports: &'t [PortStats]) -> Self {
        let ports = ports.iter().map(|port| (port.port.as_str(), port)).collect();
        Self { config, model, ports }
    }

    /// A row for each network over several hosts.
    pub fn networks(&self) -> Vec<VxlanRow> {
        let row = |(network, vxlan): (&Network, &NetworkVxlan)| {
            let (name, view) = (network.name.get_ref(), VxlanView::of(self.config, vxlan));
            let own = self.model.vtep.filter(|vtep| !vtep.address.is_unspecified());
            let mut traffic = TunnelTraffic::default();
            for (end, _) in view.far_ends() {
                let port = self.ports.get(tunnel_name(name, end).as_str());
                port.into_iter().for_each(|port| traffic.add(port));
            }
            VxlanRow {
                network: name.clone(),
                vni: view.vni,
                underlay: if self.config.vtep.is_uplink() { "uplink" } else { "socket" }.to_owned(),
                address: own.map(|vtep| vtep.address),
                port: self.config.vtep.port,
                mtu: network.mtu,
                peers: view.peers.len(),
                group: view.group,
                accepts_any: view.accepts_any,
                endpoints: view.endpoints.len(),
                traffic,
            }
        };
        self.stretched().map(row).collect()
    }

    /// A row for each tunnel, with the MACs that are learned and what keeps it down.
    pub fn peers(&self, fdb: &[FdbRow], registry: &Registry) -> Vec<PeerRow> {
        let mut macs: HashMap<&str, usize> = HashMap::new();
        for row in fdb.iter().filter(|row| !row.is_static) {
            if let Some(port) = &row.port {
                *macs.entry(port).or_default() += 1;
            }
        }
        let mut rows = Vec::new();
        for (network, vxlan) in self.stretched() {
            let (name, view) = (network.name.get_ref(), VxlanView::of(self.config, vxlan));
            for (peer, from) in view.far_ends() {
                let port_name = tunnel_name(name, peer);
                let port = self.ports.get(port_name.as_str());
                let mut traffic = TunnelTraffic::default();
                port.into_iter().for_each(|port| traffic.add(port));
                rows.push(PeerRow {
                    network: name.clone(),
                    vni: view.vni,
                    peer,
                    from,
                    is_up: port.is_some_and(|port| port.is_up),
                    error: registry.get(&port_name).and_then(|link| link.last_error),
                    mtu: port.map_or(0, |port| port.mtu),
                    macs: macs.get(port_name.as_str()).copied().unwrap_or_default(),
                    endpoints: view.endpoints.iter().filter(|known| known.peer == peer).count(),
                    traffic,
                });
            }
        }
        rows
    }

    fn stretched(&self) -> impl Iterator<Item = (&Network, &NetworkVxlan)> {
        let networks = self.config.networks.iter();
        networks.filter_map(|network| Some((network, network.vxlan.as_ref()?)))
    }
}
