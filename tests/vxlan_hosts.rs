//! One network over machines that have a tapway each: names, pings and broadcasts, and what happens
//! when a tapway is killed, a way between two breaks, or a station moves.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/lan.rs"]
mod lan;
#[path = "support/machines.rs"]
mod machines;

use hosts::{Process, inside, skip_unless, text, wait_for};
use lan::{Lan, Machine, Underlay, vtep, web, web_address};
use machines::{MIB, Recording, Station, must, ping, pings, reaches, set, stream};

const TOOLS: [&str; 8] = ["ip", "nsenter", "ping", "tcpdump", "sha256sum", "busybox", "nft", "ss"];
/// A station that moves.
const ROAMER: Station = Station { mac: "02:00:00:00:00:4d", address: "10.0.0.77" };

impl Lan {
    /// Everybody reaches everybody by name and by address.
    fn is_whole(&self) {
        for (from, to) in self.pairs() {
            reaches(&from.web, &web_address(to.number));
            ping(&from.web, &web(to.number));
        }
    }
}

/// Pings that all must come back.
fn pings_without_loss(from: &Machine, to: &Machine) {
    let address = web_address(to.number);
    let command = ["ping", "-n", "-c", "20", "-i", "0.05", "-W", "3", &address];
    let said = must(&from.web, &command);
    assert!(said.contains(" 0% packet loss"), "{said}");
}

#[test]
fn every_host_finds_every_other_by_name_and_a_broadcast_arrives_once() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lan = Lan::start(3, Underlay::Socket);
    lan.is_whole();
    let hosts = || lan.machines.iter().flat_map(|machine| [&machine.web, &machine.dock]);
    for machine in &lan.machines {
        must(&machine.dock, &["ip", "link", "set", "eth0", "up"]);
    }
    let heard: Vec<Recording> =
        hosts().map(|host| Recording::start(host, "eth0", "arp or icmp")).collect();
    let asks = "arp[6:2] == 1 and arp[24:4] == 0x0a000063";
    let [first, second, _] = lan.machines.as_slice() else { panic!("three machines") };
    let ask = ["busybox", "arping", "-b", "-c", "5", "-w", "5", "-I", "eth0", "10.0.0.99"];
    inside(&first.web, &ask);
    // A broadcast that nobody answers, either.
    inside(&second.web, &["ping", "-n", "-b", "-c", "3", "-i", "0.3", "-W", "1", "10.0.0.255"]);
    for (host, heard) in hosts().zip(heard) {
        wait_for("all broadcasts", || heard.packets("dst 10.0.0.255 and icmp").len() >= 3);
        let counts = (heard.packets(asks).len(), heard.stop("dst 10.0.0.255 and icmp").len());
        assert_eq!(counts, (5, 3), "at {host}");
    }
    for (from, to) in lan.pairs().filter(|(from, to)| from.number < to.number) {
        stream(&from.web, (&to.web, web_address(to.number).parse().unwrap()), 8 * MIB);
    }
    lan.has_nothing_stale(None);
    lan.end(&["port_down"]);
}

#[test]
fn a_killed_tapway_is_back_by_name_and_address_and_the_others_never_notice() {
    if skip_unless(&TOOLS) {
        return;
    }
    let mut lan = Lan::start(3, Underlay::Socket);
    lan.is_whole();
    for killed in [0, 2] {
        let others = [(killed + 1) % 3, (killed + 2) % 3];
        lan.machines[killed].switch.kill();
        let [from, to] = others.map(|other| &lan.machines[other]);
        // Its machine refuses their datagrams, and says so.
        let address = web_address(killed + 1);
        let ping = ["ip", "netns", "exec", &from.web, "ping", "-n", "-i", "0.02", &address];
        let in_vain = Process::spawn(&ping);
        pings_without_loss(from, to);
        pings_without_loss(to, from);
        drop(in_vain);
        lan.machines[killed].restart();
        lan.is_whole();
        lan.has_nothing_stale(None);
    }
    lan.end(&["port_down"]);
}

