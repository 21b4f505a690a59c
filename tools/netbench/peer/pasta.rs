//! pasta, of the passt project: a TAP in the host's namespace, translated into sockets of the
//! router's.

use super::linux::start_exit;
use super::{ONLY_TRANSLATES, Peer, version_of};
use crate::error::Result;
use crate::figure::Scenario;
use crate::process::Process;
use crate::testbed::{GATEWAY, Host, INSIDE, MTU, PORTS, Testbed};

/// pasta.
pub struct Pasta;

impl Peer for Pasta {
    fn name(&self) -> &str {
        "pasta"
    }

    fn about(&self) -> String {
        "pasta (passt) at MTU 1500".to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        version_of("pasta", &["--version"], "passt")
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        let is_translated = matches!(scenario, Scenario::Nat | Scenario::Published);
        (!is_translated).then_some(ONLY_TRANSLATES)
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        let inside = Host::create("in", INSIDE)?;
        let mut testbed = start_exit(scenario, &inside)?;
        let netns = inside.netns.path().display().to_string();
        let published = match scenario {
            Scenario::Published => format!("{}-{}", PORTS.start(), PORTS.end()),
            _ => "none".to_owned(),
        };
        let (address, gateway) = (INSIDE.to_string(), GATEWAY.to_string());
        let mtu = MTU.to_string();
        let command = [
            &["pasta", "--foreground", "--config-net", "--ns-ifname", "eth0", "--runas", "0"][..],
            &["--address", &address, "--netmask", "24", "--gateway", &gateway, "--mtu", &mtu],
            &["-t", &published, "-u", &published, "-T", "none", "-U", "none"],
            &["--ipv4-only", "--netns-only", "--netns", &netns],
        ]
        .concat();
        let log = testbed.path().join("log");
        testbed.processes.push(Process::start(&command, testbed.own.first(), &log)?);
        Ok(testbed)
    }
}
