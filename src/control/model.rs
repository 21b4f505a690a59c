//! From a checked configuration to what the dataplane and the broker are told.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::config::{Config, Network, Port, PortKind, UPLINK_NAME, Uplink, UplinkKind, publishes};
use crate::engine::{Command, EngineConfig, Gateway, NetworkSpec, PortSpec};
use crate::id::{NetworkId, PortId};
use crate::io::{DataplaneSettings, DevicePlan, Netns, PortPlan, TapPlan};
use crate::nat::{Endpoint, NatPolicy, Publish};
use crate::packet::MacAddr;
use crate::switch::{BridgeSettings, Guard};

/// The uplink's network.
pub const UPLINK: NetworkId = NetworkId(0);
/// The uplink's port.
pub const UPLINK_PORT: PortId = PortId(0);

/// A port: what the engine knows of it, and its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// Its number.
    pub id: PortId,
    /// What the engine is told; the name is in it.
    pub spec: PortSpec,
    /// What the broker is told.
    pub plan: PortPlan,
    /// The host's MAC, where it is known.
    pub mac: Option<MacAddr>,
    /// The host's address, where it is configured.
    pub address: Option<Ipv4Addr>,
}

/// The desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Networks; the uplink is number 0.
    pub networks: Vec<(NetworkId, NetworkSpec)>,
    /// Ports; the uplink is number 0.
    pub ports: Vec<PortEntry>,
    /// Routes: prefix and next hop.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Published ports.
    pub publishes: Vec<Publish>,
    /// Bounds and timers.
    pub engine: EngineConfig,
    /// How the dataplane uses the system.
    pub dataplane: DataplaneSettings,
    /// The API's socket.
    pub api_socket: PathBuf,
}

impl Model {
    /// The state a configuration asks for. Ports start down: each goes up with its device.
    pub fn new(config: &Config) -> Self {
        let uplink = config.uplink.iter().map(|uplink| (UPLINK, uplink_network(config, uplink)));
        let networks = config.networks.iter().enumerate();
        let networks = networks.map(|(at, network)| (network_id(at), network_spec(network)));
        let uplink_port = config.uplink.iter().map(|uplink| uplink_port(config, uplink));
        let ports = config.ports.iter().enumerate();
        let ports = ports.map(|(at, port)| port_entry(config, PortId(at as u16 + 1), port));
        Self {
            networks: uplink.chain(networks).collect(),
            ports: uplink_port.chain(ports).collect(),
            routes: routes(config),
            publishes: publishes(config),
            engine: config.engine,
            dataplane: config.dataplane,
            api_socket: config.api_socket.clone(),
        }
    }

    /// What an engine is told to get there.
    pub fn commands(&self) -> Vec<Command> {
        let networks = self.networks.iter().cloned();
        let ports = self.ports.iter().map(|port| Command::AddPort(port.id, port.spec.clone()));
        let routes = self.routes.iter().map(|(to, via)| Command::AddRoute(*to, *via));
        networks
            .map(|(id, spec)| Command::AddNetwork(id, spec))
            .chain(ports)
            .chain(routes)
            .chain(self.publishes.iter().copied().map(Command::Publish))
            .collect()
    }

    /// tapway's own address on the uplink.
    pub fn uplink_address(&self) -> Option<Ipv4Addr> {
        let (_, uplink) = self.networks.iter().find(|(id, _)| *id == UPLINK)?;
        uplink.gateway.as_ref().map(|gateway| gateway.address.addr())
    }

    /// The uplink's port.
    pub fn uplink(&self) -> Option<&PortEntry> {
        self.ports.iter().find(|port| port.id == UPLINK_PORT)
    }
}

const fn network_id(at: usize) -> NetworkId {
    NetworkId(at as u16 + 1)
}

