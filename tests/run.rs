//! `tapway run` and `tapway check` as processes: exit codes, signals, and what they leave behind.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/netns.rs"]
mod netns;

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const TAPWAY: &str = env!("CARGO_BIN_EXE_tapway");
/// Longest wait for what another process does.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// The tutorial in namespaces of this test.
struct Lab {
    directory: tempfile::TempDir,
    outside: netns::Name,
    hosts: [netns::Name; 2],
}

impl Lab {
    fn new() -> Self {
        let lab = Self {
            directory: tempfile::tempdir().unwrap(),
            outside: netns::Name::new(),
            hosts: [netns::Name::new(), netns::Name::new()],
        };
        let [first, second] = &lab.hosts;
        let text = include_str!("../tools/configs/tutorial.toml")
            .replace("netns = \"outside\"", &format!("netns = \"{}\"", &*lab.outside))
            .replace("netns = \"nginx1\"", &format!("netns = \"{}\"", &**first))
            .replace("netns = \"nginx2\"", &format!("netns = \"{}\"", &**second));
        fs::write(lab.config(), text).unwrap();
        lab
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("lab.toml")
    }

    fn command(&self, config: &Path) -> Command {
        let mut command = Command::new(TAPWAY);
        command.args(["run", "-c"]).arg(config);
        command.arg("--socket").arg(self.directory.path().join("api.sock"));
        command.env_remove("TAPWAY_LOG").env_remove("JOURNAL_STREAM");
        command
    }

    /// Starts it and waits for its first lines.
    fn start(&self) -> (Running, Vec<String>) {
        let mut child = self
            .command(&self.config())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().is_some_and(|line| line.starts_with("api: ")) {
                return (Running(Some(child)), lines);
            }
        }
        panic!("it did not start: {:?}", child.wait_with_output());
    }

    fn ping(&self, from: usize, to: &str) {
        self.hosts[from].exec(&["ping", "-c", "1", "-W", "2", to]);
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn has_namespaces(&self) -> [bool; 3] {
        [&self.outside, &self.hosts[0], &self.hosts[1]]
            .map(|name| Path::new("/run/netns").join(&**name).exists())
    }
}

/// The process; killed with the test.
struct Running(Option<Child>);

impl Running {
    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end; gives the exit code and stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let mut child = self.0.take().unwrap();
        for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(STEP);
        }
        // Only if it hangs; an exit code of none tells.
        let _ = child.kill();
        ended(&child.wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn check_says_ok_or_all_that_is_wrong() {
    let check =
        |path: &Path| Command::new(TAPWAY).args(["check", "-c"]).arg(path).output().unwrap();
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/configs/lab.toml");
    let output = check(&good);
    assert_eq!(ended(&output), (Some(0), String::new()));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}: ok\n", good.display()));

    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad.toml");
    fs::write(&bad, "[network.a]\nsubnet = \"10.0.0.1/8\"\nspeed = 1\n[port.b]\n").unwrap();
    let (code, errors) = ended(&check(&bad));
    assert_eq!(code, Some(78));
    let places: Vec<&str> =
        errors.lines().filter_map(|line| line.strip_prefix(bad.to_str().unwrap())).collect();
    assert_eq!(places.len(), 3, "{errors}");
    for (place, start) in places.iter().zip([":2:10: ", ":3:1: ", ":4:7: "]) {
        assert!(place.starts_with(start), "{place}");
    }
    assert_eq!(ended(&check(&directory.path().join("none"))).0, Some(3));

    fs::write(&bad, b"# caf\xe9, \xe9\n[network.a]\nspeed = 1\n").unwrap();
    let (code, errors) = ended(&check(&bad));
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains(":1:6: byte 0xe9 is not UTF-8; save"), "{errors}");
    assert!(errors.contains(":3:1: network.a.speed: unknown key"), "{errors}");
    fs::write(&bad, b"a\0\xff\n[b]\n").unwrap();
    let (code, errors) = ended(&check(&bad));
    assert_eq!((code, errors.lines().count()), (Some(78), 2), "{errors}");
    let (code, errors) = ended(&check(Path::new("/dev/zero")));
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains("/dev/zero: longer than the 16 MiB"), "{errors}");
}

#[test]
fn signals_dump_and_stop_and_nothing_is_left() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let (running, lines) = lab.start();
    assert!(
        lines[1].starts_with("outside: by 192.168.33.1 on TAP eth0 in namespace "),
        "{lines:?}"
    );
    lab.ping(0, "172.17.0.3");
    lab.ping(1, "192.168.33.1");

    let (code, errors) = ended(&lab.command(&lab.config()).output().unwrap());
    assert_eq!(code, Some(5), "{errors}");
    assert!(errors.contains("another tapway runs with the socket"), "{errors}");

    running.signal(Signal::HUP);
    running.signal(Signal::USR1);
    lab.ping(0, "172.17.0.3");
    running.signal(Signal::TERM);
    let (code, errors) = running.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("the configuration was read anew changes=0"), "{errors}");
    assert!(errors.contains("== neigh\n") && errors.contains("172.17.0.3"), "{errors}");
    assert_eq!(lab.files(), ["lab.toml"]);
    assert_eq!(lab.has_namespaces(), [false; 3]);
}

