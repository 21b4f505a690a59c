//! ICMP errors from elsewhere: those about a session are translated, outside and quote.

use super::pipeline::{Frame, Verdict};
use super::slow_path::Stop;
use super::{Engine, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::nat::{Direction, NatMode, Quote};
use crate::packet::{BeforeLoop, Delta, ETHERNET_HEADER, HandOver, Ipv4, Origin, icmp, ipv4, put};

impl Engine {
    /// True if an ICMP error quotes a packet of a session.
    pub(super) fn is_error_of_session(&self, pass: &Pass<'_>, frame: &Frame, ipv4: &Ipv4) -> bool {
        let bytes = pass.tx.frame(frame.at, pass.burst);
        let end = ETHERNET_HEADER + usize::from(ipv4.total_len);
        let packet = bytes.get(ETHERNET_HEADER..end).unwrap_or_default();
        Quote::parse(packet, usize::from(ipv4.header_len))
            .is_ok_and(|quote| self.nat.find(&quote.key(frame.network)).is_some())
    }

    /// Passes on an ICMP error (RFC 5508 REQ-4, REQ-5). It neither refreshes nor ends a session.
    pub(super) fn icmp_error(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Result<Verdict, Stop> {
        let is_hosts = self.is_hosts_own(frame, ipv4);
        let bytes = pass.tx.frame(frame.at, pass.burst);
        let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        if packet.get(usize::from(ipv4.header_len)) == Some(&icmp::REDIRECT) {
            // Advice to the sender on this link, which is tapway; nobody behind it may get it.
            return Err(Stop::Drop(DropReason::LocalProtocol));
        }
        let quote = Quote::parse(packet, usize::from(ipv4.header_len)).map_err(Stop::Drop)?;
        match self.nat.find(&quote.key(frame.network)) {
            Some(found) => self.translate_error(pass, frame, ipv4, (quote, found)),
            None if self.is_error_of_tunnel(pass, frame, (ipv4, &quote)) => Ok(Verdict::Local),
            None if is_hosts => Err(Stop::Drop(DropReason::HostsOwn)),
            None => self.forward_plain_error(pass, frame, ipv4),
        }
    }

    fn translate_error(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (quote, (index, way)): (Quote, (u32, Direction)),
    ) -> Result<Verdict, Stop> {
        let unmatched = Stop::Drop(DropReason::IcmpErrorUnmatched);
        let session = self.nat.session(index).ok_or(unmatched)?;
        let (key, to) = (session.key(way), session.translated(way));
        // A router inside must not show its address outside (RFC 5508 REQ-5).
        let src = if key.src == to.src.ip { ipv4.src } else { to.src.ip };
        if let Some(owner) = self.loops_to(key.protocol, to.dst) {
            // About a packet that came looping back goes the same way, in two passes. Nobody is
            // told what becomes of an error.
            let before = BeforeLoop { src: ipv4.src, sport: 0, id: ipv4.id };
            let bytes = pass.tx.frame_mut(frame.at, pass.burst);
            if let Some(packet) = bytes.get_mut(ETHERNET_HEADER..) {
                quote.translate(packet, to.reversed(), (src, to.dst.ip));
            }
            let (frame, port) = (frame.at, frame.port);
            let looped = HandOver { to: owner, frame, port, origin: Origin::Looped(before) };
            return Ok(self.hand_over(pass, looped));
        }
        let hop = self.fib.lookup(to.dst.ip).ok_or(unmatched)?;
        let path = self.path(pass, frame, ipv4, hop)?;
        let bytes = pass.tx.frame_mut(frame.at, pass.burst);
        put(bytes, 0, &path.macs.1.0);
        put(bytes, 6, &path.macs.0.0);
        if let Some(packet) = bytes.get_mut(ETHERNET_HEADER..) {
            quote.translate(packet, to.reversed(), (src, to.dst.ip));
            ipv4::decrement_ttl(packet, Delta::NONE);
        }
        self.report(pass.now, frame.port, Tier::IcmpError);
        Ok(self.emit(pass, frame, &path))
    }

    /// An error about a packet of no session: passes where nothing is translated.
    fn forward_plain_error(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Result<Verdict, Stop> {
        let unmatched = Stop::Drop(DropReason::IcmpErrorUnmatched);
        if self.interfaces.owner_of(ipv4.dst).is_some() {
            return Err(unmatched);
        }
        let hop = self.fib.lookup(ipv4.dst).ok_or(unmatched)?;
        let from_inside = self.is_inside(frame.network);
        let crosses = from_inside != self.is_inside(hop.network);
        let (inside, remote) =
            if from_inside { (frame.network, ipv4.dst) } else { (hop.network, ipv4.src) };
        let is_translated = self
            .network(inside)
            .is_some_and(|network| network.nat.mode(ipv4.protocol, remote) != NatMode::None);
        let isolated = self.network(frame.network).is_some_and(|network| !network.icc);
        let is_local = from_inside && frame.network == hop.network && !isolated;
        if !(is_local || crosses && !is_translated) {
            return Err(unmatched);
        }
        let path = self.path(pass, frame, ipv4, hop)?;
        let bytes = pass.tx.frame_mut(frame.at, pass.burst);
        put(bytes, 0, &path.macs.1.0);
        put(bytes, 6, &path.macs.0.0);
        if let Some(packet) = bytes.get_mut(ETHERNET_HEADER..) {
            ipv4::decrement_ttl(packet, Delta::NONE);
        }
        Ok(self.emit(pass, frame, &path))
    }
}
