//! Several engines that carry one switch: the queues between them, and what they show together.
//!
//! Each worker has an engine with tables of its own, and all get the same commands. A frame that
//! belongs to another worker's inside host is handed over through a [`Relay`]; so are notices about
//! places of stations. Nothing is shared per frame. Whose a packet is, [`Engine`] says
//! (`engine::ownership`); [`merge`] makes one table of several for whoever looks.
//!
//! [`Engine`]: crate::engine::Engine

pub mod merge;
mod parcel;
mod relay;

pub use relay::Relay;
