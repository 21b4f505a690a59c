//! One network over two machines, tapway at one of them: the other has the kernel's `vxlan` device
//! or Open vSwitch.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/machines.rs"]
mod machines;
#[path = "support/vteps.rs"]
mod vteps;

use std::net::Ipv4Addr;

use hosts::{Namespace, Switch, inside, skip_unless, text, unique, wait_for};
use machines::{
    FRAGMENTS, MIB, Recording, Station, address, cable, must, ping, reaches, set, stream,
    without_offloads,
};
use vteps::{Kernel, OVS_TOOLS, OpenVswitch, VNI, Vtep};

const TOOLS: [&str; 7] = ["ip", "nsenter", "ping", "tcpdump", "ethtool", "sha256sum", "busybox"];
/// The machines in the underlay, tapway's first.
const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";
/// A host of each in the network.
const WEB: Station = Station { mac: "02:42:0a:00:00:0a", address: "10.0.0.10" };
const DB: Station = Station { mac: "02:00:00:00:00:14", address: "10.0.0.20" };
/// One that moves.
const ROAMER: Station = Station { mac: "02:00:00:00:00:4d", address: "10.0.0.77" };
/// What fits into a tunnel over Ethernet.
const INNER_MTU: u16 = 1450;

/// tapway's machine with two hosts, and the other machine.
struct Lab {
    switch: Switch,
    near: Namespace,
    far: Namespace,
    web: String,
    dock: String,
}

impl Lab {
    /// Both machines on one cable.
    fn new() -> Self {
        let (near, far) = (Namespace::new("n"), Namespace::new("f"));
        cable((&near, "eth0"), (&far, "eth0"), 1500);
        address(&near, "eth0", &format!("{NEAR}/24"));
        address(&far, "eth0", &format!("{FAR}/24"));
        Self::start((near, far), FAR, "[vxlan]\nunderlay = \"socket\"\n")
    }

    /// With the machines and what tapway's underlay is.
    fn start((near, far): (Namespace, Namespace), peer: &str, underlay: &str) -> Self {
        let (web, dock) = (unique("a"), unique("b"));
        let switch = Switch::start_in(
            Some(&near.0),
            &format!(
                "{underlay}[network.blue]\nsubnet = \"10.0.0.0/24\"\n\
                 vxlan = {{ vni = {VNI}, peers = [\"{peer}\"] }}\n\
                 [port.web]\nnetwork = \"blue\"\nnetns = \"{web}\"\naddress = \"{}\"\n\
                 [port.dock]\nnetwork = \"blue\"\nnetns = \"{dock}\"\n",
                WEB.address
            ),
        );
        Self { switch, near, far, web, dock }
    }

    /// A ping each way, then so many bytes by TCP.
    fn talks_with(&self, host: &str, len: u64) {
        DB.appears(host);
        reaches(&self.web, DB.address);
        reaches(host, WEB.address);
        stream(&self.web, (host, ip(DB.address)), len);
        stream(host, (&self.web, ip(WEB.address)), len);
        let full = ["ping", "-n", "-c", "1", "-W", "3", "-M", "do", "-s", "1422", DB.address];
        must(&self.web, &full);
    }

