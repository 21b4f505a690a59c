//! Configuration, desired state, API.

pub mod addresses;
pub mod api;
pub mod capture;
pub mod config;
pub mod dump;
pub mod follower;
pub mod hosts;
pub mod model;
pub mod names;
pub mod publish_syntax;
pub mod registry;
pub mod rejection;
pub mod render;
pub mod resolver;
mod supervisor;
pub mod switch;
pub mod tables;
pub mod taken_ports;
