//! What was made live, as tables of the configuration's language.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::control::config::{Config, Network};
use crate::packet::MacAddr;

/// Networks, ports and the rest that came by the API, under the keys of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Made {
    /// As `[network.NAME]`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub network: BTreeMap<String, Table>,
    /// As `[port.NAME]`, without `publish`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub port: BTreeMap<String, Table>,
    /// As `[[connect]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<Table>,
    /// As `[[publish]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<MadePublish>,
    /// As `[[route]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<MadeRoute>,
    /// As `[[peer]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<MadePeer>,
    /// As `[[endpoint]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoint: Vec<MadeEndpoint>,
}

/// As `[[publish]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadePublish {
    /// The host.
    pub port: String,
    /// What it publishes.
    pub publish: String,
}

/// As `[[route]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeRoute {
    /// Destination.
    pub to: Ipv4Net,
    /// Next router.
    pub via: Ipv4Addr,
}

/// As `[[peer]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadePeer {
    /// The network.
    pub network: String,
    /// The tunnel endpoint.
    pub address: IpAddr,
    /// It became a peer by itself, and is one until tapway stops.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
}

/// As `[[endpoint]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeEndpoint {
    /// The network.
    pub network: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its address.
    pub address: Ipv4Addr,
    /// The peer that it is behind.
    pub peer: IpAddr,
}

impl Made {
    /// True if nothing was made live.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The text that is read below the file's.
    pub fn to_text(&self) -> String {
        // Tables of texts, numbers and lists always have a text.
        toml::to_string(self).unwrap_or_default()
    }

    /// Without the hosts of processes, which end with them, and without what was learned.
    #[must_use]
    pub fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        for (name, port) in &self.port {
            if port.contains_key("process") {
                lasting.remove_port(name);
            }
        }
        lasting.peer.retain(|peer| !peer.learned);
        lasting
    }

    /// Removes a host, and what was made live about it.
    pub fn remove_port(&mut self, name: &str) {
        self.port.remove(name);
        self.connect.retain(|connect| text(connect, "port") != name);
        self.publish.retain(|publish| publish.port != name);
    }

    /// Removes a network, and what was made live beyond this host in it.
    pub fn remove_network(&mut self, name: &str) {
        self.network.remove(name);
        self.peer.retain(|peer| peer.network != name);
        self.endpoint.retain(|endpoint| endpoint.network != name);
    }

    /// Removes a connection; true if there was one.
    pub fn disconnect(&mut self, port: &str, network: &str) -> bool {
        let before = self.connect.len();
        self.connect
            .retain(|entry| text(entry, "port") != port || text(entry, "network") != network);
        self.connect.len() < before
    }

    /// Removes what a file names itself; what that was, for the log.
    pub fn give_way(&mut self, file: &Config) -> Vec<String> {
        let mut gone = Vec::new();
        for network in &file.networks {
            let name = network.name.get_ref();
            if self.network.remove(name).is_some() {
                gone.push(format!("network {name}"));
            }
        }
        for port in &file.ports {
            if self.port.remove(port.name.get_ref()).is_some() {
                gone.push(format!("port {}", port.name.get_ref()));
            }
            if self.disconnect(&port.host, port.network.get_ref()) {
                gone.push(format!("connection of {} to {}", port.host, port.network.get_ref()));
            }
        }
        for network in &file.networks {
            self.give_way_beyond(network, &mut gone);
        }
        self.route.retain(|route| {
            let is_named = file.routes.iter().any(|other| other.to.get_ref() == &route.to);
            if is_named {
                gone.push(format!("route to {}", route.to));
            }
            !is_named
        });
        gone
    }

    /// The same for peers of a network and hosts behind them.
    fn give_way_beyond(&mut self, network: &Network, gone: &mut Vec<String>) {
        let (Some(vxlan), name) = (&network.vxlan, network.name.get_ref()) else { return };
        self.peer.retain(|made| {
            let is_named = made.network == *name
                && vxlan
                    .peers
                    .iter()
                    .any(|peer| IpAddr::V4(*peer.address.get_ref()) == made.address);
            if is_named && !made.learned {
                gone.push(format!("peer {} of network {name}", made.address));
            }
            !is_named
        });
        self.endpoint.retain(|made| {
            let is_named = made.network == *name && vxlan.endpoint(made.address).is_some();
            if is_named {
                gone.push(format!("endpoint {} of network {name}", made.address));
            }
            !is_named
        });
    }
}

/// A text of a table; empty if there is none.
pub(super) fn text<'t>(table: &'t Table, key: &str) -> &'t str {
    table.get(key).and_then(toml::Value::as_str).unwrap_or_default()
}
