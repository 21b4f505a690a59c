//! Subnets for networks that name none.
//!
//! The order is Docker's, whose 31 networks are only the beginning here: `172.17.0.0/16` to
//! `172.31.0.0/16`, then `192.168.0.0/16` in /20, then `10.0.0.0/8` in /24. The pool keeps no
//! list of its own: what is taken is told with each question, so that it cannot be out of date.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::SubnetError;

/// A route of the host that is shorter leads to everywhere, as a default route does, also where a
/// VPN splits it into 0.0.0.0/1 and 128.0.0.0/1. It claims no subnet.
const LEAST_ROUTE_PREFIX: u8 = 8;

/// Longest prefix that leaves room for a gateway and a host.
const MOST_PREFIX: u8 = 30;

/// Where subnets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetPool {
    /// Ranges, and the prefix length of the subnets that each is cut into.
    parts: Vec<(Ipv4Net, u8)>,
}

impl Default for SubnetPool {
    fn default() -> Self {
        let net = |a, b, len| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), len);
        let docker = (17..=31).map(|second| (net(172, second, 16), 16));
        Self { parts: docker.chain([(net(192, 168, 16), 20), (net(10, 0, 8), 24)]).collect() }
    }
}

impl SubnetPool {
    /// A pool of these ranges, each cut into subnets of the prefix length beside it.
    ///
    /// # Errors
    /// A prefix length that the range cannot be cut into, or that leaves no room for hosts.
    pub fn new(parts: impl IntoIterator<Item = (Ipv4Net, u8)>) -> Result<Self, SubnetError> {
        let parts: Vec<_> = parts.into_iter().map(|(base, len)| (base.trunc(), len)).collect();
        for &(base, prefix_len) in &parts {
            if !(base.prefix_len()..=MOST_PREFIX).contains(&prefix_len) {
                return Err(SubnetError::WrongSize { base, prefix_len });
            }
        }
        Ok(Self { parts })
    }

    /// The first subnet that overlaps neither a network of tapway's (nor its uplink) nor what the
    /// host routes. Addresses that must stay reachable by the host's default route, such as its
    /// resolvers, are given as /32 among the routes.
    ///
    /// # Errors
    /// If there is none.
    pub fn next_free(
        &self,
        networks: &[Ipv4Net],
        host_routes: &[Ipv4Net],
    ) -> Result<Ipv4Net, SubnetError> {
        let claimed = host_routes.iter().filter(|route| route.prefix_len() >= LEAST_ROUTE_PREFIX);
        let mut taken: Vec<(u32, u32)> = networks
            .iter()
            .chain(claimed)
            .map(|net| (net.network().to_bits(), net.broadcast().to_bits()))
            .collect();
        taken.sort_unstable();
        let found = self.parts.iter().find_map(|part| first_gap(*part, &taken));
        found.ok_or_else(|| {
            let pools: Vec<String> =
                self.parts.iter().map(|(base, len)| format!("{base} (as /{len})")).collect();
            SubnetError::Exhausted { pools: pools.join(", "), taken: taken.len() }
        })
    }
}

/// The first subnet of a range that overlaps none of the intervals, which are in order of where
/// they begin. One walk over them.
fn first_gap((base, prefix_len): (Ipv4Net, u8), taken: &[(u32, u32)]) -> Option<Ipv4Net> {
    let size = 1_u64 << (32 - prefix_len);
    let end = u64::from(base.broadcast().to_bits());
    let mut candidate = u64::from(base.network().to_bits());
    for &(first, last) in taken {
        if u64::from(first) >= candidate + size {
            break;
        }
        // The next that begins behind this interval.
        if u64::from(last) >= candidate {
            candidate = (u64::from(last) / size + 1) * size;
        }
    }
    let is_inside = candidate + size - 1 <= end;
    let address = u32::try_from(candidate).ok().filter(|_| is_inside)?;
    Some(Ipv4Net::new_assert(Ipv4Addr::from_bits(address), prefix_len))
}
