//! One network over two machines, tapway at one of them: the other has the kernel's `vxlan` device
//! or Open vSwitch.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/machines.rs"]
mod machines;
#[path = "support/pair.rs"]
mod pair;
#[path = "support/vteps.rs"]
mod vteps;

use hosts::{Namespace, inside, skip_unless, text};
use machines::{
    FRAGMENTS, MIB, Recording, Station, address, cable, must, ping, reaches, set, set_at,
    set_offloads, stream, without_offloads,
};
use pair::{DB, FAR, INNER_MTU, Lab, NEAR, WEB, ip};
use vteps::{Kernel, OVS_TOOLS, OpenVswitch, Vtep, skip_unless_vxlan};

const TOOLS: [&str; 7] = ["ip", "nsenter", "ping", "tcpdump", "ethtool", "sha256sum", "busybox"];
/// One that moves.
const ROAMER: Station = Station { mac: "02:00:00:00:00:4d", address: "10.0.0.77" };
/// What fits into a tunnel over the smaller link.
const SMALL_MTU: u16 = 1350;
/// The addresses of the hosts in another protocol.
const WEB_V6: &str = "fd00::a";
const DB_V6: &str = "fd00::14";

/// With its process's datapath, frames on the cable have their final size and checksums.
fn open_vswitch(lab: &Lab) -> OpenVswitch {
    without_offloads(&lab.near.0, "eth0");
    without_offloads(&lab.far.0, "eth0");
    OpenVswitch::new(&lab.far, (FAR, NEAR), INNER_MTU)
}

#[test]
fn hosts_behind_the_kernels_device_are_reached_with_and_without_udp_checksums() {
    if skip_unless_vxlan(&TOOLS) {
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

/// Where a machine's cable is a veth, the kernel leaves the checksums of inner packets, and the
/// cutting of large ones, to a device that does not exist, and nobody says so.
#[test]
fn what_the_kernel_leaves_to_a_nic_that_is_not_there_is_done() {
    if skip_unless_vxlan(&TOOLS) {
        return;
    }
    let lab = Lab::new();
    let kernel = Kernel::new(&lab.far, &["remote", NEAR], INNER_MTU);
    for machine in [&lab.far.0, kernel.host()] {
        set_offloads(machine, "eth0", "on");
    }
    lab.talks_with(kernel.host(), 64 * MIB);
    drop(kernel);
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
    if skip_unless_vxlan(&[&TOOLS[..], &OVS_TOOLS].concat()) {
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
    if skip_unless_vxlan(&TOOLS) {
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
    if skip_unless_vxlan(&[&TOOLS[..], &OVS_TOOLS].concat()) {
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
    let lab = Lab::start((near, far), (underlay, BEYOND), "");
    let kernel = Kernel::new(&lab.far, &["remote", NEAR], SMALL_MTU);
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
    // IPv6 has no other way than to be told.
    for (host, own) in [(&*lab.web, WEB_V6), (kernel.host(), DB_V6)] {
        set_at(host, &["address", "add", &format!("{own}/64"), "dev", "eth0", "nodad"]);
    }
    reaches(&lab.web, DB_V6);
    let large = ["ping", "-n", "-M", "do", "-s", "1402", "-c", "3", "-i", "0.3", "-W", "1"];
    let said = text(&inside(&lab.web, &[&large[..], &[DB_V6]].concat()));
    assert!(said.contains("mtu=1350") || said.contains("mtu: 1350"), "{said}");
    stream(&lab.web, (kernel.host(), DB_V6.parse().unwrap()), 8 * MIB);
    stream(kernel.host(), (&lab.web, WEB_V6.parse().unwrap()), 8 * MIB);
    for link in links {
        assert!(!link.packets("udp dst port 4789").is_empty());
        let fragments = link.stop(FRAGMENTS);
        assert!(fragments.is_empty(), "{fragments:?}");
    }
    assert!(lab.switch.dropped("fragmentation_needed") >= 1);
    let rows = lab.switch.json("peers");
    assert_eq!(rows[0]["mtu"], SMALL_MTU, "{rows}");
    drop(kernel);
    lab.ends(allowed);
}

#[test]
fn a_smaller_link_on_the_way_is_told_to_the_host_and_nothing_is_ever_fragmented() {
    if skip_unless_vxlan(&TOOLS) {
        return;
    }
    let allowed = ["port_down", "fragmentation_needed"];
    a_smaller_link_is_told(true, "[vxlan]\nunderlay = \"socket\"\n", &allowed);
}

#[test]
fn a_smaller_link_is_told_by_tunnels_of_the_uplink_as_well() {
    if skip_unless_vxlan(&TOOLS) {
        return;
    }
    let underlay = "[uplink]\nkind = \"device\"\ndevice = \"eth0\"\naddress = \"192.0.2.1/24\"\n\
        gateway = \"192.0.2.254\"\n[vxlan]\nunderlay = \"uplink\"\n";
    let alone = ["no_other_port", "arp_not_for_us"];
    let allowed = [&["port_down", "fragmentation_needed"], &alone[..]].concat();
    a_smaller_link_is_told(false, underlay, &allowed);
}
