//! An uplink that shares the address of tapway's host, in a namespace that plays the Docker host.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use hosts::{Namespace, Process, Switch, inside, output, run, skip_unless, text, unique, wait_for};
use tapway::io::Namespace as Entered;

/// The address of the host that is shared, and that of the LAN's router.
const HOST: &str = "192.168.33.10";
const LAN: &str = "192.168.33.1";

/// The Docker host and its LAN, and the names of two containers.
struct Lab {
    host: Namespace,
    lan: Namespace,
    first: String,
    second: String,
}

impl Lab {
    fn new() -> Self {
        let (host, lan) = (Namespace::new("h"), Namespace::new("l"));
        let peer = ["type", "veth", "peer", "name", "eth0", "netns", &lan.0];
        run(&[&["ip", "link", "add", "eth0", "netns", &host.0], &peer[..]].concat());
        for (at, address) in [(&host, HOST), (&lan, LAN)] {
            let address = format!("{address}/24");
            run(&["ip", "-n", &at.0, "address", "add", &address, "dev", "eth0"]);
            run(&["ip", "-n", &at.0, "link", "set", "eth0", "up"]);
        }
        run(&["ip", "-n", &host.0, "route", "add", "default", "via", LAN]);
        run(&["ip", "-n", &lan.0, "address", "add", "203.0.113.7/32", "dev", "lo"]);
        Self { host, lan, first: unique("a"), second: unique("b") }
    }

    fn config(&self, uplink: &str) -> String {
        format!(
            "[uplink]\nkind = \"shared\"\ndevice = \"eth0\"\n{uplink}\n\
             [network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
             [port.first]\nnetns = \"{}\"\naddress = \"172.17.0.2\"\n\
             publish = [\"80:80\", \"53:53/udp\", \"40000:22\"]\n\
             [port.second]\nnetns = \"{}\"\naddress = \"172.17.0.3\"\n",
            self.first, self.second
        )
    }

    fn start(&self) -> Switch {
        Switch::start_in(Some(&self.host.0), &self.config(""))
    }

    /// Rules, settings and filters of the host.
    fn state(&self) -> String {
        let show = |command: &[&str]| {
            let output = inside(&self.host.0, command);
            assert!(output.status.success(), "{command:?}: {}", text(&output));
            text(&output)
        };
        [
            show(&["nft", "list", "ruleset"]),
            show(&["tc", "qdisc", "show", "dev", "eth0"]),
            show(&["tc", "filter", "show", "dev", "eth0", "ingress"]),
            show(&["tc", "filter", "show", "dev", "eth0", "egress"]),
            show(&["ip", "-d", "link", "show", "dev", "eth0"]),
            show(&["sh", "-c", "cat /proc/sys/net/ipv4/ip_* /proc/sys/net/ipv4/conf/eth0/*"]),
        ]
        .join("\n")
    }
}

/// A server in a namespace that tells each client the client's own address, on TCP.
fn tell_address(netns: &str, port: u16) -> JoinHandle<()> {
    let inside = Entered::named(netns).unwrap();
    let listener = inside.run(|| Ok(TcpListener::bind(("0.0.0.0", port)).unwrap())).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut client = client;
            let address = client.peer_addr().unwrap().ip().to_string();
            let answer =
                format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{address}", address.len());
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(answer.as_bytes());
            // The client closes first.
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read(&mut [0; 1024]);
        }
    })
}

/// What a server says that tells a client its address.
fn seen_as(netns: &str, to: &str, port: u16) -> String {
    let url = format!("http://{to}:{port}/");
    String::from_utf8_lossy(&inside(netns, &["curl", "-s", "-m", "5", &url]).stdout).into_owned()
}

/// Records what passes on the LAN.
fn record(lan: &str, file: &str) -> Process {
    let process = Process::spawn(&[
        "ip", "netns", "exec", lan, "tcpdump", "-U", "-Z", "root", "-i", "eth0", "-w", file,
    ]);
    wait_for("tcpdump", || fs::metadata(file).is_ok_and(|file| file.len() > 0));
    process
}

