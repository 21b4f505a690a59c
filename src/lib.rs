//! tapway: a userspace virtual switch.
pub mod drop_reason;
pub mod id;
pub mod packet;
pub mod table;
pub mod time;
