//! A packet without a cached flow: decide in readable order, write only at the end.

use super::adjacency::Adjacency;
use super::pipeline::{Flow, Frame, Verdict, wire_len};
use super::plan::{Path, Plan, SourceKind};
use super::{Engine, Event, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::NetworkId;
use crate::nat::{Destination, Direction, HopRef, Opening, Rewrite, Source, Tuple};
use crate::packet::icmp::IcmpError;
use crate::packet::{ETHERNET_HEADER, FlowKey, Ipv4, Transport};
use crate::route::{Interface, is_martian_destination, is_martian_source};
use crate::switch::FdbKey;
use crate::time::Instant;

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

impl Engine {
    /// Decides about an admitted packet; `flow` spares looking it up again.
    pub(super) fn slow_path(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        flow: Option<Flow<'_>>,
    ) -> Verdict {
        if self.is_dhcp(frame.network, ipv4) {
            // Before the addresses are judged: a client without one is nobody yet.
            return self.dhcp(pass, frame);
        }
        let is_looped = frame.origin.is_looped();
        let outcome = if let Err(reason) = self.check_addresses(frame, ipv4)
            && !is_looped
        {
            Err(Stop::Drop(reason))
        } else if self.is_encapsulated(frame, ipv4) {
            return self.take_encapsulated(pass, frame);
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
            self.forward_flow(pass, frame, ipv4, flow)
        };
        match outcome {
            Ok(verdict) => verdict,
            Err(stop) => self.stop(pass, frame, stop),
        }
    }

    /// What a stop means for the frame.
    pub(super) fn stop(&mut self, pass: &mut Pass<'_>, frame: &Frame, stop: Stop) -> Verdict {
        match stop {
            Stop::Local => {
                let frame = self.unloop(pass, frame);
                self.local(pass, &frame)
            }
            Stop::Hold(neighbour) => {
                self.neighbours.hold(neighbour, frame.to_held(pass));
                Verdict::Held
            }
            Stop::Drop(reason) => Verdict::Dropped(reason),
            Stop::Report(reason, error) => {
                let frame = &self.unloop(pass, frame);
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
        flow: Option<Flow<'_>>,
    ) -> Result<Verdict, Stop> {
        let plan = self.plan(pass, frame, ipv4, flow)?;
        let (rewrite, session) = self.commit(pass, frame, &plan)?;
        self.remember(&plan, session);
        let wants_id = rewrite.wants_new_id(ipv4);
        let (bytes, offload) = pass.tx.view_mut(frame.at, pass.burst);
        let fits = wire_len(bytes.len(), offload) <= usize::from(plan.path.mtu);
        if offload.is_super() && (wants_id || !fits) {
            return Ok(self.forward_segments(pass, frame, &rewrite, &plan.path));
        }
        let id = wants_id.then(|| self.nat.next_ip_id());
        rewrite.apply(bytes, ipv4, id, !offload.is_none());
        let size = (bytes.len(), ETHERNET_HEADER as u8, offload);
        Ok(if fits {
            self.emit_whole(pass, (frame.at, size), &plan.path)
        } else {
            self.emit(pass, frame, &plan.path)
        })
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
            hash: plan.hash,
            is_from_inside: plan.is_from_inside,
            is_looped: plan.is_looped,
            tcp_flags: plan.tcp_flags,
        };
        self.nat.open(pass.now, &opening).map_err(|reason| match reason {
            DropReason::Filtered => Stop::Drop(reason),
            _ => self.exhausted(pass.now, &plan.key, reason),
        })
    }

    /// What it means for a packet that its session found no room.
    pub(super) fn exhausted(&mut self, now: Instant, key: &FlowKey, reason: DropReason) -> Stop {
        let (network, host) = (key.network, key.src);
        self.tell(now, Event::Exhausted { network, host });
        if self.is_inside(network) {
            Stop::Report(reason, IcmpError::Prohibited)
        } else {
            Stop::Drop(reason)
        }
    }

    /// Notes the way of this direction for the packets that follow, if its port is known.
    fn remember(&mut self, plan: &Plan, session: Option<(u32, Direction)>) {
        let Some(hop) = self.hop(&plan.path) else { return };
        match session {
            Some((index, direction)) => self.nat.set_hop(index, direction, hop),
            None => self.flows.insert(plan.key, plan.hash, hop),
        }
    }

    fn hop(&mut self, path: &Path) -> Option<HopRef> {
        let Path { macs, neighbour, mtu, .. } = *path;
        if path.hop.is_some() {
            return path.hop;
        }
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

    pub(super) fn is_inside(&self, network: NetworkId) -> bool {
        self.interfaces.get(network).is_none_or(|interface| !interface.is_outside)
    }
}
