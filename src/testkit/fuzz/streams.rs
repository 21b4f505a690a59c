//! Streams of TCP segments and UDP datagrams that can mostly be joined, and what is amiss with
//! some of them: the frames of the offload target.
//!
//! Any bytes are a stream, four per frame: which flow, how much payload, what is amiss, and how
//! much.

use crate::packet::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Gso, Headers, Layer, Offload, PROTOCOL_TCP, PROTOCOL_UDP, be16,
    be32, checksum, put, put16,
};

/// Flows of a stream: four kinds, each with several pairs of ports.
const FLOWS: usize = 12;
/// Payload bytes of a segment that is full.
const MSS: usize = 100;
const ETHERNET: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// A frame and what is left to be done with it, admitted.
pub type Frame = (Vec<u8>, Offload);

/// Where a flow has got to.
#[derive(Clone, Copy, Default)]
struct Progress {
    sequence: u32,
    id: u16,
}

struct Flow {
    is_ipv4: bool,
    is_tcp: bool,
    is_tagged: bool,
    port: u8,
}

/// Where the parts of a frame are.
struct Parts {
    ip: usize,
    transport: usize,
    field: usize,
}

/// The frames of a stream.
pub fn frames(program: &[u8]) -> Vec<Frame> {
    let start = Progress { sequence: u32::MAX - 500, id: u16::MAX - 3 };
    let mut progress = [start; FLOWS];
    let (steps, _) = program.as_chunks::<4>();
    steps.iter().filter_map(|step| next(*step, &mut progress)).collect()
}

fn next([flow, len, twist, amount]: [u8; 4], progress: &mut [Progress; FLOWS]) -> Option<Frame> {
    let index = usize::from(flow) % FLOWS;
    let at = progress.get_mut(index)?;
    let flow = Flow {
        is_ipv4: index % 4 != 1,
        is_tcp: index % 4 != 2,
        is_tagged: index % 4 == 3,
        port: (index / 4) as u8,
    };
    let len = match len {
        0..200 => MSS,
        200..220 => MSS / 3,
        220..235 => 0,
        _ => usize::from(amount) + 1,
    };
    let is_super = twist == 255;
    let len = if is_super { len + 2 * MSS } else { len };
    let (mut frame, parts) = write(&flow, *at, len);
    at.sequence = at.sequence.wrapping_add(len as u32);
    at.id = at.id.wrapping_add(if is_super { len.div_ceil(MSS) as u16 } else { 1 });
    bend(&mut frame, &parts, twist, amount);
    set_sums(&mut frame, &flow, &parts, is_super || (210..220).contains(&twist));
    let own = Offload::partial(parts.transport as u16, (parts.field - parts.transport) as u16);
    let offload = match twist {
        210..220 => own,
        255 if flow.is_tcp && flow.is_ipv4 => own.segmented(Gso::Tcp4, MSS as u16),
        255 if flow.is_tcp => own.segmented(Gso::Tcp6, MSS as u16),
        255 => own.segmented(Gso::Udp, MSS as u16),
        _ => Offload::NONE,
    };
    spoil(&mut frame, &parts, twist, amount);
    let headers = Headers::parse(&frame).ok()?;
    let offload = offload.admit(&headers, &mut frame).ok()?;
    Some((frame, offload))
}

fn write(flow: &Flow, at: Progress, len: usize) -> (Vec<u8>, Parts) {
    let mut frame = ETHERNET.to_vec();
    if flow.is_tagged {
        frame.extend([0x81, 0, 0, 5]);
    }
    let ethertype = if flow.is_ipv4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    frame.extend(ethertype.to_be_bytes());
    let ip = frame.len();
    let protocol = if flow.is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
    if flow.is_ipv4 {
        frame.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend([172, 17, 0, 2, 172, 17, 0, 3]);
        put16(&mut frame, ip + 4, at.id);
    } else {
        frame.extend([0x60, 0, 0, 9, 0, 0, protocol, 64]);
        frame.extend([[0xfd; 16], [0xfe; 16]].concat());
    }
    let transport = frame.len();
    frame.extend([0x13, 0x88, 0, flow.port]);
    if flow.is_tcp {
        frame.extend(at.sequence.to_be_bytes());
        frame.extend([0, 0, 7, 0, 0x80, 0x10, 1, 0, 0, 0, 0, 0]);
        frame.extend(TIMESTAMPS);
    } else {
        frame.extend([0; 4]);
        put16(&mut frame, transport + 4, len as u16 + 8);
    }
    let first = at.sequence as u8;
    frame.extend((0..len).map(|index| first.wrapping_add(index as u8)));
    let rest = (frame.len() - if flow.is_ipv4 { ip } else { transport }) as u16;
    put16(&mut frame, ip + if flow.is_ipv4 { 2 } else { 4 }, rest);
    (frame, Parts { ip, transport, field: transport + if flow.is_tcp { 16 } else { 6 } })
}

