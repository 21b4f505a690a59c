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

use std::hash::BuildHasher;
use std::net::Ipv4Addr;

use super::pipeline::{Frame, Verdict};
use super::slow_path::Stop;
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, WorkerId};
use crate::nat::{Destination, Endpoint, Opening, Quote, Rewrite, Source, Tuple};
use crate::packet::{
    ETHERNET_HEADER, FlowKey, HandOver, Ipv4, MacAddr, Origin, PROTOCOL_ICMP, PROTOCOL_TCP,
    PROTOCOL_UDP, Transport,
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

    fn owner_of(&mut self, key: &FlowKey) -> WorkerId {
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
        ports_matter.then(|| self.pick(self.owner_hash.hash_one((frame.network.0, datagram))))
    }

    /// The engine of traffic between two inside hosts; of one with itself, its own.
    fn of_pair(&self, a: Ipv4Addr, b: Ipv4Addr) -> WorkerId {
        let (low, high) = (a.min(b).to_bits(), a.max(b).to_bits());
        self.pick(self.owner_hash.hash_one(u64::from(low) << 32 | u64::from(high)))
    }

    fn of_remote(&self, protocol: u8, remote: Ipv4Addr) -> WorkerId {
        self.pick(self.owner_hash.hash_one((protocol, remote.to_bits())))
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

    /// The other engine to whose host a packet loops back by an external endpoint, if it does.
    pub(super) fn loop_of(&mut self, frame: &Frame, ipv4: &Ipv4) -> Option<WorkerId> {
        if self.share.is_sole() {
            return None;
        }
        let key = ipv4.datagram_key(frame.network)?;
        if let Some((index, way)) = self.nat.find(&key) {
            let to = self.nat.session(index)?.translated(way).dst;
            return self.loops_to(key.protocol, to);
        }
        let is_own = self.interfaces.owner_of(key.dst).is_some();
        let is_plain = self.nat.destination(&key, is_own) == Destination::Plain;
        let may_loop = is_own && is_plain && self.is_inside(frame.network);
        if may_loop { self.loops_to(key.protocol, Endpoint::new(key.dst, key.dport)) } else { None }
    }

    /// The other engine to which a packet for this external endpoint goes once it is translated;
    /// none if there is nobody else, or it is no such endpoint.
    pub(super) fn loops_to(&mut self, protocol: u8, to: Endpoint) -> Option<WorkerId> {
        let has_ports = matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP);
        if self.share.is_sole() || !has_ports || self.interfaces.owner_of(to.ip).is_none() {
            return None;
        }
        // As if it came from outside; a published host may have this endpoint, too.
        let network = self.looped_network()?;
        let (src, sport) = (Ipv4Addr::UNSPECIFIED, 0);
        let Endpoint { ip: dst, port: dport } = to;
        let key = FlowKey { network, protocol, src, dst, sport, dport };
        let owner = self.owner_of(&key);
        (owner != self.share.worker).then_some(owner)
    }

    /// A packet of an inside host to a mapping of another engine's host, in the first of two passes
    /// (RFC 4787 REQ-9): it gets its external source here, and its destination there.
    pub(super) fn forward_looped(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (to, id): (WorkerId, Option<u16>),
    ) -> Result<(Verdict, Ipv4Addr), Stop> {
        let key =
            ipv4.datagram_key(frame.network).ok_or(Stop::Drop(DropReason::TransportTruncated))?;
        let tcp_flags = match ipv4.transport {
            Transport::Tcp { flags, .. } => flags,
            _ => 0,
        };
        let (index, way) = match self.nat.find(&key) {
            Some((index, way)) => {
                self.nat.track(pass.now, index, way, tcp_flags);
                (index, way)
            }
            None => (self.open_looped(pass, &key, tcp_flags)?, crate::nat::Direction::Original),
        };
        let gone = Stop::Drop(DropReason::NoSession);
        let translated = self.nat.session(index).ok_or(gone)?.translated(way);
        let verdict = self.loop_rewritten(pass, frame, ipv4, (key.into(), translated, id), to);
        Ok((verdict, translated.src.ip))
    }

    /// Gives a packet its new source and hands it on to the second pass, where the identification
    /// of one that is not in fragments is made unique.
    pub(super) fn loop_rewritten(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (from, translated, id): (Tuple, Tuple, Option<u16>),
        to: WorkerId,
    ) -> Verdict {
        let macs = (MacAddr::ZERO, MacAddr::ZERO);
        let rewrite = Rewrite::new(ipv4.protocol, from, translated, macs);
        let is_partial = !pass.tx.offload(frame.at, pass.burst).is_none();
        rewrite.apply(pass.tx.frame_mut(frame.at, pass.burst), ipv4, id, is_partial);
        let (frame, port) = (frame.at, frame.port);
        self.hand_over(pass, HandOver { to, frame, port, origin: Origin::Looped })
    }

    fn open_looped(&mut self, pass: &Pass<'_>, key: &FlowKey, tcp_flags: u8) -> Result<u32, Stop> {
        let local = Stop::Local;
        let outside = self.interfaces.outside().ok_or(local)?;
        let mode = self.network(key.network).ok_or(local)?.nat.mode(key.protocol, key.dst);
        let mode = if mode == crate::nat::NatMode::None { Default::default() } else { mode };
        let opening = Opening {
            key: *key,
            destination: Destination::Plain,
            source: Source::Masquerade(mode, outside.external()),
            egress: outside.network,
            hash: self.nat.hash(key),
            is_from_inside: true,
            is_looped: false,
            tcp_flags,
        };
        self.nat.open(pass.now, &opening).map_err(Stop::Drop)
    }

    /// The network in which a looped packet arrives.
    pub(super) fn looped_network(&self) -> Option<NetworkId> {
        self.interfaces.outside().map(|outside| outside.network)
    }
}
