//! A packet of a known flow: one look-up, one rewrite, the checks that a hit still makes.

use super::pipeline::{Flow, Miss, Packet, Verdict, wire_len};
use super::{Engine, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::nat::{Rewrite, Tuple};
use crate::packet::{ETHERNET_HEADER, IPV4_HEADER, Ipv4, Offload, array, checksum, ipv4};
use crate::time::Instant;

impl Engine {
    /// Sends a packet the way its flow is known to go.
    ///
    /// # Errors
    /// Why it does not go so.
    #[inline(always)]
    pub(super) fn forward_known(
        &mut self,
        pass: &mut Pass<'_>,
        packet: &Packet<'_>,
    ) -> Result<Verdict, Miss> {
        let Packet { at, ipv4, .. } = *packet;
        let (bytes, offload) = pass.tx.view_mut(at, pass.burst);
        // What lies behind the total length is Ethernet padding and ends here.
        let received = bytes.len();
        let len = received.min(ETHERNET_HEADER + usize::from(ipv4.total_len));
        let egress = self.rewrite_known(pass.now, bytes, (packet, offload));
        if len < received {
            pass.tx.truncate(at, pass.burst, len);
        }
        let egress = egress?;
        self.report(pass.now, packet.port, Tier::FlowHit);
        Ok(match self.send_sized(pass, at, egress, (len, ETHERNET_HEADER as u8, offload)) {
            Ok(()) => Verdict::Forwarded,
            Err(reason) => Verdict::Dropped(reason),
        })
    }

    /// Rewrites a packet of a flow whose way is known; gives the port it leaves by.
    ///
    /// # Errors
    /// As [`Engine::forward_known`]; nothing has changed then.
    #[inline(always)]
    fn rewrite_known(
        &mut self,
        now: Instant,
        bytes: &mut [u8],
        (packet, offload): (&Packet<'_>, Offload),
    ) -> Result<PortId, Miss> {
        let ipv4 = packet.ipv4;
        check_header(bytes, ipv4).map_err(Miss::Drop)?;
        let Flow { key, hash, session } = packet.flow.ok_or(Miss::Anew(None))?;
        let session = self.nat.find_guessed(key, hash, session);
        let miss = Miss::Anew(session);
        let known = session.and_then(|(index, way)| Some((self.nat.session(index)?, way)));
        let hop = match known {
            Some((session, direction)) => session.hop(direction),
            None => self.flows.find(key, hash).ok_or(miss)?,
        };
        let way = self.adjacencies.get(hop).ok_or(miss)?;
        let wants_id = ipv4.is_or_may_be_fragmented()
            && known.is_some_and(|(session, direction)| session.gives_new_source(direction));
        let is_too_large = if offload.is_super() {
            // Each of its segments wants an identification of its own.
            wants_id || wire_len(bytes.len(), offload) > usize::from(way.mtu)
        } else {
            ipv4.total_len > way.mtu
        };
        let holds = way.epoch == self.epoch
            && self.fdb.is_at(way.fdb_slot, way.fdb_key, way.egress)
            && ipv4.ttl > 1
            && !is_too_large
            && self.neighbours.pass(now, hop.neighbour, way.generation);
        if !holds {
            return Err(miss);
        }
        if let Some((index, direction)) = session {
            self.nat.track(now, index, direction, ipv4.transport.tcp_flags());
        }
        let id = wants_id.then(|| self.nat.next_ip_id());
        let known = session.and_then(|(index, way)| Some((self.nat.session(index)?, way)));
        let rewrite = match known {
            Some((session, direction)) => session.rewrite(direction, way.macs),
            None => Rewrite::plain(ipv4.protocol, Tuple::from(*key), way.macs),
        };
        rewrite.apply(bytes, ipv4, id, !offload.is_none());
        Ok(way.egress)
    }
}

/// The header checksum, and the options that a router must look at.
#[inline(always)]
fn check_header(frame: &[u8], ipv4: &Ipv4) -> Result<(), DropReason> {
    if usize::from(ipv4.header_len) != IPV4_HEADER {
        return check_options(frame, ipv4);
    }
    match array::<IPV4_HEADER>(frame, ETHERNET_HEADER) {
        Some(header) if checksum::header_is_valid(&header) => Ok(()),
        _ => Err(DropReason::Ipv4Checksum),
    }
}

#[inline(never)]
fn check_options(frame: &[u8], ipv4: &Ipv4) -> Result<(), DropReason> {
    let packet = frame.get(ETHERNET_HEADER..).unwrap_or_default();
    let header = packet.get(..usize::from(ipv4.header_len)).unwrap_or_default();
    if !checksum::is_valid(header) {
        return Err(DropReason::Ipv4Checksum);
    }
    if ipv4::has_source_route(header) {
        return Err(DropReason::Ipv4SourceRoute);
    }
    Ok(())
}
