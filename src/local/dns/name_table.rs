//! Who is called what, and where. Immutable once it is in use: a change is another table.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use foldhash::quality::FixedState;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::id::NetworkId;

/// Addresses of one name at most, as answered.
pub const MAX_ADDRESSES: usize = 64;
/// Time for which own names may be remembered, in seconds, unless configured; Docker's.
pub const DEFAULT_TTL: u32 = 600;

/// Where a host is: a network, and its address there if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The network.
    pub network: NetworkId,
    /// The host's own address in it.
    pub address: Option<Ipv4Addr>,
}

/// The names of all networks that have some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTable {
    /// Seconds for which an answer about an own name may be remembered.
    pub ttl: u32,
    zones: BTreeMap<NetworkId, Zone>,
}

/// The names of one network. Names are kept in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone {
    name: String,
    subnet: Option<Ipv4Net>,
    forwards: bool,
    names: HashMap<String, Vec<Ipv4Addr>, FixedState>,
    /// The first name of each address.
    hosts: HashMap<Ipv4Addr, String, FixedState>,
    /// Names that one host alone sees, by its address.
    links: HashMap<Ipv4Addr, BTreeMap<String, Vec<Ipv4Addr>>, FixedState>,
}

/// A name, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRow {
    /// The network.
    pub network: String,
    /// The name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The host has another name that its addresses are turned into.
    pub is_alias: bool,
}

impl Default for NameTable {
    fn default() -> Self {
        Self::new(DEFAULT_TTL)
    }
}

impl NameTable {
    /// No names.
    pub const fn new(ttl: u32) -> Self {
        Self { ttl, zones: BTreeMap::new() }
    }

    /// Gives a network names; `forwards`: names that are nobody's here are asked for elsewhere.
    pub fn add_network(
        &mut self,
        id: NetworkId,
        name: &str,
        subnet: Option<Ipv4Net>,
        forwards: bool,
    ) {
        let (name, subnet) = (name.to_ascii_lowercase(), subnet.map(|net| net.trunc()));
        let (names, hosts, links) = Default::default();
        self.zones.insert(id, Zone { name, subnet, forwards, names, hosts, links });
    }

    /// Calls a host of a network by its own name: the one that its address is turned into.
    /// Nothing happens if the network has no names.
    pub fn add_host(&mut self, id: NetworkId, name: &str, address: Ipv4Addr) {
        let Some(zone) = self.zones.get_mut(&id) else { return };
        let name = name.to_ascii_lowercase();
        zone.hosts.entry(address).or_insert_with(|| name.clone());
        add(zone.names.entry(name).or_default(), address);
    }

    /// Calls a host of a network by another name as well.
    pub fn add_alias(&mut self, id: NetworkId, alias: &str, address: Ipv4Addr) {
        if let Some(zone) = self.zones.get_mut(&id) {
            add(zone.names.entry(alias.to_ascii_lowercase()).or_default(), address);
        }
    }

    /// Calls a host of a network by a name that only the host at `asker` sees.
    pub fn add_link(&mut self, id: NetworkId, asker: Ipv4Addr, alias: &str, address: Ipv4Addr) {
        if let Some(zone) = self.zones.get_mut(&id) {
            let names = zone.links.entry(asker).or_default();
            add(names.entry(alias.to_ascii_lowercase()).or_default(), address);
        }
    }

    /// True if a host of the network, or several, are called so.
    pub fn has(&self, id: NetworkId, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.zones.get(&id).is_some_and(|zone| zone.names.contains_key(&name))
    }

    /// True if the network has names at all: else nobody listens there.
    pub fn serves(&self, id: NetworkId) -> bool {
        self.zones.contains_key(&id)
    }

    /// True if a host at these places may ask beyond them.
    pub fn forwards(&self, places: &[Place]) -> bool {
        self.zones_of(places).any(|(_, zone)| zone.forwards)
    }

    /// The addresses of a name, in small letters, as a host at these places sees it: what it
    /// calls another host itself comes before what that host is called by all.
    pub fn addresses(&self, places: &[Place], name: &str) -> Vec<Ipv4Addr> {
        let mut found: Vec<Ipv4Addr> = Vec::new();
        let linked = self
            .zones_of(places)
            .filter_map(|(place, zone)| zone.links.get(&place.address?)?.get(name));
        let linked: Vec<&Vec<Ipv4Addr>> = linked.collect();
        let named = self.zones_of(places).flat_map(|(_, zone)| {
            let full = name.strip_suffix(&*zone.name).and_then(|rest| rest.strip_suffix('.'));
            [Some(name), full].into_iter().flatten().filter_map(|name| zone.names.get(name))
        });
        let lists = if linked.is_empty() { named.collect() } else { linked };
        for address in lists.into_iter().flatten() {
            if found.len() < MAX_ADDRESSES && !found.contains(address) {
                found.push(*address);
            }
        }
        found
    }

