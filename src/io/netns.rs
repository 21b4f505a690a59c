//! Namespaces under `/run/netns`: made as `ip netns add` makes them, so that `ip netns exec`
//! works, and marked as tapway's own by a file under `/run/tapway/netns`.
//!
//! A mark names the process that made the namespace and the namespace itself. After a `kill -9`
//! the mark outlives its process: the next tapway adopts exactly that namespace. A namespace
//! without a mark, or one that took the name of a marked one, is somebody else's: used and left.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::time::Duration;

use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::UnshareFlags;

use super::namespace::{
    Found, NETNS_DIR, Namespace, OWN_NETNS, in_thread, inode_of, not_a_namespace, path_of,
};
use super::netns_files::{EtcFile, NetnsFiles, Written};
use super::netns_marks::{
    LOCK_PATIENCE, Mark, lock_marks, mark_path, remove_empty_folders, remove_temporaries,
};
use super::{OpenError, netlink};

/// The namespaces that tapway made or adopted, and the ports that live in them. Dropping it
/// removes them all.
#[derive(Debug)]
pub struct Namespaces {
    own: HashMap<String, Own>,
    files: NetnsFiles,
    /// Ports in namespaces that somebody else made: he is to bring them back, not tapway.
    guests: BTreeSet<String>,
    /// The folder of marks was needed, and may be there.
    has_marked: bool,
    /// How long a lock is waited for at removal: not again for every namespace.
    patience: Duration,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            own: HashMap::new(),
            files: NetnsFiles::default(),
            guests: BTreeSet::new(),
            has_marked: false,
            patience: LOCK_PATIENCE,
        }
    }
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
    pub fn acquire(
        &mut self,
        port: &str,
        name: &str,
        create: bool,
    ) -> Result<Namespace, OpenError> {
        if !create || self.guests.contains(port) {
            return Namespace::named(name);
        }
        if name.starts_with('.') {
            return Err(OpenError::Conflict {
                what: format!("tapway makes no network namespace with a hidden name, as {name}"),
                remedy: "give it a name without a leading `.`".to_owned(),
            });
        }
        let _lock = lock_marks(LOCK_PATIENCE)?;
        if !self.has_marked {
            remove_temporaries();
            self.files.sweep(is_orphan);
        }
        self.has_marked = true;
        let known = self.own.get(name).map(|own| own.inode);
        let namespace = match Namespace::find(name)? {
            Found::Namespace(namespace) if known == Some(namespace.inode()) => namespace,
            Found::Namespace(namespace) => match Mark::read(name) {
                Some(mark) if mark.inode == namespace.inode() => adopt(name, &mark, namespace)?,
                // Somebody else made it, perhaps in place of one of ours that he removed.
                _ => {
                    if self.own.remove(name).is_some() {
                        self.files.remove(name);
                        let _ = fs::remove_file(mark_path(name));
                    }
                    self.guests.insert(port.to_owned());
                    return Ok(namespace);
                }
            },
            Found::PlainFile if Mark::read(name).is_none() => return Err(not_a_namespace(name)),
            Found::PlainFile | Found::Nothing => make(name)?,
        };
        let own = self.own.entry(name.to_owned());
        let own = own.or_insert_with(|| Own { inode: 0, ports: BTreeSet::new() });
        own.inode = namespace.inode();
        own.ports.insert(port.to_owned());
        Ok(namespace)
    }

    /// Writes a file that commands in a namespace find under `/etc`; see [`NetnsFiles`].
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if tapway did not make the namespace, or what the system refused.
    pub fn write_file(
        &mut self,
        netns: &str,
        file: EtcFile,
        text: &str,
    ) -> Result<Written, OpenError> {
        if !self.own.contains_key(netns) {
            return Err(OpenError::Conflict {
                what: format!("network namespace {netns} is not tapway's"),
                remedy: format!("write /etc/netns/{netns}/{} yourself", file.name()),
            });
        }
        self.files.write(netns, file, text)
    }

    /// True if the namespace is one that tapway made or adopted.
    pub fn is_own(&self, netns: &str) -> bool {
        self.own.contains_key(netns)
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
                self.files.remove(name);
                remove(name, own.inode, &mut self.patience);
            }
            !own.ports.is_empty()
        });
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for (name, own) in &self.own {
            self.files.remove(name);
            remove(name, own.inode, &mut self.patience);
        }
        if self.has_marked {
            remove_empty_folders(self.patience);
        }
    }
}

/// True if no tapway has, or could adopt, the namespace that had this name. The lock must be held.
fn is_orphan(name: &str) -> bool {
    Mark::read(name).is_none_or(|mark| !mark.is_owner_alive() && inode_of(name) != Some(mark.inode))
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
fn remove(name: &str, inode: u64, patience: &mut Duration) {
    let _lock = match lock_marks(*patience) {
        Ok(lock) => lock,
        Err(error) => {
            *patience = Duration::ZERO;
            tracing::warn!(namespace = name, %error, "left: the next tapway adopts it");
            return;
        }
    };
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
