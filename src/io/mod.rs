//! The shell around the engine: everything that makes a system call.
//!
//! A [`Dataplane`] is one or several workers: threads that each own an engine and the ports'
//! devices, or a queue of each. A worker waits, gathers a burst from all ready ports, runs it
//! through the engine, and writes what comes out. Devices are [`PortIo`]s: TAPs, packet sockets,
//! the UDP sockets of VXLAN, memory wires, capture files. What is between a worker and its devices,
//! [`Devices`] and [`Egress`], needs no engine: a forwarder that looks nothing up is `gather`, a
//! list per port, `send`.

mod bell;
mod broker;
mod capture_port;
mod clock;
mod dataplane;
mod devices;
mod egress;
mod enclosure;
mod faults;
mod frame_writer;
mod host_files;
mod host_socket;
mod huge_pages;
mod idle;
mod link_counters;
mod link_watch;
mod linux_broker;
mod name_sockets;
mod namespace;
mod netlink;
mod netns;
mod netns_files;
mod netns_marks;
mod outside;
mod own_sys;
mod packet_socket;
mod plan;
mod port_io;
mod process;
mod process_watch;
mod raw_packet;
mod scheduling;
mod shared;
mod tap;
mod tun;
mod uring;
mod user_namespace;
mod vxlan;
mod wire;
mod worker;

pub use broker::{Broker, DeviceChange, Opened};
pub use capture_port::{RecordPort, ReplayPort};
pub use clock::Clock;
pub use dataplane::Dataplane;
pub use devices::Devices;
pub use egress::Egress;
pub use enclosure::Enclosure;
pub use faults::Faults;
pub use frame_writer::{WriteChoice, WriteMethod};
pub use host_files::{HostFileNumbers, HostFiles};
pub use host_socket::{HostSocket, keep_alive, reset_at_close};
pub use huge_pages::ask_for_huge_pages;
pub use idle::WaitMode;
pub use linux_broker::LinuxBroker;
pub use name_sockets::{HOST_RESOLVER, NameSockets};
pub use namespace::Namespace;
pub use netlink::LinkState;
pub use netns_files::{EtcFile, Written};
pub use packet_socket::PacketSocket;
pub use plan::{
    DevicePlan, Netns, OpenError, PortPlan, SharedPlan, Station, TakenPorts, TapBackend, TapPlan,
    TunnelPlan, VxlanPlan,
};
pub use port_io::{Loss, PortIo, ReceiveError, Refusal, TransmitFile};
pub use process::{Process, ProcessNetns};
pub use process_watch::{ProcessWatch, WatchId};
pub use scheduling::ask_for_short_slices;
pub use tap::Tap;
pub use user_namespace::{Forbidden, UserNamespace, is_privileged};
pub use vxlan::VxlanSockets;
pub use wire::{WireEnd, wire};
pub use worker::{AskResolver, DataplaneSettings, WorkerError, WorkerEvent};
