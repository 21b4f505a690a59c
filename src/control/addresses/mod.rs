//! Who has which address, and which subnet is free: bookkeeping without I/O.
//!
//! An [`AddressPool`] gives out the addresses of one network, a [`SubnetPool`] the subnets of
//! networks that name none. Both are plain data owned by who calls them; neither probes the wire
//! nor writes a file. Bounds: a pool holds at most one entry for each address of its subnet, and
//! remembers [`pool::MAX_REMEMBERED`] released ones.

mod error;
pub mod pool;
mod range;
mod settings;
mod snapshot;
mod subnet_error;
mod subnet_pool;

#[cfg(test)]
mod tests;

pub use error::AddressError;
pub use pool::AddressPool;
pub use range::{AddressRange, RangeError};
pub use settings::PoolSettings;
pub use snapshot::{PoolEntry, PoolSnapshot};
pub use subnet_error::SubnetError;
pub use subnet_pool::SubnetPool;
