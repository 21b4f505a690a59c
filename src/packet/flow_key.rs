//! The key that names one direction of a flow.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::id::NetworkId;

/// An IP address of either version, as keys hold it.
pub trait Address: Copy + Eq + fmt::Debug + fmt::Display {
    /// Feeds the address to a hasher in as few words as it has.
    fn fold_into<H: Hasher>(self, state: &mut H);
}

impl Address for Ipv4Addr {
    fn fold_into<H: Hasher>(self, state: &mut H) {
        state.write_u32(self.to_bits());
    }
}

impl Address for Ipv6Addr {
    fn fold_into<H: Hasher>(self, state: &mut H) {
        state.write_u128(self.to_bits());
    }
}

/// One direction of a flow as it is seen on the network it comes in by.
///
/// ICMP queries carry their identifier in `sport` (requests) or `dport` (replies), so that a
/// reply is the reverse of its request. Protocols without ports have zeros. Fragments and ICMP
/// errors have no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey<A = Ipv4Addr> {
    /// The network it comes in by.
    pub network: NetworkId,
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port or ICMP identifier.
    pub sport: u16,
    /// Destination port or ICMP identifier.
    pub dport: u16,
}

impl<A: Address> FlowKey<A> {
    /// The key of the opposite direction, coming in by `network`.
    #[must_use]
    pub const fn reversed(self, network: NetworkId) -> Self {
        Self {
            network,
            protocol: self.protocol,
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
        }
    }
}

impl<A: Address> Hash for FlowKey<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.src.fold_into(state);
        self.dst.fold_into(state);
        let ports = u64::from(self.sport) << 16 | u64::from(self.dport);
        let rest = u64::from(self.network.0) << 8 | u64::from(self.protocol);
        state.write_u64(rest << 32 | ports);
    }
}

impl<A: Address> fmt::Display for FlowKey<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "proto {} {}:{} -> {}:{}",
            self.protocol, self.src, self.sport, self.dst, self.dport
        )
    }
}
