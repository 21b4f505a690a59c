//! The system calls of a UDP socket that no library wraps (udp(7), ip(7), socket(7)).

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_void, socklen_t};

/// The place of the count of lost datagrams in what `SO_MEMINFO` tells (linux/sock_diag.h).
const MEMINFO_DROPS: usize = 8;
const MEMINFO_VARS: usize = 9;

/// Where a filter of the kernel's finds the IP header (linux/filter.h, `SKF_NET_OFF`).
const IP_HEADER: u32 = -0x10_0000_i32 as u32;
/// First byte of the lowest multicast address.
const FIRST_GROUP: u32 = 224;

/// A non-blocking UDP socket over IPv4, in the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Udp(OwnedFd);

impl Udp {
    /// Opens a socket that is bound to nothing yet.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers; the result is checked.
        let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
        // SAFETY: `fd` was opened just now and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Binds it.
    pub fn bind(&self, address: SocketAddrV4) -> io::Result<()> {
        let name = sockaddr(address);
        // SAFETY: the address is a whole `sockaddr_in` that lives through the call.
        check(unsafe {
            let length = size_of::<libc::sockaddr_in>() as socklen_t;
            libc::bind(self.as_raw_fd(), (&raw const name).cast(), length)
        })
        .map(|_| ())
    }

    /// Sets an option that is a number.
    pub fn set(&self, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
        self.set_to(level, option, &value)
    }

    /// Sets an option; `value` must be what it takes.
    fn set_to<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        // SAFETY: the kernel reads the bytes of `value`, which lives through the call; what it
        // points to, if anything, does so too.
        check(unsafe {
            let length = size_of::<T>() as socklen_t;
            let value = std::ptr::from_ref(value).cast::<c_void>();
            libc::setsockopt(self.as_raw_fd(), level, option, value, length)
        })
        .map(|_| ())
    }

    /// Sets a buffer, beyond the system's limit if that is permitted.
    pub fn set_buffer(&self, (force, option): (c_int, c_int), bytes: usize) -> io::Result<()> {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        self.set(libc::SOL_SOCKET, force, bytes)
            .or_else(|_| self.set(libc::SOL_SOCKET, option, bytes))
    }

    /// Hears a group at an interface, or at that of the route to it if `interface` is 0.
    pub fn join(&self, group: Ipv4Addr, interface: u32) -> io::Result<()> {
        self.set_to(libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &request(group, interface)?)
    }

    /// Sends to groups by an interface.
    pub fn set_multicast_interface(&self, interface: u32) -> io::Result<()> {
        let request = request(Ipv4Addr::UNSPECIFIED, interface)?;
        self.set_to(libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
    }

    /// Receives nothing any more.
    pub fn refuse_all(&self) -> io::Result<()> {
        self.attach(libc::SO_ATTACH_FILTER, &mut [statement(libc::BPF_RET | libc::BPF_K, 0)])
    }

    /// Among so many sockets bound like this one, in the order of their binding, chooses the same
    /// for all datagrams of a source port, and the first for what is for a group: the kernel's own
    /// choice may give that to one that is no member.
    pub fn steer(&self, sockets: u8) -> io::Result<()> {
        let load = |size, at| statement(libc::BPF_LD | size | libc::BPF_ABS, IP_HEADER + at);
        let compute = |what, by| statement(libc::BPF_ALU | what, by);
        let is_group = libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, FIRST_GROUP)
        };
        self.attach(
            libc::SO_ATTACH_REUSEPORT_CBPF,
            &mut [
                load(libc::BPF_B, 16),
                is_group,
                statement(libc::BPF_RET | libc::BPF_K, 0),
                load(libc::BPF_H, 20),
                // tapway's own source ports are a thousand apart, others are next to each other.
                statement(libc::BPF_MISC | libc::BPF_TAX, 0),
                compute(libc::BPF_RSH | libc::BPF_K, 10),
                compute(libc::BPF_ADD | libc::BPF_X, 0),
                compute(libc::BPF_MOD | libc::BPF_K, u32::from(sockets.max(1))),
                statement(libc::BPF_RET | libc::BPF_A, 0),
            ],
        )
    }

    fn attach(&self, option: c_int, program: &mut [libc::sock_filter]) -> io::Result<()> {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        self.set_to(libc::SOL_SOCKET, option, &filter)
    }

    /// Datagrams that were for it and were lost, since it was opened. It counts around.
    pub fn drops(&self) -> io::Result<u32> {
        let mut info = [0_u32; MEMINFO_VARS];
        let mut length = size_of_val(&info) as socklen_t;
        // SAFETY: the kernel writes at most `length` bytes of the array.
        check(unsafe {
            let info = info.as_mut_ptr().cast::<c_void>();
            let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
            libc::getsockopt(self.as_raw_fd(), level, name, info, &raw mut length)
        })?;
        Ok(info.get(MEMINFO_DROPS).copied().unwrap_or_default())
    }

    /// The largest packet that the way to `peer` takes now, in bytes, as the kernel knows. Not for
    /// sockets that send.
    pub fn path_mtu(&self, peer: Ipv4Addr) -> io::Result<u16> {
        // Connected anew, so that the route is looked up anew; no port is written to.
        let mut name = sockaddr(SocketAddrV4::new(peer, 9));
        self.connect(&name)?;
        let mut mtu: c_int = 0;
        let mut length = size_of::<c_int>() as socklen_t;
        // SAFETY: the kernel writes at most `length` bytes of the number.
        let known = check(unsafe {
            let mtu = (&raw mut mtu).cast::<c_void>();
            libc::getsockopt(self.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU, mtu, &raw mut length)
        });
        name.sin_family = libc::AF_UNSPEC as u16;
        let _ = self.connect(&name);
        known?;
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    fn connect(&self, name: &libc::sockaddr_in) -> io::Result<()> {
        // SAFETY: the address is a whole `sockaddr_in` that lives through the call.
        check(unsafe {
            let length = size_of::<libc::sockaddr_in>() as socklen_t;
            libc::connect(self.as_raw_fd(), std::ptr::from_ref(name).cast(), length)
        })
        .map(|_| ())
    }
}

impl AsRawFd for Udp {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// An address as the kernel takes it.
pub(super) const fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

const fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

fn request(group: Ipv4Addr, interface: u32) -> io::Result<libc::ip_mreqn> {
    Ok(libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: u32::from_ne_bytes(group.octets()) },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
    })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
