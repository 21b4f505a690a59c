//! Keeps the files of all hosts as the model is: hosts files under `/etc/netns` of namespaces that
//! tapway made, for `ip netns exec`, and the private files of commands.
//!
//! A file that cannot be written takes nothing back: it is told in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{PrivateFiles, etc_hosts, etc_resolv_conf};
use crate::control::follower::{Follower, Stage};
use crate::control::model::{HOST_NAME, HostEntry, HostIndex, Model, PortEntry};
use crate::control::rejection::Rejection;
use crate::control::resolver::{HostResolvers, own_file};
use crate::id::NetworkId;
use crate::io::{EtcFile, Netns, OpenError, PortPlan};

/// The follower; it remembers what it wrote, so that only what changed is written again.
#[derive(Debug, Default)]
pub struct HostsFiles {
    /// Texts by the name of the namespace.
    written: BTreeMap<String, String>,
    private: PrivateFiles,
}

impl HostsFiles {
    /// Nothing is written yet; `private` is shared with who attaches hosts.
    pub const fn new(private: PrivateFiles) -> Self {
        Self { written: BTreeMap::new(), private }
    }

    /// The files of hosts that run as commands.
    fn write_private(&self, model: &Model) {
        let names = self.private.hosts();
        if names.is_empty() {
            return;
        }
        let index = HostIndex::of(model);
        let of_this_host = etc_resolv_conf();
        let mut resolvers = HostResolvers::default();
        resolvers.refresh();
        let own_resolver = own_file(resolvers.search());
        for host in names.iter().filter_map(|name| index.host(name)) {
            let name = host.name.as_str();
            let own = own_lines(model, &index, &[host]);
            let mut networks = index.ports(host).map(|port| port.spec.network);
            let resolv_conf = match networks.any(|network| model.names.serves(network)) {
                true => &own_resolver,
                false => &of_this_host,
            };
            let texts = [
                (EtcFile::Hosts, etc_hosts(&own, &index.links(host))),
                (EtcFile::ResolvConf, resolv_conf.clone()),
                (EtcFile::Hostname, format!("{name}\n")),
            ];
            for (file, text) in texts {
                if let Err(error) = self.private.write(name, file, text) {
                    tracing::warn!(name, %error, "a private file is not as it should be");
                }
            }
        }
    }

    /// Writes what differs from what is there.
    fn write_changed(&mut self, stage: &mut Stage<'_>) {
        let texts = texts_of(stage.new);
        self.written.retain(|netns, _| texts.contains_key(netns));
        for (netns, text) in texts {
            if self.written.get(&netns) == Some(&text) {
                continue;
            }
            match stage.broker.write_file(&netns, EtcFile::Hosts, &text) {
                // A namespace that somebody else made has files of his.
                Ok(_) | Err(OpenError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::warn!(netns, %error, "the hosts file is not as it should be");
                }
            }
            self.written.insert(netns, text);
        }
    }
}

impl Follower for HostsFiles {
    fn name(&self) -> &'static str {
        "hosts files"
    }

    fn prepare(&mut self, _stage: &mut Stage<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    fn commit(&mut self, stage: &mut Stage<'_>) {
        self.write_changed(stage);
        self.write_private(stage.new);
    }

    fn roll_back(&mut self, _stage: &mut Stage<'_>) {}

    fn reopened(&mut self, port: &PortEntry, stage: &mut Stage<'_>) {
        // The namespace may be another one of the same name, without files.
        if let Some(netns) = netns_of(port) {
            self.written.remove(netns);
        }
        self.write_changed(stage);
    }
}

/// The name of a namespace that tapway might have made.
fn netns_of(port: &PortEntry) -> Option<&str> {
    match &port.plan {
        PortPlan::Tap(tap) => match &tap.netns {
            Some(Netns::Named { name, create: true }) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// Addresses and names of hosts that share a file, and those of this host where they meet it.
fn own_lines<'m>(
    model: &Model,
    index: &HostIndex<'m>,
    hosts: &[&'m HostEntry],
) -> Vec<(Ipv4Addr, &'m str)> {
    let of_host = |host: &&'m HostEntry| {
        let name = host.name.as_str();
        index.addresses(host).into_iter().map(move |address| (address, name))
    };
    let ports = hosts.iter().flat_map(|host| index.ports(host));
    let networks: BTreeSet<NetworkId> = ports.map(|port| port.spec.network).collect();
    let places = networks.into_iter().filter_map(|network| model.host_place(network));
    let places = places.map(|address| (address, HOST_NAME));
    hosts.iter().flat_map(of_host).chain(places).collect()
}

/// The text of each namespace; several hosts in one share it.
fn texts_of(model: &Model) -> BTreeMap<String, String> {
    let index = HostIndex::of(model);
    let mut homes: BTreeMap<&str, Vec<&HostEntry>> = BTreeMap::new();
    for host in &model.hosts {
        let netns = index.ports(host).next().and_then(netns_of);
        if let Some(netns) = netns {
            homes.entry(netns).or_default().push(host);
        }
    }
    let text = |(netns, hosts): (&str, Vec<&HostEntry>)| {
        let own = own_lines(model, &index, &hosts);
        let links: Vec<_> = hosts.iter().flat_map(|host| index.links(host)).collect();
        (netns.to_owned(), etc_hosts(&own, &links))
    };
    homes.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::Config;

    #[test]
    fn a_host_finds_this_host_where_that_has_a_place() {
        let text = "[network.bridge]\nsubnet = \"172.17.0.0/16\"\nhost = true\n\
            [network.front]\nsubnet = \"10.1.0.0/24\"\n\
            [port.db]\naddress = \"172.17.0.2\"\nnetns = \"one\"\n\
            [port.web]\nnetwork = \"front\"\naddress = \"10.1.0.2\"\nnetns = \"two\"\n";
        let texts = texts_of(&Model::new(&Config::parse("f", text).unwrap().config));
        assert!(texts["one"].ends_with("172.17.0.2\tdb\n172.17.255.254\thost.tapway.internal\n"));
        assert!(texts["two"].ends_with("10.1.0.2\tweb\n"));
    }

    #[test]
    fn hosts_in_one_namespace_share_a_file_and_others_have_none() {
        let text = "[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
            [port.db]\naddress = \"172.17.0.2\"\nnetns = \"one\"\n\
            [port.web]\naddress = \"172.17.0.3\"\nnetns = \"one\"\ninterface = \"eth1\"\n\
            links = [\"db:database\"]\n\
            [port.theirs]\naddress = \"172.17.0.4\"\nnetns = \"two\"\ncreate_netns = false\n\
            [port.here]\naddress = \"172.17.0.5\"\n";
        let texts = texts_of(&Model::new(&Config::parse("f", text).unwrap().config));
        let [(netns, text)] = texts.into_iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(netns, "one");
        let end = "172.17.0.2\tdatabase db\n172.17.0.2\tdb\n172.17.0.3\tweb\n";
        assert!(text.ends_with(end), "{text}");
    }
}
