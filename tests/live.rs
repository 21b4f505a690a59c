//! A running tapway is changed over its socket: networks, hosts, published ports, routes, reload,
//! and what survives a restart. Real namespaces and TAPs.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/schema.rs"]
mod schema;

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tapway::io::Clock;

const TAPWAY: &str = env!("CARGO_BIN_EXE_tapway");

/// A tapway with one network, one host and an outside, in namespaces of this test.
struct Lab {
    directory: tempfile::TempDir,
    outside: netns::Name,
    web: netns::Name,
    db: netns::Name,
}

/// The process; killed with the test.
struct Running(Child);

impl Lab {
    fn new() -> Self {
        let lab = Self {
            directory: tempfile::tempdir().unwrap(),
            outside: netns::Name::new(),
            web: netns::Name::new(),
            db: netns::Name::new(),
        };
        lab.write("");
        lab
    }

    /// The configuration, and more.
    fn write(&self, more: &str) {
        let text = format!(
            "[state]\ndirectory = \"{}\"\n[uplink]\nnetns = \"{}\"\naddress = \"192.168.33.10/24\"\n\
             gateway = \"192.168.33.1\"\n[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
             [port.web]\nnetns = \"{}\"\naddress = \"172.17.0.2\"\n{more}",
            self.state().parent().unwrap().display(),
            &*self.outside,
            &*self.web,
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("lab.toml")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state/live.toml")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(TAPWAY);
        command.args(["run", "-c"]).arg(self.config()).env_remove("TAPWAY_LOG");
        command.env("TAPWAY_SOCKET", self.socket());
        command
    }

    fn start(&self) -> Running {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_up = lines.any(|line| line.unwrap().starts_with("api: "));
        assert!(is_up, "it did not start: {}", self.log());
        Running(child)
    }

    /// Exit code and stderr of one that is to end at once.
    fn does_not_start(&self, socket: &Path) -> (Option<i32>, String) {
        let mut command = self.command();
        command.env("TAPWAY_SOCKET", socket).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        for _ in 0..500 {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Only if it runs; an exit code of none tells.
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(TAPWAY);
        command.env("TAPWAY_SOCKET", self.socket()).args(arguments).output().unwrap()
    }

    /// Its stdout; it must succeed.
    fn tapway(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and stderr of what is refused.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said.trim().to_owned())
    }

    /// The whole answer to a raw request.
    fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // A server that has heard enough may reset.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn post(&self, path: &str, body: &str) -> String {
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

impl Running {
    fn stop(mut self, signal: Signal) {
        self.signal(signal);
        let status = self.0.wait().unwrap();
        assert!(signal != Signal::TERM || status.success(), "{status}");
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ping(from: &netns::Name, to: &str) -> bool {
    netns::run(&["ip", "netns", "exec", from, "ping", "-c", "1", "-W", "2", to]).status.success()
}

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

#[test]
fn every_answer_is_as_the_api_describes_it() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let _running = lab.start();
    let get = |path: &str| lab.raw(&format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n"));
    let body_of = |answer: &str| -> serde_json::Value {
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
    };
    let description = body_of(&get("/v1/openapi.json"));
    let hold = |method: &str, path: &str, answer: &str| {
        let is_ok = answer.starts_with("HTTP/1.1 200 ");
        let schema = schema::answer(&description, method, path, is_ok);
        let wrong = schema::check(&description, schema, &body_of(answer), "answer");
        assert!(wrong.is_empty(), "{method} {path}: {wrong:?}: {answer}");
        is_ok
    };
    // What there is to show of each kind.
    lab.tapway(&["network", "create", "back"]);
    lab.tapway(&["port", "add", "--network", "back", "--netns", &lab.db, "-p", "80", "db"]);
    assert!(ping(&lab.web, "192.168.33.1") && !ping(&lab.web, "192.168.33.77"));
    let mut asked = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete", "put"] {
            let is_described = operations[method].is_object();
            let real = path.replace("{name}", "back");
            if method == "get" && is_described && !["/v1/capture", "/v1/export"].contains(&&**path)
            {
                assert!(hold(method, path, &get(&real)), "{path}");
                asked += 1;
            } else if method == "get" && is_described {
                continue;
            } else {
                // Nothing is sent that could be done.
                let method = method.to_uppercase();
                let answer = lab.raw(&format!(
                    "{method} {real}?x=1 HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\n["
                ));
                let is_served = !answer.starts_with("HTTP/1.1 405 ");
                let is_reload = path == "/v1/reload";
                assert_eq!(is_served, is_described, "{method} {path}: {answer}");
                if is_served && !is_reload && method != "DELETE" {
                    assert!(!hold("post", path, &answer), "{answer}");
                }
            }
        }
    }
    assert!(asked > 10);
    let posts = [
        ("/v1/networks", "/v1/networks", "{\"name\":\"x\",\"subnet\":null}"),
        ("/v1/networks/{name}/connect", "/v1/networks/back/connect", "{\"port\":\"web\"}"),
        ("/v1/networks/{name}/disconnect", "/v1/networks/back/disconnect", "{\"port\":\"web\"}"),
        ("/v1/ports/{name}/publish", "/v1/ports/web/publish", "{\"publish\":[\"8080:80\"]}"),
        ("/v1/ports/{name}/unpublish", "/v1/ports/web/unpublish", "{\"publish\":[\"8080\"]}"),
        ("/v1/routes", "/v1/routes", "{\"to\":\"10.77.0.0/16\",\"via\":\"172.17.0.9\"}"),
        ("/v1/reload", "/v1/reload", ""),
    ];
    for (path, real, body) in posts {
        let operation = &description["paths"][path]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let (true, Ok(body)) = (schema.is_object(), serde_json::from_str(body)) {
            let wrong = schema::check(&description, schema, &body, "body");
            assert!(wrong.is_empty(), "{path}: {wrong:?}");
        }
        let answer = lab.post(real, body);
        assert!(hold("post", path, &answer), "{path}: {answer}");
    }
    let command = Command::new("unshare").args(["-n", "sleep", "60"]).spawn().unwrap();
    let command = Running(command);
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = format!("/proc/{}/ns/net", command.0.id());
    let in_own = || fs::read_link(&theirs).is_ok_and(|theirs| theirs != own);
    while !in_own() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let body = format!("{{\"name\":\"command\",\"pid\":{}}}", command.0.id());
    assert!(hold("post", "/v1/hosts", &lab.post("/v1/hosts", &body)));
    assert!(hold("get", "/v1/hosts", &get("/v1/hosts")));
}