#[test]
fn a_connection_lives_through_the_kill_of_its_switch() {
    if skip_unless(&TOOLS) {
        return;
    }
    let mut lan = Lan::start(2, Underlay::Socket);
    lan.is_whole();
    let [web, other] = [&lan.machines[0].web, &lan.machines[1].web].map(Clone::clone);
    let stream = std::thread::spawn(move || {
        stream(&other, (&web, web_address(1).parse().unwrap()), 384 * MIB);
    });
    wait_for("its first bytes", || {
        lan.machines[1].switch.json("peers")[0]["tx_bytes"].as_u64().unwrap() > MIB
    });
    lan.machines[0].switch.kill();
    assert!(!stream.is_finished());
    lan.machines[0].restart();
    stream.join().unwrap();
    lan.is_whole();
    lan.has_nothing_stale(None);
    lan.end(&["port_down"]);
}

#[test]
fn a_way_that_breaks_between_two_is_no_matter_to_others_and_heals() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lan = Lan::start(3, Underlay::Socket);
    lan.is_whole();
    let [first, second, third] = lan.machines.as_slice() else { panic!("three machines") };
    // What comes from each other is lost.
    for (at, other) in [(first, second), (second, first)] {
        let drop = format!(
            "add table ip cut; add chain ip cut in {{ type filter hook input priority 0; }}; \
             add rule ip cut in ip saddr {} drop",
            vtep(other.number)
        );
        must(&at.netns.0, &["nft", &drop]);
    }
    assert!(!pings(&first.web, &web_address(2)) && !pings(&second.web, &web_address(1)));
    for (from, to) in [(first, third), (second, third), (third, first), (third, second)] {
        pings_without_loss(from, to);
    }
    // Names are known here, whoever is reached.
    assert!(
        text(&inside(&first.web, &["ping", "-c", "1", "-W", "1", "web2"])).contains("10.0.0.20")
    );
    for at in [first, second] {
        must(&at.netns.0, &["nft", "delete", "table", "ip", "cut"]);
    }
    lan.is_whole();
    lan.has_nothing_stale(None);
    // One loses its cable.
    set(&lan.bridge, &["link", "set", "p1", "down"]);
    assert!(!pings(&first.web, &web_address(2)) && !pings(&second.web, &web_address(1)));
    pings_without_loss(second, third);
    set(&lan.bridge, &["link", "set", "p1", "up"]);
    lan.is_whole();
    lan.has_nothing_stale(None);
    lan.end(&["port_down"]);
}

#[test]
fn a_station_that_moves_from_machine_to_machine_is_where_it_was_seen_last() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lan = Lan::start(3, Underlay::Socket);
    lan.is_whole();
    let mut before: Option<&Machine> = None;
    for at in [0, 1, 2, 0] {
        let machine = &lan.machines[at];
        if let Some(before) = before.replace(machine) {
            ROAMER.leaves(&before.dock);
        }
        ROAMER.appears(&machine.dock);
        for from in &lan.machines {
            reaches(&from.web, ROAMER.address);
            ping(&machine.dock, &web_address(from.number));
        }
        lan.has_nothing_stale(Some((ROAMER, machine.number)));
    }
    // Where it was before, the device is down.
    lan.end(&["port_down", "tx_error"]);
}

#[test]
fn tunnels_by_the_uplink_carry_names_pings_and_bulk_data() {
    if skip_unless(&TOOLS) {
        return;
    }
    let lan = Lan::start(2, Underlay::Uplink);
    lan.is_whole();
    let [first, second] = lan.machines.as_slice() else { panic!("two machines") };
    for (from, to) in [(first, second), (second, first)] {
        stream(&from.web, (&to.web, web_address(to.number).parse().unwrap()), 64 * MIB);
        let address = web_address(to.number);
        let full = ["ping", "-n", "-c", "1", "-W", "3", "-M", "do", "-s", "1422", &address];
        must(&from.web, &full);
    }
    lan.has_nothing_stale(None);
    // What is for all or for others on the LAN: there is nobody else at an uplink.
    lan.end(&["port_down", "no_other_port", "arp_not_for_us"]);
}
