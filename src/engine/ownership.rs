//! Whose a packet is, where several engines carry a switch.
//!
//! An inside host's translated traffic belongs to one engine, by a hash of its address: there its
//! mappings, sessions, external ports and quotas meet. Traffic between two inside hosts belongs to
//! the engine that both their addresses name, in either order. From outside, a published port
//! belongs to its host's engine, any other external port to the engine that has leased it. The
//! fragments of one datagram for an external address meet at an engine of their own, because only
//! the first one has ports. Protocols without ports belong to their remote end.
//!
//! What is bridged is nobody's: every engine carries what it receives.

use std::net::Ipv4Addr;

use super::pipeline::{Frame, Verdict};
use super::{Engine, Pass};
use crate::id::WorkerId;
use crate::nat::{Destination, Endpoint, Quote};
use crate::packet::{
    ETHERNET_HEADER, FlowKey, HandOver, Ipv4, Origin, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP,
    Transport,
};

impl Engine {
    /// The other engine that a packet belongs to; none if it is this one's.
    pub(super) fn foreign_owner(
        &mut self,
        pass: &Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Option<HandOver> {
        if self.share.is_sole() {
            return None;
        }
        let (to, origin) = match (frame.origin, self.meeting_point(frame, ipv4)) {
            (Origin::Device, Some(meeting)) if meeting != self.share.worker => {
                (meeting, Origin::Fragment)
            }
            // Here they meet: the first one tells, see `fragments`.
            (Origin::Device | Origin::Fragment, Some(_)) => return None,
            (Origin::Device, None) => (self.owner(pass, frame, ipv4), Origin::Owned),
            _ => return None,
        };
        let (frame, port) = (frame.at, frame.port);
        (to != self.share.worker).then_some(HandOver { to, frame, port, origin })
    }

    /// The engine that a packet belongs to; `ipv4` is no fragment, or the first of its datagram, or
    /// its ports do not matter.
    pub(super) fn owner(&mut self, pass: &Pass<'_>, frame: &Frame, ipv4: &Ipv4) -> WorkerId {
        let key = if ipv4.transport == Transport::IcmpError {
            let bytes = pass.tx.frame(frame.at, pass.burst);
            let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
            match Quote::parse(packet, usize::from(ipv4.header_len)) {
                // As the answer to the packet it is about, if there were one.
                Ok(quote) => quote.key(frame.network),
                Err(_) => return self.share.worker,
            }
        } else {
            let (sport, dport) = ipv4.transport.ports().unwrap_or((0, 0));
            let Ipv4 { src, dst, protocol, .. } = *ipv4;
            FlowKey { network: frame.network, protocol, src, dst, sport, dport }
        };
        self.owner_of(&key)
    }

    /// The other engine to ask about a packet from inside to a published port, which would make a
    /// session here: it may be the answer of a dynamic mapping, which its host's engine knows.
    pub(super) fn asks_first(&mut self, frame: &Frame, ipv4: &Ipv4) -> Option<HandOver> {
        if self.share.is_sole() || !self.is_inside(frame.network) {
            return None;
        }
        let key = ipv4.datagram_key(frame.network)?;
        let is_own = self.interfaces.owner_of(key.dst).is_some();
        if !is_own || self.nat.find(&key).is_some() {
            return None;
        }
        let (to, origin) = match (frame.origin, self.nat.destination(&key, is_own)) {
            // Nobody knows it: back to where its session is to be.
            (Origin::Asked, _) => (self.owner_of(&key), Origin::Settled),
            (Origin::Settled, _) => return None,
            (_, Destination::Published(..) | Destination::Static(..)) => {
                (self.of_pair(key.src, key.src), Origin::Asked)
            }
            _ => return None,
        };
        let (frame, port) = (frame.at, frame.port);
        (to != self.share.worker).then_some(HandOver { to, frame, port, origin })
    }

    pub(super) fn owner_of(&mut self, key: &FlowKey) -> WorkerId {
        let is_from_inside = self.is_inside(key.network);
        let is_own = self.interfaces.owner_of(key.dst).is_some();
        let target = match self.nat.destination(key, is_own) {
            Destination::Published(_, at) | Destination::Static(_, at) => Some(at.ip),
            Destination::Mapping(_) | Destination::Plain => None,
        };
        let target = target.or_else(|| {
            let hop = self.fib.lookup(key.dst).filter(|_| !is_own)?;
            self.is_inside(hop.network).then_some(key.dst)
        });
        let has_ports = matches!(key.protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_ICMP);
        match (target, is_from_inside) {
            (Some(target), true) => self.of_pair(key.src, target),
            (_, false) if !has_ports => self.of_remote(key.protocol, key.src),
            (Some(target), false) => self.of_pair(target, target),
            (None, true) if !has_ports && !is_own => self.of_remote(key.protocol, key.dst),
            (None, true) => self.of_pair(key.src, key.src),
            (None, false) if is_own => {
                let at = Endpoint::new(key.dst, key.dport);
                self.nat.port_owner(key.protocol, at).unwrap_or(self.share.worker)
            }
            (None, false) => self.share.worker,
        }
    }

    /// Where the fragments of a datagram meet whose ports matter; none if they do not.
    fn meeting_point(&self, frame: &Frame, ipv4: &Ipv4) -> Option<WorkerId> {
        let ports_matter = ipv4.is_fragment() && self.interfaces.owner_of(ipv4.dst).is_some();
        let datagram = (ipv4.src.to_bits(), ipv4.dst.to_bits(), ipv4.id, ipv4.protocol);
        ports_matter.then(|| self.pick(self.owner_hash.hash((frame.network.0, datagram))))
    }

    /// The engine of traffic between two inside hosts; of one with itself, its own.
    fn of_pair(&self, a: Ipv4Addr, b: Ipv4Addr) -> WorkerId {
        let (low, high) = (a.min(b).to_bits(), a.max(b).to_bits());
        self.pick(self.owner_hash.hash(u64::from(low) << 32 | u64::from(high)))
    }

    fn of_remote(&self, protocol: u8, remote: Ipv4Addr) -> WorkerId {
        self.pick(self.owner_hash.hash((protocol, remote.to_bits())))
    }

    fn pick(&self, hash: u64) -> WorkerId {
        WorkerId(((hash >> 32).wrapping_mul(u64::from(self.share.workers)) >> 32) as u8)
    }

    /// Hands a frame to its owner.
    pub(super) fn hand_over(&mut self, pass: &mut Pass<'_>, hand_over: HandOver) -> Verdict {
        pass.tx.hand_over(hand_over);
        Verdict::HandedOver
    }

    /// Hands a frame to the engine that hears ARP.
    pub(super) fn hand_to_arp_worker(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        origin: Origin,
    ) -> Verdict {
        let to = super::notice::ARP_WORKER;
        self.hand_over(pass, HandOver { to, frame: frame.at, port: frame.port, origin })
    }
}
