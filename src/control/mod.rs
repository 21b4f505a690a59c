//! Configuration, desired state, API.

pub mod registry;
