//! Resolvers and files come and go with their namespaces.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::bench::{Bench, eventually, short};
use crate::netns::{Name, must, run};
use crate::upstream::Upstream;

fn file(netns: &Name) -> PathBuf {
    format!("/etc/netns/{}/resolv.conf", &**netns).into()
}

#[test]
fn files_go_with_the_switch_and_those_a_kill_left_with_the_next() {
    let Some(mut bench) = Bench::start("") else { return };
    assert!(file(&bench.web1).exists() && file(&bench.both).exists());
    assert!(!file(&bench.plain).exists(), "it has no names");
    assert_eq!(bench.stop(Signal::KILL), None);
    assert!(file(&bench.web1).exists());
    bench.run("", |command| command);
    assert_eq!(short(&bench.web1, &["web2"]), ["172.22.0.3"]);
    assert_eq!(bench.stop(Signal::TERM), Some(0));
    for netns in [&bench.web1, &bench.web2, &bench.both, &bench.db] {
        assert!(!file(netns).exists() && !file(netns).parent().unwrap().exists());
    }
}

#[test]
fn a_file_of_the_users_stays_and_a_namespace_of_his_is_left_alone() {
    let Some(mut bench) = Bench::start("") else { return };
    bench.stop(Signal::TERM);
    let own = file(&bench.web1);
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(&own, "nameserver 192.0.2.9\n").unwrap();
    must(&["ip", "netns", "add", &bench.web2]);
    bench.run("", |command| command);
    assert_eq!(fs::read_to_string(&own).unwrap(), "nameserver 192.0.2.9\n");
    assert!(!file(&bench.web2).exists());
    let sockets = bench.web2.exec(&["ss", "-Hlnu"]);
    assert!(!sockets.contains("127.0.0.11"), "{sockets}");
    assert_eq!(short(&bench.web2, &["@172.22.0.1", "web1"]), ["172.22.0.2"]);
    bench.stop(Signal::TERM);
    assert_eq!(fs::read_to_string(&own).unwrap(), "nameserver 192.0.2.9\n");
    fs::remove_dir_all(own.parent().unwrap()).unwrap();
}

#[test]
fn a_namespace_that_goes_and_returns_has_a_resolver_again() {
    let Some(bench) = Bench::start("") else { return };
    must(&["ip", "netns", "del", &bench.web2]);
    // The switch lets go of it: nobody else could tell whether it is gone.
    eventually("the port is down", || bench.show("link").contains("does not exist"));
    must(&["ip", "netns", "add", &bench.web2]);
    let is_back = || run(&["ip", "netns", "exec", &bench.web2, "ip", "link", "show", "eth0"]);
    eventually("the port is back", || is_back().status.success());
    // It is the user's now: names at the gateway, nothing inside.
    eventually("it answers", || short(&bench.web2, &["@172.22.0.1", "web1"]) == ["172.22.0.2"]);
    assert_eq!(short(&bench.web1, &["web2"]), ["172.22.0.3"]);
}

#[test]
fn a_host_with_a_lease_is_known_by_the_name_it_gives_unless_that_is_taken() {
    let netns = [Name::new(), Name::new(), Name::new()];
    let port = |name: &str, at: usize| {
        format!("[port.{name}]\nnetwork = \"leased\"\nnetns = \"{}\"\n", &*netns[at])
    };
    let settings = [
        "[network.leased]\nsubnet = \"172.24.0.0/16\"\ndhcp = true\n".to_owned(),
        port("one", 0),
        port("two", 1),
        port("fixed", 2) + "address = \"172.24.0.9\"\n",
    ];
    let Some(bench) = Bench::start(&settings.concat()) else { return };
    for (netns, name) in netns.iter().zip(["vm1", "FIXED"]) {
        let host_name = format!("hostname:{name}");
        let client = ["busybox", "udhcpc", "-f", "-n", "-q", "-i", "eth0", "-s", "/bin/true"];
        netns.exec(&[client.as_slice(), &["-x", &host_name]].concat());
    }
    eventually("the first is known", || {
        bench.report().names.iter().any(|row| row.name == "vm1" && row.network == "leased")
    });
    let rows = bench.report().names;
    let fixed: Vec<_> = rows.iter().filter(|row| row.name == "fixed").collect();
    assert_eq!(fixed.len(), 1);
    assert_eq!(fixed[0].addresses, [std::net::Ipv4Addr::new(172, 24, 0, 9)], "it is taken");
}

#[test]
fn names_follow_what_is_changed_live() {
    // It knows every name: what it says is nobody's here.
    let upstream = Upstream::start("127.0.0.1:0", 1);
    let settings = format!("[dns]\nupstreams = [{}]\n", upstream.quoted());
    let Some(bench) = Bench::start(&settings) else { return };
    let nobody = ["192.0.2.1"];
    let netns = Name::new();
    assert_eq!(short(&bench.web1, &["new.dns"]), nobody);
    let add = ["port", "add", "--network", "dns", "--netns", &netns, "--ip", "172.22.0.9"];
    bench.tapway(&[add.as_slice(), &["--alias", "fresh", "new"]].concat());
    assert_eq!(short(&bench.web1, &["new.dns"]), ["172.22.0.9"]);
    assert_eq!(short(&bench.web1, &["@172.22.0.1", "fresh"]), ["172.22.0.9"]);
    assert_eq!(short(&netns, &["web1"]), ["172.22.0.2"], "it has a resolver, too");
    assert!(file(&netns).exists());
    // Another network: its names are seen, and the host in it.
    assert_eq!(short(&netns, &["db.back"]), nobody);
    bench.tapway(&["network", "connect", "--alias", "late", "back", "new"]);
    assert_eq!(short(&netns, &["db"]), ["172.23.0.2"]);
    assert_eq!(short(&bench.db, &["late"]).len(), 1);
    bench.tapway(&["network", "disconnect", "back", "new"]);
    assert_eq!(short(&netns, &["db.back"]), nobody);
    bench.tapway(&["port", "rm", "new"]);
    assert_eq!(short(&bench.web1, &["new.dns"]), nobody);
    assert!(!file(&netns).exists() && !netns.exists());
}
