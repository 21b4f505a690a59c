//! This host reaches containers and they reach it; published ports answer on its own addresses.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use hosts::{Namespace, Switch, inside, output, run, skip_unless, text, unique, wait_for};
use tapway::io::Namespace as Entered;

/// A namespace that plays this host, with an address on a wire to another, and two containers.
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
        for (at, address) in [(&host, "192.168.33.10/24"), (&lan, "192.168.33.1/24")] {
            run(&["ip", "-n", &at.0, "address", "add", address, "dev", "eth0"]);
            run(&["ip", "-n", &at.0, "link", "set", "eth0", "up"]);
        }
        run(&["ip", "-n", &host.0, "route", "add", "default", "via", "192.168.33.1"]);
        Self { host, lan, first: unique("a"), second: unique("b") }
    }

    /// `uplink`: a whole section, or nothing; `publish` is of the first container.
    fn config(&self, uplink: &str, network: &str, publish: &str) -> String {
        format!(
            "{uplink}\n[network.bridge]\nsubnet = \"172.17.0.0/16\"\n{network}\n\
             [port.first]\nnetns = \"{}\"\naddress = \"172.17.0.2\"\npublish = [{publish}]\n\
             [port.second]\nnetns = \"{}\"\naddress = \"172.17.0.3\"\n",
            self.first, self.second
        )
    }

    fn start(&self, config: &str) -> Switch {
        Switch::start_in(Some(&self.host.0), config)
    }

    /// Runs a configuration that is refused; gives the exit code and what was said.
    fn refusal(&self, config: &str) -> (Option<i32>, String) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let refused = output(&[
            "nsenter",
            &format!("--net=/run/netns/{}", self.host.0),
            env!("CARGO_BIN_EXE_tapway"),
            "--socket",
            dir.path().join("s").to_str().unwrap(),
            "run",
            "-c",
            file.path().to_str().unwrap(),
        ]);
        (refused.status.code(), text(&refused))
    }
}

/// A server that tells each client the client's own address, by HTTP.
fn tell_address(netns: &str, port: u16) -> JoinHandle<()> {
    let listener = listen(netns, port);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let address = client.peer_addr().unwrap().ip().to_string();
            let _ = client.read(&mut [0; 1024]);
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", address.len());
            let _ = client.write_all((head + &address).as_bytes());
            // The client closes first.
            let _ = client.shutdown(Shutdown::Write);
            let _ = client.read(&mut [0; 1024]);
        }
    })
}

fn listen(netns: &str, port: u16) -> TcpListener {
    let netns = Entered::named(netns).unwrap();
    netns.run(|| Ok(TcpListener::bind(("0.0.0.0", port)).unwrap())).unwrap()
}

