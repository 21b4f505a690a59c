//! A running tapway is changed over its socket: networks, hosts, published ports, routes, reload,
//! and what survives a restart. Real namespaces and TAPs.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/live.rs"]
mod live;
#[path = "support/netns.rs"]
mod netns;

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use live::{Lab, TAPWAY, ping};
use rustix::process::Signal;

#[test]
fn networks_hosts_and_published_ports_come_and_go() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let running = lab.start();
    assert_eq!(
        lab.tapway(&["network", "create", "--subnet", "10.9.0.0/24", "back"]),
        "+ network back 10.9.0.0/24 gateway 10.9.0.1\n"
    );
    let db = &*lab.db;
    assert_eq!(
        lab.tapway(&["port", "add", "--network", "back", "--netns", db, "-p", "5432", "db"]),
        "+ port db network back 10.9.0.2\n+ publish 49153/tcp -> 10.9.0.2:5432\n"
    );
    assert!(ping(&lab.db, "10.9.0.1") && ping(&lab.db, "192.168.33.1"));
    assert!(!ping(&lab.db, "172.17.0.2"), "networks are isolated");
    // A host of the file joins a second network; its default route stays.
    assert_eq!(
        lab.tapway(&["network", "connect", "--ip", "10.9.0.7", "back", "web"]),
        "+ port web@back network back 10.9.0.7\n"
    );
    assert!(ping(&lab.db, "10.9.0.7") && ping(&lab.web, "10.9.0.2"));
    let routes = lab.web.exec(&["ip", "route"]);
    assert!(routes.contains("default via 172.17.0.1 dev eth0"), "{routes}");
    assert!(routes.contains("10.9.0.0/24 dev eth1"), "{routes}");
    assert_eq!(
        lab.tapway(&["publish", "web", "8080:80", "53:53/udp"]),
        "+ publish 8080/tcp -> 172.17.0.2:80\n+ publish 53/udp -> 172.17.0.2:53\n"
    );
    let ls = lab.tapway(&["network", "ls"]);
    assert_eq!(
        ls,
        "NAME    SUBNET         GATEWAY     HOSTS  INTERNAL  FROM\n\
         bridge  172.17.0.0/16  172.17.0.1  1      no        file\n\
         back    10.9.0.0/24    10.9.0.1    2      no        live\n"
    );
    let inspected = lab.tapway(&["network", "inspect", "back"]);
    assert!(inspected.contains("\"port\": \"web@back\""), "{inspected}");

    lab.tapway(&["unpublish", "web", "53/udp"]);
    assert_eq!(
        lab.tapway(&["network", "disconnect", "back", "web"]),
        "- port web@back network back 10.9.0.7\n"
    );
    assert!(!lab.web.exec(&["ip", "link"]).contains("eth1"));
    assert_eq!(lab.tapway(&["port", "rm", "db"]).lines().count(), 2);
    assert!(!lab.db.exists(), "its namespace goes with it");
    lab.tapway(&["network", "rm", "back"]);
    assert_eq!(lab.tapway(&["diff"]), "+ publish 8080/tcp -> 172.17.0.2:80\n");
    running.stop(Signal::TERM);
}

#[test]
fn what_cannot_be_is_refused_with_the_remedy_and_an_exit_code() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    assert_eq!(lab.refused(&["network", "ls"]).0, 4);
    let _running = lab.start();
    lab.tapway(&["network", "create", "back"]);
    lab.tapway(&["port", "add", "--network", "back", "--netns", &lab.db, "db"]);
    let before = lab.tapway(&["export"]);
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["network", "create", "back"],
            5,
            "tapway: network back exists already; choose another name, or remove it first: \
             `tapway network rm`",
        ),
        (
            &["network", "create", "--subnet", "172.17.4.0/24", "x"],
            5,
            "tapway: network.x.subnet: 172.17.4.0/24 overlaps 172.17.0.0/16 of bridge (line 8); \
             give each network a subnet of its own",
        ),
        (
            &["network", "create", "-o", "colour=red", "x"],
            2,
            "tapway: network.x.colour: unknown key; known here: subnet, gateway,",
        ),
        (
            &["network", "rm", "back"],
            5,
            "tapway: network back is in use by db; `tapway port rm db` first, or remove all with \
             it: `tapway network rm --force back`",
        ),
        (
            &["network", "rm", "bridge"],
            5,
            "tapway: network bridge is in the configuration file, not made live; remove it there \
             and run `tapway reload`",
        ),
        (&["network", "rm", "none"], 3, "tapway: there is no network none; there are bridge, back"),
        (
            &["port", "add", "--network", "none", "x"],
            3,
            "tapway: port.x.network: there is no network none; add [network.none], or use bridge \
             or back",
        ),
        (
            &["port", "add", "--netns", "x", "--ip", "172.17.0.2", "x"],
            5,
            "tapway: port.x.address: 172.17.0.2 is that of port web; give each host an address of \
             its own",
        ),
        (
            &["port", "add", "--interface", "eth0/1", "x"],
            2,
            "tapway: port.x.interface: \"eth0/1\" cannot be an interface's name",
        ),
        (&["port", "rm", "none"], 3, "tapway: there is no port none; there are web, db"),
        (&["publish", "none", "80"], 3, "tapway: there is no port none; there are web, db"),
        (&["publish", "web", "80/sctp"], 2, "tapway: \"80/sctp\": protocol \"sctp\" cannot be"),
        (&["unpublish", "web", "80"], 3, "tapway: web does not publish 80;"),
        (
            &["route", "add", "10.0.0.0/8", "via", "10.77.0.1"],
            2,
            "tapway: route.via: 10.77.0.1 is on no network of tapway;",
        ),
        (&["route", "del", "10.0.0.0/8"], 3, "tapway: there is no route 10.0.0.0/8;"),
        (&["network", "disconnect", "back", "web"], 3, "tapway: web is not in network back;"),
    ];
    for (arguments, code, start) in cases {
        let (exit, said) = lab.refused(arguments);
        assert_eq!(exit, *code, "{arguments:?}: {said}");
        assert!(said.starts_with(start), "{arguments:?}: {said}");
    }
    assert_eq!(lab.tapway(&["export"]), before);
    lab.tapway(&["network", "rm", "--force", "back"]);
    assert_eq!(lab.tapway(&["network", "ls", "-q"]), "bridge\n");
    assert!(!lab.db.exists());
}

