//! What can be wrong with a capture file.

use std::io;

use super::MAX_INTERFACES;

/// Why a capture could not be read. Offsets are in bytes from the start of the file, of the
/// record or block at fault.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The source failed.
    #[error("reading the capture failed at offset {offset}: {source}")]
    Io {
        /// How far it was read.
        offset: u64,
        /// What the source said.
        source: io::Error,
    },
    /// No known magic number.
    #[error("not a pcap or pcapng file: it starts with {magic:#010x}")]
    NotACapture {
        /// The first four bytes, big endian.
        magic: u32,
    },
    /// A version of the format that is not known.
    #[error("capture format version {major}.{minor} at offset {offset} is not supported")]
    Version {
        /// Of the file or section header.
        offset: u64,
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// The file ends within a record: what wrote it was interrupted.
    #[error("the capture ends within the record at offset {offset}")]
    Truncated {
        /// Of the record.
        offset: u64,
    },
    /// A length that cannot be: too short for its contents, unaligned, or two that disagree.
    #[error("the record at offset {offset} has a wrong length: {length}")]
    BadLength {
        /// Of the record.
        offset: u64,
        /// The length at fault.
        length: u32,
    },
    /// A length above [`MAX_FRAME`](super::MAX_FRAME) or [`MAX_BLOCK`](super::MAX_BLOCK).
    #[error("the record at offset {offset} has {length} bytes, more than {limit}")]
    TooLarge {
        /// Of the record.
        offset: u64,
        /// Its length.
        length: u32,
        /// The bound.
        limit: u32,
    },
    /// A section without a valid byte-order magic.
    #[error("the section at offset {offset} has no byte-order magic")]
    ByteOrder {
        /// Of the section header.
        offset: u64,
    },
    /// A frame of an interface that the section does not describe.
    #[error("the frame at offset {offset} is of interface {interface}, which is not described")]
    UnknownInterface {
        /// Of the frame's block.
        offset: u64,
        /// The interface it names.
        interface: u32,
    },
    /// More than [`MAX_INTERFACES`].
    #[error("the section describes more than {MAX_INTERFACES} interfaces (offset {offset})")]
    TooManyInterfaces {
        /// Of the first one too many.
        offset: u64,
    },
}
