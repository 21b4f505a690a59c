//! The journey of a frame through the router, and what it is called on its way; `bridging` has
//! the part before it, `replay` the known flows, `outcome` the end.

use bytes::Bytes;

use super::{Engine, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::Direction;
use crate::packet::{
    ETHERNET_HEADER, FlowKey, FrameRef, FrameView, Headers, Held, Ipv4, Layer, MacAddr, Offload,
    Origin, Transport,
};
use crate::switch::FdbKey;

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

impl Verdict {
    /// What became of a frame in parts, this and a further one: it is counted once, and not as
    /// dropped if any of it went on.
    pub(super) const fn or(self, further: Self) -> Self {
        if matches!(self, Self::Dropped(_)) { further } else { self }
    }
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
    /// Its flow, unless it belongs to none; the session is a guess.
    pub flow: Option<Flow<'a>>,
}

/// Why a packet is not sent the way its flow is known to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// It ends.
    Drop(DropReason),
    /// It must be decided anew; it belongs to this session.
    Anew(Option<(u32, Direction)>),
}

/// The flow of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow<'a> {
    /// Its key.
    pub key: &'a FlowKey,
    /// The hash of the key.
    pub hash: u64,
    /// The session it belongs to.
    pub session: Option<(u32, Direction)>,
}

impl Frame {
    /// A copy that can wait beyond the pass.
    pub(super) fn to_held(self, pass: &Pass<'_>) -> Held {
        let FrameView { bytes, offload } = pass.tx.view(self.at, pass.burst);
        let frame = Bytes::copy_from_slice(bytes);
        // Whoever waits here is here to stay.
        let origin = match self.origin {
            Origin::Looped(before) => Origin::Looped(before),
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

    /// A frame for the gateway's MAC.
    pub(super) fn gateway(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
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
    pub(super) fn hairpin_answer(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Option<Verdict> {
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
        let flow = key.as_ref().map(|key| Flow { key, hash: self.nat.hash(key), session: None });
        match self.forward_known(pass, &Packet { at, port, ipv4, flow }) {
            Ok(verdict) => verdict,
            Err(Miss::Drop(reason)) => Verdict::Dropped(reason),
            Err(Miss::Anew(session)) => {
                let flow = flow.map(|flow| Flow { session, ..flow });
                self.decide(pass, frame, ipv4, flow)
            }
        }
    }

    /// A frame that another worker has handed over.
    pub(super) fn take_over(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let Headers { dst, src, layer, .. } = frame.headers;
        match (frame.origin, layer) {
            (Origin::Looped(_), Layer::Ipv4(ipv4)) => {
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
    pub(super) fn decide(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        flow: Option<Flow<'_>>,
    ) -> Verdict {
        self.report(pass.now, frame.port, Tier::SlowPath);
        self.slow_path(pass, frame, ipv4, flow)
    }

    /// A flow with its hash and its session.
    pub(super) fn look_up<'a>(&self, key: &'a FlowKey) -> Flow<'a> {
        let hash = self.nat.hash(key);
        Flow { key, hash, session: self.nat.find_guessed(key, hash, None) }
    }
}

/// The length of a packet, or of the largest of a super-frame's, as the wire sees it.
pub(super) fn wire_len(frame_len: usize, offload: Offload) -> usize {
    offload.largest_segment(frame_len).saturating_sub(ETHERNET_HEADER)
}
