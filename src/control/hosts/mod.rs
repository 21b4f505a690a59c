//! Hosts that run as commands (`tapway exec`), and what any host finds under `/etc` and in its
//! environment.

mod admission;
mod etc_hosts;
mod etc_resolv_conf;
mod exposed;
mod follower;
mod link;
mod private_files;
mod request;
mod running;

pub use etc_hosts::etc_hosts;
pub use etc_resolv_conf::etc_resolv_conf;
pub use exposed::{ExposeSyntax, ExposeSyntaxError, ExposedPort, MAX_EXPOSED_RANGE, Transport};
pub use follower::HostsFiles;
pub use link::{Link, LinkSyntax, LinkSyntaxError};
pub use private_files::PrivateFiles;
pub use request::{HostAnswer, HostInterface, HostNetwork, HostRequest, HostRow};
pub use running::Hosts;
