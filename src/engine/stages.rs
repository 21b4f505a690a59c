//! A burst in stages: parse and hash all, ask for the memory that all will need, act on one after
//! the other.
//!
//! What is found out ahead are hashes and guesses, never decisions: an earlier frame of the burst
//! may learn a MAC, make a session or end one, so every look-up that decides is made when its frame
//! has its turn, by then in memory that is near.

use super::pipeline::{Flow, Frame, Miss, Packet, Verdict};
use super::{Audience, Engine, Event, Notice, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::{Direction, Nat};
use crate::packet::{
    BURST_FRAMES, ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, FlowKey,
    FrameRef, FrameView, Headers, Ipv4, Layer, Offload, Origin,
};
use crate::switch::{Apart, FdbKey, Learned, Port, PortRole, refuse_rogue_server};
use crate::time::Instant;

/// How a frame goes on after admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Untagged, from one station to another: the FDB says where it goes.
    Bridged,
    /// A packet of a flow, for the gateway's MAC; `ipv4` and `key` are its.
    Routed,
    /// Groups, tags, ARP, ports that publish, and what is wrong: decided in `pipeline`.
    Other,
    /// From another worker.
    Handed,
}

/// What the stages find out about a frame before it has its turn.
#[derive(Clone, Copy, Debug)]
struct Staged {
    src: FdbKey,
    dst: FdbKey,
    src_hash: u64,
    /// Of the destination MAC, or of the flow.
    hash: u64,
    guess: Option<(u32, Direction)>,
    key: FlowKey,
    ipv4: Ipv4,
    offload: Offload,
    len: u32,
    course: Course,
    index: u16,
    port: PortId,
    network: NetworkId,
    apart: Apart,
}

/// The staged frames of a burst.
#[derive(Debug, Default)]
pub(super) struct Staging {
    frames: Box<[Staged]>,
}

impl Staging {
    pub(super) fn new() -> Self {
        let none = Staged {
            src: FdbKey::NONE,
            dst: FdbKey::NONE,
            src_hash: 0,
            hash: 0,
            guess: None,
            key: FlowKey::NONE,
            ipv4: Ipv4::NONE,
            offload: Offload::NONE,
            len: 0,
            course: Course::Other,
            index: 0,
            port: PortId(0),
            network: NetworkId(0),
            apart: Apart::default(),
        };
        Self { frames: vec![none; BURST_FRAMES].into() }
    }
}

impl Engine {
    /// Takes a burst through the stages.
    pub(super) fn run_stages(&mut self, pass: &mut Pass<'_>) {
        let mut staging = std::mem::take(&mut self.staging);
        let (mut count, mut routed) = (0, 0);
        for index in 0..pass.burst.len() {
            let Some(staged) = staging.frames.get_mut(count) else { break };
            if self.admit(pass, index, staged) {
                count += 1;
                routed += usize::from(staged.course == Course::Routed);
            }
        }
        let frames = staging.frames.get_mut(..count).unwrap_or_default();
        if routed > 0 {
            self.fetch_sessions(frames);
        }
        for staged in &*frames {
            self.act(pass, staged);
        }
        self.staging = staging;
    }

    /// Asks for the sessions of all routed packets, then for the ways they remember.
    fn fetch_sessions(&self, frames: &mut [Staged]) {
        for staged in &mut *frames {
            staged.guess = match staged.course {
                Course::Routed => self.nat.guess(staged.hash),
                _ => None,
            };
        }
        for staged in &*frames {
            match staged.guess {
                Some((index, direction)) => {
                    if let Some(session) = self.nat.session(index) {
                        let hop = session.hop(direction);
                        self.adjacencies.prefetch(hop);
                        self.neighbours.prefetch(hop.neighbour);
                    }
                }
                None if staged.course == Course::Routed => self.flows.prefetch(staged.hash),
                None => {}
            }
        }
    }

