//! What is kept over a restart: one file in the state directory.
//!
//! A change is kept before it is acknowledged: written beside the file, flushed to the disk, and
//! renamed over it. The first line has the version, the length and a checksum of the rest, so that
//! a file that was cut or changed is refused with its place instead of being guessed at. There is
//! no directory and no file until something is made live.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::made::Made;
use crate::control::config::Memory;
use crate::control::rejection::{Rejection, RejectionKind};
use crate::io::Clock;

/// The layout that this version writes, and the only one it reads.
const VERSION: u32 = 1;
/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(50);
const FILE: &str = "live.toml";
/// Longest file, in bytes: far more than what anybody makes live.
const MAX_FILE: u64 = 64 << 20;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Kept {
    /// What was made live.
    pub made: Made,
    /// What tapway chose.
    pub memory: Memory,
}

/// The state directory; or none, and nothing is kept.
#[derive(Debug, Default)]
pub struct Store {
    file: Option<PathBuf>,
    /// Held from the first change on, so that two tapways do not write one file.
    lock: std::sync::Mutex<Option<File>>,
}

/// What is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is damaged, or of another version: exit code 78.
    #[error(
        "{}: {what}; restore it from a copy, or remove it to start without what was made live",
        .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line where there is one.
        what: String,
    },
    /// Another tapway keeps its state there: exit code 5.
    #[error(
        "{}: another tapway keeps its state here; stop it, or set another `directory` in [state]",
        .directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused.
    #[error("{}: {error}", .file.display())]
    System {
        /// The file.
        file: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// A file that is written and flushed, and not yet in its place. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staged {
    temporary: PathBuf,
    file: PathBuf,
    is_empty: bool,
    is_done: bool,
}

impl Store {
    /// Nothing is kept.
    pub fn none() -> Self {
        Self::default()
    }

    /// State in a directory; taken from other tapways if it is there.
    ///
    /// # Errors
    /// If another one has it.
    pub fn in_directory(directory: &Path) -> Result<Self, StoreError> {
        let store = Self { file: Some(directory.join(FILE)), ..Self::default() };
        if directory.is_dir() {
            store.take()?;
        }
        Ok(store)
    }

    /// The file; none: nothing is kept.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is kept; nothing if there is no file.
    pub(super) fn load(&self) -> Result<Kept, StoreError> {
        let Some(file) = &self.file else { return Ok(Kept::default()) };
        match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Ok(found) if found.len() > MAX_FILE => {
                let what = format!("longer than {} MiB", MAX_FILE >> 20);
                return Err(StoreError::Damaged { file: file.clone(), what });
            }
            _ => {}
        }
        let bytes = fs::read(file).map_err(|error| system(file, error))?;
        parse(&bytes).map_err(|what| StoreError::Damaged { file: file.clone(), what })
    }

    /// Writes what is to be kept beside the file. None if nothing is kept.
    pub(super) fn stage(&self, kept: &Kept) -> Result<Option<Staged>, StoreError> {
        let Some(file) = &self.file else { return Ok(None) };
        let is_empty = *kept == Kept::default();
        if is_empty && !file.exists() {
            return Ok(None);
        }
        self.take()?;
        let temporary = file.with_extension("toml.new");
        let staged =
            Staged { temporary: temporary.clone(), file: file.clone(), is_empty, is_done: false };
        if !is_empty {
            let text = print(kept).map_err(|error| system(&temporary, error))?;
            write(&temporary, &text).map_err(|error| system(&temporary, error))?;
        }
        Ok(Some(staged))
    }

    /// Makes the directory and locks it.
    fn take(&self) -> Result<(), StoreError> {
        let Some(directory) = self.file.as_deref().and_then(Path::parent) else { return Ok(()) };
        let mut held = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| File::open(directory))
            .map_err(|error| system(directory, error))
            .and_then(|file| {
                lock(&file, directory)?;
                *held = Some(file);
                Ok(())
            })
    }
}

