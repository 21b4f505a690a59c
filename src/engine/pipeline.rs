//! The journey of a frame: admission, bridge, replay of a cached flow.

use bytes::Bytes;

use super::adjacency::Adjacency;
use super::{Engine, Event, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::{Direction, HopRef, Rewrite, Tuple};
use crate::packet::{
    BURST_FRAMES, ETHERNET_HEADER, FlowKey, FrameRef, FrameView, Headers, Held, Ipv4, Layer,
    MacAddr, Offload, Transport, ipv4,
};
use crate::switch::{FdbKey, Learned};
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
}

/// What the stages found out about a frame before anything acts.
#[derive(Clone, Copy, Debug)]
struct Staged {
    frame: Frame,
    to_gateway: bool,
    src_hash: u64,
    dst_hash: u64,
    key: Option<FlowKey>,
    key_hash: u64,
    guess: Option<(u32, Direction)>,
}

/// The staged frames of a burst.
#[derive(Debug, Default)]
pub(super) struct Staging {
    frames: Vec<Staged>,
}

impl Frame {
    /// A copy that can wait beyond the pass.
    pub(super) fn to_held(self, pass: &Pass<'_>) -> Held {
        let FrameView { bytes, offload } = pass.tx.view(self.at, pass.burst);
        let frame = Bytes::copy_from_slice(bytes);
        Held { port: self.port, network: self.network, frame, offload }
    }

    /// The length of its packet, or of the largest of a super-frame's, as the wire sees it.
    pub(super) fn wire_len(&self, pass: &Pass<'_>) -> usize {
        let FrameView { bytes, offload } = pass.tx.view(self.at, pass.burst);
        offload.largest_segment(bytes.len()).saturating_sub(ETHERNET_HEADER)
    }

    /// The flow it belongs to, if it can be routed by one.
    fn flow_key(&self) -> Option<FlowKey> {
        match self.headers.layer {
            Layer::Ipv4(ipv4) if !self.headers.is_tagged() => ipv4.flow_key(self.network),
            _ => None,
        }
    }
}

/// What the stages know about the session of a packet: the hash of its key, and a guess.
type SessionHint = Option<(u64, Option<(u32, Direction)>)>;

impl Staged {
    fn session_hint(&self) -> SessionHint {
        self.key.is_some().then_some((self.key_hash, self.guess))
    }

    /// The FDB says where it goes.
    const fn is_bridged(&self) -> bool {
        !self.to_gateway && !self.frame.headers.dst.is_group()
    }
}

impl Engine {
    /// Parse all, hash all, look up all, act.
    pub(super) fn run_stages(&mut self, pass: &mut Pass<'_>) {
        let mut staging = std::mem::take(&mut self.staging);
        staging.frames.clear();
        staging.frames.reserve(BURST_FRAMES);
        for index in 0..pass.burst.len() {
            if let Some(staged) = self.admit(pass, index) {
                staging.frames.push(staged);
            }
        }
        for staged in &mut staging.frames {
            let Frame { network, headers, .. } = staged.frame;
            staged.src_hash = self.fdb.hash(FdbKey::new(network, headers.src));
            self.fdb.prefetch(staged.src_hash);
            if staged.is_bridged() {
                staged.dst_hash = self.fdb.hash(FdbKey::new(network, headers.dst));
                self.fdb.prefetch(staged.dst_hash);
            }
            if let Some(key) = &staged.key {
                staged.key_hash = self.nat.prefetch(key);
            }
        }
        for staged in &mut staging.frames {
            if staged.key.is_some() {
                staged.guess = self.nat.guess(staged.key_hash);
            }
        }
        for staged in &staging.frames {
            let verdict = self.switch(pass, staged);
            self.finish(pass, &staged.frame, verdict);
        }
        self.staging = staging;
    }

