//! Capture files: pcapng out, classic pcap and pcapng in.
//!
//! Pure: a [`Writer`] appends blocks to any [`std::io::Write`], a [`Reader`] takes them from any
//! [`std::io::Read`]. Nobody here opens files, reads clocks or knows the engine.
//!
//! The writer makes one section with one interface per named port, nanosecond timestamps, the
//! direction as a flag and the drop reason's name as a comment: Wireshark shows them as
//! `frame.interface_name`, `frame.packet_flags_direction` and `frame.comment`.
//!
//! The reader takes what other tools write, in either byte order: classic pcap with micro- or
//! nanoseconds; pcapng with any number of sections and interfaces, enhanced, simple and
//! (obsolete) packet blocks. Other blocks are skipped. A file is hostile input: lengths are
//! checked before memory is taken, and every error names the offset of the record at fault.
//! Bounds: [`MAX_FRAME`], [`MAX_BLOCK`], [`MAX_INTERFACES`], [`MAX_TEXT`].
//!
//! Wrap files in `BufReader` and `BufWriter`: a record costs two reads or one write.
//!
//! Read first: draft-ietf-opsawg-pcapng, draft-ietf-opsawg-pcap.

mod error;
mod fields;
mod interface;
mod reader;
mod writer;

use crate::drop_reason::DropReason;

pub use error::PcapError;
pub use interface::Interface;
pub use reader::Reader;
pub use writer::Writer;

/// Link type of Ethernet frames without FCS; the only one the [`Writer`] makes.
pub const LINKTYPE_ETHERNET: u16 = 1;
/// Most bytes of a frame that are written or read: what Wireshark reads at most, and four times
/// the largest super-frame of a TAP.
pub const MAX_FRAME: u32 = 256 * 1024;
/// Most bytes of a pcapng block that is read (others are skipped at any length): a frame and its
/// options, with room to spare.
pub const MAX_BLOCK: u32 = 1024 * 1024;
/// Most interfaces of a section that are read.
pub const MAX_INTERFACES: usize = 4096;
/// Most bytes of a name or comment; longer ones are cut.
pub const MAX_TEXT: usize = 1024;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
/// Block type of interface statistics.
pub const INTERFACE_STATISTICS: u32 = 5;
/// Block type of a frame.
pub const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_IF_NAME: u16 = 2;
const OPTION_EPB_FLAGS: u16 = 2;
const OPTION_SHB_USERAPPL: u16 = 4;
const OPTION_ISB_IFRECV: u16 = 4;
/// Option of interface statistics: frames missed, 64 bits.
pub const OPTION_ISB_IFDROP: u16 = 5;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_IF_TSOFFSET: u16 = 14;

/// Which way a frame went, seen from tapway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameDirection {
    /// The file does not say.
    #[default]
    Unknown,
    /// It came in by the port ("inbound").
    Received,
    /// It went out by the port ("outbound").
    Sent,
}

/// A frame as a capture holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedFrame<'a> {
    /// The interface: its position among those of the section, from zero.
    pub interface: u32,
    /// Nanoseconds since 1970-01-01T00:00:00Z; zero where the file has no time.
    pub timestamp_ns: u64,
    /// Which way it went.
    pub direction: FrameDirection,
    /// Length on the wire in bytes; `data` may be shorter.
    pub wire_len: u32,
    /// The captured bytes, from the destination MAC on for [`LINKTYPE_ETHERNET`].
    pub data: &'a [u8],
    /// The first comment; empty if there is none, or it is not UTF-8.
    pub comment: &'a str,
}

impl<'a> CapturedFrame<'a> {
    /// A whole frame without comment.
    pub const fn new(
        interface: u32,
        timestamp_ns: u64,
        direction: FrameDirection,
        data: &'a [u8],
    ) -> Self {
        Self { interface, timestamp_ns, direction, wire_len: data.len() as u32, data, comment: "" }
    }

    /// The same frame with the reason it was dropped for as its comment.
    #[must_use]
    pub const fn dropped(self, reason: DropReason) -> Self {
        Self { comment: reason.name(), ..self }
    }

    /// The reason it was dropped for, if the comment names one.
    pub fn drop_reason(&self) -> Option<DropReason> {
        DropReason::from_name(self.comment)
    }
}

/// `text` cut to [`MAX_TEXT`] bytes at a character's border.
fn clip(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
