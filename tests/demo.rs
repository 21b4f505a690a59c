//! The demo: every step passes, a broken translation is noticed, and nothing stays behind.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "what a test takes for granted may fail it")]

#[path = "support/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tapway::cli::demo::{DemoOptions, Fault, Summary, run};

const NETNS_DIR: &str = "/run/netns";
const CHECKS: usize = 25;
/// Of which a simulation cannot try: two files, a ping by a name in one, the machine's resolvers.
const UNSIMULATED: usize = 4;

fn simulated(fault: Option<Fault>) -> (Summary, String) {
    let mut out = Vec::new();
    let options = DemoOptions { simulated: true, fault, ..DemoOptions::default() };
    let summary = run(&options, &mut out).unwrap();
    (summary, String::from_utf8(out).unwrap())
}

/// One real demo at a time: they use the same namespaces.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a simulation comes to.
fn simulated_but(failed: usize) -> Summary {
    Summary { passed: CHECKS - UNSIMULATED - failed, failed, skipped: UNSIMULATED }
}

/// A demo in a namespace that plays the machine, so that routes of the real one do not matter.
fn demo_at(machine: &netns::Name, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NETNS_DIR}/{}", &**machine));
    command.args([env!("CARGO_BIN_EXE_tapway"), "demo"]).args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapway"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Everything that a demo printed, and how it ended.
fn finish(mut command: Command) -> (ExitStatus, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(text).unwrap())
}

/// Reads a child's transcript up to a line that contains `mark`.
fn read_until(child: &mut Child, mark: &str) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(mark));
    assert!(found, "the demo ended without {mark:?}");
}

fn leftovers() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NETNS_DIR) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("tapway-demo-")).collect()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn simulated_demo_passes_every_step_and_tells_the_same_twice() {
    let (summary, transcript) = simulated(None);
    assert_eq!(summary, simulated_but(0), "{transcript}");
    assert_eq!(simulated(None).1, transcript);
    assert!(transcript.starts_with("Simulated"), "{transcript}");
}

#[test]
fn demo_fails_without_translation() {
    let (summary, transcript) = simulated(Some(Fault::NoTranslation));
    // Ping, traceroute, HTTP and who the router saw; the rest does not lean on it.
    assert_eq!(summary, simulated_but(4), "{transcript}");
}

#[test]
fn demo_fails_without_names() {
    let (summary, transcript) = simulated(Some(Fault::NoNames));
    // The link's variables, and three pings by name.
    assert_eq!(summary, simulated_but(4), "{transcript}");
}

#[test]
fn demo_fails_when_the_port_is_not_published() {
    let (summary, transcript) = simulated(Some(Fault::NotPublished));
    assert_eq!(summary, simulated_but(4), "{transcript}");
}

#[test]
fn real_demo_passes_every_step_and_removes_everything() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    let machine = netns::Name::made();
    let files = ["/etc/hosts", "/etc/resolv.conf"].map(std::fs::read);
    let (status, transcript) = finish(demo_at(&machine, &[]));
    assert!(status.success(), "{transcript}");
    assert!(transcript.contains("Real: "), "{transcript}");
    for line in [
        "nginx1 here, you are 172.17.255.254",
        "172.17.0.2\tweb nginx1",
        "WEB_PORT_80_TCP_ADDR=172.17.0.2",
        "64 bytes from web (172.17.0.2): icmp_seq=1 ttl=64",
        "nameserver 127.0.0.11",
        "64 bytes from web1.dns (172.22.0.2): icmp_seq=1 ttl=64",
        // No resolver can be reached from there.
        "Host nobody.invalid not found: 2(SERVFAIL)",
        "network_isolated",
    ] {
        assert!(transcript.contains(line), "{line}: {transcript}");
    }
    let now = ["/etc/hosts", "/etc/resolv.conf"].map(std::fs::read);
    assert_eq!(files.map(Result::ok), now.map(Result::ok));
    assert_eq!(machine.exec(&["ip", "route"]), "");
    assert!(!machine.exec(&["ip", "link"]).contains("tapway0"));
    assert!(transcript.contains(&format!("{CHECKS} checks passed, 0 failed.")), "{transcript}");
    assert!(!transcript.contains("tx_device_gone"), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn real_demo_fails_without_translation_and_removes_everything() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    let mut out = Vec::new();
    let fault = Some(Fault::NoTranslation);
    let summary = run(&DemoOptions { fault, ..DemoOptions::default() }, &mut out).unwrap();
    let transcript = String::from_utf8(out).unwrap();
    assert_eq!(summary.failed, 4, "{transcript}");
    assert!(transcript.starts_with("Real: "), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn signal_in_the_middle_removes_everything() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    for number in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut child = demo(&[]).spawn().unwrap();
        read_until(&mut child, " 5. ");
        signal(&child, number);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + number.as_raw()));
        assert_eq!(leftovers(), Vec::<String>::new());
    }
}

