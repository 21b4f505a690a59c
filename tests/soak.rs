//! The long run: `iperf3 --bidir` under NAPT, every frame accounted for, memory flat.
//!
//! `TAPWAY_SOAK_S=600 cargo test --release --test soak -- --ignored --nocapture`
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use hosts::{Process, Switch, inside, skip_unless, text, unique, wait_for};
use serde_json::Value;

/// Resident memory of a process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Counters of the one TAP in a namespace.
fn device(netns: &str) -> Value {
    let output = inside(netns, &["ip", "-s", "-j", "link", "show", "type", "tun"]);
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    links[0]["stats64"].clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
#[ignore = "runs for ten minutes; see the head of this file"]
fn ten_minutes_of_bidirectional_tcp_lose_no_frame_without_a_name() {
    if skip_unless(&["ip", "iperf3", "ss"]) {
        return;
    }
    let seconds = std::env::var("TAPWAY_SOAK_S").unwrap_or_else(|_| "600".to_owned());
    let (outside, host) = (unique("o"), unique("h"));
    let switch = Switch::start(&format!(
        "[uplink]\nkind = \"tap\"\nnetns = \"{outside}\"\naddress = \"192.168.33.10/24\"\n\
         gateway = \"192.168.33.1\"\n[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
         gateway = \"172.17.0.1\"\n[port.host]\nnetns = \"{host}\"\naddress = \"172.17.0.2\"\n"
    ));
    let mut server = Process::spawn(&["ip", "netns", "exec", &outside, "iperf3", "-s", "-1"]);
    wait_for("iperf3", || !inside(&outside, &["ss", "-ltnH", "sport = :5201"]).stdout.is_empty());
    let warm = ["iperf3", "-c", "192.168.33.1", "--bidir", "-P", "4", "-t", &seconds, "-J"];
    let before = resident_kib(switch.pid());
    let output = inside(&host, &warm);
    assert!(output.status.success(), "{}", text(&output));
    let _ = server.0.wait();
    let after = resident_kib(switch.pid());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rate = |name: &str| report["end"][name]["bits_per_second"].as_f64().unwrap() / 1e9;
    eprintln!(
        "{:.2} + {:.2} Gbit/s, memory {before} -> {after} KiB",
        rate("sum_received"),
        rate("sum_received_bidir_reverse")
    );
    wait_for("the counters to meet", || balance(&switch, &outside, &host).is_ok());
    assert!(after < before + 16 * 1024, "memory grew from {before} to {after} KiB");
    assert_eq!(switch.stop(), Some(0));
}

/// Compares what the kernel counted at the hosts with what tapway counted.
fn balance(switch: &Switch, outside: &str, host: &str) -> Result<(), String> {
    let (stats, drops) = (switch.json("stats"), switch.json("drops"));
    let devices = [device(outside), device(host)];
    let sum = |way: &str, what: &str| devices.iter().map(|d| number(&d[way][what])).sum::<u64>();
    let reason = |name: &str| {
        let rows = drops.as_array().unwrap().iter().filter(|row| row["reason"] == name);
        rows.map(|row| number(&row["frames"])).sum::<u64>()
    };
    let ports = |name: &str| {
        stats["ports"].as_array().unwrap().iter().map(|row| number(&row[name])).sum::<u64>()
    };
    let totals = &stats["totals"];
    let outcomes = ["forwarded", "flooded", "local", "dropped", "waiting"];
    let ended: u64 = outcomes.iter().map(|name| number(&totals[*name])).sum();
    let equations = [
        (
            "sent by hosts = received + lost in the kernel",
            sum("tx", "packets") + sum("tx", "dropped"),
            ports("rx_frames") + reason("device_tx_dropped"),
        ),
        ("received = outcomes", number(&totals["received"]), ended),
        (
            "handed to ports = received by hosts + refused",
            ports("tx_frames"),
            sum("rx", "packets")
                + ["tx_queue_full", "tx_error", "tx_device_gone"].map(reason).iter().sum::<u64>(),
        ),
    ];
    for (name, left, right) in equations {
        eprintln!("{name}: {left} = {right}");
        if left != right {
            return Err(format!("{name}: {left} != {right}"));
        }
    }
    Ok(())
}
