//! tapway: a userspace virtual switch.
//!
//! One process takes the place of a container host's bridge and NAT: TAP devices feed raw
//! Ethernet frames into a MAC-learning bridge, a neighbour table, a routing table and a
//! connection-tracking NAPT, and every frame that is not passed on is counted under a name.
//!
//! # The pieces
//!
//! Imports go down this list only; siblings never call each other.
//!
//! | module | what it is |
//! |---|---|
//! | `cli` | the command line |
//! | `control` | configuration, desired state, API |
//! | `io` | every system call: devices, namespaces, the worker thread around an engine |
//! | [`testkit`] | frame builders, a bench for the engine, simulated hosts, fuzz bodies |
//! | [`crew`] | several engines that carry one switch |
//! | [`engine`] | the sans-I/O core: start reading there |
//! | [`policy`], [`local`], [`nat`], [`route`], [`overlay`], [`switch`] | one layer each; pure decisions and their tables |
//! | [`table`] | bounded containers |
//! | [`packet`] | reading and writing frames |
//! | [`drop_reason`], [`id`], [`time`] | words everybody uses |
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | frame / packet / segment, datagram | Ethernet / IP / transport unit |
//! | burst | frames handled together |
//! | port, [`id::PortId`] | a switch port: TAP, uplink, tunnel, memory; a transport port is `sport`, `dport` |
//! | ingress, egress; rx, tx | direction in the engine; at a device |
//! | network, bridge | the user's object; its layer-2 instance |
//! | host | who is behind a port, or behind one in each network it joins |
//! | link | a host is told of another: variables, hosts file, a name of its own |
//! | vtep, peer | a VXLAN tunnel endpoint; that of another host |
//! | underlay, tunnel | the network between VTEPs; a network's way through it to one peer |
//! | endpoint | a host behind a peer that somebody told of; at transports: address and port |
//! | vni | the number of a network that stretches over several hosts |
//! | fdb | MAC -> port; an entry is learned or static, ages, moves |
//! | gateway | the router's address and MAC in a network |
//! | neighbour | IP -> MAC, with a state as `ip neigh` shows it |
//! | fib, route, next hop | the forwarding table and its parts |
//! | flow | packets of one direction under one [`packet::FlowKey`]; its way is remembered |
//! | adjacency, way | what all flows to one neighbour share: MACs, egress port, MTU |
//! | session | a translated connection: original and reply direction, timers, state |
//! | mapping | inside endpoint <-> external endpoint (RFC 4787) |
//! | publish | a published port: destination translation from outside to a host |
//! | hairpin | reaching an inside host by its external address from inside |
//! | rewrite | a compiled header change with its checksum deltas |
//! | hold | a frame waits for a neighbour or for its first fragment |
//! | worker, crew | a thread with an engine of its own; all of them together |
//! | owner, hand-over | the worker a packet belongs to; its way there |
//! | offload, super-frame | what a sender's kernel left undone; several segments in one frame |
//! | epoch, generation | version of the configuration; of a table entry |
//! | drop reason | why a frame ended; counted |

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod control;
pub mod crew;
pub mod drop_reason;
pub mod engine;
pub mod id;
#[cfg(feature = "daemon")]
pub mod io;
pub mod local;
pub mod nat;
pub mod overlay;
pub mod packet;
pub mod policy;
pub mod route;
pub mod switch;
pub mod table;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod time;
