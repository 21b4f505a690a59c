//! A network over two hosts, made and changed by the command line: peers, known hosts behind them,
//! and what is shown. Each host is a tapway whose sockets are in a namespace of its own.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/live.rs"]
mod live;
#[path = "support/netns.rs"]
mod netns;

use std::time::Duration;

use live::{Lab, ping};
use rustix::process::Signal;

/// Two underlays, joined by a veth: 192.0.2.1 and 192.0.2.2.
fn underlays(mtu: &str) -> (netns::Name, netns::Name) {
    let (one, two) = (netns::Name::made(), netns::Name::made());
    let link =
        ["ip", "link", "add", "u0", "netns", &one, "type", "veth", "peer", "u0", "netns", &two];
    netns::must(&link);
    for (namespace, address) in [(&one, "192.0.2.1/24"), (&two, "192.0.2.2/24")] {
        namespace.exec(&["ip", "address", "add", address, "dev", "u0"]);
        namespace.exec(&["ip", "link", "set", "u0", "mtu", mtu, "up"]);
    }
    (one, two)
}

fn lab(underlay: &netns::Name, more: &str) -> Lab {
    let lab = Lab::new();
    lab.write(&format!("[vxlan]\nnetns = \"{}\"\n{more}", &**underlay));
    lab
}

fn create(lab: &Lab, more: &[&str]) -> String {
    let mut command = vec!["network", "create", "--subnet", "10.9.0.0/24", "--vxlan", "42"];
    command.extend(more);
    command.push("blue");
    lab.tapway(&command)
}

fn add_db(lab: &Lab, ip: &str, name: &str) {
    lab.tapway(&["port", "add", "--network", "blue", "--netns", &lab.db, "--ip", ip, name]);
}

#[test]
fn a_network_made_live_on_two_hosts_is_one() {
    if netns::skipped() {
        return;
    }
    let (under_one, under_two) = underlays("1500");
    let (one, two) = (lab(&under_one, ""), lab(&under_two, ""));
    let (running, _other) = (one.start(), two.start());
    assert_eq!(
        create(&one, &["--peer", "192.0.2.2"]),
        "+ network blue 10.9.0.0/24 gateway 10.9.0.1 vxlan 42\n\
         + port vxlan to other tunnel endpoints\n+ peer 192.0.2.2 network blue\n"
    );
    create(&two, &[]);
    assert_eq!(
        two.tapway(&["network", "peer", "add", "blue", "192.0.2.1"]),
        "+ peer 192.0.2.1 network blue\n"
    );
    assert_eq!(two.tapway(&["network", "peer", "add", "blue", "192.0.2.1"]), "");
    add_db(&one, "10.9.0.7", "db");
    add_db(&two, "10.9.0.8", "web2");
    assert!(ping(&one.db, "10.9.0.8") && ping(&two.db, "10.9.0.7"));
    let endpoint = ["network", "endpoint", "add", "blue", "--name", "db", "--address", "10.9.0.7"];
    let endpoint = [&endpoint[..], &["--peer", "192.0.2.1"]].concat();
    let said = "+ endpoint 10.9.0.7 network blue 02:42:0a:09:00:07 peer 192.0.2.1\n";
    assert_eq!(two.tapway(&endpoint), said);
    assert_eq!(two.tapway(&endpoint), "");
    assert!(ping(&two.db, "10.9.0.7"), "by its own MAC, known without asking");
    let names = two.tapway(&["show", "names"]);
    assert!(names.contains("10.9.0.7") && names.contains("db"), "{names}");
    let networks = two.tapway(&["show", "vxlan"]);
    let row: Vec<&str> = networks.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[..9],
        ["blue", "42", "socket", "*:4789", "1450", "1", "peers", "-", "1"],
        "{networks}"
    );
    let peers = two.tapway(&["show", "peers"]);
    let row: Vec<&str> = peers.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["blue", "42", "192.0.2.1", "live", "UP", "1450"], "{peers}");
    let frames = |at: usize| row[at].parse::<u64>().unwrap();
    assert!(frames(8) > 0 && frames(10) > 0, "{peers}");
    let inspected = two.tapway(&["network", "inspect", "blue"]);
    assert!(inspected.contains("\"vni\": 42") && inspected.contains("\"db\""), "{inspected}");
    let diff = two.tapway(&["diff"]);
    assert!(diff.contains("+ peer 192.0.2.1 network blue\n") && diff.contains(said), "{diff}");
    assert_eq!(
        two.refused(&["network", "peer", "rm", "blue", "192.0.2.1"]),
        (
            5,
            "tapway: 10.9.0.7 is known to be behind 192.0.2.1; `tapway network endpoint rm blue \
             10.9.0.7` first"
                .to_owned()
        )
    );
    // What was made live comes back with the next one.
    running.stop(Signal::TERM);
    let _again = one.start();
    assert!(ping(&two.db, "10.9.0.7"), "{}", one.tapway(&["show", "peers"]));
    two.tapway(&["network", "endpoint", "rm", "blue", "10.9.0.7"]);
    two.tapway(&["network", "peer", "rm", "blue", "192.0.2.1"]);
    assert!(!ping(&two.db, "10.9.0.7"), "nobody sends there any more");
    assert_eq!(two.refused(&["network", "peer", "rm", "blue", "192.0.2.1"]).0, 3);
}

