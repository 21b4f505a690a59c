//! Why there is no address.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::AddressRange;

/// An address that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// All are taken.
    #[error(
        "network {network} has no free address in {range}: {taken} are taken; remove a host, \
         widen the network's range, or give it a larger subnet than {subnet}"
    )]
    Exhausted {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: Ipv4Net,
        /// Where addresses come from.
        range: AddressRange,
        /// How many are taken in the whole subnet.
        taken: usize,
    },
    /// It belongs elsewhere.
    #[error("{address} is not in {subnet} of network {network}; choose one that is")]
    OutsideSubnet {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: Ipv4Net,
        /// What was wished for.
        address: Ipv4Addr,
    },
    /// No host may have it.
    #[error("{address} is {what} in network {network}; choose another one of {subnet}")]
    Reserved {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: Ipv4Net,
        /// What was wished for.
        address: Ipv4Addr,
        /// What it is.
        what: &'static str,
    },
    /// Somebody else has it.
    #[error(
        "{address} of network {network} belongs to {holder}; choose another one, or remove \
         {holder} first"
    )]
    Taken {
        /// The network.
        network: String,
        /// What was wished for.
        address: Ipv4Addr,
        /// Who has it.
        holder: String,
    },
    /// One owner has one address in a network.
    #[error("{owner} has {has} in network {network} already; release that before {address}")]
    HasAnother {
        /// The network.
        network: String,
        /// Who asked.
        owner: String,
        /// What it has.
        has: Ipv4Addr,
        /// What was wished for.
        address: Ipv4Addr,
    },
    /// The range to assign from, or an exclusion, has nothing to do with the subnet.
    #[error("{range} is not in {subnet} of network {network}; choose a part of it")]
    RangeOutsideSubnet {
        /// The network.
        network: String,
        /// Its subnet.
        subnet: Ipv4Net,
        /// The range.
        range: AddressRange,
    },
    /// A snapshot that contradicts itself.
    #[error("the addresses kept for network {network} cannot be: {why}; correct or remove them")]
    Damaged {
        /// The network.
        network: String,
        /// What contradicts what.
        why: String,
    },
}
