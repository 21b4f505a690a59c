//! Changes as users read them, and the running state as a configuration.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::made::Made;
use crate::control::config::Config;
use crate::control::model::{Change, EndpointEntry, Model, PortChange, PortEntry};
use crate::control::rejection::{Rejection, RejectionKind};
use crate::engine::{Gateway, NetworkSpec, PortSpec};
use crate::nat::Publish;
use crate::packet::PROTOCOL_UDP;
use crate::switch::PortRole;

/// What became of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// It is there.
    Added,
    /// It is gone.
    Removed,
    /// It is other than before.
    Changed,
}

/// One thing that is other than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// What became of it.
    pub sign: Sign,
    /// Network, port, peer, endpoint, route or published port.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub detail: String,
}

impl fmt::Display for ChangeRow {
    /// A line, as of `diff`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.sign {
            Sign::Added => '+',
            Sign::Removed => '-',
            Sign::Changed => '~',
        };
        write!(out, "{sign} {} {}", self.kind, self.name)?;
        if self.detail.is_empty() { Ok(()) } else { write!(out, " {}", self.detail) }
    }
}

impl ChangeRow {
    /// The rows of a change; `old` and `new` give names to numbers.
    pub fn of(change: &Change, old: &Model, new: &Model) -> Vec<Self> {
        let networks = change
            .networks_removed
            .iter()
            .map(|(_, spec)| Self::new(Sign::Removed, "network", &spec.name, network(spec)));
        let set = change.networks_set.iter().map(|(_, before, spec)| {
            let sign = if before.is_some() { Sign::Changed } else { Sign::Added };
            Self::new(sign, "network", &spec.name, network(spec))
        });
        let ports = change.ports.iter().filter_map(|change| port(change, old, new));
        let gone = change.routes_removed.iter();
        let gone = gone.filter(|(to, _)| !change.routes_set.iter().any(|(_, set)| set.0 == *to));
        let gone = gone.map(|(to, via)| {
            Self::new(Sign::Removed, "route", &to.to_string(), format!("via {via}"))
        });
        let routes = change.routes_set.iter().map(|(_, (to, via))| {
            let was = old.routes.iter().any(|(other, _)| other == to);
            let sign = if was { Sign::Changed } else { Sign::Added };
            Self::new(sign, "route", &to.to_string(), format!("via {via}"))
        });
        let unpublished =
            change.publishes_removed.iter().map(|publish| published(Sign::Removed, publish));
        let published =
            change.publishes_added.iter().map(|publish| published(Sign::Added, publish));
        let endpoints = endpoints(change, old, new);
        let all = networks.chain(set).chain(ports).chain(endpoints).chain(gone).chain(routes);
        all.chain(unpublished).chain(published).collect()
    }

    fn new(sign: Sign, kind: &str, name: &str, detail: String) -> Self {
        Self { sign, kind: kind.to_owned(), name: name.to_owned(), detail }
    }
}

fn network(spec: &NetworkSpec) -> String {
    let vxlan = spec.vxlan.map(|vxlan| format!(" vxlan {}", vxlan.vni)).unwrap_or_default();
    match &spec.gateway {
        Some(Gateway { address, .. }) => {
            format!("{} gateway {}{vxlan}", address.trunc(), address.addr())
        }
        None => format!("switched only{vxlan}"),
    }
}

/// The row of a port; none if all that changed are the known hosts behind a peer, which have rows
/// of their own.
fn port(change: &PortChange, old: &Model, new: &Model) -> Option<ChangeRow> {
    if let PortChange::Altered(both) = change {
        let static_macs = both.1.spec.static_macs.clone();
        let before = PortSpec { static_macs, ..both.0.spec.clone() };
        let is_tunnel = matches!(before.role, PortRole::Tunnel(_));
        if is_tunnel && before == both.1.spec {
            return None;
        }
    }
    let (sign, entry, model) = match change {
        PortChange::Added(entry) => (Sign::Added, entry, new),
        PortChange::Removed(entry) => (Sign::Removed, entry, old),
        PortChange::Replaced(both) | PortChange::Altered(both) => (Sign::Changed, &both.1, new),
    };
    let PortEntry { spec, address, .. } = entry;
    let network = model.network(spec.network).map_or("", |network| network.name.as_str());
    let address = address.map(|address| format!(" {address}")).unwrap_or_default();
    Some(match spec.role {
        PortRole::Hosts => {
            ChangeRow::new(sign, "port", &spec.name, format!("network {network}{address}"))
        }
        PortRole::Underlay => {
            ChangeRow::new(sign, "port", &spec.name, "to other tunnel endpoints".to_owned())
        }
        PortRole::Tunnel(tunnel) => {
            ChangeRow::new(sign, "peer", &tunnel.peer.to_string(), format!("network {network}"))
        }
    })
}

