//! No switch at all: a veth pair.

use super::Peer;
use crate::error::Result;
use crate::figure::Scenario;
use crate::machine::Machine;
use crate::netns;
use crate::testbed::{Host, Testbed};

/// A veth pair.
pub struct Veth;

impl Peer for Veth {
    fn name(&self) -> &str {
        "veth"
    }

    fn about(&self) -> String {
        "no switch: a veth pair between two hosts".to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        Ok(format!("Linux {}", Machine::read().kernel))
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        (scenario != Scenario::L2).then_some("it is a cable between two hosts")
    }

    fn start(&self, _: Scenario) -> Result<Testbed> {
        let hosts = Host::create_many(2)?;
        let (one, other) = (&hosts[0], &hosts[1]);
        netns::connect((&one.netns, "eth0"), (&other.netns, "eth0"))?;
        for host in &hosts {
            host.netns.set_address("eth0", host.address)?;
        }
        Ok(Testbed::between(hosts, Testbed::folder()?))
    }
}
