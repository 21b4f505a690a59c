//! Open vSwitch with its userspace datapath and TAP ports (faster there than veth pairs): learning
//! for L2, connection tracking by OpenFlow rules for translation. Database, sockets and processes
//! are the benchmark's own; a system's service is not touched.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::vde::adopt;
use super::{ONE_MACHINE, Peer, version_of};
use crate::error::{BenchError, Result};
use crate::figure::Scenario;
use crate::interrupt;
use crate::netns::Netns;
use crate::process::{self, Process, run_with};
use crate::testbed::{EXTERNAL, GATEWAY, Host, INSIDE, OUTSIDE, PORTS, Route, Testbed, hosts_of};

/// The database's schema, as packaged.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// What else the package brings.
const PROGRAMS: [&str; 4] = ["ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-ofctl"];
/// The router's MAC inside and outside.
const ROUTER_MACS: (&str, &str) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
/// How long a daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Open vSwitch.
pub struct Ovs;

impl Peer for Ovs {
    fn name(&self) -> &str {
        "ovs"
    }

    fn about(&self) -> String {
        "Open vSwitch, userspace datapath (without DPDK), TAP ports; NAT by ct() flows".to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        let missing = PROGRAMS.iter().find(|program| process::find(program).is_none());
        if let Some(program) = missing {
            return Err(format!("no `{program}`; install the package openvswitch-switch"));
        }
        if !Path::new(SCHEMA).is_file() {
            return Err(format!("no {SCHEMA}; install the package openvswitch-switch"));
        }
        version_of("ovs-vswitchd", &["--version"], "openvswitch-switch")
    }

    fn refuses(&self, scenario: Scenario) -> Option<&'static str> {
        (scenario == Scenario::Vxlan).then_some(ONE_MACHINE)
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        let is_translated = matches!(scenario, Scenario::Nat | Scenario::Published);
        let hosts = if is_translated {
            vec![Host::create("in", INSIDE)?, Host::create("out", OUTSIDE)?]
        } else {
            Host::create_many(hosts_of(scenario))?
        };
        let switch = Netns::create("sw")?;
        let mut testbed = Testbed::between(hosts.clone(), Testbed::folder()?);
        start_daemons(&mut testbed, &switch)?;
        add_ports(&testbed, &switch, &hosts)?;
        if is_translated {
            testbed.route = Route::translated(scenario, &hosts[0], &hosts[1]);
            translate(&testbed, &hosts[0], &hosts[1])?;
        }
        testbed.own.push(switch);
        Ok(testbed)
    }
}

/// A program of Open vSwitch that keeps to the testbed's folder.
fn program(testbed: &Testbed, name: &str) -> Command {
    let mut command = Command::new(process::find(name).unwrap_or_else(|| name.into()));
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, testbed.path());
    }
    command
}

fn start_daemons(testbed: &mut Testbed, switch: &Netns) -> Result<()> {
    let folder = testbed.path().to_owned();
    let database = folder.join("conf.db");
    let mut create = program(testbed, "ovsdb-tool");
    run_with(create.arg("create").arg(&database).arg(SCHEMA))?;

    let mut server = program(testbed, "ovsdb-server");
    server.arg(&database).arg(format!("--remote=punix:{}", socket(testbed)));
    server.arg(format!("--unixctl={}/server.ctl", folder.display()));
    let server = Process::start_with(server, Some(switch), &folder.join("server.log"))?;
    testbed.processes.push(server);
    interrupt::retry(PATIENCE, || vsctl(testbed, &["--no-wait", "init"]))?;

    let mut daemon = program(testbed, "ovs-vswitchd");
    daemon.arg(format!("unix:{}", socket(testbed)));
    daemon.arg(format!("--unixctl={}/switch.ctl", folder.display()));
    let daemon = Process::start_with(daemon, Some(switch), &folder.join("switch.log"))?;
    testbed.processes.push(daemon);
    testbed.check()
}

fn socket(testbed: &Testbed) -> String {
    testbed.path().join("db.sock").display().to_string()
}

fn vsctl(testbed: &Testbed, arguments: &[&str]) -> Result<()> {
    let mut command = program(testbed, "ovs-vsctl");
    command.arg(format!("--db=unix:{}", socket(testbed))).arg("--timeout=5").args(arguments);
    run_with(&mut command).map(|_| ())
}

/// One TAP for each host; OpenFlow numbers them from 1.
fn add_ports(testbed: &Testbed, switch: &Netns, hosts: &[Host]) -> Result<()> {
    let bridge = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"];
    vsctl(testbed, &bridge)?;
    for (at, host) in hosts.iter().enumerate() {
        let (tap, number) = (format!("tap{at}"), format!("ofport_request={}", at + 1));
        let port = ["add-port", "br0", &tap, "--", "set", "interface", &tap, "type=tap", &number];
        vsctl(testbed, &port)?;
        adopt(switch, &tap, host)?;
    }
    Ok(())
}

/// Routing and translation by flows; what neighbours would ask for by ARP is set on the hosts.
fn translate(testbed: &Testbed, inside: &Host, outside: &Host) -> Result<()> {
    let (gateway_mac, external_mac) = ROUTER_MACS;
    let neighbour =
        |address, mac| format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent");
    inside.netns.ip(&neighbour(GATEWAY, gateway_mac))?;
    inside.netns.ip(&format!("route add default via {GATEWAY}"))?;
    outside.netns.ip(&neighbour(EXTERNAL, external_mac))?;

    let file = testbed.path().join("flows");
    let flows = flows(&inside.netns.mac("eth0")?, &outside.netns.mac("eth0")?);
    std::fs::write(&file, flows)
        .map_err(|error| BenchError::System { what: file.display().to_string(), error })?;
    let bridge = format!("unix:{}", testbed.path().join("br0.mgmt").display());
    let mut command = program(testbed, "ovs-ofctl");
    run_with(command.args(["-OOpenFlow13", "replace-flows", &bridge]).arg(&file))?;
    Ok(())
}

fn flows(inside_mac: &str, outside_mac: &str) -> String {
    let (gateway_mac, external_mac) = ROUTER_MACS;
    let hop = |source, destination, port| {
        format!("mod_dl_src:{source},mod_dl_dst:{destination},dec_ttl,output:{port}")
    };
    let out = hop(external_mac, outside_mac, 2);
    let back = hop(gateway_mac, inside_mac, 1);
    let mut flows = format!(
        "table=0,ip,actions=ct(table=1,zone=1,nat)\n\
         table=1,in_port=1,ip,ct_state=+trk+new,actions=ct(commit,zone=1,nat(src={EXTERNAL})),{out}\n\
         table=1,in_port=1,ip,ct_state=+trk+est,actions={out}\n\
         table=1,in_port=2,ip,ct_state=+trk+est,actions={back}\n"
    );
    for port in PORTS {
        for protocol in ["tcp", "udp"] {
            flows.push_str(&format!(
                "table=1,in_port=2,{protocol},tp_dst={port},ct_state=+trk+new,\
                 actions=ct(commit,zone=1,nat(dst={INSIDE})),{back}\n"
            ));
        }
    }
    flows
}
