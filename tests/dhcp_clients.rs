//! Real DHCP clients in namespaces, served by the process.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/hosts.rs"]
mod hosts;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use hosts::{Process, Switch, inside, run, skip_unless, text, unique, wait_for};
use tapway::io::Namespace;

/// Sets up what a client has leased, as either of the two passes it on, and writes it down. The
/// clients' own scripts would write this host's resolv.conf.
const SCRIPT: &str = r#"#!/bin/sh
case "$1$reason" in
bound|renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/$subnet" dev "$interface"
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    ip route replace default via "$router" dev "$interface"
    env > "$0.env"
    ;;
BOUND|RENEW|REBIND|REBOOT)
    ip addr flush dev "$interface"
    ip addr add "$new_ip_address/$new_subnet_mask" dev "$interface"
    ip route replace default via "$new_routers" dev "$interface"
    env > "$0.env"
    ;;
esac
"#;

/// A client's files.
struct Client {
    dir: tempfile::TempDir,
    netns: String,
}

impl Client {
    fn new(netns: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let client = Self { dir, netns: netns.to_owned() };
        fs::write(client.script(), SCRIPT).unwrap();
        fs::set_permissions(client.script(), fs::Permissions::from_mode(0o755)).unwrap();
        client
    }

    fn script(&self) -> PathBuf {
        self.dir.path().join("script")
    }

