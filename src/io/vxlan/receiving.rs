//! Datagrams into outer frames.
//!
//! The kernel gives what it joined of one sender as one buffer (`UDP_GRO`). Frames inside that are
//! segments of one flow, behind the same VXLAN header, become one super-frame on their way into
//! the burst, with what belongs to it written into its [`Offload`](crate::packet::Offload); all
//! else goes frame by frame, in order.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

use super::inbox::{Arrived, Inbox, Sender};
use super::udp::Udp;
use crate::io::ReceiveError;
use crate::packet::vxlan::{DATAGRAM_HEADERS, ENCAPSULATION, Outer, VXLAN_HEADER, Vni};
use crate::packet::{MacAddr, Received, Run, VNET_HEADER};

/// Receives datagrams at the VTEP's port. One for each worker.
#[derive(Debug)]
pub(super) struct Receiving {
    socket: Udp,
    /// Where it is bound; unspecified: each datagram tells.
    own: Ipv4Addr,
    port: u16,
    inbox: Inbox,
    next: Place,
    /// All that was there has been read.
    is_drained: bool,
    /// Lost datagrams that were told of.
    told: u32,
}

impl Receiving {
    /// Receives by a bound socket.
    pub fn new(socket: Udp, own: Ipv4Addr, port: u16) -> Self {
        let told = socket.drops().unwrap_or_default();
        let (inbox, next) = (Inbox::new(), Place::default());
        Self { socket, own, port, inbox, next, is_drained: false, told }
    }

    /// What becomes readable.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Gives one outer frame; see [`PortIo::receive`](crate::io::PortIo::receive).
    pub fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        if self.next.datagram(&self.inbox).is_none() {
            if self.is_drained {
                // What comes from now on makes the socket ready again.
                self.is_drained = false;
                return Err(ReceiveError::Empty);
            }
            self.fill()?;
        }
        let room = room.get_mut(VNET_HEADER..).unwrap_or_default();
        self.take(room)
    }

    /// Datagrams that found the buffer full since the last call; several that were one buffer count
    /// once.
    pub fn losses(&mut self) -> u64 {
        let Ok(now) = self.socket.drops() else { return 0 };
        let lost = now.wrapping_sub(self.told);
        self.told = now;
        u64::from(lost)
    }

    fn fill(&mut self) -> Result<(), ReceiveError> {
        self.next = Place::default();
        // An error that waited is told once, and means nothing here.
        let filled = self.inbox.fill(&self.socket).or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Err(error),
            _ => self.inbox.fill(&self.socket),
        });
        match filled {
            Ok(has_more) => self.is_drained = !has_more,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK)) => {
                return Err(ReceiveError::Gone(error));
            }
            Err(_) => return Err(ReceiveError::Empty),
        }
        Ok(())
    }

    /// Writes the next datagram, and those that go on where it ends, as one outer frame.
    fn take(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        let (inbox, next) = (&self.inbox, &mut self.next);
        let Some((arrived, datagram)) = next.datagram(inbox) else {
            return Err(ReceiveError::Empty);
        };
        next.advance(inbox);
        if arrived.is_truncated {
            return Err(ReceiveError::Truncated);
        }
        let (headers, payload) =
            room.split_at_mut_checked(DATAGRAM_HEADERS).ok_or(ReceiveError::Truncated)?;
        let outer = Outer {
            src: arrived.from.src,
            dst: arrived.from.dst.unwrap_or(self.own),
            sport: arrived.from.sport,
            dport: self.port,
            tos: arrived.from.tos,
            vni: Vni::default(),
        };
        let got = match datagram.split_at_checked(VXLAN_HEADER) {
            Some((vxlan, inner)) => {
                let (own, payload) =
                    payload.split_at_mut_checked(VXLAN_HEADER).ok_or(ReceiveError::Truncated)?;
                own.copy_from_slice(vxlan);
                let mut run = Run::start(inner, payload).ok_or(ReceiveError::Truncated)?;
                while next.is_followed(inbox, (arrived.from, vxlan), &mut run) {
                    next.advance(inbox);
                }
                let got = run.finish();
                Received { len: VXLAN_HEADER + got.len, ..got }
            }
            // Too short: the engine names it.
            None => {
                let payload = payload.get_mut(..datagram.len()).ok_or(ReceiveError::Truncated)?;
                payload.copy_from_slice(datagram);
                Received::finished(datagram.len())
            }
        };
        let macs = (MacAddr::from_ipv4(outer.dst), MacAddr::from_ipv4(outer.src));
        headers.copy_from_slice(&outer.datagram_headers(macs, got.len));
        Ok(Received {
            len: DATAGRAM_HEADERS + got.len,
            offload: got.offload.wrapped(ENCAPSULATION as u16),
        })
    }
}

/// A datagram of what was read.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    buffer: usize,
    at: usize,
}

impl Place {
    fn datagram(self, inbox: &Inbox) -> Option<(Arrived, &[u8])> {
        let (arrived, bytes) = inbox.get(self.buffer)?;
        let end = arrived.len.min(self.at + arrived.size);
        Some((arrived, bytes.get(self.at..end)?))
    }

    fn advance(&mut self, inbox: &Inbox) {
        let Some((arrived, _)) = inbox.get(self.buffer) else { return };
        self.at += arrived.size;
        if self.at >= arrived.len {
            *self = Self { buffer: self.buffer + 1, at: 0 };
        }
    }

    /// True if the datagram at this place is of the same sender and network, and its frame was
    /// joined to those before.
    fn is_followed(self, inbox: &Inbox, (from, vxlan): (Sender, &[u8]), run: &mut Run) -> bool {
        let Some((arrived, datagram)) = self.datagram(inbox) else { return false };
        let Some((header, inner)) = datagram.split_at_checked(VXLAN_HEADER) else { return false };
        arrived.from == from && !arrived.is_truncated && header == vxlan && run.push(inner)
    }
}
