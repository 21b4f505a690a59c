//! Several engines that carry one switch: whichever worker a frame comes in by, the same must
//! happen to it.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod connections;
mod hairpin;
mod load;
mod snapshot;
mod statics;
mod stations;
