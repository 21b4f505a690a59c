//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::Ipv4Addr;

use super::IPV4_HEADER;

/// Words added up side by side, as independent sums: so the compiler vectorises the loop.
const LANES: usize = 8;

/// Folds a one's-complement sum to 16 bits.
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    fold_few(sum as u32)
}

/// Folds the sum of at most 65 536 words to 16 bits.
const fn fold_few(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The uncomplemented one's-complement sum of `data`, padded with a zero byte if odd. It is 0 only
/// if all of `data` is; otherwise zero is told as 0xffff.
///
/// The words are added in the byte order of the machine and only the result is turned
/// (RFC 1071 2 (B)).
pub fn sum(data: &[u8]) -> u16 {
    let (blocks, rest) = data.as_chunks::<{ 4 * LANES }>();
    let mut total = if blocks.is_empty() { 0 } else { sum_of_blocks(blocks) };
    let (words, tail) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    fold(total + u64::from(u32::from_ne_bytes(last))).to_be()
}

/// At most 2^32 words go into a lane before it overflows: a frame has far fewer.
fn sum_of_blocks(blocks: &[[u8; 4 * LANES]]) -> u64 {
    let mut lanes = [0u64; LANES];
    for block in blocks {
        add_block(&mut lanes, block);
    }
    sum_of_lanes(lanes)
}

fn add_block(lanes: &mut [u64; LANES], block: &[u8; 4 * LANES]) {
    let (words, _) = block.as_chunks::<4>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        *lane += u64::from(u32::from_ne_bytes(*word));
    }
}

fn sum_of_lanes(lanes: [u64; LANES]) -> u64 {
    lanes.into_iter().map(|lane| (lane & 0xffff_ffff) + (lane >> 32)).sum()
}

/// The folded sum of several folded sums and numbers.
pub fn sum_of(parts: &[u16]) -> u16 {
    fold(parts.iter().copied().map(u64::from).sum())
}

/// The checksum field for `data` in which that field is zero.
pub fn checksum(data: &[u8]) -> u16 {
    !sum(data)
}

/// True if `data`, its checksum field included, sums to all ones.
pub fn is_valid(data: &[u8]) -> bool {
    sum(data) == 0xffff
}

/// True if an IPv4 header without options sums to all ones. That does not depend on the byte
/// order it is read in.
#[inline(always)]
pub fn header_is_valid(header: &[u8; IPV4_HEADER]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    fold(total) == 0xffff
}

/// The checksum field of a TCP, UDP or other segment under an IPv4 pseudo header. The field in
/// `segment` must be zero to compute it; if it is filled in, a valid segment yields zero.
pub fn transport(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let pseudo = pseudo_header(src, dst, protocol, segment.len());
    !fold(u64::from(pseudo) + u64::from(sum(segment)))
}

/// The uncomplemented sum of the pseudo header of a segment of `len` bytes: what a partial checksum
/// field holds.
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> u16 {
    let addresses = u64::from(sum(&src.octets())) + u64::from(sum(&dst.octets()));
    fold(addresses + u64::from(protocol) + len as u64)
}

/// The same with both addresses as they stand in a header, of either IP version.
pub fn pseudo_header_of(addresses: &[u8], protocol: u8, len: usize) -> u16 {
    fold(u64::from(sum(addresses)) + u64::from(protocol) + len as u64)
}

