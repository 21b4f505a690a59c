//! Why there is no subnet.

use ipnet::Ipv4Net;

/// A subnet that could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Every one is taken or routed by the host.
    #[error(
        "no subnet is free in {pools}: {taken} prefixes are networks of tapway or routed by this \
         host; give the network a subnet of its own, or remove one"
    )]
    Exhausted {
        /// Where subnets come from.
        pools: String,
        /// How many prefixes were to be avoided.
        taken: usize,
    },
    /// Subnets larger than what they come from, or of no host.
    #[error("{base} cannot be cut into /{prefix_len}: use /{least} to /30", least = base.prefix_len())]
    WrongSize {
        /// Where the subnets were to come from.
        base: Ipv4Net,
        /// Their prefix length.
        prefix_len: u8,
    },
}
