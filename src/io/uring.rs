//! Many writes by one system call: io_uring, for writes only, each batch waited for.
//!
//! Every write carries RWF_NOWAIT, so that a full file answers `EAGAIN` at once. O_NONBLOCK is not
//! enough: io_uring would wait for room, for good if nobody reads, and a write handed to a thread
//! of the kernel could be overtaken by the next one. A file that knows no RWF_NOWAIT, as TAPs
//! of old kernels, answers `EOPNOTSUPP`.

use std::io;
use std::os::fd::RawFd;

use io_uring::{IoUring, opcode, types};

/// Writes submitted at once; more go in several rounds.
const ENTRIES: u32 = 256;
/// Attempts to submit one round while the kernel is short of memory.
const MAX_ATTEMPTS: u32 = 16;

/// One frame for one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileWrite<'a> {
    /// Where to.
    pub fd: RawFd,
    /// All that is written: less is a failure.
    pub bytes: &'a [u8],
}

/// A ring on which nothing is under way between two calls.
pub(super) struct Ring(IoUring);

impl Ring {
    /// Opens a ring.
    ///
    /// # Errors
    /// If the kernel has no io_uring, or forbids it.
    pub(super) fn open() -> io::Result<Self> {
        // Completions need no interrupt: the submitter waits for them (Linux 5.19). And one wrong
        // entry must not hold up the others (5.18).
        let best = IoUring::builder().setup_submit_all().setup_coop_taskrun().build(ENTRIES);
        match best {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(ENTRIES),
            other => other,
        }
        .map(Self)
    }

    /// Writes all of `writes`, in order, and returns when nothing of them is under way any more.
    /// The index of each that failed is appended to `failures` with its error.
    ///
    /// # Errors
    /// The ring cannot be used any more: how many of the writes it has dealt with, and why.
    pub(super) fn write_all(
        &mut self,
        writes: &[FileWrite<'_>],
        failures: &mut Vec<(usize, io::Error)>,
    ) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let Some(rest) = writes.get(done..).filter(|rest| !rest.is_empty()) {
            let pushed = self.push(done, rest);
            let (finished, result) = self.finish(pushed, writes, failures);
            done += finished;
            result.map_err(|error| (done, error))?;
        }
        Ok(())
    }

    /// Puts as many writes into the empty queue as it holds; the first has the index `first`.
    fn push(&mut self, first: usize, writes: &[FileWrite<'_>]) -> usize {
        let mut queue = self.0.submission();
        let mut pushed = 0;
        for (index, write) in (first..).zip(writes) {
            let entry = opcode::Write::new(
                types::Fd(write.fd),
                write.bytes.as_ptr(),
                write.bytes.len() as u32,
            )
            .rw_flags(libc::RWF_NOWAIT)
            .build()
            .user_data(index as u64);
            // SAFETY: `write_all` borrows the bytes, and `finish` comes before it returns: it
            // leaves no entry that is under way, nor, but in a ring that is given up, a queued
            // one.
            if unsafe { queue.push(&entry) }.is_err() {
                break;
            }
            pushed += 1;
        }
        pushed
    }

    /// Submits what was queued and waits for all of it: how many have been dealt with, and an
    /// error if that is not all.
    fn finish(
        &mut self,
        pushed: usize,
        writes: &[FileWrite<'_>],
        failures: &mut Vec<(usize, io::Error)>,
    ) -> (usize, io::Result<()>) {
        let mut done = 0;
        let mut attempts = 0;
        while done < pushed {
            if let Err(error) = self.0.submit_and_wait(pushed - done) {
                // A signal says nothing about the ring.
                attempts += u32::from(error.raw_os_error() != Some(libc::EINTR));
                if is_lasting(&error) || attempts == MAX_ATTEMPTS {
                    let taken = pushed - self.0.submission().len();
                    while done < taken {
                        done += self.reap(writes, failures);
                        std::thread::yield_now();
                    }
                    return (done, Err(error));
                }
            }
            done += self.reap(writes, failures);
        }
        (done, Ok(()))
    }

    fn reap(&mut self, writes: &[FileWrite<'_>], failures: &mut Vec<(usize, io::Error)>) -> usize {
        let mut reaped = 0;
        for completion in self.0.completion() {
            reaped += 1;
            let index = completion.user_data() as usize;
            let len = writes.get(index).map_or(0, |write| write.bytes.len());
            let result = match completion.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                written => Ok(written as usize),
            };
            failures.extend(failure_of(result, len).map(|error| (index, error)));
        }
        reaped
    }
}

/// What is wrong with a write: a frame that went in part is none.
pub(super) fn failure_of(result: io::Result<usize>, len: usize) -> Option<io::Error> {
    match result {
        Err(error) => Some(error),
        Ok(written) if written < len => Some(io::ErrorKind::WriteZero.into()),
        Ok(_) => None,
    }
}

fn is_lasting(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM))
}
