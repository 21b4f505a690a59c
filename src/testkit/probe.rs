//! Echo requests and what may come back: the wire format behind ping and traceroute, for hosts
//! of every kind.

use std::net::Ipv4Addr;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header};

/// What is sent with every request: 56 bytes, as ping does.
const PAYLOAD: [u8; 56] = [0x74; 56];

/// Names one request; the answer carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeId {
    /// The ICMP identifier. A NAPT may change it on the way; the sender sees its own.
    pub id: u16,
    /// The ICMP sequence number.
    pub seq: u16,
}

/// What came back for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The destination answered.
    Echo {
        /// Who.
        from: Ipv4Addr,
        /// The TTL that was left when the answer arrived.
        ttl: u8,
    },
    /// A router saw the TTL end.
    TimeExceeded {
        /// Which router.
        from: Ipv4Addr,
    },
    /// Somebody refused to pass it on.
    Unreachable {
        /// Who.
        from: Ipv4Addr,
        /// The code of RFC 792, type 3.
        code: u8,
    },
}

/// The ICMP message of a request.
pub fn echo_request(probe: ProbeId) -> Vec<u8> {
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: probe.id, seq: probe.seq });
    let mut message = Icmpv4Header::with_checksum(echo, &PAYLOAD).to_bytes().to_vec();
    message.extend_from_slice(&PAYLOAD);
    message
}

/// The IPv4 packet of a request. The header checksum is right.
pub fn echo_packet(probe: ProbeId, src: Ipv4Addr, dst: Ipv4Addr, ttl: u8) -> Vec<u8> {
    let message = echo_request(probe);
    let header = Ipv4Header {
        source: src.octets(),
        destination: dst.octets(),
        protocol: IpNumber::ICMP,
        time_to_live: ttl,
        identification: probe.seq,
        total_len: (Ipv4Header::MIN_LEN + message.len()) as u16,
        ..Ipv4Header::default()
    };
    let mut packet = Vec::with_capacity(usize::from(header.total_len));
    // Writing into memory cannot fail; if it did the packet would be cut and nobody answer it.
    let _ = header.write(&mut packet);
    packet.extend_from_slice(&message);
    packet
}

/// Reads an IPv4 packet as the answer to a request; none if it is not.
pub fn read_answer(packet: &[u8], probe: ProbeId) -> Option<ProbeAnswer> {
    let (ip, message) = icmp_of(packet)?;
    let (icmp, quote) = Icmpv4Header::from_slice(message).ok()?;
    let from = Ipv4Addr::from(ip.source);
    let wanted = IcmpEchoHeader { id: probe.id, seq: probe.seq };
    match icmp.icmp_type {
        Icmpv4Type::EchoReply(echo) if echo == wanted => {
            Some(ProbeAnswer::Echo { from, ttl: ip.time_to_live })
        }
        Icmpv4Type::TimeExceeded(_) if quotes(quote, wanted) => {
            Some(ProbeAnswer::TimeExceeded { from })
        }
        Icmpv4Type::DestinationUnreachable(why) if quotes(quote, wanted) => {
            Some(ProbeAnswer::Unreachable { from, code: why.code_u8() })
        }
        _ => None,
    }
}

fn icmp_of(packet: &[u8]) -> Option<(Ipv4Header, &[u8])> {
    let (ip, rest) = Ipv4Header::from_slice(packet).ok()?;
    (ip.protocol == IpNumber::ICMP).then_some((ip, rest))
}

/// True if an ICMP error is about the request: it quotes its header and at least eight bytes.
fn quotes(quote: &[u8], wanted: IcmpEchoHeader) -> bool {
    let Some((_, message)) = icmp_of(quote) else { return false };
    let [id_high, id_low] = wanted.id.to_be_bytes();
    let [seq_high, seq_low] = wanted.seq.to_be_bytes();
    message.first() == Some(&8) && message.get(4..8) == Some(&[id_high, id_low, seq_high, seq_low])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: ProbeId = ProbeId { id: 7, seq: 3 };
    const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn packet(message: Icmpv4Type, payload: &[u8]) -> Vec<u8> {
        let mut header =
            Ipv4Header::new(0, 61, IpNumber::ICMP, FAR.octets(), NEAR.octets()).unwrap();
        let mut icmp = Icmpv4Header::with_checksum(message, payload).to_bytes().to_vec();
        icmp.extend_from_slice(payload);
        header.set_payload_len(icmp.len()).unwrap();
        let mut out = Vec::new();
        header.write(&mut out).unwrap();
        out.extend_from_slice(&icmp);
        out
    }

    #[test]
    fn only_the_answer_to_ones_own_request_counts() {
        let reply = packet(Icmpv4Type::EchoReply(IcmpEchoHeader { id: 7, seq: 3 }), b"x");
        assert_eq!(read_answer(&reply, PROBE), Some(ProbeAnswer::Echo { from: FAR, ttl: 61 }));
        assert_eq!(read_answer(&reply, ProbeId { id: 7, seq: 4 }), None);
        assert_eq!(read_answer(&echo_packet(PROBE, NEAR, FAR, 64), PROBE), None);
    }

    #[test]
    fn errors_are_matched_by_what_they_quote() {
        let request = echo_packet(PROBE, NEAR, FAR, 1);
        let exceeded =
            Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
        let error = packet(exceeded.clone(), &request[..28]);
        assert_eq!(read_answer(&error, PROBE), Some(ProbeAnswer::TimeExceeded { from: FAR }));
        assert_eq!(read_answer(&error, ProbeId { id: 8, seq: 3 }), None);
        assert_eq!(read_answer(&packet(exceeded, &request[..24]), PROBE), None);
    }
}
