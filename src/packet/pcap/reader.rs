//! Reading classic pcap and pcapng.

use std::io::{self, Read};

use super::fields::ByteOrder;
use super::interface::{Interface, MICROS_PER_S, NANOS_PER_S};
use super::{
    BYTE_ORDER_MAGIC, CapturedFrame, ENHANCED_PACKET, FrameDirection, INTERFACE_DESCRIPTION,
    MAX_BLOCK, MAX_FRAME, MAX_INTERFACES, OBSOLETE_PACKET, OPTION_COMMENT, OPTION_EPB_FLAGS,
    PcapError, SECTION_HEADER, SIMPLE_PACKET, clip,
};

const CLASSIC_MICRO: u32 = 0xa1b2_c3d4;
const CLASSIC_NANO: u32 = 0xa1b2_3c4d;
/// The classic file header behind its magic.
const CLASSIC_HEADER: usize = 20;
const CLASSIC_RECORD: usize = 16;
/// Type, length, and length again.
const BLOCK_OVERHEAD: u32 = 12;

#[derive(Clone, Copy, Debug)]
enum Format {
    Classic,
    Blocks,
}

/// Reads frames one by one; memory stays below about [`MAX_BLOCK`] plus the interfaces' names.
/// After an error the position in the file is lost: stop there, and use what came before.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes taken from `input`.
    offset: u64,
    format: Format,
    order: ByteOrder,
    interfaces: Vec<Interface>,
    record: Vec<u8>,
}

/// A frame before its bytes are borrowed from the reader.
struct Found {
    interface: u32,
    time: u64,
    wire_len: u32,
    data: std::ops::Range<usize>,
    options: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header and tells the format by it.
    ///
    /// # Errors
    /// Those of `input`, and a header that is cut, foreign or of another version.
    pub fn new(input: R) -> Result<Self, PcapError> {
        let mut reader = Self {
            input,
            offset: 0,
            format: Format::Blocks,
            order: ByteOrder::Little,
            interfaces: Vec::new(),
            record: Vec::new(),
        };
        reader.take(0, 4)?;
        let magic = ByteOrder::Big.u32(&reader.record, 0);
        match (magic, magic.swap_bytes()) {
            (SECTION_HEADER, _) => reader.section_header(0)?,
            (CLASSIC_MICRO, _) => reader.classic_header(ByteOrder::Big, MICROS_PER_S)?,
            (CLASSIC_NANO, _) => reader.classic_header(ByteOrder::Big, NANOS_PER_S)?,
            (_, CLASSIC_MICRO) => reader.classic_header(ByteOrder::Little, MICROS_PER_S)?,
            (_, CLASSIC_NANO) => reader.classic_header(ByteOrder::Little, NANOS_PER_S)?,
            _ => return Err(PcapError::NotACapture { magic }),
        }
        Ok(reader)
    }