    /// Counts, parses and hashes a received frame; false if it ended here.
    #[inline(always)]
    fn admit(&mut self, pass: &mut Pass<'_>, index: usize, staged: &mut Staged) -> bool {
        let Some((port_id, origin, FrameView { bytes, offload })) = pass.burst.received(index)
        else {
            return false;
        };
        if origin != Origin::Device {
            return self.admit_handed(pass, index, staged);
        }
        self.totals.received += 1;
        let Some(port) = self.ports.get_mut(port_id.index()).and_then(Option::as_mut) else {
            self.drop_frame(pass, port_id, DropReason::UnknownPort, FrameRef::Burst(index as u16));
            return false;
        };
        port.counters.rx_frames += 1;
        port.counters.rx_bytes += bytes.len() as u64;
        staged.index = index as u16;
        staged.port = port_id;
        staged.network = port.network;
        staged.apart = port.apart;
        staged.len = bytes.len() as u32;
        staged.offload = Offload::NONE;
        staged.course = staged.course(&self.nat, port, bytes);
        let is_plain = port.is_open_rx && offload.is_none();
        if is_plain && staged.course != Course::Other {
            port.counters.rx_segments += 1;
        } else if port.role == PortRole::Underlay {
            return self.admit_encapsulated(pass, index, staged);
        } else if !self.admit_checked(pass, index, port_id) {
            return false;
        } else {
            staged.offload = pass.burst.offload(index);
        }
        self.fetch(staged);
        true
    }

    /// Asks for the memory that a frame of known course will need.
    #[inline(always)]
    fn fetch(&self, staged: &mut Staged) {
        staged.src_hash = self.fdb.hash(staged.src);
        self.fdb.prefetch(staged.src_hash);
        match staged.course {
            Course::Bridged => {
                staged.hash = self.fdb.hash(staged.dst);
                self.fdb.prefetch(staged.hash);
            }
            Course::Routed => self.nat.prefetch(staged.hash),
            Course::Other | Course::Handed => {}
        }
    }

    /// Admits what is inside of a frame of the underlay, as a frame of its tunnel's port.
    #[inline(never)]
    fn admit_encapsulated(
        &mut self,
        pass: &mut Pass<'_>,
        index: usize,
        staged: &mut Staged,
    ) -> bool {
        let segments = pass.burst.segments(index);
        if let Some(underlay) = self.port_mut(staged.port) {
            underlay.counters.rx_segments += segments;
        }
        let opened = self.open_outer(pass, index, staged.port);
        let (tunnel, bytes) = match opened {
            Ok(tunnel) => (tunnel, pass.burst.frame(index)),
            Err((port, reason)) => {
                self.drop_frame(pass, port, reason, FrameRef::Burst(index as u16));
                return false;
            }
        };
        let Some(port) = self.ports.get_mut(tunnel.index()).and_then(Option::as_mut) else {
            return false;
        };
        port.counters.rx_frames += 1;
        port.counters.rx_segments += segments;
        port.counters.rx_bytes += bytes.len() as u64;
        (staged.port, staged.network, staged.apart) = (tunnel, port.network, port.apart);
        staged.len = bytes.len() as u32;
        staged.offload = pass.burst.offload(index);
        staged.course = staged.course(&self.nat, port, bytes);
        self.fetch(staged);
        true
    }

    /// Admits a frame that another worker has received, counted and admitted.
    #[inline(never)]
    fn admit_handed(&mut self, pass: &mut Pass<'_>, index: usize, staged: &mut Staged) -> bool {
        let Some(port_id) = pass.burst.port(index) else { return false };
        let is_counted = pass.burst.origin(index) != Origin::Copy;
        self.totals.taken_over += u64::from(is_counted);
        let Some(port) = self.port(port_id).filter(|port| port.is_up) else {
            if is_counted {
                let at = FrameRef::Burst(index as u16);
                self.drop_frame(pass, port_id, DropReason::PortDown, at);
            }
            return false;
        };
        (staged.network, staged.apart) = (port.network, port.apart);
        (staged.port, staged.index, staged.course) = (port_id, index as u16, Course::Handed);
        true
    }

