//! Ports on capture files: frames out of one, and frames into one.
//!
//! Files are read and written by the worker itself, in blocks: fine for a lab, not for a
//! dataplane that must not wait for a disk. Only regular files are taken, as a pipe could make
//! the worker wait for good.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Clock, Loss, OpenError, PortIo, ReceiveError};
use crate::drop_reason::DropReason;
use crate::packet::pcap::{CapturedFrame, FrameDirection, LINKTYPE_ETHERNET, Reader, Writer};
use crate::packet::{ETHERNET_HEADER, Received, VLAN_TAG, VNET_HEADER};

/// Largest frame replayed: as a TAP's.
const MAX_FRAME: usize = 9_216 + ETHERNET_HEADER + VLAN_TAG;
/// Bytes gathered before the file is written, or read at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// Frames out of a capture file, pcap or pcapng, as fast as they are taken. Frames that the file
/// says were sent are left out: they were answers to the others. What is sent to it is discarded.
#[derive(Debug)]
pub struct ReplayPort {
    reader: Reader<BufReader<File>>,
}

impl ReplayPort {
    /// Opens a file.
    ///
    /// # Errors
    /// If it is not there, or is no capture.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = open_regular(path, OpenOptions::new().read(true))?;
        let reader = Reader::new(BufReader::with_capacity(BLOCK_BYTES, file));
        let reader = reader.map_err(|error| OpenError::from_io(shown(path), invalid(error)))?;
        Ok(Self { reader })
    }
}

impl PortIo for ReplayPort {
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }

    fn max_frame(&self) -> usize {
        MAX_FRAME
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        loop {
            let (interface, copied) = match self.reader.next_frame() {
                Ok(Some(frame)) if frame.direction == FrameDirection::Sent => continue,
                Ok(Some(frame)) => (frame.interface as usize, copy(&frame, room)),
                Ok(None) => {
                    let ended = io::Error::other("the capture file has ended");
                    return Err(ReceiveError::Gone(ended));
                }
                Err(error) => return Err(ReceiveError::Gone(invalid(error))),
            };
            let link_type = self.reader.interfaces().get(interface).map(|found| found.link_type);
            if link_type == Some(LINKTYPE_ETHERNET) {
                return copied;
            }
            let text = format!("not of Ethernet (link type {})", link_type.unwrap_or_default());
            return Err(ReceiveError::Gone(invalid(text)));
        }
    }

    fn send(&mut self, _frame: &[u8]) -> Result<(), DropReason> {
        Ok(())
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(Discard))
    }
}

/// Takes what is sent to a capture file that is only read.
#[derive(Debug)]
struct Discard;

impl PortIo for Discard {
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }

    fn max_frame(&self) -> usize {
        ETHERNET_HEADER
    }

    fn receive(&mut self, _room: &mut [u8]) -> Result<Received, ReceiveError> {
        Err(ReceiveError::Empty)
    }

    fn send(&mut self, _frame: &[u8]) -> Result<(), DropReason> {
        Ok(())
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(Self))
    }
}

/// Frames into a capture file (pcapng, with nanoseconds). Nothing is received from it. What was
/// sent reaches the file when a block is full, when counters are read, and at the end.
#[derive(Clone, Debug)]
pub struct RecordPort {
    /// Shared by all who send; the file is written in their order.
    writer: Arc<Mutex<Writer<BufWriter<File>>>>,
    interface: u32,
}

impl RecordPort {
    /// Makes a file, in place of one that is there, readable by its owner only.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(path: &Path, port: &str) -> Result<Self, OpenError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = open_regular(path, &options)?;
        let begin = || -> io::Result<Self> {
            let mut writer = Writer::new(BufWriter::with_capacity(BLOCK_BYTES, file), 0)?;
            let interface = writer.add_interface(port)?;
            writer.flush()?;
            Ok(Self { writer: Arc::new(Mutex::new(writer)), interface })
        };
        begin().map_err(|error| OpenError::from_io(shown(path), error))
    }
}

impl PortIo for RecordPort {
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }

    fn max_frame(&self) -> usize {
        ETHERNET_HEADER
    }

    fn receive(&mut self, _room: &mut [u8]) -> Result<Received, ReceiveError> {
        Err(ReceiveError::Empty)
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let wall_ns = Clock.now().as_nanos().wrapping_add(Clock.wall_offset_ns());
        let frame = CapturedFrame::new(self.interface, wall_ns, FrameDirection::Sent, frame);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write(&frame).map_err(|_| DropReason::TxError)
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(self.clone()))
    }

    fn poll_losses(&mut self) -> Vec<Loss> {
        // A full disk shows at the next frame that does not fit the block.
        let _ = self.writer.lock().unwrap_or_else(PoisonError::into_inner).flush();
        Vec::new()
    }
}

