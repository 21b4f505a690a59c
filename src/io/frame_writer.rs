//! How frames are written to files: by io_uring, or by one system call each.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::OpenError;
use super::uring::{FileWrite, Ring, failure_of};

/// Where the kernel says who may use io_uring.
const URING_DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// How a dataplane is to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteChoice {
    /// By io_uring where it is to be had.
    #[default]
    Auto,
    /// By io_uring, or not at all.
    IoUring,
    /// By one system call per frame.
    Write,
}

/// How a dataplane writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMethod {
    /// All frames of a pass by one system call.
    IoUring,
    /// One system call per frame.
    Write,
}

impl fmt::Display for WriteMethod {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Write => "write",
        })
    }
}

/// How a thread writes, for others to look at: io_uring may be given up, for good.
#[derive(Clone, Debug)]
pub(super) struct MethodInUse(Arc<AtomicBool>);

impl MethodInUse {
    /// What it is now.
    pub(super) fn get(&self) -> WriteMethod {
        if self.0.load(Ordering::Relaxed) { WriteMethod::IoUring } else { WriteMethod::Write }
    }
}

/// Writes frames to files.
pub(super) struct FrameWriter {
    ring: Option<Box<Ring>>,
    in_use: MethodInUse,
}

impl FrameWriter {
    /// A writer, and, where io_uring was to be had but was not, why.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if io_uring is a must and is not to be had.
    pub(super) fn open(choice: WriteChoice) -> Result<(Self, Option<String>), OpenError> {
        if choice == WriteChoice::Write {
            return Ok((Self::with(None), None));
        }
        match (Ring::open(), choice) {
            (Ok(ring), _) => Ok((Self::with(Some(Box::new(ring))), None)),
            (Err(error), WriteChoice::IoUring) => Err(OpenError::Conflict {
                what: format!("io_uring is not to be had: {}", explain(&error)),
                remedy: "allow it, or set `io = \"auto\"` or `io = \"write\"` in [dataplane]"
                    .to_owned(),
            }),
            (Err(error), _) => Ok((Self::with(None), Some(explain(&error)))),
        }
    }

    fn with(ring: Option<Box<Ring>>) -> Self {
        let in_use = MethodInUse(Arc::new(AtomicBool::new(ring.is_some())));
        Self { ring, in_use }
    }

    /// How it writes.
    pub(super) const fn in_use(&self) -> &MethodInUse {
        &self.in_use
    }

    /// Writes all of `writes`, each file's in order. The index of each that failed is appended to
    /// `failures` with its error.
    pub(super) fn write_all(
        &mut self,
        writes: &[FileWrite<'_>],
        failures: &mut Vec<(usize, io::Error)>,
    ) {
        let mut done = 0;
        // A lone frame needs no ring.
        if let Some(ring) = self.ring.as_mut().filter(|_| writes.len() > 1) {
            let known = failures.len();
            let result = ring.write_all(writes, failures);
            // All of such a file's frames failed, so they are still in order.
            let unsupported = failures.extract_if(known.., |(_, error)| is_unsupported(error));
            let unsupported: Vec<usize> = unsupported.map(|(index, _)| index).collect();
            if result.is_ok() && unsupported.is_empty() {
                return;
            }
            self.ring = None;
            self.in_use.0.store(false, Ordering::Relaxed);
            let why = result.as_ref().map_or_else(
                |(_, error)| error.to_string(),
                |()| "a device takes no RWF_NOWAIT".to_owned(),
            );
            tracing::error!(why, "io_uring failed; frames are written one by one from now on");
            done = result.map_or_else(|(done, _)| done, |()| writes.len());
            for index in unsupported {
                let error = writes.get(index).and_then(write_one);
                failures.extend(error.map(|error| (index, error)));
            }
        }
        for (index, write) in writes.iter().enumerate().skip(done) {
            failures.extend(write_one(write).map(|error| (index, error)));
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn write_one(write: &FileWrite<'_>) -> Option<io::Error> {
    // SAFETY: a transmit file is open as long as its device is attached (see `TransmitFile`), and
    // devices are not changed while frames are written.
    let fd = unsafe { BorrowedFd::borrow_raw(write.fd) };
    let result = rustix::io::retry_on_intr(|| rustix::io::write(fd, write.bytes));
    failure_of(result.map_err(Into::into), write.bytes.len())
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has none".to_owned(),
        Some(libc::EPERM | libc::EACCES) => match std::fs::read_to_string(URING_DISABLED) {
            Ok(value) if value.trim() != "0" => {
                format!("kernel.io_uring_disabled is {}", value.trim())
            }
            _ => "a security policy forbids it".to_owned(),
        },
        Some(libc::ENOMEM) => "no memory for it (see `ulimit -l`)".to_owned(),
        _ => error.to_string(),
    }
}
