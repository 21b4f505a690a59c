//! The bodies of the fuzz targets; their corpora replay in the ordinary tests.
//!
//! A body takes any bytes and panics on a fault, which is how a fuzzer and a test learn of it.
//! [`seeds`] makes the corpora to start from; `fuzz/README.md` says how they are used.

mod dhcp;
mod dns;
mod engine;
mod frames;
mod offload;
mod parse;
mod pcap;
mod program;
pub mod seeds;
mod streams;
mod world;

pub use dhcp::dhcp;
pub use dns::dns;
pub use engine::{Digest, engine, engine_unfinished};
pub use offload::{check_coalesced, offload, offloads_of};
pub use parse::parse;
pub use pcap::pcap;
pub use streams::frames as stream;
