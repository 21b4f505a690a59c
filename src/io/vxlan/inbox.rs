//! Many datagrams of a socket by one system call (recvmmsg(2)), with what the kernel says of each.

use std::fmt;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use super::udp::Udp;

/// Most datagrams, or bursts of them, read at once.
pub(super) const MAX_MESSAGES: usize = 32;
/// The largest datagram, or burst of datagrams that the kernel joined, in bytes.
const MAX_BYTES: usize = 65_536;
/// From one buffer to the next: not a power of two, so that the beginnings of many short datagrams
/// do not push each other out of the cache.
const STRIDE: usize = MAX_BYTES + 320;
/// Bytes read at once, above which fewer buffers are used next: what was read stays in the cache
/// until it is taken. Else as many as may be needed if twice as much comes.
const MANY_BYTES: usize = 128 * 1024;
/// Fewest buffers used.
const MIN_BATCH: usize = 2;

/// Room for the control messages of one datagram: service, segment size and destination.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 96]);

/// Buffers, and what was read into them last.
pub(super) struct Inbox {
    memory: Vec<u8>,
    controls: Vec<Control>,
    names: Vec<libc::sockaddr_in>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    arrived: Vec<Arrived>,
    batch: usize,
}

// SAFETY: the pointers in `parts` and `headers` are set by each call before they are used, and
// point into memory that the same value owns.
unsafe impl Send for Inbox {}

/// A datagram, or several of one size that the kernel joined; the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Bytes of all together.
    pub len: usize,
    /// Bytes of each, at least one.
    pub size: usize,
    /// Whose they are.
    pub from: Sender,
    /// They did not fit.
    pub is_truncated: bool,
}

/// What all datagrams of one have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub src: Ipv4Addr,
    pub sport: u16,
    /// Where it was sent, if the socket was asked to tell.
    pub dst: Option<Ipv4Addr>,
    /// DSCP and ECN.
    pub tos: u8,
}

impl Inbox {
    pub fn new() -> Self {
        // SAFETY: all zero is a valid `sockaddr_in`, `iovec` and `mmsghdr`: null pointers with zero
        // lengths.
        let (name, part, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            memory: vec![0; MAX_MESSAGES * STRIDE],
            controls: vec![Control([0; 96]); MAX_MESSAGES],
            names: vec![name; MAX_MESSAGES],
            parts: vec![part; MAX_MESSAGES],
            headers: vec![header; MAX_MESSAGES],
            arrived: Vec::with_capacity(MAX_MESSAGES),
            batch: MAX_MESSAGES,
        }
    }

    /// Reads what is there, in place of what was read before. True if there may be more.
    ///
    /// # Errors
    /// As recvmmsg(2); `EAGAIN` if there is nothing.
    pub fn fill(&mut self, socket: &Udp) -> io::Result<bool> {
        self.arrived.clear();
        self.point();
        let most = self.batch;
        // SAFETY: the first `most` headers, of at least as many, point to buffers of the lengths
        // beside them, set just now; they live in `self`.
        let count = unsafe {
            let headers = self.headers.as_mut_ptr();
            libc::recvmmsg(socket.as_raw_fd(), headers, most as u32, 0, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (header, name) in self.headers.iter().zip(&self.names).take(count) {
            self.arrived.push(arrived(header, name));
        }
        let bytes: usize = self.arrived.iter().map(|arrived| arrived.len).sum();
        self.batch = match bytes > MANY_BYTES {
            true => (most / 2).max(MIN_BATCH),
            false => (count * 2).clamp(MIN_BATCH, MAX_MESSAGES),
        };
        Ok(count == most)
    }

    /// What was read with this number.
    pub fn get(&self, index: usize) -> Option<(Arrived, &[u8])> {
        let arrived = *self.arrived.get(index)?;
        let start = index * STRIDE;
        Some((arrived, self.memory.get(start..start + arrived.len)?))
    }

    fn point(&mut self) {
        let buffers = self.memory.chunks_exact_mut(STRIDE).zip(&mut self.controls);
        let places = self.names.iter_mut().zip(&mut self.parts).zip(&mut self.headers);
        for ((buffer, control), ((name, part), header)) in buffers.zip(places).take(self.batch) {
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = MAX_BYTES;
            let message = &mut header.msg_hdr;
            message.msg_name = std::ptr::from_mut(name).cast();
            message.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
            message.msg_iov = part;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = mem::size_of::<Control>();
            message.msg_flags = 0;
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Inbox").field("arrived", &self.arrived).finish_non_exhaustive()
    }
}

fn arrived(header: &libc::mmsghdr, name: &libc::sockaddr_in) -> Arrived {
    let len = header.msg_len as usize;
    let src = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
    let from = Sender { src, sport: u16::from_be(name.sin_port), dst: None, tos: 0 };
    let is_truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    let mut arrived = Arrived { len, size: len.max(1), from, is_truncated };
    let message = &header.msg_hdr;
    // SAFETY: the kernel wrote the control messages into the buffer that the header points to, and
    // their length into the header.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it is null or one of those messages.
    while let Some(control) = unsafe { next.as_ref() } {
        // SAFETY: the data of a message of such a level and type is at least what is read here, at
        // any alignment.
        unsafe {
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TOS) => arrived.from.tos = data.read(),
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    arrived.from.dst = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<libc::c_int>().read_unaligned();
                    arrived.size = usize::try_from(size).unwrap_or(len).max(1);
                }
                _ => {}
            }
        }
        // SAFETY: `next` is one of the messages that `message` holds.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    arrived
}
