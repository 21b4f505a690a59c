//! What tests, benchmarks, fuzzing and the simulated demo stand on: frame builders, a virtual
//! clock, hosts by smoltcp, wires between engines, and the bodies of the fuzz targets.

pub mod build;
pub mod fuzz;
mod lab;

pub use lab::{BRIDGE, Lab, LabPort, UPLINK};
