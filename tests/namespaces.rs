//! Namespaces that tapway makes, adopts and removes, and those it must leave alone.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use netns::{Name, must, skipped};
use tapway::io::{
    Broker, DeviceChange, LinuxBroker, Namespace, Netns, OpenError, PortPlan, Process, TapBackend,
    TapPlan,
};

/// Names the namespace that the process below is to make.
const HOLDER: &str = "TAPWAY_TEST_HOLD_NETNS";

fn plan(netns: &str, interface: &str, create: bool) -> PortPlan {
    PortPlan::Tap(TapPlan {
        netns: Some(Netns::named(netns, create)),
        interface: interface.to_owned(),
        mac: None,
        mtu: 1500,
        address: Some("10.78.0.1/24".parse().unwrap()),
        gateway: None,
        backend: TapBackend::Own,
        queues: 1,
        offload: true,
    })
}

fn mark(netns: &str) -> std::path::PathBuf {
    format!("/run/tapway/netns/{netns}").into()
}

/// Another process that makes a namespace with a TAP and stays.
fn other_tapway(netns: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_a_namespace_until_killed", "--ignored", "--nocapture"])
        .env(HOLDER, netns)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("holding")));
    child
}

#[test]
#[ignore = "run by other tests as a process to be killed"]
fn holds_a_namespace_until_killed() {
    let Ok(netns) = std::env::var(HOLDER) else { return };
    let mut broker = LinuxBroker::new();
    let _opened = broker.open("web", &plan(&netns, "eth0", true)).unwrap();
    #[expect(clippy::print_stdout, reason = "the parent waits for it")]
    {
        println!("\nholding");
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn made_namespace_works_with_ip_netns_and_goes_with_its_last_port() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut broker = LinuxBroker::new();
    let first = broker.open("a", &plan(&name, "eth0", true)).unwrap();
    let second = broker.open("b", &plan(&name, "eth1", true)).unwrap();
    let links = name.exec(&["ip", "-br", "link"]);
    assert!(links.contains("eth0") && links.contains("eth1"), "{links}");
    name.exec(&["ping", "-c1", "-W1", "127.0.0.1"]);
    assert_eq!(mark(&name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(first);
    broker.close("a");
    assert!(name.exists());
    drop(second);
    broker.close("b");
    assert!(!name.exists() && !mark(&name).exists());
    assert!(!must(&["ip", "netns", "list"]).contains(&*name));
}

#[test]
fn dropped_broker_removes_what_it_made() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("a", &plan(&name, "eth0", true)).unwrap();
    drop(broker);
    drop(opened);
    assert!(!name.exists() && !mark(&name).exists());
}

#[test]
fn namespace_of_a_killed_tapway_is_adopted_with_what_runs_in_it() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut other = other_tapway(&name);
    let listener = name.udp("127.0.0.1:4000");
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(name.exists() && mark(&name).exists());
    let mut broker = LinuxBroker::new();
    let opened = broker.open("web", &plan(&name, "eth0", true)).unwrap();
    assert!(name.exec(&["ip", "-br", "addr"]).contains("10.78.0.1/24"));
    name.udp("127.0.0.1:0").send_to(b"x", "127.0.0.1:4000").unwrap();
    assert_eq!(listener.recv(&mut [0; 4]).unwrap(), 1, "the same namespace");
    drop(opened);
    broker.close("web");
    assert!(!name.exists() && !mark(&name).exists());
}

#[test]
fn namespace_of_a_living_tapway_is_refused() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut other = other_tapway(&name);
    let mut broker = LinuxBroker::new();
    let refusal = broker.open("web", &plan(&name, "eth1", true)).err().unwrap();
    assert!(matches!(refusal, OpenError::Conflict { .. }), "{refusal}");
    assert!(refusal.to_string().contains(&format!("stop process {}", other.id())), "{refusal}");
    drop(broker);
    assert!(name.exec(&["ip", "-br", "link"]).contains("eth0"), "left as it was");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn namespace_without_a_mark_is_used_and_left() {
    if skipped() {
        return;
    }
    let name = Name::made();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("web", &plan(&name, "eth0", true)).unwrap();
    assert!(!mark(&name).exists());
    drop(opened);
    broker.close("web");
    drop(broker);
    assert!(name.exists());
}

#[test]
fn namespace_that_took_a_marked_name_is_left() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("web", &plan(&name, "eth0", true)).unwrap();
    must(&["ip", "netns", "del", &name]);
    must(&["ip", "netns", "add", &name]);
    drop(opened);
    broker.close("web");
    assert!(name.exists() && !mark(&name).exists());
}

