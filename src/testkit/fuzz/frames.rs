//! The frames of the engine target: of the hosts, and answers to what the engine sent.

use std::net::Ipv4Addr;

use super::program::Packet;
use super::world::{
    HOSTS, L4_PORTS, PEERS, PLACES, UNDERLAY, address, gateway_mac, network_of, pick, vni,
};
use crate::id::{NetworkId, PortId};
use crate::nat::Endpoint;
use crate::packet::vxlan::{Outer, VXLAN_PORT};
use crate::packet::{
    Headers, Layer, MacAddr, PROTOCOL_ICMP, Transport, be16, checksum, put, put16,
};
use crate::testkit::build::{self, Hop};

/// An odd protocol without ports (GRE).
const GRE: u8 = 47;

/// The frames a packet stands for: several if it is cut into fragments.
pub fn frames(packet: &Packet) -> Vec<(PortId, Vec<u8>)> {
    let Some((port, ip)) = pick(&HOSTS, packet.sender) else { return Vec::new() };
    let mut frames = well_made(packet, port, ip);
    for frame in &mut frames {
        for (at, change) in &packet.damage {
            if let Some(byte) = frame.get_mut(usize::from(*at)) {
                *byte ^= change;
            }
        }
    }
    frames.into_iter().map(|frame| (PortId(port), frame)).collect()
}

/// The same as VTEPs send them: by the underlay, or with the high bit of `peer` by the uplink. A bit
/// outside is wrong unless `outside` is zero.
pub fn tunnelled(peer: u8, outside: u8, packet: &Packet) -> Vec<(PortId, Vec<u8>)> {
    let Some((src, network)) = pick(&PEERS, peer).zip(pick(&[1, 3, 2], peer >> 2)) else {
        return Vec::new();
    };
    let router = MacAddr::from_ipv4(HOSTS[0].1);
    let (port, macs) = match peer & 0x80 {
        0 => (UNDERLAY, (MacAddr::ZERO, MacAddr::ZERO)),
        _ => (PortId(0), (gateway_mac(NetworkId(0)), router)),
    };
    let vni = vni(NetworkId(network));
    let outer =
        Outer { src, dst: PLACES[0], sport: 50_000, dport: VXLAN_PORT, tos: outside & 3, vni };
    let wrapped = frames(packet).into_iter().map(|(_, inner)| {
        let mut headers = outer.headers(macs, inner.len());
        let bit = 1 << (outside & 7);
        if let Some(byte) = headers.get_mut(usize::from(outside / 5)).filter(|_| outside > 0) {
            *byte ^= bit;
        }
        (port, [&headers[..], &inner].concat())
    });
    wrapped.collect()
}

fn well_made(packet: &Packet, port: u16, ip: Ipv4Addr) -> Vec<Vec<u8>> {
    let target = address(packet.target);
    let hop = hop(packet.hop, port, ip, target);
    let l4_port = |by| pick(&L4_PORTS, by).unwrap_or(80);
    let src = Endpoint::new(ip, l4_port(packet.sport));
    let dst = Endpoint::new(target, l4_port(packet.dport));
    let payload = vec![0x5a; usize::from(packet.size) * 8];
    let flags = packet.flags;
    let one = match packet.kind % 10 {
        0 => build::udp(hop, src, dst, &payload),
        1 | 2 => build::tcp(hop, src, dst, flags, &payload),
        3 => build::echo(hop, ip, target, src.port, flags & 1 == 1),
        4 => build::arp_request(hop.src_mac, ip, target),
        5 => build::arp_reply(hop.src_mac, ip, (hop.dst_mac, target)),
        6 => build::ip(hop, &build::ip_header(ip, target, GRE, hop.ttl), &payload),
        7 => build::ip(hop, &build::ip_header(ip, target, flags, hop.ttl), &payload),
        _ => return fragments(packet, &build::udp(hop, src, dst, &payload)),
    };
    vec![one]
}

/// All fragments, backwards if a flag says so, or all but one.
fn fragments(packet: &Packet, whole: &[u8]) -> Vec<Vec<u8>> {
    let size = 8 + usize::from(packet.flags >> 4) * 32;
    let mut pieces = build::fragments(whole, u16::from(packet.sport) + 1, size);
    if packet.flags & 1 != 0 {
        pieces.reverse();
    }
    let lost = usize::from(packet.flags >> 1 & 7);
    if lost < pieces.len() && packet.flags & 1 == 0 && lost > 0 {
        pieces.remove(lost);
    }
    pieces.truncate(32);
    pieces
}

