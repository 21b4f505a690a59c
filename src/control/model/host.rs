//! What is behind one or several ports: a host, what it tells of itself and is told of others.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::{Model, PortEntry};
use crate::control::hosts::{ExposedPort, Link, LinkSyntax};
use crate::id::{NetworkId, PortId};

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostEntry {
    /// Its name.
    pub name: String,
    /// Its ports, in the order of its interfaces.
    pub ports: Vec<PortId>,
    /// Ports it serves: what it exposes and what is published of it.
    pub serves: Vec<ExposedPort>,
    /// Its links to other hosts.
    pub links: Vec<LinkSyntax>,
}

/// Hosts and ports of a model by name and number, for questions about many of them.
pub struct HostIndex<'m> {
    hosts: HashMap<&'m str, &'m HostEntry>,
    ports: HashMap<PortId, &'m PortEntry>,
}

impl<'m> HostIndex<'m> {
    /// An index of a model.
    pub fn of(model: &'m Model) -> Self {
        Self {
            hosts: model.hosts.iter().map(|host| (host.name.as_str(), host)).collect(),
            ports: model.ports.iter().map(|port| (port.id, port)).collect(),
        }
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> Option<&'m HostEntry> {
        self.hosts.get(name).copied()
    }

    /// A host's ports, in the order of its interfaces.
    pub fn ports(&self, host: &'m HostEntry) -> impl Iterator<Item = &'m PortEntry> + '_ {
        host.ports.iter().filter_map(|id| self.ports.get(id).copied())
    }

    /// A host's addresses, in the order of its interfaces.
    pub fn addresses(&self, host: &'m HostEntry) -> Vec<Ipv4Addr> {
        self.ports(host).filter_map(|port| port.address).collect()
    }

    /// Where a host's links lead: each target by its address on the first network of the host that
    /// it is on, too. A target that has gone is left out.
    pub fn links(&self, host: &'m HostEntry) -> Vec<Link> {
        let networks: Vec<NetworkId> = self.ports(host).map(|port| port.spec.network).collect();
        let link = |link: &LinkSyntax| {
            let target = self.host(&link.target)?;
            let shared = |network: &NetworkId| {
                let on = self.ports(target).filter(|port| port.spec.network == *network);
                on.filter_map(|port| port.address).next()
            };
            Some(Link {
                target: link.target.clone(),
                alias: link.alias.clone(),
                address: networks.iter().find_map(shared)?,
                ports: target.serves.clone(),
            })
        };
        host.links.iter().filter_map(link).collect()
    }
}
