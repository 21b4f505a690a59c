//! An existing interface taken by AF_PACKET: tapway is a station of its own on that link, with
//! its own MAC and address, and nothing of the interface changes.
//!
//! Frames from a host that shares this kernel (a veth, a bridge) arrive unfinished: with partial
//! checksums, and TCP or UDP super-frames of up to 64 KiB; a NIC's receive offload makes
//! super-frames, too. The socket therefore asks for virtio-net headers, completes checksums, and
//! cuts super-frames into what the sender's peer would have received. VLAN tags that the kernel
//! took off are put back.
//!
//! Bounds: one super-frame of up to 64 KiB is held at a time; the kernel queues frames up to the
//! receive buffer and drops what is more ([`DropReason::RingOverrun`]).

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

use super::namespace::place;
use super::netlink::{self, LinkState};
use super::offload::{Segments, VNET_HEADER, VnetHeader};
use super::raw_packet::{RawPacket, Received};
use super::tap::send_failure;
use super::{DevicePlan, Loss, Namespace, OpenError, PortIo, ReceiveError};
use crate::drop_reason::DropReason;
use crate::packet::{ETHERNET_HEADER, VLAN_TAG, put16};

/// Largest frame delivered: as a TAP's.
const MAX_FRAME: usize = 9_216 + ETHERNET_HEADER + VLAN_TAG;
/// Largest super-frame: an IP packet of 65 535 bytes, header and one VLAN tag inside.
const MAX_SUPER_FRAME: usize = 65_535 + ETHERNET_HEADER + VLAN_TAG;
/// Where the frame's MACs end and a VLAN tag belongs.
const TAG_OFFSET: usize = 12;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: RawPacket,
    /// [`VLAN_TAG`] bytes of room before the frame, for a tag to be put back.
    buffer: Box<[u8]>,
    /// The super-frame in the buffer, and where it starts and ends.
    pending: Option<(Segments, usize, usize)>,
}

impl PacketSocket {
    /// Takes the plan's interface in `namespace`.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if it is not there, [`OpenError::Conflict`] if the MAC or the
    /// address is this host's, or what the system refused.
    pub fn open(namespace: &Namespace, plan: &DevicePlan) -> Result<(Self, LinkState), OpenError> {
        namespace.run(|| {
            let place = place(namespace.name());
            let link = netlink::link(&plan.device, &place)?;
            refuse_own(plan, &place)?;
            let open = || -> io::Result<RawPacket> {
                let socket = RawPacket::open()?;
                socket.set_filter(plan.mac)?;
                socket.set_receive_buffer(plan.receive_buffer)?;
                socket.bind(link.index)?;
                Ok(socket)
            };
            let socket = open().map_err(|error| {
                OpenError::from_io(format!("a packet socket on {} in {place}", plan.device), error)
            })?;
            let buffer = vec![0; VLAN_TAG + MAX_SUPER_FRAME].into_boxed_slice();
            Ok((Self { socket, buffer, pending: None }, link))
        })
    }

    /// The next segment of the super-frame that is being cut.
    fn next_segment(&mut self, room: &mut [u8]) -> Option<Result<usize, ReceiveError>> {
        let (segments, start, end) = self.pending.as_mut()?;
        let frame = self.buffer.get(*start..*end).unwrap_or_default();
        let next = segments.next(frame, room);
        if next.is_none() {
            self.pending = None;
        }
        next.map(|len| if len > room.len() { Err(ReceiveError::Truncated) } else { Ok(len) })
    }

    /// Finishes the frame in the buffer and delivers it, or the first segment of it.
    fn finish(
        &mut self,
        vnet: VnetHeader,
        received: Received,
        room: &mut [u8],
    ) -> Result<usize, ReceiveError> {
        let end = VLAN_TAG + received.len;
        if !vnet.is_super() {
            let frame = self.buffer.get_mut(VLAN_TAG..end).unwrap_or_default();
            vnet.complete_checksum(frame);
        }
        let start = match received.tag {
            Some(tag) => put_tag(&mut self.buffer, tag),
            None => VLAN_TAG,
        };
        let frame = self.buffer.get(start..end).unwrap_or_default();
        if vnet.is_super() {
            let segments = Segments::new(frame, vnet).ok_or(ReceiveError::Truncated)?;
            self.pending = Some((segments, start, end));
            return self.next_segment(room).unwrap_or(Err(ReceiveError::Truncated));
        }
        let room = room.get_mut(..frame.len()).ok_or(ReceiveError::Truncated)?;
        room.copy_from_slice(frame);
        Ok(frame.len())
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
        Some(self.socket.as_raw_fd())
    }

    fn max_frame(&self) -> usize {
        MAX_FRAME
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<usize, ReceiveError> {
        if let Some(segment) = self.next_segment(room) {
            return segment;
        }
        let mut vnet = [0; VNET_HEADER];
        let frame = self.buffer.get_mut(VLAN_TAG..).unwrap_or_default();
        match self.socket.receive(&mut vnet, frame) {
            Ok(received) if received.is_truncated => Err(ReceiveError::Truncated),
            Ok(received) => self.finish(VnetHeader::parse(&vnet), received, room),
            Err(error) => Err(self.receive_failure(error)),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let parts = [IoSlice::new(&[0; VNET_HEADER]), IoSlice::new(frame)];
        let sent = rustix::io::retry_on_intr(|| rustix::io::writev(self.socket.fd(), &parts));
        sent.map(|_| ()).map_err(send_failure)
    }

    fn poll_losses(&mut self) -> Vec<Loss> {
        match self.socket.overruns() {
            Ok(frames) if frames > 0 => {
                vec![Loss { reason: DropReason::RingOverrun, frames: u64::from(frames) }]
            }
            _ => Vec::new(),
        }
    }
}

/// Puts a tag back into the frame that starts at [`VLAN_TAG`]; gives its new start.
fn put_tag(buffer: &mut [u8], (kind, control): (u16, u16)) -> usize {
    buffer.copy_within(VLAN_TAG..VLAN_TAG + TAG_OFFSET, 0);
    put16(buffer, TAG_OFFSET, kind);
    put16(buffer, TAG_OFFSET + 2, control);
    0
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
