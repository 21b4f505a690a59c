//! From a checked configuration to a model.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::ids::Ids;
use super::vxlan;
use super::{HostEntry, Model, PortEntry, Processes, UPLINK, UPLINK_PORT};
use crate::control::addresses::AddressRange;
use crate::control::config::{
    Config, Network, Port, PortKind, UPLINK_NAME, Uplink, UplinkKind, publishes,
};
use crate::control::dhcp::{ScopePort, ScopeSettings};
use crate::control::hosts::{ExposeSyntax, ExposedPort};
use crate::engine::{Gateway, NetworkSpec, PortSpec};
use crate::id::{NetworkId, PortId};
use crate::io::{DevicePlan, Netns, PortPlan, SharedPlan, TapBackend, TapPlan};
use crate::local::dhcp::Parameters;
use crate::nat::{Endpoint, NatPolicy, Publish};
use crate::packet::MacAddr;
use crate::switch::{BridgeSettings, Guard, PortLimits, PortRole};

/// Ports of a host that links tell of: each is four variables of whoever links to it. Those with
/// the highest numbers are left out, because a whole published range would not fit into any
/// environment.
const MAX_SERVED: usize = 1024;

pub(super) fn build(config: &Config, ids: &Ids, processes: &Processes) -> Model {
    let uplink = config.uplink.iter().map(|uplink| (UPLINK, uplink_network(config, uplink, ids)));
    let networks = config.networks.iter();
    let networks = networks
        .map(|network| (ids.network(network.name.get_ref()), network_spec(config, ids, network)));
    let uplink_port = config.uplink.iter().map(|uplink| uplink_port(config, uplink));
    let ports = config.ports.iter().map(|port| port_entry(config, (ids, processes), port));
    let host_ports = config.networks.iter().filter_map(|network| host_port(config, ids, network));
    let tunnels = vxlan::ports(config, ids);
    Model {
        networks: uplink.chain(networks).collect(),
        ports: uplink_port.chain(ports).chain(host_ports).chain(tunnels).collect(),
        hosts: hosts(config, ids),
        routes: routes(config),
        host_places: host_places(config, ids),
        vtep: vxlan::vtep(config, ids),
        endpoints: vxlan::endpoints(config, ids),
        publishes: publishes(config, ids),
        dhcp: dhcp_networks(config, ids, processes),
        engine: config.engine,
        dataplane: config.dataplane,
        names: Arc::new(super::names::names(config, ids)),
        upstreams: config.dns.upstreams.clone(),
        api_socket: config.api_socket.clone(),
    }
}

fn uplink_network(config: &Config, uplink: &Uplink, ids: &Ids) -> NetworkSpec {
    let statics = uplink.static_nat.iter().filter_map(|entry| {
        let inside = *entry.inside.get_ref();
        let home = config.networks.iter().find(|network| {
            let subnet = network.router.as_ref().map(|router| router.subnet.get_ref());
            subnet.is_some_and(|subnet| subnet.contains(&inside))
        })?;
        Some((ids.network(home.name.get_ref()), inside, *entry.external.get_ref()))
    });
    // On a shared device it says where tapway is, see `station`.
    let gateway = uplink.own_address().map(|address| Gateway {
        mac: uplink.mac.as_ref().map_or(MacAddr::from_ipv4(address.addr()), |mac| *mac.get_ref()),
        address,
        pool: uplink.nat_addresses.iter().map(|address| *address.get_ref()).collect(),
        statics: statics.collect(),
        shared: None,
    });
    let spec = NetworkSpec::new(UPLINK_NAME, gateway);
    NetworkSpec { mtu: uplink.mtu, is_outside: true, nat: NatPolicy::default(), ..spec }
}

