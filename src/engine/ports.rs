//! Ports come and go, and with them the hosts behind.
//!
//! When a host goes, its sessions end in both directions, and its MAC and its address are forgotten:
//! whoever has the address next, the first packet goes to them. When a host comes whose address
//! had another MAC before, that is announced in its network on its behalf, because the neighbours
//! would believe the old one for half a minute.

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv4Addr;

use super::dhcp::{REQUEST_BURST, REQUESTS_PER_SECOND};
use super::{CommandError, Engine, Pass, PortSpec};
use crate::id::{NetworkId, PortId};
use crate::packet::{Arp, MacAddr};
use crate::switch::{
    Apart, FdbKey, Guard, Limiter, Port, PortCounters, PortLimits, PortRole, Tunnel,
};
use crate::table::{SharedBucket, TokenBucket};
use crate::time::Instant;

/// Addresses that a port remembers of the hosts behind it while it is down; more are not ended
/// with it.
const MAX_HOSTS_OF_PORT: usize = 256;
/// Hosts that wait to be announced; more are not.
const MAX_INTRODUCTIONS: usize = 4096;
/// Hosts announced in one pass; the others come in the next.
const INTRODUCTIONS_PER_PASS: usize = 128;

impl Engine {
    pub(super) fn add_port(
        &mut self,
        now: Instant,
        id: PortId,
        spec: PortSpec,
    ) -> Result<(), CommandError> {
        if self.port(id).is_some() {
            return Err(CommandError::PortExists(id));
        }
        let network = self.networks.get_mut(spec.network.index()).and_then(Option::as_mut);
        let (limit, is_isolated) = match (network, spec.role) {
            (_, PortRole::Underlay) => (0, false),
            (None, _) => return Err(CommandError::UnknownNetwork(spec.network)),
            (Some(network), role) => {
                if !matches!(role, PortRole::Tunnel(Tunnel { floods: false, .. })) {
                    network.bridge.join(id);
                }
                (network.bridge.settings.storm_limit, network.isolates(id))
            }
        };
        // What another port of this number has sent and got is nothing to this one.
        for states in [&self.share.storms, &self.share.limits_rx, &self.share.limits_tx] {
            states.at(id.0).clear();
        }
        let port = Port {
            name: spec.name,
            network: spec.network,
            mtu: spec.mtu,
            full_mtu: spec.mtu,
            role: spec.role,
            is_up: spec.is_up,
            is_isolated,
            apart: Apart::new(false, false),
            guard: spec.guard,
            refuses_servers: false,
            host: spec.host,
            former_hosts: Box::default(),
            bound: Vec::new(),
            gateway: FdbKey::NONE,
            publishes: false,
            storm: SharedBucket::new(limit, limit, self.share.storms.at(id.0)),
            dhcp: TokenBucket::new(REQUESTS_PER_SECOND, REQUEST_BURST, now).into(),
            limit_rx: None,
            limit_tx: None,
            is_open_rx: false,
            is_open_tx: false,
            counters: PortCounters::default(),
        };
        if self.ports.len() <= id.index() {
            self.ports.resize_with(id.index() + 1, || None);
        }
        if let Some(slot) = self.ports.get_mut(id.index()) {
            *slot = Some(port);
        }
        self.bind_macs(id, spec.network, (&spec.static_macs, spec.guard));
        if spec.is_up {
            self.greet(now, id);
        }
        Ok(())
    }

    /// Changes a port of which only the network stays: who its host is, what it may do.
    pub(super) fn alter_port(
        &mut self,
        now: Instant,
        id: PortId,
        spec: PortSpec,
    ) -> Result<usize, CommandError> {
        let port = self.port(id).ok_or(CommandError::UnknownPort(id))?;
        if port.network != spec.network {
            return Err(CommandError::OtherNetwork(id));
        }
        let (network, is_up) = (port.network, port.is_up);
        let before = known_hosts(port);
        // What its host has leased stays its own.
        let guard = match (port.guard, spec.guard) {
            (Some(old), Some(new)) if new.is_unleased() && new.mac == old.mac => Some(old),
            (_, new) => new,
        };
        let after: BTreeSet<Ipv4Addr> = addresses([spec.host, guard]).collect();
        // Who is not named any more may well still be there; who was named and is not has gone.
        let gone: BTreeSet<Ipv4Addr> = before.difference(&after).copied().collect();
        self.release_macs(id);
        self.bind_macs(id, network, (&spec.static_macs, guard));
        if let Some(port) = self.port_mut(id) {
            port.name = spec.name;
            (port.guard, port.host) = (guard, spec.host);
        }
        self.set_port_mtu(id, spec.mtu)?;
        let ended = self.end_hosts(now, network, &gone);
        if is_up {
            self.introduce_own(now, id);
        }
        Ok(ended)
    }

