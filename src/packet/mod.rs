//! Reading and writing frames: Ethernet, ARP, IPv4 and what lies above, without state.
//!
//! [`Headers::parse`] reads a frame once; everything later works from its result. Nothing here
//! decides where a frame goes. Byte order is handled here and nowhere else.
//!
//! Read first: RFC 791 (IPv4), RFC 826 (ARP), RFC 792 (ICMP), RFC 1624 (checksum update).
#![warn(clippy::indexing_slicing)]

mod arp;
mod burst;
mod bytes;
pub mod checksum;
mod coalesce;
mod flow_key;
pub mod fragment;
mod frame_view;
mod hand_over;
mod headers;
mod held;
pub mod icmp;
mod inside;
pub mod ipv4;
pub mod ipv6;
mod mac;
pub mod mss;
mod offload;
pub mod pcap;
mod port_span;
mod segment;
pub mod tcp;
mod tx_lists;
pub mod udp;
pub mod vxlan;

pub use arp::{Arp, ArpOperation};
pub use burst::{ARENA_BYTES, BURST_FRAMES, BURST_SEGMENTS, Burst, BurstFull, HEADROOM, Received};
pub use bytes::{array, be16, be32, put, put16};
pub use checksum::Delta;
pub use coalesce::{Coalescer, Joined, OPEN_FLOWS, Outgoing, Run};
pub use flow_key::{Address, FlowKey};
pub use frame_view::FrameView;
pub use hand_over::{BeforeLoop, HandOver, Origin};
pub use headers::{Headers, Ipv4, Layer, Transport};
pub use held::Held;
pub use inside::Inside;
pub use mac::{MacAddr, ParseMacError};
pub use offload::{Gso, MAX_SEGMENTS, Offload, Offloads, VNET_HEADER};
pub use port_span::{PortSpan, PortSpanError};
pub use segment::Segments;
pub use tx_lists::{FrameRef, OWN_BYTES, OWN_FRAMES, TxFull, TxLists};

/// Length of an Ethernet header without tags, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Length of one VLAN tag, in bytes.
pub const VLAN_TAG: usize = 4;
/// Smallest IPv4 header, in bytes.
pub const IPV4_HEADER: usize = 20;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a customer VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// IP protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