    #[inline(never)]
    fn act_handed(&mut self, pass: &mut Pass<'_>, at: FrameRef, staged: &Staged) {
        let origin = pass.burst.origin(usize::from(staged.index));
        let verdict = match Headers::parse(pass.tx.frame(at, pass.burst)) {
            Ok(headers) => self.take_over(pass, &Frame { origin, ..staged.frame(at, headers) }),
            Err(reason) => Verdict::Dropped(reason),
        };
        if origin != Origin::Copy {
            self.finish(pass, at, staged.port, verdict);
        }
    }

    /// What only some frames need: a guard's look at all headers, a comparison with what the
    /// sender's kernel left undone, the name of what is wrong. False if the frame ended here.
    #[inline(never)]
    fn admit_checked(&mut self, pass: &mut Pass<'_>, index: usize, port_id: PortId) -> bool {
        let offload = pass.burst.offload(index);
        let bytes = pass.burst.frame_mut(index);
        let checked = match self.port(port_id) {
            Some(port) if port.is_up => Headers::parse(bytes).and_then(|headers| {
                port.guard.as_ref().map_or(Ok(()), |guard| guard.check(&headers, bytes))?;
                if port.refuses_servers {
                    refuse_rogue_server(&headers, bytes)?;
                }
                offload.admit(&headers, bytes)
            }),
            _ => Err(DropReason::PortDown),
        };
        // Whatever was to be done with a frame that ends, it is not.
        pass.burst.set_offload(index, checked.unwrap_or(Offload::NONE));
        let segments = if checked.is_ok() { pass.burst.segments(index) } else { 1 };
        let checked = match self.port_mut(port_id) {
            Some(port) => {
                port.counters.rx_segments += segments;
                let (len, offload) = (pass.burst.frame(index).len(), pass.burst.offload(index));
                let limit = port.limit_rx.as_ref();
                let admits = limit.is_none_or(|limit| limit.admits(pass.now, len, offload));
                checked
                    .and_then(|offload| if admits { Ok(offload) } else { Err(DropReason::LimitRx) })
            }
            None => checked,
        };
        if let Err(reason) = checked {
            self.drop_frame(pass, port_id, reason, FrameRef::Burst(index as u16));
        }
        checked.is_ok()
    }

    /// A frame has its turn.
    #[inline(always)]
    fn act(&mut self, pass: &mut Pass<'_>, staged: &Staged) {
        let at = FrameRef::Burst(staged.index);
        let verdict = match staged.course {
            Course::Bridged => self.act_bridged(pass, at, staged),
            Course::Routed => self.act_routed(pass, at, staged),
            Course::Other => self.act_other(pass, at, staged),
            Course::Handed => return self.act_handed(pass, at, staged),
        };
        if verdict == Verdict::Forwarded {
            self.totals.forwarded += 1;
        } else {
            self.finish(pass, at, staged.port, verdict);
        }
    }

    #[inline(always)]
    fn act_bridged(&mut self, pass: &mut Pass<'_>, at: FrameRef, staged: &Staged) -> Verdict {
        if let Err(reason) = self.learn(pass, (staged.src, staged.src_hash), staged.port) {
            return Verdict::Dropped(reason);
        }
        match self.fdb.lookup_hashed(pass.now, staged.dst, staged.hash) {
            Some(egress) => {
                let ingress = (staged.port, staged.apart);
                let size = (staged.len as usize, ETHERNET_HEADER as u8, staged.offload);
                self.bridge(pass, (at, size), ingress, egress)
            }
            None => self.flood_staged(pass, at, staged),
        }
    }

