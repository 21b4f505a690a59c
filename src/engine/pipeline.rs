//! The journey of a frame: admission, bridge, replay of a cached flow.

use bytes::Bytes;

use super::{Audience, Engine, Notice, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::{Direction, Rewrite, Tuple};
use crate::packet::{
    ETHERNET_HEADER, FlowKey, FrameRef, FrameView, Headers, Held, IPV4_HEADER, Ipv4, Layer,
    MacAddr, Offload, Origin, Transport, array, checksum, ipv4,
};
use crate::switch::FdbKey;
use crate::time::Instant;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Handed to one port.
    Forwarded,
    /// Handed to several ports, or to an unknown place.
    Flooded,
    /// Taken by tapway itself.
    Local,
    /// It waits; counted when it goes on.
    Held,
    /// Another worker's engine has it.
    HandedOver,
    /// It ended.
    Dropped(DropReason),
}

/// A frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Where its bytes are.
    pub at: FrameRef,
    /// The port it came in by.
    pub port: PortId,
    /// That port's network.
    pub network: NetworkId,
    /// What it holds.
    pub headers: Headers,
    /// How it came in.
    pub origin: Origin,
}

/// An IPv4 packet on its way, without what only the bridge and the slow path want to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Where its bytes are.
    pub at: FrameRef,
    /// The port it came in by.
    pub port: PortId,
    /// What it holds.
    pub ipv4: &'a Ipv4,
    /// Its flow, unless it belongs to none.
    pub key: Option<&'a FlowKey>,
}

/// What the stages know about the session of a packet: the hash of its key, and a guess.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionHint {
    pub hash: u64,
    pub guess: Option<(u32, Direction)>,
}

impl Frame {
    /// A copy that can wait beyond the pass.
    pub(super) fn to_held(self, pass: &Pass<'_>) -> Held {
        let FrameView { bytes, offload } = pass.tx.view(self.at, pass.burst);
        let frame = Bytes::copy_from_slice(bytes);
        // Whoever waits here is here to stay.
        let origin = match self.origin {
            Origin::Looped => Origin::Looped,
            _ => Origin::Owned,
        };
        Held { port: self.port, network: self.network, frame, offload, origin }
    }

    /// The length of its packet, or of the largest of a super-frame's, as the wire sees it.
    pub(super) fn wire_len(&self, pass: &Pass<'_>) -> usize {
        let FrameView { bytes, offload } = pass.tx.view(self.at, pass.burst);
        wire_len(bytes.len(), offload)
    }
}

impl Engine {
    pub(super) fn is_gateway_mac(&self, network: NetworkId, mac: MacAddr) -> bool {
        self.interfaces.get(network).is_some_and(|interface| interface.mac == mac)
    }

    /// Any frame: learn the source, look up the destination. `hash` is that of the source.
    pub(super) fn switch(&mut self, pass: &mut Pass<'_>, frame: &Frame, hash: u64) -> Verdict {
        let Headers { dst, src, .. } = frame.headers;
        if !src.is_station() {
            return Verdict::Dropped(DropReason::GroupSource);
        }
        if self.is_gateway_mac(frame.network, src) {
            return Verdict::Dropped(DropReason::OwnMacAsSource);
        }
        if dst.is_reserved_group() && !self.forwards_reserved(frame.network) {
            return Verdict::Dropped(DropReason::ReservedGroup);
        }
        let key = FdbKey::new(frame.network, src);
        if let Err(reason) = self.learn(pass, (key, hash), frame.port) {
            return Verdict::Dropped(reason);
        }
        if self.is_gateway_mac(frame.network, dst) {
            return self.gateway(pass, frame);
        }
        if dst.is_group() {
            return self.group(pass, frame);
        }
        if self.port(frame.port).is_some_and(|port| port.publishes)
            && let Some(verdict) = self.hairpin_answer(pass, frame)
        {
            return verdict;
        }
        let egress = self.fdb.lookup(pass.now, FdbKey::new(frame.network, dst));
        self.unicast(pass, frame, egress)
    }

