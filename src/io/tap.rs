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
//! With offloads each frame comes and goes behind a virtio-net header, so that checksums and
//! segmentation are left to who needs them. What was told about offloads outlives the
//! descriptor, so it is told at every opening.
//!
//! Bounds: super-frames of up to 64 KiB; without offloads, frames of up to [`MAX_FRAME`] bytes or
//! the MTU it was opened with, whichever is more. Deliberately without further queues.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::link_counters::{Dropped, LinkCounters};
use super::netlink::{self, LinkSettings, LinkState};
use super::tun::{self, MAX_NAME, TUN_DEVICE};
use super::{Loss, Namespace, OpenError, PortIo, ReceiveError, TapBackend, TapPlan, TransmitFile};
use crate::drop_reason::DropReason;
use crate::packet::{ETHERNET_HEADER, Offload, Offloads, Received, VLAN_TAG, VNET_HEADER};

/// Largest super-frame: an IP packet of 65 535 bytes, header and one VLAN tag inside.
pub(super) const MAX_SUPER_FRAME: usize = 65_535 + ETHERNET_HEADER + VLAN_TAG;
/// Largest frame of a usual network: a jumbo MTU of 9216, header and one VLAN tag. Independent of
/// the TAP's MTU, which its host may raise at any time.
const MAX_FRAME: usize = 9_216 + ETHERNET_HEADER + VLAN_TAG;

/// An open TAP.
#[derive(Debug)]
pub struct Tap {
    file: OwnedFd,
    /// One more than the largest frame: a read that fills it was cut.
    room: usize,
    has_header: bool,
    offloads: Offloads,
    /// Another handle receives; this one only sends.
    is_sender: bool,
    /// What the kernel counts, for all handles; with the first of them.
    losses: Option<LossWatch>,
    /// Writes refused with EIO, by any handle: counted by us, and by the kernel as dropped.
    refused: Arc<AtomicU64>,
    /// Further queues, until they are taken.
    queues: Vec<Self>,
}

#[derive(Debug)]
struct LossWatch {
    counters: LinkCounters,
    reported: Dropped,
}

impl Tap {
    /// Opens a TAP in `namespace` and sets it up as planned, and up.
    ///
    /// # Errors
    /// Why not; the TAP is gone again then.
    pub fn open(namespace: &Namespace, plan: &TapPlan) -> Result<(Self, LinkState), OpenError> {
        namespace.run(|| {
            let place = namespace.place();
            check_name(&plan.interface)?;
            // One that is there was set up by somebody else, its queueing included.
            let is_new =
                matches!(netlink::link(&plan.interface, &place), Err(OpenError::NotFound { .. }));
            let has_header = plan.offload && plan.backend == TapBackend::Own;
            let open = || -> io::Result<Self> {
                let (file, offloads) = open_queue(plan, has_header)?;
                let mut first = Self {
                    file,
                    room: 1 + max_frame(plan, has_header),
                    has_header,
                    offloads,
                    is_sender: false,
                    losses: None,
                    refused: Arc::default(),
                    queues: Vec::new(),
                };
                if plan.backend == TapBackend::Own {
                    for _ in 1..plan.queues {
                        let (file, _) = open_queue(plan, has_header)?;
                        let queue = Self { file, is_sender: false, ..first.sharing()? };
                        first.queues.push(queue);
                    }
                }
                Ok(first)
            };
            let mut tap = open().map_err(|error| explain(error, &plan.interface, &place))?;
            let index = netlink::link(&plan.interface, &place)?.index;
            let failed = |error| {
                OpenError::from_io(format!("counters of {} in {place}", plan.interface), error)
            };
            let mut counters = LinkCounters::open(index).map_err(failed)?;
            let reported = counters.read().map_err(failed)?;
            let settings = LinkSettings { is_unqueued: is_new, ..settings(plan) };
            let link = netlink::configure(&plan.interface, &settings, &place)?;
            tap.losses = Some(LossWatch { counters, reported });
            Ok((tap, link))
        })
    }

    /// Another handle of the same queue, for sending.
    fn sharing(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            room: self.room,
            has_header: self.has_header,
            offloads: self.offloads,
            is_sender: true,
            losses: None,
            refused: self.refused.clone(),
            queues: Vec::new(),
        })
    }
}

