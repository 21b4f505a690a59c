//! When an ICMP error may be sent (RFC 1812 4.3.2), and which addresses are martian (5.3.7).

use std::net::Ipv4Addr;

use crate::packet::{Headers, Ipv4, Layer, Transport};
use crate::table::{KeyHash, TokenBucket};
use crate::time::Instant;

/// Buckets that hosts share by hash, so that one host's errors do not use up another's.
const BUCKETS: usize = 256;

/// Rates of ICMP errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpLimits {
    /// Errors per second to one host; 0: no limit.
    pub per_host: u32,
    /// Errors per second in all; 0: no limit.
    pub total: u32,
}

/// The rate limit of ICMP errors (RFC 1812 4.3.2.8).
#[derive(Debug)]
pub struct IcmpLimiter {
    hosts: Vec<TokenBucket>,
    total: TokenBucket,
    hasher: KeyHash,
}

impl IcmpLimiter {
    /// Full buckets; a second's worth may go at once.
    pub fn new(limits: IcmpLimits, seed: u64, now: Instant) -> Self {
        Self {
            hosts: vec![TokenBucket::new(limits.per_host, limits.per_host, now); BUCKETS],
            total: TokenBucket::new(limits.total, limits.total, now),
            hasher: KeyHash::new(seed),
        }
    }

    /// True if an error may be sent to `host` now.
    pub fn allow(&mut self, now: Instant, host: Ipv4Addr) -> bool {
        let bucket = self.hasher.hash(host.to_bits()) as usize % BUCKETS;
        let host_allows = self.hosts.get_mut(bucket).is_some_and(|bucket| bucket.take(now));
        host_allows && self.total.take(now)
    }
}

/// True if an error may be sent about a packet at all (RFC 1812 4.3.2.7): not about an ICMP
/// error, a later fragment, a packet to many, or one from an address that names no single host.
pub fn may_report(headers: &Headers) -> bool {
    let Layer::Ipv4(ipv4) = headers.layer else { return false };
    !headers.dst.is_group()
        && !matches!(ipv4.transport, Transport::IcmpError | Transport::LaterFragment)
        && !is_to_many(&ipv4)
        && !is_martian_source(ipv4.src)
}

fn is_to_many(ipv4: &Ipv4) -> bool {
    ipv4.dst.is_multicast() || ipv4.dst.is_broadcast()
}

/// Source addresses that no host may have: 0/8, 127/8, 224/3 and the broadcast address.
pub const fn is_martian_source(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 0 | 127 | 224..=255)
}

/// Destinations that are not on any network: 0/8, 127/8 and 240/4.
pub const fn is_martian_destination(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 0 | 127 | 240..=255)
}