/// Changes something before the checksums are made.
fn bend(frame: &mut Vec<u8>, parts: &Parts, twist: u8, amount: u8) {
    let (ip, transport) = (parts.ip, parts.transport);
    let is_tcp = parts.field == transport + 16;
    let at = match twist {
        100..120 if is_tcp => return put(frame, transport + 13, &[0x18]),
        120..124 if is_tcp => return put(frame, transport + 13, &[0x11]),
        124..128 if is_tcp => return put(frame, transport + 13, &[amount]),
        128..132 => ip + 1,
        132..136 => ip + usize::from(amount) % 10,
        136..140 => transport + usize::from(amount) % 32,
        140..144 => usize::from(amount) % ip,
        144..148 => return frame.extend_from_slice(&[0; 3]),
        _ => return,
    };
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= amount | 1;
    }
}

fn set_sums(frame: &mut [u8], flow: &Flow, parts: &Parts, is_partial: bool) {
    let Parts { ip, transport, field } = *parts;
    let protocol = if flow.is_tcp { PROTOCOL_TCP } else { PROTOCOL_UDP };
    if flow.is_ipv4 {
        put16(frame, ip + 10, 0);
        let sum = frame.get(ip..transport).map_or(0, checksum::checksum);
        put16(frame, ip + 10, sum);
    }
    let addresses = ip + if flow.is_ipv4 { 12 } else { 8 }..transport;
    let len = frame.len() - transport;
    let pseudo =
        checksum::pseudo_header_of(frame.get(addresses).unwrap_or_default(), protocol, len);
    put16(frame, field, pseudo);
    if !is_partial {
        Offload::partial(transport as u16, (field - transport) as u16).complete(frame);
    }
}

/// Changes something after the checksums were made.
fn spoil(frame: &mut [u8], parts: &Parts, twist: u8, amount: u8) {
    let at = match twist {
        // The other form of zero is as good a checksum, but it is not the same bytes.
        200..205 if matches!(be16(frame, parts.field), Some(0 | 0xffff)) => {
            return put16(frame, parts.field, !be16(frame, parts.field).unwrap_or(0));
        }
        205..208 => return put16(frame, parts.field, 0),
        208..210 => return put16(frame, parts.field, 0xffff),
        218..225 => parts.field,
        225..228 => parts.ip + 10,
        228..232 => usize::from(amount) % frame.len().max(1),
        _ => return,
    };
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= amount | 1;
    }
}

/// What tells whether two finished frames may be of one flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    addresses: Vec<u8>,
    /// Protocol and ports; none for fragments and whatever has no ports.
    ports: Option<(u8, u32)>,
}

impl Lane {
    /// None for a frame that is no IP packet.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let headers = Headers::parse(frame).ok()?;
        let ip = usize::from(headers.l3);
        match headers.layer {
            Layer::Ipv4(ipv4) => {
                let transport = ip + usize::from(ipv4.header_len);
                let has_ports = !ipv4.is_fragment() && matches!(ipv4.protocol, 6 | 17);
                let ports = be32(frame, transport).filter(|_| has_ports);
                Some(Self {
                    addresses: frame.get(ip + 12..ip + 20)?.to_vec(),
                    ports: ports.map(|ports| (ipv4.protocol, ports)),
                })
            }
            Layer::Ipv6 => {
                let protocol = *frame.get(ip + 6)?;
                let ports = be32(frame, ip + 40).filter(|_| matches!(protocol, 6 | 17));
                Some(Self {
                    addresses: frame.get(ip + 8..ip + 40)?.to_vec(),
                    ports: ports.map(|ports| (protocol, ports)),
                })
            }
            _ => None,
        }
    }

    /// True if this one's frames and those of `flow` keep their order. What has no ports may
    /// belong to any flow of its addresses; that orders those flows not among themselves.
    pub fn is_ordered_with(&self, flow: &Self) -> bool {
        self == flow
            || self.addresses == flow.addresses && self.ports.is_none() && flow.ports.is_some()
    }
}
