//! Forwarders between two TAPs that look nothing up: the ceiling, and a weekend's work. Run by
//! this program itself, as a process of its own, so that its CPU time can be told apart.

use std::process::Command;

use clap::ValueEnum;

use super::{BARE, Peer};
use crate::error::{Context, Result};
use crate::figure::Scenario;
use crate::process::Process;
use crate::testbed::{Host, Testbed};
use crate::underlay::{self, Vtep};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForwarderKind {
    /// tapway's own input and output without its engine.
    Bare,
    /// The `tun-tap` crate, one frame per system call, one thread per direction.
    Naive,
}

impl ForwarderKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Bare => BARE,
            Self::Naive => "naive",
        }
    }
}

/// A forwarder as a peer.
pub struct Forwarder {
    kind: ForwarderKind,
}

impl Forwarder {
    /// Of that kind.
    pub const fn new(kind: ForwarderKind) -> Self {
        Self { kind }
    }
}

impl Peer for Forwarder {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn about(&self) -> String {
        match self.kind {
            ForwarderKind::Bare => {
                "tapway's own TAP input and output without its engine: the ceiling; in the other \
                 scenarios it forwards as well, and translates nothing; in `vxlan` a TAP, segments \
                 and UDP_SEGMENT, UDP_GRO and joining, a TAP"
            }
            ForwarderKind::Naive => {
                "two TAPs of the tun-tap crate, blocking read and write per frame, two threads"
            }
        }
        .to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        Ok(format!("netbench {}", env!("CARGO_PKG_VERSION")))
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        let has_part = match self.kind {
            ForwarderKind::Bare => scenario != Scenario::Fairness,
            ForwarderKind::Naive => scenario == Scenario::L2,
        };
        (!has_part).then_some("it forwards between two hosts only")
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        if scenario == Scenario::Vxlan {
            return start_tunnel();
        }
        let mut testbed = Testbed::between(Host::create_many(2)?, Testbed::folder()?);
        let mut command = Command::new(std::env::current_exe().context("this program's path")?);
        command.args(["forward", self.kind.name()]);
        for host in [&testbed.route.client, &testbed.route.server] {
            command.arg(format!("{}={}", host.netns.name(), host.address));
        }
        let process = Process::start_with(command, None, &testbed.path().join("log"))?;
        testbed.processes.push(process);
        Ok(testbed)
    }
}

/// Both ends of a tunnel, each a process on its machine.
fn start_tunnel() -> Result<Testbed> {
    let mut testbed = underlay::create()?;
    let mut processes = Vec::new();
    for (at, Vtep { netns, host, local, remote, .. }) in underlay::vteps(&testbed).enumerate() {
        let mut command = Command::new(std::env::current_exe().context("this program's path")?);
        command.arg("tunnel").arg(format!("{}={}", host.netns.name(), host.address));
        command.args([local.to_string(), remote.to_string()]);
        let log = testbed.path().join(format!("log{at}"));
        processes.push(Process::start_with(command, Some(netns), &log)?);
    }
    testbed.processes = processes;
    Ok(testbed)
}
