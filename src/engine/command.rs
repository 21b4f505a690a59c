//! What control tells an engine.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use ipnet::Ipv4Net;

use super::NameAsker;
use crate::id::{NetworkId, PortId};
use crate::local::dns::NameTable;
use crate::nat::{NatPolicy, Publish, Timeouts};
use crate::packet::vxlan::Vni;
use crate::packet::{MacAddr, PortSpan};
use crate::switch::{BridgeSettings, Guard, PortLimits, PortRole};

/// tapway's own place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// MAC.
    pub mac: MacAddr,
    /// Address and subnet.
    pub address: Ipv4Net,
    /// On the uplink: the addresses packets are translated to; empty: `address`.
    pub pool: Vec<Ipv4Addr>,
    /// On the uplink: static 1:1 translations, as (network, inside, external).
    pub statics: Vec<(NetworkId, Ipv4Addr, Ipv4Addr)>,
    /// On the uplink: MAC and address are those of tapway's host, whose kernel answers for them;
    /// tapway has these external ports and those that are published.
    pub shared: Option<PortSpan>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// What users call it.
    pub name: String,
    /// tapway's place in it; none: it is switched only.
    pub gateway: Option<Gateway>,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// The outside is behind it.
    pub is_outside: bool,
    /// Its hosts may talk to each other. If not, they reach each other by published ports only,
    /// and tapway answers ARP for them, see `answer`.
    pub icc: bool,
    /// Lifetimes of sessions with its hosts; none: the engine's.
    pub timeouts: Option<Timeouts>,
    /// It has no way out and none in: its hosts reach each other and the gateway itself.
    pub is_internal: bool,
    /// The one port, if any, that all hosts may talk to and that may talk to all, without `icc`.
    pub open_port: Option<PortId>,
    /// How it is translated.
    pub nat: NatPolicy,
    /// DHCP requests of its hosts go to control.
    pub serves_dhcp: bool,
    /// Policy of its bridge.
    pub bridge: BridgeSettings,
    /// Its number beyond tapway's host; none: it is on this host only.
    pub vxlan: Option<VxlanSpec>,
}

/// A network that stretches over several hosts by VXLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanSpec {
    /// Its number, the same on all hosts.
    pub vni: Vni,
    /// Endpoints that are no peers yet are told of, to become some ([`Event::UnknownPeer`]).
    ///
    /// [`Event::UnknownPeer`]: super::Event::UnknownPeer
    pub accepts_any: bool,
    /// Frames with VLAN tags pass its tunnels (RFC 7348 6.1).
    pub carries_tags: bool,
}

/// tapway as a VXLAN tunnel endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// Its address in the underlay; unspecified: the kernel's socket knows.
    pub address: Ipv4Addr,
    /// The UDP port of all endpoints.
    pub port: u16,
    /// How it reaches the others.
    pub underlay: Underlay,
}

/// How a VXLAN tunnel endpoint reaches the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underlay {
    /// By a port of this role: its device sends and receives the datagrams.
    Port(PortId),
    /// By the uplink, as packets of tapway's own.
    Uplink,
}

impl NetworkSpec {
    /// An inside network with default policy.
    pub fn new(name: &str, gateway: Option<Gateway>) -> Self {
        Self {
            name: name.to_owned(),
            gateway,
            mtu: 1500,
            is_outside: false,
            icc: true,
            timeouts: None,
            is_internal: false,
            open_port: None,
            nat: NatPolicy::default(),
            serves_dhcp: false,
            bridge: BridgeSettings { forward_reserved: false, storm_limit: 10_000 },
            vxlan: None,
        }
    }
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// What users call it.
    pub name: String,
    /// The network it joins.
    pub network: NetworkId,
    /// Largest packet it takes, in bytes.
    pub mtu: u16,
    /// What its host may call itself; none: anything.
    pub guard: Option<Guard>,
    /// Who its host is, where that is configured, guarded or not.
    pub host: Option<Guard>,
    /// MACs bound to it for good.
    pub static_macs: Vec<MacAddr>,
    /// What is behind it. An underlay is in no network: [`NetworkId::NONE`].
    pub role: PortRole,
    /// Whether it starts up.
    pub is_up: bool,
}

