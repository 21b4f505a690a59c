//! The demo's network: the tutorial's Docker host behind a home router.
//!
//! ```text
//! nginx1 172.17.0.2 --+
//!                     +-- 172.17.0.1 [tapway] 192.168.33.10 --+
//! nginx2 172.17.0.3 --+                                       |
//!                                     mac 192.168.33.20 ------+-- 192.168.33.1
//!                                                           [router] 203.0.113.1 -- far 203.0.113.80
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::Fault;
use crate::engine::{Command, CommandError, Engine, EngineConfig, Gateway, NetworkSpec, PortSpec};
use crate::id::{NetworkId, PortId};
use crate::nat::{Endpoint, NatMode, NatPolicy, Publish};
use crate::packet::{MacAddr, PROTOCOL_TCP};
use crate::switch::Guard;
use crate::testkit::HostSpec;
use crate::time::Instant;

/// tapway's address on its uplink.
pub const TAPWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 10);
/// tapway's address on the network `bridge`.
pub const BRIDGE_GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
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

const OUTSIDE: NetworkId = NetworkId(0);
const INSIDE: NetworkId = NetworkId(1);
const BRIDGE_PREFIX: u8 = 16;
const LAN_PREFIX: u8 = 24;
const SESSIONS: usize = 4096;

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
}

/// A tapway engine of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// The Docker host.
    Tapway,
    /// The home router.
    Router,
}

/// What is behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A host.
    Host(HostName),
    /// The wire between the engines.
    Trunk,
}

impl HostName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nginx1, Self::Nginx2, Self::Mac, Self::Far];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx1 => "nginx1",
            Self::Nginx2 => "nginx2",
            Self::Mac => "mac",
            Self::Far => "far",
        }
    }

    /// Its address.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::Nginx1 => Ipv4Addr::new(172, 17, 0, 2),
            Self::Nginx2 => Ipv4Addr::new(172, 17, 0, 3),
            Self::Mac => Ipv4Addr::new(192, 168, 33, 20),
            Self::Far => Ipv4Addr::new(203, 0, 113, 80),
        }
    }

    /// Its interface.
    pub fn spec(self) -> HostSpec {
        let (prefix, gateway) = match self {
            Self::Nginx1 | Self::Nginx2 => (BRIDGE_PREFIX, BRIDGE_GATEWAY),
            Self::Mac => (LAN_PREFIX, ROUTER),
            Self::Far => (LAN_PREFIX, ROUTER_UPLINK),
        };
        let mut spec = HostSpec::new(net(self.address(), prefix), Some(gateway));
        spec.mtu = MTU;
        spec
    }

    /// Its port.
    pub const fn port(self) -> (Switch, PortId) {
        match self {
            Self::Nginx1 => (Switch::Tapway, PortId(1)),
            Self::Nginx2 => (Switch::Tapway, PortId(2)),
            Self::Far => (Switch::Router, PortId(0)),
            Self::Mac => (Switch::Router, PortId(2)),
        }
    }
}

