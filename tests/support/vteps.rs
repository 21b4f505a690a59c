//! Other people's VXLAN: the kernel's device behind a bridge, and Open vSwitch.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::path::Path;

use crate::hosts::{Namespace, Process, inside, output, run, skip, skip_unless, text, wait_for};
use crate::machines::{address, cable, set, without_offloads};

/// Number of the network.
pub const VNI: &str = "42";

/// True, and said so, if real hosts or the kernel's device cannot be made here, or a tool is
/// missing.
pub fn skip_unless_vxlan(tools: &[&str]) -> bool {
    if skip_unless(tools) {
        return true;
    }
    let netns = Namespace::new("x");
    let device = ["link", "add", "vx0", "type", "vxlan", "id", VNI, "dstport", "4789"];
    let has_device = output(&[&["ip", "-n", &netns.0], &device[..]].concat()).status.success();
    if !has_device {
        skip::skip("no vxlan device in this kernel");
    }
    !has_device
}

/// A machine with a VTEP that is none of tapway's, and a host behind it.
pub trait Vtep {
    /// The namespace of its host, whose device is `eth0`.
    fn host(&self) -> &str;
    /// Its table of MACs, for messages.
    fn table(&self) -> String;
}

/// The kernel's `vxlan` device and a bridge.
pub struct Kernel<'a> {
    machine: &'a Namespace,
    host: Namespace,
}

impl<'a> Kernel<'a> {
    /// Where a machine's cable is a veth, the kernel leaves the checksums of inner packets to a
    /// device that does not exist, and who gets them by a socket gets them unfinished: `eth0` is to
    /// be without offloads, as if it were a NIC that has done its part.
    ///
    /// `options` are those of `ip link add type vxlan`, `remote` or `group` among them; `mtu` is
    /// that inside.
    pub fn new(machine: &'a Namespace, options: &[&str], mtu: u16) -> Self {
        let host = Namespace::new("k");
        without_offloads(&machine.0, "eth0");
        let vxlan = ["link", "add", "vx0", "type", "vxlan", "id", VNI, "dstport", "4789"];
        set(machine, &[&vxlan[..], options].concat());
        set(machine, &["link", "add", "br0", "type", "bridge"]);
        cable((machine, "h0"), (&host, "eth0"), mtu);
        for device in ["vx0", "h0"] {
            set(machine, &["link", "set", device, "master", "br0"]);
        }
        for device in ["vx0", "br0"] {
            set(machine, &["link", "set", device, "mtu", &mtu.to_string(), "up"]);
        }
        Self { machine, host }
    }
}

impl Vtep for Kernel<'_> {
    fn host(&self) -> &str {
        &self.host.0
    }

    fn table(&self) -> String {
        text(&inside(&self.machine.0, &["bridge", "fdb", "show", "br", "br0"]))
    }
}

impl Drop for Kernel<'_> {
    /// The machine is free for another VTEP.
    fn drop(&mut self) {
        for device in ["vx0", "h0", "br0"] {
            set(self.machine, &["link", "del", device]);
        }
    }
}

/// Open vSwitch with the datapath of its own process: no module, no service of the system.
pub struct OpenVswitch {
    _switch: Process,
    _database: Process,
    dir: tempfile::TempDir,
    host: Namespace,
}

/// The tools it needs.
pub const OVS_TOOLS: [&str; 5] =
    ["ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-appctl"];

impl OpenVswitch {
    /// Takes `eth0` of the machine into a bridge that has the machine's address then.
    pub fn new(machine: &Namespace, (own, remote): (&str, &str), mtu: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Namespace::new("v");
        let at = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        run(&["ovsdb-tool", "create", &at("conf.db"), schema]);
        let start = |program: &str, arguments: &[&str]| {
            let place = ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"]
                .map(|variable| format!("{variable}={}", dir.path().display()));
            let place: Vec<&str> = place.iter().map(String::as_str).collect();
            let inside = ["ip", "netns", "exec", &machine.0, "env"];
            Process::spawn(&[&inside[..], &place, &[program], arguments].concat())
        };
        let (remotes, control) =
            (format!("--remote=punix:{}", at("db.sock")), format!("--unixctl={}", at("db.ctl")));
        let database = start("ovsdb-server", &[&at("conf.db"), &remotes, &control]);
        wait_for("the database", || Path::new(&at("db.sock")).exists());
        let (db, control, log) = (
            format!("unix:{}", at("db.sock")),
            format!("--unixctl={}", at("ovs.ctl")),
            format!("--log-file={}", at("ovs.log")),
        );
        let switch =
            start("ovs-vswitchd", &[&db, "--disable-system", &control, &log, "-vconsole:off"]);
        wait_for("the switch", || Path::new(&at("ovs.ctl")).exists());
        cable((machine, "h0"), (&host, "eth0"), mtu);
        // Its process reads plain frames only.
        without_offloads(&host.0, "eth0");
        let vswitch = Self { _switch: switch, _database: database, dir, host };
        vswitch.configure(remote);
        set(machine, &["address", "flush", "dev", "eth0"]);
        address(machine, "phy", &format!("{own}/24"));
        set(machine, &["link", "set", "phy", "up"]);
        vswitch
    }

    fn configure(&self, remote: &str) {
        let db = format!("--db=unix:{}", self.dir.path().join("db.sock").display());
        let bridge =
            |name: &str| format!("add-br {name} -- set bridge {name} datapath_type=netdev");
        let vxlan = format!(
            "add-port int vx0 -- set interface vx0 type=vxlan options:remote_ip={remote} \
             options:key={VNI}"
        );
        let all = format!(
            "{} -- add-port phy eth0 -- {} -- add-port int h0 -- {vxlan}",
            bridge("phy"),
            bridge("int")
        );
        // It waits until the switch has done so.
        let all: Vec<&str> = all.split_whitespace().collect();
        run(&[&["ovs-vsctl", &db, "--timeout=20"], &all[..]].concat());
    }
}

impl Vtep for OpenVswitch {
    fn host(&self) -> &str {
        &self.host.0
    }

    fn table(&self) -> String {
        let control = self.dir.path().join("ovs.ctl");
        run(&["ovs-appctl", "-t", control.to_str().expect("a path"), "fdb/show", "int"])
    }
}
