//! The private files of a command that `tapway exec` runs, written from outside.
//!
//! The command's process made them, empty and in memory (see `enclosure`), and names them by the
//! numbers of its descriptors. They are the same files as long as it lives, so what is written
//! here is what it reads; nothing of them is left when it has ended.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

use super::{EtcFile, OpenError, Process};

/// Longest file, in bytes: thousands of links.
const MAX_BYTES: usize = 256 << 10;
/// `f_type` of a file system in memory (linux/magic.h).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Numbers of descriptors in the process that made the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFileNumbers {
    /// Of `/etc/hosts`.
    pub hosts: u32,
    /// Of `/etc/resolv.conf`.
    pub resolv_conf: u32,
    /// Of `/etc/hostname`.
    pub hostname: u32,
}

/// A command's private files.
#[derive(Debug)]
pub struct HostFiles {
    hosts: File,
    resolv_conf: File,
    hostname: File,
}

impl HostFiles {
    /// The files that a process has open under these numbers.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if one of them is not an empty file in memory: nothing else is ever
    /// written to, whatever a process claims. Or what the system refused.
    pub fn open(process: &Process, numbers: HostFileNumbers) -> Result<Self, OpenError> {
        Ok(Self {
            hosts: open(process, EtcFile::Hosts, numbers.hosts)?,
            resolv_conf: open(process, EtcFile::ResolvConf, numbers.resolv_conf)?,
            hostname: open(process, EtcFile::Hostname, numbers.hostname)?,
        })
    }

    /// Replaces the text of a file, in place: who has it open reads the new one.
    ///
    /// # Errors
    /// If it is too long, or what the system refused.
    pub fn write(&self, file: EtcFile, text: &str) -> Result<(), OpenError> {
        let to = match file {
            EtcFile::Hosts => &self.hosts,
            EtcFile::ResolvConf => &self.resolv_conf,
            EtcFile::Hostname => &self.hostname,
        };
        let written = match text.len() {
            0..=MAX_BYTES => to.write_all_at(text.as_bytes(), 0),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        };
        written
            .and_then(|()| to.set_len(text.len() as u64))
            .map_err(|error| OpenError::from_io(format!("a private {}", file.name()), error))
    }
}

fn open(process: &Process, file: EtcFile, number: u32) -> Result<File, OpenError> {
    let what = || format!("descriptor {number} of process {}", process.pid());
    let failed = |error| OpenError::from_io(what(), error);
    let opened = process.open_file(number).map_err(failed)?;
    let filesystem = rustix::fs::fstatfs(&opened).map_err(|error| failed(error.into()))?;
    let found = opened.metadata().map_err(failed)?;
    if filesystem.f_type as i64 == TMPFS_MAGIC && found.is_file() && found.size() == 0 {
        return Ok(opened);
    }
    Err(OpenError::Conflict {
        what: format!("{} is no empty file in memory", what()),
        remedy: format!("make the private {} as `tapway exec` does", file.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};
    use std::os::fd::AsRawFd;

    fn in_memory() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("file", flags).unwrap().into()
    }

    fn numbers(files: [&File; 3]) -> HostFileNumbers {
        let [hosts, resolv_conf, hostname] = files.map(|file| file.as_raw_fd().unsigned_abs());
        HostFileNumbers { hosts, resolv_conf, hostname }
    }

    #[test]
    fn a_file_is_replaced_in_place_and_only_empty_files_in_memory_are() {
        let own = Process::open(std::process::id()).unwrap();
        let (mut hosts, other) = (in_memory(), in_memory());
        let files = HostFiles::open(&own, numbers([&hosts, &other, &other])).unwrap();
        for text in ["127.0.0.1\tlocalhost\n172.17.0.2\tweb\n", "127.0.0.1\tlocalhost\n"] {
            files.write(EtcFile::Hosts, text).unwrap();
            let mut read = String::new();
            hosts.rewind().unwrap();
            hosts.read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
        assert!(files.write(EtcFile::Hosts, &"x".repeat(MAX_BYTES + 1)).is_err());
        let taken = HostFiles::open(&own, numbers([&hosts, &other, &other]));
        assert!(matches!(taken, Err(OpenError::Conflict { .. })), "it is not empty");
        let mut null = File::options();
        let null = null.write(true).open("/dev/null").unwrap();
        let refused = HostFiles::open(&own, numbers([&null, &other, &other]));
        assert!(matches!(refused, Err(OpenError::Conflict { .. })));
    }
}
