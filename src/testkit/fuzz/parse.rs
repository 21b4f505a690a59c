//! The hot parser against etherparse: two readings of one frame must agree.
//!
//! Where they differ on purpose, it is written here and nowhere else:
//! * tapway looks through two tags of type 0x8100 or 0x88a8; etherparse through three, also of
//!   type 0x9100 and MACsec. Further tags make a frame "other".
//! * etherparse reads the IP authentication header; for tapway it is a protocol like any other.
//! * etherparse reads no transport header of a fragment; tapway reads that of the first.
//! * etherparse wants 20 bytes of an ICMP timestamp; tapway wants the 8 that it uses.
//! * UDP's length field is the receiver's business for tapway, so that it may be beyond a first
//!   fragment.

use etherparse::{
    ArpHardwareId, ArpPacketSlice, EtherType, Icmpv4Slice, IpNumber, Ipv4HeaderSlice, Ipv4Slice,
    LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpHeaderSlice, UdpHeaderSlice,
};

use crate::drop_reason::DropReason;
use crate::packet::{
    Arp, ArpOperation, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN,
    ETHERTYPE_VLAN, Headers, Ipv4, Layer, MacAddr, Transport,
};

const MAX_TAGS: usize = 2;

/// Reads a frame with both parsers.
///
/// # Panics
/// If they disagree.
pub fn parse(frame: &[u8]) {
    let theirs = match LaxSlicedPacket::from_ethernet(frame) {
        Ok(theirs) => theirs,
        Err(_) => {
            assert_eq!(Headers::parse(frame), Err(DropReason::FrameTooShort));
            return;
        }
    };
    let Some(LinkSlice::Ethernet2(ethernet)) = &theirs.link else { panic!("no Ethernet header") };
    let (ethertype, tags) = inner_ethertype(&theirs, ethernet.ether_type());
    let headers = match Headers::parse(frame) {
        Ok(headers) => headers,
        Err(reason) => {
            assert_eq!(reason, DropReason::FrameTooShort);
            assert!(tags < MAX_TAGS && is_tag(ethertype), "refused a frame with all its tags");
            assert!(theirs.stop_err.is_some(), "refused a frame that etherparse reads");
            return;
        }
    };
    assert_eq!(headers.dst, MacAddr(ethernet.destination()));
    assert_eq!(headers.src, MacAddr(ethernet.source()));
    assert_eq!(headers.ethertype, ethertype);
    assert_eq!(usize::from(headers.l3), 14 + 4 * tags);
    let payload = frame.get(usize::from(headers.l3)..).unwrap_or_default();
    match ethertype {
        ETHERTYPE_IPV4 => {
            compare_ipv4(headers.layer, payload);
            if let Layer::Ipv4(ours) = headers.layer {
                compare_lax(&ours, &theirs);
            }
        }
        ETHERTYPE_ARP => {
            assert_eq!(headers.layer, Layer::Arp);
            compare_arp(payload);
        }
        ETHERTYPE_IPV6 => assert_eq!(headers.layer, Layer::Ipv6),
        _ => assert_eq!(headers.layer, Layer::Other),
    }
}

const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN)
}

/// The EtherType behind the tags that tapway looks through, and how many there are.
fn inner_ethertype(theirs: &LaxSlicedPacket<'_>, outer: EtherType) -> (u16, usize) {
    let (mut ethertype, mut tags) = (outer.0, 0);
    for extension in theirs.link_exts.iter().take(MAX_TAGS) {
        let LaxLinkExtSlice::Vlan(tag) = extension else { break };
        if !is_tag(ethertype) {
            break;
        }
        ethertype = tag.ether_type().0;
        tags += 1;
    }
    (ethertype, tags)
}