fn recorded(file: &str, filter: &str) -> String {
    let output = output(&["tcpdump", "-n", "-r", file, filter]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_tutorial_works_on_the_hosts_own_address_and_the_host_notices_nothing() {
    if skip_unless(&["ip", "nsenter", "ping", "traceroute", "curl", "tcpdump", "tc", "nft"]) {
        return;
    }
    let lab = Lab::new();
    let before = lab.state();
    // A server of the host and a connection out of it live through all of it.
    let _own = tell_address(&lab.host.0, 22);
    let far = Entered::named(&lab.lan.0).unwrap();
    let far = far.run(|| Ok(TcpListener::bind("192.168.33.1:443").unwrap())).unwrap();
    let host = Entered::named(&lab.host.0).unwrap();
    let mut out = host.run(|| Ok(TcpStream::connect("192.168.33.1:443").unwrap())).unwrap();
    let (mut peer, _) = far.accept().unwrap();
    let switch = lab.start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lan.pcap").to_str().unwrap().to_owned();
    let recording = record(&lab.lan.0, &file);

    for to in [LAN, "203.0.113.7", HOST] {
        let pinged = inside(&lab.first, &["ping", "-n", "-c", "2", "-W", "2", to]);
        assert!(pinged.status.success(), "{to}: {}", text(&pinged));
    }
    let hops = inside(&lab.first, &["traceroute", "-n", "-q", "1", "203.0.113.7"]);
    let hops: Vec<String> = text(&hops)
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned))
        .collect();
    assert_eq!(hops, ["172.17.0.1", "203.0.113.7"]);
    let _outside = tell_address(&lab.lan.0, 8000);
    let _inside = tell_address(&lab.first, 80);
    assert_eq!(seen_as(&lab.first, LAN, 8000), HOST, "out, translated");
    assert_eq!(seen_as(&lab.lan.0, HOST, 80), LAN, "the client's own address");
    assert_eq!(seen_as(&lab.second, HOST, 80), "172.17.0.3", "hairpin");
    assert_eq!(seen_as(&lab.first, HOST, 80), "172.17.0.1", "to itself");
    assert_eq!(seen_as(&lab.lan.0, HOST, 22), LAN, "the host's own server");
    assert_eq!(seen_as(&lab.host.0, LAN, 8000), HOST, "out of the host");
    let refused = inside(&lab.lan.0, &["curl", "-s", "-m", "5", "http://192.168.33.10:81/"]);
    assert_eq!(refused.status.code(), Some(7), "the host refuses its own closed ports");
    let pinged = inside(&lab.lan.0, &["ping", "-n", "-c", "2", "-W", "2", HOST]);
    assert!(pinged.status.success() && !text(&pinged).contains("DUP"), "{}", text(&pinged));
    out.write_all(b"still here").unwrap();
    let mut read = [0; 10];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"still here");

    drop(recording);
    // Of the host only: the refusal of port 81.
    let resets = recorded(&file, "src 192.168.33.10 and tcp[tcpflags] & tcp-rst != 0");
    assert!(resets.lines().all(|line| line.contains("192.168.33.10.81 >")), "{resets}");
    let unreachable = recorded(&file, "src 192.168.33.10 and icmp[icmptype] == icmp-unreach");
    assert_eq!(unreachable, "");
    let link = switch.show(&["link"]);
    assert!(link.contains("device shared eth0 ports 61000-65535"), "{link}");
    assert_eq!(switch.stop(), Some(0));
    assert_eq!(before, lab.state());
}

#[test]
fn large_datagrams_and_bulk_data_pass_both_ways() {
    if skip_unless(&["ip", "nsenter", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let config = format!("{}\n[dataplane]\nworkers = 2\n", lab.config(""));
    let switch = Switch::start_in(Some(&lab.host.0), &config);
    let enter = |name: &str| Entered::named(name).unwrap();
    // Fragments: the host has copies, and sends no error.
    let server = enter(&lab.first).run(|| Ok(UdpSocket::bind("0.0.0.0:53").unwrap())).unwrap();
    let client = enter(&lab.lan.0).run(|| Ok(UdpSocket::bind("192.168.33.1:0").unwrap())).unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let mut room = [0; 5000];
    client.send_to(&[7; 4000], (HOST, 53)).unwrap();
    let (len, from) = server.recv_from(&mut room).unwrap();
    assert_eq!((len, from), (4000, client.local_addr().unwrap()));
    server.send_to(&[8; 4500], from).unwrap();
    let (len, from) = client.recv_from(&mut room).unwrap();
    assert_eq!((len, from.to_string().as_str()), (4500, "192.168.33.10:53"));
    // Super-frames of the kernel that both share.
    let listener = enter(&lab.lan.0).run(|| Ok(TcpListener::bind("0.0.0.0:9").unwrap())).unwrap();
    let mut near =
        enter(&lab.first).run(|| Ok(TcpStream::connect("192.168.33.1:9").unwrap())).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    transfer(&mut near, &mut far, &sent);
    transfer(&mut far, &mut near, &sent);
    assert_eq!(switch.dropped("fragment_timeout"), 0);
    assert_eq!(switch.stop(), Some(0));
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream, sent: &[u8]) {
    to.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut received = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(sent).unwrap());
        to.read_exact(&mut received).unwrap();
    });
    assert!(received == sent, "what arrived differs");
}