    /// Counts and parses a received frame; none if it ended here.
    fn admit(&mut self, pass: &mut Pass<'_>, index: usize) -> Option<Staged> {
        let port_id = pass.burst.port(index)?;
        let at = FrameRef::Burst(index as u16);
        self.totals.received += 1;
        let Some(port) = self.ports.get_mut(port_id.index()).and_then(Option::as_mut) else {
            self.drop_frame(pass, port_id, DropReason::UnknownPort, at);
            return None;
        };
        let (bytes, offload) = (pass.burst.frame(index), pass.burst.offload(index));
        port.counters.rx_frames += 1;
        port.counters.rx_bytes += bytes.len() as u64;
        let (network, guard, publishes) = (port.network, port.guard, port.publishes);
        let parsed = if port.is_up { Headers::parse(bytes) } else { Err(DropReason::PortDown) };
        let checked = parsed.and_then(|headers| match &guard {
            Some(guard) => guard.check(&headers, bytes).map(|()| headers),
            None => Ok(headers),
        });
        let checked = match checked {
            Ok(headers) if !offload.is_none() => {
                self.admit_offload(pass, index, &headers).map(|()| headers)
            }
            checked => checked,
        };
        let headers = match checked {
            Ok(headers) => headers,
            Err(reason) => {
                // Whatever was to be done with it, it is not.
                pass.burst.set_offload(index, Offload::NONE);
                self.count_rx_segments(port_id, 1);
                self.drop_frame(pass, port_id, reason, at);
                return None;
            }
        };
        self.count_rx_segments(port_id, pass.burst.segments(index));
        let frame = Frame { at, port: port_id, network, headers };
        let to_gateway = self.is_gateway_mac(network, headers.dst);
        Some(Staged {
            frame,
            to_gateway,
            src_hash: 0,
            dst_hash: 0,
            key: if to_gateway || publishes { frame.flow_key() } else { None },
            key_hash: 0,
            guess: None,
        })
    }

    /// Compares what the sender's kernel left to be done with the frame.
    fn admit_offload(
        &mut self,
        pass: &mut Pass<'_>,
        index: usize,
        headers: &Headers,
    ) -> Result<(), DropReason> {
        let offload = pass.burst.offload(index).admit(headers, pass.burst.frame_mut(index))?;
        pass.burst.set_offload(index, offload);
        Ok(())
    }

    fn count_rx_segments(&mut self, port: PortId, segments: u64) {
        if let Some(port) = self.port_mut(port) {
            port.counters.rx_segments += segments;
        }
    }

    pub(super) fn is_gateway_mac(&self, network: NetworkId, mac: MacAddr) -> bool {
        self.interfaces.get(network).is_some_and(|interface| interface.mac == mac)
    }