fn uplink_network(config: &Config, uplink: &Uplink) -> NetworkSpec {
    let address = *uplink.address.get_ref();
    let statics = uplink.static_nat.iter().filter_map(|entry| {
        let inside = *entry.inside.get_ref();
        let at = config.networks.iter().position(|network| {
            let subnet = network.router.as_ref().map(|router| router.subnet.get_ref());
            subnet.is_some_and(|subnet| subnet.contains(&inside))
        })?;
        Some((network_id(at), inside, *entry.external.get_ref()))
    });
    let gateway = Gateway {
        mac: uplink.mac.as_ref().map_or(MacAddr::from_ipv4(address.addr()), |mac| *mac.get_ref()),
        address,
        pool: uplink.nat_addresses.iter().map(|address| *address.get_ref()).collect(),
        statics: statics.collect(),
    };
    let spec = NetworkSpec::new(UPLINK_NAME, Some(gateway));
    NetworkSpec { mtu: uplink.mtu, is_outside: true, nat: NatPolicy::default(), ..spec }
}

fn network_spec(network: &Network) -> NetworkSpec {
    let gateway = network.router.as_ref().map(|router| {
        let address = *router.gateway.get_ref();
        let prefix = router.subnet.get_ref().prefix_len();
        Gateway {
            mac: router.mac.as_ref().map_or(MacAddr::from_ipv4(address), |mac| *mac.get_ref()),
            // A prefix that came out of a subnet is one.
            address: Ipv4Net::new(address, prefix).unwrap_or_else(|_| Ipv4Net::from(address)),
            pool: Vec::new(),
            statics: Vec::new(),
        }
    });
    NetworkSpec {
        name: network.name.get_ref().clone(),
        gateway,
        mtu: network.mtu,
        is_outside: false,
        icc: network.icc,
        serves_dhcp: network.dhcp.is_some(),
        nat: network.nat.clone(),
        bridge: BridgeSettings {
            forward_reserved: network.forward_reserved,
            storm_limit: network.storm_limit,
        },
    }
}

/// The far end of a TAP uplink is the router: it gets the gateway's address.
fn uplink_port(config: &Config, uplink: &Uplink) -> PortEntry {
    let own = *uplink.address.get_ref();
    let own_mac = uplink.mac.as_ref().map_or(MacAddr::from_ipv4(own.addr()), |mac| *mac.get_ref());
    let gateway = uplink.gateway.as_ref().map(|gateway| *gateway.get_ref());
    let netns = uplink.netns.as_ref().map(|netns| netns.get_ref().clone());
    let (plan, mac) = match &uplink.kind {
        UplinkKind::Tap { interface, backend, offload } => {
            let mac = gateway.map(MacAddr::from_ipv4);
            let plan = TapPlan {
                netns: netns.map(|name| Netns::named(name, uplink.create_netns)),
                interface: interface.get_ref().clone(),
                mac,
                mtu: uplink.mtu,
                address: gateway.and_then(|address| Ipv4Net::new(address, own.prefix_len()).ok()),
                gateway: None,
                backend: *backend,
                offload: *offload,
                queues: config.dataplane.workers,
            };
            (PortPlan::Tap(plan), mac)
        }
        UplinkKind::Device { device, receive_buffer } => {
            let plan = DevicePlan {
                netns,
                device: device.get_ref().clone(),
                mac: own_mac,
                addresses: own_addresses(uplink),
                receive_buffer: *receive_buffer,
            };
            (PortPlan::Device(plan), None)
        }
    };
    let spec = PortSpec {
        name: UPLINK_NAME.to_owned(),
        network: UPLINK,
        mtu: uplink.mtu,
        guard: None,
        static_macs: Vec::new(),
        is_up: false,
    };
    let address = gateway.filter(|_| mac.is_some());
    PortEntry { id: UPLINK_PORT, spec, plan, mac, address }
}

/// What tapway answers for on the uplink: its address, the pool and static translations.
fn own_addresses(uplink: &Uplink) -> Vec<Ipv4Addr> {
    let pool = uplink.nat_addresses.iter().map(|address| *address.get_ref());
    let statics = uplink.static_nat.iter().map(|entry| *entry.external.get_ref());
    std::iter::once(uplink.address.get_ref().addr()).chain(pool).chain(statics).collect()
}

/// Where a port's host lives: network, subnet, router, MTU.
struct Home {
    network: NetworkId,
    prefix: Option<u8>,
    gateway: Option<Ipv4Addr>,
    mtu: u16,
}