#[test]
fn what_a_kill_leaves_is_taken_over_and_what_is_not_ours_stays() {
    if skip_unless(&["ip", "nsenter", "curl", "tc", "nft"]) {
        return;
    }
    let lab = Lab::new();
    let before = lab.state();
    let mut switch = lab.start();
    switch.kill_and_restart();
    let _inside = tell_address(&lab.first, 80);
    assert_eq!(seen_as(&lab.lan.0, HOST, 80), LAN);
    assert_eq!(switch.stop(), Some(0));
    assert_eq!(before, lab.state(), "as if it had never run");
    // Somebody else's clsact and filter stay, through a kill as well.
    run(&["tc", "-n", &lab.host.0, "qdisc", "add", "dev", "eth0", "clsact"]);
    let filter = "protocol ip pref 9 u32 match ip dport 9 0xffff flowid 1:1";
    let add = ["tc", "-n", &lab.host.0, "filter", "add", "dev", "eth0", "ingress"];
    run(&[&add[..], &filter.split(' ').collect::<Vec<_>>()].concat());
    let before = lab.state();
    let mut switch = lab.start();
    switch.kill_and_restart();
    // Its namespace is a new one.
    let _inside = tell_address(&lab.first, 80);
    assert_eq!(seen_as(&lab.lan.0, HOST, 80), LAN);
    let config = lab.config("");
    let (without_ports, _) = config.split_once("[port.first]").unwrap();
    let (code, said) = refusal(&lab, without_ports);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("another tapway shares eth0"), "{said}");
    assert_eq!(switch.stop(), Some(0));
    assert_eq!(before, lab.state());
    // A filter of another kind at the preference that tapway's has.
    let filter = "protocol ip pref 77 u32 match ip dport 9 0xffff flowid 1:1";
    run(&[&add[..], &filter.split(' ').collect::<Vec<_>>()].concat());
    let before = lab.state();
    let (code, said) = refusal(&lab, &lab.config(""));
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("a filter of somebody else"), "{said}");
    assert_eq!(before, lab.state());
}

/// Runs a configuration that is refused; gives the exit code and what was said.
fn refusal(lab: &Lab, config: &str) -> (Option<i32>, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let refused = output(&[
        "nsenter",
        &format!("--net=/run/netns/{}", lab.host.0),
        env!("CARGO_BIN_EXE_tapway"),
        "--socket",
        dir.path().join("s").to_str().unwrap(),
        "run",
        "-c",
        file.path().to_str().unwrap(),
    ]);
    (refused.status.code(), text(&refused))
}

