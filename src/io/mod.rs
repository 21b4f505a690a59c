//! The shell around the engine: everything that makes a system call.
//!
//! A [`Worker`] is a thread that owns one engine and its ports: it waits, gathers a burst from
//! all ready ports, runs it through the engine, and writes what comes out. Ports are
//! [`PortIo`]s: TAPs, packet sockets, memory wires, capture files.

mod broker;
mod capture_port;
mod clock;
mod link_counters;
mod link_watch;
mod linux_broker;
mod namespace;
mod netlink;
mod netns;
mod netns_marks;
mod outside;
mod packet_socket;
mod plan;
mod port_io;
mod raw_packet;
mod tap;
mod wire;
mod worker;

pub use broker::{Broker, DeviceChange, Opened};
pub use capture_port::{RecordPort, ReplayPort};
pub use clock::Clock;
pub use linux_broker::LinuxBroker;
pub use namespace::Namespace;
pub use netlink::LinkState;
pub use packet_socket::PacketSocket;
pub use plan::{DevicePlan, Netns, OpenError, PortPlan, TapBackend, TapPlan};
pub use port_io::{Loss, PortIo, ReceiveError, TransmitFile};
pub use tap::Tap;
pub use wire::{WireEnd, wire};
pub use worker::{Worker, WorkerError, WorkerEvent};
