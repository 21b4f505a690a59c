//! A port of this host that is bound: nobody else gets it, and who reaches the host by it can be
//! served.
//!
//! Bound is not yet open: until [`HostSocket::listen`] a TCP port refuses, as if nobody had it.
//! Of a datagram to a port on all addresses it is known which one it came to, so that the answer
//! leaves from there.

use std::io;
use std::mem::{self, size_of};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use libc::{c_int, c_void};
use rustix::net::sockopt::{set_socket_keepalive, set_socket_linger, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::OpenError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound port, by TCP or UDP.
#[derive(Debug)]
pub struct HostSocket(OwnedFd);

impl HostSocket {
    /// Binds a port in the calling thread's namespace; the unspecified address stands for all.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if somebody has the port, [`OpenError::NotFound`] if the address
    /// is none of this host.
    pub fn bind(is_tcp: bool, at: SocketAddrV4) -> Result<Self, OpenError> {
        match Self::try_bind(is_tcp, at, false) {
            // Only a server that is waiting has it for good; connections that have ended rest.
            Err(error) if is_tcp && error.kind() == io::ErrorKind::AddrInUse => {
                Self::try_bind(is_tcp, at, true)
            }
            other => other,
        }
        .map_err(|error| explain(is_tcp, at, error))
    }

    fn try_bind(is_tcp: bool, at: SocketAddrV4, beside_resting: bool) -> io::Result<Self> {
        let kind = if is_tcp { SocketType::STREAM } else { SocketType::DGRAM };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
        if beside_resting {
            set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &SocketAddr::V4(at))?;
        if !is_tcp {
            let on: c_int = 1;
            // SAFETY: the kernel reads one `int`, which lives through the call.
            check(unsafe {
                let value = (&raw const on).cast::<c_void>();
                let (level, option) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                let length = size_of::<c_int>() as libc::socklen_t;
                libc::setsockopt(socket.as_raw_fd(), level, option, value, length)
            })?;
        }
        Ok(Self(socket))
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// What the system said.
    pub fn listen(&self) -> io::Result<()> {
        // Or what is left of its connections would keep the next start from the port.
        set_socket_reuseaddr(&self.0, true)?;
        Ok(listen(&self.0, BACKLOG)?)
    }

    /// Another handle.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Has it waited for by the runtime of the calling task.
    ///
    /// # Errors
    /// If the runtime cannot.
    pub fn register(self) -> io::Result<AsyncFd<Self>> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: the descriptor is owned, and the same and open for as long as `self` lives.
        unsafe { AsyncFd::register_with_interest(self, interest) }.map_err(io::Error::from)
    }

    /// Receives a datagram: its length, its sender, and the address of this host it came to.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` if there is none now.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddrV4, Ipv4Addr)> {
        let mut from = no_address();
        let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        let mut control = [0_u64; 8];
        let mut message = message(&mut from, &mut part);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer of the message is to a buffer of the length beside it.
        let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        let to = destination(&message).ok_or(io::ErrorKind::InvalidData)?;
        let from_ip = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
        Ok((len, SocketAddrV4::new(from_ip, u16::from_be(from.sin_port)), to))
    }

    /// Sends a datagram that comes from one of this host's addresses.
    ///
    /// # Errors
    /// What the system said.
    pub fn send(&self, datagram: &[u8], from: Ipv4Addr, to: SocketAddrV4) -> io::Result<()> {
        let mut address = no_address();
        address.sin_port = to.port().to_be();
        address.sin_addr.s_addr = to.ip().to_bits().to_be();
        // The kernel only reads it.
        let mut part =
            libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
        let mut control = [0_u64; 8];
        let mut message = message(&mut address, &mut part);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: from.to_bits().to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let size = size_of::<libc::in_pktinfo>() as u32;
        // SAFETY: the control buffer is aligned and has room for one such message.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::IPPROTO_IP;
            (*header).cmsg_type = libc::IP_PKTINFO;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().write_unaligned(info);
            message.msg_controllen = libc::CMSG_SPACE(size) as usize;
        }
        // SAFETY: every pointer of the message is to a buffer of the length beside it.
        let sent = unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl From<HostSocket> for OwnedFd {
    fn from(socket: HostSocket) -> Self {
        socket.0
    }
}

impl AsRawFd for HostSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for HostSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Has the kernel find out whether the far end of a connection is still there.
///
/// # Errors
/// What the system said.
pub fn keep_alive(connection: impl AsFd) -> io::Result<()> {
    Ok(set_socket_keepalive(connection, true)?)
}

/// Has a connection end by a reset when it is closed: its far end must not take what it got for
/// all there was.
///
/// # Errors
/// What the system said.
pub fn reset_at_close(connection: impl AsFd) -> io::Result<()> {
    Ok(set_socket_linger(connection, Some(std::time::Duration::ZERO))?)
}

fn explain(is_tcp: bool, at: SocketAddrV4, error: io::Error) -> OpenError {
    let (port, protocol) = (at.port(), if is_tcp { "tcp" } else { "udp" });
    let what = match at.ip().is_unspecified() {
        true => format!("port {port}/{protocol} of this host"),
        false => format!("port {port}/{protocol} of this host's {}", at.ip()),
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => OpenError::Conflict {
            what: format!("{what} is in use"),
            remedy: format!(
                "publish another external port, or stop who has it: \
                 `ss -{}anp 'sport = :{port}'`",
                if is_tcp { "t" } else { "u" }
            ),
        },
        io::ErrorKind::AddrNotAvailable => OpenError::NotFound {
            what,
            remedy: ": it has no such address; `ip -br address` lists those there are".to_owned(),
        },
        _ => OpenError::from_io(what, error),
    }
}

/// The address that a datagram came to.
fn destination(message: &libc::msghdr) -> Option<Ipv4Addr> {
    // SAFETY: the kernel wrote the control messages into the buffer that the header points to.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::IPPROTO_IP, libc::IP_PKTINFO) {
        return None;
    }
    // SAFETY: the data of such a message is one `in_pktinfo`, at any alignment.
    let info = unsafe { libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().read_unaligned() };
    Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
}

