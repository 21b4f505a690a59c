//! The device of a tunnel's port, which has none, and what there is to know of the way to its peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use super::udp::Udp;
use crate::drop_reason::DropReason;
use crate::io::{Namespace, OpenError, PortIo, ReceiveError, netlink};
use crate::packet::Received;
use crate::packet::vxlan::TUNNEL_OVERHEAD;

/// The largest packet inside of a tunnel to a peer that no route leads to yet, in bytes: that of
/// Ethernet's usual MTU.
const USUAL_MTU: u16 = 1450;

/// Stands for a tunnel: its frames come and go by the underlay's port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunnelEnd;

impl PortIo for TunnelEnd {
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }

    fn max_frame(&self) -> usize {
        0
    }

    fn receive(&mut self, _room: &mut [u8]) -> Result<Received, ReceiveError> {
        Err(ReceiveError::Empty)
    }

    fn send(&mut self, _frame: &[u8]) -> Result<(), DropReason> {
        // The engine puts headers on and sends by the underlay.
        Err(DropReason::TxError)
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Box::new(*self))
    }
}

/// Looks how large packets may be on the way to a peer.
#[derive(Debug)]
pub(crate) struct PathProbe {
    socket: Udp,
    peer: Ipv4Addr,
    /// As it was told last: the largest packet inside, in bytes.
    told: u16,
}

impl PathProbe {
    /// Looks for the first time, in `namespace`; for a group, at the interface `device` if it is
    /// given.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if the peer is not one of IPv4, [`OpenError::NotFound`] if there is
    /// no such interface, or what the system refused.
    pub fn open(
        namespace: &Namespace,
        peer: IpAddr,
        device: Option<&str>,
    ) -> Result<Self, OpenError> {
        let IpAddr::V4(peer) = peer else {
            return Err(OpenError::Conflict {
                what: format!("VXLAN peer {peer} has an IPv6 address"),
                remedy: "name its IPv4 address".to_owned(),
            });
        };
        namespace.run(|| {
            let device = device.map(|device| netlink::link(device, &namespace.place()));
            let interface = device.transpose()?.map(|link| link.index);
            let open = || -> io::Result<Udp> {
                let socket = Udp::open()?;
                interface.map_or(Ok(()), |index| socket.set_multicast_interface(index))?;
                Ok(socket)
            };
            let failed = |error| OpenError::from_io(format!("a UDP socket for {peer}"), error);
            let socket = open().map_err(failed)?;
            let told = inner_mtu(&socket, peer).unwrap_or(USUAL_MTU);
            Ok(Self { socket, peer, told })
        })
    }

    /// The largest packet inside, in bytes, as it was told last.
    pub const fn mtu(&self) -> u16 {
        self.told
    }

    /// The same if it is another one now. Without a route it stays what it was.
    pub fn poll(&mut self) -> Option<u16> {
        let now = inner_mtu(&self.socket, self.peer).filter(|now| *now != self.told)?;
        self.told = now;
        Some(now)
    }
}

fn inner_mtu(socket: &Udp, peer: Ipv4Addr) -> Option<u16> {
    socket.path_mtu(peer).ok().map(|mtu| mtu.saturating_sub(TUNNEL_OVERHEAD))
}
