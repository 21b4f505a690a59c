//! The demo's network: the tutorial's Docker host behind a home router, and a second one beside it.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use crate::control::model::UPLINK_PORT;
use crate::id::PortId;
use crate::packet::vxlan::TUNNEL_OVERHEAD;
use crate::testkit::HostSpec;

/// tapway's address on its uplink.
pub const TAPWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 10);
/// The second tapway's address on its uplink.
pub const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 11);
/// tapway's address on the network `bridge`.
pub const BRIDGE_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// tapway's address on the network `dns`.
pub const DNS_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 22, 0, 1);
/// The second tapway's address on the network `dns`.
pub const SECOND_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 22, 1, 1);
/// The router's address on the network `outside`.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 1);
/// The router's address on its own uplink (RFC 5737: for documentation).
pub const ROUTER_UPLINK: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The published port, and the port of every server.
pub const HTTP: u16 = 80;
/// A port that nobody publishes.
pub const UNPUBLISHED: u16 = 81;
/// Every link's MTU, in bytes.
pub const MTU: u16 = 1500;
/// That of hosts whose network stretches over both Docker hosts.
pub const STRETCHED_MTU: u16 = MTU - TUNNEL_OVERHEAD;
/// Bits of the subnets inside, and outside.
pub const INSIDE_PREFIX: u8 = 16;
pub const LAN_PREFIX: u8 = 24;

/// The network as a picture.
pub const PICTURE: &str = "
    this host  172.17.255.254 --+
    nginx1     172.17.0.2 ------+-- 172.17.0.1 --+
    nginx2     172.17.0.3 ------+   \"bridge\"     |
                                             [tapway] 192.168.33.10 --+
    web1       172.22.0.2 ------+   \"dns\"        |                    |
    web2       172.22.0.3 ------+-- 172.22.0.1 --+                    |
                                :  VXLAN 22                           |
    web3       172.22.1.2 ------+-- 172.22.1.1 [second] 192.168.33.11 +
                                    \"dns\"                             |
                                             mac 192.168.33.20 -------+
                                                                      |
    far 203.0.113.80 ---------- 203.0.113.1 [router] 192.168.33.1 ----+";
/// What this host is called in the transcript.
pub const HERE: &str = "host";

/// The tunnels between the Docker hosts, behind the other ports of each.
const TUNNEL: PortId = PortId(6);
const SECOND_TUNNEL: PortId = PortId(2);

/// A host of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostName {
    /// The server whose port is published.
    Nginx1,
    /// Its neighbour.
    Nginx2,
    /// A computer in tapway's outside network.
    Mac,
    /// A server beyond the router.
    Far,
    /// A host of the network with names.
    Web1,
    /// Its neighbour.
    Web2,
    /// Another one of that network, at the second Docker host.
    Web3,
    /// The host that tapway runs on.
    Here,
}

/// A tapway engine of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// The Docker host.
    Tapway,
    /// The second Docker host.
    Second,
    /// The home router.
    Router,
}

impl HostName {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Nginx1,
        Self::Nginx2,
        Self::Mac,
        Self::Far,
        Self::Web1,
        Self::Web2,
        Self::Web3,
        Self::Here,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx1 => "nginx1",
            Self::Nginx2 => "nginx2",
            Self::Mac => "mac",
            Self::Far => "far",
            Self::Web1 => "web1",
            Self::Web2 => "web2",
            Self::Web3 => "web3",
            Self::Here => HERE,
        }
    }

    /// Its address.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::Nginx1 => Ipv4Addr::new(172, 17, 0, 2),
            Self::Nginx2 => Ipv4Addr::new(172, 17, 0, 3),
            Self::Mac => Ipv4Addr::new(192, 168, 33, 20),
            Self::Far => Ipv4Addr::new(203, 0, 113, 80),
            Self::Web1 => Ipv4Addr::new(172, 22, 0, 2),
            Self::Web2 => Ipv4Addr::new(172, 22, 0, 3),
            Self::Web3 => Ipv4Addr::new(172, 22, 1, 2),
            Self::Here => Ipv4Addr::new(172, 17, 255, 254),
        }
    }

    /// Its interface.
    pub fn spec(self) -> HostSpec {
        let (prefix, gateway) = match self {
            Self::Nginx1 | Self::Nginx2 => (INSIDE_PREFIX, Some(BRIDGE_GATEWAY)),
            Self::Web1 | Self::Web2 => (INSIDE_PREFIX, Some(DNS_GATEWAY)),
            Self::Web3 => (INSIDE_PREFIX, Some(SECOND_GATEWAY)),
            Self::Here => (INSIDE_PREFIX, None),
            Self::Mac => (LAN_PREFIX, Some(ROUTER)),
            Self::Far => (LAN_PREFIX, Some(ROUTER_UPLINK)),
        };
        let mut spec = HostSpec::new(net(self.address(), prefix), gateway);
        spec.mtu = self.mtu();
        spec
    }

    /// The MTU of its interface, in bytes.
    pub const fn mtu(self) -> u16 {
        match self {
            Self::Web1 | Self::Web2 | Self::Web3 => STRETCHED_MTU,
            _ => MTU,
        }
    }

    /// Its port; tapway's are numbered in the order of the file.
    pub const fn port(self) -> (Switch, PortId) {
        match self {
            Self::Nginx1 => (Switch::Tapway, PortId(1)),
            Self::Nginx2 => (Switch::Tapway, PortId(2)),
            Self::Web1 => (Switch::Tapway, PortId(3)),
            Self::Web2 => (Switch::Tapway, PortId(4)),
            Self::Here => (Switch::Tapway, PortId(5)),
            Self::Web3 => (Switch::Second, PortId(1)),
            Self::Far => (Switch::Router, PortId(0)),
            Self::Mac => (Switch::Router, PortId(2)),
        }
    }
}

impl Switch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tapway, Self::Second, Self::Router];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tapway => "tapway",
            Self::Second => "second",
            Self::Router => "router",
        }
    }

    /// The ends of the wire between a Docker host and the router.
    pub const fn trunk(self) -> (PortId, PortId) {
        match self {
            Self::Tapway | Self::Router => (UPLINK_PORT, PortId(1)),
            Self::Second => (UPLINK_PORT, PortId(3)),
        }
    }

    /// All its ports.
    pub fn ports(self) -> Vec<PortId> {
        let hosts = HostName::ALL.into_iter().map(HostName::port);
        let hosts = hosts.filter(|(switch, _)| *switch == self).map(|(_, port)| port);
        let others = match self {
            Self::Tapway => vec![UPLINK_PORT, TUNNEL],
            Self::Second => vec![UPLINK_PORT, SECOND_TUNNEL],
            Self::Router => vec![Self::Tapway.trunk().1, Self::Second.trunk().1],
        };
        hosts.chain(others).collect()
    }
}

/// Where tapway's hosts are reached from outside.
pub const fn published(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(TAPWAY, port)
}

/// An address and how long its subnet's prefix is.
pub fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new(address, prefix).unwrap_or_default()
}
