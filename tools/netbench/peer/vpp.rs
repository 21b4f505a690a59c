//! VPP with one thread on veth pairs: a bridge domain for L2, nat44-ed between two routed
//! interfaces for translation. Sockets, shared memory and files are the benchmark's own; a
//! system's VPP is not touched.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{ONE_MACHINE, Peer, VPP, VPP_XDP, linux};
use crate::error::{BenchError, Context, Result};
use crate::figure::Scenario;
use crate::interrupt;
use crate::netns::Netns;
use crate::process::{self, Process, run_with};
use crate::testbed::{EXTERNAL, GATEWAY, Host, INSIDE, OUTSIDE, PORTS, Route, Testbed, hosts_of};

/// How long VPP may take until it answers: it maps its memory first.
const PATIENCE: Duration = Duration::from_secs(10);
/// Enough for nat44-ed with the number of sessions that it has by default.
const HEAP: &str = "512M";

/// How VPP reaches a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    /// AF_PACKET rings: offloads, waits for interrupts. The faster one in bulk.
    AfPacket,
    /// AF_XDP sockets: no offloads, polls. The faster one in small packets.
    AfXdp,
}

/// VPP with one of its drivers.
pub struct Vpp {
    driver: Driver,
}

/// A command for VPP, and what it answers once that is done: it has no exit codes.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    answer: String,
}

/// VPP with each of its drivers.
pub fn variants() -> impl Iterator<Item = Box<dyn Peer>> {
    let drivers = [Driver::AfPacket, Driver::AfXdp].into_iter();
    drivers.map(|driver| Box::new(Vpp { driver }) as Box<dyn Peer>)
}

impl Peer for Vpp {
    fn name(&self) -> &str {
        match self.driver {
            Driver::AfPacket => VPP,
            Driver::AfXdp => VPP_XDP,
        }
    }

    fn about(&self) -> String {
        let driver = match self.driver {
            Driver::AfPacket => "AF_PACKET v2 with offloads, waits for interrupts",
            Driver::AfXdp => "AF_XDP in copy mode without offloads, polls",
        };
        format!("VPP, one thread, veth pairs: {driver}; NAT by nat44-ed, without a bridge")
    }

    fn version(&self) -> std::result::Result<String, String> {
        let path = |program: &str| {
            let missing =
                || format!("no {program}; install FD.io's packages vpp and vpp-plugin-core");
            process::find(program).ok_or_else(missing)
        };
        let (vpp, _) = (path("vpp")?, path("vppctl")?);
        if self.driver == Driver::AfXdp && process::find("ethtool").is_none() {
            return Err("no `ethtool`; install the package ethtool".to_owned());
        }
        let said = run_with(Command::new(vpp).arg("--version"));
        said.map(|said| version_in(&said)).map_err(|error| error.to_string())
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        (scenario == Scenario::Vxlan).then_some(ONE_MACHINE)
    }

    fn is_default(&self) -> bool {
        self.driver == Driver::AfPacket
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        match scenario {
            Scenario::L2 | Scenario::Fairness => self.start_bridge(hosts_of(scenario)),
            Scenario::Nat | Scenario::Published => self.start_router(scenario),
            Scenario::Vxlan => Err(BenchError::Peer(ONE_MACHINE.to_owned())),
        }
    }
}

impl Vpp {
    fn start_bridge(&self, hosts: u8) -> Result<Testbed> {
        let hosts = Host::create_many(hosts)?;
        let ports: Vec<String> = (0..hosts.len()).map(|at| format!("p{at}")).collect();
        let mut testbed = Testbed::between(hosts.clone(), Testbed::folder()?);
        let switch = Netns::create("sw")?;
        for (host, port) in hosts.iter().zip(&ports) {
            self.attach(host, &switch, port)?;
        }
        self.launch(&mut testbed, &switch, &self.bridge(&ports))?;
        testbed.own.push(switch);
        Ok(testbed)
    }

    fn start_router(&self, scenario: Scenario) -> Result<Testbed> {
        let (inside, outside) = (Host::create("in", INSIDE)?, Host::create("out", OUTSIDE)?);
        let hosts = vec![inside.clone(), outside.clone()];
        let mut testbed = Testbed::between(hosts, Testbed::folder()?);
        testbed.route = Route::translated(scenario, &inside, &outside);
        let router = Netns::create("sw")?;
        self.attach(&inside, &router, "in0")?;
        self.attach(&outside, &router, "out0")?;
        inside.netns.ip(&format!("route add default via {GATEWAY}"))?;
        self.launch(&mut testbed, &router, &self.translate())?;
        testbed.own.push(router);
        Ok(testbed)
    }

    /// A veth pair for a host, its other end up and without an address: the kernel stays out.
    fn attach(&self, host: &Host, switch: &Netns, port: &str) -> Result<()> {
        linux::attach(host, switch, port)?;
        switch.ip(&format!("link set {port} up"))?;
        if self.driver == Driver::AfXdp {
            // AF_XDP has no word for a checksum that is still to be computed.
            let host = ["netns", "exec", host.netns.name()];
            let off = ["ethtool", "-K", "eth0", "tx", "off"];
            run_with(Command::new("ip").args(host).args(off))?;
        }
        Ok(())
    }