    /// A frame to one MAC, by layer 2.
    pub(super) fn unicast(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        egress: Option<PortId>,
    ) -> Verdict {
        match egress {
            Some(egress) => {
                let is_isolated = self.port(frame.port).is_some_and(|port| port.is_isolated);
                let ingress = (frame.port, is_isolated);
                let FrameView { bytes, offload } = pass.tx.view(frame.at, pass.burst);
                let size = (bytes.len(), frame.headers.l3, offload);
                self.bridge(pass, (frame.at, size), ingress, egress)
            }
            None => self.flood(pass, frame),
        }
    }

    fn forwards_reserved(&self, network: NetworkId) -> bool {
        self.network(network).is_some_and(|network| network.bridge.settings.forward_reserved)
    }

    /// A frame to a known MAC of the same network; its size as [`Engine::send_sized`] takes it.
    #[inline(always)]
    pub(super) fn bridge(
        &mut self,
        pass: &mut Pass<'_>,
        (at, size): (FrameRef, (usize, u8, Offload)),
        (ingress, is_isolated): (PortId, bool),
        egress: PortId,
    ) -> Verdict {
        if egress == ingress {
            return Verdict::Dropped(DropReason::SamePort);
        }
        if is_isolated && self.port(egress).is_some_and(|port| port.is_isolated) {
            return Verdict::Dropped(DropReason::Isolated);
        }
        self.report(pass.now, ingress, Tier::Bridge);
        match self.send_sized(pass, at, egress, size) {
            Ok(()) => Verdict::Forwarded,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// A frame to a group: flooded, and read by the gateway if it is ARP.
    fn group(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let has_gateway = self.interfaces.get(frame.network).is_some();
        let is_for_gateway = frame.headers.layer == Layer::Arp && !frame.headers.is_tagged();
        if has_gateway && is_for_gateway && !self.is_arp_worker() {
            return self.group_for_arp_worker(pass, frame);
        }
        let local = (has_gateway && is_for_gateway).then(|| self.arp(pass, frame));
        match (self.flood(pass, frame), local) {
            (Verdict::Dropped(_), Some(Verdict::Local)) => Verdict::Local,
            (Verdict::Dropped(DropReason::NoOtherPort | DropReason::Isolated), Some(local)) => {
                local
            }
            (flooded, _) => flooded,
        }
    }

    /// The same where another worker hears ARP: it gets a copy, or the frame if nobody else does.
    fn group_for_arp_worker(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        match self.flood(pass, frame) {
            Verdict::Dropped(_) => self.hand_to_arp_worker(pass, frame, Origin::Owned),
            flooded => {
                self.hand_to_arp_worker(pass, frame, Origin::Copy);
                flooded
            }
        }
    }

    /// A frame to every other port of its network.
    pub(super) fn flood(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let FrameView { bytes, offload } = pass.tx.view(frame.at, pass.burst);
        let segments = offload.segments(bytes.len());
        let Some(port) = self.port_mut(frame.port) else {
            return Verdict::Dropped(DropReason::UnknownPort);
        };
        let from_isolated = port.is_isolated;
        if !port.storm.take_many(pass.now, segments) {
            return Verdict::Dropped(DropReason::StormLimit);
        }
        if !frame.headers.dst.is_group() {
            let (network, mac) = (frame.network, frame.headers.dst);
            self.notify(Audience::All, Notice::Sought { network, mac });
        }
        let count = self.network(frame.network).map_or(0, |network| network.bridge.ports().len());
        let (mut sent, mut refused) = (false, DropReason::NoOtherPort);
        for at in 0..count {
            let member =
                self.network(frame.network).and_then(|n| n.bridge.ports().get(at).copied());
            let Some(egress) = member.filter(|egress| *egress != frame.port) else { continue };
            if from_isolated && self.port(egress).is_some_and(|port| port.is_isolated) {
                refused = DropReason::Isolated;
                continue;
            }
            match self.send(pass, frame.at, egress, frame.headers.l3) {
                Ok(()) => sent = true,
                Err(reason) => refused = reason,
            }
        }
        if !sent {
            return Verdict::Dropped(refused);
        }
        self.report(pass.now, frame.port, Tier::Flood);
        Verdict::Flooded
    }

    /// A frame for the gateway's MAC.
    fn gateway(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        if frame.headers.is_tagged() {
            return Verdict::Dropped(DropReason::VlanNotRouted);
        }
        match frame.headers.layer {
            Layer::Ipv4(ipv4) => self.route(pass, frame, &ipv4),
            Layer::Arp if self.is_arp_worker() => self.arp(pass, frame),
            Layer::Arp => self.hand_to_arp_worker(pass, frame, Origin::Owned),
            Layer::Ipv6 => Verdict::Dropped(DropReason::Ipv6NotRouted),
            Layer::Other => Verdict::Dropped(DropReason::EtherTypeNotRouted),
            Layer::Malformed(reason) => Verdict::Dropped(reason),
        }
    }

    /// Unicast between two hosts of one network, from a host that publishes: it may be the answer
    /// of a hairpin session, which must not pass untranslated. None: it is plain layer 2.
    fn hairpin_answer(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Option<Verdict> {
        let Layer::Ipv4(ipv4) = frame.headers.layer else { return None };
        if frame.headers.is_tagged() {
            return None;
        }
        if let Some(hand_over) = self.foreign_owner(pass, frame, &ipv4) {
            return Some(self.hand_over(pass, hand_over));
        }
        let is_ours = match ipv4.transport {
            Transport::LaterFragment => return self.later_of_hairpin(pass, frame, &ipv4),
            Transport::IcmpError => self.is_error_of_session(pass, frame, &ipv4),
            _ => {
                let key = ipv4.datagram_key(frame.network)?;
                self.nat.find(&key).is_some()
            }
        };
        if !is_ours && ipv4.is_fragment() {
            return Some(self.bridge_first_fragment(pass, frame, &ipv4));
        }
        is_ours.then(|| self.route(pass, frame, &ipv4))
    }

    /// An IPv4 packet for the router: the way its flow is known to go, or decided anew.
    pub(super) fn route(&mut self, pass: &mut Pass<'_>, frame: &Frame, ipv4: &Ipv4) -> Verdict {
        let Frame { at, port, network, .. } = *frame;
        let key = ipv4.flow_key(network);
        match self.forward_known(pass, &Packet { at, port, ipv4, key: key.as_ref() }, None) {
            Ok(verdict) => verdict,
            Err(Some(reason)) => Verdict::Dropped(reason),
            Err(None) => self.decide(pass, frame, ipv4),
        }
    }

    /// A frame that another worker has handed over.
    pub(super) fn take_over(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let Headers { dst, src, layer, .. } = frame.headers;
        match (frame.origin, layer) {
            (Origin::Looped, Layer::Ipv4(ipv4)) => {
                let Some(network) = self.looped_network() else {
                    return Verdict::Dropped(DropReason::NoExternalAddress);
                };
                return self.route(pass, &Frame { network, ..*frame }, &ipv4);
            }
            (_, Layer::Arp) => return self.arp(pass, frame),
            _ => {}
        }
        let key = FdbKey::new(frame.network, src);
        self.fdb.learn(pass.now, key, frame.port, self.fdb.hash(key));
        if self.is_gateway_mac(frame.network, dst) {
            return self.gateway(pass, frame);
        }
        self.hairpin_answer(pass, frame).unwrap_or_else(|| {
            let egress = self.fdb.lookup(pass.now, FdbKey::new(frame.network, dst));
            self.unicast(pass, frame, egress)
        })
    }

    /// Decides about a valid packet anew.
    #[inline(never)]
    pub(super) fn decide(&mut self, pass: &mut Pass<'_>, frame: &Frame, ipv4: &Ipv4) -> Verdict {
        self.report(pass.now, frame.port, Tier::SlowPath);
        self.slow_path(pass, frame, ipv4)
    }

    /// Sends a packet the way its flow is known to go.
    ///
    /// # Errors
    /// The reason to drop it, or none: it must be decided anew.
    #[inline(always)]
    pub(super) fn forward_known(
        &mut self,
        pass: &mut Pass<'_>,
        packet: &Packet<'_>,
        hint: Option<SessionHint>,
    ) -> Result<Verdict, Option<DropReason>> {
        let Packet { at, ipv4, .. } = *packet;
        let (bytes, offload) = pass.tx.view_mut(at, pass.burst);
        // What lies behind the total length is Ethernet padding and ends here.
        let received = bytes.len();
        let len = received.min(ETHERNET_HEADER + usize::from(ipv4.total_len));
        let egress = self.rewrite_known(pass.now, bytes, (packet, offload), hint);
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
        hint: Option<SessionHint>,
    ) -> Result<PortId, Option<DropReason>> {
        let ipv4 = packet.ipv4;
        check_header(bytes, ipv4)?;
        let key = packet.key.ok_or(None)?;
        let SessionHint { hash, guess } =
            hint.unwrap_or_else(|| SessionHint { hash: self.nat.hash(key), guess: None });
        let session = self.nat.find_guessed(key, hash, guess);
        let known = session.and_then(|(index, way)| Some((self.nat.session(index)?, way)));
        let hop = match known {
            Some((session, direction)) => session.hop(direction),
            None => self.flows.find(key, hash).ok_or(None)?,
        };
        let way = self.adjacencies.get(hop).ok_or(None)?;
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
            return Err(None);
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

    /// Puts a frame on a port's list and counts it; `l3` is the length of its Ethernet header.
    pub(super) fn send(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        l3: u8,
    ) -> Result<(), DropReason> {
        let FrameView { bytes, offload } = pass.tx.view(frame, pass.burst);
        let len = bytes.len();
        self.send_sized(pass, frame, egress, (len, l3, offload))
    }

    /// The same for a frame of known length.
    #[inline(always)]
    pub(super) fn send_sized(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        (len, l3, offload): (usize, u8, Offload),
    ) -> Result<(), DropReason> {
        let port = self.port_mut(egress).ok_or(DropReason::PortDown)?;
        if !port.is_up {
            return Err(DropReason::PortDown);
        }
        let (largest, segments) = if offload.is_none() {
            (len, 1)
        } else {
            (offload.largest_segment(len), offload.segments(len))
        };
        if largest.saturating_sub(usize::from(l3)) > usize::from(port.mtu) {
            return Err(DropReason::Oversize);
        }
        port.counters.tx_frames += 1;
        port.counters.tx_segments += segments;
        port.counters.tx_bytes += len as u64;
        pass.tx.push(egress, frame);
        Ok(())
    }

    /// A frame that waited goes on where it stopped.
    pub(super) fn resume(&mut self, pass: &mut Pass<'_>, held: &Held) {
        let Some(frame) = self.frame_of(pass, held) else { return };
        let verdict = match frame.headers.layer {
            Layer::Ipv4(ipv4) => self.slow_path(pass, &frame, &ipv4),
            Layer::Malformed(reason) => Verdict::Dropped(reason),
            _ => Verdict::Dropped(DropReason::EtherTypeNotRouted),
        };
        self.finish(pass, frame.at, frame.port, verdict);
    }

    /// A frame that waited, in this pass; none if it ends here.
    pub(super) fn frame_of(&mut self, pass: &mut Pass<'_>, held: &Held) -> Option<Frame> {
        let found = if self.is_there(held) {
            Headers::parse(&held.frame)
        } else {
            Err(DropReason::PortDown)
        };
        let place = found.and_then(|headers| {
            let at = pass
                .tx
                .generate_with(&[&held.frame], held.offload)
                .map_err(|_| DropReason::EgressQueueFull)?;
            let Held { port, network, origin, .. } = *held;
            Ok(Frame { at, port, network, headers, origin })
        });
        place.map_err(|reason| self.drop_held(pass.now, held, reason)).ok()
    }

    /// True if the port a frame came in by is still the same. A looped frame's need not be: it
    /// came in by an inside port, and arrived outside.
    pub(super) fn is_there(&self, held: &Held) -> bool {
        let is_looped = held.origin == Origin::Looped;
        self.port(held.port).is_some_and(|port| port.network == held.network || is_looped)
    }

    /// Counts the outcome of a frame that came in by `port`.
    pub(super) fn finish(&mut self, pass: &Pass<'_>, at: FrameRef, port: PortId, verdict: Verdict) {
        match verdict {
            Verdict::Forwarded => self.totals.forwarded += 1,
            Verdict::Flooded => self.totals.flooded += 1,
            Verdict::Local => {
                self.totals.local += 1;
                self.report(pass.now, port, Tier::Local);
            }
            Verdict::Held => self.report(pass.now, port, Tier::Hold),
            Verdict::HandedOver => self.totals.handed_over += 1,
            Verdict::Dropped(reason) => {
                self.drop_frame(pass, port, reason, at);
            }
        }
    }

    /// Counts a frame that waited and ends now.
    pub(super) fn drop_held(&mut self, now: Instant, held: &Held, reason: DropReason) {
        let frame = FrameView { bytes: &held.frame, offload: held.offload };
        self.count_drop(now, held.port, reason, frame);
    }

    /// Counts a dropped frame.
    pub(super) fn drop_frame(
        &mut self,
        pass: &Pass<'_>,
        port: PortId,
        reason: DropReason,
        at: FrameRef,
    ) {
        self.count_drop(pass.now, port, reason, pass.tx.view(at, pass.burst));
    }

    fn count_drop(&mut self, now: Instant, port: PortId, reason: DropReason, frame: FrameView<'_>) {
        self.totals.dropped += 1;
        match self.port_mut(port) {
            Some(port) => port.counters.drop(reason, 1),
            None => self.totals.unknown_port += 1,
        }
        if let Some(observer) = &mut self.observer {
            observer.dropped(now, port, reason, frame);
        }
    }
}

/// The length of a packet, or of the largest of a super-frame's, as the wire sees it.
fn wire_len(frame_len: usize, offload: Offload) -> usize {
    offload.largest_segment(frame_len).saturating_sub(ETHERNET_HEADER)
}

/// The header checksum, and the options that a router must look at.
#[inline(always)]
fn check_header(frame: &[u8], ipv4: &Ipv4) -> Result<(), Option<DropReason>> {
    if usize::from(ipv4.header_len) != IPV4_HEADER {
        return check_options(frame, ipv4);
    }
    match array::<IPV4_HEADER>(frame, ETHERNET_HEADER) {
        Some(header) if checksum::header_is_valid(&header) => Ok(()),
        _ => Err(Some(DropReason::Ipv4Checksum)),
    }
}

#[inline(never)]
fn check_options(frame: &[u8], ipv4: &Ipv4) -> Result<(), Option<DropReason>> {
    let packet = frame.get(ETHERNET_HEADER..).unwrap_or_default();
    let header = packet.get(..usize::from(ipv4.header_len)).unwrap_or_default();
    if !checksum::is_valid(header) {
        return Err(Some(DropReason::Ipv4Checksum));
    }
    if ipv4::has_source_route(header) {
        return Err(Some(DropReason::Ipv4SourceRoute));
    }
    Ok(())
}
