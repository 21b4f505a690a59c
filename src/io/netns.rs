//! Namespaces under `/run/netns`: made as `ip netns add` makes them, so that `ip netns exec`
//! works, and marked as tapway's own by a file under `/run/tapway/netns`.
//!
//! A mark names the process that made the namespace and the namespace itself. After a `kill -9`
//! the mark outlives its process: the next tapway adopts exactly that namespace. A namespace
//! without a mark, or one that took the name of a marked one, is somebody else's: used and left.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::UnshareFlags;

use super::namespace::{
    Found, NETNS_DIR, Namespace, OWN_NETNS, in_thread, inode_of, not_a_namespace, path_of,
};
use super::{Netns, OpenError, netlink};

/// Where marks are.
const MARK_DIR: &str = "/run/tapway/netns";

/// The namespaces that tapway made or adopted, and the ports that live in them. Dropping it
/// removes them all.
#[derive(Debug, Default)]
pub struct Namespaces {
    own: HashMap<String, Own>,
    /// Ports in namespaces that somebody else made: he is to bring them back, not tapway.
    guests: BTreeSet<String>,
}

#[derive(Debug)]
struct Own {
    inode: u64,
    ports: BTreeSet<String>,
}

impl Namespaces {
    /// Opens the namespace a port is to live in; makes or adopts it if the plan says so. A port
    /// that was in somebody else's, until [`Namespaces::release`], waits for that one.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if it is missing and not to be made, [`OpenError::Conflict`] if
    /// another tapway that is alive made it, or what the system refused.
    pub fn acquire(&mut self, port: &str, plan: &Netns) -> Result<Namespace, OpenError> {
        if !plan.create || self.guests.contains(port) {
            return Namespace::named(&plan.name);
        }
        let _lock = lock_marks()?;
        let name = &plan.name;
        let known = self.own.get(name).map(|own| own.inode);
        let namespace = match Namespace::find(name)? {
            Found::Namespace(namespace) if known == Some(namespace.inode()) => namespace,
            Found::Namespace(namespace) => match Mark::read(name) {
                Some(mark) if mark.inode == namespace.inode() => adopt(name, &mark, namespace)?,
                // Somebody else made it, perhaps in place of one of ours that he removed.
                _ => {
                    if self.own.remove(name).is_some() {
                        let _ = fs::remove_file(mark_path(name));
                    }
                    self.guests.insert(port.to_owned());
                    return Ok(namespace);
                }
            },
            Found::PlainFile if Mark::read(name).is_none() => return Err(not_a_namespace(name)),
            Found::PlainFile | Found::Nothing => make(name)?,
        };
        let own = self.own.entry(name.clone());
        let own = own.or_insert_with(|| Own { inode: 0, ports: BTreeSet::new() });
        own.inode = namespace.inode();
        own.ports.insert(port.to_owned());
        Ok(namespace)
    }

    /// True if the port was given a namespace that tapway might make.
    pub fn holds(&self, port: &str) -> bool {
        self.guests.contains(port) || self.own.values().any(|own| own.ports.contains(port))
    }

    /// Lets go of a port's namespace; removes it if it is tapway's own and this was the last
    /// port in it.
    pub fn release(&mut self, port: &str) {
        self.guests.remove(port);
        for own in self.own.values_mut() {
            own.ports.remove(port);
        }
        self.own.retain(|name, own| {
            if own.ports.is_empty() {
                remove(name, own.inode);
            }
            !own.ports.is_empty()
        });
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for (name, own) in &self.own {
            remove(name, own.inode);
        }
    }
}

/// Takes over a marked namespace if its owner is gone.
fn adopt(name: &str, mark: &Mark, namespace: Namespace) -> Result<Namespace, OpenError> {
    if mark.is_owner_alive() {
        let pid = mark.pid;
        return Err(OpenError::Conflict {
            what: format!("network namespace {name} belongs to another tapway (process {pid})"),
            remedy: format!("stop process {pid}, or give the namespace another name"),
        });
    }
    let mark = Mark::of_this_process(mark.inode)
        .map_err(|error| OpenError::from_io("reading /proc/self/stat", error))?;
    mark.write(name)?;
    tracing::info!(namespace = name, "adopted a namespace that a former tapway left");
    Ok(namespace)
}