impl PortIo for Tap {
    fn raw_fd(&self) -> Option<RawFd> {
        (!self.is_sender).then(|| self.file.as_raw_fd())
    }

    fn max_frame(&self) -> usize {
        self.room
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        if self.is_sender {
            return Err(ReceiveError::Empty);
        }
        let before = if self.has_header { 0 } else { VNET_HEADER };
        let read_into = room.get_mut(before..).unwrap_or_default();
        let size = read_into.len();
        let len = match rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut *read_into))
        {
            Ok(len) if len >= size => return Err(ReceiveError::Truncated),
            Ok(len) => len,
            Err(Errno::AGAIN) => return Err(ReceiveError::Empty),
            // A super-frame of a kind that a virtio-net header cannot describe.
            Err(Errno::INVAL) => return Err(ReceiveError::Truncated),
            Err(error) => return Err(ReceiveError::Gone(error.into())),
        };
        if !self.has_header {
            return Ok(Received::finished(len));
        }
        let header = room.first_chunk().ok_or(ReceiveError::Truncated)?;
        let offload = Offload::parse(header).map_err(ReceiveError::Refused)?;
        Ok(Received { len: len.saturating_sub(VNET_HEADER), offload })
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn transmit_file(&self) -> Option<TransmitFile> {
        Some(TransmitFile { fd: self.file.as_raw_fd(), has_header: self.has_header })
    }

    fn refused(&mut self, error: io::Error) -> DropReason {
        if error.raw_os_error() == Some(libc::EIO) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        send_failure(&error)
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let header = [0; VNET_HEADER];
        let header = if self.has_header { &header[..] } else { &[] };
        let parts = [IoSlice::new(header), IoSlice::new(frame)];
        let sent = rustix::io::retry_on_intr(|| rustix::io::writev(&self.file, &parts));
        sent.map(|_| ()).map_err(|error| self.refused(error.into()))
    }

    fn take_queues(&mut self) -> Vec<Box<dyn PortIo>> {
        let queues = std::mem::take(&mut self.queues);
        queues.into_iter().map(|queue| Box::new(queue) as Box<dyn PortIo>).collect()
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(self.sharing()?))
    }

    fn poll_losses(&mut self) -> Vec<Loss> {
        let Some(LossWatch { counters, reported }) = &mut self.losses else { return Vec::new() };
        // A device that is gone has no counters any more; what it lost last stays unknown.
        let Ok(now) = counters.read() else { return Vec::new() };
        let refused = self.refused.load(Ordering::Relaxed);
        let now = Dropped { rx: now.rx.saturating_sub(refused), tx: now.tx };
        let losses = [
            (DropReason::DeviceRxDropped, now.rx.saturating_sub(reported.rx)),
            (DropReason::DeviceTxDropped, now.tx.saturating_sub(reported.tx)),
        ];
        *reported = now;
        let lost = losses.into_iter().filter(|(_, frames)| *frames > 0);
        lost.map(|(reason, frames)| Loss { reason, frames }).collect()
    }
}

fn open_queue(plan: &TapPlan, has_header: bool) -> io::Result<(OwnedFd, Offloads)> {
    let file = match plan.backend {
        TapBackend::Own => tun::open(&plan.interface, has_header, plan.queues > 1),
        TapBackend::TunTap => open_tun_tap(&plan.interface),
    }?;
    let offloads = tun::set_offloads(&file, has_header)?;
    Ok((file, offloads))
}

/// Why a device did not take a frame.
pub(super) fn send_failure(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::TxQueueFull,
        Some(libc::EBADFD | libc::ENODEV | libc::ENXIO) => DropReason::TxDeviceGone,
        _ => DropReason::TxError,
    }
}

/// The largest frame that the TAP's host may send.
fn max_frame(plan: &TapPlan, has_header: bool) -> usize {
    match has_header {
        true => MAX_SUPER_FRAME,
        false => MAX_FRAME.max(usize::from(plan.mtu) + ETHERNET_HEADER + VLAN_TAG),
    }
}

pub(super) const fn settings(plan: &TapPlan) -> LinkSettings {
    let TapPlan { mac, mtu, address, gateway, .. } = *plan;
    LinkSettings { mac, mtu, address, gateway, is_unqueued: false }
}

/// Opens a TAP by the `tun-tap` crate.
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
