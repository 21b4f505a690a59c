//! What a port's device should be: the orders that control gives to a broker.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::ProcessNetns;
use crate::packet::vxlan::Vni;
use crate::packet::{MacAddr, PortSpan};

/// The network namespace of a port's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Netns {
    /// By its name under `/run/netns`.
    Named {
        /// Its name.
        name: String,
        /// Make it if it is missing, marked as tapway's own, and remove it at stop. One that
        /// exists and carries the mark of a tapway that is gone is adopted; one without the mark
        /// is used and left.
        create: bool,
    },
    /// That of a process; it ends with its processes, and then the port is to go.
    OfProcess(ProcessNetns),
}

impl Netns {
    /// The namespace of that name under `/run/netns`.
    pub fn named(name: impl Into<String>, create: bool) -> Self {
        Self::Named { name: name.into(), create }
    }
}

/// How a TAP is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TapBackend {
    /// tapway's own opener.
    #[default]
    Own,
    /// The `tun-tap` crate: plain frames, one queue.
    TunTap,
}

/// A TAP, and its far side as the host behind the port sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapPlan {
    /// The namespace the TAP is opened in; none: tapway's own.
    pub netns: Option<Netns>,
    /// Its name there: `eth0` in a namespace.
    pub interface: String,
    /// Its MAC; none: the kernel chooses.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Its address; none: nobody sets one, and the host behind asks for or brings its own.
    pub address: Option<Ipv4Net>,
    /// The host's default route; needs an address.
    pub gateway: Option<Ipv4Addr>,
    /// How it is opened.
    pub backend: TapBackend,
    /// How many queues it has, for as many workers; the `tun-tap` backend has one.
    pub queues: u8,
    /// Checksums and segmentation are left to who needs them; not with [`TapBackend::TunTap`].
    pub offload: bool,
}

/// An existing interface, taken by AF_PACKET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// The namespace it is in; none: tapway's own.
    pub netns: Option<String>,
    /// Its name.
    pub device: String,
    /// tapway's own MAC on it; must not be the interface's.
    pub mac: MacAddr,
    /// Every address that tapway takes on it; none may be an address of that namespace.
    pub addresses: Vec<Ipv4Addr>,
    /// The socket's receive buffer, in bytes.
    pub receive_buffer: usize,
}

/// An existing interface of tapway's own namespace, whose address and MAC tapway shares with the
/// host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPlan {
    /// Its name.
    pub device: String,
    /// The router; none: that of the host's default route there.
    pub gateway: Option<Ipv4Addr>,
    /// The external ports of translated traffic; none: chosen among those the host does not use.
    pub ports: Option<PortSpan>,
    /// The socket's receive buffer, in bytes.
    pub receive_buffer: usize,
}

/// Where the host, and so tapway, is on a shared interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    /// MAC.
    pub mac: MacAddr,
    /// Address and subnet.
    pub address: Ipv4Net,
    /// The router of the host's default route there; none: only the subnet is outside.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// The external ports of translated traffic.
    pub ports: PortSpan,
}

/// Ports of a shared address that are tapway's because they are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenPorts {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// On this address only; none: on the shared one, whichever it is.
    pub address: Option<Ipv4Addr>,
    /// The ports.
    pub ports: PortSpan,
}

/// The UDP sockets of a VTEP: the device of its underlay's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanPlan {
    /// The namespace the sockets are in; none: tapway's own.
    pub netns: Option<String>,
    /// The VTEP's address; unspecified: the kernel chooses by route.
    pub address: Ipv4Addr,
    /// The UDP port that is listened at.
    pub port: u16,
    /// Multicast groups to hear.
    pub groups: Vec<Ipv4Addr>,
    /// The interface of the groups; none: the kernel chooses by route.
    pub device: Option<String>,
    /// The receive buffer, in bytes.
    pub receive_buffer: usize,
    /// How many queues, for as many workers.
    pub queues: u8,
}

/// A tunnel to a peer, or to a group. It has no device of its own: frames pass by that of the
/// underlay's port. What there is to be found out is its MTU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPlan {
    /// As of the sockets; none as well if the underlay is tapway's uplink.
    pub netns: Option<String>,
    /// The peer, or the group.
    pub peer: IpAddr,
    /// The network's number.
    pub vni: Vni,
    /// Largest packet inside, in bytes, where the underlay is tapway's uplink; none: as the path to
    /// the peer says.
    pub mtu: Option<u16>,
}

/// A port's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortPlan {
    /// A TAP.
    Tap(TapPlan),
    /// An existing interface.
    Device(DevicePlan),
    /// An existing interface, shared with the host.
    Shared(SharedPlan),
    /// The sockets of a VTEP.
    Vxlan(VxlanPlan),
    /// A tunnel by those, or by the uplink.
    Tunnel(TunnelPlan),
    /// Frames out of a capture file, as fast as they are taken; what is sent is discarded.
    Replay(PathBuf),
    /// What is sent is written to a capture file; nothing is received.
    Record(PathBuf),
}

/// Why a device could not be opened or set up. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The privilege is missing: exit code 77.
    #[error(
        "{what}: permission denied; run as root, or give the binary CAP_NET_ADMIN and CAP_SYS_ADMIN"
    )]
    Permission {
        /// What was tried.
        what: String,
    },
    /// An interface, namespace or file is not there.
    #[error("{what} does not exist{remedy}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// What to do, with its leading separator; may be empty.
        remedy: String,
    },
    /// Something is in the way: exit code 5.
    #[error("{what}: {remedy}")]
    Conflict {
        /// What is in the way.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The system refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
}

impl OpenError {
    /// What the system said to `what`, sorted: a missing privilege is
    /// [`OpenError::Permission`].
    pub fn from_io(what: impl Into<String>, error: std::io::Error) -> Self {
        let what = what.into();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Permission { what },
            _ => Self::System { what, error },
        }
    }
}
