//! Layer 2: learn the source, look up the destination, flood to groups.

use super::pipeline::{Frame, Verdict};
use super::stand_in::Reach;
use super::{Audience, Engine, Notice, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::packet::{FrameRef, FrameView, Headers, Layer, Offload, Origin};
use crate::switch::{Apart, FdbKey};

impl Engine {
    /// Any frame: learn the source, look up the destination. `hash` is that of the source.
    pub(super) fn switch(&mut self, pass: &mut Pass<'_>, frame: &Frame, hash: u64) -> Verdict {
        let Headers { dst, src, .. } = frame.headers;
        if !src.is_station() {
            return Verdict::Dropped(DropReason::GroupSource);
        }
        if self.is_gateway_mac(frame.network, src) {
            return self.pass_other_gateway(pass, frame);
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
                let apart = self.port(frame.port).map_or_else(Apart::default, |port| port.apart);
                let ingress = (frame.port, apart);
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
        (ingress, apart): (PortId, Apart),
        egress: PortId,
    ) -> Verdict {
        if egress == ingress {
            return Verdict::Dropped(DropReason::SamePort);
        }
        if !apart.is_none()
            && let Some(reason) = self.port(egress).and_then(|port| apart.parts(port.apart))
        {
            return Verdict::Dropped(reason);
        }
        self.report(pass.now, ingress, Tier::Bridge);
        match self.send_sized(pass, at, egress, size) {
            Ok(()) => Verdict::Forwarded,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// A frame to a group: flooded, and read by the gateway if it is ARP or asks its DHCP server.
    fn group(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        if let Layer::Ipv4(ipv4) = frame.headers.layer
            && self.is_dhcp(frame.network, &ipv4)
            && !frame.headers.is_tagged()
        {
            return self.group_with_dhcp(pass, frame);
        }
        if let Some(verdict) = self.answer_for_endpoint(pass, frame) {
            return verdict;
        }
        let has_gateway = self.interfaces.get(frame.network).is_some();
        let is_for_gateway = frame.headers.layer == Layer::Arp && !frame.headers.is_tagged();
        if has_gateway && is_for_gateway {
            return self.group_arp(pass, frame);
        }
        self.flood(pass, frame)
    }

    /// ARP to all, which the gateway hears, too. What claims its address no neighbour is to hear: it
    /// would believe it until the defence comes.
    fn group_arp(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        match (self.claims_own_address(pass, frame), self.is_arp_worker()) {
            (true, true) => return self.arp(pass, frame),
            (true, false) => return self.hand_to_arp_worker(pass, frame, Origin::Owned),
            (false, false) => return self.group_for_arp_worker(pass, frame),
            (false, true) => {}
        }
        let reach = self.reach_of_arp(pass, frame);
        let local = self.arp(pass, frame);
        match (self.flood_within(pass, frame, reach), local) {
            (Verdict::Dropped(_), Verdict::Local) => Verdict::Local,
            (Verdict::Dropped(DropReason::NoOtherPort | DropReason::Isolated), local) => local,
            (flooded, _) => flooded,
        }
    }

    /// A request for the DHCP server that others may serve, too. Where tapway does not take its copy
    /// while others get theirs, that is counted at the port besides the frame's own outcome.
    fn group_with_dhcp(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let local = self.dhcp(pass, frame);
        // Behind peers others may serve, from ranges of their own.
        match (self.flood_within(pass, frame, Reach::Here), local) {
            // Nobody else got it: it is counted by what became of it here.
            (Verdict::Dropped(_), local) => local,
            (flooded, Verdict::Dropped(reason)) => {
                self.count_device_drops(frame.port, reason, 1);
                flooded
            }
            (flooded, _) => flooded,
        }
    }

    /// The same where another worker hears ARP: it gets a copy, or the frame if nobody else does.
    fn group_for_arp_worker(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let reach = self.reach_of_arp(pass, frame);
        match self.flood_within(pass, frame, reach) {
            Verdict::Dropped(_) => self.hand_to_arp_worker(pass, frame, Origin::Owned),
            flooded => {
                self.hand_to_arp_worker(pass, frame, Origin::Copy);
                flooded
            }
        }
    }

    /// A frame to every other port of its network.
    pub(super) fn flood(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        self.flood_within(pass, frame, Reach::All)
    }

    fn flood_within(&mut self, pass: &mut Pass<'_>, frame: &Frame, reach: Reach) -> Verdict {
        let FrameView { bytes, offload } = pass.tx.view(frame.at, pass.burst);
        let segments = offload.segments(bytes.len());
        let Some(port) = self.port_mut(frame.port) else {
            return Verdict::Dropped(DropReason::UnknownPort);
        };
        let apart = port.apart;
        if !port.storm.take_many(pass.now, segments) {
            return Verdict::Dropped(DropReason::StormLimit);
        }
        if !frame.headers.dst.is_group() {
            let (network, mac) = (frame.network, frame.headers.dst);
            self.notify(Audience::All, Notice::Sought { network, mac });
        }
        let count = self.network(frame.network).map_or(0, |network| network.bridge.ports().len());
        let (mut sent, mut refused) = (false, DropReason::NoOtherPort);
        let mut lost = Vec::new();
        for at in 0..count {
            let member =
                self.network(frame.network).and_then(|n| n.bridge.ports().get(at).copied());
            let Some(egress) = member.filter(|egress| *egress != frame.port) else { continue };
            if let Some(reason) = self.port(egress).and_then(|port| apart.parts(port.apart)) {
                refused = reason;
                continue;
            }
            if reach == Reach::Here && self.is_tunnel(egress) {
                continue;
            }
            match self.send_shared(pass, frame.at, egress, frame.headers.l3) {
                Ok(()) => sent = true,
                Err(reason) => {
                    lost.extend(self.is_named_apart(egress, reason).then_some((egress, reason)));
                    refused = reason;
                }
            }
        }
        if !sent {
            return Verdict::Dropped(refused);
        }
        self.count_lost_copies(&lost);
        self.report(pass.now, frame.port, Tier::Flood);
        Verdict::Flooded
    }
}
