//! The sockets that a VTEP sends by.
//!
//! A frame's source port is that of its inner flow's hash; here it chooses one of [`SLOTS`] bound
//! ports, always the same one. A port has two sockets, as a datagram of VXLAN goes without a UDP
//! checksum (RFC 7348 5), and several that the kernel cuts apart must have one.
//!
//! All workers share one pool: a flow keeps its port whichever worker sends, and a send takes no
//! lock that another would wait for. Sockets have no error queue, on purpose: an ICMP error about
//! one peer would be told to the next send, to whomever that goes, and lose its datagram. The kernel
//! follows path MTUs all the same, and says so at the next datagram that is too large.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::udp::Udp;

/// Source ports: what a switch or a NIC on the way has to tell flows apart by.
pub(super) const SLOTS: usize = 16;
/// The first source port (RFC 7348 5); as many as there are behind it up to 65535 are tried.
const FIRST_PORT: u16 = 49_152;
/// Ports from one slot's first choice to the next's.
const PORTS_PER_SLOT: u16 = (u16::MAX - FIRST_PORT) / SLOTS as u16 + 1;
/// Send buffer of a socket, in bytes: a burst of full size on its way at each speed.
const SEND_BUFFER: usize = 4 << 20;
/// How far multicast goes: as far as unicast.
const MULTICAST_TTL: i32 = 64;

#[derive(Debug)]
struct Slot {
    plain: Udp,
    cutting: Udp,
}

/// The sockets of a VTEP that send.
#[derive(Debug)]
pub(super) struct Pool {
    slots: Vec<Slot>,
    /// Never sends.
    probe: Mutex<Udp>,
    /// The kernel cuts nothing apart at this interface.
    cuts_nothing: AtomicBool,
}

impl Pool {
    /// Opens the sockets in the calling thread's namespace, to send from `address` and to groups
    /// by `interface`; none: the kernel chooses.
    pub fn open(address: Ipv4Addr, interface: Option<u32>) -> io::Result<Self> {
        let slots = (0..SLOTS as u16).map(|slot| {
            let first = FIRST_PORT + slot * PORTS_PER_SLOT;
            Slot::open(address, first, interface)
        });
        let probe = Udp::open()?;
        if !address.is_unspecified() {
            probe.bind(SocketAddrV4::new(address, 0))?;
        }
        if let Some(interface) = interface {
            probe.set_multicast_interface(interface)?;
        }
        Ok(Self {
            slots: slots.collect::<io::Result<_>>()?,
            probe: Mutex::new(probe),
            cuts_nothing: AtomicBool::new(false),
        })
    }

    /// Which port a frame leaves by.
    pub fn slot_of(&self, sport: u16) -> usize {
        usize::from(sport) % SLOTS
    }

    /// The socket of a slot for single datagrams, or for those that are to be cut apart.
    pub fn socket(&self, slot: usize, is_cutting: bool) -> Option<&Udp> {
        let slot = self.slots.get(slot)?;
        Some(if is_cutting { &slot.cutting } else { &slot.plain })
    }

    /// The largest packet that the way to a peer takes now, in bytes.
    pub fn path_mtu(&self, peer: Ipv4Addr) -> io::Result<u16> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).path_mtu(peer)
    }

    /// True if the kernel cuts datagrams apart.
    pub fn cuts(&self) -> bool {
        !self.cuts_nothing.load(Ordering::Relaxed)
    }

    /// The kernel does not: an interface without checksum offload, before Linux 6.11.
    pub fn cuts_no_more(&self) {
        self.cuts_nothing.store(true, Ordering::Relaxed);
    }
}

impl Slot {
    /// The first port from `first` on that nobody else has.
    fn open(address: Ipv4Addr, first: u16, interface: Option<u32>) -> io::Result<Self> {
        let mut error = io::Error::from(io::ErrorKind::AddrInUse);
        for port in first..=first + (PORTS_PER_SLOT - 1) {
            match Self::at(SocketAddrV4::new(address, port), interface) {
                Err(in_use) if in_use.kind() == io::ErrorKind::AddrInUse => error = in_use,
                other => return other,
            }
        }
        Err(error)
    }

    fn at(address: SocketAddrV4, interface: Option<u32>) -> io::Result<Self> {
        let plain = Udp::open()?;
        // Bound alone first: no other program's socket has the port.
        plain.bind(address)?;
        let cutting = Udp::open()?;
        for socket in [&plain, &cutting] {
            socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            socket.refuse_all()?;
            socket.set_buffer((libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), SEND_BUFFER)?;
            socket.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
            socket.set(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, 0)?;
            socket.set(libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, MULTICAST_TTL)?;
            if let Some(interface) = interface {
                socket.set_multicast_interface(interface)?;
            }
        }
        plain.set(libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)?;
        cutting.bind(address)?;
        Ok(Self { plain, cutting })
    }
}