fn network_spec(config: &Config, ids: &Ids, network: &Network) -> NetworkSpec {
    let gateway = network.router.as_ref().map(|router| {
        let address = *router.gateway.get_ref();
        let prefix = router.subnet.get_ref().prefix_len();
        Gateway {
            mac: router.mac.as_ref().map_or(MacAddr::from_ipv4(address), |mac| *mac.get_ref()),
            // A prefix that came out of a subnet is one.
            address: Ipv4Net::new(address, prefix).unwrap_or_else(|_| Ipv4Net::from(address)),
            pool: Vec::new(),
            statics: Vec::new(),
            shared: None,
        }
    });
    NetworkSpec {
        name: network.name.get_ref().clone(),
        gateway,
        mtu: network.mtu,
        is_outside: false,
        icc: network.icc,
        timeouts: network.timeouts.map(|own| own.over(config.engine.nat.timeouts)),
        is_internal: network.internal,
        open_port: network.host.is_some().then(|| ids.port(&host_port_name(network))),
        serves_dhcp: network.dhcp.is_some(),
        vxlan: vxlan::spec(network),
        nat: network.nat.clone(),
        bridge: BridgeSettings {
            forward_reserved: network.forward_reserved,
            storm_limit: network.storm_limit,
        },
    }
}

/// The far end of a TAP uplink is the router: it gets the gateway's address.
fn uplink_port(config: &Config, uplink: &Uplink) -> PortEntry {
    let own = uplink.own_address().unwrap_or_default();
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
        UplinkKind::Shared { device, ports, receive_buffer } => {
            let plan = SharedPlan {
                device: device.get_ref().clone(),
                gateway,
                ports: ports.as_ref().map(|ports| *ports.get_ref()),
                receive_buffer: *receive_buffer,
            };
            (PortPlan::Shared(plan), None)
        }
    };
    let spec = PortSpec {
        name: UPLINK_NAME.to_owned(),
        network: UPLINK,
        mtu: uplink.mtu,
        guard: None,
        host: None,
        static_macs: Vec::new(),
        role: PortRole::Hosts,
        is_up: false,
    };
    let address = gateway.filter(|_| mac.is_some());
    let limits = PortLimits::default();
    PortEntry { id: UPLINK_PORT, spec, plan, mac, address, limits }
}

/// What tapway answers for on the uplink: its address, the pool and static translations.
fn own_addresses(uplink: &Uplink) -> Vec<Ipv4Addr> {
    let pool = uplink.nat_addresses.iter().map(|address| *address.get_ref());
    let statics = uplink.static_nat.iter().map(|entry| *entry.external.get_ref());
    let own = uplink.own_address().map(|own| own.addr());
    own.into_iter().chain(pool).chain(statics).collect()
}

/// Where a port's host lives: network, subnet, router, MTU.
struct Home {
    network: NetworkId,
    prefix: Option<u8>,
    gateway: Option<Ipv4Addr>,
    mtu: u16,
}

fn home(config: &Config, ids: &Ids, port: &Port) -> Home {
    let name = port.network.get_ref();
    let network = config.networks.iter().find(|network| network.name.get_ref() == name);
    match (network, &config.uplink) {
        (Some(network), _) => {
            let router = network.router.as_ref();
            Home {
                network: ids.network(name),
                prefix: router.map(|router| router.subnet.get_ref().prefix_len()),
                gateway: router.map(|router| *router.gateway.get_ref()),
                mtu: network.mtu,
            }
        }
        (None, Some(uplink)) => Home {
            network: UPLINK,
            prefix: uplink.own_address().map(|own| own.prefix_len()),
            gateway: uplink.gateway.as_ref().map(|gateway| *gateway.get_ref()),
            mtu: uplink.mtu,
        },
        // Checked: every port's network is there.
        (None, None) => Home { network: UPLINK, prefix: None, gateway: None, mtu: 1500 },
    }
}

/// True if a host's default route, and what it publishes, is by this port.
fn way_out(config: &Config, port: &Port) -> bool {
    config.way_out_of(&port.host).is_some_and(|way| way.name == port.name)
}

