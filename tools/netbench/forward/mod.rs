//! `netbench forward`: the forwarders that the benchmark measures as peers, each a process.

mod bare;
mod naive;
mod tunnel;

use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::error::Result;
use crate::peer::ForwarderKind;

/// A TAP to make: `NETNS=ADDRESS`; it is called `eth0` there.
#[derive(Clone, Debug)]
pub struct End {
    /// The namespace it is in.
    pub netns: String,
    /// The host's address on it, of a /24.
    pub address: Ipv4Addr,
}

/// The TAP's name in its namespace.
const INTERFACE: &str = "eth0";

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is not NETNS=ADDRESS");
        let (netns, address) = text.split_once('=').ok_or_else(wrong)?;
        Ok(Self { netns: netns.to_owned(), address: address.parse().map_err(|_| wrong())? })
    }
}

/// Forwards between a host's TAP and the machine at `remote` until the process is ended.
///
/// # Errors
/// Why it cannot.
pub fn run_tunnel(host: &End, local: Ipv4Addr, remote: Ipv4Addr) -> Result<()> {
    tunnel::run(host, local, remote)
}

/// Forwards between two TAPs until the process is ended.
///
/// # Errors
/// Why it cannot.
pub fn run(kind: ForwarderKind, ends: &[End; 2]) -> Result<()> {
    match kind {
        ForwarderKind::Bare => bare::run(ends),
        ForwarderKind::Naive => naive::run(ends),
    }
}
