//! Files under `/etc/netns/NAME`: `ip netns exec NAME` shows them to its command in place of those
//! under `/etc`.
//!
//! Only for namespaces that tapway made. Each file begins with a line that marks it as tapway's;
//! one without it is the user's and stays as it is. A file appears whole, by a link, and is changed
//! in place: what it is mounted over in a running process follows. It goes with its namespace; what
//! a `kill -9` leaves is adopted together with the namespace, or swept away by the next tapway once
//! nobody has a mark of that namespace any more. Bounds: [`MAX_BYTES`] for a file,
//! [`MAX_SWEPT`] folders looked at by a sweep.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;

/// Where `ip netns exec` looks.
const ETC_NETNS: &str = "/etc/netns";
/// The first line of every file that is tapway's.
const MARK: &str = "# Made by tapway, and removed with the namespace.\n";
/// What files are called until they are whole, before the process id.
const TEMPORARY: &str = ".tapway.";
/// Longest file, in bytes: tens of thousands of lines of a hosts file.
const MAX_BYTES: usize = 1 << 20;
/// Folders that a sweep looks at: at start, and far more than there are namespaces.
const MAX_SWEPT: usize = 65_536;

/// A file that a namespace may have of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EtcFile {
    /// `/etc/hosts`.
    Hosts,
    /// `/etc/resolv.conf`.
    ResolvConf,
    /// `/etc/hostname`; a namespace by name has none of its own, because a mark has no place in it.
    Hostname,
}

/// What became of a file that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It holds the text.
    Done,
    /// There is one of the user's, which stays.
    UsersStays,
}

impl EtcFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hosts, Self::ResolvConf, Self::Hostname];

    /// Its name under `/etc`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::ResolvConf => "resolv.conf",
            Self::Hostname => "hostname",
        }
    }

    /// Where it is for programs.
    pub fn path(self) -> PathBuf {
        Path::new("/etc").join(self.name())
    }
}

/// The folder of all namespaces' files.
#[derive(Clone, Debug)]
pub(super) struct NetnsFiles {
    dir: PathBuf,
}

impl Default for NetnsFiles {
    fn default() -> Self {
        Self { dir: PathBuf::from(ETC_NETNS) }
    }
}