    #[inline(never)]
    fn flood_staged(&mut self, pass: &mut Pass<'_>, at: FrameRef, staged: &Staged) -> Verdict {
        match Headers::parse(pass.tx.frame(at, pass.burst)) {
            Ok(headers) => self.flood(pass, &staged.frame(at, headers)),
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    #[inline(always)]
    fn act_routed(&mut self, pass: &mut Pass<'_>, at: FrameRef, staged: &Staged) -> Verdict {
        if let Err(reason) = self.learn(pass, (staged.src, staged.src_hash), staged.port) {
            return Verdict::Dropped(reason);
        }
        let Staged { ipv4, key, .. } = staged;
        let hash = staged.hash;
        let flow = Some(Flow { key, hash, session: staged.guess });
        let packet = Packet { at, port: staged.port, ipv4, flow };
        match self.forward_known(pass, &packet) {
            Ok(verdict) => verdict,
            Err(Miss::Drop(reason)) => Verdict::Dropped(reason),
            Err(Miss::Anew(session)) => {
                let headers = Headers {
                    dst: staged.dst.mac(),
                    src: staged.src.mac(),
                    ethertype: ETHERTYPE_IPV4,
                    l3: ETHERNET_HEADER as u8,
                    layer: Layer::Ipv4(*ipv4),
                };
                self.decide(
                    pass,
                    &staged.frame(at, headers),
                    ipv4,
                    Some(Flow { key, hash, session }),
                )
            }
        }
    }

    #[inline(never)]
    fn act_other(&mut self, pass: &mut Pass<'_>, at: FrameRef, staged: &Staged) -> Verdict {
        match Headers::parse(pass.tx.frame(at, pass.burst)) {
            Ok(headers) => self.switch(pass, &staged.frame(at, headers), staged.src_hash),
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Learns a source; an error if it may not be where it is.
    #[inline(always)]
    pub(super) fn learn(
        &mut self,
        pass: &Pass<'_>,
        (key, hash): (FdbKey, u64),
        port: PortId,
    ) -> Result<(), DropReason> {
        match self.fdb.learn(pass.now, key, port, hash) {
            Learned::Known | Learned::Full => Ok(()),
            Learned::StaticElsewhere => Err(DropReason::StaticMacMoved),
            Learned::New => {
                self.tell_others(pass.now, key, port);
                Ok(())
            }
            Learned::Moved => {
                let moved = Event::MacMoved { network: key.network(), mac: key.mac(), to: port };
                self.tell(pass.now, moved);
                self.tell_others(pass.now, key, port);
                Ok(())
            }
        }
    }

    fn tell_others(&mut self, seen: Instant, key: FdbKey, port: PortId) {
        let (network, mac) = (key.network(), key.mac());
        self.notify(Audience::All, Notice::Learned { network, mac, port, seen });
    }
}

impl Staged {
    const fn frame(&self, at: FrameRef, headers: Headers) -> Frame {
        let Self { port, network, .. } = *self;
        Frame { at, port, network, headers, origin: Origin::Device }
    }
    /// How a frame goes on, by its MACs and EtherType; notes what is read on the way.
    #[inline(always)]
    fn course(&mut self, nat: &Nat, port: &Port, bytes: &[u8]) -> Course {
        let Some((ethernet, packet)) = bytes.split_first_chunk::<ETHERNET_HEADER>() else {
            return Course::Other;
        };
        let (dst, src) =
            (FdbKey::at::<0>(port.network, ethernet), FdbKey::at::<6>(port.network, ethernet));
        (self.dst, self.src) = (dst, src);
        let [.., e0, e1] = *ethernet;
        let ethertype = u16::from_be_bytes([e0, e1]);
        let is_tagged = matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN);
        if !src.is_station() || dst.is_group() || is_tagged || src == port.gateway {
            return Course::Other;
        }
        if dst != port.gateway {
            return if port.publishes { Course::Other } else { Course::Bridged };
        }
        if ethertype == ETHERTYPE_IPV4
            && let Ok(ipv4) = Ipv4::parse(packet)
            && let Some(key) = ipv4.flow_key(port.network)
        {
            // Hashed while it is in registers.
            self.hash = nat.hash(&key);
            (self.ipv4, self.key) = (ipv4, key);
            return Course::Routed;
        }
        Course::Other
    }
}
