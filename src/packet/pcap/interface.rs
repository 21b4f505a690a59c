//! Where the frames of a capture file come from, and how it counts time.

use super::fields::ByteOrder;
use super::{OPTION_IF_NAME, OPTION_IF_TSOFFSET, OPTION_IF_TSRESOL, clip};

/// Units of time stamps in nanoseconds.
pub(super) const NANOS_PER_S: u128 = 1_000_000_000;
/// Units of time stamps where the file does not say.
pub(super) const MICROS_PER_S: u128 = 1_000_000;

/// An interface frames were captured at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name; empty if the file has none.
    pub name: String,
    /// What its frames start with; [`LINKTYPE_ETHERNET`](super::LINKTYPE_ETHERNET) for Ethernet.
    /// The reader gives out frames of any type: who replays them checks this.
    pub link_type: u16,
    /// Frames are cut to this length in bytes; zero: not cut.
    pub snap_len: u32,
    /// Units of time per second; none if beyond what can be counted, time is zero then.
    units: Option<u128>,
    /// Seconds to be added to timestamps.
    offset_s: i64,
}

impl Interface {
    /// The one interface of a classic file.
    pub(super) const fn of_classic(link_type: u16, snap_len: u32, units: u128) -> Self {
        Self { name: String::new(), link_type, snap_len, units: Some(units), offset_s: 0 }
    }

    /// From the body of an interface description block, of eight bytes at least.
    pub(super) fn described(order: ByteOrder, body: &[u8]) -> Self {
        let (link_type, snap_len) = (order.u16(body, 0), order.u32(body, 4));
        let mut interface = Self::of_classic(link_type, snap_len, MICROS_PER_S);
        for (code, value) in order.options(body.get(8..).unwrap_or_default()) {
            match (code, value) {
                (OPTION_IF_NAME, name) => {
                    interface.name = clip(&String::from_utf8_lossy(name)).to_owned();
                }
                (OPTION_IF_TSRESOL, [power, ..]) => {
                    let base: u128 = if power & 0x80 != 0 { 2 } else { 10 };
                    interface.units = base.checked_pow(u32::from(power & 0x7f));
                }
                (OPTION_IF_TSOFFSET, seconds) if seconds.len() == 8 => {
                    interface.offset_s = order.u64(seconds, 0).cast_signed();
                }
                _ => {}
            }
        }
        interface
    }

    /// Units of its time per second.
    pub(super) const fn units(&self) -> Option<u128> {
        self.units
    }

    /// Its time in nanoseconds since 1970.
    pub(super) fn nanos(&self, time: u64) -> u64 {
        let Some(units) = self.units else { return 0 };
        let nanos = (u128::from(time) * NANOS_PER_S / units).cast_signed();
        let offset = i128::from(self.offset_s) * NANOS_PER_S.cast_signed();
        u64::try_from((nanos + offset).max(0)).unwrap_or(u64::MAX)
    }
}
