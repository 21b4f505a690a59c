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
    name: Option<String>,
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
        Self::from_file(file, None).map_err(|error| OpenError::from_io(OWN_NETNS, error))
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
        Self::from_file(file, Some(name.to_owned())).map(Found::Namespace).map_err(failed)
    }

    fn from_file(file: File, name: Option<String>) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, name })
    }

    /// Its name; none for tapway's own.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
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
        let place = place(self.name());
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

/// "namespace web1", or "tapway's own namespace".
pub(super) fn place(name: Option<&str>) -> String {
    name.map_or_else(|| "tapway's own namespace".to_owned(), |name| format!("namespace {name}"))
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