/// Makes a namespace. The mark comes before the name: whatever a kill leaves is marked.
fn make(name: &str) -> Result<Namespace, OpenError> {
    let path = path_of(name);
    let failed = |error| OpenError::from_io(format!("making network namespace {name}"), error);
    share_netns_dir().map_err(failed)?;
    let made = in_thread(|| {
        // SAFETY: only the network namespace of this thread, which ends with this closure, is
        // changed; the table of file descriptors stays shared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|error| failed(error.into()))?;
        let inode = fs::metadata(OWN_NETNS).map_err(failed)?.ino();
        Mark::of_this_process(inode).map_err(failed)?.write(name)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o444)
            .open(&path)
            .map_err(failed)?;
        mount_bind(OWN_NETNS, &path).map_err(|error| failed(error.into()))?;
        netlink::set_loopback_up()
    });
    let opened = made.and_then(|()| Namespace::named(name));
    if opened.is_err() {
        forget(name);
    }
    opened
}

/// As `ip netns add` does: a namespace mounted below is to be seen, and to go, in every mount
/// namespace that shares `/run`.
fn share_netns_dir() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(NETNS_DIR)?;
    let share = || {
        let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        mount_change(NETNS_DIR, flags)
    };
    match share() {
        Err(rustix::io::Errno::INVAL) => {
            mount_bind_recursive(NETNS_DIR, NETNS_DIR)?;
            Ok(share()?)
        }
        other => Ok(other?),
    }
}

/// Removes a namespace that is still the one we made.
fn remove(name: &str, inode: u64) {
    let Ok(_lock) = lock_marks() else { return };
    if inode_of(name).is_none_or(|now| now == inode) {
        forget(name);
    } else if Mark::read(name).is_some_and(|mark| mark.inode == inode) {
        // Somebody else's namespace has the name now.
        let _ = fs::remove_file(mark_path(name));
    }
}

/// Removes the name and the mark, as much of them as is there.
fn forget(name: &str) {
    let path = path_of(name);
    if let Err(error) = unmount(&path, UnmountFlags::DETACH)
        && !matches!(error, rustix::io::Errno::NOENT | rustix::io::Errno::INVAL)
    {
        tracing::warn!(namespace = name, %error, "cannot unmount the namespace");
    }
    let _ = fs::remove_file(&path);
    let _ = fs::remove_file(mark_path(name));
}

/// Who made a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    pid: u32,
    /// In clock ticks after boot: with it a process id is unique.
    start_time: u64,
    inode: u64,
}

impl Mark {
    fn of_this_process(inode: u64) -> io::Result<Self> {
        let pid = std::process::id();
        let start_time =
            start_time(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { pid, start_time, inode })
    }

    fn read(name: &str) -> Option<Self> {
        let text = fs::read_to_string(mark_path(name)).ok()?;
        let mut words = text.split_ascii_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            start_time: words.next()?.parse().ok()?,
            inode: words.next()?.parse().ok()?,
        })
    }

    /// Whole or not at all: the file appears by a rename.
    fn write(&self, name: &str) -> Result<(), OpenError> {
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

    fn is_owner_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

fn mark_path(name: &str) -> PathBuf {
    Path::new(MARK_DIR).join(name)
}

/// Holds every other tapway off the marks until the file is dropped.
fn lock_marks() -> Result<File, OpenError> {
    let lock = || -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o755).create(MARK_DIR)?;
        let dir = File::open(MARK_DIR)?;
        flock(&dir, FlockOperation::LockExclusive)?;
        Ok(dir)
    };
    lock().map_err(|error| OpenError::from_io(MARK_DIR, error))
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
