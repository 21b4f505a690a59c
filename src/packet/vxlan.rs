//! VXLAN encapsulation (RFC 7348 5): what comes before an inner Ethernet frame.
//!
//! On an IPv4 underlay that is [`ENCAPSULATION`] bytes: Ethernet, IPv4, UDP, and a header with the
//! network's number. The inner frame follows without its FCS.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{
    ETHERNET_HEADER, FrameView, IPV4_HEADER, MacAddr, PROTOCOL_UDP, array, checksum, ipv4, put,
};
use crate::drop_reason::DropReason;

/// The UDP port of VXLAN (IANA).
pub const VXLAN_PORT: u16 = 4789;
/// Length of the VXLAN header, in bytes.
pub const VXLAN_HEADER: usize = 8;
/// Bytes before an inner frame on an IPv4 underlay: Ethernet, IPv4, UDP and VXLAN headers.
pub const ENCAPSULATION: usize = DATAGRAM_HEADERS + VXLAN_HEADER;
/// Those of them that a UDP socket adds and takes off: all but the VXLAN header.
pub const DATAGRAM_HEADERS: usize = ETHERNET_HEADER + UDP_PAYLOAD;
/// By how much a packet inside must be smaller than the largest outside, in bytes: the inner
/// Ethernet header travels along, the outer one does not count.
pub const TUNNEL_OVERHEAD: u16 = ENCAPSULATION as u16;

/// Where a datagram's payload begins behind the outer Ethernet header.
const UDP_PAYLOAD: usize = IPV4_HEADER + UDP_HEADER;
const UDP_HEADER: usize = 8;
/// "The VNI is valid" (RFC 7348 5); all other bits of the first byte are reserved.
const FLAG_VNI: u8 = 0x08;
const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments", and the offset of one: not of a whole packet.
const MORE_OR_OFFSET: u16 = 0x3fff;
/// The first of the source ports (RFC 7348 5); as many as there are behind it up to 65535.
const FIRST_SPORT: u16 = 49152;

/// The number of a VXLAN network: 24 bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

/// A number that is no VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a VNI is a number from 1 to {}", Vni::MAX)]
pub struct VniError;

impl Vni {
    /// The largest.
    pub const MAX: u32 = (1 << 24) - 1;

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The VXLAN header of a frame in this network.
    pub const fn header(self) -> [u8; VXLAN_HEADER] {
        let [_, v0, v1, v2] = self.0.to_be_bytes();
        [FLAG_VNI, 0, 0, 0, v0, v1, v2, 0]
    }

    /// The network of a frame, by its VXLAN header. Reserved bits are not looked at.
    ///
    /// # Errors
    /// [`DropReason::VxlanHeader`] if the header is cut, or says that it has no VNI.
    pub fn of_header(payload: &[u8]) -> Result<Self, DropReason> {
        match array::<VXLAN_HEADER>(payload, 0) {
            Some([flags, _, _, _, v0, v1, v2, _]) if flags & FLAG_VNI != 0 => {
                Ok(Self(u32::from_be_bytes([0, v0, v1, v2])))
            }
            _ => Err(DropReason::VxlanHeader),
        }
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> Result<Self, VniError> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(VniError) }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What is outside of an inner frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The tunnel endpoint that sends.
    pub src: Ipv4Addr,
    /// The one that receives.
    pub dst: Ipv4Addr,
    /// Source port, the same for all frames of an inner flow.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// DSCP and ECN.
    pub tos: u8,
    /// The network.
    pub vni: Vni,
}

/// Calls `emit` with each finished outer frame that one of an underlay's port stands for: what is
/// inside is cut and completed, each segment behind headers of its own.
pub fn for_each_outer(frame: FrameView<'_>, mut emit: impl FnMut(&[u8])) {
    let macs = frame.bytes.get(..ETHERNET_HEADER).unwrap_or_default();
    let (Ok(outer), Some(inner)) = (Outer::parse(frame.bytes), frame.bytes.get(ENCAPSULATION..))
    else {
        return emit(frame.bytes);
    };
    let inner = FrameView { bytes: inner, offload: frame.offload.unwrapped(TUNNEL_OVERHEAD) };
    inner.for_each_segment(&mut Vec::new(), |segment| {
        let mut whole = outer.headers((MacAddr::ZERO, MacAddr::ZERO), segment.len()).to_vec();
        put(&mut whole, 0, macs);
        whole.extend_from_slice(segment);
        emit(&whole);
    });
}

/// The source port for the frames of a flow, by a hash of its inner headers (RFC 7348 5).
pub const fn source_port(hash: u64) -> u16 {
    FIRST_SPORT | (hash as u16 & !FIRST_SPORT)
}

impl Outer {
    /// The headers before an inner frame of `len` bytes, between these MACs: DF set, TTL fresh, UDP
    /// without checksum (RFC 7348 5). Before a super-frame the lengths are the largest there are, if
    /// it has more: each segment gets its own.
    pub fn headers(
        &self,
        (dst_mac, src_mac): (MacAddr, MacAddr),
        len: usize,
    ) -> [u8; ENCAPSULATION] {
        let mut bytes = [0; ENCAPSULATION];
        put(&mut bytes, 0, &self.datagram_headers((dst_mac, src_mac), VXLAN_HEADER + len));
        put(&mut bytes, DATAGRAM_HEADERS, &self.vni.header());
        bytes
    }

