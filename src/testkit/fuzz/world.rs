//! The topology of the engine target, and the commands that change it.
//!
//! | network | subnet | ports |
//! |---|---|---|
//! | 0 uplink, outside | 192.168.33.0/24 | 0: router .1, mac .2 |
//! | 1 bridge | 172.17.0.0/16 | 1: .2, 2: .3, both unguarded; 3: .4, guarded |
//! | 2 isolated (`icc = false`) | 10.1.0.0/24 | 4: .2, 5: .3, guarded |
//! | 3 plain: switched only | none | 6, 7 |
//! | none | none | 8: the underlay of VXLAN |
//!
//! The bridge and the plain network have a tunnel each, ports 9 and 10, to the first and the second
//! of [`PEERS`]. That of the bridge is down at first.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::engine::{
    Command, EngineConfig, Gateway, NetworkSpec, PortSpec, Underlay, Vtep, VxlanSpec,
};
use crate::id::{NetworkId, PortId};
use crate::local::dns::NameTable;
use crate::nat::{Endpoint, NatMode, NatPolicy, Publish};
use crate::packet::vxlan::{VXLAN_PORT, Vni};
use crate::packet::{MacAddr, PortSpan};
use crate::route::NeighbourLimits;
use crate::switch::{FdbLimits, Guard, PortRole, Tunnel};

/// Ports that commands and frames may name; one more than there are, so that some are unknown.
pub const PORTS: u8 = 12;
/// Networks that commands may name; one more than there are.
const NETWORKS: u8 = 5;
/// Most MACs.
pub const MACS: usize = 24;
/// Most neighbours.
pub const NEIGHBOURS: usize = 12;
/// Most sessions.
pub const SESSIONS: usize = 16;

/// Who sends: port, address.
pub const HOSTS: [(u16, Ipv4Addr); 9] = [
    (0, Ipv4Addr::new(192, 168, 33, 1)),
    (0, Ipv4Addr::new(192, 168, 33, 2)),
    (1, Ipv4Addr::new(172, 17, 0, 2)),
    (2, Ipv4Addr::new(172, 17, 0, 3)),
    (3, Ipv4Addr::new(172, 17, 0, 4)),
    (4, Ipv4Addr::new(10, 1, 0, 2)),
    (5, Ipv4Addr::new(10, 1, 0, 3)),
    (6, Ipv4Addr::new(10, 9, 0, 2)),
    (7, Ipv4Addr::new(10, 9, 0, 3)),
];

/// To whom it sends, besides the hosts.
pub const PLACES: [Ipv4Addr; 17] = [
    Ipv4Addr::new(192, 168, 33, 10),
    Ipv4Addr::new(192, 168, 33, 11),
    Ipv4Addr::new(192, 168, 33, 12),
    Ipv4Addr::new(172, 17, 0, 1),
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(203, 0, 113, 7),
    Ipv4Addr::new(198, 51, 100, 9),
    Ipv4Addr::new(172, 17, 0, 99),
    Ipv4Addr::new(192, 168, 33, 99),
    Ipv4Addr::new(172, 17, 255, 255),
    Ipv4Addr::new(192, 168, 33, 255),
    Ipv4Addr::new(255, 255, 255, 255),
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(0, 0, 0, 0),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(172, 17, 0, 0),
];

/// Other VTEPs: two that are peers, and one that is none.
pub const PEERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(198, 51, 100, 9)];
/// The port of the underlay.
pub const UNDERLAY: PortId = PortId(8);
const TUNNELS: [(u16, NetworkId); 2] = [(9, NetworkId(1)), (10, NetworkId(3))];

/// The number of a network beyond this host; of one that has none, some other.
pub fn vni(network: NetworkId) -> Vni {
    Vni::try_from(u32::from(network.0) + 7).unwrap_or_default()
}

/// Ports of TCP and UDP, and identifiers of ICMP.
pub const L4_PORTS: [u16; 10] = [80, 81, 443, 53, 5000, 1024, 60_000, 67, 68, 0];

/// How time passes.
pub const STEPS: [Duration; 8] = [
    Duration::from_nanos(1),
    Duration::from_millis(1),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(7),
    Duration::from_secs(31),
    Duration::from_secs(301),
    Duration::from_secs(7441),
];