    /// What an address is called, as (host, network); an error if it belongs to one of the
    /// networks of these places and has no name; none if it does not.
    pub fn host<'a>(
        &'a self,
        places: &'a [Place],
        address: Ipv4Addr,
    ) -> Option<Result<(&'a str, &'a str), Nameless>> {
        let mut outcome = None;
        for (_, zone) in self.zones_of(places) {
            if let Some(host) = zone.hosts.get(&address) {
                return Some(Ok((host, &zone.name)));
            }
            if zone.subnet.is_some_and(|subnet| subnet.contains(&address)) {
                outcome = Some(Err(Nameless));
            }
        }
        outcome
    }

    /// All names, by network and name.
    pub fn rows(&self) -> Vec<NameRow> {
        let mut rows = Vec::new();
        for zone in self.zones.values() {
            let from = rows.len();
            for (name, addresses) in &zone.names {
                let is_own =
                    |address: &Ipv4Addr| zone.hosts.get(address).is_some_and(|own| own == name);
                rows.push(NameRow {
                    network: zone.name.clone(),
                    name: name.clone(),
                    addresses: addresses.clone(),
                    is_alias: !addresses.iter().any(is_own),
                });
            }
            if let Some(rows) = rows.get_mut(from..) {
                rows.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        rows
    }

    fn zones_of<'a>(&'a self, places: &'a [Place]) -> impl Iterator<Item = (&'a Place, &'a Zone)> {
        places.iter().filter_map(|place| Some((place, self.zones.get(&place.network)?)))
    }
}

/// An address of a network that is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nameless;

fn add(addresses: &mut Vec<Ipv4Addr>, address: Ipv4Addr) {
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DNS: NetworkId = NetworkId(1);
    const BACK: NetworkId = NetworkId(2);
    const PLAIN: NetworkId = NetworkId(3);

    const NONE: [Ipv4Addr; 0] = [];

    fn at(networks: &[NetworkId]) -> Vec<Place> {
        networks.iter().map(|network| Place { network: *network, address: None }).collect()
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 22, 0, last)
    }

    fn table() -> NameTable {
        let mut table = NameTable::default();
        table.add_network(DNS, "dns", "172.22.0.0/16".parse().ok(), true);
        table.add_network(BACK, "Back", "10.0.0.0/24".parse().ok(), false);
        table.add_host(DNS, "Web1", ip(2));
        table.add_host(DNS, "web2", ip(3));
        table.add_alias(DNS, "www", ip(2));
        table.add_alias(DNS, "www", ip(3));
        table.add_host(BACK, "web1", Ipv4Addr::new(10, 0, 0, 2));
        table.add_host(BACK, "db", Ipv4Addr::new(10, 0, 0, 3));
        table.add_host(PLAIN, "db", ip(9));
        table
    }

    #[test]
    fn a_host_sees_the_names_of_its_networks_only() {
        let table = table();
        assert_eq!(table.addresses(&at(&[DNS]), "web1"), [ip(2)]);
        assert_eq!(table.addresses(&at(&[DNS]), "web1.dns"), [ip(2)]);
        assert_eq!(table.addresses(&at(&[DNS]), "web1.back"), NONE);
        assert_eq!(table.addresses(&at(&[DNS]), "db"), NONE);
        assert_eq!(table.addresses(&at(&[BACK]), "db.back"), [Ipv4Addr::new(10, 0, 0, 3)]);
        assert_eq!(table.addresses(&at(&[PLAIN]), "db"), NONE);
        assert!(!table.serves(PLAIN) && table.serves(BACK));
        // In both, in the order of the asker's networks.
        let both = [Ipv4Addr::new(10, 0, 0, 2), ip(2)];
        assert_eq!(table.addresses(&at(&[BACK, DNS]), "web1"), both);
        assert_eq!(table.addresses(&at(&[BACK, DNS]), "web1.dns"), [ip(2)]);
        assert_eq!(table.addresses(&at(&[DNS]), "www"), [ip(2), ip(3)]);
    }

    #[test]
    fn an_address_has_its_first_name_and_an_empty_one_of_the_network_has_none() {
        let table = table();
        assert_eq!(table.host(&at(&[DNS]), ip(2)), Some(Ok(("web1", "dns"))));
        assert_eq!(table.host(&at(&[DNS]), ip(77)), Some(Err(Nameless)));
        assert_eq!(table.host(&at(&[BACK]), ip(2)), None);
        assert!(
            table.forwards(&at(&[BACK, DNS]))
                && !table.forwards(&at(&[BACK]))
                && !table.forwards(&at(&[]))
        );
    }

    #[test]
    fn rows_tell_names_from_aliases() {
        let rows = table().rows();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.network.as_str(), row.name.as_str(), row.addresses.len(), row.is_alias))
            .collect();
        let expected = [
            ("dns", "web1", 1, false),
            ("dns", "web2", 1, false),
            ("dns", "www", 2, true),
            ("back", "db", 1, false),
            ("back", "web1", 1, false),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_link_is_seen_by_its_host_only_and_comes_first() {
        let mut table = table();
        table.add_link(DNS, ip(3), "DB", ip(2));
        table.add_link(DNS, ip(3), "web2", ip(2));
        let linked = [Place { network: DNS, address: Some(ip(3)) }];
        let other = [Place { network: DNS, address: Some(ip(2)) }];
        assert_eq!(table.addresses(&linked, "db"), [ip(2)]);
        assert_eq!(table.addresses(&linked, "web2"), [ip(2)]);
        assert_eq!(table.addresses(&other, "db"), NONE);
        assert_eq!(table.addresses(&other, "web2"), [ip(3)]);
    }

    #[test]
    fn a_name_without_bound_is_cut() {
        let mut table = table();
        for host in 0..=255 {
            table.add_alias(DNS, "many", ip(host));
        }
        assert_eq!(table.addresses(&at(&[DNS]), "many").len(), MAX_ADDRESSES);
    }
}