#[test]
fn whoever_sends_becomes_a_peer_and_a_narrow_way_is_told_of() {
    if netns::skipped() {
        return;
    }
    let (under_one, under_two) = underlays("1400");
    let blue = "[network.blue]\nsubnet = \"10.9.0.0/24\"\nvxlan = ";
    let one = lab(&under_one, &format!("{blue}{{ vni = 7, peers = [\"192.0.2.2\"] }}\n"));
    let two = lab(&under_two, &format!("{blue}{{ vni = 7, accept = \"any\" }}\n"));
    let (_one, _two) = (one.start(), two.start());
    add_db(&one, "10.9.0.7", "db");
    add_db(&two, "10.9.0.8", "web2");
    let log = one.log();
    assert!(log.contains("set `mtu = 1350` for the network on all hosts"), "{log}");
    // The first frames make the sender a peer; somebody asks again until then.
    let mut is_reached = false;
    for _ in 0..50 {
        is_reached = is_reached || ping(&one.db, "10.9.0.8");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_reached && ping(&two.db, "10.9.0.7"));
    let peers = two.tapway(&["show", "peers"]);
    assert!(peers.contains("192.0.2.1   learned   UP      1350"), "{peers}");
    assert!(!two.tapway(&["export"]).contains("192.0.2.1"));
    let small = |size| {
        let command = ["ip", "netns", "exec", &one.db, "ping", "-M", "do", "-c", "1", "-s", size];
        let output = netns::run(&[&command[..], &["10.9.0.8"]].concat());
        output.status.success()
    };
    assert!(small("1322") && !small("1323"), "1350 bytes with their headers");
}

