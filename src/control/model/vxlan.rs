//! Networks over several hosts: the VTEP, a port for the underlay, and of each network one to each
//! peer.

use std::net::{IpAddr, Ipv4Addr};

use super::PortEntry;
use super::ids::Ids;
use crate::control::config::{
    Config, Endpoint, Network, NetworkVxlan, VTEP_NAME, VtepSettings, tunnel_name,
};
use crate::engine::{PortSpec, Underlay, Vtep, VxlanSpec};
use crate::id::{NetworkId, PortId};
use crate::io::{PortPlan, TunnelPlan, VxlanPlan};
use crate::packet::MacAddr;
use crate::packet::vxlan::TUNNEL_OVERHEAD;
use crate::switch::{PortLimits, PortRole, Tunnel};

/// A known host behind a peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointEntry {
    /// Its network.
    pub network: NetworkId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC.
    pub mac: MacAddr,
    /// The peer that it is behind.
    pub peer: Ipv4Addr,
}

/// tapway as a tunnel endpoint, if a network needs it.
pub(super) fn vtep(config: &Config, ids: &Ids) -> Option<Vtep> {
    let VtepSettings { address, port, .. } = &config.vtep;
    let address = match &config.uplink {
        Some(uplink) if config.vtep.is_uplink() => uplink.own_address().map(|own| own.addr()),
        _ => address.as_ref().map(|address| *address.get_ref()),
    };
    let underlay = match config.vtep.is_uplink() {
        true => Underlay::Uplink,
        false => Underlay::Port(ids.port(VTEP_NAME)),
    };
    let vtep = Vtep { address: address.unwrap_or(Ipv4Addr::UNSPECIFIED), port: *port, underlay };
    config.is_stretched().then_some(vtep)
}

pub(super) fn spec(network: &Network) -> Option<VxlanSpec> {
    let vxlan = network.vxlan.as_ref()?;
    Some(VxlanSpec {
        vni: *vxlan.vni.get_ref(),
        accepts_any: vxlan.accepts_any,
        carries_tags: vxlan.carries_tags,
    })
}

/// What the ports of tunnels and of the underlay are called.
pub(super) fn port_names(config: &Config) -> impl Iterator<Item = String> {
    let underlay = has_sockets(config).then(|| VTEP_NAME.to_owned());
    let tunnels = stretched(config).flat_map(|(network, vxlan)| {
        let name = network.name.get_ref();
        far_ends(vxlan).into_iter().map(move |peer| tunnel_name(name, peer))
    });
    underlay.into_iter().chain(tunnels)
}

pub(super) fn ports(config: &Config, ids: &Ids) -> Vec<PortEntry> {
    let underlay = has_sockets(config).then(|| underlay(config, ids));
    let tunnels = stretched(config).flat_map(|(network, vxlan)| {
        let ends = far_ends(vxlan).into_iter();
        ends.map(move |peer| tunnel(config, ids, (network, vxlan), peer))
    });
    underlay.into_iter().chain(tunnels).collect()
}

/// All known hosts behind peers, sorted.
pub(super) fn endpoints(config: &Config, ids: &Ids) -> Vec<EndpointEntry> {
    let all = stretched(config).flat_map(|(network, vxlan)| {
        let network = ids.network(network.name.get_ref());
        vxlan.endpoints.iter().map(move |endpoint| EndpointEntry {
            network,
            address: *endpoint.address.get_ref(),
            mac: endpoint.mac(),
            peer: *endpoint.peer.get_ref(),
        })
    });
    let mut all: Vec<EndpointEntry> = all.collect();
    all.sort_unstable();
    all
}

fn stretched(config: &Config) -> impl Iterator<Item = (&Network, &NetworkVxlan)> {
    config.networks.iter().filter_map(|network| Some((network, network.vxlan.as_ref()?)))
}

fn has_sockets(config: &Config) -> bool {
    config.is_stretched() && !config.vtep.is_uplink()
}

/// The far ends of a network's tunnels, sorted: its group, and each peer.
fn far_ends(vxlan: &NetworkVxlan) -> Vec<Ipv4Addr> {
    let peers = vxlan.peers.iter().map(|peer| &peer.address);
    let mut ends: Vec<Ipv4Addr> =
        peers.chain(&vxlan.group).map(|address| *address.get_ref()).collect();
    ends.sort_unstable();
    ends
}

/// Its device is the UDP sockets; frames of any length come and go by it.
fn underlay(config: &Config, ids: &Ids) -> PortEntry {
    let VtepSettings { address, port, netns, device, receive_buffer, .. } = &config.vtep;
    let groups = stretched(config).filter_map(|(_, vxlan)| vxlan.group.as_ref());
    let mut groups: Vec<Ipv4Addr> = groups.map(|group| *group.get_ref()).collect();
    groups.sort_unstable();
    groups.dedup();
    let plan = PortPlan::Vxlan(VxlanPlan {
        netns: netns.as_ref().map(|netns| netns.get_ref().clone()),
        address: address.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |address| *address.get_ref()),
        port: *port,
        groups,
        device: device.as_ref().map(|device| device.get_ref().clone()),
        receive_buffer: *receive_buffer,
        queues: config.dataplane.workers,
    });
    let place = (NetworkId::NONE, u16::MAX, PortRole::Underlay);
    entry(ids.port(VTEP_NAME), VTEP_NAME, place, plan)
}

fn tunnel(
    config: &Config,
    ids: &Ids,
    (network, vxlan): (&Network, &NetworkVxlan),
    peer: Ipv4Addr,
) -> PortEntry {
    let uplink = config.uplink.as_ref().filter(|_| config.vtep.is_uplink());
    let plan = PortPlan::Tunnel(TunnelPlan {
        netns: config.vtep.netns.as_ref().map(|netns| netns.get_ref().clone()),
        peer: IpAddr::V4(peer),
        vni: *vxlan.vni.get_ref(),
        mtu: uplink.map(|uplink| uplink.mtu.saturating_sub(TUNNEL_OVERHEAD)),
    });
    // A group reaches all of its members at once.
    let floods = vxlan.group.as_ref().is_none_or(|group| *group.get_ref() == peer);
    let role = PortRole::Tunnel(Tunnel { peer: IpAddr::V4(peer), floods });
    let name = tunnel_name(network.name.get_ref(), peer);
    let place = (ids.network(network.name.get_ref()), network.mtu, role);
    let mut entry = entry(ids.port(&name), &name, place, plan);
    let behind = |endpoint: &&Endpoint| *endpoint.peer.get_ref() == peer;
    entry.spec.static_macs = vxlan.endpoints.iter().filter(behind).map(Endpoint::mac).collect();
    entry.spec.static_macs.sort_unstable();
    entry
}

fn entry(
    id: PortId,
    name: &str,
    (network, mtu, role): (NetworkId, u16, PortRole),
    plan: PortPlan,
) -> PortEntry {
    let spec = PortSpec {
        name: name.to_owned(),
        network,
        mtu,
        guard: None,
        host: None,
        static_macs: Vec::new(),
        role,
        is_up: false,
    };
    PortEntry { id, spec, plan, mac: None, address: None, limits: PortLimits::default() }
}