fn home(config: &Config, port: &Port) -> Home {
    let name = port.network.get_ref();
    let at = config.networks.iter().position(|network| network.name.get_ref() == name);
    match (at.and_then(|at| Some((at, config.networks.get(at)?))), &config.uplink) {
        (Some((at, network)), _) => {
            let router = network.router.as_ref();
            Home {
                network: network_id(at),
                prefix: router.map(|router| router.subnet.get_ref().prefix_len()),
                gateway: router.map(|router| *router.gateway.get_ref()),
                mtu: network.mtu,
            }
        }
        (None, Some(uplink)) => Home {
            network: UPLINK,
            prefix: Some(uplink.address.get_ref().prefix_len()),
            gateway: uplink.gateway.as_ref().map(|gateway| *gateway.get_ref()),
            mtu: uplink.mtu,
        },
        // Checked: every port's network is there.
        (None, None) => Home { network: UPLINK, prefix: None, gateway: None, mtu: 1500 },
    }
}

fn port_entry(config: &Config, id: PortId, port: &Port) -> PortEntry {
    let home = home(config, port);
    let address = port.address.as_ref().map(|address| *address.get_ref());
    let configured = port.mac.as_ref().map(|mac| *mac.get_ref());
    let mac = configured.or(address.map(MacAddr::from_ipv4));
    let mtu = port.mtu.unwrap_or(home.mtu);
    let plan = match &port.kind {
        PortKind::Tap { netns, create_netns, interface, backend, offload } => {
            PortPlan::Tap(TapPlan {
                netns: netns.as_ref().map(|name| Netns::named(name.get_ref(), *create_netns)),
                interface: interface.get_ref().clone(),
                mac,
                mtu,
                address: address.zip(home.prefix).and_then(|(ip, len)| Ipv4Net::new(ip, len).ok()),
                // The host's own default route is never touched.
                gateway: home.gateway.filter(|_| netns.is_some() && address.is_some()),
                backend: *backend,
                offload: *offload,
                queues: config.dataplane.workers,
            })
        }
        PortKind::Replay(file) => PortPlan::Replay(file.clone()),
        PortKind::Record(file) => PortPlan::Record(file.clone()),
    };
    // Without an address: the one it will have leased.
    let guarded = mac.filter(|_| port.guard);
    let guard = guarded.map(|mac| (mac, address.unwrap_or(Ipv4Addr::UNSPECIFIED)));
    let spec = PortSpec {
        name: port.name.get_ref().clone(),
        network: home.network,
        mtu,
        guard: guard.map(|(mac, address)| Guard { mac, address }),
        static_macs: port.static_macs.iter().map(|mac| *mac.get_ref()).collect(),
        is_up: false,
    };
    PortEntry { id, spec, plan, mac, address }
}

fn routes(config: &Config) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let default = config
        .uplink
        .iter()
        .filter_map(|uplink| Some((Ipv4Net::default(), *uplink.gateway.as_ref()?.get_ref())));
    let others = config.routes.iter();
    default.chain(others.map(|route| (*route.to.get_ref(), *route.via.get_ref()))).collect()
}

