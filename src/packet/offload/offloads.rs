//! What a device takes besides finished frames.

use std::fmt;

use super::{Gso, Offload};

/// What a device takes besides finished frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Partial checksums.
    pub checksum: bool,
    /// TCP super-frames over IPv4.
    pub tso4: bool,
    /// TCP super-frames over IPv6.
    pub tso6: bool,
    /// TCP super-frames whose first segment has CWR set (RFC 3168).
    pub ecn: bool,
    /// UDP super-frames.
    pub uso: bool,
}

impl Offloads {
    /// Finished frames only.
    pub const NONE: Self =
        Self { checksum: false, tso4: false, tso6: false, ecn: false, uso: false };
    /// Everything.
    pub const ALL: Self = Self { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };

    /// True if the device takes a frame with this left to be done.
    pub const fn take(self, offload: Offload) -> bool {
        offload.is_none() || self.take_kind(offload.gso) && (self.ecn || !offload.has_ecn)
    }

    /// True if the device takes partial checksums and, unless that is all, such super-frames.
    pub const fn take_kind(self, gso: Gso) -> bool {
        let segments = match gso {
            Gso::None => true,
            Gso::Tcp4 => self.tso4,
            Gso::Tcp6 => self.tso6,
            Gso::Udp => self.uso,
        };
        self.checksum && segments
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checksum, tso4, tso6, ecn, uso } = *self;
        let all = [("csum", checksum), ("tso4", tso4), ("tso6", tso6), ("ecn", ecn), ("uso", uso)];
        let mut taken = all.into_iter().filter(|(_, is_taken)| *is_taken).map(|(name, _)| name);
        out.write_str(taken.next().unwrap_or("none"))?;
        taken.try_for_each(|name| write!(out, ",{name}"))
    }
}
