//! DHCP requests on their way to control, and frames of control on their way to a port.
//!
//! The engine knows no leases. It takes requests of clients out of what it receives, on networks
//! that are served: checked, and as many as one port may send. Control answers by
//! [`Command::Send`](super::Command::Send). Each worker takes what it receives itself; the first
//! one sends.

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::pipeline::{Frame, Verdict};
use super::{CommandError, Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::local::dhcp::{DhcpMessage, DhcpRequest, SERVER_PORT};
use crate::packet::{
    ETHERNET_HEADER, Ipv4, Layer, MacAddr, PROTOCOL_UDP, Transport, be16, checksum, ipv4,
};
use crate::route::{NeighbourState, Resolution};
use crate::time::Instant;

/// Requests per second that a port may send to each worker, and at once. A client sends two to get
/// an address; a bridge of a lab behind one port may start a score of them together.
pub(super) const REQUESTS_PER_SECOND: u32 = 10;
pub(super) const REQUEST_BURST: u32 = 40;
/// Requests that wait to be polled; more are dropped.
const MAX_REQUESTS: usize = 256;
/// Frames of control that wait for the next pass; more are refused.
const MAX_OUTGOING: usize = 256;
const UDP_HEADER: usize = 8;

impl Engine {
    /// The next DHCP request.
    pub fn poll_dhcp(&mut self) -> Option<DhcpRequest> {
        self.dhcp_requests.pop_front()
    }

    /// True if a whole packet is a request for the DHCP server of its network.
    pub(super) fn is_dhcp(&self, network: NetworkId, ipv4: &Ipv4) -> bool {
        let is_to_server = matches!(ipv4.transport, Transport::Udp { dport: SERVER_PORT, .. });
        is_to_server && !ipv4.is_fragment() && self.serves_dhcp(network, ipv4.dst)
    }

    fn serves_dhcp(&self, network: NetworkId, dst: Ipv4Addr) -> bool {
        let Some(interface) = self.interfaces.get(network) else { return false };
        let is_served = self.network(network).is_some_and(|network| network.serves_dhcp);
        is_served
            && !interface.is_outside
            && (dst.is_broadcast()
                || dst == interface.address
                || dst == interface.subnet.broadcast())
    }

    /// A request for the DHCP server, in a frame.
    pub(super) fn dhcp(&mut self, pass: &mut Pass<'_>, frame: &Frame) -> Verdict {
        if !self.may_ask(pass.now, frame.port) {
            return Verdict::Dropped(DropReason::DhcpLimit);
        }
        let Layer::Ipv4(ipv4) = frame.headers.layer else {
            return Verdict::Dropped(DropReason::DhcpMalformed);
        };
        let bytes = pass.tx.view(frame.at, pass.burst).first_segment();
        let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        if !ipv4::header_is_valid(packet, ipv4.header_len) {
            return Verdict::Dropped(DropReason::Ipv4Checksum);
        }
        self.take_request(frame, packet, &ipv4)
    }

    /// The same, of a datagram that came in fragments.
    pub(super) fn dhcp_datagram(
        &mut self,
        pass: &Pass<'_>,
        frame: &Frame,
        packet: &[u8],
        ipv4: &Ipv4,
    ) -> Verdict {
        if !self.may_ask(pass.now, frame.port) {
            return Verdict::Dropped(DropReason::DhcpLimit);
        }
        self.take_request(frame, packet, ipv4)
    }

    fn may_ask(&mut self, now: Instant, port: PortId) -> bool {
        self.port_mut(port).is_some_and(|port| port.dhcp.take(now))
    }

    fn take_request(&mut self, frame: &Frame, packet: &[u8], ipv4: &Ipv4) -> Verdict {
        let message = match read(packet, ipv4) {
            Ok(message) => message,
            Err(reason) => return Verdict::Dropped(reason),
        };
        // Who may only use one MAC may not take the addresses of others either.
        let guard = self.port(frame.port).and_then(|port| port.guard);
        if guard.is_some_and(|guard| guard.mac != message.mac) {
            return Verdict::Dropped(DropReason::GuardMac);
        }
        if self.dhcp_requests.len() >= MAX_REQUESTS {
            return Verdict::Dropped(DropReason::DhcpLimit);
        }
        let (network, port) = (frame.network, frame.port);
        self.dhcp_requests.push_back(DhcpRequest { network, port, message });
        Verdict::Local
    }

    /// Takes a frame that is to leave by `port` in the next pass.
    pub(super) fn send_later(&mut self, port: PortId, frame: Bytes) -> Result<(), CommandError> {
        self.port(port).ok_or(CommandError::UnknownPort(port))?;
        if self.outgoing.len() >= MAX_OUTGOING {
            return Err(CommandError::TooManyFrames);
        }
        // The first worker sends for all.
        if self.is_arp_worker() {
            self.outgoing.push_back((port, frame));
        }
        Ok(())
    }

    /// Sends what control left to be sent.
    pub(super) fn send_outgoing(&mut self, pass: &mut Pass<'_>) {
        while let Some((port, frame)) = self.outgoing.pop_front() {
            // It may have been removed meanwhile.
            if self.port(port).is_some() {
                self.generate(pass, &[port], &[&frame]);
            }
        }
    }

    /// Asks a station by ARP whether it is there; [`Engine::neighbour`] knows a second later.
    pub(super) fn ask_neighbour(
        &mut self,
        now: Instant,
        (network, ip): (NetworkId, Ipv4Addr),
        port: PortId,
    ) {
        if !self.is_arp_worker() {
            return;
        }
        if let Resolution::Known(_, index) = self.neighbours.resolve(now, network, ip, port) {
            self.neighbours.probe(now, index);
        }
    }

    /// The MAC of a neighbour that is known to be there.
    pub fn neighbour(&self, now: Instant, network: NetworkId, ip: Ipv4Addr) -> Option<MacAddr> {
        let entry = self.neighbours.get(network, ip)?;
        entry.mac.filter(|_| entry.state_at(now) == NeighbourState::Reachable)
    }
}

/// Reads the message of a datagram.
fn read(packet: &[u8], ipv4: &Ipv4) -> Result<DhcpMessage, DropReason> {
    let segment = packet.get(usize::from(ipv4.header_len)..usize::from(ipv4.total_len));
    let segment = segment.unwrap_or_default();
    let len = be16(segment, 4).map(usize::from).filter(|len| *len >= UDP_HEADER);
    let datagram = len.and_then(|len| segment.get(..len)).ok_or(DropReason::DhcpMalformed)?;
    let is_summed = be16(datagram, 6) != Some(0);
    if is_summed && checksum::transport(ipv4.src, ipv4.dst, PROTOCOL_UDP, datagram) != 0 {
        return Err(DropReason::DhcpMalformed);
    }
    DhcpMessage::parse(datagram.get(UDP_HEADER..).unwrap_or_default())
}
