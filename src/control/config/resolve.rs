//! What a configuration leaves to tapway: subnets and addresses that are `"auto"`.
//!
//! A choice is kept: a name that is still there, or comes back, gets what it had. What a
//! configuration names is never chosen for another one; where both meet, the check tells.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::nets::subnets;
use super::problem::Problems;
use super::read::{Draft, first_host};
use super::{Network, NetworkRouter, Port};
use crate::control::addresses::{
    AddressPool, AddressRange, PoolEntry, PoolSettings, PoolSnapshot, SubnetPool,
};
use crate::control::rejection::RejectionKind;

/// What was chosen, and is chosen again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Subnets by network.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subnets: BTreeMap<String, Ipv4Net>,
    /// Addresses of hosts by network.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, PoolSnapshot>,
}

/// Fills in what is left to tapway; `routed` are subnets that this host has routes to.
pub(super) fn resolve(
    problems: &mut Problems<'_>,
    draft: &mut Draft,
    memory: &mut Memory,
    routed: &[Ipv4Net],
) {
    choose_subnets(problems, draft, memory, routed);
    let mut members: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, port) in draft.config.ports.iter().enumerate() {
        members.entry(port.network.get_ref().clone()).or_default().push(at);
    }
    let config = &mut draft.config;
    let names: HashSet<&String> =
        config.networks.iter().map(|network| network.name.get_ref()).collect();
    memory.addresses.retain(|network, _| names.contains(network));
    for network in &config.networks {
        let name = network.name.get_ref();
        let members = members.remove(name).unwrap_or_default();
        let wishes = |at: &usize| config.ports.get(*at).is_some_and(|port| port.wish.is_some());
        if members.iter().any(wishes) || memory.addresses.contains_key(name) {
            choose_addresses(problems, network, &mut config.ports, (&members, memory));
        }
    }
}

fn choose_subnets(
    problems: &mut Problems<'_>,
    draft: &mut Draft,
    memory: &mut Memory,
    routed: &[Ipv4Net],
) {
    let mut taken: Vec<Ipv4Net> = subnets(draft).map(|subnet| subnet.net).collect();
    let former = std::mem::take(&mut memory.subnets);
    let overlaps = |net: &Ipv4Net, other: &Ipv4Net| net.contains(other) || other.contains(net);
    // Who had one keeps it, whoever comes before.
    for network in draft.config.networks.iter().filter(|network| network.wish.is_some()) {
        let name = network.name.get_ref();
        let kept = former.get(name).filter(|net| !taken.iter().any(|other| overlaps(net, other)));
        if let Some(net) = kept {
            taken.push(*net);
            memory.subnets.insert(name.clone(), *net);
        }
    }
    for network in &mut draft.config.networks {
        let Some(wish) = network.wish.clone() else { continue };
        let name = network.name.get_ref();
        let chosen = match memory.subnets.get(name) {
            Some(net) => Ok(*net),
            None => SubnetPool::default().next_free(&taken, routed),
        };
        match chosen {
            Ok(net) => {
                taken.push(net);
                memory.subnets.insert(name.clone(), net);
                let subnet = Spanned::new(wish, net);
                let router = NetworkRouter { gateway: first_host(&subnet), subnet, mac: None };
                network.router = Some(router);
            }
            Err(error) => refuse(problems, wish, &format!("network.{name}.subnet"), &error),
        }
    }
}

/// The pool's messages have their remedy behind a semicolon.
fn refuse(
    problems: &mut Problems<'_>,
    at: std::ops::Range<usize>,
    key: &str,
    error: &dyn std::error::Error,
) {
    let text = error.to_string();
    let (what, remedy) = text.split_once("; ").unwrap_or((&text, "choose another one"));
    problems.error(at, key, what, remedy).is(RejectionKind::Conflict);
}

