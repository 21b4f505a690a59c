//! A tapway that is changed while it runs, and what asks it.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::netns;

pub const TAPWAY: &str = env!("CARGO_BIN_EXE_tapway");

/// A tapway with one network, one host and an outside, in namespaces of this test.
pub struct Lab {
    pub directory: tempfile::TempDir,
    pub outside: netns::Name,
    pub web: netns::Name,
    pub db: netns::Name,
}

/// The process; killed with the test.
pub struct Running(pub Child);

impl Lab {
    pub fn new() -> Self {
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
    pub fn write(&self, more: &str) {
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

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("lab.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state/live.toml")
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(TAPWAY);
        command.args(["run", "-c"]).arg(self.config()).env_remove("TAPWAY_LOG");
        command.env("TAPWAY_SOCKET", self.socket());
        command
    }

    pub fn start(&self) -> Running {
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
    pub fn does_not_start(&self, socket: &Path) -> (Option<i32>, String) {
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

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(TAPWAY);
        command.env("TAPWAY_SOCKET", self.socket()).args(arguments).output().unwrap()
    }

    /// Its stdout; it must succeed.
    pub fn tapway(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and stderr of what is refused.
    pub fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said.trim().to_owned())
    }

    /// The whole answer to a raw request.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // A server that has heard enough may reset.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    pub fn post(&self, path: &str, body: &str) -> String {
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

impl Running {
    pub fn stop(mut self, signal: Signal) {
        self.signal(signal);
        let status = self.0.wait().unwrap();
        assert!(signal != Signal::TERM || status.success(), "{status}");
    }

    pub fn signal(&self, signal: Signal) {
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

pub fn ping(from: &netns::Name, to: &str) -> bool {
    netns::run(&["ip", "netns", "exec", from, "ping", "-c", "1", "-W", "2", to]).status.success()
}
