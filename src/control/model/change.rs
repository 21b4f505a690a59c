//! The difference between two models, and the commands that lead from one to the other.
//!
//! What both have is not touched: no command is about it. Less comes before more, so that an
//! address, an external port or a name may pass from one to another in one change.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{EndpointEntry, Model, PortEntry};
use crate::engine::{Command, NetworkSpec, Vtep};
use crate::id::{NetworkId, PortId};
use crate::io::PortPlan;
use crate::nat::Publish;
use crate::packet::MacAddr;
use crate::switch::PortLimits;

/// What becomes of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChange {
    /// It is there.
    Added(PortEntry),
    /// It is gone.
    Removed(PortEntry),
    /// It has another device, and perhaps another place in the engine.
    Replaced(Box<(PortEntry, PortEntry)>),
    /// It keeps its device, and has another place in the engine or another address to show.
    Altered(Box<(PortEntry, PortEntry)>),
}

/// A route: prefix and next hop.
pub type Route = (Ipv4Net, Ipv4Addr);

/// Addresses and MACs of the hosts of a network.
type Hosts = Vec<(Ipv4Addr, MacAddr)>;

/// The difference between two models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Networks that are gone.
    pub networks_removed: Vec<(NetworkId, NetworkSpec)>,
    /// Networks that are there or are other than before, with what they were.
    pub networks_set: Vec<(NetworkId, Option<NetworkSpec>, NetworkSpec)>,
    /// Ports.
    pub ports: Vec<PortChange>,
    /// Routes to prefixes that have none any more, or whose next hop has left its network.
    pub routes_removed: Vec<Route>,
    /// Routes that are there or lead elsewhere, with what they replace.
    pub routes_set: Vec<(Option<Route>, Route)>,
    /// tapway as a tunnel endpoint before and after, if it is another one.
    pub vtep: Option<(Option<Vtep>, Option<Vtep>)>,
    /// Known hosts behind peers that are gone, or are other than before.
    pub endpoints_removed: Vec<EndpointEntry>,
    /// Known hosts behind peers that are there or are other than before.
    pub endpoints_added: Vec<EndpointEntry>,
    /// What is known of the networks of these, before and after.
    endpoint_sets: Vec<(NetworkId, Hosts, Hosts)>,
    /// Published ports that are gone, or lead elsewhere.
    pub publishes_removed: Vec<Publish>,
    /// Published ports that are there.
    pub publishes_added: Vec<Publish>,
}

/// A command, and the one that takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What an engine is told.
    pub command: Command,
    /// What it is told if a later step fails.
    pub undo: Command,
}

impl Change {
    /// What leads from one model to another.
    pub fn between(old: &Model, new: &Model) -> Self {
        let mut change = Self::default();
        change.compare_networks(old, new);
        change.compare_ports(old, new);
        change.compare_routes(old, new);
        change.compare_tunnels(old, new);
        let before: HashSet<&Publish> = old.publishes.iter().collect();
        let after: HashSet<&Publish> = new.publishes.iter().collect();
        let removed = old.publishes.iter().filter(|publish| !after.contains(publish));
        change.publishes_removed = removed.copied().collect();
        let added = new.publishes.iter().filter(|publish| !before.contains(publish));
        change.publishes_added = added.copied().collect();
        change
    }

