//! An ordinary user with a runtime directory, and a `/dev/net/tun` that he may use or not,
//! whatever that of this machine is like.
#![allow(dead_code, reason = "each test crate uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::hosts::skip_unless;

/// nobody
const ID: u32 = 65_534;

pub struct User {
    dir: tempfile::TempDir,
}

/// His `tapway run`.
pub struct UsersSwitch {
    child: Child,
    log: PathBuf,
}

impl User {
    /// One who may open TAPs; none, and said so, where this machine has no such user.
    pub fn with_taps() -> Option<Self> {
        Self::new(0o666)
    }

    /// One who may not.
    pub fn without_taps() -> Option<Self> {
        Self::new(0o600)
    }

    fn new(tun_mode: u32) -> Option<Self> {
        if skip_unless(&["unshare", "setpriv", "mount"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = dir.path().join("tapway");
        // The build's own directory may be closed to him.
        fs::copy(env!("CARGO_BIN_EXE_tapway"), &binary).unwrap();
        fs::set_permissions(binary, fs::Permissions::from_mode(0o755)).unwrap();
        let tun = dir.path().join("tun");
        mknodat(CWD, &tun, FileType::CharacterDevice, Mode::empty(), makedev(10, 200)).unwrap();
        fs::set_permissions(&tun, fs::Permissions::from_mode(tun_mode)).unwrap();
        let user = Self { dir };
        fs::create_dir(user.runtime_dir()).unwrap();
        chown(user.runtime_dir(), Some(ID), Some(ID)).unwrap();
        let probe = user.command(&["unshare", "-Urn", "true"]).output().unwrap();
        if !probe.status.success() {
            crate::hosts::skip::skip("user namespaces are forbidden here");
            return None;
        }
        Some(user)
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A command of his, with his `/dev/net/tun` in place of the machine's.
    pub fn command(&self, command: &[&str]) -> Command {
        let tun = self.dir.path().join("tun");
        let script = format!(
            "mount --bind {} /dev/net/tun && exec setpriv --reuid={ID} --regid={ID} \
             --clear-groups \"$@\"",
            tun.display()
        );
        let mut process = Command::new("unshare");
        process.args(["-m", "sh", "-c", &script, "sh"]).args(command);
        process.env("XDG_RUNTIME_DIR", self.runtime_dir()).env_remove("TAPWAY_SOCKET");
        process.env_remove("TAPWAY_LOG").env_remove("JOURNAL_STREAM");
        process.stdin(Stdio::null());
        process
    }

    /// A `tapway` command of his.
    pub fn tapway_command(&self, arguments: &[&str]) -> Command {
        let binary = self.dir.path().join("tapway");
        self.command(&[&[binary.to_str().unwrap()], arguments].concat())
    }

    pub fn tapway(&self, arguments: &[&str]) -> Output {
        self.tapway_command(arguments).output().unwrap()
    }

    /// `tapway run` that is expected to end by itself.
    pub fn run(&self, config: &str) -> Output {
        let config = self.write(config);
        self.tapway(&["run", "-c", config.to_str().unwrap()])
    }

    pub fn start(&self, config: &str) -> UsersSwitch {
        let config = self.write(config);
        let log = self.dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = self.tapway_command(&["run", "-c", config.to_str().unwrap()]);
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        UsersSwitch { child, log }
    }

    fn write(&self, config: &str) -> PathBuf {
        let path = self.dir.path().join("tapway.toml");
        fs::write(&path, config).unwrap();
        Path::new(&path).to_owned()
    }
}

impl UsersSwitch {
    /// What it has said.
    pub fn first_lines(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its exit code after SIGTERM.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for UsersSwitch {
    fn drop(&mut self) {
        let _ = self.stop();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
