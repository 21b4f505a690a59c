//! Many datagrams by one system call (sendmmsg(2)), each to its own address.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddrV4;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::udp::{Udp, sockaddr};

/// Most messages sent at once.
pub(super) const MAX_MESSAGES: usize = 64;

/// Room for the control messages of one: service and segment size.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 48]);

/// A datagram, or several that the kernel cuts apart.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Where it goes.
    pub to: SocketAddrV4,
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of each datagram but the last; none: it is one.
    pub size: Option<u16>,
    /// Its payload: which of the parts given with it.
    pub parts: Range<usize>,
}

/// The memory of such calls.
pub(super) struct Outbox {
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in `headers` are set by each call before they are used, and not used after
// it.
unsafe impl Send for Outbox {}

impl Outbox {
    pub fn new() -> Self {
        // SAFETY: all zero is a valid `sockaddr_in` and `mmsghdr`: null pointers with zero lengths.
        let (name, header) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Self {
            names: vec![name; MAX_MESSAGES],
            controls: vec![Control([0; 48]); MAX_MESSAGES],
            headers: vec![header; MAX_MESSAGES],
        }
    }

    /// Sends messages in their order, at most [`MAX_MESSAGES`]; gives how many were sent: at least
    /// one.
    ///
    /// # Errors
    /// Why the first of them was not.
    pub fn send(
        &mut self,
        socket: &Udp,
        messages: &[Message],
        parts: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let places = self.names.iter_mut().zip(&mut self.controls).zip(&mut self.headers);
        let mut count = 0;
        for (message, ((name, control), header)) in messages.iter().zip(places) {
            *name = sockaddr(message.to);
            let header = &mut header.msg_hdr;
            header.msg_name = std::ptr::from_mut(name).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
            let parts = parts.get(message.parts.clone()).unwrap_or_default();
            // An `IoSlice` is an `iovec` in memory, as its documentation promises; the kernel
            // does not write to it.
            header.msg_iov = parts.as_ptr().cast_mut().cast();
            header.msg_iovlen = parts.len();
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = mem::size_of::<Control>();
            header.msg_flags = 0;
            let len = put_controls(header, message);
            header.msg_controllen = len;
            if len == 0 {
                header.msg_control = std::ptr::null_mut();
            }
            count += 1;
        }
        // SAFETY: the first `count` headers point to buffers of the lengths beside them, set just
        // now; they live through the call.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Outbox")
    }
}

/// Writes the control messages of one, whose header has the room for them; gives their length.
fn put_controls(header: &libc::msghdr, message: &Message) -> usize {
    let tos = (message.tos != 0).then_some(i32::from(message.tos));
    let mut used = 0;
    // SAFETY: the header's control buffer has room for both messages: 24 bytes each.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        if let Some(tos) = tos.filter(|_| !next.is_null()) {
            (*next).cmsg_level = libc::IPPROTO_IP;
            (*next).cmsg_type = libc::IP_TOS;
            (*next).cmsg_len = libc::CMSG_LEN(4) as usize;
            libc::CMSG_DATA(next).cast::<i32>().write_unaligned(tos);
            used += libc::CMSG_SPACE(4) as usize;
            next = header.msg_control.cast::<u8>().add(used).cast();
        }
        if let Some(size) = message.size.filter(|_| !next.is_null()) {
            (*next).cmsg_level = libc::SOL_UDP;
            (*next).cmsg_type = libc::UDP_SEGMENT;
            (*next).cmsg_len = libc::CMSG_LEN(2) as usize;
            libc::CMSG_DATA(next).cast::<u16>().write_unaligned(size);
            used += libc::CMSG_SPACE(2) as usize;
        }
    }
    used
}