/// The gateways, by network.
const GATEWAYS: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::new(192, 168, 33, 10), 24),
    (Ipv4Addr::new(172, 17, 0, 1), 16),
    (Ipv4Addr::new(10, 1, 0, 1), 24),
];

const MODES: [NatMode; 5] =
    [NatMode::EimApdf, NatMode::EimAdf, NatMode::EimEif, NatMode::Apdm, NatMode::None];

/// The element that a byte chooses.
pub fn pick<T: Copy>(from: &[T], by: u8) -> Option<T> {
    from.get(usize::from(by) % from.len().max(1)).copied()
}

/// The address that a byte chooses: one of the hosts or places.
pub fn address(by: u8) -> Ipv4Addr {
    let all = HOSTS.len() + PLACES.len();
    let index = usize::from(by) % all;
    let host = HOSTS.get(index).map(|host| host.1);
    host.or_else(|| PLACES.get(index - HOSTS.len()).copied()).unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// The network of a port.
pub const fn network_of(port: u16) -> NetworkId {
    NetworkId(match port {
        0 => 0,
        1..=3 => 1,
        4 | 5 => 2,
        8 => return NetworkId::NONE,
        9 => 1,
        _ => 3,
    })
}

/// tapway's MAC in a network; that of the first where there is none.
pub fn gateway_mac(network: NetworkId) -> MacAddr {
    let (address, _) = GATEWAYS.get(network.index()).copied().unwrap_or(GATEWAYS[0]);
    MacAddr::from_ipv4(address)
}

/// The subnet of a network with a gateway, and tapway's own address in it.
pub fn subnet(network: NetworkId) -> Option<(Ipv4Net, Ipv4Addr)> {
    let (address, prefix) = GATEWAYS.get(network.index()).copied()?;
    Some((Ipv4Net::new(address, prefix).ok()?.trunc(), address))
}

/// Bounds small enough for a short program to meet them.
pub fn config() -> EngineConfig {
    let mut config = EngineConfig::with_sessions(SESSIONS);
    config.fdb = FdbLimits { total: MACS, per_network: 16, per_port: 8 };
    config.neighbours = NeighbourLimits { total: NEIGHBOURS, unresolved_per_port: 4 };
    config.nat.ports_per_host = 12;
    config.flows = 24;
    config
}

/// The commands that build the topology.
pub fn setup() -> Vec<Command> {
    let mut commands: Vec<Command> = (0..4).map(|id| add_network(NetworkId(id), 0, 0)).collect();
    commands.extend((0..11).map(|id| add_port(id, if id == 9 { 8 } else { 0 })));
    commands.push(set_vtep(1));
    commands.push(Command::AddRoute(Ipv4Net::default(), HOSTS[0].1));
    commands.push(Command::SetNames(names()));
    commands
}

/// The bridge has names, and asks for others.
fn names() -> Arc<NameTable> {
    let mut names = NameTable::default();
    names.add_network(NetworkId(1), "bridge", "172.17.0.0/16".parse().ok(), true);
    names.add_host(NetworkId(1), "a", HOSTS[2].1);
    Arc::new(names)
}

/// The command that four bytes choose.
pub fn command(kind: u8, a: u8, b: u8, c: u8) -> Command {
    let port = PortId(u16::from(a % PORTS));
    let network = NetworkId(u16::from(a % NETWORKS));
    match kind {
        252 | 253 => return set_vtep(b),
        254.. => {
            let mac = MacAddr([2, 0, 0, 0, 0, c]);
            return Command::SetEndpoints(network, vec![(address(b), mac)]);
        }
        _ => {}
    }
    match kind % 12 {
        0 | 1 => add_network(network, b, c),
        2 => Command::RemoveNetwork(network),
        3 => add_port(port.0, b),
        4 => Command::RemovePort(port),
        5 => Command::SetPortUp(port, b & 1 == 1),
        6 => Command::SetPortMtu(port, 68 + u16::from(b) * 8),
        7 => Command::AddRoute(prefix(a, c), address(b)),
        8 => Command::RemoveRoute(prefix(a, c)),
        9 | 10 => Command::Publish(publish(a, b, c)),
        _ => Command::Unpublish(publish(a, b, c)),
    }
}

/// No VTEP, one with the underlay's port, or one on the uplink.
fn set_vtep(by: u8) -> Command {
    let vtep = |address, underlay| Some(Vtep { address, port: VXLAN_PORT, underlay });
    Command::SetVtep(match by % 3 {
        0 => None,
        1 => vtep(PLACES[8], Underlay::Port(UNDERLAY)),
        _ => vtep(PLACES[0], Underlay::Uplink),
    })
}

/// External ports of an uplink that shares its address with the host.
const SHARED: PortSpan = PortSpan { first: 61_000, last: 61_100 };

/// A network in its mode (the low bits of `mode`) and with statics, pool, small MTU, exemption,
/// shared address (bits of `extra`).
fn add_network(id: NetworkId, mode: u8, extra: u8) -> Command {
    let is_outside = id == NetworkId(0);
    let gateway = GATEWAYS.get(id.index()).map(|(address, prefix)| Gateway {
        mac: MacAddr::from_ipv4(*address),
        address: Ipv4Net::new(*address, *prefix).unwrap_or_default(),
        pool: if is_outside && extra & 1 != 0 { vec![*address, PLACES[1]] } else { Vec::new() },
        shared: (is_outside && extra & 64 != 0).then_some(SHARED),
        statics: if is_outside && extra & 2 != 0 {
            vec![(NetworkId(1), HOSTS[3].1, PLACES[2])]
        } else {
            Vec::new()
        },
    });
    let mut spec = NetworkSpec::new(&format!("network{}", id.0), gateway);
    spec.is_outside = is_outside;
    spec.icc = id != NetworkId(2);
    spec.mtu = if extra & 4 != 0 { 576 } else { 1500 };
    spec.bridge.forward_reserved = extra & 8 != 0;
    if extra & 16 != 0 {
        spec.bridge.storm_limit = 2;
    }
    spec.nat = NatPolicy::uniform(pick(&MODES, mode).unwrap_or_default());
    spec.nat.udp = pick(&MODES, mode.wrapping_add(mode >> 4)).unwrap_or_default();
    if extra & 32 != 0 {
        spec.nat.exempt.push(Ipv4Net::new(PLACES[6], 24).unwrap_or_default());
    }
    if TUNNELS.iter().any(|(_, network)| *network == id) {
        let (accepts_any, carries_tags) = (mode & 128 != 0, extra & 128 != 0);
        spec.vxlan = Some(VxlanSpec { vni: vni(id), accepts_any, carries_tags });
    }
    Command::AddNetwork(id, spec)
}

fn add_port(id: u16, extra: u8) -> Command {
    let host = HOSTS.iter().find(|host| host.0 == id).map(|host| host.1);
    let is_guarded = matches!(id, 3 | 5) ^ (extra & 1 != 0);
    let guard = host
        .filter(|_| is_guarded)
        .map(|address| Guard { mac: MacAddr::from_ipv4(address), address });
    let static_macs =
        if extra & 2 != 0 { host.map(MacAddr::from_ipv4).into_iter().collect() } else { vec![] };
    let tunnel = TUNNELS.iter().zip(PEERS).find(|((port, _), _)| *port == id);
    let role = match (id, tunnel) {
        (_, Some((_, peer))) => {
            PortRole::Tunnel(Tunnel { peer: IpAddr::V4(peer), floods: extra & 16 == 0 })
        }
        (id, None) if id == UNDERLAY.0 => PortRole::Underlay,
        _ => PortRole::Hosts,
    };
    let spec = PortSpec {
        name: format!("port{id}"),
        network: network_of(id),
        mtu: if extra & 4 != 0 { 576 } else { 1450 + 50 * u16::from(tunnel.is_none()) },
        guard,
        host: None,
        static_macs,
        role,
        is_up: extra & 8 == 0,
    };
    Command::AddPort(PortId(id), spec)
}

fn prefix(a: u8, c: u8) -> Ipv4Net {
    Ipv4Net::new(address(a), c % 33).unwrap_or_default().trunc()
}

fn publish(a: u8, b: u8, c: u8) -> Publish {
    let (port, target) = pick(&HOSTS, a).unwrap_or(HOSTS[2]);
    Publish {
        protocol: if b & 1 == 0 { 6 } else { 17 },
        address: (b & 2 != 0).then_some(PLACES[0]),
        port: pick(&L4_PORTS, b >> 2).unwrap_or(80),
        count: u16::from(c & 0x0f),
        network: network_of(port),
        target: Endpoint::new(target, pick(&L4_PORTS, c >> 4).unwrap_or(80)),
    }
}