#[test]
fn kept_demo_can_be_entered_and_ends_by_a_signal() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api");
    let socket = socket.to_str().unwrap();
    let mut child = demo(&["--socket", socket, "--keep"]).spawn().unwrap();
    read_until(&mut child, "ip netns exec tapway-demo-nginx1 ping");
    let show = Command::new(env!("CARGO_BIN_EXE_tapway"))
        .args(["--socket", socket, "show", "link"])
        .output()
        .unwrap();
    let links = String::from_utf8_lossy(&show.stdout).into_owned();
    assert_eq!(leftovers().len(), 7);
    let named = ["netns", "exec", "tapway-demo-web2", "ping", "-c", "1", "-W", "2", "web1"];
    let named = Command::new("ip").args(named).output().unwrap();
    let named = String::from_utf8_lossy(&named.stdout).into_owned();
    let ping = ["netns", "exec", "tapway-demo-mac", "ping", "-c", "1", "-W", "2", "192.168.33.10"];
    let ping = Command::new("ip").args(ping).stdout(Stdio::null()).status().unwrap();
    // Another demo at the same time is told who is in the way.
    let (second, told) = finish(demo(&[]));
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(ping.success());
    assert!(named.contains("from web1.dns (172.22.0.2)"), "{named}");
    assert!(links.contains("device tap eth0 netns tapway-demo-nginx1"), "{links}");
    assert_eq!(second.code(), Some(5), "{told}");
    assert!(told.contains(&format!("process {}", child.id())), "{told}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn next_demo_cleans_up_after_a_killed_one() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    let mut child = demo(&[]).spawn().unwrap();
    read_until(&mut child, " 3. ");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(leftovers().len(), 7, "the kill came too late to leave something");
    let (status, transcript) = finish(demo(&[]));
    assert!(status.success(), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn subnet_that_the_machine_routes_is_left_alone_and_its_resolver_is_asked() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    let machine = netns::Name::made();
    machine.exec(&["ip", "tuntap", "add", "docker0", "mode", "tap"]);
    machine.exec(&["ip", "address", "add", "172.17.0.1/16", "dev", "docker0"]);
    machine.exec(&["ip", "link", "set", "docker0", "up"]);
    let before = machine.exec(&["ip", "route"]);
    let etc = EtcOf::with_resolver(&machine, "127.0.0.1");
    let upstream = machine.udp("127.0.0.1:53");
    upstream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let upstream = std::thread::spawn(move || say_no_such_name(&upstream));
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &machine, env!("CARGO_BIN_EXE_tapway"), "demo"]);
    let (status, transcript) = finish(command);
    drop(etc);
    assert!(status.success(), "{transcript}");
    let why = "skipped: this host routes 172.17.0.0/16 already";
    assert!(transcript.contains(why), "{transcript}");
    assert!(transcript.contains("Host nobody.invalid not found: 3(NXDOMAIN)"), "{transcript}");
    assert!(transcript.contains(&format!("{} checks passed, 0 failed, 1 skipped.", CHECKS - 1)));
    assert!(upstream.join().unwrap());
    assert_eq!(machine.exec(&["ip", "route"]), before);
}

/// What `ip netns exec` shows under `/etc` in a namespace; gone when dropped.
struct EtcOf(PathBuf);

impl EtcOf {
    fn with_resolver(machine: &str, server: &str) -> Self {
        let etc = Path::new("/etc/netns").join(machine);
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(etc.join("resolv.conf"), format!("nameserver {server}\n")).unwrap();
        Self(etc)
    }
}

impl Drop for EtcOf {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        // Only if nobody else has something there.
        let _ = std::fs::remove_dir("/etc/netns");
    }
}

/// Answers one question with NXDOMAIN; true if one came.
fn say_no_such_name(socket: &UdpSocket) -> bool {
    let mut message = [0; 512];
    let Ok((len, asker)) = socket.recv_from(&mut message) else { return false };
    message[2] |= 0x80;
    message[3] = 0x83;
    socket.send_to(&message[..len], asker).is_ok()
}

#[test]
fn printed_configuration_is_accepted_and_gives_the_same_network() {
    let mut out = Vec::new();
    run(&DemoOptions { print_config: true, ..DemoOptions::default() }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, include_str!("../tools/configs/demo.toml"));
    let loaded = tapway::control::config::Config::parse("printed", &text).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    if netns::skipped() {
        return;
    }
    let machine = netns::Name::made();
    // Names that are nobody's else.
    let prefix = format!("netns = \"{}-", &*machine);
    let dir = tempfile::tempdir().unwrap();
    let (file, socket) = (dir.path().join("printed.toml"), dir.path().join("api"));
    std::fs::write(&file, text.replace("netns = \"", &prefix)).unwrap();
    let mut switch = Command::new("nsenter");
    switch.arg(format!("--net={NETNS_DIR}/{}", &*machine)).arg(env!("CARGO_BIN_EXE_tapway"));
    switch.arg("--socket").arg(&socket).arg("run").arg("-c").arg(&file);
    let mut switch = switch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    read_until(&mut switch, "api: ");
    let ping = |from: &str, to: &str| {
        let from = format!("{}-{from}", &*machine);
        let ping = ["netns", "exec", &from, "ping", "-c", "1", "-W", "2", to];
        Command::new("ip").args(ping).stdout(Stdio::null()).status().unwrap().success()
    };
    let heard = [("web2", "web1"), ("nginx2", "web"), ("nginx1", "192.168.33.1")]
        .map(|(from, to)| ping(from, to));
    let isolated = ping("web1", "172.17.0.2");
    let here = machine.exec(&["ping", "-c", "1", "-W", "2", "172.17.0.2"]);
    signal(&switch, rustix::process::Signal::TERM);
    assert_eq!(switch.wait().unwrap().code(), Some(0));
    assert_eq!((heard, isolated), ([true; 3], false));
    assert!(here.contains("1 received"), "{here}");
}

#[test]
fn without_the_privilege_the_demo_is_simulated_and_says_why() {
    if netns::skipped() {
        return;
    }
    let _alone = alone();
    // A copy that everybody may run, wherever the build directory is.
    let place = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), everybody).unwrap();
    let program = place.path().join("tapway");
    std::fs::copy(env!("CARGO_BIN_EXE_tapway"), &program).unwrap();
    let mut command = Command::new(program);
    command.arg("demo").uid(65_534).gid(65_534);
    let (status, transcript) = finish(command);
    assert!(status.success(), "{transcript}");
    assert!(transcript.contains("Simulated: "), "{transcript}");
    assert!(transcript.contains("permission denied; run as root"), "{transcript}");
}
