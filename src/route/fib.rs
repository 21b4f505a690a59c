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

/// The forwarding table. One route per prefix: the configured one replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    routes: PrefixMap<Ipv4Net, Route>,
}

impl Fib {
    /// Enters a route, replacing one for the same prefix.
    pub fn insert(&mut self, route: Route) {
        let destination = route.destination.trunc();
        self.routes.insert(destination, Route { destination, ..route });
    }

    /// Removes the route for a prefix.
    pub fn remove(&mut self, destination: Ipv4Net) -> Option<Route> {
        self.routes.remove(&destination.trunc())
    }

    /// Removes all routes into a network.
    pub fn remove_network(&mut self, network: NetworkId) {
        self.routes.retain(|_, route| route.network != network);
    }

    /// The next hop towards an address.
    pub fn lookup(&self, address: Ipv4Addr) -> Option<NextHop> {
        let (_, route) = self.routes.get_lpm(&Ipv4Net::from(address))?;
        Some(NextHop { network: route.network, address: route.via.unwrap_or(address) })
    }

    /// All routes, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|(_, route)| route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mut fib = Fib::default();
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
