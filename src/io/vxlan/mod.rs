//! A VTEP's UDP sockets: the device of the underlay's port.
//!
//! Outer frames go through whole, super-frames among them; the headers before the VXLAN header are
//! the kernel's on the wire, and are made up here for the engine. Each worker receives by a socket
//! of its own at the same port, steered to by source port; multicast only comes to the first. All send by one pool of sockets with source ports of their own.
//!
//! Bounds: those of the receive buffer ([`DropReason::RingOverrun`]). A socket with groups hears at
//! every address of its namespace, as the kernel's own VXLAN does; whose frames are taken is the
//! engine's to say. Deliberately without IPv6 underlay.
//!
//! Read first: RFC 7348 5, udp(7), Linux' networking/segmentation-offloads.rst.

mod cutting;
mod holder;
mod inbox;
mod item;
mod outbox;
mod pool;
mod receiving;
mod sending;
mod tunnel;
mod udp;
mod underlays;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::tap::MAX_SUPER_FRAME;
use super::{Loss, Namespace, OpenError, PortIo, ReceiveError, Refusal, VxlanPlan, netlink};
use crate::drop_reason::DropReason;
use crate::packet::vxlan::ENCAPSULATION;
use crate::packet::{FrameView, Received};
use pool::Pool;
use receiving::Receiving;
use sending::Sending;
use udp::Udp;

pub(super) use underlays::Underlays;

/// The sockets of a VTEP, or those of one worker.
#[derive(Debug)]
pub struct VxlanSockets {
    /// None: another handle receives.
    receiving: Option<Receiving>,
    sending: Sending,
    /// Further queues, until they are taken.
    queues: Vec<Receiving>,
}

impl VxlanSockets {
    /// Opens the plan's sockets in `namespace`.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if the port is somebody else's or the address is not of this
    /// namespace, [`OpenError::NotFound`] if there is no such interface, or what the system refused.
    pub fn open(namespace: &Namespace, plan: &VxlanPlan) -> Result<Self, OpenError> {
        namespace.run(|| {
            let place = namespace.place();
            let device = plan.device.as_deref().map(|device| netlink::link(device, &place));
            let interface = device.transpose()?.map(|link| link.index);
            let queues = (0..plan.queues.max(1)).map(|queue| {
                let groups = if queue == 0 { plan.groups.as_slice() } else { &[] };
                receiving(plan, queue, (groups, interface))
            });
            let queues: io::Result<Vec<Receiving>> = queues.collect();
            let mut queues = queues.map_err(|error| explain(error, plan, &place))?;
            let pool = Pool::open(plan.address, interface).map_err(|error| {
                OpenError::from_io(format!("UDP sockets of VXLAN in {place}"), error)
            })?;
            let receiving = (!queues.is_empty()).then(|| queues.remove(0));
            Ok(Self { receiving, sending: Sending::new(Arc::new(pool)), queues })
        })
    }
}

impl PortIo for VxlanSockets {
    fn raw_fd(&self) -> Option<RawFd> {
        self.receiving.as_ref().map(Receiving::raw_fd)
    }

    fn max_frame(&self) -> usize {
        ENCAPSULATION + MAX_SUPER_FRAME
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        self.receiving.as_mut().map_or(Err(ReceiveError::Empty), |socket| socket.receive(room))
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), DropReason> {
        let mut refusals = Vec::new();
        self.send_list(&mut std::iter::once(FrameView::finished(frame)), &mut refusals);
        refusals.first().map_or(Ok(()), |refusal| Err(refusal.reason()))
    }

    fn send_list<'a>(
        &mut self,
        frames: &mut dyn Iterator<Item = FrameView<'a>>,
        refusals: &mut Vec<Refusal>,
    ) {
        self.sending.send(frames, refusals);
    }

    fn take_queues(&mut self) -> Vec<Box<dyn PortIo>> {
        let queues = std::mem::take(&mut self.queues).into_iter();
        let device = |receiving| Self {
            receiving: Some(receiving),
            sending: self.sending.sharing(),
            queues: Vec::new(),
        };
        queues.map(|receiving| Box::new(device(receiving)) as Box<dyn PortIo>).collect()
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        let sending = self.sending.sharing();
        Ok(Box::new(Self { receiving: None, sending, queues: Vec::new() }))
    }

    fn poll_losses(&mut self) -> Vec<Loss> {
        match self.receiving.as_mut().map_or(0, Receiving::losses) {
            0 => Vec::new(),
            frames => vec![Loss { reason: DropReason::RingOverrun, frames }],
        }
    }
}

/// Opens one of the sockets that receive.
fn receiving(
    plan: &VxlanPlan,
    queue: u8,
    (groups, interface): (&[Ipv4Addr], Option<u32>),
) -> io::Result<Receiving> {
    let socket = Udp::open()?;
    // A socket at one address does not hear groups.
    let own = if plan.groups.is_empty() { plan.address } else { Ipv4Addr::UNSPECIFIED };
    if queue > 0 {
        socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    socket.set(libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0)?;
    socket.set(libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
    socket.set(libc::SOL_UDP, libc::UDP_GRO, 1)?;
    if own.is_unspecified() {
        socket.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    }
    socket.set_buffer((libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), plan.receive_buffer)?;
    socket.bind(SocketAddrV4::new(own, plan.port))?;
    // The first is bound alone: nobody else has the port. The others join it.
    if queue == 0 && plan.queues > 1 {
        socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if queue > 0 && queue + 1 == plan.queues {
        socket.steer(plan.queues)?;
    }
    for group in groups {
        socket.join(*group, interface.unwrap_or(0))?;
    }
    Ok(Receiving::new(socket, own, plan.port))
}

/// Why there are no sockets.
fn explain(error: io::Error, plan: &VxlanPlan, place: &str) -> OpenError {
    let VxlanPlan { address, port, .. } = plan;
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::Conflict {
            what: format!("UDP port {port} in {place} is in use by {}", holder::of(*port)),
            remedy: "stop it, or choose another `port` for VXLAN at all hosts".to_owned(),
        },
        Some(libc::EADDRNOTAVAIL) => OpenError::Conflict {
            what: format!("{address} is no address of {place}"),
            remedy: "give it to an interface there, or choose another `address` for VXLAN"
                .to_owned(),
        },
        Some(libc::ENODEV) => OpenError::Conflict {
            what: format!("no route in {place} to the multicast groups of VXLAN"),
            remedy: "name the `device` that they are at".to_owned(),
        },
        _ => OpenError::from_io(format!("a UDP socket at {address}:{port} in {place}"), error),
    }
}
