//! IPv6, as far as a guard must see what a packet of it is (RFC 8200 section 4, RFC 7113).

use super::be16;

/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// ICMPv6 type of a router advertisement (RFC 4861 4.2).
pub const ROUTER_ADVERTISEMENT: u8 = 134;

/// Extension headers that are walked through; no sender has use for so many.
const MAX_EXTENSION_HEADERS: usize = 8;
const IPV6_HEADER: usize = 40;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const FRAGMENT_HEADER: usize = 8;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;

/// What is behind the extension headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpperLayer<'a> {
    /// A protocol, and its bytes.
    Known(u8, &'a [u8]),
    /// A fragment after the first: the first tells.
    LaterFragment,
    /// It cannot be told: too many extension headers, or the packet ends within them.
    Hidden,
}

/// Walks through the extension headers of an IPv6 packet.
pub fn upper_layer(packet: &[u8]) -> UpperLayer<'_> {
    walk(packet).unwrap_or(UpperLayer::Hidden)
}

fn walk(packet: &[u8]) -> Option<UpperLayer<'_>> {
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(IPV6_HEADER..)?;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY => {
                (usize::from(*rest.get(1)?) + 1) * 8
            }
            AUTHENTICATION => (usize::from(*rest.get(1)?) + 2) * 4,
            FRAGMENT if be16(rest, 2)? >> 3 > 0 => return Some(UpperLayer::LaterFragment),
            FRAGMENT => FRAGMENT_HEADER,
            protocol => return Some(UpperLayer::Known(protocol, rest)),
        };
        next = *rest.first()?;
        rest = rest.get(len..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet whose first header has this number.
    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
        packet.resize(IPV6_HEADER, 0xfe);
        [&packet, payload].concat()
    }

    #[test]
    fn an_upper_layer_is_found_behind_headers_of_every_kind() {
        let upper = [ROUTER_ADVERTISEMENT, 0, 1, 2];
        let chain: [&[u8]; 6] = [
            &[ROUTING, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[FRAGMENT, 0, 0, 0, 0, 0, 0, 0],
            &[AUTHENTICATION, 0, 0, 1, 0, 0, 0, 9],
            &[DESTINATION_OPTIONS, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[PROTOCOL_ICMPV6, 0, 0, 0, 0, 0, 0, 0],
            &upper,
        ];
        let found = UpperLayer::Known(PROTOCOL_ICMPV6, &upper);
        assert_eq!(upper_layer(&packet(PROTOCOL_ICMPV6, &upper)), found);
        assert_eq!(upper_layer(&packet(HOP_BY_HOP, &chain.concat())), found);
    }

    #[test]
    fn a_later_fragment_and_a_chain_that_ends_nowhere_are_told() {
        let later = [PROTOCOL_ICMPV6, 0, 0, 8, 0, 0, 0, 1, ROUTER_ADVERTISEMENT];
        assert_eq!(upper_layer(&packet(FRAGMENT, &later)), UpperLayer::LaterFragment);
        // The first fragment ends before the chain does.
        let cut = [DESTINATION_OPTIONS, 0, 0, 1, 0, 0, 0, 1, PROTOCOL_ICMPV6, 3, 0, 0];
        assert_eq!(upper_layer(&packet(FRAGMENT, &cut)), UpperLayer::Hidden);
        let many = [DESTINATION_OPTIONS, 0, 0, 0, 0, 0, 0, 0].repeat(30);
        assert_eq!(upper_layer(&packet(DESTINATION_OPTIONS, &many)), UpperLayer::Hidden);
        for len in 0..IPV6_HEADER {
            let packet = packet(HOP_BY_HOP, &[]);
            assert_eq!(upper_layer(&packet[..len]), UpperLayer::Hidden);
        }
    }
}
