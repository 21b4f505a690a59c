//! What a running tapway is told beside traffic: changes that it does not notice, and limits. Real
//! namespaces, TAPs and iperf3.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/live.rs"]
mod live;
#[path = "support/netns.rs"]
mod netns;

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use live::{Lab, Running};
use rustix::process::Signal;
use tapway::io::Clock;

/// Bytes of each half second, as iperf3 counts them at the sender.
fn intervals(report: &str) -> Vec<f64> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert!(report["error"].is_null(), "{report}");
    let all = report["intervals"].as_array().unwrap().iter();
    all.map(|interval| interval["sum"]["bytes"].as_f64().unwrap()).collect()
}

#[test]
fn a_network_and_a_hundred_published_ports_come_and_go_beside_a_transfer() {
    if netns::skipped() || skipped_without("iperf3") {
        return;
    }
    let lab = Lab::new();
    let running = lab.start();
    let spawn = |netns: &str, arguments: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, "iperf3"]).args(arguments);
        Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    };
    let _server = spawn(&lab.outside, &["-s", "-1"]);
    std::thread::sleep(Duration::from_millis(500));
    let target = ["-c", "192.168.33.1", "-t", "8", "-i", "0.5", "-J"];
    let mut client = spawn(&lab.web, &target);
    std::thread::sleep(Duration::from_secs(2));
    let start = Clock.now();
    lab.tapway(&["network", "create", "back"]);
    lab.tapway(&["port", "add", "--network", "back", "--netns", &lab.db, "db"]);
    for port in 0..100 {
        let body = format!("{{\"publish\":[\"{}:80\"]}}", 8000 + port);
        let answer = lab.post("/v1/ports/db/publish", &body);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(lab.tapway(&["show", "nat"]).contains("8099"));
    for port in 0..100 {
        let body = format!("{{\"publish\":[\"{}:80\"]}}", 8000 + port);
        let answer = lab.post("/v1/ports/db/unpublish", &body);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    lab.tapway(&["network", "rm", "--force", "back"]);
    let took = Clock.now().since(start);
    let mut report = String::new();
    client.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert!(client.0.wait().unwrap().success(), "{report}");
    let intervals = intervals(&report);
    eprintln!("203 changes in {took:?} beside {intervals:?} bytes per half second");
    // The machine has its own weather: traffic that a change has stopped would be nothing at all.
    assert!(intervals.iter().all(|bytes| *bytes > 0.0), "{intervals:?}");
    assert_eq!(lab.tapway(&["diff"]), "");
    running.stop(Signal::TERM);
}

/// What iperf3 brings from one namespace to another, in megabits per second as the receiver sees
/// them, after a second in which TCP finds its pace.
fn megabits(netns: &str, options: &[&str]) -> f64 {
    let client =
        ["netns", "exec", netns, "iperf3", "-c", "192.168.33.1", "-t", "2", "-O", "1", "-J"];
    let output = Command::new("ip").args(client).args(options).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_else(|| panic!("{report}"))
        / 1e6
}

#[test]
fn what_a_host_sends_and_gets_is_limited_and_the_limit_changes_while_it_runs() {
    if netns::skipped() || skipped_without("iperf3") {
        return;
    }
    let lab = Lab::new();
    lab.write("limit_rx = \"100mbit\"\nlimit_tx = \"40mbit\"\n");
    let running = lab.start();
    let mut server = Command::new("ip");
    server.args(["netns", "exec", &lab.outside, "iperf3", "-s"]);
    let _server = Running(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    std::thread::sleep(Duration::from_millis(500));
    assert!(lab.tapway(&["show", "link"]).contains("limit rx 100mbit tx 40mbit"));
    // iperf3 counts what is in the segments, the limit whole frames; a busy machine takes its part.
    let near = |measured: f64, limit: f64| measured > limit * 0.4 && measured < limit * 1.05;
    let (up, down) = (megabits(&lab.web, &[]), megabits(&lab.web, &["-R"]));
    assert!(near(up, 100.0) && near(down, 40.0), "{up} {down}");
    lab.write("limit_rx = \"300mbit\"\n");
    lab.tapway(&["reload"]);
    let (up, down) = (megabits(&lab.web, &[]), megabits(&lab.web, &["-R"]));
    assert!(near(up, 300.0) && down > 45.0, "{up} {down}");
    let drops = lab.tapway(&["show", "drops"]);
    assert!(drops.contains("limit_rx") && drops.contains("limit_tx"), "{drops}");
    running.stop(Signal::TERM);
}

fn skipped_without(tool: &str) -> bool {
    let is_there = Command::new(tool).arg("--version").output().is_ok();
    if !is_there {
        netns::skip::skip(format!("no {tool}"));
    }
    !is_there
}
