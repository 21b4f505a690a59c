//! The names that a configuration gives: of hosts, and their aliases.

use super::ids::Ids;
use crate::control::config::{Config, Network};
use crate::control::hosts::LinkSyntax;
use crate::local::dns::NameTable;

/// What this host is called in networks that it has a place in, as Docker users expect.
pub const HOST_NAME: &str = "host.tapway.internal";

/// The names of all networks that have some. A host without a configured address has none here.
pub(super) fn names(config: &Config, ids: &Ids) -> NameTable {
    let mut table = NameTable::new(config.dns.ttl);
    for network in config.networks.iter().filter(|network| network.dns) {
        let Network { name, router, .. } = network;
        let subnet = router.as_ref().map(|router| *router.subnet.get_ref());
        let forwards = !network.internal;
        table.add_network(ids.network(name.get_ref()), name.get_ref(), subnet, forwards);
    }
    for network in &config.networks {
        if let Some(address) = network.host_address() {
            table.add_alias(ids.network(network.name.get_ref()), HOST_NAME, address);
        }
    }
    for network in &config.networks {
        let id = ids.network(network.name.get_ref());
        for endpoint in network.vxlan.iter().flat_map(|vxlan| &vxlan.endpoints) {
            if let Some(name) = &endpoint.name {
                table.add_host(id, name.get_ref(), *endpoint.address.get_ref());
            }
        }
    }
    for port in &config.ports {
        let Some(address) = port.address.as_ref().map(|address| *address.get_ref()) else {
            continue;
        };
        let network = ids.network(port.network.get_ref());
        table.add_host(network, &port.host, address);
        for alias in &port.aliases {
            table.add_alias(network, alias.get_ref(), address);
        }
        for link in &port.links {
            let LinkSyntax { target, alias } = link.get_ref();
            let target = config
                .ports_of(target)
                .find(|other| other.network.get_ref() == port.network.get_ref());
            if let Some(target) = target.and_then(|other| other.address.as_ref()) {
                table.add_link(network, address, alias, *target.get_ref());
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use crate::control::config::Config;
    use crate::control::model::Model;

    #[test]
    fn every_network_but_the_default_one_has_names_unless_it_says_otherwise() {
        let text = "[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
            [network.dns]\nsubnet = \"172.22.0.0/16\"\n\
            [network.quiet]\nsubnet = \"172.23.0.0/16\"\ndns = false\n\
            [port.nginx1]\naddress = \"172.17.0.2\"\n\
            [port.web1]\nnetwork = \"dns\"\naddress = \"172.22.0.2\"\naliases = [\"www\"]\n\
            [port.web2]\nnetwork = \"dns\"\naddress = \"172.22.0.3\"\naliases = [\"www\"]\n\
            [port.raw]\nnetwork = \"dns\"\naliases = [\"none\"]\n\
            [port.q]\nnetwork = \"quiet\"\naddress = \"172.23.0.2\"\n[dns]\nttl = 60";
        let model = Model::new(&Config::parse("f", text).unwrap().config);
        let rows = model.names.rows();
        let names: Vec<_> = rows
            .iter()
            .map(|row| (row.network.as_str(), row.name.as_str(), row.addresses.len()))
            .collect();
        assert_eq!(names, [("dns", "web1", 1), ("dns", "web2", 1), ("dns", "www", 2)]);
        assert_eq!(model.names.ttl, 60);
    }
}
