//! The forwarding table: longest prefix match.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;
use serde::{Deserialize, Serialize};

use crate::id::NetworkId;

/// Where a route came from, as `ip route` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// The subnet of an interface.
    Connected,
    /// Configured.
    Static,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix.
    pub destination: Ipv4Net,
    /// The next router; none: destinations are neighbours themselves.
    pub via: Option<Ipv4Addr>,
    /// The network it leads to.
    pub network: NetworkId,
    /// Where it came from.
    pub kind: RouteKind,
}

/// The outcome of a look-up: whom to hand the packet to, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The network to leave by.
    pub network: NetworkId,
    /// The neighbour to hand it to.
    pub address: Ipv4Addr,
}

/// So many routes, which few hosts exceed, are looked through one by one: a tenth of the work of
/// walking a trie.
const FEW: usize = 16;

/// The forwarding table. One route per prefix: the configured one replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    routes: PrefixMap<Ipv4Net, Route>,
    /// The same, longest prefix first, while there are at most [`FEW`]; else empty.
    few: Vec<FewRoute>,
}

/// A route as it is looked for among few.
#[derive(Clone, Copy, Debug)]
struct FewRoute {
    bits: u32,
    mask: u32,
    via: Option<Ipv4Addr>,
    network: NetworkId,
}

impl Fib {
    /// Enters a route, replacing one for the same prefix.
    pub fn insert(&mut self, route: Route) {
        let destination = route.destination.trunc();
        self.routes.insert(destination, Route { destination, ..route });
        self.list_few();
    }

    /// Removes the route for a prefix.
    pub fn remove(&mut self, destination: Ipv4Net) -> Option<Route> {
        let removed = self.routes.remove(&destination.trunc());
        self.list_few();
        removed
    }

    /// Removes all routes into a network.
    pub fn remove_network(&mut self, network: NetworkId) {
        self.routes.retain(|_, route| route.network != network);
        self.list_few();
    }

    /// The next hop towards an address.
    pub fn lookup(&self, address: Ipv4Addr) -> Option<NextHop> {
        let (via, network) = if self.few.is_empty() {
            let (_, route) = self.routes.get_lpm(&Ipv4Net::from(address))?;
            (route.via, route.network)
        } else {
            let bits = address.to_bits();
            let route = self.few.iter().find(|route| bits & route.mask == route.bits)?;
            (route.via, route.network)
        };
        Some(NextHop { network, address: via.unwrap_or(address) })
    }

    /// All routes, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|(_, route)| route)
    }

    fn list_few(&mut self) {
        self.few.clear();
        if self.routes.len() > FEW {
            return;
        }
        self.few.extend(self.routes.iter().map(|(_, route)| FewRoute {
            bits: route.destination.network().to_bits(),
            mask: route.destination.netmask().to_bits(),
            via: route.via,
            network: route.network,
        }));
        // Masks are ordered as the lengths of their prefixes.
        self.few.sort_by_key(|route| std::cmp::Reverse(route.mask));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_among_few_and_among_many() {
        the_longest_prefix_wins(Fib::default());
        let mut many = Fib::default();
        for third in 0..=FEW as u8 {
            many.insert(Route {
                destination: Ipv4Net::new([192, 168, third, 0].into(), 24).unwrap(),
                via: None,
                network: NetworkId(9),
                kind: RouteKind::Static,
            });
        }
        assert!(many.few.is_empty());
        the_longest_prefix_wins(many.clone());
        many.remove_network(NetworkId(9));
        many.insert(Route {
            destination: "10.9.0.0/16".parse().unwrap(),
            via: None,
            network: NetworkId(9),
            kind: RouteKind::Static,
        });
        assert_eq!(many.few.len(), 1);
        the_longest_prefix_wins(many);
    }

    fn the_longest_prefix_wins(mut fib: Fib) {
        let add = |fib: &mut Fib, prefix: &str, network| {
            fib.insert(Route {
                destination: prefix.parse().unwrap(),
                via: None,
                network: NetworkId(network),
                kind: RouteKind::Static,
            });
        };
        let find = |fib: &Fib, at: [u8; 4]| fib.lookup(at.into()).map(|hop| hop.network.0);
        for (prefix, network) in [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.3/32", 3)] {
            add(&mut fib, prefix, network);
        }
        assert_eq!(find(&fib, [10, 1, 2, 3]), Some(3));
        assert_eq!(find(&fib, [10, 1, 2, 4]), Some(2));
        assert_eq!(find(&fib, [10, 2, 2, 4]), Some(1));
        assert_eq!(find(&fib, [11, 0, 0, 1]), None);
        add(&mut fib, "0.0.0.0/0", 4);
        assert_eq!(find(&fib, [11, 0, 0, 1]), Some(4));
        fib.remove_network(NetworkId(2));
        assert_eq!(find(&fib, [10, 1, 2, 4]), Some(1));
    }
}
