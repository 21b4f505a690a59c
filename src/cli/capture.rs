//! `tapway capture`: copies a capture's stream to a file or to stdout.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{CaptureArgs, Exit, Failure, Output};
use crate::control::api::{Client, ClientError, escape};
use crate::packet::pcap::{ENHANCED_PACKET, INTERFACE_STATISTICS, OPTION_ISB_IFDROP};

/// Captures until it is interrupted, the reader of stdout goes or tapway stops; then says on
/// stderr how many frames there are and how many were missed.
///
/// # Errors
/// If nobody answers, there is no such port, or the file cannot be written.
pub fn capture(socket: &Path, args: &CaptureArgs, output: &mut Output) -> Result<(), Failure> {
    let client = Client::new(socket).map_err(|error| Failure::new(Exit::Failed, error))?;
    let path = match &args.port {
        None => "/v1/capture".to_owned(),
        Some(port) => format!("/v1/capture?port={}", escape(port)),
    };
    let mut tally = Tally::default();
    let is_stdout = args.write.as_os_str() == "-";
    let result = if is_stdout {
        client.stream(&path, |bytes| {
            tally.add(bytes);
            output.bytes(bytes)?;
            output.flush()
        })
    } else {
        // Made with the first bytes: a capture that is refused leaves no file, and no old one
        // is lost.
        let mut file = None;
        client.stream(&path, |bytes| {
            tally.add(bytes);
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(BufWriter::new(create(&args.write)?)),
            };
            file.write_all(bytes)?;
            file.flush()
        })
    };
    let Tally { frames, missed, is_started, .. } = tally;
    if is_started {
        let _ = writeln!(io::stderr(), "tapway: {frames} frames captured, {missed} missed");
    }
    result.map_err(|error| match error {
        ClientError::Sink(error) if is_stdout => Failure::write("stdout", &error),
        ClientError::Sink(error) => Failure::write(args.write.display(), &error),
        error => error.into(),
    })
}

/// A file for its owner alone: it holds what hosts said.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Counts the frames of a pcapng stream as it passes.
#[derive(Debug, Default)]
struct Tally {
    /// The head of a block; all of it if it is one of statistics.
    block: Vec<u8>,
    /// Bytes of the present block that are still to come and need not be kept.
    skip: usize,
    is_started: bool,
    frames: u64,
    missed: u64,
}

/// Block type and length.
const HEAD: usize = 8;
/// Fixed fields of a statistics block after its head: interface and time.
const STATISTICS: usize = 12;
/// Largest statistics block that is read; tapway's own have 56 bytes.
const MAX_STATISTICS: usize = 4096;

impl Tally {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = self.wanted().saturating_sub(self.block.len()).min(bytes.len());
            let (taken, rest) = bytes.split_at(wanted);
            self.block.extend_from_slice(taken);
            bytes = rest;
            if self.block.len() >= self.wanted() {
                self.end_block();
            }
        }
    }

    /// Bytes of the present block to be kept: its head, and a statistics block's whole.
    fn wanted(&self) -> usize {
        match (word(&self.block, 0), word(&self.block, 4)) {
            (Some(INTERFACE_STATISTICS), Some(length)) => {
                (length as usize).clamp(HEAD, MAX_STATISTICS)
            }
            _ => HEAD,
        }
    }

    fn end_block(&mut self) {
        let length = word(&self.block, 4).unwrap_or_default() as usize;
        self.is_started = true;
        match word(&self.block, 0) {
            Some(ENHANCED_PACKET) => self.frames += 1,
            Some(INTERFACE_STATISTICS) => self.missed = missed(&self.block).unwrap_or(self.missed),
            _ => {}
        }
        self.skip = length.saturating_sub(self.block.len());
        self.block.clear();
    }
}

/// The count of missed frames in a statistics block.
fn missed(block: &[u8]) -> Option<u64> {
    let mut options = block.get(HEAD + STATISTICS..)?;
    loop {
        let head = word(options, 0)?;
        let (code, length) = (head as u16, (head >> 16) as usize);
        let value = options.get(4..4 + length)?;
        if code == OPTION_ISB_IFDROP {
            return Some(u64::from_le_bytes(value.try_into().ok()?));
        }
        options = options.get(4 + length.next_multiple_of(4)..).filter(|_| code != 0)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::pcap::{CapturedFrame, FrameDirection, Writer};

    #[test]
    fn frames_are_counted_however_the_stream_is_cut() {
        let mut writer = Writer::new(Vec::new(), 0).unwrap();
        let port = writer.add_interface("nginx1").unwrap();
        for length in [0, 1, 60, 1514] {
            let data = vec![0xff; length];
            let frame = CapturedFrame::new(port, 7, FrameDirection::Sent, &data);
            writer.write(&frame).unwrap();
            writer.write_statistics(port, 8, (100, length as u64)).unwrap();
        }
        let file = writer.into_inner();
        for size in [1, 3, 8, 57, file.len()] {
            let mut tally = Tally::default();
            file.chunks(size).for_each(|piece| tally.add(piece));
            assert_eq!((tally.frames, tally.missed), (4, 1514), "pieces of {size}");
        }
    }

    #[test]
    fn rubbish_is_passed_over() {
        for rubbish in [&[0; 64][..], &[0xff; 64], &[5, 0, 0, 0, 1, 0, 0, 0, 9]] {
            let mut tally = Tally::default();
            tally.add(rubbish);
            assert_eq!((tally.frames, tally.missed), (0, 0));
        }
    }
}
