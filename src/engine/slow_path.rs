//! A packet without a cached flow: decide in readable order, write only at the end.

use std::net::Ipv4Addr;

use super::adjacency::Adjacency;
use super::pipeline::{Frame, Verdict};
use super::{Engine, Event, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::{Destination, Direction, HopRef, NatMode, Opening, Rewrite, Source, Tuple};
use crate::packet::icmp::IcmpError;
use crate::packet::{
    ETHERNET_HEADER, FlowKey, Headers, Ipv4, Layer, MacAddr, Origin, Transport, fragment, ipv4,
};
use crate::policy::Crossing;
use crate::route::{Interface, NextHop, Resolution, is_martian_destination, is_martian_source};
use crate::switch::FdbKey;

/// Why a packet does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is for tapway itself.
    Local,
    /// It waits for the neighbour at this index.
    Hold(u32),
    /// It ends.
    Drop(DropReason),
    /// It ends, and its sender may be told.
    Report(DropReason, IcmpError),
}

/// Where a packet goes: everything but the translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// The network it leaves by.
    pub egress: NetworkId,
    /// MACs of its next Ethernet header: source, destination.
    pub macs: (MacAddr, MacAddr),
    /// The neighbour entry behind the destination MAC.
    pub neighbour: u32,
    /// Where the FDB has the destination MAC: slot and port; none: packets are flooded.
    pub place: Option<(u32, PortId)>,
    /// Largest packet on that network.
    pub mtu: u16,
}

/// A decision about a packet with ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub path: Path,
    pub key: FlowKey,
    session: Option<(u32, Direction)>,
    /// The session to be made, but for what borrows: its destination and way of translation.
    opening: Option<(Destination, SourceKind)>,
    tcp_flags: u8,
    is_from_inside: bool,
    is_looped: bool,
}

/// [`Source`] without its borrow.
#[derive(Clone, Copy, Debug)]
enum SourceKind {
    Keep,
    Masquerade(NatMode),
    Gateway(Ipv4Addr),
}

impl Path {
    /// True if a packet, or the largest segment of a super-frame, needs no fragmenting.
    fn fits(&self, pass: &Pass<'_>, frame: &Frame) -> bool {
        frame.wire_len(pass) <= usize::from(self.mtu)
    }
}

impl Engine {
    /// Decides about an admitted packet.
    pub(super) fn slow_path(&mut self, pass: &mut Pass<'_>, frame: &Frame, ipv4: &Ipv4) -> Verdict {
        let is_looped = frame.origin == Origin::Looped;
        let outcome = if let Err(reason) = self.check_addresses(frame, ipv4)
            && !is_looped
        {
            Err(Stop::Drop(reason))
        } else if let Some(hand_over) = self.foreign_owner(pass, frame, ipv4) {
            return self.hand_over(pass, hand_over);
        } else if ipv4.is_fragment() {
            return self.fragment(pass, frame, ipv4);
        } else if ipv4.transport == Transport::IcmpError {
            self.icmp_error(pass, frame, ipv4)
        } else if let Some(hand_over) = self.asks_first(frame, ipv4) {
            return self.hand_over(pass, hand_over);
        } else if let Some(to) = self.loop_of(frame, ipv4) {
            self.forward_looped(pass, frame, ipv4, (to, None)).map(|(verdict, _)| verdict)
        } else {
            self.forward_flow(pass, frame, ipv4)
        };
        match outcome {
            Ok(verdict) => verdict,
            Err(stop) => self.stop(pass, frame, stop),
        }
    }

    /// What a stop means for the frame.
    pub(super) fn stop(&mut self, pass: &mut Pass<'_>, frame: &Frame, stop: Stop) -> Verdict {
        match stop {
            Stop::Local => self.local(pass, frame),
            Stop::Hold(neighbour) => {
                self.neighbours.hold(neighbour, frame.to_held(pass));
                Verdict::Held
            }
            Stop::Drop(reason) => Verdict::Dropped(reason),
            Stop::Report(reason, error) => {
                self.report_error(pass, frame, error);
                Verdict::Dropped(reason)
            }
        }
    }

    /// Martians, packets to many, and sources that cannot be where the packet came from.
    fn check_addresses(&self, frame: &Frame, ipv4: &Ipv4) -> Result<(), DropReason> {
        if is_martian_source(ipv4.src) {
            return Err(DropReason::MartianSource);
        }
        if ipv4.dst.is_broadcast() || self.interfaces.is_directed_broadcast(ipv4.dst) {
            return Err(DropReason::BroadcastNotRouted);
        }
        if ipv4.dst.is_multicast() {
            return Err(DropReason::MulticastNotRouted);
        }
        if is_martian_destination(ipv4.dst) {
            return Err(DropReason::MartianDestination);
        }
        if self.interfaces.owner_of(ipv4.src).is_some() {
            return Err(DropReason::OwnAddressAsSource);
        }
        let is_outside = self.interfaces.get(frame.network).is_some_and(|i| i.is_outside);
        match self.fib.lookup(ipv4.src) {
            Some(back) if back.network != frame.network => Err(DropReason::ReversePath),
            None if !is_outside => Err(DropReason::ReversePath),
            _ => Ok(()),
        }
    }

