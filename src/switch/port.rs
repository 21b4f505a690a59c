//! A switch port as the dataplane sees it.

use std::net::{IpAddr, Ipv4Addr};

use super::{FdbKey, Guard, Limiter};
use crate::drop_reason::DropReason;
use crate::id::NetworkId;
use crate::packet::{MacAddr, Offload};
use crate::table::{SharedBucket, TokenBucket};
use crate::time::Instant;

/// What is behind a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortRole {
    /// Hosts.
    #[default]
    Hosts,
    /// The other tunnel endpoints: whole encapsulated frames come and go by it. It is in no network.
    Underlay,
    /// One other tunnel endpoint that has part of the port's network.
    Tunnel(Tunnel),
}

/// A network's tunnel to one other endpoint, or to all of a multicast group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The endpoint's address in the underlay, or the group's.
    pub peer: IpAddr,
    /// Frames to many go there; not to who hears them as a member of a group.
    pub floods: bool,
}

/// What ports may have in common such that no frame passes between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apart(u8);

impl Apart {
    const ISOLATED: u8 = 1;
    const TUNNEL: u8 = 2;

    /// Of a port.
    pub const fn new(is_isolated: bool, is_tunnel: bool) -> Self {
        let isolated = if is_isolated { Self::ISOLATED } else { 0 };
        let tunnel = if is_tunnel { Self::TUNNEL } else { 0 };
        Self(isolated | tunnel)
    }

    /// True if nothing keeps the port apart from any other.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Why no frame passes between the port and another; none if frames do.
    pub const fn parts(self, other: Self) -> Option<DropReason> {
        match self.0 & other.0 {
            0 => None,
            both if both & Self::ISOLATED != 0 => Some(DropReason::Isolated),
            _ => Some(DropReason::VxlanSplitHorizon),
        }
    }
}

/// A port. Two are looked up per frame, so what frames do not ask for lies elsewhere: at 264 bytes
/// instead of 240 each look-up takes two instructions more.
#[derive(Clone, Debug)]
pub struct Port {
    /// What users call it.
    pub name: String,
    /// The network it belongs to.
    pub network: NetworkId,
    /// Largest packet it takes, in bytes behind the Ethernet header and tags.
    pub mtu: u16,
    /// The same, if the way behind it takes what the port does.
    pub full_mtu: u16,
    /// What is behind it.
    pub role: PortRole,
    /// Taking part in forwarding.
    pub is_up: bool,
    /// No frames to or from other isolated ports.
    pub is_isolated: bool,
    /// What keeps it apart from other ports.
    pub apart: Apart,
    /// What its host may call itself; none: anything.
    pub guard: Option<Guard>,
    /// Its host may not be a DHCP server or a router to its neighbours.
    pub refuses_servers: bool,
    /// Who its host is, where that is configured.
    pub host: Option<Guard>,
    /// MACs bound to it for good.
    pub bound: Vec<MacAddr>,
    /// Addresses of hosts behind it when it went down.
    pub former_hosts: Box<[Ipv4Addr]>,
    /// The gateway's MAC on its network.
    pub gateway: FdbKey,
    /// Its host publishes something, so unicast from it may belong to a hairpin session.
    pub publishes: bool,
    /// Limit of frames it may cause to be flooded, by all workers together.
    pub storm: SharedBucket,
    /// Limit of DHCP requests.
    pub dhcp: Box<TokenBucket>,
    /// Limit of what its host sends.
    pub limit_rx: Option<Limiter>,
    /// Limit of what its host gets.
    pub limit_tx: Option<Limiter>,
    /// It is up, and nothing but a frame itself decides whether it may come in.
    pub is_open_rx: bool,
    /// The same for frames that leave.
    pub is_open_tx: bool,
    /// What passed and what did not.
    pub counters: PortCounters,
}

impl Port {
    /// Whether a frame may leave by a port that is not open to all: its length, that of its Ethernet
    /// header, and what its sender left undone.
    ///
    /// # Errors
    /// The reason to drop it.
    pub fn may_send(
        &self,
        now: Instant,
        (len, l3, offload): (usize, u8, Offload),
    ) -> Result<(), DropReason> {
        if !self.is_up {
            return Err(DropReason::PortDown);
        }
        // What is too large takes nothing of the limit.
        let fits = offload.largest_segment(len).saturating_sub(usize::from(l3));
        let Some(limit) = self.limit_tx.as_ref().filter(|_| fits <= usize::from(self.mtu)) else {
            return Ok(());
        };
        if limit.admits(now, len, offload) { Ok(()) } else { Err(DropReason::LimitTx) }
    }
}

/// Counters of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames received from the port.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// The frames on the wire that they stand for: a super-frame is several.
    pub rx_segments: u64,
    /// Frames handed to the port.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// The frames on the wire that they stand for.
    pub tx_segments: u64,
    /// Lost frames by reason: those that came in by this port, and those its device refused.
    pub drops: Box<[u64; DropReason::COUNT]>,
}

impl Default for PortCounters {
    fn default() -> Self {
        Self {
            rx_frames: 0,
            rx_bytes: 0,
            rx_segments: 0,
            tx_frames: 0,
            tx_bytes: 0,
            tx_segments: 0,
            drops: Box::new([0; DropReason::COUNT]),
        }
    }
}

impl PortCounters {
    /// Counts `frames` lost for `reason`.
    pub fn drop(&mut self, reason: DropReason, frames: u64) {
        if let Some(counter) = self.drops.get_mut(reason.index()) {
            *counter = counter.saturating_add(frames);
        }
    }

    /// The reasons that occurred, with their counts.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .zip(self.drops.iter())
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| (*reason, *count))
    }
}
