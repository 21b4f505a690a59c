//! Writing pcapng.

use std::io::{self, Write};

use super::{
    BYTE_ORDER_MAGIC, CapturedFrame, ENHANCED_PACKET, FrameDirection, INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS, LINKTYPE_ETHERNET, MAX_FRAME, OPTION_COMMENT, OPTION_END,
    OPTION_EPB_FLAGS, OPTION_IF_NAME, OPTION_IF_TSRESOL, OPTION_ISB_IFDROP, OPTION_ISB_IFRECV,
    OPTION_SHB_USERAPPL, SECTION_HEADER, clip,
};

/// Units per second of timestamps, as a power of ten.
const NANOSECONDS: u8 = 9;
const VERSION: [u16; 2] = [1, 0];
/// "Not known": the section lasts until the file ends.
const SECTION_LENGTH: u64 = u64::MAX;

/// Writes a pcapng section, little endian. Each block goes out in one `write_all`, so that a
/// reader of a pipe sees whole blocks as they come; call [`Writer::flush`] after each burst if
/// `out` buffers.
///
/// ```
/// use tapway::drop_reason::DropReason;
/// use tapway::packet::pcap::{CapturedFrame, FrameDirection, Writer};
///
/// let mut writer = Writer::new(Vec::new(), 1514)?;
/// let nginx1 = writer.add_interface("nginx1")?;
/// let frame = [0xff; 60];
/// let received = CapturedFrame::new(nginx1, 1_700_000_000_000_000_000, FrameDirection::Received, &frame);
/// writer.write(&received.dropped(DropReason::GuardMac))?;
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    snap_len: u32,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a section. Frames are cut to `snap_len` bytes, and to [`MAX_FRAME`] at most; zero
    /// means [`MAX_FRAME`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, snap_len: u32) -> io::Result<Self> {
        let snap_len = if snap_len == 0 { MAX_FRAME } else { snap_len.min(MAX_FRAME) };
        let mut writer = Self { out, snap_len, interfaces: 0, block: Vec::new() };
        writer.begin(SECTION_HEADER);
        writer.put(&BYTE_ORDER_MAGIC.to_le_bytes());
        writer.put(&VERSION[0].to_le_bytes());
        writer.put(&VERSION[1].to_le_bytes());
        writer.put(&SECTION_LENGTH.to_le_bytes());
        writer.option(OPTION_SHB_USERAPPL, b"tapway");
        writer.option(OPTION_END, &[]);
        writer.end()?;
        Ok(writer)
    }

    /// Adds an Ethernet interface, for a port of that name (cut to
    /// [`MAX_TEXT`](super::MAX_TEXT) bytes); gives the number that frames refer to it by.
    /// Interfaces may be added between frames, as ports come.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn add_interface(&mut self, name: &str) -> io::Result<u32> {
        self.begin(INTERFACE_DESCRIPTION);
        self.put(&LINKTYPE_ETHERNET.to_le_bytes());
        self.put(&[0; 2]);
        self.put(&self.snap_len.to_le_bytes());
        self.option(OPTION_IF_NAME, clip(name).as_bytes());
        self.option(OPTION_IF_TSRESOL, &[NANOSECONDS]);
        self.option(OPTION_END, &[]);
        self.end()?;
        let number = self.interfaces;
        self.interfaces += 1;
        Ok(number)
    }

    /// Writes a frame, cut to the snap length.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is no such interface; else those of `out`.
    pub fn write(&mut self, frame: &CapturedFrame<'_>) -> io::Result<()> {
        if frame.interface >= self.interfaces {
            let text = format!("capture interface {} was not added", frame.interface);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let data = frame.data.get(..self.snap_len as usize).unwrap_or(frame.data);
        self.begin(ENHANCED_PACKET);
        self.put(&frame.interface.to_le_bytes());
        self.put(&((frame.timestamp_ns >> 32) as u32).to_le_bytes());
        self.put(&(frame.timestamp_ns as u32).to_le_bytes());
        self.put(&(data.len() as u32).to_le_bytes());
        self.put(&frame.wire_len.max(data.len() as u32).to_le_bytes());
        self.put(data);
        self.pad();
        self.frame_options(frame);
        self.end()
    }

    /// Says how many frames of an interface there were so far, and how many of them were missed
    /// for lack of room: `(all, missed)`. The last such block of an interface holds.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_statistics(
        &mut self,
        interface: u32,
        timestamp_ns: u64,
        (all, missed): (u64, u64),
    ) -> io::Result<()> {
        self.begin(INTERFACE_STATISTICS);
        self.put(&interface.to_le_bytes());
        self.put(&((timestamp_ns >> 32) as u32).to_le_bytes());
        self.put(&(timestamp_ns as u32).to_le_bytes());
        self.option(OPTION_ISB_IFRECV, &all.to_le_bytes());
        self.option(OPTION_ISB_IFDROP, &missed.to_le_bytes());
        self.option(OPTION_END, &[]);
        self.end()
    }

    /// Flushes `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn frame_options(&mut self, frame: &CapturedFrame<'_>) {
        let flags: u32 = match frame.direction {
            FrameDirection::Unknown => 0,
            FrameDirection::Received => 1,
            FrameDirection::Sent => 2,
        };
        if flags != 0 {
            self.option(OPTION_EPB_FLAGS, &flags.to_le_bytes());
        }
        if !frame.comment.is_empty() {
            self.option(OPTION_COMMENT, clip(frame.comment).as_bytes());
        }
        if flags != 0 || !frame.comment.is_empty() {
            self.option(OPTION_END, &[]);
        }
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.put(&kind.to_le_bytes());
        self.put(&[0; 4]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// The value has at most [`MAX_TEXT`](super::MAX_TEXT) bytes.
    fn option(&mut self, code: u16, value: &[u8]) {
        self.put(&code.to_le_bytes());
        self.put(&(value.len() as u16).to_le_bytes());
        self.put(value);
        self.pad();
    }

    fn end(&mut self) -> io::Result<()> {
        let total = (self.block.len() as u32 + 4).to_le_bytes();
        super::super::put(&mut self.block, 4, &total);
        self.put(&total);
        self.out.write_all(&self.block)
    }
}
