//! Configuration, desired state, API.

pub mod config;
pub mod model;
pub mod publish_syntax;
pub mod registry;
mod supervisor;
pub mod switch;
