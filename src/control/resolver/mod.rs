//! Names for hosts: the socket at 127.0.0.11 in each namespace that tapway made, and the way to the
//! resolvers of this host for names that are nobody's here.
//!
//! * `thread`: one thread does all of it, and is told what to do by a [`Resolver`],
//! * `front`: the sockets in namespaces,
//! * `forwarder`: several upstreams in order, how much each host may ask at once,
//! * `exchange`: one question to one upstream,
//! * `cache`: what upstreams said lately,
//! * `resolv_conf`: which upstreams this host has, and what hosts find in their own file.
//!
//! What is answered from the names of the networks is decided in [`local::dns`](crate::local::dns).
//! The engine asks here, too, for hosts that ask the gateway. Not done: DNSSEC validation, zone
//! transfers, DNS over TLS or HTTPS.

mod cache;
mod counters;
mod exchange;
mod forwarder;
mod front;
mod resolv_conf;
mod thread;

pub use counters::{Counters, ResolverStats};
pub use forwarder::Upstreams;
pub use resolv_conf::{HostResolvers, own_file};
pub use thread::{Resolver, Served};
