//! What tests, benchmarks, fuzzing and the simulated demo stand on: frame builders, a virtual
//! clock, hosts by smoltcp, wires between engines, and the bodies of the fuzz targets.

pub mod build;
mod crew;
pub mod dhcp;
pub mod fuzz;
mod host;
mod lab;
pub mod probe;
mod world;

pub use crew::{Crew, Work};
pub use host::{ExchangeId, HostSpec, MAX_SOCKETS, Progress, QUEUE_FRAMES, Service, SimHost};
pub use lab::{BRIDGE, Lab, LabPort, UPLINK};
pub use world::{EngineId, HostId, Plug, TICK, WireCounts, WireQuality, World};