#[test]
fn the_whole_list_of_a_network_is_put_at_once() {
    if netns::skipped() {
        return;
    }
    let (under_one, _under_two) = underlays("1500");
    let one = lab(&under_one, "[network.blue]\nsubnet = \"10.9.0.0/24\"\nvxlan = 42\n");
    let _running = one.start();
    let put = |path: &str, body: &str| {
        one.raw(&format!(
            "PUT /v1/networks/blue/{path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let whole = "{\"peers\":[\"192.0.2.2\",\"192.0.2.3\"],\"endpoints\":[\
                 {\"address\":\"10.9.0.7\",\"peer\":\"192.0.2.3\",\"name\":\"db\"}]}";
    let answer = put("vxlan", whole);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("10.9.0.7"), "{answer}");
    assert!(put("vxlan", whole).ends_with("{\"changes\":[]}"));
    assert!(put("endpoints/10.9.0.7", "{\"peer\":\"192.0.2.2\"}").starts_with("HTTP/1.1 200 "));
    assert!(put("endpoints/10.9.0.7", "{}").starts_with("HTTP/1.1 400 "));
    assert!(put("endpoints/blue", "{\"peer\":\"192.0.2.2\"}").contains("is not an IPv4 address"));
    assert!(put("peers/2001%3Adb8%3A%3A1", "").contains("not yet over IPv6"));
    let answer = put("vxlan", "{\"peers\":[]}");
    assert!(answer.contains("\"sign\":\"removed\",\"kind\":\"endpoint\""), "{answer}");
    assert_eq!(one.tapway(&["diff"]), "");
}

#[test]
fn by_its_own_uplink_tapway_speaks_with_the_kernel() {
    if netns::skipped() {
        return;
    }
    let one = Lab::new();
    one.write(
        "[vxlan]\nunderlay = \"uplink\"\n[network.blue]\nsubnet = \"10.9.0.0/24\"\n\
         vxlan = { vni = 7, peers = [\"192.168.33.1\"] }\n",
    );
    let _running = one.start();
    add_db(&one, "10.9.0.7", "db");
    let far =
        "ip link add vx0 type vxlan id 7 dstport 4789 local 192.168.33.1 remote 192.168.33.10";
    one.outside.exec(&far.split(' ').collect::<Vec<_>>());
    one.outside.exec(&["ip", "address", "add", "10.9.0.8/24", "dev", "vx0"]);
    one.outside.exec(&["ip", "link", "set", "vx0", "mtu", "1450", "up"]);
    assert!(ping(&one.db, "10.9.0.8") && ping(&one.outside, "10.9.0.7"));
    let shown = one.tapway(&["show", "vxlan"]);
    let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["blue", "7", "uplink", "192.168.33.10:4789", "1450"], "{shown}");
    // By sockets now, as the file says, and back: the sockets' namespace has no way to the peer.
    let under = netns::Name::made();
    let sockets = format!("[vxlan]\nnetns = \"{}\"\n", &*under);
    let blue = "[network.blue]\nsubnet = \"10.9.0.0/24\"\n\
                vxlan = { vni = 7, peers = [\"192.168.33.1\"] }\n";
    one.write(&format!("{sockets}{blue}"));
    let changed = one.tapway(&["reload"]);
    assert!(changed.contains("+ port vxlan to other tunnel endpoints\n"), "{changed}");
    assert!(!ping(&one.db, "10.9.0.8"));
    assert!(one.tapway(&["show", "link"]).contains(": vxlan: <BROADCAST,MULTICAST,UP"));
    one.write(&format!("[vxlan]\nunderlay = \"uplink\"\n{blue}"));
    let changed = one.tapway(&["reload"]);
    assert!(changed.contains("- port vxlan to other tunnel endpoints\n"), "{changed}");
    assert!(ping(&one.db, "10.9.0.8"));
    // On this host only: tunnels and VTEP go.
    one.tapway(&["port", "rm", "db"]);
    one.write("[network.blue]\nsubnet = \"10.9.0.0/24\"\n");
    let changed = one.tapway(&["reload"]);
    assert!(changed.contains("- peer 192.168.33.1 network blue\n"), "{changed}");
    assert_eq!(one.tapway(&["show", "peers"]).lines().count(), 1);
}

#[test]
fn members_of_a_group_find_each_other_without_a_list() {
    if netns::skipped() {
        return;
    }
    let (under_one, under_two) = underlays("1500");
    let labs = [(&under_one, "10.9.0.7"), (&under_two, "10.9.0.8")].map(|(under, address)| {
        let lab = lab(
            under,
            "device = \"u0\"\n[network.blue]\nsubnet = \"10.9.0.0/24\"\n\
             vxlan = { vni = 7, group = \"239.1.1.1\" }\n",
        );
        let running = lab.start();
        add_db(&lab, address, "db");
        (lab, running)
    });
    let [(one, _), (two, _)] = &labs;
    let mut is_reached = false;
    for _ in 0..50 {
        is_reached = is_reached || ping(&one.db, "10.9.0.8");
    }
    assert!(is_reached, "{}{}", one.tapway(&["show", "peers"]), two.tapway(&["show", "drops"]));
    for (lab, other) in [(one, "192.0.2.2"), (two, "192.0.2.1")] {
        let peers = lab.tapway(&["show", "peers"]);
        let rows: Vec<Vec<&str>> =
            peers.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let ends: Vec<_> = rows.iter().map(|row| (row[2], row[3], row[4])).collect();
        assert_eq!(ends, [("239.1.1.1", "group", "UP"), (other, "learned", "UP")], "{peers}");
    }
}
