//! Configuration, desired state, API.

pub mod addresses;
pub mod api;
pub mod capture;
pub mod config;
pub mod dhcp;
pub mod dump;
pub mod follower;
pub mod host_access;
pub mod hosts;
pub mod learned_peers;
pub mod live;
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
pub mod tunnel_tables;
