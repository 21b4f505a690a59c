//! One pass over a frame: where its headers are and what the tiers need of them.

use std::net::Ipv4Addr;

use super::{
    ETHERNET_HEADER, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN,
    ETHERTYPE_VLAN, FlowKey, IPV4_HEADER, MacAddr, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP,
    VLAN_TAG, array, be16, icmp,
};
use crate::drop_reason::DropReason;
use crate::id::NetworkId;

/// VLAN tags looked through to find the EtherType; a third one makes the frame "other".
const MAX_TAGS: usize = 2;

/// What a frame is. A frame that only the bridge handles may well carry a malformed packet: it
/// is [`Layer::Malformed`] and is dropped only where somebody has to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Destination MAC.
    pub dst: MacAddr,
    /// Source MAC.
    pub src: MacAddr,
    /// EtherType behind the tags; a length below 0x600 is an LLC frame.
    pub ethertype: u16,
    /// Bytes before the network layer: 14, 18 or 22.
    pub l3: u8,
    /// The network layer.
    pub layer: Layer,
}

/// The network layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// ARP; read in full by [`super::Arp::parse`].
    Arp,
    /// An IPv4 packet that fits its frame. Its header checksum has not been looked at.
    Ipv4(Ipv4),
    /// IPv6, not looked into.
    Ipv6,
    /// Anything else.
    Other,
    /// IPv4 by EtherType, but not a packet.
    Malformed(DropReason),
}

/// The fields of an IPv4 packet that forwarding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Header and payload in bytes; the frame may carry a trailer behind.
    pub total_len: u16,
    /// Identification.
    pub id: u16,
    /// Offset of this fragment in bytes.
    pub fragment_offset: u16,
    /// Header length in bytes: 20 to 60.
    pub header_len: u8,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub protocol: u8,
    /// DF.
    pub dont_fragment: bool,
    /// MF.
    pub more_fragments: bool,
    /// The layer above.
    pub transport: Transport,
}

/// The layer above IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP; `flags` is byte 13 of its header.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// CWR to FIN.
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// An ICMP query (echo, timestamp, information, address mask).
    Query {
        /// Identifier.
        id: u16,
        /// A reply, not a request.
        reply: bool,
    },
    /// An ICMP message about another packet.
    IcmpError,
    /// A protocol without ports, or an ICMP type that is neither query nor error.
    Other,
    /// A fragment after the first: no transport header.
    LaterFragment,
    /// The transport header does not fit the packet.
    Truncated,
}

impl Headers {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`DropReason::FrameTooShort`] if there is no whole Ethernet header.
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let Some((ethernet, _)) = frame.split_first_chunk::<ETHERNET_HEADER>() else {
            return Err(DropReason::FrameTooShort);
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *ethernet;
        let mut ethertype = u16::from_be_bytes([t0, t1]);
        let mut l3 = ETHERNET_HEADER;
        for _ in 0..MAX_TAGS {
            if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN) {
                break;
            }
            ethertype = be16(frame, l3 + 2).ok_or(DropReason::FrameTooShort)?;
            l3 += VLAN_TAG;
        }
        let layer = match ethertype {
            ETHERTYPE_IPV4 => match Ipv4::parse(frame.get(l3..).unwrap_or_default()) {
                Ok(ipv4) => Layer::Ipv4(ipv4),
                Err(reason) => Layer::Malformed(reason),
            },
            ETHERTYPE_ARP => Layer::Arp,
            ETHERTYPE_IPV6 => Layer::Ipv6,
            _ => Layer::Other,
        };
        Ok(Self {
            dst: MacAddr([d0, d1, d2, d3, d4, d5]),
            src: MacAddr([s0, s1, s2, s3, s4, s5]),
            ethertype,
            l3: l3 as u8,
            layer,
        })
    }

    /// True if the frame carries a VLAN tag.
    pub const fn is_tagged(&self) -> bool {
        self.l3 as usize > ETHERNET_HEADER
    }

    /// Bytes of the frame that count against the MTU.
    pub const fn payload_len(&self, frame_len: usize) -> usize {
        frame_len.saturating_sub(self.l3 as usize)
    }
}

impl Ipv4 {
    /// What is read of no packet.
    pub const NONE: Self = Self {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
        total_len: 0,
        id: 0,
        fragment_offset: 0,
        header_len: 0,
        ttl: 0,
        protocol: 0,
        dont_fragment: false,
        more_fragments: false,
        transport: Transport::Truncated,
    };