    /// True if both models are alike.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn compare_networks(&mut self, old: &Model, new: &Model) {
        let before: HashMap<NetworkId, &NetworkSpec> =
            old.networks.iter().map(|(id, spec)| (*id, spec)).collect();
        let after: HashSet<NetworkId> = new.networks.iter().map(|(id, _)| *id).collect();
        let removed = old.networks.iter().filter(|(id, _)| !after.contains(id));
        self.networks_removed = removed.cloned().collect();
        for (id, spec) in &new.networks {
            let former = before.get(id).copied();
            if former != Some(spec) {
                self.networks_set.push((*id, former.cloned(), spec.clone()));
            }
        }
    }

    fn compare_ports(&mut self, old: &Model, new: &Model) {
        let name = |port: &PortEntry| port.spec.name.clone();
        let before: HashMap<String, &PortEntry> =
            old.ports.iter().map(|port| (name(port), port)).collect();
        let after: HashSet<String> = new.ports.iter().map(name).collect();
        let removed = old.ports.iter().filter(|port| !after.contains(&port.spec.name));
        self.ports.extend(removed.cloned().map(PortChange::Removed));
        for port in &new.ports {
            self.ports.extend(match before.get(&port.spec.name).copied() {
                None => Some(PortChange::Added(port.clone())),
                Some(former) if former == port => None,
                Some(former) => {
                    let both = Box::new((former.clone(), port.clone()));
                    let keeps_device = former.plan == port.plan && former.id == port.id;
                    Some(match keeps_device {
                        true => PortChange::Altered(both),
                        false => PortChange::Replaced(both),
                    })
                }
            });
        }
    }

    fn compare_routes(&mut self, old: &Model, new: &Model) {
        let before: HashMap<Ipv4Net, Ipv4Addr> = old.routes.iter().copied().collect();
        let after: HashSet<Ipv4Net> = new.routes.iter().map(|(to, _)| *to).collect();
        let removed = old.routes.iter().filter(|(to, _)| !after.contains(to));
        self.routes_removed = removed.copied().collect();
        for route @ (to, via) in &new.routes {
            let former = before.get(to).map(|via| (*to, *via));
            // The next hop may have passed to another network with its subnet.
            let is_moved = old.home_of(*via) != new.home_of(*via);
            if former == Some(*route) && !is_moved {
                continue;
            }
            // A next hop that is out of reach after the change cannot be gone back to before it.
            let is_lost = former.filter(|(_, via)| old.home_of(*via) != new.home_of(*via));
            self.routes_removed.extend(is_lost);
            self.routes_set.push((former.filter(|_| is_lost.is_none()), *route));
        }
    }

    fn compare_tunnels(&mut self, old: &Model, new: &Model) {
        self.vtep = (old.vtep != new.vtep).then_some((old.vtep, new.vtep));
        let before: HashSet<&EndpointEntry> = old.endpoints.iter().collect();
        let after: HashSet<&EndpointEntry> = new.endpoints.iter().collect();
        let removed = old.endpoints.iter().filter(|entry| !after.contains(entry));
        self.endpoints_removed = removed.cloned().collect();
        let added = new.endpoints.iter().filter(|entry| !before.contains(entry));
        self.endpoints_added = added.cloned().collect();
        let hosts = |model: &Model, network: NetworkId| -> Hosts {
            let known = model.endpoints.iter().filter(|entry| entry.network == network);
            known.map(|entry| (entry.address, entry.mac)).collect()
        };
        let all = self.endpoints_removed.iter().chain(&self.endpoints_added);
        let networks: BTreeSet<NetworkId> = all.map(|entry| entry.network).collect();
        let sets = networks.into_iter().map(|id| (id, hosts(old, id), hosts(new, id)));
        self.endpoint_sets = sets.filter(|(_, before, after)| before != after).collect();
    }

    /// The commands, in order.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut step = |command, undo| steps.push(Step { command, undo });
        let moved = self.publishes_moved();
        let is_moved = |publish: &Publish| moved.iter().any(|(from, _)| from == publish);
        for publish in self.publishes_removed.iter().filter(|publish| !is_moved(publish)) {
            step(Command::Unpublish(*publish), Command::Publish(*publish));
        }
        for (to, via) in &self.routes_removed {
            step(Command::RemoveRoute(*to), Command::AddRoute(*to, *via));
        }
        if let Some((before, None)) = &self.vtep {
            step(Command::SetVtep(None), Command::SetVtep(*before));
        }
        // Before what they are about goes, and after it has come.
        let (fewer, more): (Vec<_>, Vec<_>) =
            self.endpoint_sets.iter().partition(|(_, _, after)| after.is_empty());
        for (id, before, _) in fewer {
            let undo = Command::SetEndpoints(*id, before.clone());
            step(Command::SetEndpoints(*id, Vec::new()), undo);
        }
        for port in self.ports.iter().filter_map(PortChange::leaves) {
            step(Command::RemovePort(port.id), Command::AddPort(port.id, port.spec.clone()));
        }
        for (id, spec) in &self.networks_removed {
            step(Command::RemoveNetwork(*id), Command::AddNetwork(*id, spec.clone()));
        }
        for (command, undo) in self.network_steps() {
            step(command, undo);
        }
        for port in self.ports.iter().filter_map(PortChange::joins) {
            step(Command::AddPort(port.id, port.spec.clone()), Command::RemovePort(port.id));
        }
        for (old, new) in self.ports.iter().filter_map(PortChange::altered) {
            let undo = Command::AlterPort(old.id, old.spec.clone());
            step(Command::AlterPort(new.id, new.spec.clone()), undo);
        }
        if let Some((before, after @ Some(_))) = &self.vtep {
            step(Command::SetVtep(*after), Command::SetVtep(*before));
        }
        for (id, before, after) in more {
            let undo = Command::SetEndpoints(*id, before.clone());
            step(Command::SetEndpoints(*id, after.clone()), undo);
        }
        for (id, old, new) in self.ports.iter().filter_map(PortChange::limited) {
            step(Command::SetPortLimits(id, new), Command::SetPortLimits(id, old));
        }
        for (former, (to, via)) in &self.routes_set {
            let undo =
                former.map_or(Command::RemoveRoute(*to), |(to, via)| Command::AddRoute(to, via));
            step(Command::AddRoute(*to, *via), undo);
        }
        for (from, to) in &moved {
            step(Command::MovePublish(*from, *to), Command::MovePublish(*to, *from));
        }
        let is_moved = |publish: &Publish| moved.iter().any(|(_, to)| to == publish);
        for publish in self.publishes_added.iter().filter(|publish| !is_moved(publish)) {
            step(Command::Publish(*publish), Command::Unpublish(*publish));
        }
        steps
    }

    /// Published ports that lead elsewhere: at no moment are they nobody's. Those of a network that
    /// goes are gone with it.
    fn publishes_moved(&self) -> Vec<(Publish, Publish)> {
        let outer =
            |publish: &Publish| (publish.protocol, publish.address, publish.port, publish.count);
        let added: HashMap<_, &Publish> =
            self.publishes_added.iter().map(|publish| (outer(publish), publish)).collect();
        let is_gone = |network| self.networks_removed.iter().any(|(id, _)| *id == network);
        let kept = self.publishes_removed.iter().filter(|from| !is_gone(from.network));
        kept.filter_map(|from| Some((*from, **added.get(&outer(from))?))).collect()
    }

    /// Networks whose subnet another one takes over lose it first. The uplink comes last: its
    /// static translations are into the others.
    fn network_steps(&self) -> Vec<(Command, Command)> {
        let mut steps = Vec::new();
        let mut now: BTreeMap<NetworkId, NetworkSpec> = BTreeMap::new();
        for (id, former, _) in &self.networks_set {
            now.extend(former.iter().map(|former| (*id, former.clone())));
        }
        for (id, former, _) in &self.networks_set {
            let Some(former) = former.as_ref().filter(|former| self.is_taken_over(*id, former))
            else {
                continue;
            };
            let bare = NetworkSpec { gateway: None, ..former.clone() };
            let undo = Command::AddNetwork(*id, former.clone());
            steps.push((Command::AddNetwork(*id, bare.clone()), undo));
            now.insert(*id, bare);
        }
        let (outside, inside): (Vec<_>, Vec<_>) =
            self.networks_set.iter().partition(|(_, _, spec)| spec.is_outside);
        for (id, _, spec) in inside.into_iter().chain(outside) {
            let undo = match now.get(id) {
                Some(former) => Command::AddNetwork(*id, former.clone()),
                None => Command::RemoveNetwork(*id),
            };
            steps.push((Command::AddNetwork(*id, spec.clone()), undo));
        }
        steps
    }

    fn is_taken_over(&self, id: NetworkId, former: &NetworkSpec) -> bool {
        let subnet = |spec: &NetworkSpec| spec.gateway.as_ref().map(|own| own.address.trunc());
        let Some(was) = subnet(former) else { return false };
        let others = self.networks_set.iter().filter(|(other, _, _)| *other != id);
        let mut subnets = others.filter_map(|(_, _, spec)| subnet(spec));
        subnets.any(|will_be| will_be.contains(&was) || was.contains(&will_be))
    }
}

