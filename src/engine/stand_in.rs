//! ARP between hosts on both sides of tunnels, where tapway answers in another's place.
//!
//! * A local host asks for a host behind a peer that somebody told of: answered here, and no request
//!   crosses the underlay.
//! * A local host asks for the gateway: no tunnel is asked. Each host of a network may have a gateway
//!   of the same address and MAC, and then it is the one of its own side that answers.
//! * A gateway of the same MAC, behind a peer, asks for a local host: whose answer would go to the
//!   gateway of this side. So tapway answers, as far as it knows the host, and asks if it does not.

use std::net::Ipv4Addr;

use super::pipeline::{Frame, Verdict};
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::packet::{Arp, ArpOperation, ETHERNET_HEADER, FrameView, Layer, MacAddr, Origin};
use crate::route::Resolution;
use crate::switch::FdbKey;
use crate::time::Instant;

/// Who gets a frame to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every other port of its network.
    All,
    /// Those of this host.
    Here,
}

impl Engine {
    /// Answers a request for a known host behind a tunnel; none: it is no such request.
    pub(super) fn answer_for_endpoint(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
    ) -> Option<Verdict> {
        if self.overlay.endpoints.is_empty() || self.is_tunnel(frame.port) {
            return None;
        }
        let arp = arp_request(pass, frame)?;
        let mac = self.overlay.endpoints.get(frame.network, arp.target_ip)?;
        // An announcement is for everybody (RFC 5227 2.3).
        if arp.sender_ip == arp.target_ip || arp.sender_mac == mac {
            return None;
        }
        let reply = arp.reply_from(mac).frame(arp.sender_mac);
        self.generate(pass, &[frame.port], &[&reply]);
        Some(Verdict::Local)
    }

    /// Who is to get a request beside the gateway.
    pub(super) fn reach_of_arp(&self, pass: &Pass<'_>, frame: &Frame) -> Reach {
        let asks_gateway = arp_request(pass, frame).is_some_and(|arp| {
            let interface = self.interfaces.get(frame.network);
            interface.is_some_and(|own| own.addresses().any(|own| own == arp.target_ip))
        });
        if asks_gateway { Reach::Here } else { Reach::All }
    }

    /// A frame whose source is the gateway's own MAC. From behind a peer it may be of a gateway with
    /// the same one: what that sends to a host of this side passes, and nothing is learned of it.
    pub(super) fn pass_other_gateway(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let ends = Verdict::Dropped(DropReason::OwnMacAsSource);
        let Some(apart) = self.port(frame.port).map(|port| port.apart) else { return ends };
        if !self.is_tunnel(frame.port) || self.is_gateway_mac(frame.network, frame.headers.dst) {
            return ends;
        }
        if frame.headers.dst.is_group() {
            return match arp_request(pass, frame) {
                // Who hears ARP knows the neighbours.
                Some(_) if !self.is_arp_worker() => {
                    self.hand_to_arp_worker(pass, frame, Origin::Owned)
                }
                Some(arp) => self.answer_other_gateway(pass, frame, &arp),
                None => ends,
            };
        }
        match self.fdb.lookup(pass.now, FdbKey::new(frame.network, frame.headers.dst)) {
            Some(egress) => {
                let FrameView { bytes, offload } = pass.tx.view(frame.at, pass.burst);
                let size = (bytes.len(), frame.headers.l3, offload);
                self.bridge(pass, (frame.at, size), (frame.port, apart), egress)
            }
            None => ends,
        }
    }

    /// The MAC of a next hop for a packet that came in by `asked_by`. One that only another gateway
    /// wanted to know is asked for everywhere from now on.
    pub(super) fn resolve_for(
        &mut self,
        now: Instant,
        network: NetworkId,
        ip: Ipv4Addr,
        asked_by: PortId,
    ) -> Resolution {
        let found = self.neighbours.resolve(now, network, ip, asked_by);
        if let Resolution::Pending(index) = found
            && let Some(before) = self.neighbours.asked_by(index)
            && self.is_tunnel(before)
            && !self.is_tunnel(asked_by)
        {
            self.neighbours.pass_to(index, asked_by);
        }
        found
    }

    /// ARP of a gateway with the same MAC.
    pub(super) fn answer_other_gateway(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        arp: &Arp,
    ) -> Verdict {
        if !self.is_tunnel(frame.port) || arp.operation != ArpOperation::Request {
            return Verdict::Dropped(DropReason::OwnMacAsSource);
        }
        let not_here = Verdict::Dropped(DropReason::ArpNotForUs);
        let interface = self.interfaces.get(frame.network);
        let is_host =
            |ip| interface.is_some_and(|own| own.subnet.contains(&ip) && own.address != ip);
        if !is_host(arp.target_ip) {
            return not_here;
        }
        let found = self.neighbours.resolve(pass.now, frame.network, arp.target_ip, frame.port);
        let Resolution::Known(mac, _) = found else { return not_here };
        match self.fdb.lookup(pass.now, FdbKey::new(frame.network, mac)) {
            Some(port) if !self.is_tunnel(port) => {
                let reply = arp.reply_from(mac).frame(arp.sender_mac);
                self.generate(pass, &[frame.port], &[&reply]);
                Verdict::Local
            }
            _ => not_here,
        }
    }
}

/// An untagged ARP request.
fn arp_request(pass: &Pass<'_>, frame: &Frame) -> Option<Arp> {
    if frame.headers.layer != Layer::Arp || frame.headers.is_tagged() {
        return None;
    }
    let bytes = pass.tx.frame(frame.at, pass.burst);
    let arp = Arp::parse(bytes.get(ETHERNET_HEADER..)?).ok()?;
    (arp.operation == ArpOperation::Request && arp.sender_mac != MacAddr::ZERO).then_some(arp)
}