fn compare_ipv4(layer: Layer, packet: &[u8]) {
    let header = Ipv4HeaderSlice::from_slice(packet);
    let is_authenticated =
        header.as_ref().is_ok_and(|header| header.protocol() == IpNumber::AUTHENTICATION_HEADER);
    let is_whole = match (&header, is_authenticated) {
        (Ok(header), true) => {
            let total_len = usize::from(header.total_len());
            (header.slice().len()..=packet.len()).contains(&total_len)
        }
        _ => Ipv4Slice::from_slice(packet).is_ok(),
    };
    let (ours, header) = match (layer, header) {
        (Layer::Ipv4(ours), Ok(header)) if is_whole => (ours, header),
        (Layer::Malformed(reason), header) if !is_whole => {
            let is_version = matches!(
                header,
                Err(etherparse::err::ipv4::HeaderSliceError::Content(
                    etherparse::err::ipv4::HeaderError::UnexpectedVersion { .. }
                ))
            );
            assert_eq!(reason == DropReason::Ipv4Version, is_version, "{reason}");
            return;
        }
        (layer, header) => panic!("tapway: {layer:?}, etherparse: {header:?}, whole: {is_whole}"),
    };
    assert_eq!(ours.src, header.source_addr());
    assert_eq!(ours.dst, header.destination_addr());
    assert_eq!(ours.total_len, header.total_len());
    assert_eq!(ours.payload_len(), usize::from(header.payload_len().unwrap_or(0)));
    assert_eq!(ours.id, header.identification());
    assert_eq!(ours.fragment_offset, header.fragments_offset().value() * 8);
    assert_eq!(usize::from(ours.header_len), header.slice().len());
    assert_eq!(ours.ttl, header.ttl());
    assert_eq!(ours.protocol, header.protocol().0);
    assert_eq!(ours.dont_fragment, header.dont_fragment());
    assert_eq!(ours.more_fragments, header.more_fragments());
    assert_eq!(ours.is_fragment(), header.is_fragmenting_payload());
    let segment = packet.get(header.slice().len()..usize::from(header.total_len()));
    compare_transport(&ours, segment.unwrap_or_default());
}

/// The whole-packet reading must have come to the same network layer.
fn compare_lax(ours: &Ipv4, theirs: &LaxSlicedPacket<'_>) {
    let Some(LaxNetSlice::Ipv4(net)) = &theirs.net else { panic!("etherparse saw no IPv4 packet") };
    assert_eq!((ours.src, ours.dst), (net.header().source_addr(), net.header().destination_addr()));
}

fn compare_transport(ours: &Ipv4, segment: &[u8]) {
    if ours.fragment_offset > 0 {
        assert_eq!(ours.transport, Transport::LaterFragment);
        return;
    }
    let expected = match ours.protocol {
        6 => {
            TcpHeaderSlice::from_slice(segment).map_or(Transport::Truncated, |tcp| Transport::Tcp {
                sport: tcp.source_port(),
                dport: tcp.destination_port(),
                flags: tcp_flags(&tcp),
            })
        }
        17 => UdpHeaderSlice::from_slice(segment).map_or(Transport::Truncated, |udp| {
            Transport::Udp { sport: udp.source_port(), dport: udp.destination_port() }
        }),
        1 => icmp(segment),
        _ => Transport::Other,
    };
    assert_eq!(ours.transport, expected);
}

fn tcp_flags(tcp: &TcpHeaderSlice<'_>) -> u8 {
    let bits =
        [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()];
    bits.iter().rev().fold(0, |flags, bit| flags << 1 | u8::from(*bit))
}

fn icmp(segment: &[u8]) -> Transport {
    // A timestamp is exactly 20 bytes for etherparse, any other type at least 8.
    let mut padded = segment.to_vec();
    if matches!(segment.first(), Some(13 | 14)) && segment.len() >= 8 {
        padded.resize(20, 0);
    }
    let Ok(message) = Icmpv4Slice::from_slice(&padded) else { return Transport::Truncated };
    let [high, low, ..] = message.bytes5to8();
    let id = u16::from_be_bytes([high, low]);
    match message.type_u8() {
        8 | 13 | 15 | 17 => Transport::Query { id, reply: false },
        0 | 14 | 16 | 18 => Transport::Query { id, reply: true },
        3 | 4 | 5 | 11 | 12 => Transport::IcmpError,
        _ => Transport::Other,
    }
}

fn compare_arp(payload: &[u8]) {
    let theirs = ArpPacketSlice::from_slice(payload).ok().map(|slice| slice.to_packet());
    let theirs = theirs.and_then(|packet| {
        let operation = match packet.operation.0 {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return None,
        };
        let is_ethernet = packet.hw_addr_type == ArpHardwareId::ETHERNET;
        let is_ipv4 = packet.proto_addr_type == EtherType::IPV4;
        let mac = |bytes: &[u8]| bytes.try_into().ok().map(MacAddr);
        let ip = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(Into::into);
        let arp = Arp {
            operation,
            sender_mac: mac(packet.sender_hw_addr())?,
            sender_ip: ip(packet.sender_protocol_addr())?,
            target_mac: mac(packet.target_hw_addr())?,
            target_ip: ip(packet.target_protocol_addr())?,
        };
        (is_ethernet && is_ipv4 && arp.sender_mac.is_station()).then_some(arp)
    });
    assert_eq!(Arp::parse(payload).ok(), theirs);
}