/// What a checksum changes by when some of the words it covers change: the folded sum of
/// `~m + m'` of RFC 1624 equation 3. Deltas add up, and a wrong checksum stays wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// Nothing changes.
    pub const NONE: Self = Self(0);

    /// The change of one 16-bit word.
    #[must_use]
    pub const fn word(self, old: u16, new: u16) -> Self {
        if old == new {
            return self;
        }
        Self(fold_few(self.0 as u32 + (!old) as u32 + new as u32))
    }

    /// The change of an IPv4 address.
    #[must_use]
    pub const fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        let (old, new) = (old.to_bits(), new.to_bits());
        if old == new {
            return self;
        }
        // A half that stays adds all ones, which is zero.
        let (low, high) = (0xffff, 16);
        let halves = (!old & low) + (!old >> high) + (new & low) + (new >> high);
        Self(fold_few(self.0 as u32 + halves))
    }

    /// Both changes together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(fold_few(self.0 as u32 + other.0 as u32))
    }

    /// The change back: what undoes this one.
    #[must_use]
    pub const fn reversed(self) -> Self {
        // Changes that cancel each other out are a negative zero either way, and none is none.
        if self.0 == 0 || self.0 == 0xffff { self } else { Self(!self.0) }
    }

    /// The checksum field after the change.
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold_few((!checksum) as u32 + self.0 as u32)
    }

    /// A partial checksum field after the change: an uncomplemented sum, of which 0 is one.
    pub const fn apply_partial(self, sum: u16) -> u16 {
        fold_few(sum as u32 + self.0 as u32)
    }

    /// The UDP checksum field after the change: zero means "no checksum" and stays (RFC 768), a
    /// sum that comes out as zero is sent as all ones.
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        match (checksum, self.apply(checksum)) {
            (0, _) => 0,
            (_, 0) => 0xffff,
            (_, updated) => updated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sum_of_the_rfc_1071_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0xff]), 0xff00);
    }

    /// As RFC 1071 4.1 writes it, word by word in network order.
    fn naive_sum(data: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in data.chunks(2) {
            total += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn sum_equals_the_naive_one_at_every_length_and_offset() {
        let data: Vec<u8> = (0..400u32).map(|at| (at * at * 31 + 7) as u8).collect();
        for from in 0..70 {
            for to in from..data.len() {
                assert_eq!(sum(&data[from..to]), naive_sum(&data[from..to]), "{from}..{to}");
            }
        }
    }

    #[test]
    fn sum_of_the_largest_words_does_not_overflow() {
        let data = vec![0xff; 1 << 20];
        assert_eq!(sum(&data), 0xffff);
        assert_eq!(sum(&[0; 100]), 0);
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0xffff_ffff_0000_0001), 1);
    }

    #[test]
    fn update_of_the_rfc_1624_example() {
        assert_eq!(Delta::NONE.word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn sum_equals_the_naive_one_on_any_bytes(
            data in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0u8), Just(0xff)], 0..600
            ),
            from in 0usize..64,
        ) {
            let data = data.get(from..).unwrap_or_default();
            prop_assert_eq!(sum(data), naive_sum(data));
        }

        #[test]
        fn incremental_update_equals_recomputation(
            mut data in proptest::collection::vec(any::<u8>(), 4..64),
            address in any::<u32>(),
        ) {
            data.push(1); // never all zero: there the two forms of zero differ
            let before = checksum(&data);
            let old = Ipv4Addr::from([data[0], data[1], data[2], data[3]]);
            let new = Ipv4Addr::from(address);
            data[..4].copy_from_slice(&new.octets());
            prop_assert_eq!(Delta::NONE.address(old, new).apply(before), checksum(&data));
        }

        #[test]
        fn a_reversed_change_is_the_change_computed_backwards(
            words in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..4),
            cancels in any::<bool>(), field in any::<u16>(),
        ) {
            // Both forms of zero are right there; which of them comes out differs.
            prop_assume!(!words.iter().any(|(old, new)| old ^ new == 0xffff && old * new == 0));
            let mut words = words;
            if cancels {
                words.extend(words.clone().into_iter().map(|(old, new)| (new, old)));
            }
            let there = words.iter().fold(Delta::NONE, |sum, (old, new)| sum.word(*old, *new));
            let back = words.iter().fold(Delta::NONE, |sum, (old, new)| sum.word(*new, *old));
            prop_assert_eq!(there.reversed(), back);
            prop_assert_eq!(there.reversed().apply(field), back.apply(field));
        }

        #[test]
        fn a_wrong_checksum_stays_wrong_by_the_same_amount(
            before in any::<u16>(), error in 1u16..0xffff, old in any::<u16>(), new in any::<u16>(),
        ) {
            let wrong = Delta::NONE.word(0, error).apply(before);
            let delta = Delta::NONE.word(old, new);
            let expected = Delta::NONE.word(0, error).apply(delta.apply(before));
            prop_assert_eq!(fold(u64::from(delta.apply(wrong))) % 0xffff, expected % 0xffff);
        }
    }
}
