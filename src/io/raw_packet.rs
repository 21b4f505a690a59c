//! The system calls of an AF_PACKET socket that no library wraps (packet(7)).

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_void, sock_filter, socklen_t};

use crate::packet::{ETHERTYPE_VLAN, MacAddr, VNET_HEADER};

/// A socket that sends and receives whole frames of one interface, each with a virtio-net header.
#[derive(Debug)]
pub(super) struct RawPacket(OwnedFd);

/// What came with a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unpacked {
    /// Bytes of the frame, without the virtio-net header.
    pub len: usize,
    /// The frame did not fit.
    pub is_truncated: bool,
    /// The VLAN tag that the kernel took off: EtherType and tag control information.
    pub tag: Option<(u16, u16)>,
}

impl RawPacket {
    /// Opens a socket in the calling thread's namespace that hears nothing yet.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers; the result is checked.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: `fd` was opened just now and nobody else has it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING] {
            socket.set(libc::SOL_PACKET, option, &(1 as c_int))?;
        }
        Ok(socket)
    }

    /// Lets through what is for `mac` or for a group, and nothing else: what is for the host
    /// itself costs tapway nothing.
    pub(super) fn set_filter(&self, mac: MacAddr) -> io::Result<()> {
        let MacAddr([a, b, c, d, e, f]) = mac;
        let load = |size, at| statement(libc::BPF_LD | size | libc::BPF_ABS, at);
        let jump = |kind, value, yes, no| sock_filter {
            jt: yes,
            jf: no,
            ..statement(libc::BPF_JMP | kind | libc::BPF_K, value)
        };
        self.attach(vec![
            load(libc::BPF_W, 0),
            jump(libc::BPF_JEQ, u32::from_be_bytes([a, b, c, d]), 0, 2),
            load(libc::BPF_H, 4),
            jump(libc::BPF_JEQ, u32::from(u16::from_be_bytes([e, f])), 2, 0),
            load(libc::BPF_B, 0),
            jump(libc::BPF_JSET, 1, 0, 1),
            statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
            statement(libc::BPF_RET | libc::BPF_K, 0),
        ])
    }

    /// Lets through what a program says, in place of a former one.
    pub(super) fn attach(&self, mut program: Vec<sock_filter>) -> io::Result<()> {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }

    /// Sets the receive buffer, beyond `net.core.rmem_max` if that is permitted.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
            .or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
    }

    /// Starts to hear the interface.
    pub(super) fn bind(&self, index: u32) -> io::Result<()> {
        let index = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut address = empty_address();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        // SAFETY: the address is a whole `sockaddr_ll` that lives through the call.
        check(unsafe {
            let length = size_of::<libc::sockaddr_ll>() as socklen_t;
            libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length)
        })
        .map(|_| ())
    }

    /// Has the interface take frames for other MACs than its own for as long as the socket lives.
    pub(super) fn set_promiscuous(&self, index: u32) -> io::Result<()> {
        let index = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)
    }

    /// True once the interface has left the namespace: the kernel has unbound the socket.
    pub(super) fn is_unbound(&self) -> bool {
        let mut address = empty_address();
        let mut length = size_of::<libc::sockaddr_ll>() as socklen_t;
        // SAFETY: the kernel writes at most `length` bytes of the address.
        let got = check(unsafe {
            libc::getsockname(self.0.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
        });
        got.is_err() || address.sll_ifindex <= 0
    }

    /// Receives one frame behind its virtio-net header into `room`.
    pub(super) fn receive(&self, room: &mut [u8]) -> io::Result<Unpacked> {
        let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        // Aligned as control messages must be; one of them has room.
        let mut control = [0_u64; 8];
        // SAFETY: all zero is a valid `msghdr`: null pointers with zero lengths.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer of the message is to a buffer of the length beside it.
        let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        Ok(Unpacked {
            len: len.saturating_sub(VNET_HEADER),
            is_truncated: message.msg_flags & libc::MSG_TRUNC != 0,
            tag: tag_of(&message),
        })
    }

    /// Frames that found the receive buffer full since the last call.
    pub(super) fn overruns(&self) -> io::Result<u32> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as socklen_t;
        // SAFETY: the kernel writes at most `length` bytes of the statistics.
        check(unsafe {
            let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
            let stats = (&raw mut stats).cast::<c_void>();
            libc::getsockopt(self.0.as_raw_fd(), level, name, stats, &raw mut length)
        })?;
        Ok(stats.tp_drops)
    }

    /// Another handle of the same socket.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(super) const fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// `value` must be what the option takes.
    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        // SAFETY: the kernel reads the bytes of `value`, which lives through the call; what it
        // points to, if anything, does so too.
        check(unsafe {
            let length = size_of::<T>() as socklen_t;
            let value = std::ptr::from_ref(value).cast::<c_void>();
            libc::setsockopt(self.0.as_raw_fd(), level, option, value, length)
        })
        .map(|_| ())
    }
}

impl AsRawFd for RawPacket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The tag out of the message's PACKET_AUXDATA.
fn tag_of(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel wrote the control messages into the buffer that the header points to.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: the data of such a message is one `tpacket_auxdata`, at any alignment.
    let aux = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let has_type = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    Some((if has_type { aux.tp_vlan_tpid } else { ETHERTYPE_VLAN }, aux.tp_vlan_tci))
}

const fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

const fn empty_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
