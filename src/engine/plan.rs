//! The decision about a packet with ports: session or destination, policy, route, neighbour. It
//! changes nothing but neighbour states.

use std::net::Ipv4Addr;

use super::pipeline::{Flow, Frame};
use super::slow_path::Stop;
use super::{Engine, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::{Destination, Direction, Endpoint, HopRef, NatMode};
use crate::packet::icmp::IcmpError;
use crate::packet::{FlowKey, Ipv4, MacAddr, Transport};
use crate::policy::Crossing;
use crate::route::{Interface, NextHop, Resolution};
use crate::switch::FdbKey;

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
    /// The same as flows remember it, if some flow does.
    pub hop: Option<HopRef>,
}

/// A decision about a packet with ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub path: Path,
    pub key: FlowKey,
    /// The hash of the key.
    pub hash: u64,
    pub(super) session: Option<(u32, Direction)>,
    /// The session to be made, but for what borrows: its destination and way of translation.
    pub(super) opening: Option<(Destination, SourceKind)>,
    pub(super) tcp_flags: u8,
    pub(super) is_from_inside: bool,
    pub(super) is_looped: bool,
}

/// [`Source`](crate::nat::Source) without its borrow.
#[derive(Clone, Copy, Debug)]
pub(super) enum SourceKind {
    Keep,
    Masquerade(NatMode),
    Gateway(Ipv4Addr),
}

impl Engine {
    /// Session or destination, policy, route, neighbour. Changes nothing but neighbour states.
    pub(super) fn plan(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        flow: Option<Flow<'_>>,
    ) -> Result<Plan, Stop> {
        let truncated = Stop::Drop(DropReason::TransportTruncated);
        let key = ipv4.datagram_key(frame.network).ok_or(truncated)?;
        let Flow { hash, session, .. } = flow.unwrap_or_else(|| self.look_up(&key));
        let is_owned = self.interfaces.owner_of(key.dst).is_some();
        let destination = match session {
            Some(_) => Destination::Plain,
            None => self.nat.destination(&key, is_owned),
        };
        let inside = self.nat.inside_of(destination);
        let to = match session.and_then(|(index, way)| Some((self.nat.session(index)?, way))) {
            Some((session, way)) => session.translated(way).dst,
            None => inside.map_or(Endpoint::new(key.dst, key.dport), |(_, at)| at),
        };
        if session.is_none() && inside.is_none() && is_owned {
            return Err(Stop::Local);
        }
        let no_route = Stop::Report(DropReason::NoRoute, IcmpError::NetworkUnreachable);
        let hop = self.fib.lookup(to.ip).ok_or(no_route)?;
        if self.is_inside(frame.network) && self.is_vtep_of_peer(key.protocol, to) {
            return Err(Stop::Drop(DropReason::VxlanFromInside));
        }
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
        let is_looped = frame.origin.is_looped();
        Ok(Plan { path, key, hash, session, opening, tcp_flags, is_from_inside, is_looped })
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
        let is_internal = |id| self.network(id).is_some_and(|network| network.is_internal);
        Crossing {
            from_outside,
            to_outside,
            same_network: ingress == egress,
            is_isolated: self.network(ingress).is_some_and(|network| !network.icc),
            is_internal: is_internal(ingress) || is_internal(egress),
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
        match self.resolve_for(pass.now, hop.network, hop.address, frame.port) {
            Resolution::Known(to, neighbour) => {
                if let Some(path) = self.known_path(hop.network, neighbour) {
                    check_size(ipv4, wire_len, path.mtu)?;
                    return Ok(path);
                }
                // The port behind the MAC may take less than its network.
                let place = self.fdb.slot(pass.now, FdbKey::new(hop.network, to));
                let port = place.and_then(|(_, port)| self.port(port));
                let of_port = port.map_or(mtu, |port| port.mtu);
                let mtu = mtu.min(of_port);
                check_size(ipv4, wire_len, mtu)?;
                let macs = (mac, to);
                Ok(Path { egress: hop.network, macs, neighbour, place, mtu, hop: None })
            }
            Resolution::Pending(index) => Err(Stop::Hold(index)),
            Resolution::Full => Err(Stop::Drop(DropReason::NeighbourTableFull)),
        }
    }

    /// The path to a neighbour if flows go there already and it still holds.
    fn known_path(&self, egress: NetworkId, neighbour: u32) -> Option<Path> {
        let way = self.adjacencies.of(neighbour)?;
        let holds = way.epoch == self.epoch
            && way.generation == self.neighbours.generation(neighbour)
            && self.fdb.is_at(way.fdb_slot, way.fdb_key, way.egress);
        holds.then_some(Path {
            egress,
            macs: way.macs,
            neighbour,
            place: Some((way.fdb_slot, way.egress)),
            mtu: way.mtu,
            hop: Some(HopRef { neighbour, stamp: way.stamp }),
        })
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
