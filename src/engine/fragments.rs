//! Fragments: the first decides, the others follow; those for tapway itself are put together.

use super::pipeline::{Frame, Verdict};
use super::slow_path::Stop;
use super::{Engine, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::WorkerId;
use crate::local;
use crate::nat::{DatagramKey, Endpoint, Expired, FragmentDecision, Rewrite, Tuple};
use crate::packet::icmp::IcmpError;
use crate::packet::{
    ETHERNET_HEADER, HandOver, Headers, Ipv4, Layer, Origin, PROTOCOL_TCP, Transport,
};
use crate::switch::FdbKey;

/// A TCP fragment at this offset could overwrite the header's flags (RFC 1858 section 4).
const OVERLAPS_TCP_HEADER: u16 = 8;

impl Engine {
    pub(super) fn fragment(&mut self, pass: &mut Pass<'_>, frame: &Frame, ipv4: &Ipv4) -> Verdict {
        let key = DatagramKey::new(frame.network, ipv4);
        if ipv4.fragment_offset == 0 {
            return self.first_fragment(pass, frame, ipv4, key);
        }
        if ipv4.protocol == PROTOCOL_TCP && ipv4.fragment_offset == OVERLAPS_TCP_HEADER {
            return Verdict::Dropped(DropReason::FragmentTooSmall);
        }
        match self.fragments.decision(&key) {
            Some(FragmentDecision::Drop(reason)) => Verdict::Dropped(reason),
            Some(FragmentDecision::Local) => self.local_fragment(pass, frame, key),
            Some(FragmentDecision::HandOver(to)) => self.hand_on(pass, frame, to),
            Some(FragmentDecision::Loop { to, src, id }) => {
                let from =
                    Tuple { src: Endpoint::new(ipv4.src, 0), dst: Endpoint::new(ipv4.dst, 0) };
                let looped = Tuple { src: Endpoint::new(src, 0), ..from };
                self.loop_rewritten(pass, frame, ipv4, (from, looped, Some(id)), to)
            }
            Some(FragmentDecision::Translate { src, dst, id }) => {
                let from =
                    Tuple { src: Endpoint::new(ipv4.src, 0), dst: Endpoint::new(ipv4.dst, 0) };
                let to = Tuple { src: Endpoint::new(src, 0), dst: Endpoint::new(dst, 0) };
                match self.later_fragment(pass, frame, ipv4, (from, to, id)) {
                    Ok(verdict) => verdict,
                    Err(stop) => self.stop(pass, frame, stop),
                }
            }
            Some(FragmentDecision::Bridge) | None => {
                self.fragments.hold(pass.now, key, frame.to_held(pass));
                Verdict::Held
            }
        }
    }

    /// The other engine that a datagram belongs to, as its first fragment tells where its fragments
    /// meet; none if it is this one's.
    fn owner_of_datagram(
        &mut self,
        pass: &Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Option<WorkerId> {
        let meets_here = matches!(frame.origin, Origin::Device | Origin::Fragment);
        let ports_matter = self.interfaces.owner_of(ipv4.dst).is_some();
        if self.share.is_sole() || !meets_here || !ports_matter {
            return None;
        }
        let owner = self.owner(pass, frame, ipv4);
        (owner != self.share.worker).then_some(owner)
    }

    fn hand_on(&mut self, pass: &mut Pass<'_>, frame: &Frame, to: WorkerId) -> Verdict {
        let (frame, port) = (frame.at, frame.port);
        self.hand_over(pass, HandOver { to, frame, port, origin: Origin::Owned })
    }

    /// A later fragment between two hosts of one network, from a port whose host publishes: it
    /// may belong to the answer of a hairpin session, as only its first fragment tells. None: it
    /// is plain layer 2.
    pub(super) fn later_of_hairpin(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Option<Verdict> {
        let key = DatagramKey::new(frame.network, ipv4);
        match self.fragments.decision(&key) {
            Some(FragmentDecision::Bridge) => None,
            Some(_) => Some(self.route(pass, frame, ipv4)),
            None => {
                self.fragments.hold(pass.now, key, frame.to_held(pass));
                Some(Verdict::Held)
            }
        }
    }

    /// A first fragment that turned out to be plain layer 2, and those that waited for it.
    pub(super) fn bridge_first_fragment(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Verdict {
        let verdict = self.bridge_fragment(pass, frame);
        let key = DatagramKey::new(frame.network, ipv4);
        for held in self.fragments.decide(pass.now, key, FragmentDecision::Bridge) {
            let Some(frame) = self.frame_of(pass, &held) else { continue };
            let verdict = self.bridge_fragment(pass, &frame);
            self.finish(pass, frame.at, frame.port, verdict);
        }
        verdict
    }

    fn bridge_fragment(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let key = FdbKey::new(frame.network, frame.headers.dst);
        let egress = self.fdb.lookup(pass.now, key);
        self.unicast(pass, frame, egress)
    }

    fn first_fragment(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        key: DatagramKey,
    ) -> Verdict {
        if let Some(to) = self.owner_of_datagram(pass, frame, ipv4) {
            let verdict = self.hand_on(pass, frame, to);
            for held in self.fragments.decide(pass.now, key, FragmentDecision::HandOver(to)) {
                let Some(frame) = self.frame_of(pass, &held) else { continue };
                let verdict = self.hand_on(pass, &frame, to);
                self.finish(pass, frame.at, frame.port, verdict);
            }
            return verdict;
        }
        let (verdict, decision) = match self.forward_first(pass, frame, ipv4) {
            Ok((verdict, decision)) => (verdict, decision),
            Err(Stop::Local) if self.is_hosts_own(frame, ipv4) => {
                let reason = DropReason::HostsOwn;
                (Verdict::Dropped(reason), FragmentDecision::Drop(reason))
            }
            Err(Stop::Local) => {
                let waiting = self.fragments.decide(pass.now, key, FragmentDecision::Local);
                for held in waiting {
                    self.fragments.hold(pass.now, key, held);
                }
                return self.local_fragment(pass, frame, key);
            }
            Err(stop @ Stop::Hold(_)) => return self.stop(pass, frame, stop),
            Err(stop @ (Stop::Drop(reason) | Stop::Report(reason, _))) => {
                (self.stop(pass, frame, stop), FragmentDecision::Drop(reason))
            }
        };
        for held in self.fragments.decide(pass.now, key, decision) {
            self.resume(pass, &held);
        }
        verdict
    }

    fn forward_first(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
    ) -> Result<(Verdict, FragmentDecision), Stop> {
        match ipv4.transport {
            Transport::Truncated => return Err(Stop::Drop(DropReason::FragmentTooSmall)),
            Transport::IcmpError => return Err(Stop::Drop(DropReason::IcmpErrorMalformed)),
            _ => {}
        }
        if let Some(to) = self.loop_of(frame, ipv4) {
            // Where it goes its fragments are known by the shared source and this.
            let id = self.nat.next_ip_id();
            let (verdict, src) = self.forward_looped(pass, frame, ipv4, (to, Some(id)))?;
            return Ok((verdict, FragmentDecision::Loop { to, src, id }));
        }
        let plan = self.plan(pass, frame, ipv4, None)?;
        let (rewrite, _) = self.commit(pass, frame, &plan)?;
        let wants_id = rewrite.wants_new_id(ipv4);
        let id = if wants_id { self.nat.next_ip_id() } else { ipv4.id };
        rewrite.apply(pass.tx.frame_mut(frame.at, pass.burst), ipv4, Some(id), false);
        let Tuple { src, dst } = rewrite.to();
        let decision = FragmentDecision::Translate { src: src.ip, dst: dst.ip, id };
        Ok((self.emit(pass, frame, &plan.path), decision))
    }

    fn later_fragment(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (from, to, id): (Tuple, Tuple, u16),
    ) -> Result<Verdict, Stop> {
        let no_route = Stop::Drop(DropReason::NoRoute);
        let hop = self.fib.lookup(to.dst.ip).ok_or(no_route)?;
        let path = self.path(pass, frame, ipv4, hop)?;
        let rewrite = Rewrite::new(ipv4.protocol, from, to, path.macs);
        rewrite.apply(pass.tx.frame_mut(frame.at, pass.burst), ipv4, Some(id), false);
        self.report(pass.now, frame.port, Tier::Fragment);
        Ok(self.emit(pass, frame, &path))
    }

    /// A fragment of a datagram for tapway itself: answered when it is whole.
    fn local_fragment(&mut self, pass: &mut Pass<'_>, frame: &Frame, key: DatagramKey) -> Verdict {
        let frame = &self.unloop(pass, frame);
        if !self.fragments.hold(pass.now, key, frame.to_held(pass)) {
            // The others have been looked at; it is counted among the expired.
            return Verdict::Held;
        }
        let waiting = self.fragments.held(&key);
        let packets: Vec<&[u8]> =
            waiting.iter().filter_map(|held| held.frame.get(ETHERNET_HEADER..)).collect();
        let count = waiting.len() as u64;
        match local::reassemble(&packets) {
            Ok(None) => Verdict::Held,
            Ok(Some(datagram)) => {
                self.fragments.remove(&key);
                // One of them is the present frame, which the caller counts.
                self.totals.local += count.saturating_sub(1);
                match Ipv4::parse(&datagram) {
                    Ok(ipv4) => {
                        let headers = Headers { layer: Layer::Ipv4(ipv4), ..frame.headers };
                        let whole = Frame { headers, ..*frame };
                        self.local_datagram(pass, &whole, &datagram, &ipv4)
                    }
                    Err(reason) => Verdict::Dropped(reason),
                }
            }
            Err(reason) => {
                let gone = self.fragments.remove(&key);
                self.fragments.decide(pass.now, key, FragmentDecision::Drop(reason));
                let own = gone.len().saturating_sub(1);
                for held in gone.iter().take(own) {
                    self.drop_held(pass.now, held, reason);
                }
                Verdict::Dropped(reason)
            }
        }
    }

    /// Fragments whose rest did not come, or that had no room.
    pub(super) fn end_fragments(&mut self, pass: &mut Pass<'_>, expired: &Expired) {
        for held in &expired.held {
            let Ok(headers) = Headers::parse(&held.frame) else { continue };
            let is_first = matches!(headers.layer, Layer::Ipv4(ipv4) if ipv4.fragment_offset == 0);
            if expired.is_local && is_first {
                self.report_held(pass, held, IcmpError::ReassemblyTimeExceeded);
            }
            self.drop_held(pass.now, held, expired.reason);
        }
    }
}
