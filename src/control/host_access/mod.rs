//! Published ports on this host's own addresses and on 127.0.0.1.
//!
//! What comes in from outside is translated by the engine and keeps its client's address; nothing
//! of it passes here. This is for who is on the host itself, and for the host's addresses that are
//! none of tapway's: the port is bound, and what comes in is carried to the container over the
//! host's own TAP in its network (`host = true`).
//!
//! A port that is bound is reserved, too: no program of the host gets it, and one that somebody has
//! refuses the change that would publish it. On an uplink that shares the host's address every
//! published port is therefore bound, with or without host access.
//!
//! * `wanted`: which ports, out of the model,
//! * `follower`: binds and lets go with each change,
//! * `server`: the thread that serves them, by `stream` and `datagram`.
//!
//! Bounds: `wanted::MAX_PORTS` ports, `stream::MAX_CONNECTIONS` connections,
//! `datagram::MAX_FLOWS` clients of each UDP port.

mod datagram;
mod follower;
mod server;
mod stream;
mod wanted;

#[cfg(test)]
mod tests;

pub use follower::HostPorts;
