//! What tapway says itself: ARP, echo replies, refusals, ICMP errors.
//!
//! ARP is answered for tapway's own addresses, and in one case for another host's: between the
//! isolated hosts of one inside network (`icc = false`) requests do not pass, yet the server of a
//! published port is shown its neighbour's own address and has to answer to it. So tapway answers
//! for a host that it knows to be behind another port (proxy ARP, RFC 1027; within one network:
//! RFC 3069). What is then sent to the gateway's MAC is translated if it belongs to a session and
//! ends as `isolated` if not.

use std::net::Ipv4Addr;

use super::pipeline::{Frame, Verdict};
use super::{Audience, Engine, Event, Notice, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::local::{self, Outcome};
use crate::packet::icmp::IcmpError;
use crate::packet::{
    Arp, ArpOperation, ETHERNET_HEADER, FrameRef, FrameView, Headers, Held, Ipv4, Layer, MacAddr,
    Origin, be32, fragment, ipv4,
};
use crate::route::{Resolution, may_report};
use crate::switch::FdbKey;

/// Where the sender's address is in an ARP message, in bytes.
const ARP_SENDER_IP: usize = 14;

impl Engine {
    /// An ARP message that tapway can read: to its MAC, or to all.
    pub(super) fn arp(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        let bytes = pass.tx.frame(frame.at, pass.burst);
        let arp = match Arp::parse(bytes.get(ETHERNET_HEADER..).unwrap_or_default()) {
            Ok(arp) => arp,
            Err(reason) => return Verdict::Dropped(reason),
        };
        let Some(interface) = self.interfaces.get(frame.network) else {
            return Verdict::Dropped(DropReason::NoGateway);
        };
        let (mac, subnet) = (interface.mac, interface.subnet);
        if interface.shared.is_some() {
            return self.arp_copy(pass, frame, &arp);
        }
        let is_ours = |ip: Ipv4Addr| interface.addresses().any(|own| own == ip);
        if arp.sender_mac == mac {
            return self.answer_other_gateway(pass, frame, &arp);
        }
        let (claims_ours, asks_ours) = (is_ours(arp.sender_ip), is_ours(arp.target_ip));
        if claims_ours {
            return self.defend(pass, frame, &arp, mac);
        }
        let is_neighbour = subnet.contains(&arp.sender_ip) && !arp.sender_ip.is_unspecified();
        let (ip, sender) = (arp.sender_ip, arp.sender_mac);
        match arp.operation {
            ArpOperation::Request if asks_ours => {
                if is_neighbour {
                    self.neighbours.heard_request(pass.now, frame.network, ip, sender);
                    self.tell_neighbour(frame.network, (ip, sender), false);
                }
                let reply = arp.reply_from(mac).frame(sender);
                self.generate(pass, &[frame.port], &[&reply]);
                Verdict::Local
            }
            ArpOperation::Reply if asks_ours && frame.headers.dst == mac => {
                if self.neighbours.heard_reply(pass.now, frame.network, ip, sender) {
                    self.tell_neighbour(frame.network, (ip, sender), true);
                    Verdict::Local
                } else {
                    Verdict::Dropped(DropReason::ArpUnsolicited)
                }
            }
            ArpOperation::Request
                if is_neighbour && self.is_proxied(pass, frame, (ip, arp.target_ip)) =>
            {
                if self.neighbours.merge(pass.now, frame.network, ip, sender) {
                    self.tell_neighbour(frame.network, (ip, sender), false);
                }
                let reply = arp.reply_from(mac).frame(sender);
                self.generate(pass, &[frame.port], &[&reply]);
                Verdict::Local
            }
            operation => {
                if is_neighbour && self.neighbours.merge(pass.now, frame.network, ip, sender) {
                    self.tell_neighbour(frame.network, (ip, sender), false);
                    Verdict::Local
                } else if operation == ArpOperation::Request {
                    Verdict::Dropped(DropReason::ArpNotForUs)
                } else {
                    Verdict::Dropped(DropReason::ArpUnsolicited)
                }
            }
        }
    }

    /// True if a request, from one address for another, is to be answered in the other's place.
    /// A host that is not known yet is asked for, and the request's repetition answered. Probes
    /// and announcements (RFC 5227) are not: the address would seem to be taken.
    fn is_proxied(
        &mut self,
        pass: &Pass<'_>,
        frame: &Frame,
        (sender, target): (Ipv4Addr, Ipv4Addr),
    ) -> bool {
        let is_isolated = self.port(frame.port).is_some_and(|port| port.is_isolated);
        let Some(interface) = self.interfaces.get(frame.network) else { return false };
        if !is_isolated
            || interface.is_outside
            || target == sender
            || !interface.subnet.contains(&target)
            || self.interfaces.is_directed_broadcast(target)
        {
            return false;
        }
        let resolution = self.neighbours.resolve(pass.now, frame.network, target, frame.port);
        let Resolution::Known(mac, _) = resolution else { return false };
        // Behind the same port it answers itself.
        let place = self.fdb.lookup(pass.now, FdbKey::new(frame.network, mac));
        place.is_some_and(|port| port != frame.port)
    }

    /// Tells the other engines what an ARP message said.
    pub(super) fn tell_neighbour(
        &mut self,
        network: NetworkId,
        (ip, mac): (Ipv4Addr, MacAddr),
        is_confirmed: bool,
    ) {
        self.notify(Audience::All, Notice::Neighbour { network, ip, mac, is_confirmed });
    }

    /// True if the sender of an ARP message, well formed or not, says that an address of tapway is
    /// its own.
    pub(super) fn claims_own_address(&self, pass: &Pass<'_>, frame: &Frame) -> bool {
        let sender = be32(pass.tx.frame(frame.at, pass.burst), ETHERNET_HEADER + ARP_SENDER_IP);
        let interface = self.interfaces.get(frame.network).filter(|own| own.shared.is_none());
        let Some((interface, sender)) = interface.zip(sender) else { return false };
        interface.addresses().any(|own| own.to_bits() == sender)
    }

    /// Somebody claims an address of tapway: say whose it is, at a limited rate, and to all of the
    /// network (RFC 5227 2.4): others may have heard the claim.
    fn defend(&mut self, pass: &mut Pass<'_>, frame: &Frame, arp: &Arp, mac: MacAddr) -> Verdict {
        let (network, address) = (frame.network, arp.sender_ip);
        self.tell(pass.now, Event::DuplicateAddress { network, address, mac: arp.sender_mac });
        if self.icmp_limiter.allow(pass.now, address) {
            let claim = Arp::announcement(mac, address).frame(MacAddr::BROADCAST);
            let members = self.network(network).map(|network| network.bridge.ports().to_vec());
            self.generate(pass, &members.unwrap_or_default(), &[&claim]);
        }
        Verdict::Dropped(DropReason::DuplicateAddress)
    }

    /// Asks for a neighbour, by unicast if its old MAC is to be checked. What another gateway of the
    /// same MAC wants to know, behind a tunnel, is asked on this side only: it asks the other sides
    /// itself, and two gateways would ask each other for a host that is nowhere without end.
    pub(super) fn request_neighbour(
        &mut self,
        pass: &mut Pass<'_>,
        network: NetworkId,
        ip: Ipv4Addr,
        (to, asked_by): (Option<MacAddr>, Option<PortId>),
    ) {
        let Some(interface) = self.interfaces.get(network) else { return };
        let request = Arp {
            operation: ArpOperation::Request,
            sender_mac: interface.mac,
            sender_ip: interface.address,
            target_mac: MacAddr::ZERO,
            target_ip: ip,
        };
        let bytes = request.frame(to.unwrap_or(MacAddr::BROADCAST));
        let known = to.and_then(|mac| self.fdb.lookup(pass.now, FdbKey::new(network, mac)));
        let ports = match known {
            Some(port) => vec![port],
            None => {
                let stays_here = asked_by.is_some_and(|port| self.is_tunnel(port));
                let members = self.network(network).map(|network| network.bridge.ports());
                let members = members.unwrap_or_default().iter().copied();
                members.filter(|port| !(stays_here && self.is_tunnel(*port))).collect()
            }
        };
        self.generate(pass, &ports, &[&bytes]);
    }

    /// Tells the hosts behind a port who the gateway is, so that stale entries go at once.
    pub(super) fn announce_gateway(&mut self, pass: &mut Pass<'_>, port: PortId) {
        let Some(network) = self.port(port).map(|port| port.network) else { return };
        let Some(interface) = self.interfaces.get(network) else { return };
        if interface.shared.is_some() {
            return;
        }
        let mac = interface.mac;
        let addresses: Vec<Ipv4Addr> = interface.addresses().collect();
        for address in addresses {
            self.generate(
                pass,
                &[port],
                &[&Arp::announcement(mac, address).frame(MacAddr::BROADCAST)],
            );
        }
    }

    /// A packet for tapway itself.
    pub(super) fn local(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        // The first segment of a super-frame tells all, but to a stream, which looks for the others.
        let bytes = pass.tx.view(frame.at, pass.burst).first_segment();
        let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        match Ipv4::parse(packet) {
            Ok(ipv4) if self.is_hosts_own(frame, &ipv4) => Verdict::Dropped(DropReason::HostsOwn),
            Ok(ipv4) => self.local_datagram(pass, frame, packet, &ipv4),
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// A whole datagram for tapway itself; `frame` is, or belongs to, what brought it.
    pub(super) fn local_datagram(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        packet: &[u8],
        ipv4: &Ipv4,
    ) -> Verdict {
        if self.is_dhcp(frame.network, ipv4) {
            return self.dhcp_datagram(pass, frame, packet, ipv4);
        }
        if self.is_encapsulated(frame, ipv4) {
            return self.take_encapsulated_datagram(pass, packet);
        }
        if let Some(verdict) = self.answer_names(pass, frame, packet, ipv4) {
            return verdict;
        }
        let from_outside = !self.is_inside(frame.network);
        let id = self.nat.next_ip_id();
        match local::answer(packet, ipv4, from_outside, id) {
            Outcome::Answer(datagram) => {
                self.answer(pass, frame, &datagram);
                Verdict::Local
            }
            Outcome::Refuse(reason, datagram) => {
                if self.icmp_limiter.allow(pass.now, ipv4.src) {
                    self.answer(pass, frame, &datagram);
                }
                Verdict::Dropped(reason)
            }
            Outcome::Report(reason, error) => {
                self.report_packet(pass, frame, packet, error);
                Verdict::Dropped(reason)
            }
            Outcome::Drop(reason) => Verdict::Dropped(reason),
        }
    }

    /// Tells the sender of a frame why its packet ends, where that may be and the rate allows.
    pub(super) fn report_error(&mut self, pass: &mut Pass<'_>, frame: &Frame, error: IcmpError) {
        let quoted = pass.tx.view(frame.at, pass.burst).first_segment();
        let packet = quoted.get(ETHERNET_HEADER..).unwrap_or_default();
        self.report_packet(pass, frame, packet, error);
    }

    fn report_packet(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        packet: &[u8],
        error: IcmpError,
    ) {
        let Layer::Ipv4(ipv4) = frame.headers.layer else { return };
        if !may_report(&frame.headers) {
            return;
        }
        let Some(interface) = self.interfaces.get(frame.network) else { return };
        // A closed port answers from the address it was asked at (RFC 1122 3.2.2).
        let is_own = self.interfaces.owner_of(ipv4.dst).is_some();
        let from_destination =
            is_own && matches!(error, IcmpError::PortUnreachable | IcmpError::ProtocolUnreachable);
        let src = if from_destination { ipv4.dst } else { interface.address };
        if self.icmp_limiter.allow(pass.now, ipv4.src) {
            let datagram = error.datagram(src, ipv4.src, packet);
            self.answer(pass, frame, &datagram);
        }
    }

    /// Reports about a frame that waited.
    pub(super) fn report_held(&mut self, pass: &mut Pass<'_>, held: &Held, error: IcmpError) {
        if !self.is_there(held) {
            return;
        }
        let Ok(headers) = Headers::parse(&held.frame) else { return };
        let Held { port, network, origin, .. } = *held;
        // `at` is not used: the report quotes the frame that waited.
        let frame = Frame { at: FrameRef::Own(u16::MAX), port, network, headers, origin };
        let mut bytes = held.frame.to_vec();
        let frame = self.unlooped(&mut bytes, held.offload, &frame);
        let quoted = FrameView { bytes: &bytes, offload: held.offload }.first_segment();
        let packet = quoted.get(ETHERNET_HEADER..).unwrap_or_default();
        self.report_packet(pass, &frame, packet, error);
    }

    /// A frame that waited in vain for its next hop.
    pub(super) fn fail_held(&mut self, pass: &mut Pass<'_>, held: &Held) {
        if held.origin == Origin::Encapsulated {
            return self.drop_held(pass.now, held, DropReason::VxlanNoWay);
        }
        self.report_held(pass, held, IcmpError::HostUnreachable);
        self.drop_held(pass.now, held, DropReason::HostUnreachable);
    }

    /// Sends a datagram back where `frame` came from, in fragments if it must.
    pub(super) fn answer(&mut self, pass: &mut Pass<'_>, frame: &Frame, datagram: &[u8]) {
        let Some(interface) = self.interfaces.get(frame.network) else { return };
        let of_port = self.port(frame.port).map_or(interface.mtu, |port| port.mtu);
        let mtu = usize::from(interface.mtu.min(of_port));
        let ethernet = ipv4::ethernet(frame.headers.src, interface.mac);
        if datagram.len() <= mtu {
            self.generate(pass, &[frame.port], &[&ethernet, datagram]);
            return;
        }
        let mut pieces = Vec::new();
        fragment::fragment(datagram, mtu, |piece| pieces.push(piece.to_vec()));
        for piece in pieces {
            self.generate(pass, &[frame.port], &[&ethernet, &piece]);
        }
    }

    /// Sends a frame of tapway's own to each of `ports`. At the pass's bound it is lost, counted
    /// at the port only: it is none of the received frames.
    pub(super) fn generate(&mut self, pass: &mut Pass<'_>, ports: &[PortId], parts: &[&[u8]]) {
        let generated = pass.tx.generate(parts);
        for port in ports {
            match generated {
                Ok(at) => {
                    if self.send_own(pass, at, *port).is_ok() {
                        self.totals.generated += 1;
                    }
                }
                Err(_) => self.count_device_drops(*port, DropReason::EgressQueueFull, 1),
            }
        }
    }
}