impl Staged {
    /// Puts it in its place, so that it is there after a power cut, too.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let done = match self.is_empty {
            true => fs::remove_file(&self.file),
            false => fs::rename(&self.temporary, &self.file),
        };
        done.map_err(|error| system(&self.file, error))?;
        self.is_done = true;
        let directory = self.file.parent().unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| system(directory, error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_done {
            // Whether it was written at all; the next one writes it anew.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn print(kept: &Kept) -> io::Result<String> {
    let body = toml::to_string(kept).map_err(io::Error::other)?;
    let head =
        format!("# tapway state {VERSION}, {} bytes, checksum {:016x}", body.len(), sum(&body));
    Ok(format!("{head}\n{body}"))
}

fn parse(bytes: &[u8]) -> Result<Kept, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not a text".to_owned())?;
    let no_head = || "line 1: not a state file of tapway".to_owned();
    let (head, body) = text.split_once('\n').ok_or_else(no_head)?;
    let mut words = head.strip_prefix("# tapway state ").ok_or_else(no_head)?.split(", ");
    let mut word = |prefix: &str, suffix: &str| {
        let word = words.next().and_then(|word| word.strip_prefix(prefix)?.strip_suffix(suffix));
        word.ok_or_else(no_head)
    };
    let version = word("", "")?;
    if version != VERSION.to_string() {
        return Err(format!("line 1: version {version}, and this tapway reads {VERSION} only"));
    }
    let length = word("", " bytes")?;
    let checksum = word("checksum ", "")?;
    if length != body.len().to_string() {
        return Err(format!("line 1: {length} bytes should follow, and {} do", body.len()));
    }
    if checksum != format!("{:016x}", sum(body)) {
        return Err("line 1: the checksum is not that of what follows".to_owned());
    }
    toml::from_str(body).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = 2 + body.get(..at).unwrap_or_default().matches('\n').count();
        format!("line {line}: {}", error.message().replace('\n', ", "))
    })
}

/// Locks a directory; one that was killed a moment ago may still hold it.
fn lock(file: &File, directory: &Path) -> Result<(), StoreError> {
    let end = Clock.now() + PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if Clock.now() < end => std::thread::sleep(STEP),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::InUse { directory: directory.to_owned() });
            }
            Err(error) => return Err(system(directory, error.into())),
        }
    }
}

/// FNV-1a, 64 bits: tells damage, not forgery; whoever can write the file needs none.
fn sum(text: &str) -> u64 {
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn system(file: &Path, error: io::Error) -> StoreError {
    StoreError::System { file: file.to_owned(), error }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::InUse { .. } => RejectionKind::Conflict,
            StoreError::System { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                RejectionKind::Permission
            }
            StoreError::Damaged { .. } | StoreError::System { .. } => RejectionKind::Failed,
        };
        Self::new(kind, format!("the change cannot be kept over a restart: {error}"), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let mut kept = Kept::default();
        let settings: toml::Table = "subnet = \"10.1.0.0/24\"".parse().unwrap();
        kept.made.network.insert("front".to_owned(), settings);
        kept.memory.subnets.insert("back".to_owned(), "10.2.0.0/24".parse().unwrap());
        kept
    }

    fn keep(store: &Store, kept: &Kept) {
        if let Some(staged) = store.stage(kept).unwrap() {
            staged.commit().unwrap();
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_nothing_leaves_no_file() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        let store = Store::in_directory(&directory).unwrap();
        keep(&store, &Kept::default());
        assert!(!directory.exists());
        keep(&store, &kept());
        assert_eq!(store.load().unwrap(), kept());
        let mode = |path: &Path| {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(path).unwrap().mode() & 0o777
        };
        assert_eq!((mode(&directory), mode(&directory.join(FILE))), (0o700, 0o600));
        // One that was staged and given up changes nothing.
        drop(store.stage(&Kept::default()).unwrap());
        drop(store.stage(&kept()).unwrap());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        assert!(matches!(Store::in_directory(&directory), Err(StoreError::InUse { .. })));
        keep(&store, &Kept::default());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        assert_eq!(Store::none().load().unwrap(), Kept::default());
    }

    #[test]
    fn every_damage_is_refused() {
        let text = print(&kept()).unwrap();
        assert_eq!(parse(text.as_bytes()), Ok(kept()));
        for at in 0..text.len() {
            assert!(parse(&text.as_bytes()[..at]).is_err(), "cut at {at}");
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            assert!(parse(&other).is_err(), "changed at {at}");
        }
        assert!(parse(&[text.as_bytes(), b"\n"].concat()).is_err());
        let newer = text.replacen("state 1", "state 2", 1);
        let error = parse(newer.as_bytes()).unwrap_err();
        assert_eq!(error, "line 1: version 2, and this tapway reads 1 only");
        let body = "[made]\n[made.colour]\n";
        let head = format!("# tapway state 1, {} bytes, checksum {:016x}", body.len(), sum(body));
        let error = parse(format!("{head}\n{body}").as_bytes()).unwrap_err();
        assert!(error.starts_with("line 3: unknown field `colour`"), "{error}");
    }
}