impl NetnsFiles {
    /// Writes a file of a namespace that tapway made, or changes it in place.
    ///
    /// # Errors
    /// If the text is too long, or the system refuses.
    pub(super) fn write(
        &self,
        netns: &str,
        file: EtcFile,
        text: &str,
    ) -> Result<Written, OpenError> {
        let path = self.dir.join(netns).join(file.name());
        let failed = |error| OpenError::from_io(format!("writing {}", path.display()), error);
        let text = [MARK, text].concat();
        if text.len() > MAX_BYTES {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        match self.create(netns, &path, &text) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done.map(|()| Written::Done).map_err(failed),
        }
        match open_ours(&path) {
            Ok(Some((old, len))) => {
                replace(&old, len, text.as_bytes()).map_err(failed)?;
                Ok(Written::Done)
            }
            Ok(None) => Ok(Written::UsersStays),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes the files of a namespace, and the folders that are empty then.
    pub(super) fn remove(&self, netns: &str) {
        let folder = self.dir.join(netns);
        let mut has_removed = false;
        for file in EtcFile::ALL {
            let path = folder.join(file.name());
            if matches!(open_ours(&path), Ok(Some(_))) {
                match fs::remove_file(&path) {
                    Ok(()) => has_removed = true,
                    Err(error) => tracing::warn!(%error, "cannot remove {}", path.display()),
                }
            }
        }
        // They stay if there is something of the user's in them.
        if has_removed && fs::remove_dir(folder).is_ok() {
            let _ = fs::remove_dir(&self.dir);
        }
    }

    /// Removes tapway's files of namespaces that are nobody's any more, and what a kill left of
    /// files that were not whole.
    pub(super) fn sweep(&self, mut is_orphan: impl FnMut(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.filter_map(Result::ok).take(MAX_SWEPT) {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(rest) = name.strip_prefix(TEMPORARY) {
                let pid = rest.split('.').next().unwrap_or_default();
                if !Path::new("/proc").join(pid).exists() {
                    let _ = fs::remove_file(entry.path());
                }
            } else if is_orphan(name) {
                self.remove(name);
            }
        }
    }

    /// Makes a file that is not there yet: it appears whole, and takes nobody's place.
    fn create(&self, netns: &str, path: &Path, text: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(self.dir.join(netns))?;
        // Beside the folders: in one it would be mounted like any other file.
        let temporary = self.dir.join(format!("{TEMPORARY}{}.{netns}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(&temporary)?;
        let written = file
            .write_all(text.as_bytes())
            // Everybody in the namespace reads it, whatever the umask.
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o644)))
            .and_then(|()| fs::hard_link(&temporary, path));
        let removed = fs::remove_file(&temporary);
        written.and(removed)
    }
}

/// Opens a file if it is tapway's, with its length.
fn open_ours(path: &Path) -> io::Result<Option<(File, usize)>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let mut file = match opened {
        Ok(file) => file,
        // A symbolic link, or a folder: not tapway's doing.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EISDIR)) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let mut start = [0; MARK.len()];
    let is_ours = found.is_file() && {
        let read = file.read_exact(&mut start);
        read.is_ok() && start == *MARK.as_bytes()
    };
    Ok(is_ours.then_some((file, found.len() as usize)))
}

/// One write changes all of it. A longer end is blank until it is cut: no reader finds half a line.
fn replace(file: &File, old_len: usize, text: &[u8]) -> io::Result<()> {
    let mut padded = text.to_vec();
    padded.resize(old_len.clamp(text.len(), MAX_BYTES), b'\n');
    file.write_all_at(&padded, 0)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn files() -> (tempfile::TempDir, NetnsFiles) {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("netns");
        (above, NetnsFiles { dir })
    }

    #[test]
    fn a_file_appears_marked_is_changed_in_place_and_goes_with_its_folders() {
        let (_above, files) = files();
        let path = files.dir.join("web/resolv.conf");
        let long = "nameserver 127.0.0.11\noptions ndots:0\n";
        assert_eq!(files.write("web", EtcFile::ResolvConf, long).unwrap(), Written::Done);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{MARK}{long}"));
        let before = fs::metadata(&path).unwrap();
        assert_eq!(before.mode() & 0o7777, 0o644);
        for text in ["short\n", long, "short\n"] {
            assert_eq!(files.write("web", EtcFile::ResolvConf, text).unwrap(), Written::Done);
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{MARK}{text}"));
        }
        assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino(), "it is mounted elsewhere");
        files.write("web", EtcFile::Hosts, "127.0.0.1 localhost\n").unwrap();
        assert_eq!(fs::read_dir(&files.dir).unwrap().count(), 1, "no temporary is left");
        files.remove("web");
        assert!(!files.dir.exists());
    }

    #[test]
    fn what_is_the_users_is_neither_written_nor_removed() {
        let (_above, files) = files();
        fs::create_dir_all(files.dir.join("web")).unwrap();
        let path = files.dir.join("web/resolv.conf");
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let target = files.dir.join("web/other");
        fs::write(&target, MARK).unwrap();
        std::os::unix::fs::symlink(&target, files.dir.join("web/hosts")).unwrap();
        for file in [EtcFile::Hosts, EtcFile::ResolvConf] {
            assert_eq!(files.write("web", file, "text\n").unwrap(), Written::UsersStays);
        }
        files.remove("web");
        files.sweep(|_| true);
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.1\n");
        assert_eq!(fs::read_to_string(&target).unwrap(), MARK);
    }

    #[test]
    fn a_sweep_takes_what_is_orphaned_and_what_a_kill_left_half_done() {
        let (_above, files) = files();
        for netns in ["gone", "alive"] {
            files.write(netns, EtcFile::Hosts, "\n").unwrap();
        }
        // No process has this id: it is above the kernel's largest.
        fs::write(files.dir.join(".tapway.4194305.gone"), "half").unwrap();
        let own = files.dir.join(format!(".tapway.{}.alive", std::process::id()));
        fs::write(&own, "half").unwrap();
        files.sweep(|name| name == "gone");
        assert!(!files.dir.join("gone").exists());
        assert!(!files.dir.join(".tapway.4194305.gone").exists());
        assert!(files.dir.join("alive/hosts").exists() && own.exists());
    }

    #[test]
    fn a_file_without_bound_is_refused() {
        let (_above, files) = files();
        let text = "x".repeat(MAX_BYTES);
        let refused = files.write("web", EtcFile::Hosts, &text).unwrap_err().to_string();
        assert!(refused.contains("web/hosts"), "{refused}");
    }
}
