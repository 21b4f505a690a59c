//! What an engine tells its owner.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::id::{NetworkId, PortId};
use crate::packet::MacAddr;

/// Something the operator may want to know. Of each kind at most one a
/// second is told, and 8 at once after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Sessions or external ports ran out for a host; the drop reasons say which.
    Exhausted {
        /// The host's network.
        network: NetworkId,
        /// The host.
        host: Ipv4Addr,
    },
    /// Somebody else claims an address of tapway by ARP.
    DuplicateAddress {
        /// On this network.
        network: NetworkId,
        /// The address.
        address: Ipv4Addr,
        /// Who claims it.
        mac: MacAddr,
    },
    /// A MAC moved from one port to another.
    MacMoved {
        /// On this network.
        network: NetworkId,
        /// The MAC.
        mac: MacAddr,
        /// Where it is now.
        to: PortId,
    },
    /// An endpoint that is no peer yet sent a frame of a network that accepts any.
    UnknownPeer {
        /// The network.
        network: NetworkId,
        /// The endpoint.
        peer: IpAddr,
    },
}

impl Event {
    /// Kinds of events.
    pub(super) const KINDS: usize = 4;

    /// Its kind, less than [`Event::KINDS`].
    pub(super) const fn kind(&self) -> usize {
        match self {
            Self::Exhausted { .. } => 0,
            Self::DuplicateAddress { .. } => 1,
            Self::MacMoved { .. } => 2,
            Self::UnknownPeer { .. } => 3,
        }
    }
}
