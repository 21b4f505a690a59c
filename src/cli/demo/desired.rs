//! What the two engines are to be: tapway as the demo's configuration file says, and the router.

use crate::control::config::Config;
use crate::control::model::Model;
use crate::engine::{Command, Engine, EngineConfig, Gateway, NetworkSpec, PortSpec};
use crate::id::NetworkId;
use crate::io::{Netns, PortPlan, TapPlan};
use crate::nat::{NatMode, NatPolicy, Publish};
use crate::packet::MacAddr;
use crate::switch::{Guard, PortRole};
use crate::time::Instant;

use super::topology::{HostName, LAN_PREFIX, MTU, ROUTER, ROUTER_UPLINK, Switch, net};
use super::{DemoError, Fault};

/// tapway's part.
pub const CONFIG: &str = include_str!("../../../tools/configs/demo.toml");

/// The second Docker host's part.
const SECOND_CONFIG: &str = include_str!("../../../tools/configs/demo-second.toml");

const ROUTER_OUTSIDE: NetworkId = NetworkId(0);
const ROUTER_INSIDE: NetworkId = NetworkId(1);
/// Sessions of the router.
const ROUTER_SESSIONS: usize = 4096;

/// tapway's state at the start: all of the file, but that nothing is published yet.
///
/// # Errors
/// If the embedded file is wrong.
pub fn tapway(fault: Option<Fault>, has_host_access: bool) -> Result<Model, DemoError> {
    let mut config = Config::parse("demo.toml", CONFIG)?.config;
    for network in &mut config.networks {
        if !has_host_access {
            network.host = None;
        }
        match fault {
            Some(Fault::NoTranslation) => network.nat = NatPolicy::uniform(NatMode::None),
            Some(Fault::NoNames) => network.dns = false,
            Some(Fault::NotPublished) | None => {}
        }
    }
    if fault == Some(Fault::NoNames) {
        config.ports.iter_mut().for_each(|port| port.links.clear());
    }
    let mut model = Model::new(&config);
    model.publishes.clear();
    Ok(model)
}

/// The second Docker host's state.
///
/// # Errors
/// If the embedded file is wrong.
pub fn second() -> Result<Model, DemoError> {
    Ok(Model::new(&Config::parse("demo-second.toml", SECOND_CONFIG)?.config))
}

/// The port that is published later: port 80 of nginx1.
///
/// # Errors
/// If the embedded file is wrong.
pub fn publish() -> Result<Publish, DemoError> {
    let model = Model::new(&Config::parse("demo.toml", CONFIG)?.config);
    model.publishes.first().copied().ok_or(DemoError::Missing("the published port"))
}

/// Puts a prefix before the names of tapway's namespaces.
pub fn rename_namespaces(model: &mut Model, prefix: &str) {
    for port in &mut model.ports {
        if let PortPlan::Tap(TapPlan { netns: Some(Netns::Named { name, .. }), .. }) =
            &mut port.plan
        {
            name.insert_str(0, prefix);
        }
    }
}

/// An engine that is as a model says. Its ports are down: there is nothing behind them yet.
///
/// # Errors
/// If the engine refuses it: a mistake of the file.
pub fn engine(model: &Model, seed: u128, now: Instant) -> Result<Engine, DemoError> {
    let names = Command::SetNames(model.names.clone());
    built(model.engine, model.commands().into_iter().chain([names]), seed, now)
}

/// The router's engine, likewise.
///
/// # Errors
/// If the engine refuses it: a mistake of this file.
pub fn router(seed: u128, now: Instant) -> Result<Engine, DemoError> {
    built(EngineConfig::with_sessions(ROUTER_SESSIONS), router_commands(), seed, now)
}

fn built(
    config: EngineConfig,
    commands: impl IntoIterator<Item = Command>,
    seed: u128,
    now: Instant,
) -> Result<Engine, DemoError> {
    let mut engine = Engine::new(config, seed, now);
    for command in commands {
        engine.apply(now, command)?;
    }
    Ok(engine)
}

