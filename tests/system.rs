//! Real TAPs, real namespaces, real clients.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::fs;
use std::path::Path;

use hosts::{Namespace, Process, Switch, inside, lines, run, skip_unless, text, unique, wait_for};

/// The tutorial's network under names of this test: (configuration, outside, nginx1, nginx2).
fn tutorial() -> (String, String, String, String) {
    let (outside, first, second) = (unique("o"), unique("a"), unique("b"));
    let config = format!(
        r#"
[uplink]
kind = "tap"
netns = "{outside}"
address = "192.168.33.10/24"
gateway = "192.168.33.1"

[network.bridge]
subnet = "172.17.0.0/16"
gateway = "172.17.0.1"

[port.nginx1]
netns = "{first}"
address = "172.17.0.2"
publish = ["80:80/tcp", "8000-8010:8000-8010/udp"]

[port.nginx2]
network = "bridge"
netns = "{second}"
address = "172.17.0.3"
"#
    );
    (config, outside, first, second)
}

/// Starts nginx in a namespace; its access log holds the client's address in each line.
fn nginx(netns: &str, dir: &Path) -> Process {
    let path = dir.to_str().unwrap();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error;\n\
         events {{}}\n\
         http {{ log_format ip '$remote_addr'; access_log {path}/access ip;\n\
         client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};\n\
         uwsgi_temp_path {path}; scgi_temp_path {path};\n\
         server {{ listen 80; location / {{ return 200 'hello from nginx\\n'; }} }} }}\n"
    );
    fs::write(dir.join("conf"), config).unwrap();
    let conf = dir.join("conf");
    let command = ["ip", "netns", "exec", netns, "nginx", "-c", conf.to_str().unwrap()];
    let process = Process::spawn(&command);
    wait_for("nginx", || {
        let sockets = inside(netns, &["ss", "-ltnH", "sport = :80"]);
        !sockets.stdout.is_empty()
    });
    process
}

fn ping(netns: &str, arguments: &[&str]) -> String {
    let output = inside(netns, &[&["ping", "-n", "-W", "2"], arguments].concat());
    assert!(output.status.success(), "ping {arguments:?}: {}", text(&output));
    text(&output)
}

