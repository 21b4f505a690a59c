//! The guard of a port with a configured address: its host may only use its own MAC and IP.

use std::net::Ipv4Addr;

use crate::drop_reason::DropReason;
use crate::packet::{
    Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN,
    Headers, Layer, MacAddr, Transport, array,
};

const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;
/// What is below is a length (IEEE 802.3 3.2.6).
const LEAST_ETHERTYPE: u16 = 0x600;

/// What the host behind a port may call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its IPv4 address; unspecified: it has none until it has a lease by DHCP.
    pub address: Ipv4Addr,
}

impl Guard {
    /// True if the host has no address yet.
    pub const fn is_unleased(&self) -> bool {
        self.address.is_unspecified()
    }

    /// Checks a frame the host sent.
    ///
    /// # Errors
    /// The reason to drop it: a foreign source MAC, IPv4 address or ARP sender. The unspecified
    /// address passes where it is legal: ARP probes (RFC 5227) and DHCP requests (RFC 2131).
    pub fn check(&self, headers: &Headers, frame: &[u8]) -> Result<(), DropReason> {
        if headers.src != self.mac {
            return Err(DropReason::GuardMac);
        }
        match headers.layer {
            Layer::Ipv4(ipv4) if ipv4.src == self.address && !self.is_unleased() => Ok(()),
            Layer::Ipv4(ipv4)
                if ipv4.src.is_unspecified()
                    && matches!(
                        ipv4.transport,
                        Transport::Udp { sport: DHCP_CLIENT, dport: DHCP_SERVER }
                    ) =>
            {
                Ok(())
            }
            Layer::Ipv4(_) => Err(DropReason::GuardIp),
            Layer::Malformed(reason) => Err(reason),
            Layer::Arp => {
                let arp = Arp::parse(frame.get(usize::from(headers.l3)..).unwrap_or_default())?;
                let sender_is_ours =
                    arp.sender_ip == self.address || arp.sender_ip.is_unspecified();
                if sender_is_ours && arp.sender_mac == self.mac {
                    Ok(())
                } else {
                    Err(DropReason::GuardArp)
                }
            }
            // Behind tags that are not looked through anything may be, and receivers may look: a
            // tag of priority only they take off however many there are.
            Layer::Other if is_tag(headers.ethertype) => Err(DropReason::GuardTags),
            Layer::Other if is_packet_by_snap(headers, frame) => Err(DropReason::GuardTags),
            Layer::Ipv6 | Layer::Other => Ok(()),
        }
    }
}

/// True if a frame of the older kind, which has a length where others have their EtherType, carries
/// what could have come without (RFC 1042): some receivers read it all the same.
fn is_packet_by_snap(headers: &Headers, frame: &[u8]) -> bool {
    let llc = array::<8>(frame, usize::from(headers.l3));
    let Some([0xaa, 0xaa, _, 0, 0, 0 | 0xf8, e0, e1]) = llc else { return false };
    let ethertype = u16::from_be_bytes([e0, e1]);
    let is_packet = matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_ARP | ETHERTYPE_IPV6);
    headers.ethertype < LEAST_ETHERTYPE && (is_packet || is_tag(ethertype))
}

const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN)
}
