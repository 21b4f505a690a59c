//! Frames out of tunnels: whose they are, and what is inside.
//!
//! By the underlay's port whole outer frames come in; they are opened before the burst is staged,
//! and are from then on frames of their tunnel's port. By the uplink they come as packets for
//! tapway's own address.

use std::net::{IpAddr, Ipv4Addr};

use super::pipeline::{Frame, Verdict};
use super::{Engine, Event, Pass, Underlay};
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::nat::Quote;
use crate::overlay::{self, NoTunnel};
use crate::packet::vxlan::{ENCAPSULATION, Outer, VXLAN_HEADER, Vni};
use crate::packet::{
    ETHERNET_HEADER, FrameView, Headers, Inside, Ipv4, Offload, Origin, PROTOCOL_UDP, Transport,
    be16, mss, udp,
};
use crate::switch::FdbKey;
use crate::time::Instant;

impl Engine {
    /// Opens an outer frame of the underlay's port: it is one of its tunnel's port then, which is
    /// given back.
    ///
    /// # Errors
    /// Why it ends, and at which port that is counted.
    pub(super) fn open_outer(
        &mut self,
        pass: &mut Pass<'_>,
        index: usize,
        underlay: PortId,
    ) -> Result<PortId, (PortId, DropReason)> {
        let is_up = self.port(underlay).is_some_and(|port| port.is_up);
        let port = self.overlay.vtep.filter(|_| is_up).map(|vtep| vtep.port);
        let outer = Outer::parse(pass.burst.frame(index))
            .and_then(|outer| match port {
                None => Err(DropReason::PortDown),
                Some(port) if port == outer.dport => Ok(outer),
                Some(_) => Err(DropReason::VxlanHeader),
            })
            .map_err(|reason| (underlay, reason))?;
        let tunnel =
            self.tunnel_of(pass.now, outer.vni, outer.src).map_err(|reason| (underlay, reason))?;
        pass.burst.strip(index, ENCAPSULATION, tunnel);
        let mtu = self.port(tunnel).map_or(0, |port| port.mtu);
        let (inner, offload) = pass.burst.view_mut(index);
        // A socket tells nothing of what the sender's kernel left undone.
        let offload = match offload.is_none() {
            true => Offload::found_in(inner, mtu),
            false => offload,
        };
        let is_partial = offload.partial_start().is_some();
        let opened = self.look_inside(tunnel, inner, (outer.tos, is_partial));
        let admitted = opened.and_then(|()| match offload.is_none() {
            true => Ok(offload),
            false => Headers::parse(inner).and_then(|headers| offload.admit(&headers, inner)),
        });
        // Whatever was to be done with a frame that ends, it is not.
        pass.burst.set_offload(index, admitted.unwrap_or(Offload::NONE));
        admitted.map(|_| tunnel).map_err(|reason| (tunnel, reason))
    }

    fn tunnel_of(&mut self, now: Instant, vni: Vni, peer: Ipv4Addr) -> Result<PortId, DropReason> {
        let peer = IpAddr::V4(peer);
        self.overlay.tunnels.find(vni, peer).map_err(|why| {
            if let NoTunnel::Candidate(network) = why {
                self.tell(now, Event::UnknownPeer { network, peer });
            }
            why.into()
        })
    }

    /// Whether an inner frame may come in by its tunnel; with the mark of the underlay's congestion,
    /// and asking for no segments that the tunnel does not take.
    fn look_inside(
        &self,
        tunnel: PortId,
        inner: &mut [u8],
        (tos, is_partial): (u8, bool),
    ) -> Result<(), DropReason> {
        let port = self.port(tunnel).filter(|port| port.is_up).ok_or(DropReason::PortDown)?;
        let inside = Inside::read(inner).ok_or(DropReason::FrameTooShort)?;
        if inside.is_tagged {
            let spec = self.network(port.network).and_then(|network| network.vxlan);
            if !spec.is_some_and(|spec| spec.carries_tags) {
                return Err(DropReason::VxlanTagged);
            }
        }
        overlay::decapsulated(tos, inner)?;
        if inside.is_syn {
            let headers = Headers::parse(inner)?;
            mss::clamp(inner, &headers, port.mtu, is_partial);
        }
        Ok(())
    }