fn router_commands() -> Vec<Command> {
    let outside = network("internet", ROUTER_UPLINK);
    let ports = [
        (HostName::Far.port().1, ROUTER_OUTSIDE, HostName::Far.name(), Some(HostName::Far)),
        (Switch::Tapway.trunk().1, ROUTER_INSIDE, Switch::Tapway.name(), None),
        (Switch::Second.trunk().1, ROUTER_INSIDE, Switch::Second.name(), None),
        (HostName::Mac.port().1, ROUTER_INSIDE, HostName::Mac.name(), Some(HostName::Mac)),
    ];
    let networks = [
        Command::AddNetwork(ROUTER_OUTSIDE, NetworkSpec { is_outside: true, ..outside }),
        Command::AddNetwork(ROUTER_INSIDE, network("outside", ROUTER)),
    ];
    let ports = ports.map(|(id, network, name, host)| {
        let guard = host.map(HostName::spec);
        let spec = PortSpec {
            name: name.to_owned(),
            network,
            mtu: MTU,
            guard: guard.map(|spec| Guard { mac: spec.mac, address: spec.address.addr() }),
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: false,
        };
        Command::AddPort(id, spec)
    });
    networks.into_iter().chain(ports).collect()
}

fn network(name: &str, address: std::net::Ipv4Addr) -> NetworkSpec {
    let gateway = Gateway {
        mac: MacAddr::from_ipv4(address),
        address: net(address, LAN_PREFIX),
        pool: Vec::new(),
        statics: Vec::new(),
        shared: None,
    };
    NetworkSpec { mtu: MTU, ..NetworkSpec::new(name, Some(gateway)) }
}

#[cfg(test)]
mod tests {
    use ipnet::Ipv4Net;

    use crate::control::model::UPLINK_PORT;

    use super::super::topology::{BRIDGE_GATEWAY, DNS_GATEWAY, HTTP, INSIDE_PREFIX, TAPWAY};
    use super::*;

    #[test]
    fn hosts_and_addresses_are_those_of_the_file() {
        let model = tapway(None, true).unwrap();
        let hosts = HostName::ALL.into_iter().filter(|host| host.port().0 == Switch::Tapway);
        assert_eq!(model.ports[0].id, UPLINK_PORT);
        // And the uplink, and the tunnel to the second host.
        assert_eq!(model.ports.len(), 2 + hosts.clone().count());
        for host in hosts {
            let entry = model.ports.iter().find(|port| port.id == host.port().1).unwrap();
            assert_eq!(entry.address, Some(host.address()));
            assert_eq!(entry.mac, Some(host.spec().mac));
            let is_named = entry.spec.name == host.name();
            assert!(is_named || host == HostName::Here, "{}", entry.spec.name);
        }
        let own: Vec<_> = model
            .networks
            .iter()
            .map(|(_, network)| network.gateway.as_ref().unwrap().address)
            .collect();
        let inside = [BRIDGE_GATEWAY, DNS_GATEWAY].map(|address| net(address, INSIDE_PREFIX));
        assert_eq!(own, [net(TAPWAY, LAN_PREFIX), inside[0], inside[1]]);
        assert_eq!(model.routes, [(Ipv4Net::default(), ROUTER)]);
        let publish = publish().unwrap();
        assert_eq!((publish.port, publish.target.ip), (HTTP, HostName::Nginx1.address()));
        assert_eq!((publish.address, publish.target.port), (Some(TAPWAY), HTTP));
    }

    #[test]
    fn without_host_access_everything_else_is_the_same() {
        let (with, without) = (tapway(None, true).unwrap(), tapway(None, false).unwrap());
        let here = HostName::Here.port().1;
        let others: Vec<_> = with.ports.iter().filter(|port| port.id != here).collect();
        assert_eq!(others.len(), without.ports.len());
        for (one, other) in others.into_iter().zip(&without.ports) {
            assert_eq!((&one.spec.name, &one.plan), (&other.spec.name, &other.plan));
        }
        assert_eq!(without.host_places, []);
    }
}
