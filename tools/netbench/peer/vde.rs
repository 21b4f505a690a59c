//! VDE's switch with its own TAPs.

use std::time::Duration;

use super::{ONE_MACHINE, ONLY_SWITCHES, Peer, version_of};
use crate::error::Result;
use crate::figure::Scenario;
use crate::interrupt;
use crate::netns::Netns;
use crate::process::{Process, run};
use crate::testbed::{Host, Testbed, hosts_of};
/// How long it may take to make its TAPs.
const PATIENCE: Duration = Duration::from_secs(5);

/// VDE.
pub struct Vde;

impl Peer for Vde {
    fn name(&self) -> &str {
        "vde"
    }

    fn about(&self) -> String {
        "vde_switch with TAP ports".to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        version_of("vde_switch", &["--version"], "vde2")
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        match scenario {
            Scenario::L2 | Scenario::Fairness => None,
            Scenario::Nat | Scenario::Published => Some(ONLY_SWITCHES),
            Scenario::Vxlan => Some(ONE_MACHINE),
        }
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        let hosts = Host::create_many(hosts_of(scenario))?;
        let switch = Netns::create("sw")?;
        let mut testbed = Testbed::between(hosts.clone(), Testbed::folder()?);
        let socket = testbed.path().join("ctl").display().to_string();
        let mut command: Vec<String> = vec!["vde_switch".into(), "-sock".into(), socket];
        for at in 0..hosts.len() {
            command.extend(["-tap".to_owned(), format!("tap{at}")]);
        }
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let log = testbed.path().join("log");
        testbed.processes.push(Process::start(&command, Some(&switch), &log)?);
        for (at, host) in hosts.iter().enumerate() {
            adopt(&switch, &format!("tap{at}"), host)?;
        }
        testbed.own.push(switch);
        Ok(testbed)
    }
}

/// Gives a switch's TAP to a host, as its `eth0` with its address, once it is there.
pub fn adopt(switch: &Netns, tap: &str, host: &Host) -> Result<()> {
    interrupt::retry(PATIENCE, || switch.ip(&format!("link show {tap}")))?;
    let netns = host.netns.name();
    let switch = switch.name();
    run(&["ip", "-n", switch, "link", "set", tap, "netns", netns, "name", "eth0"])?;
    host.netns.ip("link set eth0 mtu 1500")?;
    host.netns.set_address("eth0", host.address)
}
