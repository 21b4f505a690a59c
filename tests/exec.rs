//! `tapway exec`: commands as hosts of a running switch.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::{Duration, Instant};

use hosts::{Switch, run, skip_unless, text, unique, wait_for};
use rustix::process::{Pid, Signal, kill_process};

/// Hosts that find each other.
const MANY: usize = 200;
/// Tells the process below how many names to resolve.
const NAMES: &str = "TAPWAY_TEST_NAMES";
/// How long that may take, with all of starting and ending, by an optimised build on two cores;
/// others only have to end.
const MANY_TIME: Duration = Duration::from_secs(30);

const TOOLS: [&str; 4] = ["ip", "ping", "curl", "getent"];

/// Two networks, an uplink whose far end is a namespace, and hosts to come.
fn start() -> (Switch, String) {
    let outside = unique("o");
    let switch = Switch::start(&format!(
        "[uplink]\nnetns = \"{outside}\"\naddress = \"192.168.33.10/24\"\n\
         gateway = \"192.168.33.1\"\n\
         [network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
         [network.back]\nsubnet = \"172.18.0.0/16\"\n"
    ));
    (switch, outside)
}

/// A command that prints a line once it runs, and then waits for its input to end.
struct Host {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Host {
    /// Starts it and waits until it runs.
    fn start(switch: &Switch, options: &[&str], script: &str) -> Self {
        let script = format!("{script}\necho ready\nread end");
        let arguments = [&["exec"], options, &["--", "sh", "-c", &script]].concat();
        let mut child =
            switch.tapway(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut host = Self { output: BufReader::new(child.stdout.take().unwrap()), child };
        loop {
            let line = host.line();
            assert!(!line.is_empty(), "{options:?} ended: {:?}", host.child.wait());
            if line == "ready\n" {
                return host;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Runs another command where it lives.
    fn inside(&self, command: &[&str]) -> String {
        let pid = self.pid();
        run(&[&["nsenter", "-n", "-m", "-u", "-t", &pid], command].concat())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exec(switch: &Switch, arguments: &[&str]) -> Output {
    switch.tapway(&[&["exec"], arguments].concat()).output().unwrap()
}

/// What a command printed that must succeed.
fn said(switch: &Switch, arguments: &[&str]) -> String {
    let output = exec(switch, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn links(switch: &Switch) -> String {
    switch.show(&["link"])
}

/// What the switch has open.
fn held(switch: &Switch) -> String {
    let files = fs::read_dir(format!("/proc/{}/fd", switch.pid())).unwrap();
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.map(|target| format!("{}\n", target.display())).collect()
}

#[test]
fn a_command_is_a_host_with_private_files_and_nothing_of_it_is_left() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let before = ["/etc/hosts", "/etc/resolv.conf"].map(|path| fs::read(path).ok());
    let script = "readlink /proc/self/ns/net; hostname; echo $HOSTNAME; cat /etc/hostname /etc/hosts; \
        ip -o -4 addr show eth0; ip route show default; ping -c 1 -W 2 172.17.0.1 >&2; \
        ping -c 1 -W 2 127.0.0.1 >&2; getent hosts web; ls -d /sys/class/net/*";
    let text = said(&switch, &["--name", "web", "--ip", "172.17.0.9", "--", "sh", "-c", script]);
    let (namespace, text) = text.split_once('\n').unwrap();
    assert!(text.starts_with("web\nweb\nweb\n127.0.0.1\tlocalhost\n"), "{text}");
    assert!(text.contains("ff02::2\tip6-allrouters\n172.17.0.9\tweb\n"), "{text}");
    assert!(text.contains("172.17.0.9/16"), "{text}");
    assert!(text.contains("default via 172.17.0.1 dev eth0"), "{text}");
    assert!(text.contains("172.17.0.9      web"), "{text}");
    assert!(text.ends_with("/sys/class/net/eth0\n/sys/class/net/lo\n"), "{text}");
    wait_for("the port's end", || !links(&switch).contains("web"));
    assert_eq!(["/etc/hosts", "/etc/resolv.conf"].map(|path| fs::read(path).ok()), before);
    // Nor does the switch hold on to its namespace.
    wait_for("the namespace's end", || !held(&switch).contains(namespace));
}

#[test]
fn exit_status_signals_and_streams_are_the_commands() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    assert_eq!(exec(&switch, &["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let killed = exec(&switch, &["--", "sh", "-c", "kill -USR1 $$"]);
    assert_eq!(killed.status.signal(), Some(libc_sigusr1()));
    let missing = exec(&switch, &["--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(127), "{}", hosts::text(&missing));
    assert_eq!(exec(&switch, &["--", "/etc"]).status.code(), Some(126));
    let mut cat = switch
        .tapway(&["exec", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cat.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let mut through = String::new();
    cat.stdout.take().unwrap().read_to_string(&mut through).unwrap();
    assert_eq!((through.as_str(), cat.wait().unwrap().code()), ("through\n", Some(0)));
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP")] {
        // The shell waits in the background, so that its trap runs at once.
        let script = format!("trap 'echo got {name}; exit 9' {name}; sleep 60 & echo up; wait");
        let mut child = switch
            // Whoever runs the tests in the background may have had SIGINT ignored.
            .tapway(&["exec", "--", "env", "--default-signal", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = [String::new(), String::new()];
        output.read_line(&mut lines[0]).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        output.read_line(&mut lines[1]).unwrap();
        assert_eq!(lines[1], format!("got {name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(9));
    }
}

fn libc_sigusr1() -> i32 {
    Signal::USR1.as_raw()
}

#[test]
fn a_killed_command_is_taken_back_at_once_with_address_name_and_published_port() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let options = ["--name", "web", "--ip", "172.17.0.9", "--publish", "8080:80"];
    for _ in 0..5 {
        let mut host = Host::start(&switch, &options, "");
        assert!(switch.show(&["nat"]).contains("8080"));
        let hosts = switch.json("hosts");
        assert_eq!(hosts[0]["name"], "web");
        assert_eq!(hosts[0]["pid"].to_string(), host.pid());
        host.signal(Signal::KILL);
        host.child.wait().unwrap();
        // The next one finds everything free, without waiting.
    }
    wait_for("the last one's end", || !links(&switch).contains("web"));
    assert!(!switch.show(&["nat"]).contains("8080"));
    assert_eq!(switch.json("hosts").as_array().unwrap().len(), 0);
}

#[test]
fn a_host_that_was_removed_leaves_its_name_to_others_and_takes_nothing_with_it() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let first = Host::start(&switch, &["--name", "web"], "");
    let second = Host::start(&switch, &["--name", "api"], "");
    assert_eq!(switch.ask(&["port", "rm", "web", "api"]).status.code(), Some(0));
    assert_eq!(switch.json("hosts").as_array().unwrap().len(), 0);
    // The name of one goes to a port of another kind, that of the other to another command.
    assert_eq!(switch.ask(&["port", "add", "web"]).status.code(), Some(0));
    let api = Host::start(&switch, &["--name", "api"], "");
    drop((first, second));
    let other = Host::start(&switch, &["--name", "other"], "");
    drop(other);
    wait_for("the last one's end", || !links(&switch).contains("other"));
    let left = links(&switch);
    assert!(left.contains("web") && left.contains("api"), "{left}");
    drop(api);
}

#[test]
fn a_published_port_is_reached_from_outside() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, outside) = start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("conf");
    let place = dir.path().display();
    let nginx = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error;\n\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {place};\n\
         proxy_temp_path {place}; fastcgi_temp_path {place}; uwsgi_temp_path {place};\n\
         scgi_temp_path {place}; server {{ listen 80; location / {{ return 200 'hello\\n'; }} }} }}"
    );
    fs::write(&config, nginx).unwrap();
    let mut server = switch
        .tapway(&["exec", "-p", "8080:80", "--", "nginx", "-c", config.to_str().unwrap()])
        .spawn()
        .unwrap();
    wait_for("nginx", || {
        let curl = ["curl", "-s", "-m", "2", "http://192.168.33.10:8080/"];
        hosts::inside(&outside, &curl).stdout == b"hello\n"
    });
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_link_is_told_by_variables_and_hosts_file_and_follows_its_target() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let database = ["--name", "db", "--expose", "5432", "--ip", "172.17.0.5"];
    let mut db = Host::start(&switch, &database, "");
    let web = Host::start(&switch, &["--name", "web", "--link", "db:database"], "");
    let environment = fs::read(format!("/proc/{}/environ", web.pid())).unwrap();
    let mut variables: Vec<&str> = std::str::from_utf8(&environment)
        .unwrap()
        .split('\0')
        .filter(|variable| variable.starts_with("DATABASE_"))
        .collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        [
            "DATABASE_NAME=/web/database",
            "DATABASE_PORT=tcp://172.17.0.5:5432",
            "DATABASE_PORT_5432_TCP=tcp://172.17.0.5:5432",
            "DATABASE_PORT_5432_TCP_ADDR=172.17.0.5",
            "DATABASE_PORT_5432_TCP_PORT=5432",
            "DATABASE_PORT_5432_TCP_PROTO=tcp",
        ]
    );
    let file = || web.inside(&["cat", "/etc/hosts"]);
    assert!(file().contains("\n172.17.0.5\tdatabase db\n"), "{}", file());
    web.inside(&["ping", "-c", "1", "-W", "2", "database"]);
    let own = db.inside(&["cat", "/etc/hosts"]);
    assert!(!own.contains("web") && own.ends_with("172.17.0.5\tdb\n"), "{own}");
    db.signal(Signal::KILL);
    db.child.wait().unwrap();
    wait_for("the line's end", || !file().contains("database"));
    let moved = Host::start(&switch, &["--name", "db", "--ip", "172.17.0.6"], "");
    assert!(file().contains("\n172.17.0.6\tdatabase db\n"), "{}", file());
    web.inside(&["ping", "-c", "1", "-W", "2", "database"]);
    assert_eq!(moved.end(), Some(1), "`read` finds the end");
}

#[test]
fn a_host_joins_several_networks_and_the_first_has_its_default_route() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let script = "ip -o -4 addr show eth0; ip -o -4 addr show eth1; ip route show default; \
        ping -c 1 -W 2 172.17.0.1 >&2; ping -c 1 -W 2 172.18.0.1 >&2; cat /etc/hosts";
    let options = ["--network", "back", "--network", "bridge", "--name", "both"];
    let text = said(&switch, &[&options[..], &["--", "sh", "-c", script]].concat());
    assert!(text.contains("eth0    inet 172.18.0.2/16"), "{text}");
    assert!(text.contains("eth1    inet 172.17.0.2/16"), "{text}");
    assert!(text.contains("default via 172.18.0.1 dev eth0"), "{text}");
    assert!(text.ends_with("172.18.0.2\tboth\n172.17.0.2\tboth\n"), "{text}");
}

#[test]
fn what_cannot_be_is_refused_by_name_and_exit_code() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let _web = Host::start(&switch, &["--name", "web", "--ip", "172.17.0.9", "-p", "80:80"], "");
    let back = Host::start(&switch, &["--name", "far", "--network", "back"], "");
    for (options, code, message) in [
        (&["--network", "nowhere"][..], 3, "there is no network nowhere"),
        (&["--ip", "172.17.0.9"], 5, "172.17.0.9 in network bridge is that of host web"),
        (&["--ip", "10.0.0.1"], 2, "10.0.0.1"),
        (&["--name", "web"], 5, "host web runs already, as process"),
        (&["--name", "a b"], 2, "not a name"),
        (&["--publish", "80:x"], 2, "\"x\" is not a port"),
        (&["--publish", "80:81"], 5, "80:81 meets 80, published by host web"),
        (&["--expose", "http"], 2, "\"http\" is not a port"),
        (&["--link", "nobody"], 3, "there is no host nobody to link to; start it first"),
        (&["--link", "far"], 5, "host far is on network back, not on bridge"),
        (&["--link", "a:b:c"], 2, "is not a link"),
        (&["--network", "back", "--network", "back"], 2, "network back is named twice"),
    ] {
        let refused = exec(&switch, &[options, &["--", "true"]].concat());
        let text = text(&refused);
        assert_eq!(refused.status.code(), Some(code), "{options:?}: {text}");
        assert!(text.contains(message), "{options:?}: {text}");
    }
    drop(back);
    let nobody = std::process::Command::new(env!("CARGO_BIN_EXE_tapway"))
        .args(["--socket", "/nonexistent/api.sock", "exec", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(4), "{}", text(&nobody));
    wait_for("their ends", || links(&switch).matches("netns of process").count() == 1);
}

/// A line of its own, whatever the test runner writes.
fn say(word: &str) {
    std::io::stdout().write_all(format!("\n{word}\n").as_bytes()).unwrap();
}

/// Not a test: what runs in each of many hosts.
#[test]
#[ignore = "run by another test as a host"]
fn resolves_the_names_of_all_hosts() {
    let count: usize = std::env::var(NAMES).unwrap().parse().unwrap();
    say("ready");
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).unwrap();
    for at in 0..count {
        let name = format!("host{at}");
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 80));
        let found: Vec<_> = found.unwrap_or_else(|error| panic!("{name}: {error}")).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].is_ipv4());
    }
    say("resolved");
    // Others may still ask for this one.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn hundreds_of_hosts_start_at_once_find_each_other_and_leave_nothing() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (switch, _) = start();
    let before = links(&switch).lines().count();
    #[expect(clippy::disallowed_methods, reason = "the time is what is tested")]
    let start = Instant::now();
    let this = std::env::current_exe().unwrap();
    let command = [this.to_str().unwrap(), "--ignored", "--exact", "--nocapture"];
    let spawn = |at: usize| {
        let name = format!("host{at}");
        let options = ["exec", "--network", "back", "--name", &name, "--"];
        let mut process = switch.tapway(&[&options[..], &command].concat());
        process.arg("resolves_the_names_of_all_hosts").env(NAMES, MANY.to_string());
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<Child> = (0..MANY).map(spawn).collect();
    let mut outputs: Vec<_> =
        children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap())).collect();
    let mut wait_all = |line: &str| {
        for (at, output) in outputs.iter_mut().enumerate() {
            let found = output.lines().map_while(Result::ok).any(|said| said == line);
            assert!(found, "host{at} did not say {line:?}");
        }
    };
    wait_all("ready");
    let ready = start.elapsed();
    assert_eq!(switch.json("hosts").as_array().unwrap().len(), MANY);
    for child in &mut children {
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    wait_all("resolved");
    let resolved = start.elapsed();
    for child in &mut children {
        drop(child.stdin.take());
    }
    // Those that listen no longer would end by their last words.
    drop(outputs.iter_mut().map(|output| output.read_to_end(&mut Vec::new())).collect::<Vec<_>>());
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    wait_for("their ends", || links(&switch).lines().count() == before);
    wait_for("the namespaces' ends", || !held(&switch).contains("net:["));
    let whole = start.elapsed();
    eprintln!("{MANY} hosts: attached {ready:?}, resolved {resolved:?}, all gone {whole:?}");
    assert_eq!(switch.json("names")["names"].as_array().unwrap().len(), 0);
    assert!(cfg!(debug_assertions) || whole < MANY_TIME, "{whole:?}");
}
