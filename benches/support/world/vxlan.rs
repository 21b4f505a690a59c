//! A network of which one half is behind a tunnel: frames that leave by it, and that come by it.

use std::net::Ipv4Addr;

use tapway::engine::{Command, EngineConfig, NetworkSpec, Underlay, Vtep, VxlanSpec};
use tapway::id::{NetworkId, PortId};
use tapway::nat::Endpoint;
use tapway::packet::vxlan::{Outer, VXLAN_PORT, Vni, source_port};
use tapway::packet::{MacAddr, put};
use tapway::switch::{FdbLimits, PortRole, Tunnel};

use super::{
    FIRST_HOST, FIRST_PORT, Frame, IN_PORT, INSIDE, MakeFrame, OUT_PORT, SECOND_IN_PORT, World,
    mac, order, permutation, template,
};

/// The port whose device has the sockets.
const UNDERLAY: PortId = OUT_PORT;
const TUNNEL: PortId = SECOND_IN_PORT;
const LOCAL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

impl World {
    /// Each of `stations` hosts sends to one behind the tunnel.
    pub fn encapsulate(stations: usize) -> Self {
        let mut world = Self::stretched(stations);
        world.frame = to_tunnel(stations);
        world.learn(stations);
        let sources = world.warm(stations);
        let is_outer = sources.iter().all(|source| source.ip == LOCAL);
        assert!(is_outer && sources.len() == stations, "not all left by the tunnel");
        world
    }

    /// Each of `stations` hosts behind the tunnel sends to one here.
    pub fn decapsulate(stations: usize) -> Self {
        let mut world = Self::encapsulate(stations);
        world.frame = from_tunnel(stations);
        world.learn(stations);
        world
    }

    /// As many hosts here as behind the tunnel; those there have been heard.
    fn stretched(stations: usize) -> Self {
        let macs = 2 * stations + 64;
        let limits = FdbLimits { total: macs, per_network: macs, per_port: macs };
        let config = EngineConfig { fdb: limits, ..EngineConfig::with_sessions(1024) };
        let mut world = Self::bare(config, order(stations));
        let spec = VxlanSpec { vni: vni(), accepts_any: false, carries_tags: false };
        let network = NetworkSpec { vxlan: Some(spec), ..NetworkSpec::new("stretched", None) };
        world.apply(Command::AddNetwork(INSIDE, network));
        world.port(IN_PORT, INSIDE);
        world.port_as(UNDERLAY, NetworkId::NONE, PortRole::Underlay);
        let tunnel = Tunnel { peer: PEER.into(), floods: true };
        world.port_as(TUNNEL, INSIDE, PortRole::Tunnel(tunnel));
        let underlay = Underlay::Port(UNDERLAY);
        let vtep = Vtep { address: LOCAL, port: VXLAN_PORT, underlay };
        world.apply(Command::SetVtep(Some(vtep)));
        world.frame = from_tunnel(stations);
        world.learn(stations);
        world
    }
}

fn vni() -> Vni {
    Vni::try_from(77).unwrap_or_default()
}

/// From a host here to its partner there.
fn to_tunnel(stations: usize) -> MakeFrame {
    let inner = between(stations);
    Box::new(move |station| {
        let (here, there, mut frame) = inner(station);
        put(&mut frame, 0, &there.0);
        put(&mut frame, 6, &here.0);
        (IN_PORT, frame.into())
    })
}

/// From a partner there to its host here, as the underlay's device delivers it.
fn from_tunnel(stations: usize) -> MakeFrame {
    let inner = between(stations);
    let macs = (MacAddr::from_ipv4(LOCAL), MacAddr::from_ipv4(PEER));
    Box::new(move |station| {
        let (here, there, mut frame) = inner(station);
        put(&mut frame, 0, &here.0);
        put(&mut frame, 6, &there.0);
        let outer = Outer {
            src: PEER,
            dst: LOCAL,
            sport: source_port(station as u64),
            dport: VXLAN_PORT,
            tos: 0,
            vni: vni(),
        };
        (UNDERLAY, Frame::encapsulated(&outer.headers(macs, frame.len()), &frame))
    })
}

/// The MACs of a host here and of its partner there, and a frame for the two.
fn between(stations: usize) -> impl Fn(usize) -> (MacAddr, MacAddr, [u8; 60]) {
    let partners = permutation(stations, 0x9e37);
    let template = template(Endpoint::new(Ipv4Addr::from(FIRST_HOST), FIRST_PORT));
    move |station| {
        let partner = partners.get(station).map_or(0, |at| *at as usize);
        (mac(station), mac(stations + partner), template)
    }
}