    /// Reads an IPv4 packet; bytes behind its total length are ignored.
    ///
    /// # Errors
    /// The reason for which a router drops it silently (RFC 1812 5.2.2). The header checksum is
    /// not verified here: a bridge does not care, see [`super::ipv4::header_is_valid`].
    #[inline(always)]
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let Some((header, _)) = packet.split_first_chunk::<IPV4_HEADER>() else {
            return Err(DropReason::Ipv4Truncated);
        };
        let [vihl, _, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, src @ .., d0, d1, d2, d3] =
            *header;
        if vihl >> 4 != 4 {
            return Err(DropReason::Ipv4Version);
        }
        let header_len = usize::from(vihl & 0x0f) * 4;
        let total_len = u16::from_be_bytes([l0, l1]);
        if header_len < IPV4_HEADER || usize::from(total_len) < header_len {
            return Err(DropReason::Ipv4HeaderLength);
        }
        let Some(payload) = packet.get(header_len..usize::from(total_len)) else {
            return Err(DropReason::Ipv4Truncated);
        };
        let flags = u16::from_be_bytes([f0, f1]);
        let fragment_offset = (flags & 0x1fff).saturating_mul(8);
        let transport = if fragment_offset > 0 {
            Transport::LaterFragment
        } else {
            Transport::parse(protocol, payload)
        };
        Ok(Self {
            src: Ipv4Addr::from(src),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
            total_len,
            id: u16::from_be_bytes([i0, i1]),
            fragment_offset,
            header_len: header_len as u8,
            ttl,
            protocol,
            dont_fragment: flags & 0x4000 != 0,
            more_fragments: flags & 0x2000 != 0,
            transport,
        })
    }

    /// True for every fragment, the first included.
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset > 0
    }

    /// Bytes of payload.
    pub const fn payload_len(&self) -> usize {
        (self.total_len as usize).saturating_sub(self.header_len as usize)
    }

    /// The key of the flow this packet belongs to; none for fragments and ICMP errors.
    #[inline(always)]
    pub fn flow_key(&self, network: NetworkId) -> Option<FlowKey> {
        if self.is_fragment() {
            return None;
        }
        self.datagram_key(network)
    }

    /// The key of the flow the datagram belongs to, for a first fragment too.
    #[inline(always)]
    pub fn datagram_key(&self, network: NetworkId) -> Option<FlowKey> {
        let (sport, dport) = self.transport.ports()?;
        Some(FlowKey {
            network,
            protocol: self.protocol,
            src: self.src,
            dst: self.dst,
            sport,
            dport,
        })
    }
}

impl Transport {
    #[inline(always)]
    fn parse(protocol: u8, payload: &[u8]) -> Self {
        match protocol {
            PROTOCOL_TCP => Self::parse_tcp(payload),
            PROTOCOL_UDP => match payload.first_chunk::<8>() {
                Some([a, b, c, d, ..]) => Self::Udp {
                    sport: u16::from_be_bytes([*a, *b]),
                    dport: u16::from_be_bytes([*c, *d]),
                },
                None => Self::Truncated,
            },
            PROTOCOL_ICMP => Self::parse_icmp(payload),
            _ => Self::Other,
        }
    }

    fn parse_tcp(payload: &[u8]) -> Self {
        match payload.first_chunk::<20>() {
            Some([a, b, c, d, _, _, _, _, _, _, _, _, offset, flags, ..])
                if *offset >= 0x50 && usize::from(*offset >> 4) * 4 <= payload.len() =>
            {
                Self::Tcp {
                    sport: u16::from_be_bytes([*a, *b]),
                    dport: u16::from_be_bytes([*c, *d]),
                    flags: *flags,
                }
            }
            _ => Self::Truncated,
        }
    }

    fn parse_icmp(payload: &[u8]) -> Self {
        let Some([kind, _, _, _, i0, i1, _, _]) = array::<8>(payload, 0) else {
            return Self::Truncated;
        };
        let id = u16::from_be_bytes([i0, i1]);
        match kind {
            icmp::ECHO_REQUEST | 13 | 15 | 17 => Self::Query { id, reply: false },
            icmp::ECHO_REPLY | 14 | 16 | 18 => Self::Query { id, reply: true },
            icmp::UNREACHABLE | 4 | 5 | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => {
                Self::IcmpError
            }
            _ => Self::Other,
        }
    }

    /// The flags of a TCP segment; none set in what is not one.
    #[inline(always)]
    pub const fn tcp_flags(self) -> u8 {
        match self {
            Self::Tcp { flags, .. } => flags,
            _ => 0,
        }
    }

    /// Source and destination port as a [`FlowKey`] holds them; none where there is no flow.
    #[inline(always)]
    pub const fn ports(self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp { sport, dport, .. } | Self::Udp { sport, dport } => Some((sport, dport)),
            Self::Query { id, reply: false } => Some((id, 0)),
            Self::Query { id, reply: true } => Some((0, id)),
            Self::Other => Some((0, 0)),
            Self::IcmpError | Self::LaterFragment | Self::Truncated => None,
        }
    }
}