    /// Limits what passes a port.
    pub(super) fn set_port_limits(
        &mut self,
        now: Instant,
        id: PortId,
        limits: PortLimits,
    ) -> Result<(), CommandError> {
        // All workers keep one limit together.
        let (rx, tx) = (self.share.limits_rx.at(id.0), self.share.limits_tx.at(id.0));
        let port = self.port_mut(id).ok_or(CommandError::UnknownPort(id))?;
        port.limit_rx = limits.rx.map(|limit| Limiter::new(now, limit, rx));
        port.limit_tx = limits.tx.map(|limit| Limiter::new(now, limit, tx));
        Ok(())
    }

    /// Removes a port; returns how many sessions of the hosts behind it ended.
    pub(super) fn remove_port(&mut self, now: Instant, id: PortId) -> Result<usize, CommandError> {
        let port = self.port(id).ok_or(CommandError::UnknownPort(id))?;
        let network = port.network;
        let hosts = self.hosts_behind(id);
        self.forget_neighbours_behind(id, network);
        self.release_macs(id);
        self.fdb.flush_port(id, true);
        if let Some(network) = self.networks.get_mut(network.index()).and_then(Option::as_mut) {
            network.bridge.leave(id);
        }
        if let Some(slot) = self.ports.get_mut(id.index()) {
            *slot = None;
        }
        Ok(self.end_hosts(now, network, &hosts))
    }

    pub(super) fn set_port_up(
        &mut self,
        now: Instant,
        id: PortId,
        is_up: bool,
    ) -> Result<(), CommandError> {
        let port = self.port(id).ok_or(CommandError::UnknownPort(id))?;
        let (network, was_up) = (port.network, port.is_up);
        // A host that is only out of reach for a moment keeps its sessions.
        let hosts = if is_up { BTreeSet::new() } else { self.hosts_behind(id) };
        if let Some(port) = self.port_mut(id) {
            port.is_up = is_up;
            if !is_up {
                port.former_hosts = hosts.into_iter().take(MAX_HOSTS_OF_PORT).collect();
            }
        }
        if is_up && !was_up {
            self.greet(now, id);
        }
        if !is_up {
            self.forget_neighbours_behind(id, network);
            self.fdb.flush_port(id, false);
        }
        Ok(())
    }

    /// Changes what the host behind a port may call itself; who it was before has gone.
    pub(super) fn set_port_guard(
        &mut self,
        now: Instant,
        id: PortId,
        guard: Option<Guard>,
    ) -> Result<usize, CommandError> {
        let port = self.port_mut(id).ok_or(CommandError::UnknownPort(id))?;
        let (network, before) = (port.network, std::mem::replace(&mut port.guard, guard));
        let (old, new) = (before.map(|guard| guard.mac), guard.map(|guard| guard.mac));
        if old != new {
            let mut bound = port.bound.clone();
            bound.retain(|mac| Some(*mac) != old);
            self.release_macs(id);
            self.bind_macs(id, network, (&bound, guard));
        }
        let gone =
            addresses([before.filter(|before| Some(before.address) != guard.map(|g| g.address))]);
        Ok(self.end_hosts(now, network, &gone.collect()))
    }

    /// Ends the sessions of hosts, in both directions, and forgets who has their addresses.
    pub(super) fn end_hosts(
        &mut self,
        now: Instant,
        network: NetworkId,
        hosts: &BTreeSet<Ipv4Addr>,
    ) -> usize {
        for ip in hosts {
            if let Some(mac) = self.neighbours.forget(network, *ip) {
                self.departed.note(network, *ip, mac);
            }
        }
        // Hosts outside are many behind one port, and their sessions are those of hosts inside.
        if hosts.is_empty() || !self.is_inside(network) {
            return 0;
        }
        hosts.iter().map(|ip| self.nat.end_of_host(now, network, *ip)).sum()
    }

    /// A host is there: who sends to its address sends to this MAC from now on.
    pub(super) fn introduce(&mut self, now: Instant, port: PortId, host: Guard) {
        let Some(network) = self.port(port).map(|port| port.network) else { return };
        if host.is_unleased() {
            return;
        }
        let known = self.neighbours.get(network, host.address).and_then(|entry| entry.mac);
        self.neighbours.merge(now, network, host.address, host.mac);
        // Until it is heard itself; a guarded one's place is known for good.
        let key = FdbKey::new(network, host.mac);
        self.fdb.learn(now, key, port, self.fdb.hash(key));
        let former = self.departed.take(network, host.address).or(known);
        let is_other = former.is_some_and(|mac| mac != host.mac);
        if is_other && self.introductions.len() < MAX_INTRODUCTIONS {
            self.introductions.push_back((port, host));
        }
    }