#[test]
fn removed_namespace_is_made_again_when_the_port_is_opened_again() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("web", &plan(&name, "eth0", true)).unwrap();
    must(&["ip", "netns", "del", &name]);
    let again = broker.open("web", &plan(&name, "eth0", true)).unwrap();
    assert!(name.exec(&["ip", "-br", "addr"]).contains("10.78.0.1/24"));
    drop((opened, again));
    drop(broker);
    assert!(!name.exists() && !mark(&name).exists());
}

#[test]
fn missing_namespace_is_named_with_the_remedy() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let refusal = LinuxBroker::new().open("web", &plan(&name, "eth0", false)).err().unwrap();
    let expected =
        format!("network namespace {0} does not exist; make it with `ip netns add {0}`", &*name);
    assert_eq!(refusal.to_string(), expected);
}

#[test]
fn refused_interface_leaves_nothing_behind() {
    if skipped() {
        return;
    }
    let name = Name::new();
    let mut broker = LinuxBroker::new();
    for (interface, why) in [("lo", "not a TAP"), ("a/b", "no name"), ("tap%d", "no name")] {
        let refusal = broker.open("web", &plan(&name, interface, true)).err().unwrap();
        assert!(matches!(refusal, OpenError::Conflict { .. }), "{refusal}");
        assert!(refusal.to_string().contains(why), "{refusal}");
        assert!(!name.exists() && !mark(&name).exists());
    }
    let opened = broker.open("a", &plan(&name, "eth0", true)).unwrap();
    let refusal = broker.open("b", &plan(&name, "eth0", true)).err().unwrap();
    assert!(refusal.to_string().contains("in use by another process"), "{refusal}");
    assert!(name.exists());
    drop(opened);
}

#[test]
fn changes_behind_tapways_back_are_told() {
    if skipped() {
        return;
    }
    let name = Name::made();
    let mut broker = LinuxBroker::new();
    let opened = broker.open("web", &plan(&name, "eth0", false)).unwrap();
    assert_eq!(broker.poll_changes(), []);
    name.exec(&["ip", "link", "set", "eth0", "down"]);
    name.exec(&["ip", "link", "set", "eth0", "mtu", "9000"]);
    name.exec(&["ip", "link", "set", "eth0", "up"]);
    name.exec(&["ip", "link", "add", "other", "type", "veth", "peer", "name", "another"]);
    name.exec(&["ip", "link", "del", "other"]);
    let mtu = DeviceChange::Mtu { port: "web".to_owned(), mtu: 9000 };
    let up = || DeviceChange::Up { port: "web".to_owned() };
    assert_eq!(broker.poll_changes(), [up(), mtu]);
    name.exec(&["ip", "link", "set", "eth0", "down"]);
    let why = "eth0 was set down by its host".to_owned();
    assert_eq!(broker.poll_changes(), [DeviceChange::Down { port: "web".to_owned(), why }]);
    name.exec(&["ip", "link", "set", "eth0", "name", "eth9"]);
    let (from, to) = ("eth0".to_owned(), "eth9".to_owned());
    let renamed = DeviceChange::Renamed { port: "web".to_owned(), from, to };
    assert_eq!(broker.poll_changes(), [renamed]);
    name.exec(&["ip", "link", "set", "eth9", "name", "eth0"]);
    name.exec(&["ip", "link", "set", "eth0", "up"]);
    assert_eq!(broker.poll_changes().last(), Some(&up()));
    name.exec(&["ip", "link", "del", "eth0"]);
    let why = format!("eth0 left namespace {}", &*name);
    let lost = DeviceChange::Lost { port: "web".to_owned(), why };
    assert_eq!(broker.poll_changes(), [lost]);
    assert_eq!(broker.poll_changes(), [], "told once");
    // Opened again it is watched again; closed it is not.
    let again = broker.open("web", &plan(&name, "eth0", false)).unwrap();
    name.exec(&["ip", "link", "set", "eth0", "mtu", "1400"]);
    assert_eq!(broker.poll_changes().len(), 1);
    broker.close("web");
    drop((opened, again));
    assert_eq!(broker.poll_changes(), []);
}

#[test]
fn more_changes_than_the_socket_holds_end_in_the_present_state() {
    if skipped() {
        return;
    }
    let name = Name::made();
    let mut broker = LinuxBroker::new();
    let _opened = broker.open("web", &plan(&name, "eth0", false)).unwrap();
    name.exec(&[
        "sh",
        "-c",
        "for n in $(seq 600); do echo link set eth0 mtu $((1000 + n)); done \
        | ip -batch -",
    ]);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(broker.poll_changes());
    }
    let last = DeviceChange::Mtu { port: "web".to_owned(), mtu: 1600 };
    assert_eq!(seen.last(), Some(&last));
}

