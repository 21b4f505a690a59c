//! Marks of the namespaces that tapway made, and the lock that keeps two tapways apart.
//!
//! All of it is in a folder that only its owner can enter: nobody else can hold the lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::{Clock, OpenError};

/// Where marks are.
const MARK_DIR: &str = "/run/tapway/netns";
/// The locked file among them.
const LOCK: &str = ".lock";
/// Longest wait for another tapway that makes or removes namespaces.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to get the lock.
const LOCK_STEP: Duration = Duration::from_millis(20);

/// Who made a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) pid: u32,
    /// In clock ticks after boot: with it a process id is unique.
    start_time: u64,
    pub(super) inode: u64,
}

impl Mark {
    pub(super) fn of_this_process(inode: u64) -> io::Result<Self> {
        let pid = std::process::id();
        let start_time =
            start_time(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { pid, start_time, inode })
    }

    pub(super) fn read(name: &str) -> Option<Self> {
        let text = fs::read_to_string(mark_path(name)).ok()?;
        let mut words = text.split_ascii_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            start_time: words.next()?.parse().ok()?,
            inode: words.next()?.parse().ok()?,
        })
    }

    /// Whole or not at all: the file appears by a rename.
    pub(super) fn write(&self, name: &str) -> Result<(), OpenError> {
        let path = mark_path(name);
        let new = Path::new(MARK_DIR).join(format!(".{name}.{}", self.pid));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            writeln!(file, "{} {} {}", self.pid, self.start_time, self.inode)?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| OpenError::from_io(path.display().to_string(), error))
    }

    pub(super) fn is_owner_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

pub(super) fn mark_path(name: &str) -> PathBuf {
    Path::new(MARK_DIR).join(name)
}

/// Holds every other tapway off the marks until the file is dropped.
pub(super) fn lock_marks(patience: Duration) -> Result<File, OpenError> {
    lock_in(Path::new(MARK_DIR), patience)
}

fn lock_in(dir: &Path, patience: Duration) -> Result<File, OpenError> {
    let end = Clock.now() + patience;
    loop {
        let error = match try_lock(dir) {
            Ok(locked) => return Ok(locked),
            Err(error) => error,
        };
        // Not found: another tapway that stopped has removed the folder meanwhile.
        let is_passing =
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound);
        if !is_passing || Clock.now() >= end {
            return Err(explain(dir, error));
        }
        std::thread::sleep(LOCK_STEP);
    }
}

fn try_lock(dir: &Path) -> io::Result<File> {
    if let Some(above) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => make_private(dir)?,
    }
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Who held it before may have removed the file that was locked here.
    match fs::symlink_metadata(&path)?.ino() == file.metadata()?.ino() {
        true => Ok(file),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Sees that the folder is ours, and that nobody else can enter it.
fn make_private(dir: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY;
    let open = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    let found = open.metadata()?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others can write to it"));
    }
    if found.mode() & 0o077 != 0 {
        open.set_permissions(fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn explain(dir: &Path, error: io::Error) -> OpenError {
    let place = dir.display();
    let conflict = |what: String, remedy: String| OpenError::Conflict { what, remedy };
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::WouldBlock, _) => conflict(
            format!("another process holds {place}/{LOCK}"),
            format!("stop it (`fuser {place}/{LOCK}` names it) and start again"),
        ),
        (io::ErrorKind::Other, None) | (_, Some(libc::ELOOP | libc::ENOTDIR)) => conflict(
            format!("{place} is not a private folder of tapway's user: {error}"),
            format!("remove {place}"),
        ),
        _ => OpenError::from_io(place.to_string(), error),
    }
}

/// Removes what a kill between writing a mark and its rename left. The lock must be held.
pub(super) fn remove_temporaries() {
    remove_temporaries_in(Path::new(MARK_DIR));
}

fn remove_temporaries_in(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if name != LOCK && name.as_encoded_bytes().starts_with(b".") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the folder of marks, and that above it, if nothing is in them.
pub(super) fn remove_empty_folders(patience: Duration) {
    let dir = Path::new(MARK_DIR);
    let Ok(_lock) = lock_marks(patience) else { return };
    let Ok(entries) = fs::read_dir(dir) else { return };
    if entries.filter_map(Result::ok).any(|entry| entry.file_name() != LOCK) {
        return;
    }
    let _ = fs::remove_file(dir.join(LOCK));
    if fs::remove_dir(dir).is_ok()
        && let Some(above) = dir.parent()
    {
        let _ = fs::remove_dir(above);
    }
}

/// Field 22 of `/proc/PID/stat`; none if there is no such process, or only its zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything.
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_a_conflict_in_bounded_time() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("netns");
        let held = lock_in(&dir, Duration::ZERO).unwrap();
        assert_eq!(held.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        let refused = lock_in(&dir, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(refused, OpenError::Conflict { .. }), "{refused}");
        drop(held);
        lock_in(&dir, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_folder_or_lock_that_others_can_reach_is_not_trusted() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("netns");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        // Locking the folder itself, as anybody could that may read it, stops nobody.
        let folder = File::open(&dir).unwrap();
        flock(&folder, FlockOperation::LockExclusive).unwrap();
        drop(lock_in(&dir, Duration::ZERO).unwrap());
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        fs::remove_file(dir.join(LOCK)).unwrap();
        std::os::unix::fs::symlink(above.path().join("other"), dir.join(LOCK)).unwrap();
        assert!(lock_in(&dir, Duration::ZERO).is_err());
        assert!(!above.path().join("other").exists());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(lock_in(&dir, Duration::ZERO), Err(OpenError::Conflict { .. })));
    }

    #[test]
    fn temporaries_go_and_marks_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["web", ".web.77", LOCK] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_temporaries_in(dir.path());
        assert!(dir.path().join("web").exists() && dir.path().join(LOCK).exists());
        assert!(!dir.path().join(".web.77").exists());
    }
}
