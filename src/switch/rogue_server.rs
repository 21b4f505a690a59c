//! What a guarded host may not tell its neighbours where the gateway leases addresses: an address,
//! a router or a resolver of its own, by DHCP, DHCPv6 (RFC 7610) or router advertisement (RFC 6105).

use crate::drop_reason::DropReason;
use crate::packet::ipv6::{PROTOCOL_ICMPV6, ROUTER_ADVERTISEMENT, UpperLayer, upper_layer};
use crate::packet::{Headers, Layer, PROTOCOL_UDP, Transport, be16};

/// Clients look at the destination port only, so that is what counts.
const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;

/// Checks that a frame is no message of a DHCP server or a router.
///
/// # Errors
/// [`DropReason::GuardDhcp`] or [`DropReason::GuardRa`]. Of a fragmented message the first fragment
/// is refused, so that the others come to nothing (RFC 7113).
pub fn refuse_rogue_server(headers: &Headers, frame: &[u8]) -> Result<(), DropReason> {
    match headers.layer {
        Layer::Ipv4(ipv4) => match ipv4.transport {
            Transport::Udp { dport: DHCP_CLIENT, .. } => Err(DropReason::GuardDhcp),
            _ => Ok(()),
        },
        Layer::Ipv6 => refuse_ipv6(frame.get(usize::from(headers.l3)..).unwrap_or_default()),
        Layer::Arp | Layer::Other | Layer::Malformed(_) => Ok(()),
    }
}

fn refuse_ipv6(packet: &[u8]) -> Result<(), DropReason> {
    match upper_layer(packet) {
        // A first fragment that ends before its type is refused like one that hides it.
        UpperLayer::Known(PROTOCOL_ICMPV6, message) => match message.first() {
            Some(&ROUTER_ADVERTISEMENT) | None => Err(DropReason::GuardRa),
            Some(_) => Ok(()),
        },
        UpperLayer::Known(PROTOCOL_UDP, datagram) => match be16(datagram, 2) {
            Some(DHCPV6_CLIENT) | None => Err(DropReason::GuardDhcp),
            Some(_) => Ok(()),
        },
        UpperLayer::Known(..) | UpperLayer::LaterFragment => Ok(()),
        UpperLayer::Hidden => Err(DropReason::GuardRa),
    }
}