    /// True if a packet from outside is a datagram for tapway as a VTEP on its uplink.
    pub(super) fn is_encapsulated(&self, frame: &Frame, ipv4: &Ipv4) -> bool {
        let Some(vtep) = self.overlay.vtep else { return false };
        let is_for_vtep =
            matches!(ipv4.transport, Transport::Udp { dport, .. } if dport == vtep.port);
        is_for_vtep
            && vtep.underlay == Underlay::Uplink
            && ipv4.dst == vtep.address
            && !ipv4.is_fragment()
            && !self.is_inside(frame.network)
    }

    /// Takes such a packet; of a super-frame, each datagram. What is inside goes on in its place.
    pub(super) fn take_encapsulated(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let view = pass.tx.view(frame.at, pass.burst);
        let mut datagrams = Vec::new();
        view.for_each_segment(&mut Vec::new(), |datagram| {
            datagrams.push(datagram.get(ETHERNET_HEADER..).unwrap_or_default().to_vec());
        });
        let Some(last) = datagrams.pop() else { return Verdict::Dropped(DropReason::VxlanHeader) };
        for datagram in datagrams {
            self.totals.received += 1;
            let (at, port, verdict) = match self.open_datagram(pass, &datagram) {
                Ok(inner) => (inner.at, inner.port, self.enter(pass, &inner)),
                Err(reason) => (frame.at, frame.port, Verdict::Dropped(reason)),
            };
            self.finish(pass, at, port, verdict);
        }
        match self.open_datagram(pass, &last) {
            Ok(inner) => self.enter(pass, &inner),
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// A datagram of the same kind that came in fragments.
    pub(super) fn take_encapsulated_datagram(
        &mut self,
        pass: &mut Pass<'_>,
        datagram: &[u8],
    ) -> Verdict {
        match self.open_datagram(pass, datagram) {
            Ok(inner) => self.enter(pass, &inner),
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    fn open_datagram(&mut self, pass: &mut Pass<'_>, datagram: &[u8]) -> Result<Frame, DropReason> {
        let ipv4 = Ipv4::parse(datagram)?;
        let tos = be16(datagram, 0).unwrap_or_default() as u8;
        let payload = udp::payload(datagram, &ipv4).ok_or(DropReason::VxlanHeader)?;
        let vni = Vni::of_header(payload)?;
        let port = self.tunnel_of(pass.now, vni, ipv4.src)?;
        let inner = payload.get(VXLAN_HEADER..).unwrap_or_default();
        let at = pass.tx.generate(&[inner]).map_err(|_| DropReason::EgressQueueFull)?;
        let bytes = pass.tx.frame_mut(at, pass.burst);
        self.look_inside(port, bytes, (tos, false))?;
        let headers = Headers::parse(bytes)?;
        let network = self.port(port).map_or_else(Default::default, |port| port.network);
        if let Some(port) = self.port_mut(port) {
            port.counters.rx_frames += 1;
            port.counters.rx_segments += 1;
            port.counters.rx_bytes += inner.len() as u64;
        }
        Ok(Frame { at, port, network, headers, origin: Origin::Device })
    }

    fn enter(&mut self, pass: &mut Pass<'_>, inner: &Frame) -> Verdict {
        let key = FdbKey::new(inner.network, inner.headers.src);
        let hash = self.fdb.hash(key);
        self.switch(pass, inner, hash)
    }

    /// An ICMP error about a datagram of tapway as a VTEP: what a router says of the way's MTU
    /// holds for the tunnels to that peer (RFC 1191). False: it is about something else.
    pub(super) fn is_error_of_tunnel(
        &mut self,
        pass: &Pass<'_>,
        frame: &Frame,
        (ipv4, quote): (&Ipv4, &Quote),
    ) -> bool {
        let Some(vtep) = self.overlay.vtep.filter(|vtep| vtep.underlay == Underlay::Uplink) else {
            return false;
        };
        // The answer to what is quoted.
        let key = quote.key(frame.network);
        let is_ours = (key.protocol, key.dst, key.sport) == (PROTOCOL_UDP, vtep.address, vtep.port);
        if !is_ours {
            return false;
        }
        let FrameView { bytes, .. } = pass.tx.view(frame.at, pass.burst);
        let message = ETHERNET_HEADER + usize::from(ipv4.header_len);
        if be16(bytes, message) == Some(0x0304)
            && let Some(mtu) = be16(bytes, message + 6)
        {
            self.lower_path_mtu(pass.now, key.src, mtu);
        }
        true
    }
}