    /// The same without the VXLAN header: what is before a UDP payload of `len` bytes, whatever
    /// that is.
    pub fn datagram_headers(
        &self,
        (dst_mac, src_mac): (MacAddr, MacAddr),
        len: usize,
    ) -> [u8; DATAGRAM_HEADERS] {
        let total_len = u16::try_from(UDP_PAYLOAD + len).unwrap_or(u16::MAX);
        let udp_len = total_len - IPV4_HEADER as u16;
        let Self { src, dst, sport, dport, tos, .. } = *self;
        let first = 0x4500 | u16::from(tos);
        let fourth = u16::from_be_bytes([ipv4::DEFAULT_TTL, PROTOCOL_UDP]);
        let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (src.octets(), dst.octets());
        let word = |high, low| u16::from_be_bytes([high, low]);
        let addresses = [word(s0, s1), word(s2, s3), word(d0, d1), word(d2, d3)];
        let [w0, w1, w2, w3] = addresses;
        let sum = !checksum::sum_of(&[first, total_len, DONT_FRAGMENT, fourth, w0, w1, w2, w3]);
        let mut bytes = [0; DATAGRAM_HEADERS];
        put(&mut bytes, 0, &ipv4::ethernet(dst_mac, src_mac));
        let words = [
            first,
            total_len,
            0,
            DONT_FRAGMENT,
            fourth,
            sum,
            w0,
            w1,
            w2,
            w3,
            sport,
            dport,
            udp_len,
        ];
        let (places, _) = bytes.split_at_mut(DATAGRAM_HEADERS - 2);
        let (_, places) = places.split_at_mut(ETHERNET_HEADER);
        for (place, word) in places.chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Reads what is outside of a frame that a tunnel's device delivered; the inner frame begins
    /// [`ENCAPSULATION`] bytes behind its start. Checksums have been looked at before.
    ///
    /// # Errors
    /// [`DropReason::VxlanHeader`] if it is no whole datagram of VXLAN over IPv4 without options.
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let malformed = DropReason::VxlanHeader;
        let headers = frame.first_chunk::<ENCAPSULATION>().ok_or(malformed)?;
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, packet @ ..] = *headers;
        let [vihl, tos, l0, l1, _, _, f0, f1, _, protocol, _, _, packet @ ..] = packet;
        let [s0, s1, s2, s3, d0, d1, d2, d3, packet @ ..] = packet;
        let [p0, p1, q0, q1, _, _, _, _, vxlan @ ..] = packet;
        let is_fragment = u16::from_be_bytes([f0, f1]) & MORE_OR_OFFSET != 0;
        let total_len = usize::from(u16::from_be_bytes([l0, l1]));
        let is_whole =
            total_len >= UDP_PAYLOAD + VXLAN_HEADER && ETHERNET_HEADER + total_len <= frame.len();
        if vihl != 0x45 || protocol != PROTOCOL_UDP || is_fragment || !is_whole {
            return Err(malformed);
        }
        Ok(Self {
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
            sport: u16::from_be_bytes([p0, p1]),
            dport: u16::from_be_bytes([q0, q1]),
            tos,
            vni: Vni::of_header(&vxlan)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer() -> Outer {
        Outer {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(192, 0, 2, 2),
            sport: 50_000,
            dport: VXLAN_PORT,
            tos: 0xb9,
            vni: Vni(0x0012_3456),
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let macs = (MacAddr([2; 6]), MacAddr([4; 6]));
        let mut frame = outer().headers(macs, 60).to_vec();
        frame.extend_from_slice(&[7; 60]);
        assert_eq!(Outer::parse(&frame), Ok(outer()));
        assert_eq!(frame.get(42..50), Some(&[8, 0, 0, 0, 0x12, 0x34, 0x56, 0][..]));
        assert!(ipv4::header_is_valid(&frame[14..], 20));
        // DF, a fresh TTL, no checksum.
        assert_eq!((&frame[20..23], &frame[40..42]), (&[0x40, 0, 64][..], &[0, 0][..]));
        // Reserved bits are ignored, a missing VNI is not.
        (frame[43], frame[49]) = (0xff, 0xff);
        assert_eq!(Outer::parse(&frame), Ok(outer()));
        frame[42] = 0xf7;
        assert_eq!(Outer::parse(&frame), Err(DropReason::VxlanHeader));
        frame[42] = 0x08;
        for len in 0..ENCAPSULATION {
            assert_eq!(Outer::parse(&frame[..len]), Err(DropReason::VxlanHeader), "{len}");
        }
        assert_eq!(outer().headers(macs, 65_536)[16..18], [0xff; 2]);
    }

    #[test]
    fn source_ports_are_dynamic_ones() {
        assert_eq!((source_port(0), source_port(u64::MAX)), (49152, 65535));
        assert_eq!(Vni::try_from(0), Err(VniError));
        assert_eq!(Vni::try_from(Vni::MAX + 1), Err(VniError));
        assert_eq!(Vni::try_from(42).map(Vni::get), Ok(42));
    }
}
