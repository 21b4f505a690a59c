//! ARP for IPv4 over Ethernet (RFC 826), by smoltcp's wire types.

use std::net::Ipv4Addr;

use smoltcp::wire::{
    ArpOperation as WireOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame,
    EthernetProtocol, EthernetRepr,
};

use super::MacAddr;
use crate::drop_reason::DropReason;

/// Length of an ARP message in its frame, in bytes.
const FRAME_LEN: usize = 42;

/// Request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: ArpOperation,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address; unspecified in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// Target hardware address; zero in a request.
    pub target_mac: MacAddr,
    /// Target protocol address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// What a host tells all about its own address (RFC 5227 2.3).
    pub const fn announcement(mac: MacAddr, address: Ipv4Addr) -> Self {
        Self {
            operation: ArpOperation::Request,
            sender_mac: mac,
            sender_ip: address,
            target_mac: MacAddr::ZERO,
            target_ip: address,
        }
    }

    /// Reads the message behind the Ethernet header.
    ///
    /// # Errors
    /// [`DropReason::ArpMalformed`] for other hardware or protocol types, wrong lengths, unknown
    /// operations, and a sender MAC that no station may have.
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let packet = ArpPacket::new_checked(payload).map_err(|_| DropReason::ArpMalformed)?;
        let repr = ArpRepr::parse(&packet).map_err(|_| DropReason::ArpMalformed)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        } = repr
        else {
            return Err(DropReason::ArpMalformed);
        };
        let operation = match operation {
            WireOperation::Request => ArpOperation::Request,
            WireOperation::Reply => ArpOperation::Reply,
            WireOperation::Unknown(_) => return Err(DropReason::ArpMalformed),
        };
        let sender_mac = MacAddr(source_hardware_addr.0);
        if !sender_mac.is_station() {
            return Err(DropReason::ArpMalformed);
        }
        Ok(Self {
            operation,
            sender_mac,
            sender_ip: source_protocol_addr,
            target_mac: MacAddr(target_hardware_addr.0),
            target_ip: target_protocol_addr,
        })
    }

    /// The whole frame, sent from the sender's MAC to `dst`.
    pub fn frame(&self, dst: MacAddr) -> [u8; FRAME_LEN] {
        let mut buffer = [0; FRAME_LEN];
        let mut frame = EthernetFrame::new_unchecked(&mut buffer[..]);
        EthernetRepr {
            src_addr: EthernetAddress(self.sender_mac.0),
            dst_addr: EthernetAddress(dst.0),
            ethertype: EthernetProtocol::Arp,
        }
        .emit(&mut frame);
        let operation = match self.operation {
            ArpOperation::Request => WireOperation::Request,
            ArpOperation::Reply => WireOperation::Reply,
        };
        ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender_ip,
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: self.target_ip,
        }
        .emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        buffer
    }

    /// The answer to a request: `mac` has the address asked for.
    #[must_use]
    pub const fn reply_from(&self, mac: MacAddr) -> Self {
        Self {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Arp = Arp {
        operation: ArpOperation::Request,
        sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        sender_ip: Ipv4Addr::new(10, 0, 0, 1),
        target_mac: MacAddr::ZERO,
        target_ip: Ipv4Addr::new(10, 0, 0, 2),
    };

    #[test]
    fn frame_parses_back() {
        let frame = REQUEST.frame(MacAddr::BROADCAST);
        assert_eq!(Arp::parse(&frame[14..]), Ok(REQUEST));
    }

    #[test]
    fn foreign_types_lengths_and_senders_are_refused() {
        let good = REQUEST.frame(MacAddr::BROADCAST);
        for (offset, value) in [(15, 2), (16, 9), (18, 7), (19, 5), (21, 9), (22, 0xff)] {
            let mut bad = good;
            bad[offset] = value;
            assert_eq!(Arp::parse(&bad[14..]), Err(DropReason::ArpMalformed), "byte {offset}");
        }
        assert_eq!(Arp::parse(&good[14..41]), Err(DropReason::ArpMalformed));
    }
}
