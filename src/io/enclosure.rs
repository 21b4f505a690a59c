//! The namespaces that a command of `tapway exec` runs in: network, mounts, host name.
//!
//! The calling process enters them and then becomes the command, so that its process id, signals,
//! terminal and exit status are the command's. Its private files under `/etc` lie in a file system
//! in memory that has no place anywhere: they end with the last process that sees them, whoever
//! kills whom. Files that are missing under `/etc` stay missing, because the mount needs something
//! to stand before.
//!
//! Not by it: process ids and users. What the command leaves behind goes on running, without a
//! network.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::{EtcFile, OpenError, Process, own_sys};

/// Any folder that is there: the file system of the private files is mounted over it for a moment.
const STAGING: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];
/// Its bounds: far more than the files need.
const TMPFS_OPTIONS: &std::ffi::CStr = c"mode=755,size=4m,nr_inodes=16";
/// Sockets by which the host's name services answer in place of `/etc/resolv.conf`: nscd, and the
/// module `resolve` of systemd.
const HOSTS_NAME_SERVICES: [&str; 3] =
    ["/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"];

/// Namespaces of its own for the calling process.
#[derive(Debug)]
pub struct Enclosure {
    hosts: File,
    resolv_conf: File,
    hostname: File,
    missing: Vec<&'static str>,
}

impl Enclosure {
    /// Enters the user namespace of `daemon`, if that is another one, and then namespaces of its
    /// own. The calling process must have one thread only.
    ///
    /// # Errors
    /// [`OpenError::Permission`] if that takes another user, or what the system refused.
    pub fn enter(daemon: &Process) -> Result<Self, OpenError> {
        join_user_namespace(daemon)?;
        let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS;
        // SAFETY: the table of file descriptors stays shared with nobody: no `FILES` among them.
        unsafe { rustix::thread::unshare_unsafe(flags) }
            .map_err(|error| OpenError::from_io("making namespaces", error.into()))?;
        // What the host mounts later is still seen; what is mounted here is not seen there.
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", flags)
            .map_err(|error| OpenError::from_io("keeping mounts private", error.into()))?;
        own_sys::mount_own_sys();
        Self::with_private_files()
    }

    fn with_private_files() -> Result<Self, OpenError> {
        let targets: Vec<(EtcFile, Option<OwnedFd>)> =
            EtcFile::ALL.into_iter().map(|file| (file, open_path(&file.path()))).collect();
        let services: Vec<OwnedFd> =
            HOSTS_NAME_SERVICES.into_iter().filter_map(|path| open_path(Path::new(path))).collect();
        let staging = Staging::mount()?;
        let make = |file: EtcFile| staging.make(file.name());
        let enclosure = Self {
            hosts: make(EtcFile::Hosts)?,
            resolv_conf: make(EtcFile::ResolvConf)?,
            hostname: make(EtcFile::Hostname)?,
            missing: targets.iter().filter(|(_, at)| at.is_none()).map(|(f, _)| f.name()).collect(),
        };
        for (file, target) in &targets {
            if let Some(target) = target {
                staging.bind(file.name(), target)?;
            }
        }
        if !services.is_empty() {
            let nothing = "nothing";
            staging.make(nothing)?;
            for service in &services {
                staging.bind(nothing, service)?;
            }
        }
        Ok(enclosure)
    }

    /// The number of a private file's descriptor in this process.
    pub fn descriptor(&self, file: EtcFile) -> u32 {
        let file = match file {
            EtcFile::Hosts => &self.hosts,
            EtcFile::ResolvConf => &self.resolv_conf,
            EtcFile::Hostname => &self.hostname,
        };
        file.as_raw_fd().unsigned_abs()
    }

    /// Names of files under `/etc` that this host does not have: the command has none either.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// Sets the host name.
    ///
    /// # Errors
    /// What the system refused.
    pub fn set_hostname(&self, name: &str) -> Result<(), OpenError> {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|error| OpenError::from_io(format!("setting host name {name}"), error.into()))
    }
}

/// An ordinary user's switch runs in a user namespace of his; his commands join it.
fn join_user_namespace(daemon: &Process) -> Result<(), OpenError> {
    let pid = daemon.pid();
    let failed = |error| OpenError::from_io(format!("user namespace of process {pid}"), error);
    if daemon.shares_user_namespace().map_err(failed)? {
        return Ok(());
    }
    let file = File::open(format!("/proc/{pid}/ns/user")).map_err(failed)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(|error| failed(error.into()))
}

/// The file itself, without opening it; none if it is not there.
fn open_path(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// A file system in memory, over a folder for as long as this lives.
struct Staging(PathBuf);

impl Staging {
    fn mount() -> Result<Self, OpenError> {
        let dir = STAGING.into_iter().map(Path::new).find(|dir| dir.is_dir());
        let dir = dir.ok_or_else(|| OpenError::NotFound {
            what: format!("any of {}", STAGING.join(", ")),
            remedy: "; make one of them".to_owned(),
        })?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("tapway", dir, "tmpfs", flags, TMPFS_OPTIONS)
            .map_err(|error| OpenError::from_io("a file system in memory", error.into()))?;
        Ok(Self(dir.to_owned()))
    }

    fn make(&self, name: &str) -> Result<File, OpenError> {
        let path = self.0.join(name);
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        let made = made.and_then(|file| {
            // Whatever the umask says: every user in the namespace reads it.
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            Ok(file)
        });
        made.map_err(|error| OpenError::from_io(format!("a private {name}"), error))
    }

    fn bind(&self, name: &str, target: &OwnedFd) -> Result<(), OpenError> {
        let target = format!("/proc/self/fd/{}", target.as_raw_fd());
        mount_bind(self.0.join(name), target)
            .map_err(|error| OpenError::from_io(format!("a private {name}"), error.into()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Files that are mounted elsewhere stay.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