impl PortChange {
    /// The port as it was, if an engine is to forget it.
    fn leaves(&self) -> Option<&PortEntry> {
        match self {
            Self::Added(_) => None,
            Self::Removed(port) => Some(port),
            Self::Replaced(both) | Self::Altered(both) => Self::has_moved(both).then_some(&both.0),
        }
    }

    /// The port as it will be, if an engine is to learn of it.
    pub fn joins(&self) -> Option<&PortEntry> {
        match self {
            Self::Added(port) => Some(port),
            Self::Removed(_) => None,
            Self::Replaced(both) | Self::Altered(both) => Self::has_moved(both).then_some(&both.1),
        }
    }

    /// The port as it was and will be, if it stays where it is and is another one all the same.
    fn altered(&self) -> Option<(&PortEntry, &PortEntry)> {
        match self {
            Self::Added(_) | Self::Removed(_) => None,
            Self::Replaced(both) | Self::Altered(both) => {
                let is_altered = !Self::has_moved(both) && both.0.spec != both.1.spec;
                is_altered.then_some((&both.0, &both.1))
            }
        }
    }

    /// Its number and its limits before and after, if they are others. A port that an engine learns
    /// of has none at first.
    fn limited(&self) -> Option<(PortId, PortLimits, PortLimits)> {
        let (old, new) = match self {
            Self::Added(new) => (PortLimits::default(), new),
            Self::Removed(_) => return None,
            Self::Replaced(both) | Self::Altered(both) if Self::has_moved(both) => {
                (PortLimits::default(), &both.1)
            }
            Self::Replaced(both) | Self::Altered(both) => (both.0.limits, &both.1),
        };
        (old != new.limits).then_some((new.id, old, new.limits))
    }

    /// True if it has another number, is on another network, or is something else there.
    fn has_moved((old, new): &(PortEntry, PortEntry)) -> bool {
        let place = |port: &PortEntry| (port.id, port.spec.network, port.spec.role);
        place(old) != place(new)
    }

    /// The number of a port that keeps its device, and is told anew what that one is like: it joins
    /// again, or is a tunnel, whose path alone says its MTU.
    pub fn rejoins(&self) -> Option<PortId> {
        match self {
            Self::Altered(both) => {
                let is_tunnel = matches!(both.1.plan, PortPlan::Tunnel(_));
                (Self::has_moved(both) || is_tunnel).then_some(both.1.id)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