fn hop(by: u8, port: u16, ip: Ipv4Addr, target: Ipv4Addr) -> Hop {
    let gateway = gateway_mac(network_of(port));
    let src = MacAddr::from_ipv4(ip);
    let hop = match by % 8 {
        0..=3 => Hop::new(src, gateway),
        4 => Hop::new(src, MacAddr::from_ipv4(target)),
        5 => Hop::new(src, MacAddr::BROADCAST),
        6 => Hop::new(MacAddr([2, 0, 0, 0, 0, by]), MacAddr::from_ipv4(target)),
        _ => Hop::new(src, MacAddr([1, 0x80, 0xc2, 0, 0, by >> 4])),
    };
    hop.ttl(match by >> 6 {
        0 => 1,
        1 => 2,
        2 => 255,
        _ => 64,
    })
}

/// The answer of whoever gets a frame: addresses and ports swapped, which keeps checksums right.
/// ARP requests are answered truthfully.
pub fn answer(frame: &[u8], flags: u8) -> Option<Vec<u8>> {
    let headers = Headers::parse(frame).ok()?;
    let l3 = usize::from(headers.l3);
    if headers.layer == Layer::Arp {
        let arp = crate::packet::Arp::parse(frame.get(l3..)?).ok()?;
        let reply = arp.reply_from(MacAddr::from_ipv4(arp.target_ip));
        return Some(reply.frame(arp.sender_mac).to_vec());
    }
    let mut answer = frame.to_vec();
    put(&mut answer, 0, &headers.src.0);
    let src = if headers.dst.is_group() { MacAddr([2, 0, 0, 0, 0, 9]) } else { headers.dst };
    put(&mut answer, 6, &src.0);
    let Layer::Ipv4(ipv4) = headers.layer else { return Some(answer) };
    put(&mut answer, l3 + 12, &ipv4.dst.octets());
    put(&mut answer, l3 + 16, &ipv4.src.octets());
    let l4 = l3 + usize::from(ipv4.header_len);
    match ipv4.transport {
        Transport::Tcp { sport, dport, flags: old } => {
            put16(&mut answer, l4, dport);
            put16(&mut answer, l4 + 2, sport);
            let offset = answer.get(l4 + 12).copied()?;
            put16(&mut answer, l4 + 12, u16::from_be_bytes([offset, flags]));
            let sum = be16(&answer, l4 + 16)?;
            let delta = checksum::Delta::NONE.word(u16::from(old), u16::from(flags));
            put16(&mut answer, l4 + 16, delta.apply(sum));
        }
        Transport::Udp { sport, dport } => {
            put16(&mut answer, l4, dport);
            put16(&mut answer, l4 + 2, sport);
        }
        Transport::Query { reply: false, .. } if answer.get(l4) == Some(&8) => {
            put(&mut answer, l4, &[0]);
            let sum = be16(&answer, l4 + 2)?;
            put16(&mut answer, l4 + 2, checksum::Delta::NONE.word(0x0800, 0).apply(sum));
        }
        _ => {}
    }
    Some(answer)
}

/// An ICMP error about a frame, from whom it was sent to.
pub fn error_about(frame: &[u8], kind: u8, code: u8) -> Option<Vec<u8>> {
    let headers = Headers::parse(frame).ok()?;
    let Layer::Ipv4(ipv4) = headers.layer else { return None };
    let kind = pick(&[3, 11, 12, 4, 5], kind)?;
    let mut message = vec![kind, code % 16, 0, 0, 0, 0, 4, 0];
    let quote = frame.get(usize::from(headers.l3)..)?;
    message.extend_from_slice(quote.get(..usize::from(ipv4.header_len) + 8).unwrap_or(quote));
    let sum = checksum::checksum(&message);
    put16(&mut message, 2, sum);
    let hop = Hop::new(headers.dst, headers.src);
    Some(build::ip(hop, &build::ip_header(ipv4.dst, ipv4.src, PROTOCOL_ICMP, 64), &message))
}
