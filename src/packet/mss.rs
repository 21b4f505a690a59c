//! The MSS that a TCP SYN tells its receiver (RFC 9293 3.7.1), lowered to what a way takes.

use super::{Headers, Layer, PROTOCOL_TCP, Transport, array, be16, checksum::Delta, put16, tcp};

const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const TCP_CHECKSUM: usize = 16;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const MSS_LEN: usize = 4;

/// Lowers the MSS of a SYN such that no segment it asks for exceeds packets of `mtu` bytes; frames
/// without one stay as they are. With `is_partial` the checksum is still to be completed.
pub fn clamp(frame: &mut [u8], headers: &Headers, mtu: u16, is_partial: bool) {
    let l3 = usize::from(headers.l3);
    let ip_len = match headers.layer {
        Layer::Ipv4(ipv4) => match ipv4.transport {
            Transport::Tcp { flags, .. } if flags & tcp::SYN != 0 => usize::from(ipv4.header_len),
            _ => return,
        },
        // A SYN behind extension headers is left to path MTU discovery.
        Layer::Ipv6 if frame.get(l3 + 6) == Some(&PROTOCOL_TCP) => IPV6_HEADER,
        _ => return,
    };
    let segment = l3 + ip_len;
    let Some([offset, flags]) = array::<2>(frame, segment + 12) else { return };
    if flags & tcp::SYN == 0 {
        return;
    }
    let end = segment + usize::from(offset >> 4) * 4;
    let Some(at) = find(frame, segment + TCP_HEADER, end) else { return };
    let basis = match headers.layer {
        Layer::Ipv4(_) => super::IPV4_HEADER,
        _ => IPV6_HEADER,
    };
    let most = mtu.saturating_sub((basis + TCP_HEADER) as u16);
    match be16(frame, at) {
        Some(asked) if asked > most => set(frame, segment, (at, asked, most), is_partial),
        _ => {}
    }
}

/// Where the value of the MSS option is.
fn find(frame: &[u8], mut at: usize, end: usize) -> Option<usize> {
    let options = frame.get(..end)?;
    loop {
        match *options.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*options.get(at + 1)?).max(2);
                if kind == OPTION_MSS && len == MSS_LEN && at + MSS_LEN <= end {
                    return Some(at + 2);
                }
                at += len;
            }
        }
    }
}

fn set(frame: &mut [u8], segment: usize, (at, old, new): (usize, u16, u16), is_partial: bool) {
    put16(frame, at, new);
    let field = segment + TCP_CHECKSUM;
    let Some(sum) = be16(frame, field).filter(|_| !is_partial) else { return };
    // At an odd offset the value lies across two words of the sum.
    let (old, new) = if (at - segment).is_multiple_of(2) {
        (old, new)
    } else {
        (old.swap_bytes(), new.swap_bytes())
    };
    put16(frame, field, Delta::NONE.word(old, new).apply(sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement};

    fn syn(is_ipv4: bool, options: &[TcpOptionElement]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = match is_ipv4 {
            true => ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
            false => ethernet.ipv6([1; 16], [2; 16], 64),
        };
        let builder = ip.tcp(1, 2, 3, 4).syn().options(options).unwrap();
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        frame
    }

    fn clamped(frame: &[u8], mtu: u16, is_partial: bool) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let headers = Headers::parse(&frame).unwrap();
        clamp(&mut frame, &headers, mtu, is_partial);
        frame
    }

    #[test]
    fn a_syn_asks_for_no_more_than_fits() {
        use TcpOptionElement::{MaximumSegmentSize as Mss, Noop, WindowScale};
        for is_ipv4 in [true, false] {
            let most = if is_ipv4 { 1410 } else { 1390 };
            for lead in [&[][..], &[Noop], &[WindowScale(7)]] {
                let with = |mss| [lead, &[Mss(mss)]].concat();
                let frame = syn(is_ipv4, &with(1460));
                assert_eq!(clamped(&frame, 1450, false), syn(is_ipv4, &with(most)), "{lead:?}");
                assert_eq!(clamped(&frame, 1520, false), frame);
                // A checksum that is still to be completed covers the option then.
                let mut expected = syn(is_ipv4, &with(most));
                let field = if is_ipv4 { 50 } else { 70 };
                expected[field..field + 2].copy_from_slice(&frame[field..field + 2]);
                assert_eq!(clamped(&frame, 1450, true), expected);
            }
            let without = syn(is_ipv4, &[WindowScale(7)]);
            assert_eq!(clamped(&without, 100, false), without);
        }
    }

    #[test]
    fn damaged_options_are_left_alone() {
        let frame = syn(true, &[TcpOptionElement::MaximumSegmentSize(1460)]);
        for len in 0..frame.len() {
            let cut = &frame[..len];
            if let Ok(headers) = Headers::parse(cut) {
                let mut copy = cut.to_vec();
                clamp(&mut copy, &headers, 500, false);
                assert_eq!(copy, cut);
            }
        }
        let mut long = frame.clone();
        long[55] = 200;
        assert_eq!(clamped(&long, 500, false), long);
    }
}
