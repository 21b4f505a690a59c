//! What the engines of a switch tell each other about places of stations and neighbours.
//!
//! Each engine has tables of its own, filled by what it receives itself. A notice spares the
//! others from flooding or asking, and says when what it tells was seen: a station that is silent
//! ages at all of them together. One that is lost costs a flood or another request; of a station
//! that moved, frames that still go to its former port until it is heard here or has aged. Requests
//! for neighbours go out by worker 0 alone, which also hears all ARP: however many workers there
//! are, a host is asked no more than once per second.

use std::net::Ipv4Addr;

use super::Engine;
use crate::id::{NetworkId, PortId, WorkerId};
use crate::packet::MacAddr;
use crate::route::{NeighbourState, Resolution};
use crate::switch::FdbKey;
use crate::time::Instant;

/// Notices that wait to be polled; more are lost.
const MAX_NOTICES: usize = 1024;
/// Who hears ARP and asks for neighbours.
pub(super) const ARP_WORKER: WorkerId = WorkerId(0);

/// Who is to hear a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All other engines.
    All,
    /// One of them.
    One(WorkerId),
}

/// A notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A station was heard behind a port.
    Learned {
        /// Its network.
        network: NetworkId,
        /// Its MAC.
        mac: MacAddr,
        /// The port.
        port: PortId,
        /// When.
        seen: Instant,
    },
    /// A frame for this station had to be flooded: who knows it?
    Sought {
        /// Its network.
        network: NetworkId,
        /// Its MAC.
        mac: MacAddr,
    },
    /// A neighbour is to be asked for.
    Asked {
        /// Its network.
        network: NetworkId,
        /// Its address.
        ip: Ipv4Addr,
        /// The port whose packets want it, and whose budget of unresolved neighbours it counts
        /// against; none if who asks has a neighbour that it is not sure of.
        asked_by: Option<PortId>,
    },
    /// A neighbour was heard.
    Neighbour {
        /// Its network.
        network: NetworkId,
        /// Its address.
        ip: Ipv4Addr,
        /// Its MAC.
        mac: MacAddr,
        /// It answered a request.
        is_confirmed: bool,
    },
    /// The way to a VTEP takes outer packets of no more than so many bytes.
    PathMtu {
        /// The VTEP.
        peer: Ipv4Addr,
        /// Its path MTU.
        mtu: u16,
    },
}

impl Engine {
    /// The next notice, and for whom.
    pub fn poll_notice(&mut self) -> Option<(Audience, Notice)> {
        self.notices.pop_front()
    }

    /// Takes a notice of another engine.
    pub fn heed(&mut self, now: Instant, from: WorkerId, notice: Notice) {
        match notice {
            Notice::Learned { network, mac, port, seen } => {
                let is_there = |port: &crate::switch::Port| port.is_up && port.network == network;
                if self.port(port).is_some_and(is_there) {
                    self.fdb.learn_seen(now, seen, FdbKey::new(network, mac), port);
                }
            }
            Notice::Sought { network, mac } => {
                let known = self.fdb.last_seen(now, FdbKey::new(network, mac));
                if let Some((port, seen)) = known {
                    let learned = Notice::Learned { network, mac, port, seen };
                    self.notify(Audience::One(from), learned);
                }
            }
            Notice::PathMtu { peer, mtu } => self.believe_path_mtu(now, peer, mtu),
            Notice::Asked { network, ip, asked_by } => {
                self.heed_asked(now, from, (network, ip), asked_by);
            }
            Notice::Neighbour { network, ip, mac, is_confirmed } => {
                if is_confirmed {
                    self.neighbours.heard_reply(now, network, ip, mac);
                } else {
                    self.neighbours.merge(now, network, ip, mac);
                }
            }
        }
    }

    fn heed_asked(
        &mut self,
        now: Instant,
        from: WorkerId,
        (network, ip): (NetworkId, Ipv4Addr),
        asked_by: Option<PortId>,
    ) {
        // What nobody's packets want now counts against the worker that wants to know.
        let payer = asked_by.unwrap_or(PortId(u16::MAX - u16::from(from.0)));
        if let Resolution::Known(mac, index) = self.resolve_for(now, network, ip, payer) {
            let is_confirmed = self.neighbours.state(now, index) == Some(NeighbourState::Reachable);
            if asked_by.is_none() && !is_confirmed {
                self.neighbours.probe(now, index);
            }
            let neighbour = Notice::Neighbour { network, ip, mac, is_confirmed };
            self.notify(Audience::One(from), neighbour);
        }
    }

    /// Tells the others, if there are any.
    pub(super) fn notify(&mut self, audience: Audience, notice: Notice) {
        if !self.share.is_sole() && self.notices.len() < MAX_NOTICES {
            self.notices.push_back((audience, notice));
        }
    }

    /// True if this engine hears ARP and asks for neighbours.
    pub(super) fn is_arp_worker(&self) -> bool {
        self.share.worker == ARP_WORKER
    }
}
