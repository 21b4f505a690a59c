//! A frame to feed an engine with.

use tapway::packet::put;
use tapway::packet::vxlan::ENCAPSULATION;

/// A frame of 60 bytes, and what may be outside of it.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    bytes: [u8; ENCAPSULATION + 60],
    len: usize,
}

impl Frame {
    /// A frame behind these headers.
    pub fn encapsulated(outer: &[u8; ENCAPSULATION], inner: &[u8; 60]) -> Self {
        let mut bytes = [0; ENCAPSULATION + 60];
        put(&mut bytes, 0, outer);
        put(&mut bytes, ENCAPSULATION, inner);
        Self { bytes, len: bytes.len() }
    }
}

impl From<[u8; 60]> for Frame {
    fn from(frame: [u8; 60]) -> Self {
        let mut bytes = [0; ENCAPSULATION + 60];
        put(&mut bytes, 0, &frame);
        Self { bytes, len: frame.len() }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