fn connect(netns: &str, to: &str) -> TcpStream {
    let netns = Entered::named(netns).unwrap();
    let stream = netns.run(|| Ok(TcpStream::connect(to).unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn datagrams(netns: &str, at: &str) -> UdpSocket {
    let netns = Entered::named(netns).unwrap();
    let socket = netns.run(|| Ok(UdpSocket::bind(at).unwrap())).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// What [`tell_address`] says; nothing if it cannot be reached.
fn seen_as(netns: &str, to: &str) -> String {
    let url = format!("http://{to}/");
    String::from_utf8_lossy(&inside(netns, &["curl", "-s", "-m", "5", &url]).stdout).into_owned()
}

#[test]
fn host_and_containers_reach_each_other_also_where_containers_may_not() {
    if skip_unless(&["ip", "nsenter", "ping", "curl"]) {
        return;
    }
    let lab = Lab::new();
    for network in ["host = true", "host = \"172.17.0.254\"\nicc = false"] {
        let address = if network.contains("icc") { "172.17.0.254" } else { "172.17.255.254" };
        let switch = lab.start(&lab.config("", network, ""));
        let pinged = inside(&lab.host.0, &["ping", "-n", "-c", "1", "-W", "2", "172.17.0.2"]);
        assert!(pinged.status.success(), "{}", text(&pinged));
        let _inside = tell_address(&lab.first, 80);
        assert_eq!(seen_as(&lab.host.0, "172.17.0.2:80"), address);
        let named = inside(&lab.second, &["getent", "hosts", "host.tapway.internal"]);
        assert!(text(&named).starts_with(address), "{}", text(&named));
        let route = run(&["ip", "-n", &lab.host.0, "route", "show", "dev", "tapway0"]);
        assert_eq!(route.trim().lines().count(), 1, "{route}");
        let own = listen(&lab.host.0, 5000);
        let mut client = connect(&lab.second, &format!("{address}:5000"));
        let (mut served, from) = own.accept().unwrap();
        assert_eq!(from.ip().to_string(), "172.17.0.3");
        served.write_all(b"host").unwrap();
        let mut read = [0; 4];
        client.read_exact(&mut read).unwrap();
        let between = inside(&lab.second, &["ping", "-n", "-c", "1", "-W", "1", "172.17.0.2"]);
        assert_eq!(between.status.success(), !network.contains("icc"), "{}", text(&between));
        assert_eq!(switch.stop(), Some(0));
    }
    let links = run(&["ip", "-n", &lab.host.0, "link"]);
    assert!(!links.contains("tapway0"), "{links}");
}

#[test]
fn a_published_port_answers_on_the_hosts_addresses_and_on_127_0_0_1() {
    if skip_unless(&["ip", "nsenter", "curl"]) {
        return;
    }
    let lab = Lab::new();
    let publish = "\"80:80\", \"127.0.0.1:8080:80\", \"8000-8003:9000-9003\", \"90:91\"";
    let switch = lab.start(&lab.config("", "host = true", publish));
    let _inside = tell_address(&lab.first, 80);
    let _last = tell_address(&lab.first, 9003);
    let own = "172.17.255.254";
    for to in ["127.0.0.1:80", "192.168.33.10:80", "127.0.0.1:8080", "127.0.0.1:8003"] {
        assert_eq!(seen_as(&lab.host.0, to), own, "{to}");
    }
    assert_eq!(seen_as(&lab.lan.0, "192.168.33.10:80"), own);
    assert_eq!(seen_as(&lab.lan.0, "192.168.33.10:8080"), "", "on 127.0.0.1 only");
    // One direction ends, the other goes on.
    let server = listen(&lab.first, 91);
    let mut client = connect(&lab.host.0, "127.0.0.1:90");
    let (mut served, _) = server.accept().unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut question = String::new();
    served.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    let answer = vec![7; 1_000_000];
    served.write_all(&answer).unwrap();
    drop(served);
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == answer, "{} bytes", got.len());
    drop(server);
    // Nobody listens there: the connection is reset, as the container would.
    let mut refused = connect(&lab.host.0, "127.0.0.1:90");
    assert!(refused.read(&mut [0; 1]).is_err());
    assert_eq!(switch.stop(), Some(0));
    wait_for("the ports to be free", || inside(&lab.host.0, &["ss", "-ltnH"]).stdout.is_empty());
}

#[test]
fn datagrams_find_their_way_and_answers_leave_from_the_address_that_was_asked() {
    if skip_unless(&["ip", "nsenter"]) {
        return;
    }
    let lab = Lab::new();
    run(&["ip", "-n", &lab.host.0, "address", "add", "192.168.33.11/24", "dev", "eth0"]);
    let switch = lab.start(&lab.config("", "host = true", "\"53:53/udp\""));
    let server = datagrams(&lab.first, "0.0.0.0:53");
    let clients = [
        (datagrams(&lab.host.0, "0.0.0.0:0"), "127.0.0.1:53"),
        (datagrams(&lab.lan.0, "0.0.0.0:0"), "192.168.33.10:53"),
        (datagrams(&lab.lan.0, "0.0.0.0:0"), "192.168.33.11:53"),
    ];
    let mut room = [0; 64];
    for round in 0..2_u8 {
        let mut asked = Vec::new();
        for (at, (client, to)) in clients.iter().enumerate() {
            client.send_to(&[round, at as u8], to).unwrap();
            let got = server.recv_from(&mut room);
            let (_, from) = got.unwrap_or_else(|error| panic!("{round} {to}: {error}"));
            asked.push((from, room[..2].to_vec()));
        }
        for (from, question) in asked.iter().rev() {
            server.send_to(question, from).unwrap();
        }
        for (at, (client, to)) in clients.iter().enumerate() {
            let got = client.recv_from(&mut room);
            let (len, from) = got.unwrap_or_else(|error| panic!("{round} {to}: {error}"));
            assert_eq!((&room[..len], from.to_string().as_str()), (&[round, at as u8][..], *to));
        }
    }
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn a_port_that_the_host_uses_cannot_be_published_there() {
    if skip_unless(&["ip", "nsenter", "curl", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let shared = "[uplink]\nkind = \"shared\"\ndevice = \"eth0\"";
    let own = listen(&lab.host.0, 80);
    let out = connect_from(&lab, 40_000);
    for (uplink, network) in [("", "host = true"), (shared, ""), (shared, "host = true")] {
        for port in ["80", "40000"] {
            let config = lab.config(uplink, network, &format!("\"{port}:80\""));
            let (code, said) = lab.refusal(&config);
            assert_eq!(code, Some(5), "{said}");
            let what = format!("port {port}/tcp of this host is in use");
            assert!(said.contains(&what), "{said}");
        }
    }
    drop((own, out));
    let foreign = lab.config("", "host = true", "\"192.0.2.1:80:80\"");
    let (code, said) = lab.refusal(&foreign);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("192.0.2.1") && said.contains("no such address"), "{said}");
    // On a shared uplink a published port is reserved even where the host has no place.
    let switch = lab.start(&lab.config(shared, "", "\"80:80\""));
    let netns = Entered::named(&lab.host.0).unwrap();
    let bound = netns.run(|| Ok(TcpListener::bind("0.0.0.0:80").is_ok())).unwrap();
    assert!(!bound, "a program of the host gets a port that is taken from it");
    assert_eq!(seen_as(&lab.host.0, "127.0.0.1:80"), "");
    assert_eq!(switch.stop(), Some(0));
}

/// A connection out of the host that has a local port.
fn connect_from(lab: &Lab, port: u16) -> (TcpListener, Vec<TcpStream>) {
    let far = listen(&lab.lan.0, 443);
    let range = format!("echo {port} {port} > /proc/sys/net/ipv4/ip_local_port_range");
    inside(&lab.host.0, &["sh", "-c", &range]);
    let out = connect(&lab.host.0, "192.168.33.1:443");
    assert_eq!(out.local_addr().unwrap().port(), port);
    let range = "echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range";
    inside(&lab.host.0, &["sh", "-c", range]);
    (far, vec![out])
}

#[test]
fn with_a_shared_uplink_the_outside_keeps_its_address_and_the_host_reaches_the_port_too() {
    if skip_unless(&["ip", "nsenter", "curl", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let shared = "[uplink]\nkind = \"shared\"\ndevice = \"eth0\"";
    let switch = lab.start(&lab.config(shared, "host = true", "\"80:80\""));
    let _inside = tell_address(&lab.first, 80);
    assert_eq!(seen_as(&lab.lan.0, "192.168.33.10:80"), "192.168.33.1", "never the listener");
    for to in ["127.0.0.1:80", "192.168.33.10:80"] {
        assert_eq!(seen_as(&lab.host.0, to), "172.17.255.254", "{to}");
    }
    assert_eq!(seen_as(&lab.second, "192.168.33.10:80"), "172.17.0.3", "hairpin");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn ports_and_networks_come_and_go_while_it_runs() {
    if skip_unless(&["ip", "nsenter", "ping", "curl", "tc"]) {
        return;
    }
    let lab = Lab::new();
    let shared = "[uplink]\nkind = \"shared\"\ndevice = \"eth0\"";
    let switch = lab.start(&lab.config(shared, "host = true", "\"90:90\""));
    let ask = |command: &str| {
        let output = switch.ask(&command.split(' ').collect::<Vec<_>>());
        (output.status.code(), text(&output))
    };
    let _inside = tell_address(&lab.first, 80);
    let server = listen(&lab.first, 90);
    let mut client = connect(&lab.lan.0, "192.168.33.10:90");
    let (mut served, _) = server.accept().unwrap();
    let refuses = || {
        let curl = ["curl", "-s", "-m", "5", "http://192.168.33.10:81/"];
        inside(&lab.lan.0, &curl).status.code() == Some(7)
    };
    assert!(refuses(), "by the host");
    assert_eq!(ask("publish first 81:80").0, Some(0));
    assert_eq!(seen_as(&lab.lan.0, "192.168.33.10:81"), "192.168.33.1");
    assert_eq!(seen_as(&lab.host.0, "127.0.0.1:81"), "172.17.255.254");
    let own = listen(&lab.host.0, 82);
    let (code, said) = ask("publish first 82:80");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("port 82/tcp of this host is in use"), "{said}");
    let mut to_own = connect(&lab.lan.0, "192.168.33.10:82");
    let (mut of_own, _) = own.accept().unwrap();
    of_own.write_all(b"x").unwrap();
    to_own.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(ask("unpublish first 81:80").0, Some(0));
    assert!(refuses(), "by the host again");
    assert_eq!(ask("network create --subnet 10.99.0.0/24 -o host=true more").0, Some(0));
    let ping = ["ping", "-n", "-c", "1", "-W", "2", "10.99.0.1"];
    let pinged = inside(&lab.host.0, &ping);
    assert!(pinged.status.success(), "{}", text(&pinged));
    assert_eq!(ask("network rm more").0, Some(0));
    assert!(!run(&["ip", "-n", &lab.host.0, "link"]).contains("tw-more"));
    // None of it disturbed what was there.
    client.write_all(b"still").unwrap();
    served.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(switch.stop(), Some(0));
}