    /// Starts VPP in a namespace and takes the steps.
    fn launch(&self, testbed: &mut Testbed, switch: &Netns, steps: &[Step]) -> Result<()> {
        let file = testbed.path().join("startup.conf");
        let configuration = self.configuration(testbed.path());
        std::fs::write(&file, configuration).context(file.display().to_string())?;
        let mut vpp = program("vpp");
        vpp.arg("-c").arg(&file);
        // A dispatcher for several XDP programs would be pinned, and stay after a `kill -9`.
        vpp.env("LIBXDP_SKIP_DISPATCHER", "1");
        let vpp = Process::start_with(vpp, Some(switch), &testbed.path().join("log"))?;
        testbed.processes.push(vpp);
        interrupt::retry(PATIENCE, || {
            testbed.check()?;
            ask(testbed.path(), "show version")
        })?;
        steps.iter().try_for_each(|step| step.take(testbed.path()))
    }

    /// What VPP reads at its start: only what is needed, nothing outside of `folder` but shared
    /// memory, which is named after it.
    fn configuration(&self, folder: &Path) -> String {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let (folder, socket) = (folder.display(), socket(folder));
        let driver = match self.driver {
            Driver::AfPacket => "af_packet",
            Driver::AfXdp => "af_xdp",
        };
        format!(
            "unix {{ nodaemon nosyslog nobanner runtime-dir {folder} cli-listen {socket} }}\n\
             api-segment {{ prefix {name} }}\n\
             memory {{ main-heap-size {HEAP} }}\n\
             plugins {{\n\
             plugin default {{ disable }}\n\
             plugin {driver}_plugin.so {{ enable }}\n\
             plugin nat_plugin.so {{ enable }}\n\
             }}\n"
        )
    }

    /// VPP's name for its end of a port.
    fn interface(&self, port: &str) -> String {
        match self.driver {
            Driver::AfPacket => format!("host-{port}"),
            Driver::AfXdp => format!("xdp-{port}"),
        }
    }

    fn add_port(&self, port: &str) -> [Step; 2] {
        let interface = self.interface(port);
        let create = match self.driver {
            Driver::AfPacket => {
                Step::answered(format!("create host-interface v2 name {port}"), &interface)
            }
            Driver::AfXdp => Step::silent(format!(
                "create interface af_xdp host-if {port} name {interface} no-zero-copy"
            )),
        };
        [create, Step::silent(format!("set interface state {interface} up"))]
    }

    fn bridge(&self, ports: &[String]) -> Vec<Step> {
        let member = |port: &String| {
            let join = format!("set interface l2 bridge {} 1", self.interface(port));
            self.add_port(port).into_iter().chain([Step::silent(join)])
        };
        ports.iter().flat_map(member).collect()
    }

    fn translate(&self) -> Vec<Step> {
        let (inside, outside) = (self.interface("in0"), self.interface("out0"));
        let mut steps: Vec<Step> =
            ["in0", "out0"].into_iter().flat_map(|port| self.add_port(port)).collect();
        let settings = [
            format!("set interface ip address {inside} {GATEWAY}/24"),
            format!("set interface ip address {outside} {EXTERNAL}/24"),
            "nat44 plugin enable".to_owned(),
            format!("nat44 add address {EXTERNAL}"),
            format!("set interface nat44 in {inside} out {outside}"),
        ];
        steps.extend(settings.into_iter().map(Step::silent));
        for (port, protocol) in PORTS.flat_map(|port| [(port, "tcp"), (port, "udp")]) {
            let (own, outer) = (format!("{INSIDE} {port}"), format!("{EXTERNAL} {port}"));
            steps.push(Step::silent(format!(
                "nat44 add static mapping {protocol} local {own} external {outer}"
            )));
        }
        steps
    }
}

impl Step {
    const fn silent(command: String) -> Self {
        Self { command, answer: String::new() }
    }

    fn answered(command: String, answer: &str) -> Self {
        Self { command, answer: answer.to_owned() }
    }

    fn take(&self, folder: &Path) -> Result<()> {
        let said = ask(folder, &self.command)?;
        let said = said.trim();
        if said == self.answer {
            return Ok(());
        }
        Err(BenchError::Command { command: format!("vppctl {}", self.command), said: said.into() })
    }
}

fn program(name: &str) -> Command {
    Command::new(process::find(name).unwrap_or_else(|| name.into()))
}

fn socket(folder: &Path) -> String {
    folder.join("cli.sock").display().to_string()
}

/// Has VPP carry out a command; gives what it answers.
fn ask(folder: &Path, command: &str) -> Result<String> {
    let words = command.split_whitespace();
    run_with(program("vppctl").arg("-s").arg(socket(folder)).args(words))
}

/// Without who built it, where and when.
fn version_in(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    line.split(" built by ").next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_the_published_scenario_is_mapped() {
        let steps = Vpp { driver: Driver::AfPacket }.translate();
        for port in PORTS {
            for protocol in ["tcp", "udp"] {
                let end = format!("local {INSIDE} {port} external {EXTERNAL} {port}");
                let command = format!("nat44 add static mapping {protocol} {end}");
                assert!(steps.contains(&Step::silent(command)), "{protocol} {port}");
            }
        }
    }

    #[test]
    fn a_version_does_not_say_who_built_it() {
        let said = "vpp v26.06-release built by root on host at 2026-06-24T10:00:00\n";
        assert_eq!(version_in(said), "vpp v26.06-release");
        assert_eq!(version_in(""), "");
    }
}
