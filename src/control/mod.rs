//! Configuration, desired state, API.

pub mod api;
pub mod capture;
pub mod registry;
pub mod render;