#[test]
fn what_a_killed_one_leaves_is_taken_over() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let (running, _) = lab.start();
    running.signal(Signal::KILL);
    running.end();
    assert_eq!(lab.files(), ["api.sock", "api.sock.lock", "lab.toml"]);
    assert_eq!(lab.has_namespaces(), [true; 3]);

    let (running, _) = lab.start();
    lab.ping(0, "172.17.0.3");
    running.signal(Signal::INT);
    assert_eq!(running.end().0, Some(0));
    assert_eq!(lab.files(), ["lab.toml"]);
    assert_eq!(lab.has_namespaces(), [false; 3]);
}

#[test]
fn what_cannot_be_opened_is_listed_and_what_was_opened_is_removed() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let missing = netns::Name::new();
    let ports = |more: &str| {
        let text = fs::read_to_string(lab.config()).unwrap();
        let path = lab.directory.path().join("more.toml");
        fs::write(&path, format!("{text}\n{more}")).unwrap();
        ended(&lab.command(&path).output().unwrap())
    };
    let absent = format!("[port.x]\nnetns = \"{}\"\ncreate_netns = false\n", &*missing);
    let (code, errors) = ports(&absent);
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.contains("port x: ") && errors.contains(&*missing), "{errors}");
    let (code, errors) = ports(&format!("{absent}[port.y]\ninterface = \"lo\"\n"));
    assert_eq!(code, Some(5), "{errors}");
    assert!(errors.contains("port x: ") && errors.contains("port y: lo"), "{errors}");
    assert_eq!(lab.has_namespaces(), [false; 3]);
    assert_eq!(lab.files(), ["lab.toml", "more.toml"]);
}

#[test]
fn without_the_privilege_it_says_so() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    // Where nobody may read: not below the build's directory.
    fs::set_permissions(lab.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = lab.directory.path().join("tapway");
    fs::copy(TAPWAY, &binary).unwrap();
    let socket = lab.directory.path().join("api.sock");
    let output = Command::new(&binary)
        .args(["run", "-c"])
        .arg(lab.config())
        .arg("--socket")
        .arg(socket)
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let (code, errors) = ended(&output);
    assert_eq!(code, Some(77), "{errors}");
    assert!(errors.contains("run tapway as root"), "{errors}");
    assert_eq!(lab.files(), ["lab.toml", "tapway"]);
}

#[test]
fn journald_gets_no_times_and_a_reader_that_leaves_stops_nothing() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    let log = lab.directory.path().join("log");
    let file = fs::File::create(&log).unwrap();
    let about = file.metadata().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = lab
        .command(&lab.config())
        .env("JOURNAL_STREAM", format!("{}:{}", about.dev(), about.ino()))
        .stdout(writer)
        .stderr(file)
        .spawn()
        .unwrap();
    let running = Running(Some(child));
    let socket = lab.directory.path().join("api.sock");
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if socket.exists() {
            break;
        }
        std::thread::sleep(STEP);
    }
    running.signal(Signal::HUP);
    // Signals that wait together have no order.
    lab.ping(0, "172.17.0.3");
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    let [start, hang_up] = lines.as_slice() else { panic!("{log}") };
    assert!(start.starts_with("INFO dataplane starts io="), "{start}");
    assert_eq!(*hang_up, "INFO the configuration was read anew changes=0");
}

#[test]
fn a_reader_of_stderr_that_does_not_read_stops_no_stop() {
    if netns::skipped() {
        return;
    }
    let lab = Lab::new();
    // A pipe takes this much without a reader.
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; 65_536]).unwrap();
    // The soft limit is raised to the hard one.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\"", TAPWAY]);
    limited.args(lab.command(&lab.config()).get_args());
    limited.env_remove("TAPWAY_LOG").env_remove("JOURNAL_STREAM");
    let child = limited.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    let limits = format!("/proc/{}/limits", child.id());
    let running = Running(Some(child));
    let socket = lab.directory.path().join("api.sock");
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if socket.exists() {
            break;
        }
        std::thread::sleep(STEP);
    }
    let limits = fs::read_to_string(limits).unwrap();
    let files: Vec<&str> = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(files[0], files[1]);
    for signal in [Signal::USR1, Signal::HUP, Signal::USR1, Signal::HUP] {
        running.signal(signal);
        lab.ping(0, "172.17.0.3");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    assert_eq!(lab.files(), ["lab.toml"]);
    assert_eq!(lab.has_namespaces(), [false; 3]);
}