    /// The bridge: learn the source, look up the destination.
    fn switch(&mut self, pass: &mut Pass<'_>, staged: &Staged) -> Verdict {
        let frame = &staged.frame;
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
        match self.fdb.learn(pass.now, key, frame.port, staged.src_hash) {
            Learned::StaticElsewhere => return Verdict::Dropped(DropReason::StaticMacMoved),
            Learned::Moved => {
                let moved = Event::MacMoved { network: frame.network, mac: src, to: frame.port };
                self.tell(pass.now, moved);
            }
            Learned::Known | Learned::New | Learned::Full => {}
        }
        if staged.to_gateway {
            return self.gateway(pass, frame, staged.session_hint());
        }
        if dst.is_group() {
            return self.group(pass, frame);
        }
        if self.port(frame.port).is_some_and(|port| port.publishes)
            && let Some(verdict) = self.hairpin_answer(pass, frame, staged.session_hint())
        {
            return verdict;
        }
        let key = FdbKey::new(frame.network, dst);
        let egress = self.fdb.lookup_hashed(pass.now, key, staged.dst_hash);
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
            Some(egress) => self.bridge(pass, frame, egress),
            None => self.flood(pass, frame),
        }
    }

    fn forwards_reserved(&self, network: NetworkId) -> bool {
        self.network(network).is_some_and(|network| network.bridge.settings.forward_reserved)
    }

    /// A frame to a known MAC of the same network.
    fn bridge(&mut self, pass: &mut Pass<'_>, frame: &Frame, egress: PortId) -> Verdict {
        if egress == frame.port {
            return Verdict::Dropped(DropReason::SamePort);
        }
        let is_isolated = |id| self.port(id).is_some_and(|port| port.is_isolated);
        if is_isolated(frame.port) && is_isolated(egress) {
            return Verdict::Dropped(DropReason::Isolated);
        }
        self.report(pass.now, frame.port, Tier::Bridge);
        match self.send(pass, frame.at, egress, frame.headers.l3) {
            Ok(()) => Verdict::Forwarded,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// A frame to a group: flooded, and read by the gateway if it is ARP.
    fn group(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let has_gateway = self.interfaces.get(frame.network).is_some();
        let is_for_gateway = frame.headers.layer == Layer::Arp && !frame.headers.is_tagged();
        let local = (has_gateway && is_for_gateway).then(|| self.arp(pass, frame));
        match (self.flood(pass, frame), local) {
            (Verdict::Dropped(_), Some(Verdict::Local)) => Verdict::Local,
            (Verdict::Dropped(DropReason::NoOtherPort | DropReason::Isolated), Some(local)) => {
                local
            }
            (flooded, _) => flooded,
        }
    }

    /// A frame to every other port of its network.
    pub(super) fn flood(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let Some(port) = self.port_mut(frame.port) else {
            return Verdict::Dropped(DropReason::UnknownPort);
        };
        let from_isolated = port.is_isolated;
        if !port.storm.take(pass.now) {
            return Verdict::Dropped(DropReason::StormLimit);
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
    fn gateway(&mut self, pass: &mut Pass<'_>, frame: &Frame, hint: SessionHint) -> Verdict {
        if frame.headers.is_tagged() {
            return Verdict::Dropped(DropReason::VlanNotRouted);
        }
        match frame.headers.layer {
            Layer::Ipv4(ipv4) => self.route(pass, frame, &ipv4, hint),
            Layer::Arp => self.arp(pass, frame),
            Layer::Ipv6 => Verdict::Dropped(DropReason::Ipv6NotRouted),
            Layer::Other => Verdict::Dropped(DropReason::EtherTypeNotRouted),
            Layer::Malformed(reason) => Verdict::Dropped(reason),
        }
    }

    /// Unicast between two hosts of one network, from a host that publishes: it may be the answer
    /// of a hairpin session, which must not pass untranslated. None: it is plain layer 2.
    fn hairpin_answer(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        hint: SessionHint,
    ) -> Option<Verdict> {
        let Layer::Ipv4(ipv4) = frame.headers.layer else { return None };
        if frame.headers.is_tagged() {
            return None;
        }
        let is_ours = match ipv4.transport {
            Transport::LaterFragment => return self.later_of_hairpin(pass, frame, &ipv4),
            Transport::IcmpError => self.is_error_of_session(pass, frame, &ipv4),
            _ => {
                let key = ipv4.datagram_key(frame.network)?;
                self.find_session(&key, hint).is_some()
            }
        };
        if !is_ours && ipv4.is_fragment() {
            return Some(self.bridge_first_fragment(pass, frame, &ipv4));
        }
        is_ours.then(|| self.route(pass, frame, &ipv4, hint))
    }

    /// An IPv4 packet for the router: replay its flow, or decide anew.
    pub(super) fn route(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        hint: SessionHint,
    ) -> Verdict {
        let bytes = pass.tx.frame(frame.at, pass.burst);
        let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        if !ipv4::header_is_valid(packet, ipv4.header_len) {
            return Verdict::Dropped(DropReason::Ipv4Checksum);
        }
        if ipv4.header_len > 20
            && ipv4::has_source_route(
                packet.get(..usize::from(ipv4.header_len)).unwrap_or_default(),
            )
        {
            return Verdict::Dropped(DropReason::Ipv4SourceRoute);
        }
        // What lies behind the total length is Ethernet padding and ends here.
        let len = ETHERNET_HEADER + usize::from(ipv4.total_len);
        pass.tx.truncate(frame.at, pass.burst, len);
        if let Some(key) = ipv4.flow_key(frame.network)
            && let Some(verdict) = self.replay(pass, frame, ipv4, (&key, hint))
        {
            return verdict;
        }
        self.report(pass.now, frame.port, Tier::SlowPath);
        self.slow_path(pass, frame, ipv4)
    }

    /// Sends a packet the way its flow is known to go; none if it must be decided anew.
    fn replay(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (key, hint): (&FlowKey, SessionHint),
    ) -> Option<Verdict> {
        let session = self.find_session(key, hint);
        let hop = match session {
            Some((index, direction)) => self.nat.session(index)?.hop(direction),
            None => self.flows.find(key)?,
        };
        let way = *self.adjacencies.get(hop)?;
        let rewrite = match session {
            Some((index, direction)) => self.nat.session(index)?.rewrite(direction, way.macs),
            None => Rewrite::plain(ipv4.protocol, Tuple::from(*key), way.macs),
        };
        let offload = pass.tx.offload(frame.at, pass.burst);
        let wants_id = rewrite.wants_new_id(ipv4);
        let is_too_large = if offload.is_super() {
            // Each of its segments wants an identification of its own.
            wants_id || frame.wire_len(pass) > usize::from(way.mtu)
        } else {
            ipv4.total_len > way.mtu
        };
        if ipv4.ttl <= 1 || is_too_large || !self.holds(pass.now, hop, &way) {
            return None;
        }
        if let Some((index, direction)) = session {
            let tcp_flags = match ipv4.transport {
                Transport::Tcp { flags, .. } => flags,
                _ => 0,
            };
            self.nat.track(pass.now, index, direction, tcp_flags);
        }
        let id = wants_id.then(|| self.nat.next_ip_id());
        let bytes = pass.tx.frame_mut(frame.at, pass.burst);
        rewrite.apply(bytes, ipv4, id, !offload.is_none());
        self.report(pass.now, frame.port, Tier::FlowHit);
        Some(match self.send(pass, frame.at, way.egress, ETHERNET_HEADER as u8) {
            Ok(()) => Verdict::Forwarded,
            Err(reason) => Verdict::Dropped(reason),
        })
    }

    fn find_session(&self, key: &FlowKey, hint: SessionHint) -> Option<(u32, Direction)> {
        match hint {
            Some((hash, guess)) => self.nat.find_guessed(key, hash, guess),
            None => self.nat.find(key),
        }
    }

    /// True if a way is what it was when it was compiled; its neighbour is noted as used.
    fn holds(&mut self, now: Instant, hop: HopRef, way: &Adjacency) -> bool {
        way.epoch == self.epoch
            && self.fdb.is_at(way.fdb_slot, way.fdb_key, way.egress)
            && self.neighbours.pass(now, hop.neighbour, way.generation)
    }

    /// Puts a frame on a port's list and counts it.
    pub(super) fn send(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        l3: u8,
    ) -> Result<(), DropReason> {
        let FrameView { bytes, offload } = pass.tx.view(frame, pass.burst);
        let len = bytes.len();
        let port = self.port_mut(egress).ok_or(DropReason::PortDown)?;
        if !port.is_up {
            return Err(DropReason::PortDown);
        }
        if offload.largest_segment(len).saturating_sub(usize::from(l3)) > usize::from(port.mtu) {
            return Err(DropReason::Oversize);
        }
        port.counters.tx_frames += 1;
        port.counters.tx_segments += offload.segments(len);
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
        self.finish(pass, &frame, verdict);
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
            Ok(Frame { at, port: held.port, network: held.network, headers })
        });
        place.map_err(|reason| self.drop_held(pass.now, held, reason)).ok()
    }

    /// True if the port a frame came in by is still the same.
    pub(super) fn is_there(&self, held: &Held) -> bool {
        self.port(held.port).is_some_and(|port| port.network == held.network)
    }

    /// Counts a frame's outcome.
    pub(super) fn finish(&mut self, pass: &Pass<'_>, frame: &Frame, verdict: Verdict) {
        match verdict {
            Verdict::Forwarded => self.totals.forwarded += 1,
            Verdict::Flooded => self.totals.flooded += 1,
            Verdict::Local => {
                self.totals.local += 1;
                self.report(pass.now, frame.port, Tier::Local);
            }
            Verdict::Held => self.report(pass.now, frame.port, Tier::Hold),
            Verdict::Dropped(reason) => {
                self.drop_frame(pass, frame.port, reason, frame.at);
            }
        }
    }

    /// Counts a frame that waited and ends now.
    pub(super) fn drop_held(&mut self, now: Instant, held: &Held, reason: DropReason) {
        let frame = FrameView { bytes: &held.frame, offload: held.offload };
        self.count_drop(now, held.port, reason, frame);
    }

    /// Counts a dropped frame.
    fn drop_frame(&mut self, pass: &Pass<'_>, port: PortId, reason: DropReason, at: FrameRef) {
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