    /// Runs udhcpc until it has a lease.
    fn udhcpc(&self, more: &[&str]) -> String {
        let script = self.script();
        let script = script.to_str().unwrap();
        let command =
            ["udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "2", "-i", "eth0", "-s", script];
        let output = inside(&self.netns, &[&command, more].concat());
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// Runs dhclient until it has a lease; it would stay, and is ended.
    fn dhclient(&self) -> String {
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("conf"), "timeout 20;\nretry 5;\n").unwrap();
        let (script, conf, leases, pid) =
            (path("script"), path("conf"), path("leases"), path("pid"));
        let command = [
            "dhclient", "-1", "-v", "-sf", &script, "-cf", &conf, "-lf", &leases, "-pf", &pid,
            "eth0",
        ];
        let output = inside(&self.netns, &command);
        assert!(output.status.success(), "{}", text(&output));
        // Written by the process that goes on.
        wait_for("its pid", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
        run(&["kill", fs::read_to_string(&pid).unwrap().trim()]);
        text(&output)
    }

    /// What the script was told.
    fn told(&self, variable: &str) -> String {
        let env = fs::read_to_string(self.dir.path().join("script.env")).unwrap();
        let value = env.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
    }

    fn addresses(&self) -> String {
        let output = inside(&self.netns, &["ip", "-4", "-o", "addr", "show", "eth0"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn ping(&self, to: &str) -> bool {
        inside(&self.netns, &["ping", "-c", "1", "-W", "2", to]).status.success()
    }
}

fn network(more: &str) -> String {
    format!(
        r#"
[network.lab]
subnet = "10.66.0.0/24"
dhcp = {{ range = "10.66.0.100-10.66.0.120", exclude = ["10.66.0.100"], lease_s = 600, domain = "lab.test" }}
{more}
"#
    )
}

fn port(name: &str, netns: &str, more: &str) -> String {
    format!("[port.{name}]\nnetwork = \"lab\"\nnetns = \"{netns}\"\n{more}\n")
}

fn lease<'a>(rows: &'a serde_json::Value, port: &str) -> &'a serde_json::Value {
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["port"] == port).unwrap_or_else(|| panic!("{port}: {rows:?}"))
}

#[test]
fn udhcpc_gets_a_lease_keeps_it_and_gives_it_back() {
    if skip_unless(&["ip", "ping", "udhcpc"]) {
        return;
    }
    let (first, second) = (unique("a"), unique("b"));
    let ports = port("one", &first, "") + &port("two", &second, "address = \"10.66.0.101\"");
    let switch = Switch::start(&network(&ports));
    let client = Client::new(&first);
    let options = ["-x", "hostname:web1", "-O", "mtu", "-O", "121"];
    client.udhcpc(&options);
    let addresses = client.addresses();
    assert!(addresses.contains("10.66.0.102/24"), "101 is a port's: {addresses}");
    assert!(client.ping("10.66.0.1") && client.ping("10.66.0.101"));
    assert_eq!(client.told("router"), "10.66.0.1");
    assert_eq!(client.told("domain"), "lab.test");
    assert_eq!(client.told("dns"), "10.66.0.1", "the network has names");
    assert_eq!(client.told("lease"), "600");
    assert_eq!(client.told("mtu"), "1500");
    assert_eq!(client.told("staticroutes"), "0.0.0.0/0 10.66.0.1");
    let rows = switch.json("leases");
    let row = lease(&rows, "one");
    assert_eq!((&row["host_name"], &row["state"]), (&"web1".into(), &"bound".into()));
    let shown = switch.show(&["leases"]);
    assert!(shown.starts_with("10.66.0.102 dev lab port one lladdr "), "{shown}");
    client.udhcpc(&options);
    assert!(client.addresses().contains("10.66.0.102/24"), "the same again");
    let script = client.script();
    let staying = ["udhcpc", "-f", "-i", "eth0", "-s", script.to_str().unwrap()];
    fs::remove_file(client.dir.path().join("script.env")).unwrap();
    let staying = Process::spawn(&[&["ip", "netns", "exec", &first], &staying[..]].concat());
    wait_for("the client", || client.dir.path().join("script.env").exists());
    run(&["kill", "-USR2", &staying.0.id().to_string()]);
    wait_for("the release", || switch.json("leases").as_array().unwrap().is_empty());
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn dhclient_gets_a_lease_from_two_workers_and_its_guard_follows_it() {
    if skip_unless(&["ip", "ping", "dhclient"]) {
        return;
    }
    let netns = unique("a");
    let guarded = "mac = \"02:00:00:00:00:07\"\nguard = true";
    let workers = "[dataplane]\nworkers = 2\n";
    let switch = Switch::start(&network(&(port("vm", &netns, guarded) + workers)));
    let client = Client::new(&netns);
    let output = client.dhclient();
    assert!(output.contains("DHCPOFFER of 10.66.0.101"), "{output}");
    assert!(output.contains("bound to 10.66.0.101"), "{output}");
    assert!(client.ping("10.66.0.1"), "{}", switch.show(&["drops"]));
    // Another address than the leased one is not the host's.
    run(&["ip", "-n", &netns, "addr", "add", "10.66.0.55/24", "dev", "eth0"]);
    let forged = ["ping", "-c", "1", "-W", "1", "-I", "10.66.0.55", "10.66.0.1"];
    assert!(!inside(&netns, &forged).status.success());
    assert!(switch.dropped("guard_ip") + switch.dropped("guard_arp") > 0);
    assert_eq!(lease(&switch.json("leases"), "vm")["mac"], "02:00:00:00:00:07");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn an_isolated_host_gets_a_lease_and_a_reserved_one_its_own() {
    if skip_unless(&["ip", "ping", "udhcpc"]) {
        return;
    }
    let (first, second) = (unique("a"), unique("b"));
    // The address is reserved by MAC; the test takes away what tapway has set there.
    let reserved = "address = \"10.66.0.9\"\nmac = \"02:00:00:00:00:09\"";
    let ports = port("one", &first, "") + &port("two", &second, reserved);
    let switch = Switch::start(&network(&format!("icc = false\n{ports}")));
    let (one, two) = (Client::new(&first), Client::new(&second));
    run(&["ip", "-n", &second, "addr", "flush", "dev", "eth0"]);
    one.udhcpc(&[]);
    two.udhcpc(&[]);
    assert!(one.addresses().contains("10.66.0.101/24"));
    assert!(two.addresses().contains("10.66.0.9/24"));
    assert!(one.ping("10.66.0.1") && two.ping("10.66.0.1"));
    assert_eq!(lease(&switch.json("leases"), "two")["host_name"], "two");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn an_address_that_somebody_uses_without_a_lease_is_not_offered() {
    if skip_unless(&["ip", "ping", "udhcpc"]) {
        return;
    }
    let (first, second) = (unique("a"), unique("b"));
    let ports = port("one", &first, "") + &port("squatter", &second, "");
    let switch = Switch::start(&network(&ports));
    run(&["ip", "-n", &second, "addr", "add", "10.66.0.101/24", "dev", "eth0"]);
    let client = Client::new(&first);
    client.udhcpc(&[]);
    assert!(client.addresses().contains("10.66.0.102/24"), "{}", client.addresses());
    assert!(switch.log().contains("10.66.0.101"), "{}", switch.log());
    let rows = switch.json("leases");
    let states: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["declined", "bound"]);
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn malformed_requests_are_counted_and_do_no_harm() {
    if skip_unless(&["ip", "ping", "udhcpc"]) {
        return;
    }
    let netns = unique("a");
    let switch = Switch::start(&network(&port("one", &netns, "")));
    let client = Client::new(&netns);
    client.udhcpc(&[]);
    let namespace = Namespace::named(&netns).unwrap();
    let socket = namespace.run(|| Ok(UdpSocket::bind("10.66.0.101:0").unwrap())).unwrap();
    socket.set_broadcast(true).unwrap();
    let garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![1; 239],
        vec![0xff; 1400],
        vec![0; 300],
        // In fragments.
        vec![1; 4000],
    ];
    for (bytes, to) in
        garbage.iter().flat_map(|bytes| [(bytes, "10.66.0.1:67"), (bytes, "255.255.255.255:67")])
    {
        socket.send_to(bytes, to).unwrap();
    }
    wait_for("the drops", || switch.dropped("dhcp_malformed") >= 9);
    client.udhcpc(&[]);
    assert!(client.ping("10.66.0.1"));
    assert_eq!(switch.stop(), Some(0));
}
