//! Networks as they are shown.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::control::config::{Config, Network};
use crate::packet::MacAddr;

/// A network and the hosts in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// Its subnet; none: it is switched only.
    pub subnet: Option<Ipv4Net>,
    /// tapway's address in it.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// It has no way out and none in.
    pub internal: bool,
    /// Its hosts may talk to each other.
    pub icc: bool,
    /// It was made live, and is not in the file.
    pub live: bool,
    /// Its hosts.
    pub hosts: Vec<HostView>,
}

/// A host in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: String,
    /// The port by which it is in this network.
    pub port: String,
    /// Its address; none: it brings its own.
    pub address: Option<Ipv4Addr>,
    /// Its MAC, where it is known.
    pub mac: Option<MacAddr>,
}

impl NetworkView {
    /// All networks of a configuration.
    pub fn all(config: &Config) -> Vec<Self> {
        config.networks.iter().map(|network| Self::of(config, network)).collect()
    }

    /// One of them.
    pub fn of(config: &Config, network: &Network) -> Self {
        let name = network.name.get_ref();
        let members = config.ports.iter().filter(|port| port.network.get_ref() == name);
        let hosts = members.map(|port| {
            let address = port.address.as_ref().map(|address| *address.get_ref());
            let mac = port.mac.as_ref().map(|mac| *mac.get_ref());
            HostView {
                name: port.host.clone(),
                port: port.name.get_ref().clone(),
                address,
                mac: mac.or(address.map(MacAddr::from_ipv4)),
            }
        });
        let router = network.router.as_ref();
        Self {
            name: name.clone(),
            subnet: router.map(|router| *router.subnet.get_ref()),
            gateway: router.map(|router| *router.gateway.get_ref()),
            mtu: network.mtu,
            internal: network.internal,
            icc: network.icc,
            live: config.is_live(&network.name.span()),
            hosts: hosts.collect(),
        }
    }
}
