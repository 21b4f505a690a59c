//! A running switch with two networks that have names and one that has none.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hickory_proto::op::Message;
use rustix::process::{Pid, Signal, kill_process};
use tapway::control::api::{Client, NamesReport};

use crate::netns::{Name, must, run, skipped};

const TAPWAY: &str = env!("CARGO_BIN_EXE_tapway");
/// Longest wait for what another process does.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);
/// The gateway of the network `dns`.
pub const GATEWAY: &str = "172.22.0.1";
/// Where a host's own resolver is.
pub const OWN: &str = "127.0.0.11";

pub struct Bench {
    /// `web1`, `web2` and `both`, which is also in `back`, where `db` is; `plain` is in `bridge`.
    pub web1: Name,
    pub web2: Name,
    pub both: Name,
    pub db: Name,
    pub plain: Name,
    outside: Name,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Bench {
    /// None, and said so, if it cannot be here. `settings` goes to the end of the configuration.
    pub fn start(settings: &str) -> Option<Self> {
        Self::start_with(settings, |command| command)
    }

    /// The same, started by a command that is made of the plain one.
    pub fn start_with(settings: &str, wrap: impl Fn(Command) -> Command) -> Option<Self> {
        if skipped() || lacks_tools() {
            return None;
        }
        let mut bench = Self {
            web1: Name::new(),
            web2: Name::new(),
            both: Name::new(),
            db: Name::new(),
            plain: Name::new(),
            outside: Name::new(),
            directory: tempfile::tempdir().unwrap(),
            child: None,
        };
        bench.run(settings, wrap);
        Some(bench)
    }

    fn config(&self, settings: &str) -> String {
        let port = |name: &str, network: &str, netns: &str, rest: &str| {
            format!("[port.{name}]\nnetwork = \"{network}\"\nnetns = \"{netns}\"\n{rest}\n")
        };
        [
            format!(
                "[uplink]\nnetns = \"{}\"\naddress = \"192.168.33.10/24\"\n\
                 gateway = \"192.168.33.1\"\n",
                &*self.outside
            ),
            "[network.bridge]\nsubnet = \"172.17.0.0/16\"\n".to_owned(),
            "[network.dns]\nsubnet = \"172.22.0.0/16\"\n".to_owned(),
            "[network.back]\nsubnet = \"172.23.0.0/16\"\ninternal = true\n".to_owned(),
            port("web1", "dns", &self.web1, "address = \"172.22.0.2\"\naliases = [\"www\"]"),
            port("web2", "dns", &self.web2, "address = \"172.22.0.3\"\naliases = [\"www\"]"),
            port("both", "dns", &self.both, "address = \"172.22.0.4\""),
            "[[connect]]\nport = \"both\"\nnetwork = \"back\"\naddress = \"172.23.0.4\"\n\
             aliases = [\"second\"]\n"
                .to_owned(),
            port("db", "back", &self.db, "address = \"172.23.0.2\""),
            port("plain", "bridge", &self.plain, "address = \"172.17.0.2\""),
            settings.to_owned(),
        ]
        .join("\n")
    }

    /// Starts it, or a killed one again.
    pub fn run(&mut self, settings: &str, wrap: impl Fn(Command) -> Command) {
        let config = self.directory.path().join("dns.toml");
        fs::write(&config, self.config(settings)).unwrap();
        let mut command = Command::new(TAPWAY);
        command.args(["run", "-c"]).arg(&config).arg("--socket").arg(self.socket());
        let mut command = wrap(command);
        command.env_remove("TAPWAY_LOG").env_remove("JOURNAL_STREAM");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("api: ")), "it did not start");
        self.child = Some(child);
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// What the API says of names.
    pub fn report(&self) -> NamesReport {
        Client::new(&self.socket()).unwrap().get("/v1/names").unwrap()
    }

    /// The text of a table.
    pub fn show(&self, table: &str) -> String {
        self.tapway(&["show", table])
    }

    /// What another command of tapway's prints, which must succeed.
    pub fn tapway(&self, arguments: &[&str]) -> String {
        let socket = self.socket();
        must(&[&[TAPWAY, "--socket", socket.to_str().unwrap()], arguments].concat())
    }

    /// Ends it; gives its exit code.
    pub fn stop(&mut self, signal: Signal) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        child.wait().unwrap().code()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop(Signal::TERM);
        }
    }
}

fn lacks_tools() -> bool {
    let missing = ["dig", "busybox", "curl", "getent"].into_iter().find(|tool| {
        let found = Command::new("which").arg(tool).output();
        !found.is_ok_and(|output| output.status.success())
    });
    if let Some(tool) = missing {
        crate::netns::skip(format!("no {tool}"));
    }
    missing.is_some()
}

/// Runs a command in a namespace that may fail.
pub fn attempt(netns: &Name, command: &[&str]) -> Output {
    let mut whole = vec!["ip", "netns", "exec", netns];
    whole.extend(command);
    run(&whole)
}

/// Asks once with dig; gives all it printed.
pub fn dig(netns: &Name, arguments: &[&str]) -> String {
    let mut command = vec!["dig", "+tries=1", "+time=5"];
    command.extend(arguments);
    let output = attempt(netns, &command);
    String::from_utf8(output.stdout).unwrap()
}

/// Only what was answered, one line each.
pub fn short(netns: &Name, arguments: &[&str]) -> Vec<String> {
    let mut command = vec!["+short"];
    command.extend(arguments);
    dig(netns, &command).lines().map(str::to_owned).collect()
}

/// Sends bytes to a server from a host; what came in answer until the next query was answered.
pub fn raw(netns: &Name, server: &str, message: &[u8]) -> Vec<Vec<u8>> {
    let next = b"\xbe\xef\x01\0\0\x01\0\0\0\0\0\0\x04web2\0\0\x01\0\x01";
    let socket = netns.udp("0.0.0.0:0");
    socket.connect((server, 53)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(message).unwrap();
    socket.send(next).unwrap();
    let mut room = [0; 65_535];
    let mut answers = Vec::new();
    loop {
        let len = socket.recv(&mut room).unwrap();
        if room[..2] == next[..2] {
            return answers;
        }
        answers.push(room[..len].to_vec());
    }
}

/// The one answer, read.
pub fn read(answers: &[Vec<u8>]) -> Message {
    assert_eq!(answers.len(), 1, "{answers:?}");
    Message::from_vec(&answers[0]).unwrap()
}

/// Waits until something holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if holds() {
            return;
        }
        std::thread::sleep(STEP);
    }
    panic!("in {PATIENCE:?} not: {what}");
}
