//! The demo's network: the tutorial's Docker host behind a home router.
//!
//! tapway's part is the tutorial's configuration file itself, but that its uplink ends at the
//! router and that its port is published later, while everything runs.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::{DemoError, Fault};
use crate::control::config::Config;
use crate::control::model::{Model, UPLINK_PORT};
use crate::engine::{Command, Engine, EngineConfig, Gateway, NetworkSpec, PortSpec};
use crate::id::{NetworkId, PortId};
use crate::nat::{NatMode, NatPolicy, Publish};
use crate::packet::MacAddr;
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

/// The network as a picture.
pub const PICTURE: &str = "
    nginx1 172.17.0.2 --+
                        +-- 172.17.0.1 [tapway] 192.168.33.10 --+
    nginx2 172.17.0.3 --+                                       |
                                                                |
                                       mac 192.168.33.20 -------+
                                                                |
    far 203.0.113.80 ---- 203.0.113.1 [router] 192.168.33.1 ----+";
/// tapway's part.
pub const CONFIG: &str = include_str!("../../../tools/configs/tutorial.toml");

const ROUTER_OUTSIDE: NetworkId = NetworkId(0);
const ROUTER_INSIDE: NetworkId = NetworkId(1);
/// Sessions of the router.
const ROUTER_SESSIONS: usize = 4096;
const BRIDGE_PREFIX: u8 = 16;
const LAN_PREFIX: u8 = 24;

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

    /// Its port; tapway's are numbered in the order of the file.
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
            Self::Tapway => UPLINK_PORT,
            Self::Router => PortId(1),
        }
    }

    /// All its ports.
    pub fn ports(self) -> Vec<PortId> {
        let hosts = HostName::ALL.into_iter().map(HostName::port);
        let hosts = hosts.filter(|(switch, _)| *switch == self).map(|(_, port)| port);
        hosts.chain([self.trunk()]).collect()
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
    ) -> Result<Engine, DemoError> {
        let (config, commands) = match self {
            Self::Tapway => {
                let model = tutorial()?;
                (model.engine, model.commands())
            }
            Self::Router => (EngineConfig::with_sessions(ROUTER_SESSIONS), router_commands()),
        };
        let is_broken = self == Self::Tapway && fault == Some(Fault::NoTranslation);
        let mut engine = Engine::new(config, seed, now);
        for command in commands {
            match command {
                Command::Publish(_) => {}
                Command::AddNetwork(id, spec) if is_broken => {
                    let nat = NatPolicy::uniform(NatMode::None);
                    engine.apply(now, Command::AddNetwork(id, NetworkSpec { nat, ..spec }))?;
                }
                command => {
                    engine.apply(now, command)?;
                }
            }
        }
        Ok(engine)
    }
}

/// The port that the tutorial publishes: 80:80 of nginx1.
///
/// # Errors
/// If the embedded file is wrong.
pub fn publish() -> Result<Publish, DemoError> {
    tutorial()?.publishes.first().copied().ok_or(DemoError::Missing("the published port"))
}

/// Where tapway's hosts are reached from outside.
pub const fn published(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(TAPWAY, port)
}

fn tutorial() -> Result<Model, DemoError> {
    Ok(Model::new(&Config::parse("tutorial.toml", CONFIG)?.config))
}

fn router_commands() -> Vec<Command> {
    let outside = network("internet", ROUTER_UPLINK, LAN_PREFIX);
    let ports = [
        (HostName::Far.port().1, ROUTER_OUTSIDE, HostName::Far.name(), Some(HostName::Far)),
        (Switch::Router.trunk(), ROUTER_INSIDE, Switch::Tapway.name(), None),
        (HostName::Mac.port().1, ROUTER_INSIDE, HostName::Mac.name(), Some(HostName::Mac)),
    ];
    let networks = [
        Command::AddNetwork(ROUTER_OUTSIDE, NetworkSpec { is_outside: true, ..outside }),
        Command::AddNetwork(ROUTER_INSIDE, network("outside", ROUTER, LAN_PREFIX)),
    ];
    let ports = ports.map(|(id, network, name, host)| {
        let guard = host.map(HostName::spec);
        let spec = PortSpec {
            name: name.to_owned(),
            network,
            mtu: MTU,
            guard: guard.map(|spec| Guard { mac: spec.mac, address: spec.address.addr() }),
            static_macs: Vec::new(),
            is_up: false,
        };
        Command::AddPort(id, spec)
    });
    networks.into_iter().chain(ports).collect()
}

fn network(name: &str, address: Ipv4Addr, prefix: u8) -> NetworkSpec {
    let gateway = Gateway {
        mac: MacAddr::from_ipv4(address),
        address: net(address, prefix),
        pool: Vec::new(),
        statics: Vec::new(),
        shared: None,
    };
    NetworkSpec { mtu: MTU, ..NetworkSpec::new(name, Some(gateway)) }
}

fn net(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new(address, prefix).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_are_those_of_the_tutorial() {
        let model = tutorial().unwrap();
        let names: Vec<_> =
            model.ports.iter().map(|port| (port.spec.name.as_str(), port.id)).collect();
        let hosts = [HostName::Nginx1, HostName::Nginx2].map(|host| (host.name(), host.port().1));
        assert_eq!(names[0].1, Switch::Tapway.trunk());
        assert_eq!(names[1..], hosts);
        for host in [HostName::Nginx1, HostName::Nginx2] {
            let entry = model.ports.iter().find(|port| port.id == host.port().1).unwrap();
            assert_eq!(entry.address, Some(host.address()));
            assert_eq!(entry.mac, Some(host.spec().mac));
        }
        let own: Vec<_> = model
            .networks
            .iter()
            .map(|(_, network)| network.gateway.as_ref().unwrap().address)
            .collect();
        assert_eq!(own, [net(TAPWAY, LAN_PREFIX), net(BRIDGE_GATEWAY, BRIDGE_PREFIX)]);
        assert_eq!(model.routes, [(Ipv4Net::default(), ROUTER)]);
        let publish = publish().unwrap();
        assert_eq!((publish.port, publish.target.ip), (HTTP, HostName::Nginx1.address()));
        assert_eq!(publish.target.port, HTTP);
    }
}
