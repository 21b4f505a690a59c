//! Numbers in the byte order of a file, and the options of a pcapng block.

use super::super::array;

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The 16-bit number at `offset`; zero beyond the end, which callers have excluded.
    pub fn u16(self, data: &[u8], offset: usize) -> u16 {
        let bytes = array(data, offset).unwrap_or_default();
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The 32-bit number at `offset`; zero beyond the end, which callers have excluded.
    pub fn u32(self, data: &[u8], offset: usize) -> u32 {
        let bytes = array(data, offset).unwrap_or_default();
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The 64-bit number at `offset`; zero beyond the end, which callers have excluded.
    pub fn u64(self, data: &[u8], offset: usize) -> u64 {
        let bytes = array(data, offset).unwrap_or_default();
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// The options in `data`, as (code, value); stops at the end mark or at a damaged one.
    pub fn options(self, data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
        let mut rest = data;
        std::iter::from_fn(move || {
            let header = rest.first_chunk::<4>()?;
            let (code, len) = (self.u16(header, 0), usize::from(self.u16(header, 2)));
            if code == super::OPTION_END {
                return None;
            }
            let value = rest.get(4..4 + len)?;
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
            Some((code, value))
        })
    }
}
