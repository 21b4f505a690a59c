//! Commands: how control changes an engine. A refused command has changed nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Command, CommandError, Engine, Gateway, Network, NetworkSpec, Reply};
use crate::id::{NetworkId, PortId};
use crate::nat::{Publish, StaticNat};
use crate::packet::PortSpan;
use crate::route::{Interface, Route, RouteKind};
use crate::switch::{Apart, Bridge, FdbKey, Port, PortRole};
use crate::time::Instant;

impl Engine {
    /// Changes the state.
    ///
    /// # Errors
    /// Why the command cannot be carried out; nothing has changed then.
    pub fn apply(&mut self, now: Instant, command: Command) -> Result<Reply, CommandError> {
        let mut reply = Reply::default();
        match command {
            // What changes no way makes none invalid.
            Command::Send(port, frame) => {
                self.send_later(port, frame)?;
                return Ok(reply);
            }
            Command::AskNeighbour(network, ip, port) => {
                self.ask_neighbour(now, (network, ip), port);
                return Ok(reply);
            }
            Command::SetNames(names) => {
                self.names.set(names);
                return Ok(reply);
            }
            Command::AnswerName(to, message) => {
                self.names.take_answer(now, to, message);
                return Ok(reply);
            }
            Command::SetPortGuard(id, guard) => {
                reply.ended_sessions = self.set_port_guard(now, id, guard)?;
                self.refresh_port(id);
                return Ok(reply);
            }
            Command::SetPortLimits(id, limits) => {
                self.set_port_limits(now, id, limits)?;
                self.refresh_port(id);
                return Ok(reply);
            }
            Command::EndHost(network, ip) => {
                reply.ended_sessions = self.end_hosts(now, network, &BTreeSet::from([ip]));
                return Ok(reply);
            }
            Command::SetEndpoints(network, hosts) => {
                self.set_endpoints(network, hosts)?;
                return Ok(reply);
            }
            Command::AnnounceHost(port, host) => {
                self.introduce(now, port, host);
                return Ok(reply);
            }
            Command::AddNetwork(id, spec) => {
                reply.ended_sessions = self.add_network(now, id, spec)?;
            }
            Command::RemoveNetwork(id) => reply.ended_sessions = self.remove_network(now, id)?,
            Command::AddPort(id, spec) => self.add_port(now, id, spec)?,
            Command::AlterPort(id, spec) => {
                reply.ended_sessions = self.alter_port(now, id, spec)?
            }
            Command::RemovePort(id) => reply.ended_sessions = self.remove_port(now, id)?,
            Command::SetPortUp(id, is_up) => self.set_port_up(now, id, is_up)?,
            Command::SetPortMtu(id, mtu) => self.set_port_mtu(id, mtu)?,
            Command::SetVtep(vtep) => reply.ended_sessions = self.set_vtep(now, vtep),
            Command::AddRoute(destination, via) => self.add_route(destination, via)?,
            Command::RemoveRoute(destination) => self.remove_route(destination)?,
            Command::Publish(publish) => reply.ended_sessions = self.publish(now, publish)?,
            Command::MovePublish(from, to) => {
                reply.ended_sessions = self.move_publish(now, from, to)?;
            }
            Command::Unpublish(publish) => {
                reply.ended_sessions =
                    self.nat.unpublish(now, &publish).ok_or(CommandError::NotPublished(publish))?;
            }
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.refresh_ports();
        Ok(reply)
    }

    fn add_network(
        &mut self,
        now: Instant,
        id: NetworkId,
        spec: NetworkSpec,
    ) -> Result<usize, CommandError> {
        if let Some(gateway) = &spec.gateway {
            let subnet = gateway.address.trunc();
            let overlap = self.interfaces.iter().find(|other| {
                other.network != id
                    && (other.subnet.contains(&subnet) || subnet.contains(&other.subnet))
            });
            if let Some(other) = overlap {
                return Err(CommandError::SubnetOverlap(subnet, other.subnet));
            }
            if spec.is_outside {
                let is_outside = |network| network == id || !self.is_inside(network);
                if let Some(entry) = gateway.statics.iter().find(|entry| is_outside(entry.0)) {
                    return Err(CommandError::StaticNatOutside(entry.1, entry.2));
                }
            }
        }
        let mut bridge = Bridge::new(spec.name, spec.bridge);
        if let Some(old) = self.network(id) {
            for port in old.bridge.ports() {
                bridge.join(*port);
            }
        }
        self.nat.set_timeouts(id, spec.timeouts);
        let is_retranslated = self.network(id).is_some_and(|old| old.nat != spec.nat);
        let is_closed = spec.is_internal && self.network(id).is_some_and(|old| !old.is_internal);
        let before = self.interfaces.get(id).cloned();
        let network = Network {
            bridge,
            nat: spec.nat,
            icc: spec.icc,
            is_internal: spec.is_internal,
            open_port: spec.open_port,
            serves_dhcp: spec.serves_dhcp,
            vxlan: spec.vxlan,
        };
        if self.networks.len() <= id.index() {
            self.networks.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = self.networks.get_mut(id.index()) {
            *slot = Some(network);
        }
        self.remove_interface(id);
        let mut ended = 0;
        if let Some(gateway) = spec.gateway {
            ended += self.add_interface(now, id, gateway, (spec.mtu, spec.is_outside));
        }
        let limit = spec.bridge.storm_limit;
        for (at, port) in self.ports.iter_mut().enumerate() {
            let Some(port) = port.as_mut().filter(|port| port.network == id) else { continue };
            port.is_isolated = !spec.icc && spec.open_port.is_none_or(|open| open.index() != at);
            port.storm = port.storm.at_rate(limit, limit);
        }
        if before.as_ref() != self.interfaces.get(id) {
            self.announce_network(id);
        }
        ended += self.end_orphaned(now);
        if is_retranslated || is_closed {
            // What was opened under the old modes must not stay open under the new ones.
            ended += self.nat.end_where(now, |session| {
                (is_closed || !session.is_published())
                    && (session.original.network == id || session.reply.network == id)
            });
        }
        Ok(ended)
    }

    /// Tells the hosts of a network who the gateway is now; those behind peers may have another.
    fn announce_network(&mut self, id: NetworkId) {
        let is_told =
            |port: &Port| port.network == id && port.is_up && port.role == PortRole::Hosts;
        let members = self.ports_with_ids().filter(|(_, port)| is_told(port));
        let ports: Vec<PortId> = members.map(|(port, _)| port).collect();
        for port in ports {
            if !self.announce.contains(&port) {
                self.announce.push(port);
            }
        }
    }

    /// Ends the sessions whose external address is no longer tapway's; returns how many.
    fn end_orphaned(&mut self, now: Instant) -> usize {
        let interfaces = &self.interfaces;
        let is_lost = |network: NetworkId, address: Ipv4Addr| {
            interfaces.get(network).is_none_or(|interface| interface.is_outside)
                && interfaces.owner_of(address).is_none()
        };
        self.nat.end_where(now, |session| {
            is_lost(session.original.network, session.original.dst)
                || is_lost(session.reply.network, session.reply.dst)
        })
    }

    /// Takes the router out of a network: its addresses, and the route to its subnet.
    fn remove_interface(&mut self, id: NetworkId) {
        let connected: Vec<Ipv4Net> = self
            .fib
            .iter()
            .filter(|route| route.network == id && route.kind == RouteKind::Connected)
            .map(|route| route.destination)
            .collect();
        for destination in connected {
            self.fib.remove(destination);
        }
        if self.interfaces.get(id).is_some_and(|interface| interface.is_outside) {
            self.nat.set_statics(Vec::new());
        }
        self.interfaces.remove(id);
    }

    /// Returns how many sessions have ended.
    fn add_interface(
        &mut self,
        now: Instant,
        id: NetworkId,
        gateway: Gateway,
        (mtu, is_outside): (u16, bool),
    ) -> usize {
        let mut ended = 0;
        let subnet = gateway.address.trunc();
        let external: Vec<Ipv4Addr> = gateway.statics.iter().map(|entry| entry.2).collect();
        if is_outside {
            ended = self.nat.set_span(now, gateway.shared.unwrap_or(PortSpan::ALL));
            let statics = gateway.statics.into_iter();
            self.nat.set_statics(
                statics
                    .map(|(network, inside, external)| StaticNat { network, inside, external })
                    .collect(),
            );
        }
        self.fib.insert(Route {
            destination: subnet,
            via: None,
            network: id,
            kind: RouteKind::Connected,
        });
        self.interfaces.insert(Interface {
            network: id,
            mac: gateway.mac,
            address: gateway.address.addr(),
            extra: external,
            pool: gateway.pool,
            subnet,
            mtu,
            is_outside,
            shared: gateway.shared,
        });
        ended
    }

    fn remove_network(&mut self, now: Instant, id: NetworkId) -> Result<usize, CommandError> {
        self.network(id).ok_or(CommandError::UnknownNetwork(id))?;
        let mut ended = 0;
        self.overlay.endpoints.set(id, Vec::new());
        let members = self.ports_with_ids().filter(|(_, port)| port.network == id);
        let members: Vec<PortId> = members.map(|(port, _)| port).collect();
        for port in members {
            ended += self.remove_port(now, port)?;
        }
        let publishes: Vec<Publish> =
            self.nat.publishes().iter().filter(|publish| publish.network == id).copied().collect();
        for publish in publishes {
            ended += self.nat.unpublish(now, &publish).unwrap_or(0);
        }
        ended += self.nat.end_where(now, |session| {
            session.original.network == id || session.reply.network == id
        });
        self.nat.set_timeouts(id, None);
        self.remove_interface(id);
        self.fib.remove_network(id);
        self.neighbours.flush(id, None);
        if let Some(slot) = self.networks.get_mut(id.index()) {
            *slot = None;
        }
        Ok(ended)
    }

    fn add_route(&mut self, destination: Ipv4Net, via: Ipv4Addr) -> Result<(), CommandError> {
        let network = self
            .interfaces
            .iter()
            .find(|interface| interface.subnet.contains(&via))
            .map(|interface| interface.network)
            .ok_or(CommandError::NextHopNotConnected(via))?;
        if self.connected(destination) {
            return Err(CommandError::RouteIsConnected(destination));
        }
        self.fib.insert(Route { destination, via: Some(via), network, kind: RouteKind::Static });
        Ok(())
    }

    fn connected(&self, destination: Ipv4Net) -> bool {
        self.interfaces.iter().any(|interface| interface.subnet == destination.trunc())
    }

    fn remove_route(&mut self, destination: Ipv4Net) -> Result<(), CommandError> {
        let is_static = self.fib.iter().any(|route| {
            route.destination == destination.trunc() && route.kind == RouteKind::Static
        });
        if !is_static {
            return Err(CommandError::UnknownRoute(destination));
        }
        self.fib.remove(destination);
        Ok(())
    }

    fn publish(&mut self, now: Instant, publish: Publish) -> Result<usize, CommandError> {
        if self.network(publish.network).is_none() {
            return Err(CommandError::UnknownNetwork(publish.network));
        }
        if !self.is_inside(publish.network) {
            return Err(CommandError::PublishOutside(publish));
        }
        let fits = |first: u16| first > 0 && first.checked_add(publish.count - 1).is_some();
        if publish.count == 0 || !fits(publish.port) || !fits(publish.target.port) {
            return Err(CommandError::BadRange);
        }
        self.nat
            .publish(now, publish)
            .map_err(|conflict| CommandError::PublishConflict { conflict })
    }

    /// Leads a published port elsewhere, without a moment in between in which it is nobody's.
    fn move_publish(
        &mut self,
        now: Instant,
        from: Publish,
        to: Publish,
    ) -> Result<usize, CommandError> {
        let ended = self.nat.unpublish(now, &from).ok_or(CommandError::NotPublished(from))?;
        match self.publish(now, to) {
            Ok(more) => Ok(ended + more),
            Err(refusal) => {
                // It was there a moment ago.
                let _ = self.publish(now, from);
                Err(refusal)
            }
        }
    }

    /// Notes at each port what its frames are compared with: the gateway's MAC, whether its host may
    /// serve others, and whether it publishes something, or may. Without a configured address any
    /// port of the network may be the one.
    fn refresh_ports(&mut self) {
        self.refresh_tunnels();
        for id in 0..self.ports.len() {
            self.refresh_port(PortId(id as u16));
        }
    }

    fn refresh_port(&mut self, id: PortId) {
        let nat = &self.nat;
        let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let network = port.network;
        let interface = self.interfaces.get(network);
        let is_underlay = port.role == PortRole::Underlay;
        let is_tunnel = matches!(port.role, PortRole::Tunnel(_));
        let is_free_rx = port.guard.is_none() && port.limit_rx.is_none();
        port.is_open_rx = port.is_up && is_free_rx && !is_underlay;
        port.is_open_tx = port.is_up && port.limit_tx.is_none() && !is_tunnel;
        port.apart = Apart::new(port.is_isolated, is_tunnel);
        let served = self.networks.get(network.index()).and_then(Option::as_ref);
        port.refuses_servers =
            port.guard.is_some() && served.is_some_and(|network| network.serves_dhcp);
        port.gateway = interface.map_or(FdbKey::NONE, |own| FdbKey::new(network, own.mac));
        port.publishes = match port.guard {
            Some(guard) => {
                nat.publishes().has_target(network, guard.address)
                    || nat.statics().iter().any(|entry| entry.inside == guard.address)
            }
            None => {
                nat.publishes().iter().any(|publish| publish.network == network)
                    || nat.statics().iter().any(|entry| entry.network == network)
            }
        };
    }
}
