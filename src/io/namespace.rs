//! A network namespace, and doing something inside it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::OpenError;

/// Where `ip netns` keeps names.
pub(super) const NETNS_DIR: &str = "/run/netns";
/// The namespace of the calling thread.
pub(super) const OWN_NETNS: &str = "/proc/thread-self/ns/net";
/// `f_type` of the file system that namespaces live in (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    inode: u64,
    origin: Origin,
}

/// How a namespace was found.
#[derive(Debug)]
enum Origin {
    Own,
    Named(String),
    OfProcess(u32),
}

/// What is found under a name.
#[derive(Debug)]
pub(super) enum Found {
    /// A namespace.
    Namespace(Namespace),
    /// A file that no namespace is mounted on: somebody was interrupted while making one.
    PlainFile,
    /// Nothing.
    Nothing,
}

impl Namespace {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub fn own() -> Result<Self, OpenError> {
        let file = File::open(OWN_NETNS).map_err(|error| OpenError::from_io(OWN_NETNS, error))?;
        Self::from_file(file, Origin::Own).map_err(|error| OpenError::from_io(OWN_NETNS, error))
    }

    /// The namespace of that name, as `ip netns` names it.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if there is none, or why it cannot be opened.
    pub fn named(name: &str) -> Result<Self, OpenError> {
        match Self::find(name)? {
            Found::Namespace(namespace) => Ok(namespace),
            Found::Nothing => Err(OpenError::NotFound {
                what: format!("network namespace {name}"),
                remedy: format!("; make it with `ip netns add {name}`"),
            }),
            Found::PlainFile => Err(not_a_namespace(name)),
        }
    }

    /// The namespace of a process.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if there is no such process, [`OpenError::Permission`] if it is
    /// somebody else's.
    pub fn of_process(pid: u32) -> Result<Self, OpenError> {
        let path = format!("/proc/{pid}/ns/net");
        let opened = File::open(&path);
        let found = opened.and_then(|file| Self::from_file(file, Origin::OfProcess(pid)));
        found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::NotFound { what: path, remedy: String::new() },
            _ => OpenError::from_io(path, error),
        })
    }

    /// Looks a name up.
    pub(super) fn find(name: &str) -> Result<Found, OpenError> {
        check_name(name)?;
        let path = path_of(name);
        let failed = |error| OpenError::from_io(path.display().to_string(), error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(failed(error)),
        };
        let filesystem = rustix::fs::fstatfs(&file).map_err(|error| failed(error.into()))?;
        if filesystem.f_type as i64 != NSFS_MAGIC {
            return Ok(Found::PlainFile);
        }
        let origin = Origin::Named(name.to_owned());
        Self::from_file(file, origin).map(Found::Namespace).map_err(failed)
    }

    fn from_file(file: File, origin: Origin) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, origin })
    }

    /// Its name; none for tapway's own and for that of a process.
    pub fn name(&self) -> Option<&str> {
        match &self.origin {
            Origin::Named(name) => Some(name),
            Origin::Own | Origin::OfProcess(_) => None,
        }
    }

    /// For messages: "namespace web1", "the namespace of process 7", "tapway's own namespace".
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::Own => "tapway's own namespace".to_owned(),
            Origin::Named(name) => format!("namespace {name}"),
            Origin::OfProcess(pid) => format!("the namespace of process {pid}"),
        }
    }

    /// For `show link`, after the interface: " netns web1", " netns of process 7", or nothing.
    pub fn suffix(&self) -> String {
        match &self.origin {
            Origin::Own => String::new(),
            Origin::Named(name) => format!(" netns {name}"),
            Origin::OfProcess(pid) => format!(" netns of process {pid}"),
        }
    }

    /// What tells it from every other namespace alive.
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `act` in a thread that has entered the namespace: sockets and TAPs opened there
    /// belong to it for good.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or `act`'s own.
    pub fn run<R: Send>(
        &self,
        act: impl FnOnce() -> Result<R, OpenError> + Send,
    ) -> Result<R, OpenError> {
        let place = self.place();
        in_thread(|| {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| OpenError::from_io(format!("entering {place}"), error.into()))?;
            act()
        })
    }
}

/// Runs `act` in a thread of its own, whose namespace it may change.
pub(super) fn in_thread<R: Send>(
    act: impl FnOnce() -> Result<R, OpenError> + Send,
) -> Result<R, OpenError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let thread = thread
            .spawn_scoped(scope, act)
            .map_err(|error| OpenError::from_io("starting a thread", error))?;
        thread.join().unwrap_or_else(|_| {
            Err(OpenError::from_io("a thread in a namespace", io::Error::other("it panicked")))
        })
    })
}

/// The file that names a namespace.
pub(super) fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// The inode of the namespace that has this name now.
pub(super) fn inode_of(name: &str) -> Option<u64> {
    match Namespace::find(name) {
        Ok(Found::Namespace(namespace)) => Some(namespace.inode),
        _ => None,
    }
}

pub(super) fn not_a_namespace(name: &str) -> OpenError {
    let path = path_of(name);
    OpenError::Conflict {
        what: format!("{} is not a network namespace", path.display()),
        remedy: format!("remove the file, then `ip netns add {name}`"),
    }
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let is_file_name =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if is_file_name && name.len() <= 255 {
        return Ok(());
    }
    Err(OpenError::Conflict {
        what: format!("{name:?} is no name for a network namespace"),
        remedy: "use 1 to 255 bytes without `/`".to_owned(),
    })
}
