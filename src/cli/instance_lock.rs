//! One tapway per API socket: a locked file beside it.
//!
//! The kernel drops the lock with its process, so what a `kill -9` leaves is taken over without
//! a word.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::{Exit, Failure};
use crate::io::Clock;

/// Attempts in all: to wait for the lock, and when its file goes between opening and locking it.
const MAX_TRIES: usize = 40;
/// How long a lock is waited for: the kernel takes a moment to end a killed process.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const STEP: Duration = Duration::from_millis(50);

/// The lock; dropping it removes the file.
#[derive(Debug)]
pub(super) struct InstanceLock {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl InstanceLock {
    /// Takes the lock of an API socket. One that was killed a moment ago may still hold it.
    ///
    /// # Errors
    /// [`Exit::Conflict`] if another process has it.
    pub(super) fn take(socket: &Path) -> Result<Self, Failure> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let end = Clock.now() + PATIENCE;
        for _ in 0..MAX_TRIES {
            let file = open(&path).map_err(|error| explain(&path, &error))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Clock.now() < end => {
                    std::thread::sleep(STEP);
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(conflict(socket)),
                Err(error) => return Err(explain(&path, &error.into())),
            }
            // Who held it before may have removed the file that was locked here.
            if is_same(&file, &path) {
                return Ok(Self { path, _file: file });
            }
        }
        Err(conflict(socket))
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // Still locked: nobody else has a lock on this file. A file that cannot be removed is
        // taken over by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    // Not where a symbolic link points, and not to wait for the reader of a pipe.
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(locked), Ok(there)) => (locked.dev(), locked.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn conflict(socket: &Path) -> Failure {
    let socket = socket.display();
    let what = format!(
        "another tapway runs with the socket {socket}; stop it, or give this one another \
         --socket and other interfaces"
    );
    Failure::new(Exit::Conflict, what)
}

fn explain(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Failed,
    };
    let place = path.display();
    let remedy = "make its directory writable, or choose another --socket";
    Failure::new(exit, format!("cannot lock {place}: {error}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_a_stale_file_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let file = directory.path().join("api.sock.lock");
        fs::write(&file, "left by a killed process").unwrap();
        let lock = InstanceLock::take(&socket).unwrap();
        let refused = InstanceLock::take(&socket).unwrap_err();
        assert_eq!(refused.exit, Exit::Conflict);
        assert!(refused.to_string().contains("another tapway runs with the socket"));
        drop(lock);
        assert!(!file.exists());
        drop(InstanceLock::take(&socket).unwrap());
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(InstanceLock::take(&socket).is_err());
        assert!(!elsewhere.exists());
        let nowhere = InstanceLock::take(&directory.path().join("none/api.sock")).unwrap_err();
        assert_eq!(nowhere.exit, Exit::Failed);
    }
}
