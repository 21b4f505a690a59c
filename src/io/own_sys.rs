//! `/sys` as of the calling process's own network namespace: `/sys/class/net` lists the interfaces
//! of whoever mounted it. What else is mounted below it stays.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount, mount_bind_recursive};

/// Where it is.
const SYS: &str = "/sys";
/// Longest list of mounts that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Mounts below `/sys` that are kept: a usual system has five or six.
const MAX_KEPT: usize = 64;

/// Mounts it. Where the kernel does not permit that, as in some containers, `/sys` stays that of
/// the host: programs that ask the kernel itself see the right interfaces all the same.
pub(super) fn mount_own_sys() {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return };
    let kept: Vec<(String, OwnedFd)> = below_sys(&mounts)
        .into_iter()
        .filter_map(|path| {
            let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            Some((path, file.ok()?))
        })
        .collect();
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RELATIME;
    let mounted = mount("sysfs", SYS, "sysfs", flags, None);
    // One that is read-only where it is now must be so again.
    if mounted.or_else(|_| mount("sysfs", SYS, "sysfs", flags | MountFlags::RDONLY, None)).is_err()
    {
        return;
    }
    for (path, file) in kept {
        let _ = mount_bind_recursive(format!("/proc/self/fd/{}", file.as_raw_fd()), path);
    }
}

/// Mount points directly below `/sys`: each brings those below it along.
fn below_sys(mounts: &str) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for line in mounts.get(..MAX_BYTES.min(mounts.len())).unwrap_or_default().lines() {
        let Some(path) = line.split(' ').nth(4).filter(|path| path.starts_with("/sys/")) else {
            continue;
        };
        let is_below = |above: &String| {
            path.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        // A path with escaped characters is none of the kernel's own.
        let is_plain = !path.contains('\\');
        if is_plain && kept.len() < MAX_KEPT && !kept.iter().any(|k| k == path || is_below(k)) {
            kept.push(path.to_owned());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_directly_below_is_found_once() {
        let mounts = "22 28 0:20 / /sys rw - sysfs sysfs rw\n\
                      23 22 0:6 / /sys/kernel/security rw - securityfs securityfs rw\n\
                      24 22 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      25 24 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      26 22 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      27 28 0:4 / /system rw - ext4 /dev/vda rw\n";
        assert_eq!(below_sys(mounts), ["/sys/kernel/security", "/sys/fs/cgroup"]);
    }
}
