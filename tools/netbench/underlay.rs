//! Two machines, each a namespace with a host of its own in front, and a cable between them that
//! carries nothing but datagrams of VXLAN: where the VXLAN scenario takes place.

use std::net::Ipv4Addr;

use crate::error::Result;
use crate::netns::{self, Netns};
use crate::testbed::{Host, MTU, Testbed};

/// The cable's interface on each machine.
pub const UNDERLAY: &str = "under0";
/// The machines' addresses on the cable.
pub const ADDRESSES: [Ipv4Addr; 2] =
    [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
/// What VXLAN puts before a frame, outer Ethernet header included, in bytes.
const ENCAPSULATION: u16 = 50;
/// MTU of the hosts, so that a frame of theirs fits the cable's.
pub const HOST_MTU: u16 = MTU - ENCAPSULATION;
/// The network's VNI.
pub const VNI: u32 = 77;
/// UDP port of VXLAN (RFC 7348 5).
pub const PORT: u16 = 4789;

/// One of the two machines.
pub struct Vtep<'a> {
    /// Its namespace.
    pub netns: &'a Netns,
    /// The host in front of it.
    pub host: &'a Host,
    /// Its address on the cable.
    pub local: Ipv4Addr,
    /// The other's.
    pub remote: Ipv4Addr,
}

/// Makes two hosts and two machines, the latter in `own` and joined by the cable.
///
/// # Errors
/// What `ip` said.
pub fn create() -> Result<Testbed> {
    let hosts = Host::create_many(2)?;
    let machines = vec![Netns::create("m0")?, Netns::create("m1")?];
    netns::connect((&machines[0], UNDERLAY), (&machines[1], UNDERLAY))?;
    for (machine, address) in machines.iter().zip(ADDRESSES) {
        machine.set_address(UNDERLAY, address)?;
    }
    let mut testbed = Testbed::between(hosts, Testbed::folder()?);
    testbed.own = machines;
    Ok(testbed)
}

/// The machines of a testbed that [`create`] made.
pub fn vteps(testbed: &Testbed) -> impl Iterator<Item = Vtep<'_>> {
    let [one, other] = ADDRESSES;
    let sides = [(&testbed.route.client, one, other), (&testbed.route.server, other, one)];
    let vtep = |(netns, (host, local, remote))| Vtep { netns, host, local, remote };
    testbed.own.iter().zip(sides).map(vtep)
}