/// The rows of known hosts behind peers.
fn endpoints(change: &Change, old: &Model, new: &Model) -> Vec<ChangeRow> {
    let row = |sign, model: &Model, entry: &EndpointEntry| {
        let EndpointEntry { network, address, mac, peer } = entry;
        let network = model.network(*network).map_or("", |network| network.name.as_str());
        let detail = format!("network {network} {mac} peer {peer}");
        ChangeRow::new(sign, "endpoint", &address.to_string(), detail)
    };
    let place = |entry: &EndpointEntry| (entry.network, entry.address);
    let before: HashSet<_> = change.endpoints_removed.iter().map(place).collect();
    let after: HashSet<_> = change.endpoints_added.iter().map(place).collect();
    let removed = change.endpoints_removed.iter().filter(|entry| !after.contains(&place(entry)));
    let removed = removed.map(|entry| row(Sign::Removed, old, entry));
    let added = change.endpoints_added.iter().map(|entry| {
        let sign = if before.contains(&place(entry)) { Sign::Changed } else { Sign::Added };
        row(sign, new, entry)
    });
    removed.chain(added).collect()
}

fn published(sign: Sign, publish: &Publish) -> ChangeRow {
    let protocol = if publish.protocol == PROTOCOL_UDP { "udp" } else { "tcp" };
    let range = |first: u16, last: u16| match last > first {
        true => format!("{first}-{last}"),
        false => first.to_string(),
    };
    let address = publish.address.map(|address| format!("{address}:")).unwrap_or_default();
    let name = format!("{address}{}/{protocol}", range(publish.port, publish.last()));
    let last = publish.target_of(publish.last()).port;
    let target = format!("{}:{}", publish.target.ip, range(publish.target.port, last));
    ChangeRow::new(sign, "publish", &name, format!("-> {target}"))
}

/// The file's own table and what was made live in it, with what tapway chose in place of
/// `"auto"`.
pub(super) fn export(text: &str, made: &Made, config: &Config) -> Result<String, Rejection> {
    let failed = |what: &dyn fmt::Display| {
        Rejection::new(RejectionKind::Failed, format!("the state has no text: {what}"), "")
    };
    let mut file: Table = text.parse().map_err(|error| failed(&error))?;
    let made = Table::try_from(made).map_err(|error| failed(&error))?;
    for (key, value) in made {
        match (file.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(more)) => into.extend(more),
            (Some(Value::Array(into)), Value::Array(more)) => into.extend(more),
            (_, value) => drop(file.insert(key, value)),
        }
    }
    fill_in(&mut file, config);
    toml::to_string_pretty(&file).map_err(|error| failed(&error))
}

fn fill_in(file: &mut Table, config: &Config) {
    for network in &config.networks {
        let (Some(router), Some(_)) = (&network.router, &network.wish) else { continue };
        let subnet = router.subnet.get_ref().to_string();
        if let Some(table) = entry(file, "network", network.name.get_ref()) {
            table.insert("subnet".to_owned(), Value::from(subnet));
        }
    }
    for port in config.ports.iter().filter(|port| port.wish.is_some()) {
        let Some(address) = &port.address else { continue };
        let address = Value::from(address.get_ref().to_string());
        let table = match *port.name.get_ref() == port.host {
            true => entry(file, "port", &port.host),
            false => connection(file, &port.host, port.network.get_ref()),
        };
        if let Some(table) = table {
            table.insert("address".to_owned(), address);
        }
    }
}

fn entry<'t>(file: &'t mut Table, kind: &str, name: &str) -> Option<&'t mut Table> {
    file.get_mut(kind)?.as_table_mut()?.get_mut(name)?.as_table_mut()
}

fn connection<'t>(file: &'t mut Table, host: &str, network: &str) -> Option<&'t mut Table> {
    let all = file.get_mut("connect")?.as_array_mut()?.iter_mut();
    let mut tables = all.filter_map(Value::as_table_mut);
    tables.find(|table| {
        super::made::text(table, "port") == host && super::made::text(table, "network") == network
    })
}