fn choose_addresses(
    problems: &mut Problems<'_>,
    network: &Network,
    ports: &mut [Port],
    (members, memory): (&[usize], &mut Memory),
) {
    let Some(router) = &network.router else { return };
    let name = network.name.get_ref();
    let former = memory.addresses.remove(name).unwrap_or_default();
    let settings = PoolSettings {
        gateway: Some(*router.gateway.get_ref()),
        range: network.range.as_ref().map(|range| *range.get_ref()),
        exclude: set_apart(network),
        ..PoolSettings::new(name, *router.subnet.get_ref())
    };
    let empty = match AddressPool::new(settings.clone()) {
        Ok(pool) => pool,
        Err(error) => {
            let key = format!("network.{name}");
            return refuse(problems, network.name.span(), &key, &error);
        }
    };
    let kept = keep(&empty, &former, (network, members), ports);
    let mut pool = AddressPool::restore(settings, &kept).unwrap_or(empty);
    for at in members {
        let Some(port) = ports.get_mut(*at).filter(|port| port.address.is_none()) else { continue };
        let Some(wish) = port.wish.clone() else { continue };
        match pool.assign(&port.host, None) {
            Ok(address) => port.address = Some(Spanned::new(wish, address)),
            Err(error) => {
                let key = format!("port.{}.address", port.name.get_ref());
                refuse(problems, wish, &key, &error);
            }
        }
    }
    memory.addresses.insert(name.clone(), pool.snapshot());
}

/// Addresses that no host is given: those that are excluded, this host's own, those that are
/// leased, and those of known hosts behind peers.
fn set_apart(network: &Network) -> Vec<AddressRange> {
    let leased = network.dhcp.as_ref().and_then(|dhcp| dhcp.range.as_ref());
    let excluded = network.exclude.iter().chain(leased).map(|range| *range.get_ref());
    let own = network.host_address().into_iter().chain(remote(network));
    excluded.chain(own.map(AddressRange::from)).collect()
}

/// Addresses of known hosts behind peers.
fn remote(network: &Network) -> impl Iterator<Item = Ipv4Addr> {
    let endpoints = network.vxlan.iter().flat_map(|vxlan| &vxlan.endpoints);
    endpoints.map(|endpoint| *endpoint.address.get_ref())
}

/// Who has an address already: those that name one, and those that got one before. An address
/// that both have, or that a host behind a peer has as well, stays with both, and the check tells.
/// Everything else is former.
fn keep(
    empty: &AddressPool,
    former: &PoolSnapshot,
    (network, members): (&Network, &[usize]),
    ports: &mut [Port],
) -> PoolSnapshot {
    let mut pool = empty.clone();
    for port in members.iter().filter_map(|at| ports.get(*at)) {
        if let Some(address) = &port.address {
            // What is wrong with it is told by the check.
            let _ = pool.assign(&port.host, Some(*address.get_ref()));
        }
    }
    let had: HashMap<&str, Ipv4Addr> =
        former.assigned.iter().map(|entry| (entry.owner.as_str(), entry.address)).collect();
    let remote: HashSet<Ipv4Addr> = remote(network).collect();
    for at in members {
        let Some(port) = ports.get_mut(*at).filter(|port| port.address.is_none()) else { continue };
        let (Some(wish), Some(address)) = (port.wish.clone(), had.get(port.host.as_str())) else {
            continue;
        };
        let is_taken = pool.holder_of(*address).is_some() || remote.contains(address);
        if is_taken || pool.assign(&port.host, Some(*address)).is_ok() {
            port.address = Some(Spanned::new(wish, *address));
        }
    }
    let mut kept = pool.snapshot();
    let is_free = |entry: &&PoolEntry| {
        pool.holder_of(entry.address).is_none() && pool.address_of(&entry.owner).is_none()
    };
    let (mut owners, mut addresses) = (HashSet::new(), HashSet::new());
    // The older ones first, of each name and address the last.
    let all: Vec<&PoolEntry> =
        former.released.iter().chain(&former.assigned).filter(is_free).collect();
    for entry in all.into_iter().rev() {
        if owners.insert(&entry.owner) && addresses.insert(entry.address) {
            kept.released.push(entry.clone());
        }
    }
    kept.released.reverse();
    kept
}
