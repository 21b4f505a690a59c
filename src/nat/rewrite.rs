//! A compiled header change: what a hit replays.

use crate::packet::{
    Delta, ETHERNET_HEADER, IPV4_HEADER, Ipv4, MacAddr, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP,
    Transport, be16, ipv4, put, put16,
};

use super::{Endpoint, Tuple};

/// Bytes that every change writes to: Ethernet and IPv4 without options.
const HEADERS: usize = ETHERNET_HEADER + IPV4_HEADER;

/// New MACs, addresses and ports of a flow, with the checksum changes they bring (RFC 1624).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub(super) dst_mac: MacAddr,
    pub(super) src_mac: MacAddr,
    pub(super) to: Tuple,
    pub(super) ip_delta: Delta,
    pub(super) transport_delta: Delta,
    pub(super) protocol: u8,
    pub(super) is_translated: bool,
    pub(super) has_new_source: bool,
    pub(super) keeps_ttl: bool,
}

impl Rewrite {
    /// Compiles the change from `from` to `to` for packets of a protocol.
    pub fn new(
        protocol: u8,
        from: Tuple,
        to: Tuple,
        (src_mac, dst_mac): (MacAddr, MacAddr),
    ) -> Self {
        let (ip_delta, transport_delta) = deltas(protocol, from, to);
        Self {
            dst_mac,
            src_mac,
            to,
            ip_delta,
            transport_delta,
            protocol,
            is_translated: from != to,
            has_new_source: from.src.ip != to.src.ip,
            keeps_ttl: false,
        }
    }

    /// The same without taking one off the TTL, for a packet that goes through the router again.
    #[must_use]
    pub const fn keeping_ttl(self) -> Self {
        Self { keeps_ttl: true, ..self }
    }

    /// New MACs and nothing else: a packet that keeps its addresses.
    pub const fn plain(protocol: u8, tuple: Tuple, (src_mac, dst_mac): (MacAddr, MacAddr)) -> Self {
        Self {
            dst_mac,
            src_mac,
            to: tuple,
            ip_delta: Delta::NONE,
            transport_delta: Delta::NONE,
            protocol,
            is_translated: false,
            has_new_source: false,
            keeps_ttl: false,
        }
    }

    /// The addresses and ports it gives.
    pub const fn to(&self) -> Tuple {
        self.to
    }

    /// True if packets may share their new source address with those of other hosts, so that
    /// their identification must be made unique (RFC 6864 section 5.3).
    pub const fn wants_new_id(&self, ipv4: &Ipv4) -> bool {
        self.has_new_source && ipv4.is_or_may_be_fragmented()
    }

    /// Changes a frame in place: MACs, TTL, addresses, ports, checksums, and the identification
    /// if one is given. `ipv4` is what the frame held; it must have been admitted by the caller.
    /// A transport checksum that `is_partial` covers addresses only so far.
    #[inline(always)]
    pub fn apply(&self, frame: &mut [u8], ipv4: &Ipv4, new_id: Option<u16>, is_partial: bool) {
        let Some((headers, behind)) = frame.split_first_chunk_mut::<HEADERS>() else { return };
        let (macs, header) = headers.split_at_mut(ETHERNET_HEADER);
        put(macs, 0, &self.dst_mac.0);
        put(macs, 6, &self.src_mac.0);
        let mut delta = self.ip_delta;
        if let Some(id) = new_id {
            delta = delta.word(ipv4.id, id);
            put16(header, 4, id);
        }
        if self.keeps_ttl {
            let sum = be16(header, 10).unwrap_or(0);
            put16(header, 10, delta.apply(sum));
        } else {
            ipv4::decrement_ttl(header, delta);
        }
        if !self.is_translated {
            return;
        }
        put(header, 12, &self.to.src.ip.octets());
        put(header, 16, &self.to.dst.ip.octets());
        let options = usize::from(ipv4.header_len).saturating_sub(IPV4_HEADER);
        if ipv4.fragment_offset == 0
            && let Some(segment) = behind.get_mut(options..)
        {
            self.apply_transport(segment, ipv4.transport, is_partial);
        }
    }

    #[inline(always)]
    fn apply_transport(&self, segment: &mut [u8], transport: Transport, is_partial: bool) {
        match self.protocol {
            PROTOCOL_TCP | PROTOCOL_UDP if is_partial => {
                self.put_ports(segment);
                let field = if self.protocol == PROTOCOL_TCP { 16 } else { 6 };
                let sum = be16(segment, field).unwrap_or(0);
                // The change of the addresses is that of the IP header's sum.
                put16(segment, field, self.ip_delta.apply_partial(sum));
            }
            PROTOCOL_TCP => {
                self.put_ports(segment);
                let sum = be16(segment, 16).unwrap_or(0);
                put16(segment, 16, self.transport_delta.apply(sum));
            }
            PROTOCOL_UDP => {
                self.put_ports(segment);
                let sum = be16(segment, 6).unwrap_or(0);
                put16(segment, 6, self.transport_delta.apply_udp(sum));
            }
            PROTOCOL_ICMP => {
                let id = match transport {
                    Transport::Query { reply: false, .. } => self.to.src.port,
                    Transport::Query { reply: true, .. } => self.to.dst.port,
                    _ => return,
                };
                put16(segment, 4, id);
                let sum = be16(segment, 2).unwrap_or(0);
                put16(segment, 2, self.transport_delta.apply(sum));
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn put_ports(&self, segment: &mut [u8]) {
        put16(segment, 0, self.to.src.port);
        put16(segment, 2, self.to.dst.port);
    }
}

/// What the checksums of the IP header and of the transport change by.
pub(super) fn deltas(protocol: u8, from: Tuple, to: Tuple) -> (Delta, Delta) {
    let ip_delta = Delta::NONE.address(from.src.ip, to.src.ip).address(from.dst.ip, to.dst.ip);
    let ports = port_delta(from.src, to.src).plus(port_delta(from.dst, to.dst));
    let transport_delta = match protocol {
        PROTOCOL_TCP | PROTOCOL_UDP => ip_delta.plus(ports),
        _ => ports,
    };
    (ip_delta, transport_delta)
}

const fn port_delta(from: Endpoint, to: Endpoint) -> Delta {
    Delta::NONE.word(from.port, to.port)
}
