//! A process that is waited for without being its parent, and the namespaces it is in.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Namespace, OpenError};

/// A process, by a descriptor of it: its number may be given to another one, this may not.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    file: OwnedFd,
}

/// The network namespace of a process, held open.
#[derive(Clone, Debug)]
pub struct ProcessNetns {
    pid: u32,
    namespace: Arc<Namespace>,
}

impl Process {
    /// The process of that number.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if there is none.
    pub fn open(pid: u32) -> Result<Self, OpenError> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = number.map(|number| pidfd_open(number, PidfdFlags::empty()));
        match opened {
            Some(Ok(file)) => Ok(Self { pid, file }),
            None | Some(Err(rustix::io::Errno::SRCH)) => Err(gone(pid)),
            Some(Err(error)) => Err(OpenError::from_io(format!("process {pid}"), error.into())),
        }
    }

    /// Its number.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// True once it has ended, as a zombie, too.
    pub fn has_ended(&self) -> bool {
        let mut files = [PollFd::new(&self.file, PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// What to wait for: readable once it has ended.
    pub fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if it has ended, [`OpenError::Conflict`] if it is in tapway's own
    /// namespace, or what the system refused.
    pub fn netns(&self) -> Result<ProcessNetns, OpenError> {
        let namespace = Namespace::of_process(self.pid)?;
        if self.has_ended() {
            return Err(gone(self.pid));
        }
        if namespace.inode() == Namespace::own()?.inode() {
            return Err(OpenError::Conflict {
                what: format!("process {} is in tapway's own network namespace", self.pid),
                remedy: "start it in one of its own, as `tapway exec` does".to_owned(),
            });
        }
        Ok(ProcessNetns { pid: self.pid, namespace: Arc::new(namespace) })
    }

    /// A file it has open, by its number there: the same file, opened anew for writing.
    pub(super) fn open_file(&self, fd: u32) -> io::Result<File> {
        let path = self.path(&format!("fd/{fd}"));
        // What it names may be a pipe that nobody reads, or a terminal.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().write(true).custom_flags(flags).open(path)?;
        match self.has_ended() {
            false => Ok(file),
            true => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// True if it is in the user namespace of the calling process.
    ///
    /// # Errors
    /// If its namespaces are not to be seen.
    pub fn shares_user_namespace(&self) -> io::Result<bool> {
        let theirs = fs::metadata(self.path("ns/user"))?;
        let own = fs::metadata("/proc/self/ns/user")?;
        Ok((theirs.dev(), theirs.ino()) == (own.dev(), own.ino()))
    }

    fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{below}", self.pid))
    }
}

impl ProcessNetns {
    /// The process it was taken from.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// The namespace.
    pub const fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }
}

impl PartialEq for ProcessNetns {
    fn eq(&self, other: &Self) -> bool {
        self.namespace.inode() == other.namespace.inode()
    }
}

impl Eq for ProcessNetns {}

fn gone(pid: u32) -> OpenError {
    OpenError::NotFound { what: format!("process {pid}"), remedy: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_told_from_what_it_was_once_it_has_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(!process.has_ended());
        assert!(process.shares_user_namespace().unwrap());
        assert!(matches!(process.netns(), Err(OpenError::Conflict { .. })));
        drop(child.stdin.take());
        let ended = PollFd::new(&process.file, PollFlags::IN);
        poll(&mut [ended], None).unwrap();
        assert!(process.has_ended(), "although nobody has waited for it");
        child.wait().unwrap();
        assert!(process.has_ended());
        assert!(matches!(process.netns(), Err(OpenError::NotFound { .. })));
        assert!(matches!(Process::open(u32::MAX), Err(OpenError::NotFound { .. })));
    }
}
