//! What `POST /v1/hosts` takes and gives.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::io::HostFileNumbers;
use crate::packet::MacAddr;

/// A host to be: a process that is in a network namespace of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRequest {
    /// Its name; none: one is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The networks it joins, with `eth0`, `eth1` ...; the first has its default route. None: the
    /// default network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<HostNetwork>,
    /// Published ports, in Docker's syntax.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Ports it serves: `port[-end][/proto]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Links to other hosts: `name[:alias]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// The process; none: the one that asks. The host goes when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its private files; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<HostFileNumbers>,
}

/// A network that a host joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNetwork {
    /// Its name.
    pub network: String,
    /// The host's address in it; none: a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Further names of the host in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The host's MAC in it; none: 02:42 and the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
}

/// A host that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAnswer {
    /// Its name, which is its host name, too.
    pub name: String,
    /// Its interfaces, in the order of its networks.
    pub interfaces: Vec<HostInterface>,
    /// Variables for its environment: those of its links.
    pub environment: Vec<(String, String)>,
}

/// One of a host's interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInterface {
    /// Its name: `eth0` ...
    pub name: String,
    /// The network it is on.
    pub network: String,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Its MAC.
    pub mac: Option<MacAddr>,
}

/// A host that runs, for `tapway ps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been attached, in seconds.
    pub since_s: u64,
    /// Its interfaces.
    pub interfaces: Vec<HostInterface>,
    /// Its published ports.
    pub publish: Vec<String>,
    /// Its links.
    pub links: Vec<String>,
}
