//! Who has part of a network over several machines: peers and endpoints that come and go while it
//! runs, peers that make themselves known, and multicast groups.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/lan.rs"]
mod lan;
#[path = "support/machines.rs"]
mod machines;
#[path = "support/vteps.rs"]
mod vteps;

use std::process::Stdio;

use serde_json::Value;

use hosts::{Process, inside, skip_unless, text, wait_for};
use lan::{Lan, Machine, Place, Underlay, gateway, join, tunnel, vtep, web, web_address};
use machines::{Recording, Station, must, ping, pings, reaches};
use vteps::{Kernel, Vtep, skip_unless_vxlan};

const TOOLS: [&str; 6] = ["ip", "nsenter", "ping", "ethtool", "busybox", "ss"];

/// Peers of a machine, and how each became one.
fn peers(machine: &Machine) -> Vec<(String, String)> {
    let rows = machine.switch.json("peers");
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (word(row, "peer"), word(row, "from"))).collect()
}

/// A command of tapway that must do as it says, or say so.
fn told(machine: &Machine, arguments: &str) -> (Option<i32>, String) {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = machine.switch.ask(&arguments);
    (output.status.code(), text(&output))
}

fn does(machine: &Machine, arguments: &str) {
    let (code, said) = told(machine, arguments);
    assert_eq!(code, Some(0), "{arguments}: {said}");
}

/// Both, and no third network: `blue` over two machines, with some keys of its own.
fn blue(place: Place<'_>, vxlan: &str) -> String {
    let number = place.number;
    format!(
        "[network.blue]\nsubnet = \"10.0.0.0/24\"\ngateway = \"{}\"\nvxlan = {{ vni = 42, {vxlan} }}\n\
         [port.{}]\nnetwork = \"blue\"\nnetns = \"{}\"\naddress = \"{}\"\n",
        gateway(number),
        web(number),
        place.web,
        web_address(number)
    )
}

#[test]
fn changes_of_peers_and_endpoints_disturb_nothing_else() {
    if skip_unless(&[&TOOLS[..], &["iperf3"]].concat()) {
        return;
    }
    let lan = Lan::start(3, Underlay::Socket);
    let [first, second, third] = lan.machines.as_slice() else { panic!("three machines") };
    for (from, to) in lan.pairs() {
        reaches(&from.web, &web_address(to.number));
    }
    let _server = Process::spawn(&["ip", "netns", "exec", &second.web, "iperf3", "-s", "-1"]);
    wait_for("iperf3", || {
        !inside(&second.web, &["ss", "-ltnH", "sport = :5201"]).stdout.is_empty()
    });
    let start = |command: &[&str]| {
        let mut all = std::process::Command::new("ip");
        all.args(["netns", "exec", &first.web]).args(command);
        all.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    };
    // Less than what the machine can carry: whatever is lost is lost by a change.
    let stream = start(&["iperf3", "-c", &web_address(2), "-t", "5", "-b", "100M", "-J"]);
    let echoes =
        start(&["ping", "-n", "-q", "-i", "0.02", "-c", "200", "-W", "3", &web_address(3)]);
    for round in 0..10 {
        for machine in [first, third] {
            does(machine, "network peer add blue 192.0.2.98 192.0.2.99");
            let add = "network endpoint add blue --name db --address 10.0.0.88 --peer";
            does(machine, &format!("{add} 192.0.2.98"));
            // The same again is no change; another peer is a move.
            does(machine, &format!("{add} 192.0.2.98"));
            does(machine, &format!("{add} 192.0.2.99"));
            let fdb = machine.switch.show(&["fdb"]);
            assert!(fdb.contains("02:42:0a:00:00:58 dev blue@192.0.2.99"), "{round}: {fdb}");
            let named = inside(&machine.web, &["getent", "hosts", "db"]);
            assert!(text(&named).starts_with("10.0.0.88"), "{round}: {}", text(&named));
            does(machine, "network endpoint rm blue 10.0.0.88");
            does(machine, "network peer rm blue 192.0.2.98 192.0.2.99");
        }
    }
    let echoes = echoes.wait_with_output().unwrap();
    assert!(text(&echoes).contains(" 0% packet loss"), "{}", text(&echoes));
    let stream = stream.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&stream.stdout).unwrap();
    for interval in report["intervals"].as_array().unwrap() {
        let bytes = interval["sum"]["bytes"].as_u64().unwrap();
        assert!(bytes > 6_000_000, "{interval}");
    }
    assert!(!inside(&first.web, &["getent", "hosts", "db"]).status.success());
    lan.has_nothing_stale(None);
    lan.end(&["port_down"]);
}

