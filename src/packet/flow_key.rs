//! The key that names one direction of a flow.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::id::NetworkId;

/// An IP address of either version, as keys hold it.
pub trait Address: Copy + Eq + fmt::Debug + fmt::Display {
    /// Feeds two addresses to a hasher in as few words as they have.
    fn fold_pair<H: Hasher>(first: Self, second: Self, state: &mut H);
}

impl Address for Ipv4Addr {
    #[inline(always)]
    fn fold_pair<H: Hasher>(first: Self, second: Self, state: &mut H) {
        let word = |address: Self| u64::from(u32::from_le_bytes(address.octets()));
        state.write_u64(word(second) << 32 | word(first));
    }
}

impl Address for Ipv6Addr {
    fn fold_pair<H: Hasher>(first: Self, second: Self, state: &mut H) {
        state.write_u128(first.to_bits());
        state.write_u128(second.to_bits());
    }
}

/// One direction of a flow as it is seen on the network it comes in by.
///
/// ICMP queries carry their identifier in `sport` (requests) or `dport` (replies), so that a
/// reply is the reverse of its request. Protocols without ports have zeros. Fragments and ICMP
/// errors have no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)] // Without gaps between the fields two keys are compared as two words.
pub struct FlowKey<A = Ipv4Addr> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port or ICMP identifier.
    pub sport: u16,
    /// Destination port or ICMP identifier.
    pub dport: u16,
    /// The network it comes in by.
    pub network: NetworkId,
    /// IP protocol number.
    pub protocol: u8,
}

impl FlowKey {
    /// The key of no packet: no network has this id, see [`NetworkId`].
    pub const NONE: Self = Self {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
        sport: 0,
        dport: 0,
        network: NetworkId(u16::MAX),
        protocol: 0,
    };
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
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        A::fold_pair(self.src, self.dst, state);
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
