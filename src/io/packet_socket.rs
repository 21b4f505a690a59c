//! An existing interface taken by AF_PACKET: tapway is a station of its own on that link, with
//! its own MAC and address, and nothing of the interface changes; or it shares the host's (see
//! `shared`).
//!
//! Frames from a host that shares this kernel (a veth, a bridge) arrive unfinished: with partial
//! checksums, and TCP or UDP super-frames of up to 64 KiB; a NIC's receive offload makes
//! super-frames, too. The socket therefore asks for virtio-net headers. VLAN tags that the kernel
//! took off are put back.
//!
//! Bounds: super-frames of up to 64 KiB; the kernel queues frames up to the receive buffer and
//! drops what is more ([`DropReason::RingOverrun`]).

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

use super::netlink::{self, LinkState};
use super::raw_packet::{RawPacket, Unpacked};
use super::tap::{MAX_SUPER_FRAME, send_failure};
use super::{DevicePlan, Loss, Namespace, OpenError, PortIo, ReceiveError, TransmitFile};
use crate::drop_reason::DropReason;
use crate::packet::{Offload, Offloads, Received, VLAN_TAG, VNET_HEADER, put16};

/// The first Linux whose packet sockets send UDP super-frames: major and minor version.
const FIRST_WITH_USO: (u32, u32) = (6, 2);
/// Where the frame's MACs end and a VLAN tag belongs.
const TAG_OFFSET: usize = 12;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: RawPacket,
    /// Another handle receives.
    is_sender: bool,
}

impl PacketSocket {
    /// Takes the plan's interface in `namespace`.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if it is not there, [`OpenError::Conflict`] if the MAC or the
    /// address is this host's, or what the system refused.
    pub fn open(namespace: &Namespace, plan: &DevicePlan) -> Result<(Self, LinkState), OpenError> {
        namespace.run(|| {
            let place = namespace.place();
            let link = netlink::link(&plan.device, &place)?;
            refuse_own(plan, &place)?;
            let open = || -> io::Result<RawPacket> {
                let socket = RawPacket::open()?;
                socket.set_filter(plan.mac)?;
                socket.set_receive_buffer(plan.receive_buffer)?;
                socket.bind(link.index)?;
                socket.set_promiscuous(link.index)?;
                Ok(socket)
            };
            let socket = open().map_err(|error| {
                OpenError::from_io(format!("a packet socket on {} in {place}", plan.device), error)
            })?;
            Ok((Self { socket, is_sender: false }, link))
        })
    }

    /// A socket for the host's own address, in the calling thread's namespace; it hears nothing
    /// before it is bound.
    pub(super) fn shared(receive_buffer: usize) -> io::Result<Self> {
        let socket = RawPacket::open()?;
        socket.set_receive_buffer(receive_buffer)?;
        Ok(Self { socket, is_sender: false })
    }

    /// Starts to hear an interface.
    pub(super) fn bind(&self, index: u32) -> io::Result<()> {
        self.socket.bind(index)
    }

    /// Another handle, by which its filter can be changed.
    pub(super) fn raw(&self) -> io::Result<RawPacket> {
        self.socket.try_clone()
    }

    /// What an error of the socket means.
    fn receive_failure(&self, error: io::Error) -> ReceiveError {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => ReceiveError::Empty,
            // Told once when the interface goes down; the socket hears it again when it is up.
            Some(libc::ENETDOWN) if !self.socket.is_unbound() => ReceiveError::Empty,
            // A super-frame of a kind that a virtio-net header cannot describe (a tunnel's).
            Some(libc::EINVAL) => ReceiveError::Truncated,
            _ => ReceiveError::Gone(error),
        }
    }
}

impl PortIo for PacketSocket {
    fn raw_fd(&self) -> Option<RawFd> {
        (!self.is_sender).then(|| self.socket.as_raw_fd())
    }

    fn max_frame(&self) -> usize {
        MAX_SUPER_FRAME
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        if self.is_sender {
            return Err(ReceiveError::Empty);
        }
        match self.socket.receive(room) {
            Ok(unpacked) if unpacked.is_truncated => Err(ReceiveError::Truncated),
            Ok(unpacked) => finish(unpacked, room),
            Err(error) => Err(self.receive_failure(error)),
        }
    }

    fn offloads(&self) -> Offloads {
        // The kernel completes and cuts what the interface itself cannot.
        Offloads { uso: is_since(FIRST_WITH_USO), ..Offloads::ALL }
    }

    fn transmit_file(&self) -> Option<TransmitFile> {
        Some(TransmitFile { fd: self.socket.as_raw_fd(), has_header: true })
    }

    fn refused(&mut self, error: io::Error) -> DropReason {
        send_failure(&error)
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let parts = [IoSlice::new(&[0; VNET_HEADER]), IoSlice::new(frame)];
        let sent = rustix::io::retry_on_intr(|| rustix::io::writev(self.socket.fd(), &parts));
        sent.map(|_| ()).map_err(|error| send_failure(&error.into()))
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(Self { socket: self.socket.try_clone()?, is_sender: true }))
    }

    fn poll_losses(&mut self) -> Vec<Loss> {
        if self.is_sender {
            return Vec::new();
        }
        match self.socket.overruns() {
            Ok(frames) if frames > 0 => {
                vec![Loss { reason: DropReason::RingOverrun, frames: u64::from(frames) }]
            }
            _ => Vec::new(),
        }
    }
}

/// Reads the header before the frame and puts a tag back that the kernel took off.
fn finish(unpacked: Unpacked, room: &mut [u8]) -> Result<Received, ReceiveError> {
    let header = room.first_chunk().ok_or(ReceiveError::Truncated)?;
    let offload = Offload::parse(header).map_err(ReceiveError::Refused)?;
    let frame = room.get_mut(VNET_HEADER..).unwrap_or_default();
    let Some((kind, control)) = unpacked.tag else {
        return Ok(Received { len: unpacked.len, offload });
    };
    let len = unpacked.len + VLAN_TAG;
    if unpacked.len < TAG_OFFSET || len > frame.len() {
        return Err(ReceiveError::Truncated);
    }
    frame.copy_within(TAG_OFFSET..unpacked.len, TAG_OFFSET + VLAN_TAG);
    put16(frame, TAG_OFFSET, kind);
    put16(frame, TAG_OFFSET + 2, control);
    Ok(Received { len, offload: offload.behind(VLAN_TAG as u16) })
}

/// True if the running kernel is this one or a later one.
fn is_since(version: (u32, u32)) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= version
}

/// The kernel would answer for its own address, and take frames for its own MAC.
fn refuse_own(plan: &DevicePlan, place: &str) -> Result<(), OpenError> {
    let mac = plan.mac;
    if let Some(owner) = netlink::links()?.iter().find(|link| link.mac == Some(mac)) {
        return Err(OpenError::Conflict {
            what: format!("MAC {mac} is that of {} in {place}", owner.name),
            remedy: "choose a `mac` of tapway's own, or leave it out".to_owned(),
        });
    }
    let own = netlink::addresses()?;
    let is_own = |address: &&Ipv4Addr| own.iter().any(|(_, own)| own == *address);
    if let Some(address) = plan.addresses.iter().find(is_own) {
        return Err(OpenError::Conflict {
            what: format!("address {address} belongs to this host ({place})"),
            remedy: format!("choose an address that no host uses on the link of {}", plan.device),
        });
    }
    Ok(())
}
