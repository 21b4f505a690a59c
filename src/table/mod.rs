//! Bounded containers that know no networking and no clock of their own.
//!
//! Every one states its bound and what happens at it. Memory is taken as a table fills, so an
//! engine with room for a million sessions starts small.

mod hash_index;
mod key_hash;
mod list;
mod memory;
mod prefetch;
mod shared_bucket;
mod slab;
mod timer_wheel;
mod token_bucket;
mod word_map;

pub use hash_index::{HashIndex, IndexFull};
pub use key_hash::KeyHash;
pub use list::{Links, List};
pub use memory::{Advise, reserve, set_advice};
pub use prefetch::prefetch;
pub use shared_bucket::{BucketState, BucketStates, SharedBucket};
pub use slab::Slab;
pub use timer_wheel::TimerWheel;
pub use token_bucket::TokenBucket;
pub use word_map::{Placed, WordMap};

/// "No index" in tables that link by 32-bit indices.
pub const NONE: u32 = u32::MAX;