fn publishes(config: &Config) -> Vec<Publish> {
    let (placed, _) = publishes::place(config);
    let publish = |placed: publishes::Placed| {
        let port = config.ports.get(placed.port)?;
        Some(Publish {
            protocol: placed.protocol,
            address: placed.address,
            port: placed.external.first,
            count: placed.external.count() as u16,
            network: home(config, port).network,
            target: Endpoint::new(*port.address.as_ref()?.get_ref(), placed.target),
        })
    };
    placed.into_iter().filter_map(publish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::TapBackend;

    fn model(text: &str) -> Model {
        Model::new(&Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}")).config)
    }

    fn tap(model: &Model, at: usize) -> &TapPlan {
        match &model.ports[at].plan {
            PortPlan::Tap(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_tutorial_becomes_an_uplink_a_network_and_two_guarded_ports() {
        let model = model(include_str!("../../tools/configs/tutorial.toml"));
        let [(uplink, outside), (bridge, inside)] = model.networks.as_slice() else {
            panic!("{:?}", model.networks)
        };
        assert_eq!((*uplink, *bridge), (NetworkId(0), NetworkId(1)));
        assert!(outside.is_outside && !inside.is_outside);
        let gateway = inside.gateway.as_ref().unwrap();
        assert_eq!(gateway.mac.to_string(), "02:42:ac:11:00:01");
        assert_eq!(gateway.address.to_string(), "172.17.0.1/16");
        let router = Ipv4Addr::new(192, 168, 33, 1);
        assert_eq!(model.routes, [(Ipv4Net::default(), router)]);
        let far_end = tap(&model, 0);
        assert_eq!(far_end.address.unwrap().to_string(), "192.168.33.1/24");
        assert_eq!(far_end.gateway, None);
        assert_eq!(far_end.mac, Some(MacAddr::from_ipv4(router)));
        let nginx1 = Ipv4Addr::new(172, 17, 0, 2);
        let mac = MacAddr::from_ipv4(nginx1);
        assert_eq!(
            *tap(&model, 1),
            TapPlan {
                netns: Some(Netns::named("nginx1", true)),
                interface: "eth0".to_owned(),
                mac: Some(mac),
                mtu: 1500,
                address: Some("172.17.0.2/16".parse().unwrap()),
                gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
                backend: TapBackend::Own,
                queues: 1,
                offload: true,
            }
        );
        assert_eq!(model.ports[1].spec.guard, Some(Guard { mac, address: nginx1 }));
        let publish = Publish {
            protocol: 6,
            address: None,
            port: 80,
            count: 1,
            network: *bridge,
            target: Endpoint::new(nginx1, 80),
        };
        assert_eq!(model.publishes, [publish]);
    }

    #[test]
    fn a_port_in_this_host_changes_no_route_of_it() {
        let model = model(
            "[network.bridge]\nsubnet = \"10.1.0.0/24\"\nmtu = 1400\n\
             [port.vm]\naddress = \"10.1.0.2\"\nguard = false\n[port.raw]\n[port.play]\n\
             kind = \"replay\"\nfile = \"a.pcap\"",
        );
        let vm = tap(&model, 0);
        assert_eq!((vm.interface.as_str(), vm.mtu, vm.gateway), ("vm", 1400, None));
        assert_eq!(vm.address.unwrap().to_string(), "10.1.0.2/24");
        assert_eq!((model.ports[0].id, model.ports[0].spec.guard), (PortId(1), None));
        let raw = tap(&model, 1);
        assert_eq!((raw.mac, raw.address, raw.gateway), (None, None, None));
        assert_eq!(model.ports[2].plan, PortPlan::Replay("a.pcap".into()));
        assert_eq!(
            model.networks[0].1.gateway.as_ref().unwrap().address.to_string(),
            "10.1.0.1/24"
        );
        assert!(model.uplink().is_none() && model.routes.is_empty());
    }

    #[test]
    fn a_device_uplink_has_its_own_mac_pool_and_static_translations() {
        let model = model(
            "[uplink]\nkind = \"device\"\ndevice = \"eth1\"\naddress = \"192.0.2.10/24\"\n\
             gateway = \"192.0.2.1\"\nnat_addresses = [\"192.0.2.11\"]\n\
             static_nat = [{ external = \"192.0.2.20\", inside = \"10.2.0.5\" }]\n\
             [network.a]\nsubnet = \"10.1.0.0/24\"\n[network.b]\nsubnet = \"10.2.0.0/24\"",
        );
        let own = Ipv4Addr::new(192, 0, 2, 10);
        assert_eq!(
            model.uplink().unwrap().plan,
            PortPlan::Device(DevicePlan {
                netns: None,
                device: "eth1".to_owned(),
                mac: MacAddr::from_ipv4(own),
                addresses: vec![own, Ipv4Addr::new(192, 0, 2, 11), Ipv4Addr::new(192, 0, 2, 20),],
                receive_buffer: 4 * 1024 * 1024,
            })
        );
        let gateway = model.networks[0].1.gateway.as_ref().unwrap();
        assert_eq!(gateway.pool, [Ipv4Addr::new(192, 0, 2, 11)]);
        let inside = Ipv4Addr::new(10, 2, 0, 5);
        assert_eq!(gateway.statics, [(NetworkId(2), inside, Ipv4Addr::new(192, 0, 2, 20))]);
    }
}