    /// The ports behind which a MAC is.
    fn ports_of(&self, mac: &str) -> Vec<String> {
        let rows = self.switch.json("fdb");
        let rows = rows.as_array().unwrap().iter().filter(|row| row["mac"] == mac);
        rows.map(|row| row["port"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends the switch: every frame that came is accounted for, and those that were lost are lost
    /// for reasons that are meant.
    fn ends(self, allowed: &[&str]) {
        let drops = self.switch.json("drops");
        for row in drops.as_array().unwrap() {
            let reason = row["reason"].as_str().unwrap();
            assert!(allowed.contains(&reason), "{row}");
        }
        let totals = self.switch.json("stats")["totals"].clone();
        let count = |name: &str| totals[name].as_u64().unwrap();
        let ended = ["forwarded", "flooded", "local", "dropped", "waiting"].map(count);
        assert_eq!(count("received"), ended.iter().sum::<u64>(), "{totals}");
        assert_eq!(self.switch.stop(), Some(0));
    }
}

fn ip(address: &str) -> Ipv4Addr {
    address.parse().unwrap()
}

/// With its process's datapath, frames on the cable have their final size and checksums.
fn open_vswitch(lab: &Lab) -> OpenVswitch {
    without_offloads(&lab.near.0, "eth0");
    without_offloads(&lab.far.0, "eth0");
    OpenVswitch::new(&lab.far, (FAR, NEAR), INNER_MTU)
}

#[test]
fn hosts_behind_the_kernels_device_are_reached_with_and_without_udp_checksums() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let wire = Recording::start(&lab.far.0, "eth0", "ip");
    for (options, len) in [("udpcsum", 64 * MIB), ("noudpcsum", 16 * MIB)] {
        let kernel = Kernel::new(&lab.far, &["remote", NEAR, options], INNER_MTU);
        lab.talks_with(kernel.host(), len);
    }
    let fragments = wire.packets(FRAGMENTS);
    assert!(fragments.is_empty(), "{fragments:?}");
    let foreign = wire.stop("udp and not dst port 4789");
    assert!(foreign.is_empty(), "{foreign:?}");
    lab.ends(&["port_down"]);
}

#[test]
fn hosts_behind_open_vswitch_are_reached() {
    if skip_unless(&[&TOOLS[..], &OVS_TOOLS].concat()) {
        return;
    }
    let lab = Lab::new();
    let ovs = open_vswitch(&lab);
    let wire = Recording::start(&lab.near.0, "eth0", "ip");
    lab.talks_with(ovs.host(), 64 * MIB);
    let fragments = wire.stop(FRAGMENTS);
    assert!(fragments.is_empty(), "{fragments:?}");
    drop(ovs);
    lab.ends(&["port_down"]);
}

/// `cargo test --release --test vxlan_interop -- --ignored`
#[test]
#[ignore = "moves four gibibytes; see above"]
fn a_gibibyte_each_way_has_the_right_digest_with_both() {
    if skip_unless(&[&TOOLS[..], &OVS_TOOLS].concat()) {
        return;
    }
    let lab = Lab::new();
    let kernel = Kernel::new(&lab.far, &["remote", NEAR], INNER_MTU);
    lab.talks_with(kernel.host(), 1024 * MIB);
    drop(kernel);
    let ovs = open_vswitch(&lab);
    lab.talks_with(ovs.host(), 1024 * MIB);
    drop(ovs);
    lab.ends(&["port_down"]);
}

/// A host goes from behind tapway to behind the other and back; whoever talks with it goes on.
fn moves(lab: &Lab, peer: &dyn Vtep) {
    let tunnel = format!("blue@{FAR}");
    for _ in 0..2 {
        for (place, other, port) in
            [(&*lab.dock, peer.host(), "dock"), (peer.host(), &*lab.dock, &*tunnel)]
        {
            ROAMER.leaves(other);
            ROAMER.appears(place);
            for from in [&lab.web, &lab.far.0] {
                reaches(from, ROAMER.address);
            }
            ping(place, WEB.address);
            assert_eq!(lab.ports_of(ROAMER.mac), [port], "{}", peer.table());
            let is_learned = peer.table().to_lowercase().contains(ROAMER.mac);
            assert!(is_learned, "{}", peer.table());
        }
    }
}

#[test]
fn a_host_moves_behind_the_kernels_device_and_back() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let kernel = Kernel::new(&lab.far, &["remote", NEAR], INNER_MTU);
    address(&lab.far, "br0", "10.0.0.9/24");
    moves(&lab, &kernel);
    drop(kernel);
    // Where it was before, the device is down.
    lab.ends(&["port_down", "tx_error"]);
}

#[test]
fn a_host_moves_behind_open_vswitch_and_back() {
    if skip_unless(&[&TOOLS[..], &OVS_TOOLS].concat()) {
        return;
    }
    let lab = Lab::new();
    let ovs = open_vswitch(&lab);
    address(&lab.far, "int", "10.0.0.9/24");
    set(&lab.far, &["link", "set", "int", "mtu", "1450", "up"]);
    without_offloads(&lab.far.0, "int");
    moves(&lab, &ovs);
    drop(ovs);
    lab.ends(&["port_down", "tx_error"]);
}

/// A kernel's VTEP behind a router, whose link to it takes 1400 bytes; tapway's own is larger.
fn a_smaller_link_is_told(has_address: bool, underlay: &str, allowed: &[&str]) {
    const BEYOND: &str = "198.51.100.2";
    let machines = ["n", "r", "f"].map(Namespace::new);
    let [near, router, far] = &machines;
    cable((near, "eth0"), (router, "left"), 1500);
    cable((router, "right"), (far, "eth0"), 1400);
    if has_address {
        address(near, "eth0", "192.0.2.1/24");
        set(near, &["route", "add", "default", "via", "192.0.2.254"]);
    }
    address(router, "left", "192.0.2.254/24");
    address(router, "right", "198.51.100.254/24");
    address(far, "eth0", "198.51.100.2/24");
    set(far, &["route", "add", "default", "via", "198.51.100.254"]);
    must(&router.0, &["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    let [near, router, far] = machines;
    let lab = Lab::start((near, far), BEYOND, underlay);
    let kernel = Kernel::new(&lab.far, &["remote", NEAR], 1350);
    let links = ["left", "right"].map(|device| Recording::start(&router.0, device, "ip"));

    DB.appears(kernel.host());
    reaches(&lab.web, DB.address);
    let large = ["ping", "-n", "-M", "do", "-s", "1422", "-c", "5", "-i", "0.3", "-W", "1"];
    let said = text(&inside(&lab.web, &[&large[..], &[DB.address]].concat()));
    assert!(said.contains("mtu = 1350") || said.contains("mtu=1350"), "{said}");
    must(&lab.web, &["ping", "-n", "-M", "do", "-s", "1322", "-c", "1", "-W", "3", DB.address]);
    // What may be cut is, inside.
    must(&lab.web, &["ping", "-n", "-M", "dont", "-s", "4000", "-c", "1", "-W", "3", DB.address]);
    stream(&lab.web, (kernel.host(), ip(DB.address)), 16 * MIB);
    stream(kernel.host(), (&lab.web, ip(WEB.address)), 16 * MIB);
    for link in links {
        assert!(!link.packets("udp dst port 4789").is_empty());
        let fragments = link.stop(FRAGMENTS);
        assert!(fragments.is_empty(), "{fragments:?}");
    }
    assert!(lab.switch.dropped("fragmentation_needed") >= 1);
    let rows = lab.switch.json("peers");
    assert_eq!(rows[0]["mtu"], 1350, "{rows}");
    drop(kernel);
    lab.ends(allowed);
}

#[test]
fn a_smaller_link_on_the_way_is_told_to_the_host_and_nothing_is_ever_fragmented() {
    if skip_unless(&TOOLS) {
        return;
    }
    let allowed = ["port_down", "fragmentation_needed"];
    a_smaller_link_is_told(true, "[vxlan]\nunderlay = \"socket\"\n", &allowed);
}

#[test]
fn a_smaller_link_is_told_by_tunnels_of_the_uplink_as_well() {
    if skip_unless(&TOOLS) {
        return;
    }
    let underlay = "[uplink]\nkind = \"device\"\ndevice = \"eth0\"\naddress = \"192.0.2.1/24\"\n\
        gateway = \"192.0.2.254\"\n[vxlan]\nunderlay = \"uplink\"\n";
    let alone = ["no_other_port", "arp_not_for_us"];
    let allowed = [&["port_down", "fragmentation_needed"], &alone[..]].concat();
    a_smaller_link_is_told(false, underlay, &allowed);
}

#[test]
fn class_and_congestion_of_the_way_pass_between_the_packets_outside_and_inside() {
    if skip_unless(&[&TOOLS[..], &["nft"]].concat()) {
        return;
    }
    let lab = Lab::new();
    let kernel = Kernel::new(&lab.far, &["remote", NEAR, "tos", "inherit"], INNER_MTU);
    DB.appears(kernel.host());
    reaches(&lab.web, DB.address);
    let wire = Recording::start(&lab.far.0, "eth0", "udp");
    let host = Recording::start(&lab.web, "eth0", "icmp");
    let ping = |tos: &str| {
        let ping = ["ping", "-n", "-c", "1", "-W", "1", "-Q", tos, DB.address];
        inside(&lab.web, &ping).status.success()
    };
    // AF11, by a sender that takes marks; its echo returns in the same class.
    assert!(ping("0x2a"));
    wait_for("its datagrams", || wire.packets("ip[1] == 0x2a").len() == 2);
    assert_eq!(host.packets("icmp[0] == 0 and ip[1] == 0x2a").len(), 1);
    // The way back is congested.
    let mark = "add table ip way; add chain ip way out { type filter hook output priority 0; }; \
        add rule ip way out udp dport 4789 ip ecn set ce";
    must(&lab.far.0, &["nft", mark]);
    assert!(ping("0x2a"));
    wait_for("the mark", || host.packets("icmp[0] == 0 and ip[1] == 0x2b").len() == 1);
    assert!(!ping("0"), "who does not take marks gets nothing instead");
    assert!(lab.switch.dropped("vxlan_ecn") >= 1);
    must(&lab.far.0, &["nft", "delete", "table", "ip", "way"]);
    assert!(ping("0"));
    drop(kernel);
    lab.ends(&["port_down", "vxlan_ecn"]);
}
