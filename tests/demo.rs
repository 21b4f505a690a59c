//! The demo: every step passes, a broken translation is noticed, and nothing stays behind.
//!
//! Real demos are run in processes of their own: this test program, started again with the
//! ignored test `child_process`.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "what a test takes for granted may fail it")]
#![expect(clippy::print_stdout, reason = "a skipped test says why, a child tells its parent")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tapway::cli::demo::{DemoOptions, Fault, Summary, run};

/// What the child is to do, as words.
const CHILD: &str = "TAPWAY_TEST_DEMO";
const NETNS_DIR: &str = "/run/netns";
const CHECKS: usize = 12;

fn simulated(fault: Option<Fault>) -> (Summary, String) {
    let mut out = Vec::new();
    let options = DemoOptions { simulated: true, fault, ..DemoOptions::default() };
    let summary = run(options, &mut out).unwrap();
    (summary, String::from_utf8(out).unwrap())
}

/// One real demo at a time: they use the same namespaces.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why real demos cannot run here; in CI that is a failure.
fn cannot_be_real() -> bool {
    let can = rustix::process::geteuid().is_root() && std::path::Path::new("/dev/net/tun").exists();
    if !can {
        assert!(std::env::var_os("CI").is_none(), "CI must run the real demo");
        println!("skipped: needs root and /dev/net/tun");
    }
    !can
}

fn command(what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_process", "--ignored", "--nocapture"])
        .env(CHILD, what)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn finish(mut child: Child) -> (ExitStatus, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap(), text)
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
#[ignore = "the body of the processes that other tests start"]
fn child_process() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let options = DemoOptions {
        keep: what == "keep",
        fault: (what == "fault").then_some(Fault::NoTranslation),
        ..DemoOptions::default()
    };
    let code = match run(options, &mut std::io::stdout()) {
        Ok(summary) => u8::from(summary.failed > 0),
        Err(error) => {
            println!("{error}");
            error.exit_code()
        }
    };
    std::process::exit(i32::from(code));
}

#[test]
fn simulated_demo_passes_every_step_and_tells_the_same_twice() {
    let (summary, transcript) = simulated(None);
    assert_eq!(summary, Summary { passed: CHECKS, failed: 0 }, "{transcript}");
    assert_eq!(simulated(None).1, transcript);
    assert!(transcript.starts_with("Simulated"), "{transcript}");
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
    if cannot_be_real() {
        return;
    }
    let (status, transcript) = finish(command("run").spawn().unwrap());
    assert!(status.success(), "{transcript}");
    assert!(transcript.contains("Real: "), "{transcript}");
    assert!(transcript.contains(&format!("{CHECKS} checks passed, 0 failed.")), "{transcript}");
    assert!(!transcript.contains("tx_device_gone"), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn real_demo_fails_without_translation_and_removes_everything() {
    let _alone = alone();
    if cannot_be_real() {
        return;
    }
    let (status, transcript) = finish(command("fault").spawn().unwrap());
    assert_eq!(status.code(), Some(1), "{transcript}");
    assert!(transcript.contains("8 checks passed, 4 failed."), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn signal_in_the_middle_removes_everything() {
    let _alone = alone();
    if cannot_be_real() {
        return;
    }
    for number in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut child = command("run").spawn().unwrap();
        read_until(&mut child, " 5. ");
        signal(&child, number);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
        assert_eq!(leftovers(), Vec::<String>::new());
    }
}

#[test]
fn kept_demo_can_be_entered_and_ends_by_a_signal() {
    let _alone = alone();
    if cannot_be_real() {
        return;
    }
    let mut child = command("keep").spawn().unwrap();
    read_until(&mut child, "ip netns exec tapway-demo-far sh");
    assert_eq!(leftovers().len(), 4);
    let ping = ["netns", "exec", "tapway-demo-mac", "ping", "-c", "1", "-W", "2", "192.168.33.10"];
    let ping = Command::new("ip").args(ping).stdout(Stdio::null()).status().unwrap();
    // Another demo at the same time is told who is in the way.
    let (second, told) = finish(command("run").spawn().unwrap());
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(ping.success());
    assert_eq!(second.code(), Some(5), "{told}");
    assert!(told.contains(&format!("process {}", child.id())), "{told}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn next_demo_cleans_up_after_a_killed_one() {
    let _alone = alone();
    if cannot_be_real() {
        return;
    }
    let mut child = command("run").spawn().unwrap();
    read_until(&mut child, " 3. ");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(leftovers().len(), 4, "the kill came too late to leave something");
    let (status, transcript) = finish(command("run").spawn().unwrap());
    assert!(status.success(), "{transcript}");
    assert_eq!(leftovers(), Vec::<String>::new());
}

#[test]
fn without_the_privilege_the_demo_is_simulated_and_says_why() {
    if cannot_be_real() {
        return;
    }
    let _alone = alone();
    // A copy that everybody may run, wherever the build directory is.
    let place = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), everybody).unwrap();
    let program = place.path().join("demo");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "child_process", "--ignored", "--nocapture"]).env(CHILD, "run");
    let child = command.uid(65_534).gid(65_534).stdout(Stdio::piped()).spawn().unwrap();
    let (status, transcript) = finish(child);
    assert!(status.success(), "{transcript}");
    assert!(transcript.contains("Simulated: "), "{transcript}");
    assert!(transcript.contains("permission denied; run as root"), "{transcript}");
}