fn message(address: &mut libc::sockaddr_in, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zero is a valid `msghdr`: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = std::ptr::from_mut(address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

const fn no_address() -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: 0 },
        sin_zero: [0; 8],
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::Duration;

    use super::*;

    fn any(address: Ipv4Addr) -> SocketAddrV4 {
        // Out of the range that others' connections get their ports from.
        let port = 20_000 + (std::process::id() % 10_000) as u16;
        SocketAddrV4::new(address, port)
    }

    #[test]
    fn a_port_that_somebody_has_is_refused_and_one_that_is_bound_is_nobody_elses() {
        let at = any(Ipv4Addr::LOCALHOST);
        let other = TcpListener::bind(at).unwrap();
        let refusal = HostSocket::bind(true, at).unwrap_err();
        assert!(matches!(refusal, OpenError::Conflict { .. }), "{refusal}");
        assert!(refusal.to_string().contains("is in use"), "{refusal}");
        drop(other);
        let bound = HostSocket::bind(true, at).unwrap();
        assert!(TcpStream::connect(at).is_err(), "bound is not open");
        assert!(TcpListener::bind(at).is_err());
        bound.listen().unwrap();
        assert!(TcpStream::connect(at).is_ok());
        let foreign = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9);
        let refusal = HostSocket::bind(false, foreign).unwrap_err();
        assert!(matches!(refusal, OpenError::NotFound { .. }), "{refusal}");
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        let at = any(Ipv4Addr::UNSPECIFIED);
        let server = HostSocket::bind(false, at).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for asked in [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 9, 9, 9)] {
            client.send_to(b"ask", SocketAddrV4::new(asked, at.port())).unwrap();
            let mut room = [0; 16];
            let (len, from, to) = loop {
                match server.receive(&mut room) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    got => break got.unwrap(),
                }
            };
            assert_eq!((&room[..len], to), (&b"ask"[..], asked));
            server.send(b"answer", to, from).unwrap();
            let (_, from) = client.recv_from(&mut room).unwrap();
            assert_eq!(from, SocketAddr::from((asked, at.port())));
        }
    }
}
