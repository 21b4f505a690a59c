//! The way from inside to inside by an external address, where the two hosts belong to different
//! engines: in two passes, source first.
//!
//! The first pass, at the sender's engine, opens his session and gives the packet his external
//! source; the second, at the other host's, takes it as if it came from outside. Whoever sent it
//! sees what he would see of one engine: one TTL less, errors and refusals that quote the packet as
//! he sent it. So what it said before travels with it, see [`BeforeLoop`]. A port that nobody has
//! is refused by the engine that has leased it; the sender's session for it lasts its time.

use std::net::Ipv4Addr;

use super::pipeline::{Frame, Verdict};
use super::slow_path::Stop;
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, WorkerId};
use crate::nat::{Destination, Endpoint, Opening, Rewrite, Source, Tuple};
use crate::packet::icmp::IcmpError;
use crate::packet::{
    BeforeLoop, FlowKey, HandOver, Headers, Ipv4, Layer, Offload, Origin, PROTOCOL_TCP,
    PROTOCOL_UDP, Transport,
};

impl Engine {
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
        let truncated = Stop::Drop(DropReason::TransportTruncated);
        let key = ipv4.datagram_key(frame.network).ok_or(truncated)?;
        if ipv4.ttl <= 1 {
            return Err(Stop::Report(DropReason::TtlExceeded, IcmpError::TtlExceeded));
        }
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

    /// Gives a packet its new source and hands it on to the second pass, which takes one off its TTL
    /// and makes the identification of one that is not in fragments unique.
    pub(super) fn loop_rewritten(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (from, translated, id): (Tuple, Tuple, Option<u16>),
        to: WorkerId,
    ) -> Verdict {
        let before = BeforeLoop { src: ipv4.src, sport: from.src.port, id: ipv4.id };
        // The MACs tell the second pass whom to answer if it goes no further.
        let macs = (frame.headers.src, frame.headers.dst);
        let rewrite = Rewrite::new(ipv4.protocol, from, translated, macs).keeping_ttl();
        let (bytes, offload) = pass.tx.view_mut(frame.at, pass.burst);
        rewrite.apply(bytes, ipv4, id, !offload.is_none());
        let (frame, port) = (frame.at, frame.port);
        self.hand_over(pass, HandOver { to, frame, port, origin: Origin::Looped(before) })
    }

    /// A frame that looped and ends here, as its sender sent it, so that he is told about that;
    /// any other as it is.
    pub(super) fn unloop(&self, pass: &mut Pass<'_>, frame: &Frame) -> Frame {
        let (bytes, offload) = pass.tx.view_mut(frame.at, pass.burst);
        self.unlooped(bytes, offload, frame)
    }

    /// The same for a frame whose bytes are elsewhere.
    pub(super) fn unlooped(&self, bytes: &mut [u8], offload: Offload, frame: &Frame) -> Frame {
        let (Origin::Looped(before), Layer::Ipv4(ipv4)) = (frame.origin, frame.headers.layer)
        else {
            return *frame;
        };
        let (sport, dport) = ipv4.transport.ports().unwrap_or((0, 0));
        let from =
            Tuple { src: Endpoint::new(ipv4.src, sport), dst: Endpoint::new(ipv4.dst, dport) };
        let to = Tuple { src: Endpoint::new(before.src, before.sport), ..from };
        let macs = (frame.headers.src, frame.headers.dst);
        let rewrite = Rewrite::new(ipv4.protocol, from, to, macs).keeping_ttl();
        rewrite.apply(bytes, &ipv4, Some(before.id), !offload.is_none());
        let headers = Headers::parse(bytes).unwrap_or(frame.headers);
        let network = self.port(frame.port).map_or(frame.network, |port| port.network);
        Frame { network, headers, origin: Origin::Owned, ..*frame }
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
        self.nat.open(pass.now, &opening).map_err(|reason| self.exhausted(pass.now, key, reason))
    }

    /// The network in which a looped packet arrives.
    pub(super) fn looped_network(&self) -> Option<NetworkId> {
        self.interfaces.outside().map(|outside| outside.network)
    }
}
