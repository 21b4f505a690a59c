//! TAP devices: Ethernet frames to and from the kernel of the namespace they were opened in.
//!
//! A TAP lives as long as its file; its namespace, too, even after its name is gone, so that a
//! reader does not notice (see `LinkWatch`). What the kernel says, tried on Linux 6.18:
//!
//! | what happened | read | write | wakes |
//! |---|---|---|---|
//! | set down | `EAGAIN` | `EIO`, and counted as dropped | no |
//! | deleted, or its namespace ended | `EBADFD` | `EBADFD` | yes |
//! | frame larger than the room | the room, filled | | |
//!
//! Bounds: frames of up to [`MAX_FRAME`] bytes or the MTU it was opened with, whichever is more.
//! Deliberately without virtio-net headers, offloads and further queues.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

use super::link_counters::{Dropped, LinkCounters};
use super::namespace::place;
use super::netlink::{self, LinkSettings, LinkState};
use super::{Loss, Namespace, OpenError, PortIo, ReceiveError, TapBackend, TapPlan};
use crate::drop_reason::DropReason;
use crate::packet::{ETHERNET_HEADER, Received, VLAN_TAG, VNET_HEADER};

/// Where TAPs come from.
const TUN_DEVICE: &str = "/dev/net/tun";
/// Largest frame of a usual network: a jumbo MTU of 9216, header and one VLAN tag. Independent of
/// the TAP's MTU, which its host may raise at any time.
const MAX_FRAME: usize = 9_216 + ETHERNET_HEADER + VLAN_TAG;
/// Longest name of an interface (IFNAMSIZ - 1).
const MAX_NAME: usize = 15;

/// An open TAP.
#[derive(Debug)]
pub struct Tap {
    file: OwnedFd,
    /// One more than the largest frame: a read that fills it was cut.
    room: usize,
    counters: LinkCounters,
    reported: Dropped,
    /// Writes refused with EIO: counted by us, and by the kernel as dropped.
    refused: u64,
}

impl Tap {
    /// Opens a TAP in `namespace` and sets it up as planned, and up.
    ///
    /// # Errors
    /// Why not; the TAP is gone again then.
    pub fn open(namespace: &Namespace, plan: &TapPlan) -> Result<(Self, LinkState), OpenError> {
        namespace.run(|| {
            let place = place(namespace.name());
            check_name(&plan.interface)?;
            let file = match plan.backend {
                TapBackend::Own => open_own(&plan.interface),
                TapBackend::TunTap => open_tun_tap(&plan.interface),
            };
            let file = file.map_err(|error| explain(error, &plan.interface, &place))?;
            let index = netlink::link(&plan.interface, &place)?.index;
            let failed = |error| {
                OpenError::from_io(format!("counters of {} in {place}", plan.interface), error)
            };
            let mut counters = LinkCounters::open(index).map_err(failed)?;
            let reported = counters.read().map_err(failed)?;
            let link = netlink::configure(&plan.interface, &settings(plan), &place)?;
            let max_frame = MAX_FRAME.max(usize::from(plan.mtu) + ETHERNET_HEADER + VLAN_TAG);
            Ok((Self { file, room: max_frame + 1, counters, reported, refused: 0 }, link))
        })
    }
}

impl PortIo for Tap {
    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }

    fn max_frame(&self) -> usize {
        self.room
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        let room = room.get_mut(VNET_HEADER..).unwrap_or_default();
        let size = room.len();
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut *room)) {
            Ok(len) if len >= size => Err(ReceiveError::Truncated),
            Ok(len) => Ok(Received::finished(len)),
            Err(rustix::io::Errno::AGAIN) => Err(ReceiveError::Empty),
            Err(error) => Err(ReceiveError::Gone(error.into())),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let sent = rustix::io::retry_on_intr(|| rustix::io::write(&self.file, frame));
        sent.map(|_| ()).map_err(|error| {
            self.refused += u64::from(error == rustix::io::Errno::IO);
            send_failure(error)
        })
    }

    fn poll_losses(&mut self) -> Vec<Loss> {
        // A device that is gone has no counters any more; what it lost last stays unknown.
        let Ok(now) = self.counters.read() else { return Vec::new() };
        let now = Dropped { rx: now.rx.saturating_sub(self.refused), tx: now.tx };
        let losses = [
            (DropReason::DeviceRxDropped, now.rx.saturating_sub(self.reported.rx)),
            (DropReason::DeviceTxDropped, now.tx.saturating_sub(self.reported.tx)),
        ];
        self.reported = now;
        let lost = losses.into_iter().filter(|(_, frames)| *frames > 0);
        lost.map(|(reason, frames)| Loss { reason, frames }).collect()
    }
}

/// Why a device did not take a frame.
pub(super) fn send_failure(error: rustix::io::Errno) -> DropReason {
    use rustix::io::Errno;
    match error {
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => DropReason::TxQueueFull,
        Errno::BADFD | Errno::NODEV | Errno::NXIO => DropReason::TxDeviceGone,
        _ => DropReason::TxError,
    }
}

pub(super) const fn settings(plan: &TapPlan) -> LinkSettings {
    LinkSettings { mac: plan.mac, mtu: plan.mtu, address: plan.address, gateway: plan.gateway }
}

/// Opens a TAP in the calling thread's namespace.
fn open_own(interface: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(TUN_DEVICE, flags, Mode::empty())?;
    attach(&file, interface, libc::IFF_TAP | libc::IFF_NO_PI)?;
    Ok(file)
}

/// Makes `file` the TAP `interface`, with these features.
fn attach(file: &OwnedFd, interface: &str, features: libc::c_int) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(interface.bytes().take(MAX_NAME)) {
        *to = from as libc::c_char;
    }
    let flags = libc::__c_anonymous_ifr_ifru { ifru_flags: features as libc::c_short };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: flags };
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same by the `tun-tap` crate.
fn open_tun_tap(interface: &str) -> io::Result<OwnedFd> {
    let tap = tun_tap::Iface::without_packet_info(interface, tun_tap::Mode::Tap)?;
    tap.set_non_blocking()?;
    // SAFETY: `into_raw_fd` gives the only handle of an open file away.
    Ok(unsafe { OwnedFd::from_raw_fd(tap.into_raw_fd()) })
}

fn explain(error: io::Error, interface: &str, place: &str) -> OpenError {
    let conflict = |what: &str, remedy: &str| OpenError::Conflict {
        what: format!("{interface} in {place} {what}"),
        remedy: remedy.to_owned(),
    };
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV) => OpenError::NotFound {
            what: TUN_DEVICE.to_owned(),
            remedy: "; `modprobe tun`, or give the container the device".to_owned(),
        },
        Some(libc::EBUSY) => conflict(
            "is in use by another process",
            "stop that process, or choose another `interface`",
        ),
        Some(libc::EINVAL) => conflict(
            "exists and is not a TAP with one queue",
            "remove it with `ip link del`, or choose another `interface`",
        ),
        _ => OpenError::from_io(format!("opening the TAP {interface} in {place}"), error),
    }
}

/// What the kernel takes as a name; `%` would make it a pattern.
fn check_name(interface: &str) -> Result<(), OpenError> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    let is_name = (1..=MAX_NAME).contains(&interface.len())
        && !matches!(interface, "." | "..")
        && !interface.contains(is_bad);
    if is_name {
        return Ok(());
    }
    Err(OpenError::Conflict {
        what: format!("{interface:?} is no name for an interface"),
        remedy: format!("use 1 to {MAX_NAME} bytes without `/`, `:`, `%` and spaces"),
    })
}
