//! Congestion marks that come out of a tunnel (RFC 6040). Into it, in normal mode, a packet's own
//! go with its class of service (4.1).

use crate::drop_reason::DropReason;
use crate::packet::{
    ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN,
    VLAN_TAG, array, be16, checksum::Delta, put, put16,
};

const ECN: u8 = 0x03;
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const CE: u8 = 3;

/// The IP header of a frame.
#[derive(Clone, Copy)]
enum Ip {
    V4(usize),
    V6(usize),
}

/// Takes the mark of the datagram around a frame over into its packet (RFC 6040 4.2).
///
/// # Errors
/// [`DropReason::VxlanEcn`] if congestion was met and the packet's sender does not take marks.
pub fn decapsulated(outer_tos: u8, frame: &mut [u8]) -> Result<(), DropReason> {
    let outer = outer_tos & ECN;
    if !matches!(outer, ECT_1 | CE) {
        return Ok(());
    }
    let Some(ip) = ip_of(frame) else { return Ok(()) };
    let Some(inner) = tos(frame, ip) else { return Ok(()) };
    match (inner & ECN, outer) {
        (NOT_ECT, CE) => Err(DropReason::VxlanEcn),
        // An unknown use of ECT(1) is passed on only where nothing is lost by it.
        (NOT_ECT | CE, _) => Ok(()),
        (_, mark) => {
            set_tos(frame, ip, inner & !ECN | mark);
            Ok(())
        }
    }
}

/// Behind up to two tags, as [`crate::packet::Headers::parse`] looks.
fn ip_of(frame: &[u8]) -> Option<Ip> {
    let mut at = ETHERNET_HEADER - 2;
    let mut ethertype = be16(frame, at)?;
    for _ in 0..2 {
        if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN) {
            break;
        }
        at += VLAN_TAG;
        ethertype = be16(frame, at)?;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Some(Ip::V4(at + 2)),
        ETHERTYPE_IPV6 => Some(Ip::V6(at + 2)),
        _ => None,
    }
}

fn tos(frame: &[u8], ip: Ip) -> Option<u8> {
    match ip {
        Ip::V4(at) => be16(frame, at).map(|word| word as u8),
        Ip::V6(at) => be16(frame, at).map(|word| (word >> 4) as u8),
    }
}

fn set_tos(frame: &mut [u8], ip: Ip, tos: u8) {
    match ip {
        Ip::V4(at) => {
            let (Some([version, old]), Some(sum)) = (array::<2>(frame, at), be16(frame, at + 10))
            else {
                return;
            };
            let word = |tos| u16::from_be_bytes([version, tos]);
            put(frame, at + 1, &[tos]);
            put16(frame, at + 10, Delta::NONE.word(word(old), word(tos)).apply(sum));
        }
        Ip::V6(at) => {
            let Some(word) = be16(frame, at) else { return };
            put16(frame, at, word & 0xf00f | u16::from(tos) << 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ipv4;

    fn v4(tos: u8) -> Vec<u8> {
        let mut frame = vec![0; 34];
        put16(&mut frame, 12, ETHERTYPE_IPV4);
        put(&mut frame, 14, &[0x45, tos]);
        put16(&mut frame, 16, 20);
        ipv4::fill_checksum(&mut frame[14..], 20);
        frame
    }

    fn v6(tos: u8) -> Vec<u8> {
        let mut frame = vec![0; 54];
        put16(&mut frame, 12, ETHERTYPE_IPV6);
        put16(&mut frame, 14, 0x6000 | u16::from(tos) << 4 | 0x000a);
        frame
    }

    #[test]
    fn marks_pass_as_the_table_of_rfc_6040_says() {
        // By inner, then outer: Not-ECT, ECT(1), ECT(0), CE. None: the packet is dropped.
        let table = [
            [Some(0), Some(0), Some(0), None],
            [Some(1), Some(1), Some(1), Some(3)],
            [Some(2), Some(1), Some(2), Some(3)],
            [Some(3), Some(3), Some(3), Some(3)],
        ];
        for (inner, row) in table.iter().enumerate() {
            for (outer, expected) in row.iter().enumerate() {
                for make in [v4, v6] {
                    let dscp = 0xb8;
                    let mut frame = make(dscp | inner as u8);
                    let done = decapsulated(outer as u8 | 0x20, &mut frame);
                    match expected {
                        Some(mark) => {
                            assert_eq!((done, &frame), (Ok(()), &make(dscp | mark)));
                        }
                        None => assert_eq!(done, Err(DropReason::VxlanEcn)),
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_packet_has_no_mark() {
        let mut tagged = v4(2);
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        assert_eq!(decapsulated(CE, &mut tagged), Ok(()));
        assert_eq!(tagged[19], CE);
        let mut arp = v4(0xff);
        put16(&mut arp, 12, 0x0806);
        let before = arp.clone();
        assert_eq!((decapsulated(CE, &mut arp), arp), (Ok(()), before));
        assert_eq!(decapsulated(CE, &mut []), Ok(()));
    }
}