impl Switch {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tapway => "tapway",
            Self::Router => "router",
        }
    }

    /// Its end of the wire between the engines.
    pub const fn trunk(self) -> PortId {
        match self {
            Self::Tapway => PortId(0),
            Self::Router => PortId(1),
        }
    }

    /// All its ports.
    pub fn ports(self) -> Vec<PortId> {
        self.behind_ports().into_iter().map(|(port, _)| port).collect()
    }

    /// Its engine, ready but for the published port. Its ports are down: there is nothing behind
    /// them yet.
    ///
    /// # Errors
    /// If the engine refuses the topology: a mistake of this file.
    pub fn engine(
        self,
        seed: u128,
        now: Instant,
        fault: Option<Fault>,
    ) -> Result<Engine, CommandError> {
        let mut engine = Engine::new(EngineConfig::with_sessions(SESSIONS), seed, now);
        let (outside, mut inside) = self.networks();
        if self == Switch::Tapway && fault == Some(Fault::NoTranslation) {
            inside.nat = NatPolicy::uniform(NatMode::None);
        }
        engine.apply(now, Command::AddNetwork(OUTSIDE, outside))?;
        engine.apply(now, Command::AddNetwork(INSIDE, inside))?;
        if self == Switch::Tapway {
            engine.apply(now, Command::AddRoute(Ipv4Net::default(), ROUTER))?;
        }
        for (port, behind) in self.behind_ports() {
            engine.apply(now, Command::AddPort(port, self.port_spec(behind)))?;
        }
        Ok(engine)
    }

    fn behind_ports(self) -> Vec<(PortId, Behind)> {
        let hosts = HostName::ALL.into_iter().filter_map(|host| {
            let (switch, port) = host.port();
            (switch == self).then_some((port, Behind::Host(host)))
        });
        hosts.chain([(self.trunk(), Behind::Trunk)]).collect()
    }

    fn networks(self) -> (NetworkSpec, NetworkSpec) {
        let (outside, inside) = match self {
            Self::Tapway => (
                network("uplink", TAPWAY, LAN_PREFIX),
                network("bridge", BRIDGE_GATEWAY, BRIDGE_PREFIX),
            ),
            Self::Router => (
                network("internet", ROUTER_UPLINK, LAN_PREFIX),
                network("outside", ROUTER, LAN_PREFIX),
            ),
        };
        (NetworkSpec { is_outside: true, ..outside }, inside)
    }

    fn port_spec(self, behind: Behind) -> PortSpec {
        let (name, network, guard) = match (self, behind) {
            (Self::Tapway, Behind::Trunk) => ("uplink", OUTSIDE, None),
            (Self::Router, Behind::Trunk) => ("tapway", INSIDE, None),
            (_, Behind::Host(host)) => {
                let network = if host == HostName::Far { OUTSIDE } else { INSIDE };
                let spec = host.spec();
                let guard = Guard { mac: spec.mac, address: spec.address.addr() };
                (host.name(), network, Some(guard))
            }
        };
        PortSpec {
            name: name.to_owned(),
            network,
            mtu: MTU,
            guard,
            static_macs: Vec::new(),
            is_up: false,
        }
    }
}

/// The port that the demo publishes: 80:80 of nginx1.
pub const fn publish() -> Publish {
    Publish {
        protocol: PROTOCOL_TCP,
        address: None,
        port: HTTP,
        count: 1,
        network: INSIDE,
        target: Endpoint::new(HostName::Nginx1.address(), HTTP),
    }
}

/// Where tapway's hosts are reached from outside.
pub const fn published(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(TAPWAY, port)
}

/// tapway's part as a configuration file.
pub fn config() -> String {
    let mut text = format!(
        "# tapway's part of `tapway demo`. The far end of the uplink is in the namespace `outside`:\n\
         # give its interface the address {ROUTER} and let it forward.\n\n\
         [uplink]\nkind = \"tap\"\nnetns = \"outside\"\n\
         address = \"{TAPWAY}/{LAN_PREFIX}\"\ngateway = \"{ROUTER}\"\n\n\
         [network.bridge]\nsubnet = \"{}\"\ngateway = \"{BRIDGE_GATEWAY}\"\n",
        net(BRIDGE_GATEWAY, BRIDGE_PREFIX).trunc()
    );
    for host in [HostName::Nginx1, HostName::Nginx2] {
        let (name, address) = (host.name(), host.address());
        text += &format!(
            "\n[port.{name}]\nnetwork = \"bridge\"\nnetns = \"{name}\"\naddress = \"{address}\"\n"
        );
        if publish().target.ip == address {
            text += &format!("publish = [\"{HTTP}:{HTTP}/tcp\"]\n");
        }
    }
    text
}

fn network(name: &str, address: Ipv4Addr, prefix: u8) -> NetworkSpec {
    let gateway = Gateway {
        mac: MacAddr::from_ipv4(address),
        address: net(address, prefix),
        pool: Vec::new(),
        statics: Vec::new(),
    };
    NetworkSpec { mtu: MTU, ..NetworkSpec::new(name, Some(gateway)) }
}

fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new(address, prefix).unwrap_or_default()
}