    fn forward_flow(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Result<Verdict, Stop> {
        let plan = self.plan(pass, frame, ipv4)?;
        let (rewrite, session) = self.commit(pass, frame, &plan)?;
        self.remember(&plan, session);
        let is_super = pass.tx.offload(frame.at, pass.burst).is_super();
        if is_super && (rewrite.wants_new_id(ipv4) || !plan.path.fits(pass, frame)) {
            return Ok(self.forward_segments(pass, frame, &rewrite, &plan.path));
        }
        Ok(self.rewrite_and_emit(pass, frame, ipv4, (&rewrite, &plan.path)))
    }

    /// Forwards a super-frame segment by segment: each is to be fragmented, or wants an
    /// identification of its own.
    fn forward_segments(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        rewrite: &Rewrite,
        path: &Path,
    ) -> Verdict {
        let mut segments = Vec::new();
        let view = pass.tx.view(frame.at, pass.burst);
        // All or nothing, and never what other hosts' answers need.
        if !pass.tx.has_room_for_segments(view.offload.segments(view.bytes.len())) {
            return Verdict::Dropped(DropReason::EgressQueueFull);
        }
        view.for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
        let mut verdict = Verdict::Dropped(DropReason::EgressQueueFull);
        for segment in segments {
            let Ok(at) = pass.tx.generate(&[&segment]) else {
                return Verdict::Dropped(DropReason::EgressQueueFull);
            };
            let Ok(headers) = Headers::parse(&segment) else { continue };
            let Layer::Ipv4(ipv4) = headers.layer else { continue };
            self.totals.generated += 1;
            verdict = self.rewrite_and_emit(pass, &Frame { at, ..*frame }, &ipv4, (rewrite, path));
        }
        verdict
    }

    fn rewrite_and_emit(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (rewrite, path): (&Rewrite, &Path),
    ) -> Verdict {
        let id = rewrite.wants_new_id(ipv4).then(|| self.nat.next_ip_id());
        let is_partial = !pass.tx.offload(frame.at, pass.burst).is_none();
        rewrite.apply(pass.tx.frame_mut(frame.at, pass.burst), ipv4, id, is_partial);
        self.emit(pass, frame, path)
    }

    /// Session or destination, policy, route, neighbour. Changes nothing but neighbour states.
    pub(super) fn plan(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Result<Plan, Stop> {
        let key =
            ipv4.datagram_key(frame.network).ok_or(Stop::Drop(DropReason::TransportTruncated))?;
        let session = self.nat.find(&key);
        let is_owned = self.interfaces.owner_of(key.dst).is_some();
        let destination = match session {
            Some(_) => Destination::Plain,
            None => self.nat.destination(&key, is_owned),
        };
        let inside = self.nat.inside_of(destination);
        let to = match session.and_then(|(index, way)| Some((self.nat.session(index)?, way))) {
            Some((session, way)) => session.translated(way).dst.ip,
            None => inside.map_or(key.dst, |(_, at)| at.ip),
        };
        if session.is_none() && inside.is_none() && is_owned {
            return Err(Stop::Local);
        }
        let no_route = Stop::Report(DropReason::NoRoute, IcmpError::NetworkUnreachable);
        let hop = self.fib.lookup(to).ok_or(no_route)?;
        if inside.is_some_and(|(network, _)| network != hop.network) {
            // A published host must never be looked for elsewhere, least of all outside.
            let is_routed = inside.is_some_and(|(id, _)| self.interfaces.get(id).is_some());
            let reason = if is_routed { DropReason::NoRoute } else { DropReason::NoGateway };
            return Err(Stop::Drop(reason));
        }
        let opening = match session {
            Some(_) => None,
            None => self.opening(frame.network, hop.network, &key, destination)?,
        };
        if opening.is_some() && matches!(ipv4.transport, Transport::Query { reply: true, .. }) {
            // Only a query makes a session (RFC 5508 REQ-1).
            return Err(Stop::Drop(DropReason::NoSession));
        }
        let path = self.path(pass, frame, ipv4, hop)?;
        let tcp_flags = match ipv4.transport {
            Transport::Tcp { flags, .. } => flags,
            _ => 0,
        };
        if session.is_some() {
            self.report(pass.now, frame.port, Tier::Session);
        }
        let is_from_inside = self.is_inside(frame.network);
        let is_looped = frame.origin == Origin::Looped;
        Ok(Plan { path, key, session, opening, tcp_flags, is_from_inside, is_looped })
    }

    /// Whether a packet without a session may pass, and what session it makes.
    fn opening(
        &self,
        ingress: NetworkId,
        egress: NetworkId,
        key: &FlowKey,
        destination: Destination,
    ) -> Result<Option<(Destination, SourceKind)>, Stop> {
        let from_outside = !self.is_inside(ingress);
        let to_outside = !self.is_inside(egress);
        let is_translated = destination != Destination::Plain;
        let (inside, remote) = if from_outside { (egress, key.src) } else { (ingress, key.dst) };
        let mode = self
            .network(inside)
            .map_or(NatMode::None, |network| network.nat.mode(key.protocol, remote));
        Crossing {
            from_outside,
            to_outside,
            same_network: ingress == egress,
            is_isolated: self.network(ingress).is_some_and(|network| !network.icc),
            is_translated,
            is_routed: mode == NatMode::None,
        }
        .check()
        .map_err(Stop::Drop)?;
        let reaches_itself =
            self.nat.inside_of(destination).is_some_and(|(_, at)| at.ip == key.src);
        let source = match destination {
            Destination::Plain if !from_outside && to_outside && mode != NatMode::None => {
                SourceKind::Masquerade(mode)
            }
            Destination::Plain => return Ok(None),
            Destination::Mapping(_) if !from_outside => SourceKind::Masquerade(match mode {
                NatMode::None => NatMode::default(),
                mode => mode,
            }),
            _ if reaches_itself => match self.interfaces.get(ingress) {
                Some(interface) => SourceKind::Gateway(interface.address),
                None => SourceKind::Keep,
            },
            _ => SourceKind::Keep,
        };
        Ok(Some((destination, source)))
    }

    /// TTL, MTU and the next hop's MAC.
    pub(super) fn path(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        hop: NextHop,
    ) -> Result<Path, Stop> {
        let no_route = Stop::Report(DropReason::NoRoute, IcmpError::NetworkUnreachable);
        let Interface { mac, mtu, .. } = *self.interfaces.get(hop.network).ok_or(no_route)?;
        if ipv4.ttl <= 1 {
            return Err(Stop::Report(DropReason::TtlExceeded, IcmpError::TtlExceeded));
        }
        let wire_len = frame.wire_len(pass);
        check_size(ipv4, wire_len, mtu)?;
        match self.neighbours.resolve(pass.now, hop.network, hop.address, frame.port) {
            Resolution::Known(to, neighbour) => {
                // The port behind the MAC may take less than its network.
                let place = self.fdb.slot(pass.now, FdbKey::new(hop.network, to));
                let port = place.and_then(|(_, port)| self.port(port));
                let of_port = port.map_or(mtu, |port| port.mtu);
                let mtu = mtu.min(of_port);
                check_size(ipv4, wire_len, mtu)?;
                Ok(Path { egress: hop.network, macs: (mac, to), neighbour, place, mtu })
            }
            Resolution::Pending(index) => Err(Stop::Hold(index)),
            Resolution::Full => Err(Stop::Drop(DropReason::NeighbourTableFull)),
        }
    }

    /// Makes or refreshes the session and compiles the rewrite of this direction.
    pub(super) fn commit(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        plan: &Plan,
    ) -> Result<(Rewrite, Option<(u32, Direction)>), Stop> {
        let session = match (plan.session, plan.opening) {
            (Some((index, way)), _) => {
                self.nat.track(pass.now, index, way, plan.tcp_flags);
                Some((index, way))
            }
            (None, Some((destination, source))) => {
                let index = self.open(pass, plan, destination, source)?;
                self.report(pass.now, frame.port, Tier::NewSession);
                Some((index, Direction::Original))
            }
            (None, None) => None,
        };
        let known = session.and_then(|(index, way)| Some((self.nat.session(index)?, way)));
        let Some((record, direction)) = known else {
            let plain = Rewrite::plain(plan.key.protocol, Tuple::from(plan.key), plan.path.macs);
            return Ok((plain, session));
        };
        // The far filter does not admit it yet, but it is outbound traffic: its own mapping was
        // refreshed (RFC 4787 REQ-6).
        if record.awaits_reply() {
            return Err(Stop::Drop(DropReason::Filtered));
        }
        Ok((record.rewrite(direction, plan.path.macs), session))
    }

    fn open(
        &mut self,
        pass: &mut Pass<'_>,
        plan: &Plan,
        destination: Destination,
        source: SourceKind,
    ) -> Result<u32, Stop> {
        let egress = self.interfaces.get(plan.path.egress);
        let outside = egress.filter(|egress| egress.is_outside).or(self.interfaces.outside());
        let source = match source {
            SourceKind::Keep => Source::Keep,
            SourceKind::Gateway(address) => Source::Gateway(address),
            SourceKind::Masquerade(mode) => {
                Source::Masquerade(mode, outside.map_or(&[], Interface::external))
            }
        };
        let opening = Opening {
            key: plan.key,
            destination,
            source,
            egress: plan.path.egress,
            is_from_inside: plan.is_from_inside,
            is_looped: plan.is_looped,
            tcp_flags: plan.tcp_flags,
        };
        self.nat.open(pass.now, &opening).map_err(|reason| {
            let host = plan.key.src;
            match reason {
                DropReason::Filtered => Stop::Drop(reason),
                _ => {
                    self.tell(pass.now, Event::Exhausted { network: plan.key.network, host });
                    if plan.is_from_inside {
                        Stop::Report(reason, IcmpError::Prohibited)
                    } else {
                        Stop::Drop(reason)
                    }
                }
            }
        })
    }

    /// Notes the way of this direction for the packets that follow, if its port is known.
    fn remember(&mut self, plan: &Plan, session: Option<(u32, Direction)>) {
        let Some(hop) = self.hop(&plan.path) else { return };
        match session {
            Some((index, direction)) => self.nat.set_hop(index, direction, hop),
            None => self.flows.insert(plan.key, self.nat.hash(&plan.key), hop),
        }
    }

    fn hop(&mut self, path: &Path) -> Option<HopRef> {
        let Path { macs, neighbour, mtu, .. } = *path;
        let (fdb_slot, egress) = path.place?;
        let fdb_key = FdbKey::new(path.egress, macs.1);
        let way = Adjacency {
            epoch: self.epoch,
            generation: self.neighbours.generation(neighbour),
            fdb_slot,
            fdb_key,
            macs,
            egress,
            mtu,
            ..Adjacency::default()
        };
        Some(self.adjacencies.enter(neighbour, way))
    }

    /// Sends a rewritten frame on its path: in one piece or in fragments, to the port of its
    /// MAC or, if that is unknown, to all of the network.
    pub(super) fn emit(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        if path.fits(pass, frame) {
            return self.emit_piece(pass, frame, path);
        }
        pass.tx.complete(frame.at, pass.burst);
        let bytes = pass.tx.frame(frame.at, pass.burst);
        let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        let mut pieces = Vec::new();
        fragment::fragment(packet, usize::from(path.mtu), |piece| pieces.push(piece.to_vec()));
        let ethernet = ipv4::ethernet(path.macs.1, path.macs.0);
        let mut verdict = Verdict::Dropped(DropReason::FragmentationNeeded);
        for piece in pieces {
            let Ok(at) = pass.tx.generate(&[&ethernet, &piece]) else {
                return Verdict::Dropped(DropReason::EgressQueueFull);
            };
            self.totals.generated += 1;
            verdict = self.emit_piece(pass, &Frame { at, ..*frame }, path);
        }
        verdict
    }

    fn emit_piece(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        let l3 = ETHERNET_HEADER as u8;
        if let Some((_, port)) = path.place {
            return match self.send(pass, frame.at, port, l3) {
                Ok(()) => Verdict::Forwarded,
                Err(reason) => Verdict::Dropped(reason),
            };
        }
        let members = self
            .network(path.egress)
            .map_or_else(Vec::new, |network| network.bridge.ports().to_vec());
        let mut verdict = Verdict::Dropped(DropReason::NoOtherPort);
        for port in members {
            match self.send(pass, frame.at, port, l3) {
                Ok(()) => verdict = Verdict::Flooded,
                Err(reason) if verdict != Verdict::Flooded => verdict = Verdict::Dropped(reason),
                Err(_) => {}
            }
        }
        verdict
    }

    pub(super) fn is_inside(&self, network: NetworkId) -> bool {
        self.interfaces.get(network).is_none_or(|interface| !interface.is_outside)
    }
}

/// A packet that may not be cut must fit, and so must the segments of a super-frame.
fn check_size(ipv4: &Ipv4, wire_len: usize, mtu: u16) -> Result<(), Stop> {
    if wire_len > usize::from(mtu) && ipv4.dont_fragment {
        let error = IcmpError::FragmentationNeeded { mtu };
        return Err(Stop::Report(DropReason::FragmentationNeeded, error));
    }
    Ok(())
}
