//! Gateways and addresses of a network over two machines: one gateway that both have, and leases
//! that each gives its own hosts.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/lan.rs"]
mod lan;
#[path = "support/machines.rs"]
mod machines;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hosts::{Switch, skip_unless};
use lan::{Lan, Place, gateway, vtep, web, web_address};
use machines::{Recording, Station, must, ping, reaches, set_at};

const TOOLS: [&str; 6] = ["ip", "nsenter", "ping", "tcpdump", "busybox", "ss"];
/// A station that moves.
const ROAMER: Station = Station { mac: "02:00:00:00:00:4d", address: "10.0.0.77" };
/// The gateway of both, and its MAC.
const GATEWAY: &str = "10.0.0.1";
const GATEWAY_MAC: &str = "02:42:0a:00:00:01";

/// The network with some keys of its own, a host and a dock.
fn blue(place: Place<'_>, keys: &str) -> String {
    let Place { number, web: web_netns, dock, .. } = place;
    format!(
        "[network.blue]\nsubnet = \"10.0.0.0/24\"\nvxlan = {{ vni = 42, peers = [\"{}\"] }}\n{keys}\n\
         [port.{}]\nnetwork = \"blue\"\nnetns = \"{web_netns}\"\naddress = \"{}\"\n\
         [port.dock{number}]\nnetwork = \"blue\"\nnetns = \"{dock}\"\n",
        vtep(3 - number),
        web(number),
        web_address(number)
    )
}

/// The router outside of a machine.
fn router(number: usize) -> String {
    format!("192.168.3{number}.1")
}

/// The ports behind which a switch has seen a MAC; the gateway's own has none.
fn ports_of(switch: &Switch, mac: &str) -> Vec<Option<String>> {
    let rows = switch.json("fdb");
    let rows = rows.as_array().unwrap().iter().filter(|row| row["mac"] == mac);
    rows.map(|row| row["port"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_gateway_that_both_machines_have_is_the_nearest_one_wherever_a_host_moves() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lan = Lan::with(2, |place| {
        let uplink = format!(
            "[uplink]\nnetns = \"{}o\"\naddress = \"192.168.3{}.10/24\"\ngateway = \"{}\"\n",
            place.web,
            place.number,
            router(place.number)
        );
        (true, uplink + &blue(place, &format!("gateway = \"{GATEWAY}\"")))
    });
    for machine in &lan.machines {
        ping(&machine.web, GATEWAY);
        ping(&machine.web, &router(machine.number));
        reaches(&machine.web, &web_address(3 - machine.number));
        // One answer to each question, by the one here.
        let ask = ["busybox", "arping", "-b", "-c", "3", "-w", "3", "-I", "eth0", GATEWAY];
        let said = must(&machine.web, &ask);
        assert_eq!(said.matches("reply from").count(), 3, "{said}");
        assert_eq!(said.to_lowercase().matches(GATEWAY_MAC).count(), 3, "{said}");
    }
    let [first, second] = lan.machines.as_slice() else { panic!("two machines") };
    for (from, to) in [(second, first), (first, second), (second, first)] {
        ROAMER.leaves(&from.dock);
        ROAMER.appears(&to.dock);
        set_at(&to.dock, &["route", "replace", "default", "via", GATEWAY]);
        ping(&to.dock, &router(to.number));
        ping(&to.dock, &web_address(from.number));
        for machine in [from, to] {
            reaches(&machine.web, ROAMER.address);
            // That of the other machine stays there.
            assert_eq!(ports_of(&machine.switch, GATEWAY_MAC), [None]);
        }
        assert_eq!(ports_of(&to.switch, ROAMER.mac), [Some(format!("dock{}", to.number))]);
    }
    lan.end(&["port_down", "tx_error", "no_other_port"]);
}

#[test]
fn each_machine_leases_addresses_to_its_own_hosts_which_reach_each_other() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lan = Lan::with(2, |place| {
        let number = place.number;
        let keys = format!(
            "gateway = \"{}\"\ndhcp = {{ range = \"10.0.0.1{number}0-10.0.0.1{number}9\" }}",
            gateway(number)
        );
        (true, blue(place, &keys))
    });
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    let bound = "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip address add \"$ip/$subnet\" dev \"$interface\"\n\
        ip link set \"$interface\" mtu \"$mtu\"\n";
    fs::write(&script, bound).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for machine in &lan.machines {
        let other = &lan.machines[2 - machine.number];
        let heard = Recording::start(&other.web, "eth0", "udp or arp");
        let client = ["busybox", "udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "2", "-O", "mtu"];
        must(&machine.dock, &[&client[..], &["-i", "eth0", "-s", script]].concat());
        let device = must(&machine.dock, &["ip", "address", "show", "dev", "eth0"]);
        let address = format!("inet 10.0.0.1{}0/24", machine.number);
        assert!(device.contains(&address) && device.contains("mtu 1450"), "{device}");
        // The recording hears the other's ARP, which comes later.
        reaches(&machine.dock, &web_address(other.number));
        assert!(!heard.packets("arp").is_empty());
        let requests = heard.stop("udp port 67");
        assert!(requests.is_empty(), "{requests:?}");
    }
    let [first, second] = lan.machines.as_slice() else { panic!("two machines") };
    ping(&first.dock, "10.0.0.120");
    ping(&second.dock, "10.0.0.110");
    lan.end(&["port_down"]);
}