    /// Announces hosts in their networks on their behalf.
    pub(super) fn send_introductions(&mut self, pass: &mut Pass<'_>) {
        for _ in 0..INTRODUCTIONS_PER_PASS {
            let Some((port, host)) = self.introductions.pop_front() else { return };
            let Some(known) = self.port(port).filter(|port| port.is_up) else { continue };
            // The first worker speaks for all.
            if !self.is_arp_worker() {
                continue;
            }
            // Isolated hosts know the gateway's MAC for each other.
            let is_told = |other: &PortId| {
                let is_isolated = self.port(*other).is_some_and(|other| other.is_isolated);
                *other != port && !(known.is_isolated && is_isolated)
            };
            let members = self.network(known.network).map(|network| network.bridge.ports());
            let others: Vec<PortId> =
                members.unwrap_or_default().iter().copied().filter(is_told).collect();
            let frame = Arp::announcement(host.mac, host.address).frame(MacAddr::BROADCAST);
            self.generate(pass, &others, &[&frame]);
        }
    }

    /// A port is up: the gateway is announced to it, and its host to the others.
    fn greet(&mut self, now: Instant, id: PortId) {
        if self.port(id).is_none_or(|port| port.role != PortRole::Hosts) {
            // Behind a peer there may be another gateway of the same address.
            return;
        }
        self.announce.push(id);
        self.introduce_own(now, id);
    }

    fn introduce_own(&mut self, now: Instant, id: PortId) {
        let host = self.port(id).and_then(|port| port.host.or(port.guard));
        if let Some(host) = host {
            self.introduce(now, id, host);
        }
    }

    fn bind_macs(
        &mut self,
        id: PortId,
        network: NetworkId,
        (statics, guard): (&[MacAddr], Option<Guard>),
    ) {
        let macs: Vec<MacAddr> =
            statics.iter().copied().chain(guard.map(|guard| guard.mac)).collect();
        for mac in &macs {
            self.fdb.insert_static(FdbKey::new(network, *mac), id);
        }
        if let Some(port) = self.port_mut(id) {
            port.bound = macs;
        }
    }

    /// Sets the MACs free that are bound to a port. One that another port claims as well, as in the
    /// middle of a change, is that port's then.
    fn release_macs(&mut self, id: PortId) {
        let Some(port) = self.port_mut(id) else { return };
        let (network, macs) = (port.network, std::mem::take(&mut port.bound));
        for mac in macs {
            let key = FdbKey::new(network, mac);
            if self.fdb.remove_static(key, id) {
                let claims = |port: &Port| port.network == network && port.bound.contains(&mac);
                let heir = self.ports_with_ids().find(|(_, port)| claims(port)).map(|(id, _)| id);
                if let Some(heir) = heir {
                    self.fdb.insert_static(key, heir);
                }
            }
        }
    }

    /// The addresses of the hosts behind a port: those that are configured, those that are known by
    /// ARP, and those that were when it went down, unless they are known to be elsewhere by now.
    fn hosts_behind(&self, id: PortId) -> BTreeSet<Ipv4Addr> {
        let Some(port) = self.port(id) else { return BTreeSet::new() };
        let network = port.network;
        let macs = self.macs_behind(id);
        let heard = self.neighbours.iter().filter(|entry| {
            entry.network == network && entry.mac.is_some_and(|mac| macs.contains(&mac))
        });
        let heard = heard.map(|entry| entry.ip);
        let is_unheard = |ip: &Ipv4Addr| {
            let entry = self.neighbours.get(network, *ip);
            entry.and_then(|entry| entry.mac).is_none_or(|mac| macs.contains(&mac))
        };
        let former = port.former_hosts.iter().copied().filter(is_unheard);
        known_hosts(port).into_iter().chain(heard).chain(former).collect()
    }

    fn macs_behind(&self, id: PortId) -> HashSet<MacAddr> {
        self.fdb.iter().filter(|entry| entry.port == id).map(|entry| entry.mac).collect()
    }

    /// Whoever is behind the port when it comes back may have another MAC; a neighbour believed
    /// reachable would be sent to for half a minute.
    fn forget_neighbours_behind(&mut self, id: PortId, network: NetworkId) {
        let macs = self.macs_behind(id);
        let behind = self.neighbours.iter().filter(|entry| entry.network == network);
        let behind = behind.filter_map(|entry| Some((entry.ip, entry.mac?)));
        let known = self.port(id).and_then(|port| port.host.or(port.guard));
        let known = known.filter(|host| !host.is_unleased()).map(|host| (host.address, host.mac));
        let gone = behind.filter(|(_, mac)| macs.contains(mac)).chain(known);
        let gone: Vec<(Ipv4Addr, MacAddr)> = gone.collect();
        for (ip, mac) in gone {
            self.departed.note(network, ip, mac);
        }
        self.neighbours.flush(network, Some(&macs));
    }
}

/// The addresses of a port's host that somebody told.
fn known_hosts(port: &Port) -> BTreeSet<Ipv4Addr> {
    addresses([port.host, port.guard]).collect()
}

fn addresses<const N: usize>(hosts: [Option<Guard>; N]) -> impl Iterator<Item = Ipv4Addr> {
    let named = hosts.into_iter().flatten().filter(|host| !host.is_unleased());
    named.map(|host| host.address)
}
