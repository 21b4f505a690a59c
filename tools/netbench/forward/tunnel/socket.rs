//! The underlay's socket: trains out, and what the kernel joined in, many by one system call.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use super::trains::{HEADER, MAX_TRAINS, Trains};
use crate::error::{Context, Result};
use crate::underlay::PORT;

/// Messages received by one system call.
const MESSAGES: usize = 4;
/// Room for each: the kernel joins as many bytes as an IP packet has.
const ROOM: usize = 64 * 1024;
/// The kernel's buffers each way, in bytes: a window of TCP, and the kernel's overhead.
const BUFFER: usize = 4 << 20;

/// One control message with one number: the length of a train's datagrams.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    /// The first bytes are the number: 2 when sent, 4 when received. Padding is the rest.
    value: [u8; 8],
}

impl Control {
    /// Room for one, in which nothing is said yet.
    const NONE: Self =
        Self { header: libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 }, value: [0; 8] };

    fn segment(size: usize) -> Self {
        let [low, high] = (size as u16).to_ne_bytes();
        let header = libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        };
        Self { header, value: [low, high, 0, 0, 0, 0, 0, 0] }
    }

    /// The length of what was joined, if something was.
    fn joined(&self) -> Option<usize> {
        let is_it = self.header.cmsg_level == libc::SOL_UDP
            && self.header.cmsg_type == libc::UDP_GRO
            && self.header.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<libc::c_int>();
        let [a, b, c, d, ..] = self.value;
        let size = usize::try_from(libc::c_int::from_ne_bytes([a, b, c, d])).ok();
        size.filter(|size| is_it && *size > 0)
    }
}

/// A socket connected to the other machine.
pub struct UnderlaySocket {
    socket: UdpSocket,
    /// What was received last, a message every [`ROOM`] bytes.
    arena: Box<[u8]>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    /// Point into the two and into bytes; made anew for each system call.
    headers: Vec<libc::mmsghdr>,
}

impl UnderlaySocket {
    /// From the VXLAN port of `local` to that of `remote`.
    pub fn connect(local: Ipv4Addr, remote: Ipv4Addr) -> Result<Self> {
        let [local, remote] = [local, remote].map(|address| SocketAddrV4::new(address, PORT));
        let socket = UdpSocket::bind(local).context(format!("{local}/udp"))?;
        socket.connect(remote).context(format!("connecting to {remote}/udp"))?;
        socket.set_nonblocking(true).context("the socket")?;
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            set_option(&socket, (libc::SOL_SOCKET, option), BUFFER as libc::c_int)
                .context("a socket's buffer (needs CAP_NET_ADMIN)")?;
        }
        set_option(&socket, (libc::SOL_UDP, libc::UDP_GRO), 1).context("UDP_GRO")?;
        Ok(Self {
            socket,
            arena: vec![0; MESSAGES * ROOM].into_boxed_slice(),
            controls: Vec::with_capacity(MAX_TRAINS),
            iovecs: Vec::with_capacity(MAX_TRAINS),
            headers: Vec::with_capacity(MAX_TRAINS),
        })
    }

    /// What becomes readable.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends all trains, and forgets them. One that the kernel does not take is lost.
    pub fn send(&mut self, trains: &mut Trains) {
        self.controls.clear();
        self.iovecs.clear();
        for train in trains.list() {
            let bytes = trains.bytes(*train);
            self.controls.push(Control::segment(train.size));
            // Sending does not write what it is given to read.
            let iov_base = bytes.as_ptr().cast_mut().cast();
            self.iovecs.push(libc::iovec { iov_base, iov_len: bytes.len() });
        }
        self.point();
        let mut left = self.headers.as_mut_slice();
        while !left.is_empty() {
            // SAFETY: each message points to its iovec and its control message, which are not
            // touched meanwhile, and the iovec into the trains, which are borrowed.
            let sent = unsafe {
                libc::sendmmsg(self.socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0)
            };
            // Nothing sent: the first was refused.
            let done = usize::try_from(sent).unwrap_or(0).clamp(1, left.len());
            left = &mut left[done..];
        }
        trains.clear();
    }

    /// Receives what there is, up to [`MESSAGES`] messages, and puts into `frames` where each
    /// frame is. False if there is no more.
    ///
    /// # Errors
    /// If the socket fails; not if the other machine does not listen yet.
    pub fn receive(&mut self, frames: &mut Vec<Range<usize>>) -> io::Result<bool> {
        frames.clear();
        self.controls.clear();
        self.iovecs.clear();
        for room in self.arena.chunks_exact_mut(ROOM) {
            self.controls.push(Control::NONE);
            self.iovecs.push(libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: ROOM });
        }
        self.point();
        let (fd, headers) = (self.socket.as_raw_fd(), self.headers.as_mut_ptr());
        let (count, flags) = (self.headers.len() as u32, libc::MSG_DONTWAIT);
        // SAFETY: each message points to its iovec and its control message, which are not touched
        // meanwhile, and the iovecs to rooms of the arena that do not overlap.
        let received = unsafe { libc::recvmmsg(fd, headers, count, flags, ptr::null_mut()) };
        let Ok(received) = usize::try_from(received) else {
            return match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                error if is_passing(&error) => Ok(true),
                error => Err(error),
            };
        };
        for (at, (header, control)) in
            self.headers.iter().zip(&self.controls).take(received).enumerate()
        {
            let len = header.msg_len as usize;
            let has_control = header.msg_hdr.msg_controllen >= size_of::<libc::cmsghdr>();
            let size = control.joined().filter(|_| has_control).unwrap_or(len);
            self.find_frames(at * ROOM..at * ROOM + len, size, frames);
        }
        Ok(received == MESSAGES)
    }

    /// Takes a message apart; a datagram that is not of the network is passed over.
    fn find_frames(&self, message: Range<usize>, size: usize, frames: &mut Vec<Range<usize>>) {
        let end = message.end;
        for at in message.step_by(size.max(1)) {
            let datagram = at..(at + size).min(end);
            if self.bytes(datagram.clone()).starts_with(&HEADER) {
                frames.push(at + HEADER.len()..datagram.end);
            }
        }
    }

    /// Bytes of what was received last.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.arena.get(range).unwrap_or_default()
    }

    /// Makes a message of each iovec and its control message.
    fn point(&mut self) {
        self.headers.clear();
        for (iovec, control) in self.iovecs.iter_mut().zip(&mut self.controls) {
            // SAFETY: all zeros are a valid `msghdr`: null pointers and lengths of zero.
            let mut msg_hdr: libc::msghdr = unsafe { std::mem::zeroed() };
            msg_hdr.msg_iov = iovec;
            msg_hdr.msg_iovlen = 1;
            msg_hdr.msg_control = ptr::from_mut(control).cast();
            msg_hdr.msg_controllen = size_of::<Control>();
            self.headers.push(libc::mmsghdr { msg_hdr, msg_len: 0 });
        }
    }
}

/// Sets a socket option that is a number.
fn set_option(
    socket: &UdpSocket,
    (level, name): (libc::c_int, libc::c_int),
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value lives until the call returns, and `len` is its length.
    let set = unsafe {
        let value = ptr::from_ref(&value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, name, value, len)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// True if the socket only has to be tried again: what an ICMP error left, or a signal.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | Interrupted | NetworkUnreachable)
}
