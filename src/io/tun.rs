//! The system calls of /dev/net/tun (Documentation/networking/tuntap.rst, linux/if_tun.h).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{c_int, c_uint, c_ulong};
use rustix::fs::{Mode, OFlags};

use crate::packet::{Offloads, VNET_HEADER};

/// Where TAPs come from.
pub(super) const TUN_DEVICE: &str = "/dev/net/tun";
/// Longest name of an interface (IFNAMSIZ - 1).
pub(super) const MAX_NAME: usize = 15;

/// Makes the TAP `interface` in the calling thread's namespace, or takes one that is there. With
/// a header, each frame comes and goes behind a virtio-net header. With several queues, each
/// opening makes one more.
pub(super) fn open(interface: &str, has_header: bool, has_queues: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(TUN_DEVICE, flags, Mode::empty())?;
    let header = if has_header { libc::IFF_VNET_HDR } else { 0 };
    let queues = if has_queues { libc::IFF_MULTI_QUEUE } else { 0 };
    attach(&file, interface, libc::IFF_TAP | libc::IFF_NO_PI | header | queues)?;
    if has_header {
        let size = VNET_HEADER as c_int;
        // SAFETY: TUNSETVNETHDRSZ reads one `int`, which lives through the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })?;
    }
    Ok(file)
}

/// Tells the kernel what it may leave undone in the frames it sends: all that it can, or nothing.
/// What was told before outlives the descriptor. Gives back what the kernel takes of the same
/// kind.
pub(super) fn set_offloads(file: &OwnedFd, is_on: bool) -> io::Result<Offloads> {
    if !is_on {
        return tell_offloads(file, 0).map(|()| Offloads::NONE);
    }
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    match tell_offloads(file, tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6) {
        Ok(()) => Ok(Offloads::ALL),
        // Since Linux 6.2.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            tell_offloads(file, tcp).map(|()| Offloads { uso: false, ..Offloads::ALL })
        }
        Err(error) => Err(error),
    }
}

fn tell_offloads(file: &OwnedFd, offloads: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes a number, no pointer.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(offloads)) })
}

/// Makes `file` the TAP `interface`, with these features.
fn attach(file: &OwnedFd, interface: &str, features: c_int) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(interface.bytes().take(MAX_NAME)) {
        *to = from as libc::c_char;
    }
    let flags = libc::__c_anonymous_ifr_ifru { ifru_flags: features as libc::c_short };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: flags };
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