fn port_entry(config: &Config, (ids, processes): (&Ids, &Processes), port: &Port) -> PortEntry {
    let home = home(config, ids, port);
    let address = port.address.as_ref().map(|address| *address.get_ref());
    let configured = port.mac.as_ref().map(|mac| *mac.get_ref());
    let mac = configured.or(address.map(MacAddr::from_ipv4));
    let mtu = port.mtu.unwrap_or(home.mtu);
    let is_way_out = way_out(config, port);
    let plan = match &port.kind {
        PortKind::Tap { netns, create_netns, process, interface, backend, offload } => {
            let is_inside = netns.is_some() || process.is_some();
            PortPlan::Tap(TapPlan {
                netns: match process.and_then(|pid| processes.get(&pid)) {
                    Some(process) => Some(Netns::OfProcess(process.clone())),
                    None => netns.as_ref().map(|name| Netns::named(name.get_ref(), *create_netns)),
                },
                interface: interface.get_ref().clone(),
                mac,
                mtu,
                address: address.zip(home.prefix).and_then(|(ip, len)| Ipv4Net::new(ip, len).ok()),
                // The host's own default route is never touched.
                gateway: home.gateway.filter(|_| is_inside && is_way_out && address.is_some()),
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
        host: mac.zip(address).map(|(mac, address)| Guard { mac, address }),
        static_macs: port.static_macs.iter().map(|mac| *mac.get_ref()).collect(),
        role: PortRole::Hosts,
        is_up: false,
    };
    let limits = port.limits;
    PortEntry { id: ids.port(port.name.get_ref()), spec, plan, mac, address, limits }
}

/// Each host with all of its ports.
fn hosts(config: &Config, ids: &Ids) -> Vec<HostEntry> {
    let mut ports: HashMap<&str, Vec<PortId>> = HashMap::new();
    for port in &config.ports {
        ports.entry(&port.host).or_default().push(ids.port(port.name.get_ref()));
    }
    let first = config.ports.iter().filter(|port| *port.name.get_ref() == port.host);
    first
        .map(|port| {
            let ports = ports.remove(port.host.as_str()).unwrap_or_default();
            HostEntry { ports, ..host_entry(port) }
        })
        .collect()
}

fn host_entry(port: &Port) -> HostEntry {
    let name = port.name.get_ref().clone();
    let exposed = port.expose.iter().map(|syntax| *syntax.get_ref());
    let published = port.publish.iter().map(|syntax| ExposeSyntax::published(syntax.get_ref()));
    let mut serves: Vec<ExposedPort> =
        exposed.chain(published).flat_map(ExposeSyntax::each).collect();
    serves.sort_unstable();
    serves.dedup();
    serves.truncate(MAX_SERVED);
    HostEntry {
        ports: Vec::new(),
        name,
        serves,
        links: port.links.iter().map(|link| link.get_ref().clone()).collect(),
    }
}

/// This host's addresses in networks.
fn host_places(config: &Config, ids: &Ids) -> Vec<(NetworkId, Ipv4Addr)> {
    let networks = config.networks.iter();
    let hosts = networks
        .filter_map(|network| Some((ids.network(network.name.get_ref()), network.host_address()?)));
    hosts.collect()
}

/// What the port of this host in a network is called: no name of a file can be so.
pub(super) fn host_port_name(network: &Network) -> String {
    format!("host:{}", network.name.get_ref())
}

/// This host's own port in a network: a TAP in tapway's namespace, with a route to the subnet.
fn host_port(config: &Config, ids: &Ids, network: &Network) -> Option<PortEntry> {
    let (place, address) = (network.host.as_ref()?, network.host_address()?);
    let prefix = network.router.as_ref()?.subnet.get_ref().prefix_len();
    let (name, mac) = (host_port_name(network), MacAddr::from_ipv4(address));
    let plan = TapPlan {
        netns: None,
        interface: place.interface.get_ref().clone(),
        mac: Some(mac),
        mtu: network.mtu,
        address: Ipv4Net::new(address, prefix).ok(),
        gateway: None,
        backend: TapBackend::Own,
        offload: true,
        queues: config.dataplane.workers,
    };
    let spec = PortSpec {
        name: name.clone(),
        network: ids.network(network.name.get_ref()),
        mtu: network.mtu,
        guard: Some(Guard { mac, address }),
        host: None,
        static_macs: Vec::new(),
        role: PortRole::Hosts,
        is_up: false,
    };
    let plan = PortPlan::Tap(plan);
    let (mac, address, limits) = (Some(mac), Some(address), PortLimits::default());
    Some(PortEntry { id: ids.port(&name), spec, plan, mac, address, limits })
}

fn routes(config: &Config) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let default = config
        .uplink
        .iter()
        .filter(|uplink| !uplink.is_shared())
        .filter_map(|uplink| Some((Ipv4Net::default(), *uplink.gateway.as_ref()?.get_ref())));
    let others = config.routes.iter();
    default.chain(others.map(|route| (*route.to.get_ref(), *route.via.get_ref()))).collect()
}

/// The networks whose hosts are served by DHCP.
fn dhcp_networks(config: &Config, ids: &Ids, processes: &Processes) -> Vec<ScopeSettings> {
    let served = config.networks.iter().filter_map(|network| {
        let (dhcp, router) = (network.dhcp.as_ref()?, network.router.as_ref()?);
        let name = network.name.get_ref();
        let gateway = *router.gateway.get_ref();
        let remote = network.vxlan.iter().flat_map(|vxlan| &vxlan.endpoints);
        let remote = remote.map(|endpoint| AddressRange::from(*endpoint.address.get_ref()));
        let server = Ipv4Net::new(gateway, router.subnet.get_ref().prefix_len()).ok()?;
        let mac = router.mac.as_ref().map_or(MacAddr::from_ipv4(gateway), |mac| *mac.get_ref());
        let parameters = Parameters {
            server,
            server_mac: mac,
            router: (!network.internal).then_some(gateway),
            dns: if network.dns { vec![gateway] } else { Vec::new() },
            domain: dhcp.domain.clone().or_else(|| network.dns.then(|| name.clone())),
            mtu: network.mtu,
        };
        Some(ScopeSettings {
            network: ids.network(network.name.get_ref()),
            name: name.clone(),
            range: dhcp.range.as_ref().map(|range| *range.get_ref()),
            exclude: dhcp.exclude.iter().map(|range| *range.get_ref()).chain(remote).collect(),
            lease_s: dhcp.lease_s,
            parameters,
            ports: Vec::new(),
        })
    });
    let mut served: Vec<ScopeSettings> = served.collect();
    let own = config.networks.iter().filter_map(|network| host_port(config, ids, network));
    let ports = config.ports.iter().map(|port| port_entry(config, (ids, processes), port));
    for port in ports.chain(own) {
        let PortEntry { id, spec, mac, address, .. } = port;
        let home = served.iter_mut().find(|scope| scope.network == spec.network);
        if let Some(home) = home {
            let (name, guard) = (spec.name, spec.guard);
            home.ports.push(ScopePort { id, name, mac, address, guard });
        }
    }
    served
}

fn publishes(config: &Config, ids: &Ids) -> Vec<Publish> {
    let (placed, _) = publishes::place(config);
    let publish = |placed: publishes::Placed| {
        let port = config.way_out_of(&config.ports.get(placed.port)?.host)?;
        Some(Publish {
            protocol: placed.protocol,
            address: placed.address,
            port: placed.external.first,
            count: placed.external.count() as u16,
            network: home(config, ids, port).network,
            target: Endpoint::new(*port.address.as_ref()?.get_ref(), placed.target),
        })
    };
    placed.into_iter().filter_map(publish).collect()
}