#[test]
fn a_network_made_live_on_two_machines_survives_a_kill_and_leaves_nothing() {
    if skip_unless(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut lan = Lan::with(2, |place| {
        let state = dir.path().join(place.number.to_string());
        let text = format!(
            "[state]\ndirectory = \"{}\"\n[network.local]\nsubnet = \"172.30.0.0/24\"\n",
            state.display()
        );
        (true, text)
    });
    let add = |number: usize| {
        let other = 3 - number;
        let (name, at) = (web(other), web_address(other));
        format!("network endpoint add blue --name {name} --address {at} --peer {}", vtep(other))
    };
    for machine in &lan.machines {
        let (number, peer) = (machine.number, vtep(3 - machine.number));
        let own = gateway(number);
        let network = format!("--subnet 10.0.0.0/24 --gateway {own} --vxlan 42 --peer {peer}");
        does(machine, &format!("network create {network} blue"));
        let port = format!("--netns {} --ip {}", machine.web, web_address(number));
        does(machine, &format!("port add --network blue {port} {}", web(number)));
        does(machine, &add(number));
    }
    let is_whole = |lan: &Lan| {
        for (from, to) in lan.pairs() {
            reaches(&from.web, &web_address(to.number));
            ping(&from.web, &web(to.number));
        }
        lan.has_nothing_stale(None);
    };
    is_whole(&lan);
    lan.machines[0].switch.kill();
    lan.machines[0].restart();
    is_whole(&lan);
    let first = &lan.machines[0];
    // What is said wrongly is wrong until it is said rightly.
    does(first, "network peer add blue 192.0.2.3");
    does(first, &add(1).replace(&vtep(2), &vtep(3)));
    assert!(!pings(&first.web, &web_address(2)));
    does(first, &add(1));
    does(first, "network peer rm blue 192.0.2.3");
    is_whole(&lan);
    let (code, said) = told(first, "network endpoint add blue --address 10.0.0.9 --peer 192.0.2.9");
    assert!(code == Some(3) && said.contains("192.0.2.9 is no peer of network blue"), "{said}");
    let (code, said) = told(first, "network peer rm blue 192.0.2.9");
    assert!(code == Some(3), "{said}");
    for machine in &lan.machines {
        does(machine, &format!("port rm {}", web(machine.number)));
        does(machine, "network rm blue");
        assert_eq!(peers(machine), []);
        let sockets = text(&inside(&machine.netns.0, &["ss", "-Hlnu", "sport = :4789"]));
        assert_eq!(sockets, "", "nothing listens any more");
    }
    lan.end(&["port_down", "vxlan_no_way", "vxlan_foreign_peer", "vxlan_unknown_vni"]);
}

#[test]
fn who_sends_frames_becomes_a_peer_where_any_is_accepted_and_is_a_stranger_elsewhere() {
    if skip_unless(&TOOLS) {
        return;
    }
    // The first knows nobody, the second the first, the third the second; it has another network.
    let mut lan = Lan::with(3, |place| {
        let text = match place.number {
            1 => blue(place, "accept = \"any\""),
            2 => blue(place, "peers = [\"192.0.2.1\"]"),
            _ => {
                let red = "[network.red]\nsubnet = \"10.1.0.0/24\"\n\
                    vxlan = { vni = 43, peers = [\"192.0.2.2\"] }\n";
                let dock = format!(
                    "[port.dock3]\nnetwork = \"red\"\nnetns = \"{}\"\naddress = \"10.1.0.30\"\n",
                    place.dock
                );
                blue(place, "peers = [\"192.0.2.2\"]") + red + &dock
            }
        };
        (true, text)
    });
    let learned = [(vtep(2), "learned".to_owned())];
    reaches(&lan.machines[1].web, &web_address(1));
    reaches(&lan.machines[0].web, &web_address(2));
    assert_eq!(peers(&lan.machines[0]), learned);
    let fdb = lan.machines[0].switch.show(&["fdb"]);
    assert!(fdb.contains(&format!("02:42:0a:00:00:14 dev {}", tunnel(2))), "{fdb}");
    // Strangers have no part, and are counted.
    let [_, second, third] = lan.machines.as_slice() else { panic!("three machines") };
    assert!(!pings(&third.web, &web_address(2)) && !pings(&third.dock, "10.1.0.20"));
    assert!(second.switch.dropped("vxlan_foreign_peer") > 0);
    assert!(second.switch.dropped("vxlan_unknown_vni") > 0);
    // Nothing that was learned outlives the switch; it is learned again.
    lan.machines[0].switch.kill();
    lan.machines[0].restart();
    reaches(&lan.machines[1].web, &web_address(1));
    assert_eq!(peers(&lan.machines[0]), learned);
    // Until it knows somebody, the first is alone.
    lan.end(&["port_down", "no_other_port", "vxlan_foreign_peer", "vxlan_unknown_vni"]);
}

#[test]
fn frames_to_many_go_to_a_multicast_group_that_the_kernels_device_is_in_as_well() {
    if skip_unless_vxlan(&[&TOOLS[..], &["tcpdump"]].concat()) {
        return;
    }
    let lan = Lan::with(2, |place| {
        let text = format!("[vxlan]\naddress = \"{}\"\ndevice = \"eth0\"\n", vtep(place.number));
        (true, text + &blue(place, "group = \"239.1.1.1\""))
    });
    let third = join(&lan.bridge, 3, true);
    let group = ["group", "239.1.1.1", "dev", "eth0", "local", "192.0.2.3"];
    let kernel = Kernel::new(&third, &group, 1450);
    let station = Station { mac: "02:42:0a:00:00:1e", address: &web_address(3) };
    station.appears(kernel.host());
    let [first, second] = lan.machines.as_slice() else { panic!("two machines") };
    let hosts = [&*first.web, &*second.web, kernel.host()];
    for (at, host) in hosts.iter().enumerate() {
        for other in (1..=3).filter(|other| *other != at + 1) {
            reaches(host, &web_address(other));
        }
    }
    let heard = hosts.map(|host| Recording::start(host, "eth0", "arp"));
    let wire = Recording::start(&third.0, "eth0", "udp dst port 4789");
    let ask = ["busybox", "arping", "-b", "-c", "5", "-w", "5", "-I", "eth0", "10.0.0.99"];
    inside(&first.web, &ask);
    for (host, heard) in hosts.iter().zip(heard) {
        let asks = "arp[6:2] == 1 and arp[24:4] == 0x0a000063";
        wait_for("all requests", || heard.packets(asks).len() >= 5);
        assert_eq!(heard.stop(asks).len(), 5, "at {host}");
    }
    // The requests inside, in the first one's datagrams.
    let sent =
        "src 192.0.2.1 and dst 239.1.1.1 and udp[28:2] == 0x0806 and udp[54:4] == 0x0a000063";
    assert_eq!(wire.stop(sent).len(), 5, "once for all");
    // Whoever was heard is a peer for what is for one; the group has a row of its own.
    let of =
        |addresses: [(&str, &str); 3]| addresses.map(|(at, how)| (at.to_owned(), how.to_owned()));
    let mut known = peers(first);
    known.sort();
    let expected = [("192.0.2.2", "learned"), ("192.0.2.3", "learned"), ("239.1.1.1", "group")];
    assert_eq!(known, of(expected));
    must(&first.web, &["ping", "-n", "-c", "1", "-W", "3", &web_address(2)]);
    drop(kernel);
    // The first frames of a peer come before it is one.
    lan.end(&["port_down", "vxlan_foreign_peer"]);
}
