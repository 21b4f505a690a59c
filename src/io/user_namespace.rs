//! A user namespace of one's own: where an ordinary user may make TAPs and networks.
//!
//! Who enters is root there and nobody more than himself outside. The network namespace that
//! comes with it has no way out.

use std::fs;
use std::io;

use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use super::netlink;
use super::tun::TUN_DEVICE;

/// What to do where a user namespace is forbidden.
const REMEDY: &str = "run tapway as root; or, as root, permit user namespaces: \
    `sysctl user.max_user_namespaces=1024`, and where they exist \
    `sysctl kernel.unprivileged_userns_clone=1` and \
    `sysctl kernel.apparmor_restrict_unprivileged_userns=0`";

/// Why an ordinary user can have no switch here, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Forbidden {
    what: String,
    remedy: String,
}

/// A user namespace that the calling process has entered.
#[derive(Debug)]
pub struct UserNamespace(());

/// True if the process may make TAPs and network namespaces where it is.
pub fn is_privileged() -> bool {
    let needed = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    rustix::process::geteuid().is_root()
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

impl UserNamespace {
    /// Enters a new user namespace, with a network and mounts of its own. The calling process must
    /// have one thread only.
    ///
    /// # Errors
    /// If the kernel or its administrator forbids it, or TAPs in it.
    pub fn enter() -> Result<Self, Forbidden> {
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
        // SAFETY: the table of file descriptors stays shared with nobody: no `FILES` among them.
        unsafe { rustix::thread::unshare_unsafe(flags) }
            .map_err(|error| forbidden("a user namespace", &error, REMEDY))?;
        // A group is mapped only by who cannot leave one (user_namespaces(7)).
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {user} 1")),
            ("gid_map", format!("0 {group} 1")),
        ] {
            fs::write(format!("/proc/self/{file}"), text)
                .map_err(|error| forbidden(&format!("mapping ids by {file}"), &error, REMEDY))?;
        }
        // Some systems permit the namespace and take its privileges (AppArmor).
        netlink::set_loopback_up()
            .map_err(|error| forbidden("a network of one's own", &error, REMEDY))?;
        may_open_taps()?;
        Ok(Self(()))
    }
}

fn may_open_taps() -> Result<(), Forbidden> {
    let Err(error) = fs::File::options().read(true).write(true).open(TUN_DEVICE) else {
        return Ok(());
    };
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "`modprobe tun`, or give the container the device".to_owned(),
        _ => format!("run tapway as root; or, as root, `chmod 666 {TUN_DEVICE}`"),
    };
    Err(forbidden(TUN_DEVICE, &error, &remedy))
}

fn forbidden(what: &str, error: &dyn std::error::Error, remedy: &str) -> Forbidden {
    Forbidden { what: format!("{what}: {error}"), remedy: remedy.to_owned() }
}
