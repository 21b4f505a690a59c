//! The demo: every step passes, a broken translation is noticed, and nothing stays behind.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "what a test takes for granted may fail it")]

#[path = "support/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tapway::cli::demo::{DemoOptions, Fault, Summary, run};

const NETNS_DIR: &str = "/run/netns";
const CHECKS: usize = 12;

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
    assert_eq!(summary, Summary { passed: CHECKS, failed: 0 }, "{transcript}");
    assert_eq!(simulated(None).1, transcript);
    assert!(transcript.starts_with("Simulated"), "{transcript}");
}

#[test]
fn printed_configuration_is_the_tutorial_and_is_accepted() {
    let mut out = Vec::new();
    run(&DemoOptions { print_config: true, ..DemoOptions::default() }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, include_str!("../tools/configs/tutorial.toml"));
    let loaded = tapway::control::config::Config::parse("printed", &text).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn demo_fails_without_translation() {
    let (summary, transcript) = simulated(Some(Fault::NoTranslation));
    // Ping, traceroute, HTTP and who the router saw; the rest does not lean on it.
    assert_eq!(summary, Summary { passed: CHECKS - 4, failed: 4 }, "{transcript}");
}

#[test]
fn demo_fails_when_the_port_is_not_published() {
    let (summary, transcript) = simulated(Some(Fault::NotPublished));
    assert_eq!(summary, Summary { passed: CHECKS - 4, failed: 4 }, "{transcript}");
}

#[test]
fn real_demo_passes_every_step_and_removes_everything() {
    let _alone = alone();
    if netns::skipped() {
        return;
    }
    let (status, transcript) = finish(demo(&[]));
    assert!(status.success(), "{transcript}");
    assert!(transcript.contains("Real: "), "{transcript}");
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
    assert_eq!(summary, Summary { passed: CHECKS - 4, failed: 4 }, "{transcript}");
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
    assert_eq!(leftovers().len(), 4);
    let ping = ["netns", "exec", "tapway-demo-mac", "ping", "-c", "1", "-W", "2", "192.168.33.10"];
    let ping = Command::new("ip").args(ping).stdout(Stdio::null()).status().unwrap();
    // Another demo at the same time is told who is in the way.
    let (second, told) = finish(demo(&[]));
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(ping.success());
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
    assert_eq!(leftovers().len(), 4, "the kill came too late to leave something");
    let (status, transcript) = finish(demo(&[]));
    assert!(status.success(), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
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
