//! Hosts that run as commands (`tapway exec`), and what any host finds under `/etc` and in its
//! environment.

mod etc_hosts;
mod exposed;
mod follower;
mod link;
mod request;

pub use etc_hosts::etc_hosts;
pub use exposed::{ExposeSyntax, ExposeSyntaxError, ExposedPort, MAX_EXPOSED_RANGE, Transport};
pub use follower::HostsFiles;
pub use link::{Link, LinkSyntax, LinkSyntaxError};
pub use request::{HostAnswer, HostInterface, HostNetwork, HostRequest, HostRow};
