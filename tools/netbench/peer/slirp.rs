//! slirp4netns: a TAP in the host's namespace, translated into sockets of the router's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::linux::start_exit;
use super::{ONLY_TRANSLATES, Peer, version_of};
use crate::error::{BenchError, Context, Result};
use crate::figure::Scenario;
use crate::interrupt;
use crate::process::Process;
use crate::testbed::{Host, MTU, PORTS, Testbed};

/// The address that slirp gives its host in 10.77.0.0/24.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// How long it may take until it answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// slirp4netns.
pub struct Slirp;

impl Peer for Slirp {
    fn name(&self) -> &str {
        "slirp4netns"
    }

    fn about(&self) -> String {
        "slirp4netns at MTU 1500; ports published by its API".to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        version_of("slirp4netns", &["--version"], "slirp4netns")
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        let is_translated = matches!(scenario, Scenario::Nat | Scenario::Published);
        (!is_translated).then_some(ONLY_TRANSLATES)
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        let inside = Host::create("in", GUEST)?;
        let mut testbed = start_exit(scenario, &inside)?;
        let api = testbed.path().join("api.sock");
        let (netns, socket) = (inside.netns.path(), api.display().to_string());
        let (netns, mtu) = (netns.display().to_string(), format!("--mtu={MTU}"));
        let command = [
            "slirp4netns",
            "--configure",
            &mtu,
            "--cidr=10.77.0.0/24",
            "--api-socket",
            &socket,
            "--netns-type=path",
            &netns,
            "eth0",
        ];
        let log = testbed.path().join("log");
        testbed.processes.push(Process::start(&command, testbed.own.first(), &log)?);
        if scenario == Scenario::Published {
            for port in PORTS {
                publish(&api, "tcp", port)?;
                publish(&api, "udp", port)?;
            }
        }
        Ok(testbed)
    }
}

fn publish(api: &Path, protocol: &str, port: u16) -> Result<()> {
    let request = serde_json::json!({
        "execute": "add_hostfwd",
        "arguments": {
            "proto": protocol,
            "host_addr": "0.0.0.0",
            "host_port": port,
            "guest_port": port,
        },
    });
    let what = "slirp4netns' API socket";
    let mut stream = interrupt::retry(PATIENCE, || UnixStream::connect(api).context(what))?;
    stream.set_read_timeout(Some(PATIENCE)).context(what)?;
    stream.write_all(request.to_string().as_bytes()).context(what)?;
    stream.shutdown(Shutdown::Write).context(what)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context(what)?;
    if answer.contains("error") {
        return Err(BenchError::Peer(format!("slirp4netns publishes no port {port}: {answer}")));
    }
    Ok(())
}