/// A frame that the capture cut cannot be sent as it was.
fn copy(frame: &CapturedFrame<'_>, room: &mut [u8]) -> Result<Received, ReceiveError> {
    let len = frame.data.len();
    let is_whole = frame.wire_len as usize <= len;
    let room = room.get_mut(VNET_HEADER..VNET_HEADER + len).filter(|_| is_whole);
    room.ok_or(ReceiveError::Truncated)?.copy_from_slice(frame.data);
    Ok(Received::finished(len))
}

fn open_regular(path: &Path, options: &OpenOptions) -> Result<File, OpenError> {
    let not_regular = || OpenError::Conflict {
        what: format!("{} is not a regular file", shown(path)),
        remedy: "name a file; pipes and devices could make tapway wait".to_owned(),
    };
    // Looked at first: to open a pipe may wait for its other end.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(not_regular());
    }
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::NotFound { what: shown(path), remedy: String::new() },
        _ => OpenError::from_io(shown(path), error),
    })
}

fn shown(path: &Path) -> String {
    format!("capture file {}", path.display())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(frames: &[CapturedFrame<'_>]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = Writer::new(file.reopen().unwrap(), 0).unwrap();
        writer.add_interface("a").unwrap();
        frames.iter().for_each(|frame| writer.write(frame).unwrap());
        file
    }

    #[test]
    fn what_was_recorded_as_received_is_replayed_and_then_the_port_ends() {
        let (first, second) = ([1; 60], [2; 1514]);
        let received = |data| CapturedFrame::new(0, 1, FrameDirection::Received, data);
        let cut = CapturedFrame { wire_len: 1514, ..received(&first) };
        let sent = CapturedFrame::new(0, 2, FrameDirection::Sent, &second);
        let file = written(&[received(&first), sent, cut, received(&second)]);
        let mut port = ReplayPort::open(file.path()).unwrap();
        let mut room = vec![0; VNET_HEADER + port.max_frame()];
        assert_eq!(port.receive(&mut room).unwrap().frame_in(&room).bytes, first);
        assert!(matches!(port.receive(&mut room), Err(ReceiveError::Truncated)), "cut");
        assert!(matches!(port.receive(&mut room[..100]), Err(ReceiveError::Truncated)), "no room");
        assert!(matches!(port.receive(&mut room), Err(ReceiveError::Gone(_))));
    }

    #[test]
    fn damaged_file_ends_the_port_at_the_damage() {
        let file = written(&[CapturedFrame::new(0, 1, FrameDirection::Unknown, &[1; 60])]);
        let whole = std::fs::read(file.path()).unwrap();
        std::fs::write(file.path(), &whole[..whole.len() - 8]).unwrap();
        let mut port = ReplayPort::open(file.path()).unwrap();
        assert!(matches!(port.receive(&mut [0; 100]), Err(ReceiveError::Gone(_))));
        std::fs::write(file.path(), b"no capture").unwrap();
        let refusal = ReplayPort::open(file.path()).unwrap_err();
        assert!(matches!(refusal, OpenError::System { .. }), "{refusal}");
    }

    #[test]
    fn recorded_file_is_readable_while_the_port_is_open_and_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pcapng");
        let mut port = RecordPort::create(&path, "web").unwrap();
        port.send(&[7; 60]).unwrap();
        assert_eq!(port.poll_losses(), []);
        let mut reader = Reader::new(File::open(&path).unwrap()).unwrap();
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!((frame.data, frame.direction), (&[7; 60][..], FrameDirection::Sent));
        // After 2020: nanoseconds of the wall clock.
        assert!(frame.timestamp_ns > 1_577_836_800_000_000_000, "{}", frame.timestamp_ns);
        assert_eq!(reader.interfaces()[0].name, "web");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn missing_and_irregular_files_are_refused_by_name() {
        let missing = ReplayPort::open(Path::new("/nonexistent/a.pcap")).unwrap_err();
        assert!(matches!(missing, OpenError::NotFound { .. }), "{missing}");
        let device = ReplayPort::open(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(device, OpenError::Conflict { .. }), "{device}");
        let device = RecordPort::create(Path::new("/dev/null"), "web").unwrap_err();
        assert!(matches!(device, OpenError::Conflict { .. }), "{device}");
    }
}