#[test]
fn a_reload_applies_all_of_the_file_or_nothing() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let running = lab.start();
    assert_eq!(lab.tapway(&["reload"]), "nothing has changed\n");
    let db = format!(
        "[network.back]\nsubnet = \"10.9.0.0/24\"\n[port.db]\nnetwork = \"back\"\nnetns = \"{}\"\naddress = \"10.9.0.2\"\n",
        &*lab.db
    );
    lab.write(&db);
    assert_eq!(lab.tapway(&["diff"]).lines().count(), 2);
    assert_eq!(
        lab.tapway(&["reload"]),
        "+ network back 10.9.0.0/24 gateway 10.9.0.1\n+ port db network back 10.9.0.2\n"
    );
    assert!(ping(&lab.db, "10.9.0.1"));
    let before = lab.tapway(&["export"]);

    // A namespace that is not there, and one more network that could be.
    lab.write(&format!(
        "[network.more]\n[port.x]\nnetwork = \"more\"\nnetns = \"{}-x\"\ncreate_netns = false\n",
        &*lab.db
    ));
    let (exit, said) = lab.refused(&["reload"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("port x: network namespace"), "{said}");
    lab.write("[network.bad]\nsubnet = \"10.9.0.1/24\"\n");
    let (exit, said) = lab.refused(&["reload"]);
    assert_eq!(exit, 78);
    assert!(
        said.contains("lab.toml:13:10: network.bad.subnet: 10.9.0.1/24 has bits set"),
        "{said}"
    );
    lab.write("[limits]\nsessions = 1024\n");
    let (exit, said) = lab.refused(&["reload"]);
    assert_eq!(exit, 5);
    assert!(said.contains("[limits] or [timeouts] is other than at the start"), "{said}");
    assert_eq!(lab.tapway(&["export"]), before);
    assert!(ping(&lab.db, "10.9.0.1") && ping(&lab.web, "192.168.33.1"));

    lab.write("");
    running.signal(Signal::HUP);
    let line = "- port db network back 10.9.0.2";
    for _ in 0..500 {
        if lab.log().contains(line) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lab.log().contains(line), "{}", lab.log());
    assert!(!lab.db.exists());
    assert!(ping(&lab.web, "192.168.33.1"));
}

