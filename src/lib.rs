//! tapway: a userspace virtual switch.
pub mod drop_reason;
pub mod engine;
pub mod id;
pub mod local;
pub mod nat;
pub mod packet;
pub mod policy;
pub mod route;
pub mod switch;
pub mod table;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod time;