#[test]
fn ping_and_traceroute_reach_neighbours_gateways_and_the_outside() {
    if skip_unless(&["ip", "ping", "traceroute"]) {
        return;
    }
    let (config, _, first, _) = tutorial();
    let switch = Switch::start(&config);
    assert!(ping(&first, &["-c", "2", "172.17.0.3"]).contains("ttl=64"));
    assert!(ping(&first, &["-c", "2", "192.168.33.1"]).contains("ttl=63"));
    assert!(ping(&first, &["-c", "1", "-s", "4000", "172.17.0.1"]).contains("4008 bytes"));
    assert!(ping(&first, &["-c", "1", "-s", "4000", "192.168.33.10"]).contains("4008 bytes"));
    assert!(ping(&first, &["-c", "1", "-s", "4000", "192.168.33.1"]).contains("4008 bytes"));
    let hops = run(&["ip", "netns", "exec", &first, "traceroute", "-n", "-q", "1", "192.168.33.1"]);
    let hops: Vec<&str> =
        hops.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, ["172.17.0.1", "192.168.33.1"]);
    assert!(switch.show(&["neigh"]).contains("172.17.0.2 dev bridge lladdr 02:42:ac:11:00:02"));
    let fdb = switch.show(&["fdb"]);
    assert!(fdb.contains("02:42:ac:11:00:02 dev nginx1"), "{fdb}");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn published_port_and_hairpin_serve_every_client_by_its_own_address() {
    if skip_unless(&["ip", "curl", "nginx", "ss"]) {
        return;
    }
    let (config, outside, first, second) = tutorial();
    let switch = Switch::start(&config);
    let dir = tempfile::tempdir().unwrap();
    let _nginx = nginx(&first, dir.path());
    let access = dir.path().join("access");
    for (netns, seen_as) in
        [(&outside, "192.168.33.1"), (&second, "172.17.0.3"), (&first, "172.17.0.1")]
    {
        let output = inside(netns, &["curl", "-s", "-m", "5", "http://192.168.33.10/"]);
        assert_eq!(text(&output), "hello from nginx\n", "from {seen_as}");
        wait_for("the access log", || lines(&access).last().is_some_and(|ip| ip == seen_as));
    }
    let refused = inside(&outside, &["curl", "-s", "-m", "1", "http://192.168.33.10:81/"]);
    assert_eq!(refused.status.code(), Some(28), "silence, not a refusal");
    assert!(switch.dropped("unsolicited_syn") >= 1);
    let nat = switch.show(&["nat"]);
    assert!(nat.contains("tcp dpt:80 to:172.17.0.2:80"), "{nat}");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn iperf3_passes_and_every_frame_is_accounted_for() {
    if skip_unless(&["ip", "iperf3", "ss"]) {
        return;
    }
    let (config, outside, first, _) = tutorial();
    let switch = Switch::start(&config);
    let server = ["ip", "netns", "exec", &outside, "iperf3", "-s", "-1"];
    let mut server = Process::spawn(&server);
    wait_for("iperf3", || !inside(&outside, &["ss", "-ltnH", "sport = :5201"]).stdout.is_empty());
    let client = ["iperf3", "-c", "192.168.33.1", "-t", "2", "--bidir", "-P", "2", "-J"];
    let output = inside(&first, &client);
    assert!(output.status.success(), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
    assert!(rate > 1e6, "{rate}");
    let _ = server.0.wait();
    let totals = switch.json("stats")["totals"].clone();
    let count = |name: &str| totals[name].as_u64().unwrap();
    let ended = ["forwarded", "flooded", "local", "dropped", "waiting"].map(count);
    assert_eq!(count("received"), ended.iter().sum::<u64>(), "{totals}");
    assert!(count("forwarded") > 1000);
    // Frames that the hosts sent = frames received + those the kernel lost on the way, by name.
    wait_for("the counters to meet", || {
        [("nginx1", &first), ("uplink", &outside)].iter().all(|(port, netns)| {
            let stats = switch.json("stats");
            let row = stats["ports"].as_array().unwrap().iter().find(|row| row["port"] == *port);
            let rx = row.unwrap()["rx_frames"].as_u64().unwrap();
            let link = inside(netns, &["ip", "-s", "-j", "link", "show", "type", "tun"]);
            let link: serde_json::Value = serde_json::from_slice(&link.stdout).unwrap();
            let tx = &link[0]["stats64"]["tx"];
            rx == tx["packets"].as_u64().unwrap()
        })
    });
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn killed_without_mercy_it_comes_up_again_and_leaves_nothing_at_the_end() {
    if skip_unless(&["ip", "ping"]) {
        return;
    }
    let (config, outside, first, second) = tutorial();
    let mut switch = Switch::start(&config);
    ping(&first, &["-c", "1", "192.168.33.1"]);
    switch.kill_and_restart();
    ping(&first, &["-c", "1", "192.168.33.1"]);
    assert_eq!(switch.stop(), Some(0));
    let left = run(&["ip", "netns", "list"]);
    for name in [&outside, &first, &second] {
        assert!(!left.contains(name.as_str()), "{left}");
    }
}

#[test]
fn a_vanished_namespace_takes_only_its_port_down_until_it_is_back() {
    if skip_unless(&["ip", "ping"]) {
        return;
    }
    let own = Namespace::new("v");
    let (config, _, first, second) = tutorial();
    let config =
        format!("{config}\n[port.guest]\nnetns = \"{}\"\naddress = \"172.17.0.9\"\n", own.0);
    let switch = Switch::start(&config);
    ping(&first, &["-c", "1", "172.17.0.9"]);
    run(&["ip", "netns", "del", &own.0]);
    let state = |port: &str| {
        let links = switch.json("link");
        let row = links.as_array().unwrap().iter().find(|row| row["port"] == port).cloned();
        row.unwrap()["device"]["state"].as_str().unwrap().to_owned()
    };
    wait_for("the port to go down", || state("guest") == "DOWN");
    ping(&first, &["-c", "1", "172.17.0.3"]);
    run(&["ip", "netns", "add", &own.0]);
    wait_for("the port to come back", || state("guest") == "UP");
    ping(&second, &["-c", "1", "172.17.0.9"]);
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn a_device_set_down_is_shown_down_and_works_again_once_up() {
    if skip_unless(&["ip", "ping"]) {
        return;
    }
    let (config, _, first, second) = tutorial();
    let switch = Switch::start(&config);
    ping(&first, &["-c", "1", "192.168.33.1"]);
    let device = || {
        let links = switch.json("link");
        let row = links.as_array().unwrap().iter().find(|row| row["port"] == "nginx1").cloned();
        row.unwrap()["device"].clone()
    };
    inside(&first, &["ip", "link", "set", "eth0", "down"]);
    wait_for("the port to go down", || device()["state"] == "DOWN");
    assert_eq!(device()["last_error"], "eth0 was set down by its host");
    inside(&second, &["ping", "-c", "1", "-W", "1", "172.17.0.2"]);
    inside(&first, &["ip", "link", "set", "eth0", "up"]);
    wait_for("the port to come up", || device()["state"] == "UP");
    // By the default route, which the kernel had removed.
    ping(&first, &["-c", "1", "192.168.33.1"]);
    assert_eq!(switch.stop(), Some(0));
}

/// The host's rules, and its writable network settings but for those of interfaces.
fn host_state() -> (String, Vec<(String, String)>) {
    let rules = run(&["nft", "-j", "list", "ruleset"]);
    let mut settings = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("/proc/sys/net")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(value) = fs::read_to_string(&path) {
                settings.push((path.display().to_string(), value));
            }
        }
    }
    // Counters that the kernel moves by itself.
    settings.retain(|(path, _)| !path.contains("nf_conntrack_count") && !path.ends_with("/random"));
    settings.sort();
    (rules, settings)
}

#[test]
fn the_hosts_rules_and_settings_are_untouched() {
    if skip_unless(&["ip", "ping", "nft"]) {
        return;
    }
    let before = host_state();
    let (config, _, first, _) = tutorial();
    let switch = Switch::start(&config);
    ping(&first, &["-c", "1", "192.168.33.1"]);
    assert_eq!(before.0, host_state().0);
    assert_eq!(switch.stop(), Some(0));
    let after = host_state();
    assert_eq!(before.0, after.0);
    for (old, new) in before.1.iter().zip(&after.1) {
        assert_eq!(old, new);
    }
}

#[test]
fn a_bad_configuration_ends_with_78_and_names_every_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    fs::write(
        &path,
        "[network.bridge]\nsubnet = \"172.17.0.0/16\"\ngateway = \"10.0.0.1\"\ncolour = 1\n",
    )
    .unwrap();
    let output =
        hosts::output(&[env!("CARGO_BIN_EXE_tapway"), "check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let message = text(&output);
    assert!(message.contains("bad.toml:") && message.contains("colour"), "{message}");
}