#[test]
fn vanished_namespace_of_somebody_else_is_told_and_waited_for() {
    if skipped() {
        return;
    }
    for create in [false, true] {
        let name = Name::made();
        let plan = plan(&name, "eth0", create);
        let mut broker = LinuxBroker::new();
        let opened = broker.open("web", &plan).unwrap();
        must(&["ip", "netns", "del", &name]);
        let why = format!("network namespace {} was removed", &*name);
        assert_eq!(broker.poll_changes(), [DeviceChange::Lost { port: "web".to_owned(), why }]);
        drop(opened);
        let refusal = broker.open("web", &plan).err().unwrap();
        assert!(matches!(refusal, OpenError::NotFound { .. }), "{refusal}");
        must(&["ip", "netns", "add", &name]);
        let _again = broker.open("web", &plan).unwrap();
        assert!(name.exec(&["ip", "-br", "addr"]).contains("10.78.0.1/24"));
    }
}

#[test]
fn hint_is_for_a_tap_in_tapways_own_namespace_only() {
    if skipped() {
        return;
    }
    let name = Name::made();
    // A thread in a fresh namespace stands for a host: no forwarding, no default route.
    let namespace = tapway::io::Namespace::named(&name).unwrap();
    let (own, inside) = namespace
        .run(|| {
            let broker = LinuxBroker::new();
            let PortPlan::Tap(mut tap) = plan(&name, "tapway0", false) else { panic!() };
            let inside = broker.outside_hint(&PortPlan::Tap(tap.clone()));
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            tap.netns = None;
            Ok((broker.outside_hint(&PortPlan::Tap(tap)), inside))
        })
        .unwrap();
    assert_eq!(inside, None);
    let own = own.unwrap();
    assert!(own.contains("ip_forward=1") && own.contains("default route"), "{own}");
}

#[test]
fn routes_of_the_host_are_listed_from_every_table_without_default_routes() {
    if skipped() {
        return;
    }
    let name = Name::made();
    name.exec(&["ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1"]);
    name.exec(&["ip", "addr", "add", "172.18.0.9/16", "dev", "d0"]);
    name.exec(&["ip", "link", "set", "d0", "up"]);
    name.exec(&["ip", "route", "add", "default", "via", "172.18.0.1"]);
    name.exec(&["ip", "route", "add", "10.8.0.0/24", "dev", "d0", "table", "77"]);
    name.exec(&["ip", "route", "add", "blackhole", "10.9.0.0/24"]);
    let inside = Namespace::named(&name).unwrap();
    let routes = inside.run(|| LinuxBroker::new().host_routes()).unwrap();
    let routes: Vec<String> = routes.iter().map(ToString::to_string).collect();
    for expected in ["10.8.0.0/24", "10.9.0.0/24", "127.0.0.0/8", "172.18.0.0/16", "172.18.0.9/32"]
    {
        assert!(routes.iter().any(|route| route == expected), "{expected} in {routes:?}");
    }
    assert!(!routes.iter().any(|route| route.ends_with("/0")), "{routes:?}");
}

#[test]
fn a_tap_in_the_namespace_of_a_process_goes_with_its_port() {
    if skipped() {
        return;
    }
    let mut child =
        Command::new("unshare").args(["-n", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let process = Process::open(child.id()).unwrap();
    let netns = loop {
        // Until it has entered a namespace of its own it is in ours.
        match process.netns() {
            Err(OpenError::Conflict { .. }) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    let mut broker = LinuxBroker::new();
    let PortPlan::Tap(tap) = plan("unused", "eth0", false) else { unreachable!() };
    let plan = PortPlan::Tap(TapPlan { netns: Some(Netns::OfProcess(netns)), ..tap });
    let opened = broker.open("host", &plan).unwrap();
    let pid = child.id().to_string();
    assert_eq!(opened.description, format!("tap eth0 netns of process {pid}"));
    let inside = |command: &[&str]| must(&[&["nsenter", "-n", "-t", &pid], command].concat());
    assert!(inside(&["ip", "-o", "-4", "addr", "show", "eth0"]).contains("10.78.0.1/24"));
    inside(&["ping", "-c", "1", "-W", "2", "127.0.0.1"]);
    assert!(
        broker.poll_changes().iter().all(|change| !matches!(change, DeviceChange::Lost { .. }))
    );
    drop(opened);
    broker.close("host");
    assert!(!inside(&["ip", "-o", "link"]).contains("eth0"));
    drop(child.stdin.take());
    child.wait().unwrap();
}