#[test]
fn what_was_made_live_survives_a_restart_and_a_damaged_file_is_refused() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let running = lab.start();
    assert!(!lab.state().parent().unwrap().exists(), "nothing was made live yet");
    lab.tapway(&["network", "create", "back"]);
    lab.tapway(&["port", "add", "--network", "back", "--netns", &lab.db, "-p", "80", "db"]);
    lab.tapway(&["network", "connect", "back", "web"]);
    lab.tapway(&["route", "add", "10.77.0.0/16", "via", "172.17.0.9"]);
    let before = lab.tapway(&["export"]);
    // What is kept is kept before it is acknowledged.
    running.stop(Signal::KILL);
    let running = lab.start();
    assert_eq!(lab.tapway(&["export"]), before);
    assert!(ping(&lab.db, "192.168.33.1"));
    // It is a configuration, and gives the same.
    let export = lab.directory.path().join("export.toml");
    fs::write(&export, &before).unwrap();
    let mut check = Command::new(TAPWAY);
    assert!(check.args(["check", "-c"]).arg(&export).status().unwrap().success());
    running.stop(Signal::TERM);

    // The file takes over what it names.
    let file = format!(
        "[network.back]\nsubnet = \"10.9.0.0/24\"\n[port.db]\nnetwork = \"back\"\n\
         netns = \"{}\"\naddress = \"10.9.0.5\"\n",
        &*lab.db
    );
    lab.write(&file);
    let running = lab.start();
    assert!(lab.log().contains("network back: "), "{}", lab.log());
    let diff = lab.tapway(&["diff"]);
    assert!(diff.contains("+ port web@back network back 10.9.0.2"), "{diff}");
    assert!(diff.contains("+ publish 49153/tcp -> 10.9.0.5:80"), "{diff}");
    running.stop(Signal::TERM);

    // What does not go with the file is not dropped.
    lab.write("[network.other]\nsubnet = \"10.1.0.0/16\"\n");
    let (code, said) = lab.does_not_start(&lab.socket());
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("made live: publish.port: there is no port db; add [port.db]"), "{said}");
    lab.write("");
    let kept = fs::read(lab.state()).unwrap();
    fs::write(lab.state(), &kept[..kept.len() - 9]).unwrap();
    let (code, said) = lab.does_not_start(&lab.socket());
    assert_eq!(code, Some(78), "{said}");
    let place = lab.state().display().to_string();
    assert!(
        said.contains(&format!("{place}: line 1: ")) && said.contains("remove it to start"),
        "{said}"
    );
    fs::remove_file(lab.state()).unwrap();
    lab.start().stop(Signal::TERM);
}

#[test]
fn two_tapways_do_not_share_a_state() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let _running = lab.start();
    lab.tapway(&["network", "create", "back"]);
    let (code, said) = lab.does_not_start(&lab.directory.path().join("other.sock"));
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("another tapway keeps its state here"), "{said}");
}

#[test]
fn malformed_requests_get_an_error_and_change_nothing() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let _running = lab.start();
    let before = lab.tapway(&["export"]);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
    let deep = format!("{{\"name\":\"x\",\"nat\":{}", "[".repeat(10_000));
    let cases = [
        ("/v1/networks", "", "400"),
        ("/v1/networks", "{", "400"),
        ("/v1/networks", "[]", "400"),
        ("/v1/networks", "null", "400"),
        ("/v1/networks", "\u{0}\u{1}", "400"),
        ("/v1/networks", "{\"name\":7}", "400"),
        ("/v1/networks", "{\"name\":\"a b\"}", "400"),
        ("/v1/networks", "{\"name\":\"x\",\"mtu\":1e99}", "400"),
        ("/v1/networks", "{\"name\":\"x\",\"subnet\":[[[{}]]]}", "400"),
        ("/v1/networks", "{\"name\":\"x\",\"subnet\":\"\\\"\\n[port.y]\"}", "400"),
        ("/v1/networks", &deep, "400"),
        ("/v1/networks", &long, "413"),
        ("/v1/networks/bridge/connect", "{}", "400"),
        ("/v1/networks/bridge/disconnect", "{\"port\":\"web\",\"x\":1}", "400"),
        ("/v1/networks/%ff/disconnect", "{\"port\":\"web\"}", "400"),
        ("/v1/ports", "{\"name\":\"x\",\"process\":1}", "400"),
        ("/v1/ports", "{\"name\":\"x\",\"publish\":\"80\"}", "400"),
        ("/v1/ports", "{\"name\":\"web@bridge\"}", "400"),
        ("/v1/ports/web/publish", "{\"publish\":[\"\"]}", "400"),
        ("/v1/ports/none/publish", "{\"publish\":[\"80\"]}", "404"),
        ("/v1/routes", "{\"to\":\"10.0.0.0/8\"}", "400"),
        ("/v1/routes", "{\"to\":\"10.0.0.0/8\",\"via\":\"1.2.3.4\",\"x\":1}", "400"),
        ("/v1/export", "", "405"),
    ];
    for (path, body, status) in cases {
        let answer = lab.post(path, body);
        let shown = &body[..body.len().min(60)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {shown}: {answer}");
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(json["error"].is_string(), "{path} {shown}: {answer}");
    }
    let half =
        "POST /v1/networks HTTP/1.1\r\nhost: t\r\ncontent-length: 99\r\n\r\n{\"name\":\"x\"}";
    let answer = lab.raw(half);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    for garbage in ["\u{0}\u{0}\u{0}", "POST", "POST / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n"] {
        let stream = UnixStream::connect(lab.socket()).unwrap();
        (&stream).write_all(garbage.as_bytes()).unwrap();
        drop(stream);
    }
    assert_eq!(lab.tapway(&["export"]), before);
}

#[test]
fn completions_and_man_pages_are_generated() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Command::new(TAPWAY).args(arguments).output().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("disconnect"), "{shell}: {script}");
    }
    let man = directory.path().join("man1");
    assert!(run(&["man", man.to_str().unwrap()]).status.success());
    for page in ["tapway.1", "tapway-network-create.1", "tapway-run.1"] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
}