#[test]
fn the_uplink_follows_the_hosts_address_mac_and_device() {
    if skip_unless(&["ip", "nsenter", "curl", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let switch = lab.start();
    let _outside = tell_address(&lab.lan.0, 8000);
    let _inside = tell_address(&lab.first, 80);
    assert_eq!(seen_as(&lab.first, LAN, 8000), HOST);
    let ip = |command: &str| {
        run(&[&["ip", "-n", &lab.host.0], &command.split(' ').collect::<Vec<_>>()[..]].concat())
    };
    ip("address del 192.168.33.10/24 dev eth0");
    ip("address add 192.168.33.99/24 dev eth0");
    let other = "192.168.33.99";
    wait_for("the new address", || switch.log().contains("192.168.33.99/24"));
    ip("route replace default via 192.168.33.1");
    ip("link set eth0 address 02:00:00:00:00:99");
    wait_for("the new MAC", || switch.log().contains("mac=02:00:00:00:00:99"));
    wait_for("the new router", || seen_as(&lab.first, LAN, 8000) == other);
    assert_eq!(seen_as(&lab.lan.0, other, 80), LAN);
    let fits = |size: &str| {
        let ping = ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", size, LAN];
        inside(&lab.first, &ping).status.success()
    };
    assert!(fits("1472"));
    ip("link set eth0 mtu 1400");
    wait_for("the new MTU", || !fits("1472"));
    assert!(fits("1372"));
    // The device goes, and another one of its name comes.
    ip("link del eth0");
    wait_for("the loss", || switch.show(&["link"]).contains("0: uplink: <NO-CARRIER"));
    let peer = ["type", "veth", "peer", "name", "eth0", "netns", &lab.lan.0];
    run(&[&["ip", "link", "add", "eth0", "netns", &lab.host.0], &peer[..]].concat());
    run(&["ip", "-n", &lab.lan.0, "address", "add", "192.168.33.1/24", "dev", "eth0"]);
    run(&["ip", "-n", &lab.lan.0, "link", "set", "eth0", "up"]);
    ip("address add 192.168.33.10/24 dev eth0");
    ip("link set eth0 up");
    ip("route add default via 192.168.33.1");
    wait_for("the device", || seen_as(&lab.first, LAN, 8000) == HOST);
    assert_eq!(seen_as(&lab.lan.0, HOST, 80), LAN);
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn a_filter_that_a_kill_left_goes_also_where_the_next_one_shares_another_device() {
    if skip_unless(&["ip", "nsenter", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let before = lab.state();
    let peer = ["type", "veth", "peer", "name", "eth1", "netns", &lab.lan.0];
    run(&[&["ip", "link", "add", "eth1", "netns", &lab.host.0], &peer[..]].concat());
    run(&["ip", "-n", &lab.host.0, "address", "add", "10.99.0.10/24", "dev", "eth1"]);
    run(&["ip", "-n", &lab.host.0, "link", "set", "eth1", "up"]);
    let mut switch = lab.start();
    fs::write(switch.config(), lab.config("").replace("\"eth0\"", "\"eth1\"")).unwrap();
    switch.kill_and_restart();
    assert_eq!(before, lab.state(), "while the next one runs");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn an_uplink_that_cannot_follow_the_host_does_so_as_soon_as_it_can() {
    if skip_unless(&["ip", "nsenter", "curl", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let switch = lab.start();
    assert_eq!(
        switch.ask(&["network", "create", "--subnet", "10.9.0.0/16", "front"]).status.code(),
        Some(0)
    );
    // Where the network is, the host cannot be as well.
    let host = ["ip", "-n", &lab.host.0, "address"];
    run(&[&host[..], &["flush", "dev", "eth0"]].concat());
    run(&[&host[..], &["add", "10.9.0.5/16", "dev", "eth0"]].concat());
    run(&["ip", "-n", &lab.lan.0, "address", "add", "10.9.0.1/16", "dev", "eth0"]);
    wait_for("the refusal", || switch.log().contains("the uplink cannot follow the host yet"));
    assert_eq!(switch.ask(&["network", "rm", "front"]).status.code(), Some(0));
    wait_for("the move", || switch.log().contains("the uplink follows the host"));
    let _inside = tell_address(&lab.first, 80);
    assert_eq!(seen_as(&lab.lan.0, "10.9.0.5", 80), "10.9.0.1");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn ports_that_the_host_uses_are_refused() {
    if skip_unless(&["ip", "nsenter", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let cases = [
        ("nat_ports = \"50000-61000\"", "overlaps 32768-60999"),
        ("nat_ports = \"20000-30000\"", "waits on port 25000"),
    ];
    let _own = tell_address(&lab.host.0, 25_000);
    for (uplink, why) in cases {
        let (code, said) = refusal(&lab, &lab.config(uplink));
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn without_a_file_commands_are_hosts_behind_the_hosts_own_address() {
    if skip_unless(&["ip", "nsenter", "tc", "curl", "busybox"]) {
        return;
    }
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let tapway = [env!("CARGO_BIN_EXE_tapway"), "--socket", socket.to_str().unwrap()];
    let here = ["nsenter", &format!("--net=/run/netns/{}", lab.host.0)];
    let tapway = [&here[..], &tapway].concat();
    let switch = Process::spawn(&[&tapway[..], &["run", "--shared", "eth0"]].concat());
    wait_for("the API", || output(&[&tapway[..], &["show", "stats"]].concat()).status.success());
    let _outside = tell_address(&lab.lan.0, 80);
    let url = format!("http://{LAN}/");
    let seen = output(&[&tapway[..], &["exec", "--", "curl", "-s", "-m", "5", &url]].concat());
    assert_eq!(text(&seen), HOST);
    let serve = "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nweb' | busybox nc -l -p 80; done";
    let publish = ["exec", "--name", "web", "--publish", "8080:80", "--", "sh", "-c", serve];
    let _web = Process::spawn(&[&tapway[..], &publish].concat());
    wait_for("the published port", || seen_as(&lab.lan.0, HOST, 8080) == "web");
    wait_for("it on this host", || seen_as(&lab.host.0, "127.0.0.1", 8080) == "web");
    drop(switch);
}
