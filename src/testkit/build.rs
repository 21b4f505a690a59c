//! Frames by etherparse, so that tests do not lean on the parser they test.

use std::net::Ipv4Addr;

use etherparse::{EtherType, IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};

use crate::nat::Endpoint;
use crate::packet::vxlan::{ENCAPSULATION, TUNNEL_OVERHEAD};
use crate::packet::{
    Arp, ArpOperation, Headers, Layer, MacAddr, Offload, Transport, be16, checksum, put16,
};

/// Two stations and their addresses: who sends to whom.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Source MAC.
    pub src_mac: MacAddr,
    /// Destination MAC.
    pub dst_mac: MacAddr,
    /// TTL.
    pub ttl: u8,
}

impl Hop {
    /// With a TTL of 64.
    pub const fn new(src_mac: MacAddr, dst_mac: MacAddr) -> Self {
        Self { src_mac, dst_mac, ttl: 64 }
    }

    /// With another TTL.
    #[must_use]
    pub const fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }
}

/// Writes into memory cannot fail and lengths are those of tests, so an error here is a test's
/// own mistake; the frame is empty then and the test fails on it.
fn build(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Vec<u8> {
    let mut frame = Vec::new();
    if !write(&mut frame) {
        frame.clear();
    }
    frame
}

/// A UDP datagram.
pub fn udp(hop: Hop, src: Endpoint, dst: Endpoint, payload: &[u8]) -> Vec<u8> {
    build(|frame| {
        PacketBuilder::ethernet2(hop.src_mac.0, hop.dst_mac.0)
            .ipv4(src.ip.octets(), dst.ip.octets(), hop.ttl)
            .udp(src.port, dst.port)
            .write(frame, payload)
            .is_ok()
    })
}

/// A TCP segment with flags as in byte 13 of its header.
pub fn tcp(hop: Hop, src: Endpoint, dst: Endpoint, flags: u8, payload: &[u8]) -> Vec<u8> {
    build(|frame| {
        let mut step = PacketBuilder::ethernet2(hop.src_mac.0, hop.dst_mac.0)
            .ipv4(src.ip.octets(), dst.ip.octets(), hop.ttl)
            .tcp(src.port, dst.port, 1000, 64_000);
        if flags & 0x01 != 0 {
            step = step.fin();
        }
        if flags & 0x02 != 0 {
            step = step.syn();
        }
        if flags & 0x04 != 0 {
            step = step.rst();
        }
        if flags & 0x10 != 0 {
            step = step.ack(2000);
        }
        step.write(frame, payload).is_ok()
    })
}

/// An ICMP echo request or reply.
pub fn echo(hop: Hop, src: Ipv4Addr, dst: Ipv4Addr, id: u16, reply: bool) -> Vec<u8> {
    build(|frame| {
        let step = PacketBuilder::ethernet2(hop.src_mac.0, hop.dst_mac.0).ipv4(
            src.octets(),
            dst.octets(),
            hop.ttl,
        );
        let step =
            if reply { step.icmpv4_echo_reply(id, 1) } else { step.icmpv4_echo_request(id, 1) };
        step.write(frame, b"tapway echo payload").is_ok()
    })
}

/// An IPv4 packet of any protocol, from its header and payload.
pub fn ip(hop: Hop, header: &Ipv4Header, payload: &[u8]) -> Vec<u8> {
    build(|frame| {
        let ethernet = etherparse::Ethernet2Header {
            source: hop.src_mac.0,
            destination: hop.dst_mac.0,
            ether_type: EtherType::IPV4,
        };
        let mut header = header.clone();
        header.set_payload_len(payload.len()).is_ok()
            && ethernet.write(frame).is_ok()
            && header.write(frame).is_ok()
            && {
                frame.extend_from_slice(payload);
                true
            }
    })
}

/// An IPv4 header for [`ip`].
pub fn ip_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ttl: u8) -> Ipv4Header {
    Ipv4Header {
        source: src.octets(),
        destination: dst.octets(),
        protocol: IpNumber(protocol),
        time_to_live: ttl,
        ..Ipv4Header::default()
    }
}

/// Cuts the packet of a frame into fragments whose payloads are `size` bytes (a multiple of 8).
pub fn fragments(frame: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let Ok((header, payload)) = Ipv4Header::from_slice(frame.get(14..).unwrap_or_default()) else {
        return Vec::new();
    };
    let count = payload.len().div_ceil(size);
    payload
        .chunks(size)
        .enumerate()
        .map(|(index, part)| {
            let mut piece = header.clone();
            piece.identification = id;
            piece.dont_fragment = false;
            piece.more_fragments = index + 1 < count;
            piece.fragment_offset =
                IpFragOffset::try_new((index * size / 8) as u16).unwrap_or_default();
            let _ = piece.set_payload_len(part.len());
            build(|out| {
                out.extend_from_slice(frame.get(..14).unwrap_or_default());
                piece.write(out).is_ok() && {
                    out.extend_from_slice(part);
                    true
                }
            })
        })
        .collect()
}

/// An ARP request: who has `target`?
pub fn arp_request(mac: MacAddr, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    arp(ArpOperation::Request, (mac, ip), (MacAddr::ZERO, target), MacAddr::BROADCAST)
}

/// An ARP reply to `to`: `ip` is at `mac`.
pub fn arp_reply(mac: MacAddr, ip: Ipv4Addr, to: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    arp(ArpOperation::Reply, (mac, ip), to, to.0)
}

fn arp(
    operation: ArpOperation,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
    dst: MacAddr,
) -> Vec<u8> {
    let message = Arp {
        operation,
        sender_mac: sender.0,
        sender_ip: sender.1,
        target_mac: target.0,
        target_ip: target.1,
    };
    message.frame(dst).to_vec()
}

/// The frame as a kernel with checksum offload would have sent it: the transport checksum, if it is
/// right, is taken back to the sum of the pseudo header. Other frames stay as they are.
pub fn unfinished(frame: &[u8]) -> (Vec<u8>, Offload) {
    let mut frame = frame.to_vec();
    let offload = take_back(&mut frame).unwrap_or(Offload::NONE);
    (frame, offload)
}

/// The same for what is inside of an encapsulated frame.
pub fn unfinished_inside(frame: &[u8]) -> (Vec<u8>, Offload) {
    let Some((headers, inner)) = frame.split_at_checked(ENCAPSULATION) else {
        return (frame.to_vec(), Offload::NONE);
    };
    let (inner, offload) = unfinished(inner);
    ([headers, &inner].concat(), offload.wrapped(TUNNEL_OVERHEAD))
}

fn take_back(frame: &mut [u8]) -> Option<Offload> {
    let headers = Headers::parse(frame).ok()?;
    let Layer::Ipv4(ipv4) = headers.layer else { return None };
    let field = match ipv4.transport {
        Transport::Tcp { .. } => 16,
        Transport::Udp { .. } => 6,
        _ => return None,
    };
    let start = usize::from(headers.l3) + usize::from(ipv4.header_len);
    let has_trailer = frame.len() > usize::from(headers.l3) + usize::from(ipv4.total_len);
    let segment = frame.get(start..)?;
    let is_right = checksum::transport(ipv4.src, ipv4.dst, ipv4.protocol, segment) == 0
        && be16(segment, field)? != 0;
    if ipv4.is_fragment() || has_trailer || !is_right {
        return None;
    }
    let sum = checksum::pseudo_header(ipv4.src, ipv4.dst, ipv4.protocol, segment.len());
    put16(frame, start + field, sum);
    Some(Offload::partial(start as u16, field as u16))
}
