//! The system calls that have no safe wrapper: many datagrams per call, and what a child does
//! between fork and exec.

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Datagrams per system call.
pub const BURST: usize = 64;

/// The largest datagram that is received whole; the rest is cut, and still counts.
const ROOM: usize = 2048;

/// The same datagram many times, for a connected socket.
pub struct SendBurst {
    headers: Vec<libc::mmsghdr>,
    /// What `headers` point into; kept alive, never read here.
    _iovecs: Vec<libc::iovec>,
    _payload: Box<[u8]>,
}

impl SendBurst {
    /// Datagrams with `payload`.
    pub fn new(payload: Box<[u8]>) -> Self {
        let mut payload = payload;
        let iovec = iovec_of(&mut payload);
        let mut iovecs = vec![iovec; BURST];
        let headers = headers_of(&mut iovecs);
        Self { headers, _iovecs: iovecs, _payload: payload }
    }

    /// Sends up to `count` of them; gives how many left.
    ///
    /// # Errors
    /// If the first was refused.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<usize> {
        let count = count.min(self.headers.len());
        let headers = self.headers.as_mut_ptr();
        // SAFETY: `headers` holds at least `count` messages, whose one iovec each points into the
        // payload; all live on the heap as long as `self`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count as u32, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Room for many datagrams whose contents nobody reads.
pub struct ReceiveBurst {
    headers: Vec<libc::mmsghdr>,
    /// What `headers` point into; kept alive, never read here.
    _iovecs: Vec<libc::iovec>,
    _room: Box<[u8]>,
}

impl ReceiveBurst {
    /// An empty one.
    pub fn new() -> Self {
        let mut room = vec![0; ROOM].into_boxed_slice();
        let mut iovecs = vec![iovec_of(&mut room); BURST];
        let headers = headers_of(&mut iovecs);
        Self { headers, _iovecs: iovecs, _room: room }
    }

    /// Waits for a datagram, as long as the socket's timeout says, and takes all that are there.
    ///
    /// # Errors
    /// If none came, or the socket failed.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as u32);
        let flags = libc::MSG_WAITFORONE;
        // SAFETY: `headers` holds `count` messages, whose one iovec each points to the room; all
        // live on the heap as long as `self`. That messages overwrite each other's bytes is
        // meant: nobody reads them.
        let got =
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers, count, flags, ptr::null_mut()) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }
}

fn iovec_of(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn headers_of(iovecs: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let header = |iovec: &mut libc::iovec| {
        // SAFETY: all zeros are a valid `msghdr`: null pointers and lengths of zero.
        let mut msg_hdr: libc::msghdr = unsafe { std::mem::zeroed() };
        msg_hdr.msg_iov = iovec;
        msg_hdr.msg_iovlen = 1;
        libc::mmsghdr { msg_hdr, msg_len: 0 }
    };
    iovecs.iter_mut().map(header).collect()
}

/// The unit of `/proc/stat`.
pub fn ticks_per_second() -> f64 {
    // SAFETY: asks for a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Makes the command's process enter a network namespace, and end when the thread that starts it
/// ends: even a `kill -9` of the benchmark leaves no process behind. `signal` is what ends it.
pub fn bind_child(command: &mut Command, netns: Option<File>, signal: Signal) {
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        if let Some(netns) = &netns {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}
