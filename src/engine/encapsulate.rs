//! Frames into tunnels: VXLAN headers put on, and a way through the underlay.
//!
//! A frame that is for one tunnel only gets its headers in the room before it; one that others get
//! as well is copied first (head-end replication). By the underlay's port whole super-frames leave,
//! for its device to cut; by the uplink, segments. What is too large for the way is told to its
//! sender as by a router, or cut where that is permitted: no datagram outside is ever a fragment
//! (RFC 7348 4.3).

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use super::pipeline::Verdict;
use super::{Engine, Pass, Underlay, Vtep, VxlanSpec};
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::packet::icmp::{self, IcmpError};
use crate::packet::vxlan::{Outer, Vni, source_port};
use crate::packet::{
    ETHERNET_HEADER, FrameRef, FrameView, Headers, Held, Inside, Layer, MacAddr, Offload, Origin,
    fragment, ipv4, mss, put,
};
use crate::route::{Resolution, may_report};
use crate::switch::{FdbKey, PortRole, Tunnel};

/// A tunnel that is ready to take a frame.
#[derive(Clone, Copy)]
struct Ready {
    id: PortId,
    vtep: Vtep,
    spec: VxlanSpec,
    peer: Ipv4Addr,
    mtu: u16,
}

impl Engine {
    /// True if a port is a tunnel.
    pub(super) fn is_tunnel(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| matches!(port.role, PortRole::Tunnel(_)))
    }

    /// A copy of a frame leaves by a tunnel.
    pub(super) fn send_copy_by_tunnel(
        &mut self,
        pass: &mut Pass<'_>,
        at: FrameRef,
        tunnel: PortId,
    ) -> Result<(), DropReason> {
        if !pass.tx.has_room_for_segments(1) {
            return Err(DropReason::EgressQueueFull);
        }
        let FrameView { bytes, offload } = pass.tx.view(at, pass.burst);
        // Own frames and received ones are in one arena after this: it cannot be lent twice.
        let bytes = bytes.to_vec();
        let copy = pass.tx.generate_with(&[&bytes], offload);
        self.send_by_tunnel(pass, copy.map_err(|_| DropReason::EgressQueueFull)?, tunnel)
    }

    /// A frame that is in no list yet leaves by a tunnel, and nowhere else.
    pub(super) fn send_by_tunnel(
        &mut self,
        pass: &mut Pass<'_>,
        at: FrameRef,
        tunnel: PortId,
    ) -> Result<(), DropReason> {
        let ready = self.ready(tunnel)?;
        let FrameView { bytes, offload } = pass.tx.view(at, pass.burst);
        let inside = Inside::read(bytes).ok_or(DropReason::FrameTooShort)?;
        if inside.is_tagged && !ready.spec.carries_tags {
            return Err(DropReason::VxlanTagged);
        }
        let len = bytes.len();
        let (largest, segments) = match offload.is_super() {
            false => (len, 1),
            true => (offload.largest_segment(len), offload.segments(len)),
        };
        if largest - ETHERNET_HEADER > usize::from(ready.mtu) {
            let headers = Headers::parse(bytes)?;
            return self.too_large(pass, (at, &headers), ready);
        }
        let outer = Outer {
            src: ready.vtep.address,
            dst: ready.peer,
            sport: source_port(self.overlay.flow_hash.hash(inside.flow)),
            dport: ready.vtep.port,
            tos: inside.tos,
            vni: ready.spec.vni,
        };
        if inside.is_syn {
            let (bytes, offload) = pass.tx.view_mut(at, pass.burst);
            let headers = Headers::parse(bytes)?;
            mss::clamp(bytes, &headers, ready.mtu, offload.partial_start().is_some());
        }
        match ready.vtep.underlay {
            Underlay::Port(underlay) => {
                self.send_by_underlay(pass, at, (outer, underlay), (len, segments))?;
            }
            Underlay::Uplink => self.send_by_uplink(pass, at, (outer, tunnel))?,
        }
        if let Some(port) = self.port_mut(tunnel) {
            port.counters.tx_frames += 1;
            port.counters.tx_segments += segments;
            port.counters.tx_bytes += len as u64;
        }
        Ok(())
    }

    fn ready(&self, tunnel: PortId) -> Result<Ready, DropReason> {
        let port = self.port(tunnel).filter(|port| port.is_up).ok_or(DropReason::PortDown)?;
        let spec = self.network(port.network).and_then(|network| network.vxlan);
        match (port.role, self.overlay.vtep, spec) {
            (PortRole::Tunnel(Tunnel { peer: IpAddr::V4(peer), .. }), Some(vtep), Some(spec)) => {
                Ok(Ready { id: tunnel, vtep, spec, peer, mtu: port.mtu })
            }
            _ => Err(DropReason::VxlanNoWay),
        }
    }

    /// By the port whose device has the sockets.
    fn send_by_underlay(
        &mut self,
        pass: &mut Pass<'_>,
        at: FrameRef,
        (outer, underlay): (Outer, PortId),
        (len, segments): (usize, u64),
    ) -> Result<(), DropReason> {
        let port = self.port_mut(underlay).filter(|port| port.is_up);
        let port = port.ok_or(DropReason::VxlanNoWay)?;
        let macs = (MacAddr::from_ipv4(outer.dst), MacAddr::from_ipv4(outer.src));
        let headers = outer.headers(macs, len);
        port.counters.tx_frames += 1;
        port.counters.tx_segments += segments;
        port.counters.tx_bytes += (len + headers.len()) as u64;
        pass.tx.prepend(at, pass.burst, &headers);
        pass.tx.push(underlay, at);
        Ok(())
    }

    /// By the engine's own uplink, each segment in a datagram of its own.
    fn send_by_uplink(
        &mut self,
        pass: &mut Pass<'_>,
        at: FrameRef,
        (outer, tunnel): (Outer, PortId),
    ) -> Result<(), DropReason> {
        pass.tx.complete(at, pass.burst);
        let view = pass.tx.view(at, pass.burst);
        let macs = (MacAddr::ZERO, MacAddr::ZERO);
        if !view.offload.is_super() {
            let headers = outer.headers(macs, view.bytes.len());
            pass.tx.prepend(at, pass.burst, &headers);
            return self.emit_outer(pass, at, (outer.dst, tunnel));
        }
        let count = view.offload.segments(view.bytes.len());
        if !pass.tx.has_room_for_segments(count) {
            return Err(DropReason::EgressQueueFull);
        }
        let mut segments = Vec::new();
        view.for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
        self.totals.generated += count.saturating_sub(1);
        for segment in segments {
            let headers = outer.headers(macs, segment.len());
            let at = pass.tx.generate(&[&headers, &segment]);
            let at = at.map_err(|_| DropReason::EgressQueueFull)?;
            self.emit_outer(pass, at, (outer.dst, tunnel))?;
        }
        Ok(())
    }

    /// A finished datagram to a peer, routed as a packet of tapway's own.
    fn emit_outer(
        &mut self,
        pass: &mut Pass<'_>,
        at: FrameRef,
        (peer, tunnel): (Ipv4Addr, PortId),
    ) -> Result<(), DropReason> {
        let hop = self.fib.lookup(peer).ok_or(DropReason::VxlanNoWay)?;
        let interface = self.interfaces.get(hop.network).ok_or(DropReason::VxlanNoWay)?;
        let own = interface.mac;
        if !interface.is_outside || self.interfaces.owner_of(peer).is_some() {
            // Peers are outside; a way back into a tunnel would have no end.
            return Err(DropReason::VxlanNoWay);
        }
        let to = match self.neighbours.resolve(pass.now, hop.network, hop.address, tunnel) {
            Resolution::Known(to, _) => to,
            Resolution::Pending(neighbour) => {
                let held = self.held_outer(pass, at, tunnel);
                self.overlay.waiting += 1;
                self.neighbours.hold(neighbour, held);
                return Ok(());
            }
            Resolution::Full => return Err(DropReason::NeighbourTableFull),
        };
        let bytes = pass.tx.frame_mut(at, pass.burst);
        put(bytes, 0, &to.0);
        put(bytes, 6, &own.0);
        let size = (bytes.len(), ETHERNET_HEADER as u8, Offload::NONE);
        match self.fdb.lookup(pass.now, FdbKey::new(hop.network, to)) {
            Some(port) => self.send_sized(pass, at, port, size),
            None => match self.emit_to_all(pass, (at, ETHERNET_HEADER as u8), hop.network) {
                Verdict::Dropped(reason) => Err(reason),
                _ => Ok(()),
            },
        }
    }

    fn held_outer(&self, pass: &Pass<'_>, at: FrameRef, tunnel: PortId) -> Held {
        let frame = Bytes::copy_from_slice(pass.tx.frame(at, pass.burst));
        let network = self.port(tunnel).map_or_else(Default::default, |port| port.network);
        Held { port: tunnel, network, frame, offload: Offload::NONE, origin: Origin::Encapsulated }
    }

    /// A datagram that waited for the underlay's neighbour goes on. It was counted when it began to
    /// wait; if it ends, that is counted at its tunnel only.
    pub(super) fn resume_outer(&mut self, pass: &mut Pass<'_>, held: &Held) {
        self.overlay.waiting = self.overlay.waiting.saturating_sub(1);
        if !self.is_there(held) {
            return;
        }
        let sent = Outer::parse(&held.frame).and_then(|outer| {
            let at = pass.tx.generate(&[&held.frame]).map_err(|_| DropReason::EgressQueueFull)?;
            self.emit_outer(pass, at, (outer.dst, held.port))
        });
        if let Err(reason) = sent {
            self.count_device_drops(held.port, reason, 1);
        }
    }

    /// A frame that the way to a peer does not take: cut where its sender permits it, told to its
    /// sender where not.
    fn too_large(
        &mut self,
        pass: &mut Pass<'_>,
        (at, headers): (FrameRef, &Headers),
        ready: Ready,
    ) -> Result<(), DropReason> {
        match headers.layer {
            Layer::Ipv4(ipv4) if !ipv4.dont_fragment && !headers.is_tagged() => {
                self.send_in_pieces(pass, at, ready)
            }
            Layer::Ipv4(_) | Layer::Ipv6 if !headers.dst.is_group() => {
                let quoted = pass.tx.view(at, pass.burst).first_segment();
                self.tell_too_large(pass, (&quoted, headers), ready);
                Err(DropReason::FragmentationNeeded)
            }
            _ => Err(DropReason::Oversize),
        }
    }

    fn send_in_pieces(
        &mut self,
        pass: &mut Pass<'_>,
        at: FrameRef,
        ready: Ready,
    ) -> Result<(), DropReason> {
        let mtu = usize::from(ready.mtu);
        let mut pieces = Vec::new();
        let view = pass.tx.view(at, pass.burst);
        view.for_each_segment(&mut Vec::new(), |segment| {
            let Some((ethernet, packet)) = segment.split_at_checked(ETHERNET_HEADER) else {
                return;
            };
            fragment::fragment(packet, mtu, |piece| pieces.push([ethernet, piece].concat()));
        });
        if !pass.tx.has_room_for_segments(pieces.len() as u64) {
            return Err(DropReason::EgressQueueFull);
        }
        let mut sent = Err(DropReason::FragmentationNeeded);
        for piece in pieces {
            if piece.len() > mtu + ETHERNET_HEADER {
                return Err(DropReason::FragmentationNeeded);
            }
            let at = pass.tx.generate(&[&piece]).map_err(|_| DropReason::EgressQueueFull)?;
            self.totals.generated += 1;
            sent = self.send_by_tunnel(pass, at, ready.id);
        }
        sent
    }

    /// Tells the sender of a frame what packets the tunnel takes: from the gateway, or where there
    /// is none in the name of the destination, as Linux does.
    fn tell_too_large(
        &mut self,
        pass: &mut Pass<'_>,
        (frame, headers): (&[u8], &Headers),
        ready: Ready,
    ) {
        let Some(network) = self.port(ready.id).map(|port| port.network) else { return };
        let back = self.fdb.lookup(pass.now, FdbKey::new(network, headers.src));
        let Some(back) = back.filter(|port| !self.is_tunnel(*port)) else { return };
        let packet = frame.get(usize::from(headers.l3)..).unwrap_or_default();
        let gateway = self.interfaces.get(network).filter(|own| own.shared.is_none());
        let (mac, address) = match gateway {
            Some(own) => (own.mac, Some(own.address)),
            None => (headers.dst, None),
        };
        let mut ethernet = ipv4::ethernet(headers.src, mac);
        let datagram = match headers.layer {
            Layer::Ipv4(ipv4) if may_report(headers) => {
                if !self.icmp_limiter.allow(pass.now, ipv4.src) {
                    return;
                }
                let error = IcmpError::FragmentationNeeded { mtu: ready.mtu };
                error.datagram(address.unwrap_or(ipv4.dst), ipv4.src, packet)
            }
            Layer::Ipv6 => {
                // The limit is by IPv4 address; of these there is one for all.
                if !self.icmp_limiter.allow(pass.now, Ipv4Addr::UNSPECIFIED) {
                    return;
                }
                put(&mut ethernet, 12, &crate::packet::ETHERTYPE_IPV6.to_be_bytes());
                let Some(datagram) = icmp::packet_too_big(packet, ready.mtu) else { return };
                datagram
            }
            _ => return,
        };
        self.generate(pass, &[back], &[&ethernet, &datagram]);
    }

    /// The underlay's device did not take a datagram: the way to its peer takes no more than `mtu`
    /// bytes now. Whoever sent what is inside is told, and what may be cut goes again.
    pub fn take_back(
        &mut self,
        now: crate::time::Instant,
        outer: &[u8],
        mtu: u16,
        tx: &mut crate::packet::TxLists,
    ) {
        let Ok(read) = Outer::parse(outer) else { return };
        self.lower_path_mtu(now, read.dst, mtu);
        let Ok(tunnel) = self.overlay.tunnels.find(read.vni, IpAddr::V4(read.dst)) else {
            // It went meanwhile.
            if let Some(Underlay::Port(underlay)) = self.overlay.vtep.map(|vtep| vtep.underlay) {
                self.count_device_drops(underlay, DropReason::FragmentationNeeded, 1);
            }
            return;
        };
        let inner = outer.get(crate::packet::vxlan::ENCAPSULATION..).unwrap_or_default();
        let mut burst = crate::packet::Burst::empty();
        let mut pass = Pass { now, burst: &mut burst, tx };
        let sent = Headers::parse(inner).and_then(|headers| {
            let ready = self.ready(tunnel)?;
            let at = pass.tx.generate(&[inner]).map_err(|_| DropReason::EgressQueueFull)?;
            self.too_large(&mut pass, (at, &headers), ready)
        });
        if let Err(reason) = sent {
            self.count_device_drops(tunnel, reason, 1);
        }
    }

    /// Counts a datagram that the underlay's device lost: where its peer's frames are counted, or at
    /// the underlay's port if that tunnel is gone meanwhile.
    pub fn count_tunnel_drop(
        &mut self,
        underlay: PortId,
        (vni, peer): (Vni, Ipv4Addr),
        reason: DropReason,
    ) {
        let tunnel = self.overlay.tunnels.find(vni, IpAddr::V4(peer));
        self.count_device_drops(tunnel.unwrap_or(underlay), reason, 1);
    }
}