    /// The interfaces of the section, as far as it was read: those that frames given out so far
    /// refer to are there.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The next frame; none at the end of the file.
    ///
    /// # Errors
    /// See [`PcapError`].
    pub fn next_frame(&mut self) -> Result<Option<CapturedFrame<'_>>, PcapError> {
        let found = match self.format {
            Format::Classic => self.next_classic()?,
            Format::Blocks => self.next_block()?,
        };
        Ok(found.map(|found| self.frame(&found)))
    }

    /// How many bytes of the file were read.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.record.capacity()
    }

    fn frame(&self, found: &Found) -> CapturedFrame<'_> {
        let interface = self.interfaces.get(found.interface as usize);
        let mut frame = CapturedFrame {
            interface: found.interface,
            timestamp_ns: interface.map_or(0, |interface| interface.nanos(found.time)),
            direction: FrameDirection::Unknown,
            wire_len: found.wire_len,
            data: self.record.get(found.data.clone()).unwrap_or_default(),
            comment: "",
        };
        let options = self.record.get(found.options..).unwrap_or_default();
        for (code, value) in self.order.options(options) {
            match code {
                OPTION_EPB_FLAGS if value.len() == 4 => {
                    frame.direction = match self.order.u32(value, 0) & 3 {
                        1 => FrameDirection::Received,
                        2 => FrameDirection::Sent,
                        _ => FrameDirection::Unknown,
                    };
                }
                OPTION_COMMENT if frame.comment.is_empty() => {
                    frame.comment = clip(str::from_utf8(value).unwrap_or_default());
                }
                _ => {}
            }
        }
        frame
    }

    fn classic_header(&mut self, order: ByteOrder, units: u128) -> Result<(), PcapError> {
        self.take(0, CLASSIC_HEADER)?;
        let (major, minor) = (order.u16(&self.record, 0), order.u16(&self.record, 2));
        if major != 2 {
            return Err(PcapError::Version { offset: 0, major, minor });
        }
        // The upper half of the link type tells the length of a frame check sequence.
        let link_type = order.u32(&self.record, 16) as u16;
        let snap_len = order.u32(&self.record, 12);
        self.format = Format::Classic;
        self.order = order;
        self.interfaces.push(Interface::of_classic(link_type, snap_len, units));
        Ok(())
    }

    fn next_classic(&mut self) -> Result<Option<Found>, PcapError> {
        let start = self.offset;
        if !self.take_or_end(start, CLASSIC_RECORD)? {
            return Ok(None);
        }
        let field = |at| self.order.u32(&self.record, at);
        let (seconds, fraction, len, wire_len) = (field(0), field(4), field(8), field(12));
        if len > MAX_FRAME {
            return Err(PcapError::TooLarge { offset: start, length: len, limit: MAX_FRAME });
        }
        self.take(start, len as usize)?;
        let units = self.interfaces.first().and_then(Interface::units);
        let time = u64::from(seconds) * units.unwrap_or(NANOS_PER_S) as u64 + u64::from(fraction);
        let wire_len = wire_len.max(len);
        let data = 0..len as usize;
        Ok(Some(Found { interface: 0, time, wire_len, data, options: len as usize }))
    }

    /// Reads blocks up to the next frame.
    fn next_block(&mut self) -> Result<Option<Found>, PcapError> {
        loop {
            let start = self.offset;
            if !self.take_or_end(start, 4)? {
                return Ok(None);
            }
            let kind = self.order.u32(&self.record, 0);
            match kind {
                SECTION_HEADER => self.section_header(start)?,
                INTERFACE_DESCRIPTION => {
                    self.block(start, 8)?;
                    self.interface_description(start)?;
                }
                ENHANCED_PACKET | OBSOLETE_PACKET => {
                    self.block(start, 20)?;
                    return self.packet(start, kind == ENHANCED_PACKET).map(Some);
                }
                SIMPLE_PACKET => {
                    self.block(start, 4)?;
                    return self.simple_packet(start).map(Some);
                }
                _ => self.skip_block(start)?,
            }
        }
    }

    /// A section header behind its type, which is the same in both byte orders.
    fn section_header(&mut self, start: u64) -> Result<(), PcapError> {
        self.take(start, 8)?;
        self.order = match ByteOrder::Big.u32(&self.record, 4) {
            BYTE_ORDER_MAGIC => ByteOrder::Big,
            swapped if swapped.swap_bytes() == BYTE_ORDER_MAGIC => ByteOrder::Little,
            _ => return Err(PcapError::ByteOrder { offset: start }),
        };
        let length = self.order.u32(&self.record, 0);
        check_length(start, length, 16)?;
        self.take(start, length as usize - 12)?;
        self.check_trailer(start, length)?;
        let (major, minor) = (self.order.u16(&self.record, 0), self.order.u16(&self.record, 2));
        if major != 1 {
            return Err(PcapError::Version { offset: start, major, minor });
        }
        self.interfaces.clear();
        Ok(())
    }

    fn interface_description(&mut self, start: u64) -> Result<(), PcapError> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(PcapError::TooManyInterfaces { offset: start });
        }
        self.interfaces.push(Interface::described(self.order, &self.record));
        Ok(())
    }

    /// An enhanced packet block, or the obsolete one it replaced: they differ in the first word.
    fn packet(&self, start: u64, is_enhanced: bool) -> Result<Found, PcapError> {
        let field = |at| self.order.u32(&self.record, at);
        let interface =
            if is_enhanced { field(0) } else { u32::from(self.order.u16(&self.record, 0)) };
        self.known_interface(start, interface)?;
        let (len, wire_len) = (field(12), field(16));
        let data = self.frame_range(start, 20, len)?;
        let time = u64::from(field(4)) << 32 | u64::from(field(8));
        let options = data.end.next_multiple_of(4);
        Ok(Found { interface, time, wire_len: wire_len.max(len), data, options })
    }

    /// A simple packet block: of the first interface, without a time, as long as the snap length
    /// lets it be.
    fn simple_packet(&self, start: u64) -> Result<Found, PcapError> {
        let snap_len = self.known_interface(start, 0)?.snap_len;
        let wire_len = self.order.u32(&self.record, 0);
        let len = if snap_len == 0 { wire_len } else { wire_len.min(snap_len) };
        let data = self.frame_range(start, 4, len)?;
        Ok(Found { interface: 0, time: 0, wire_len, data, options: self.record.len() })
    }

    fn known_interface(&self, start: u64, interface: u32) -> Result<&Interface, PcapError> {
        self.interfaces
            .get(interface as usize)
            .ok_or(PcapError::UnknownInterface { offset: start, interface })
    }

    /// Where a frame of `len` bytes at `from` of the record lies.
    fn frame_range(
        &self,
        start: u64,
        from: usize,
        len: u32,
    ) -> Result<std::ops::Range<usize>, PcapError> {
        if len > MAX_FRAME {
            return Err(PcapError::TooLarge { offset: start, length: len, limit: MAX_FRAME });
        }
        let end = from + len as usize;
        if end > self.record.len() {
            return Err(PcapError::BadLength { offset: start, length: len });
        }
        Ok(from..end)
    }

    /// Reads the rest of a block whose type was read: `record` is its body, at least `least`
    /// bytes.
    fn block(&mut self, start: u64, least: u32) -> Result<(), PcapError> {
        self.take(start, 4)?;
        let length = self.order.u32(&self.record, 0);
        check_length(start, length, least)?;
        self.take(start, length as usize - 8)?;
        self.check_trailer(start, length)
    }

    /// Compares the length behind the body with that before it, and cuts it off.
    fn check_trailer(&mut self, start: u64, length: u32) -> Result<(), PcapError> {
        let body = self.record.len().saturating_sub(4);
        let trailer = self.order.u32(&self.record, body);
        if trailer != length {
            return Err(PcapError::BadLength { offset: start, length: trailer });
        }
        self.record.truncate(body);
        Ok(())
    }

    /// Passes over a block of any length without keeping it.
    fn skip_block(&mut self, start: u64) -> Result<(), PcapError> {
        self.take(start, 4)?;
        let length = self.order.u32(&self.record, 0);
        if length < BLOCK_OVERHEAD || !length.is_multiple_of(4) {
            return Err(PcapError::BadLength { offset: start, length });
        }
        let rest = u64::from(length) - 12;
        let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink())
            .map_err(|source| PcapError::Io { offset: self.offset, source })?;
        self.offset += skipped;
        self.take(start, 4)?;
        let trailer = self.order.u32(&self.record, 0);
        if trailer != length {
            return Err(PcapError::BadLength { offset: start, length: trailer });
        }
        Ok(())
    }

    /// Reads exactly `len` bytes into `record`.
    fn take(&mut self, start: u64, len: usize) -> Result<(), PcapError> {
        if self.fill(len)? < len {
            return Err(PcapError::Truncated { offset: start });
        }
        Ok(())
    }

    /// As `take`; false if the file ends before the first byte.
    fn take_or_end(&mut self, start: u64, len: usize) -> Result<bool, PcapError> {
        match self.fill(len)? {
            0 => Ok(false),
            read if read < len => Err(PcapError::Truncated { offset: start }),
            _ => Ok(true),
        }
    }

    /// Reads up to `len` bytes into `record`, which grows as they come, not as they are claimed.
    fn fill(&mut self, len: usize) -> Result<usize, PcapError> {
        self.record.clear();
        let read = self
            .input
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut self.record)
            .map_err(|source| PcapError::Io { offset: self.offset, source })?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A block is a multiple of four bytes, has room for `least` bytes of body, and is no longer
/// than [`MAX_BLOCK`].
const fn check_length(offset: u64, length: u32, least: u32) -> Result<(), PcapError> {
    if length > MAX_BLOCK {
        return Err(PcapError::TooLarge { offset, length, limit: MAX_BLOCK });
    }
    if length < BLOCK_OVERHEAD + least || !length.is_multiple_of(4) {
        return Err(PcapError::BadLength { offset, length });
    }
    Ok(())
}
