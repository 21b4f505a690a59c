//! Network namespaces that live as long as the benchmark needs them, and what is in them.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{BenchError, Context, Result};
use crate::process::run;

/// Where `ip netns` keeps names.
const FOLDER: &str = "/run/netns";
/// Every namespace of a benchmark is called `nb<process id>-<number><role>`.
const PREFIX: &str = "nb";

/// A namespace under `/run/netns`, removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Makes one, with its loopback up. `role` is a hint for readers of `ip netns`.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn create(role: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}{role}", std::process::id());
        run(&["ip", "netns", "add", &name])?;
        let path = path_of(&name);
        let file = File::open(&path).context(path.display().to_string()).inspect_err(|_| {
            remove(&name);
        })?;
        let netns = Self { name, file };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// The namespace, for a child to enter.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn try_clone_file(&self) -> Result<File> {
        self.file.try_clone().context(self.name.as_str())
    }

    /// Moves the calling thread into it, for good.
    ///
    /// # Errors
    /// If the privilege is missing.
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .context(format!("entering namespace {}", self.name))
    }

    /// Runs `act` in a thread of its own that has entered the namespace.
    ///
    /// # Errors
    /// As of `act`.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let in_thread = || {
            self.enter()?;
            act()
        };
        let result = std::thread::scope(|scope| scope.spawn(in_thread).join());
        result.unwrap_or_else(|_| Err(BenchError::Peer("a thread panicked".to_owned())))
    }

    /// Runs `ip` on it, with arguments separated by spaces.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut command = vec!["ip", "-n", self.name.as_str()];
        command.extend(arguments.split_whitespace());
        run(&command)
    }

    /// Sets a sysctl of this namespace, by its path under `/proc/sys`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn set_sysctl(&self, path: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(path);
        self.run(|| fs::write(&path, value).context(path.display().to_string()))
    }

    /// Gives an interface an address of its /24 and sets it up.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn set_address(&self, interface: &str, address: Ipv4Addr) -> Result<()> {
        self.ip(&format!("address add {address}/24 dev {interface}"))?;
        self.ip(&format!("link set {interface} up"))?;
        Ok(())
    }

    /// The MAC of an interface.
    ///
    /// # Errors
    /// If there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let shown = self.ip(&format!("-o link show {interface}"))?;
        let mac = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        mac.map(str::to_owned)
            .ok_or_else(|| BenchError::Peer(format!("{interface} in {} has no MAC", self.name)))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Joins two namespaces by a veth pair.
///
/// # Errors
/// What `ip` said.
pub fn connect(one: (&Netns, &str), other: (&Netns, &str)) -> Result<()> {
    let (one, interface) = one;
    let (other, peer) = other;
    let (one, other) = (one.name(), other.name());
    let veth = ["type", "veth", "peer", "name", peer, "netns", other];
    run(&[&["ip", "link", "add", interface, "netns", one], &veth[..]].concat())?;
    Ok(())
}

/// Removes namespaces of benchmarks that were killed.
pub fn sweep() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if maker_of(&name, PREFIX).is_some_and(is_gone) {
            remove(&name);
        }
    }
}

/// The process id in a name that a benchmark gave.
pub fn maker_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (pid, _) = name.strip_prefix(prefix)?.split_once('-')?;
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some(pid)
}

/// True if there is no process of that id.
pub fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}

fn remove(name: &str) {
    if let Err(error) = run(&["ip", "netns", "del", name]) {
        eprintln!("netbench: the namespace {name} is left behind: {error}");
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_benchmarks_are_swept() {
        assert_eq!(maker_of("nb123-4a", PREFIX), Some("123"));
        assert_eq!(maker_of("nb-4a", PREFIX), None);
        assert_eq!(maker_of("nbx1-4a", PREFIX), None);
        assert_eq!(maker_of("web", PREFIX), None);
    }
}
