//! Big-endian access that cannot panic: out of range reads give `None`, writes do nothing.

/// The `N` bytes at `offset`.
pub fn array<const N: usize>(data: &[u8], offset: usize) -> Option<[u8; N]> {
    data.get(offset..)?.first_chunk().copied()
}

/// The 16-bit number at `offset`.
pub fn be16(data: &[u8], offset: usize) -> Option<u16> {
    array(data, offset).map(u16::from_be_bytes)
}

/// The 32-bit number at `offset`.
pub fn be32(data: &[u8], offset: usize) -> Option<u32> {
    array(data, offset).map(u32::from_be_bytes)
}

/// Writes `bytes` at `offset` if they fit.
pub fn put(data: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(room) = data.get_mut(offset..).and_then(|tail| tail.get_mut(..bytes.len())) {
        room.copy_from_slice(bytes);
    }
}

/// Writes a 16-bit number at `offset` if it fits.
pub fn put16(data: &mut [u8], offset: usize, value: u16) {
    put(data, offset, &value.to_be_bytes());
}