/// A change of an engine's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Adds a network, or changes it; its ports stay.
    AddNetwork(NetworkId, NetworkSpec),
    /// Removes a network with its ports, routes, neighbours and sessions.
    RemoveNetwork(NetworkId),
    /// Adds a port.
    AddPort(PortId, PortSpec),
    /// Changes a port, all but its network. Sessions of a host that it had and has not end.
    AlterPort(PortId, PortSpec),
    /// Removes a port, what was learned behind it, and the sessions of the hosts there.
    RemovePort(PortId),
    /// The port's device went up or down.
    SetPortUp(PortId, bool),
    /// The port's device takes packets of another size now.
    SetPortMtu(PortId, u16),
    /// Changes how much may pass the port.
    SetPortLimits(PortId, PortLimits),
    /// Changes what the port's host may call itself. Its sessions by another address end.
    SetPortGuard(PortId, Option<Guard>),
    /// Adds a route, replacing one for the same prefix; the next hop must be on a connected
    /// subnet.
    AddRoute(Ipv4Net, Ipv4Addr),
    /// Removes a configured route.
    RemoveRoute(Ipv4Net),
    /// Publishes a port or range.
    Publish(Publish),
    /// Takes a published port or range back.
    Unpublish(Publish),
    /// Leads a published port or range to another host; sessions of the former one end.
    MovePublish(Publish, Publish),
    /// A host is gone: its sessions end, in both directions, and its MAC is forgotten.
    EndHost(NetworkId, Ipv4Addr),
    /// A host is behind a port, perhaps with another MAC than before: packets for it go there, and
    /// its network is told.
    AnnounceHost(PortId, Guard),
    /// Sends a frame by a port, as it is.
    Send(PortId, Bytes),
    /// Asks by ARP whether somebody has an address, on behalf of who is behind the port; see
    /// [`Engine::neighbour`](super::Engine::neighbour).
    AskNeighbour(NetworkId, Ipv4Addr, PortId),
    /// Makes tapway a VXLAN tunnel endpoint, or another one, or ends that.
    SetVtep(Option<Vtep>),
    /// Replaces what is known of a network's hosts behind tunnels: ARP for these addresses is
    /// answered in their place. Their MACs are bound to the tunnels' ports.
    SetEndpoints(NetworkId, Vec<(Ipv4Addr, MacAddr)>),
    /// Replaces the names of all networks.
    SetNames(Arc<NameTable>),
    /// Answers a [`NameQuery`](super::NameQuery).
    AnswerName(NameAsker, Vec<u8>),
}

/// What a command did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Sessions that ended by it.
    pub ended_sessions: usize,
}

/// Why a command was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The network is not there.
    #[error("no such network: {0}")]
    UnknownNetwork(NetworkId),
    /// The port is not there.
    #[error("no such port: {0}")]
    UnknownPort(PortId),
    /// The port is there already.
    #[error("{0} exists already")]
    PortExists(PortId),
    /// The port is on another network.
    #[error("{0} is on another network; remove it there first")]
    OtherNetwork(PortId),
    /// The next hop of a route is on no connected subnet.
    #[error("next hop {0} is on no connected network")]
    NextHopNotConnected(Ipv4Addr),
    /// The prefix is that of a connected network.
    #[error("{0} is the subnet of a connected network and needs no route")]
    RouteIsConnected(Ipv4Net),
    /// The route is not there.
    #[error("no configured route for {0}")]
    UnknownRoute(Ipv4Net),
    /// Another entry has the port.
    #[error("port {port} is {conflict}", port = .conflict.0.port)]
    PublishConflict {
        /// The entry that has it.
        conflict: crate::nat::PublishConflict,
    },
    /// Nothing is published so.
    #[error("port {} is not published", .0.port)]
    NotPublished(Publish),
    /// The host to publish is outside: its clients' addresses would leave untranslated.
    #[error("port {} cannot be published to {}, which is outside", .0.port, .0.target.ip)]
    PublishOutside(Publish),
    /// The host of a static translation is outside, as with a published port.
    #[error("{1} cannot be translated to {0}, which is outside")]
    StaticNatOutside(Ipv4Addr, Ipv4Addr),
    /// A published range that is empty or leaves the 16 bits.
    #[error("a published range must have ports between 1 and 65535")]
    BadRange,
    /// More frames were to be sent than may wait.
    #[error("too many frames wait to be sent; try again")]
    TooManyFrames,
    /// The subnet overlaps that of another network (RFC 4787 REQ-7).
    #[error("subnet {0} overlaps {1} of another network")]
    SubnetOverlap(Ipv4Net, Ipv4Net),
}
