//! Network namespaces as hosts, and the `tapway` binary as the switch between them.

#![allow(dead_code, reason = "each test crate uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "skip.rs"]
pub mod skip;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// True, and said so, if real hosts cannot be made here or a tool is missing.
pub fn skip_unless(tools: &[&str]) -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        Some("not root".to_owned())
    } else if !Path::new("/dev/net/tun").exists() {
        Some("no /dev/net/tun".to_owned())
    } else {
        tools.iter().find(|tool| which(tool).is_none()).map(|tool| format!("no {tool}"))
    };
    missing.map(skip::skip).is_some()
}

fn which(tool: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(tool))
        .find(|path| path.exists())
}

/// A name nobody else uses, short enough for an interface.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("tw{}x{}{what}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A namespace that the test makes itself; removed when dropped.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(what: &str) -> Self {
        let name = unique(what);
        run(&["ip", "netns", "add", &name]);
        run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).stderr(Stdio::null()).status();
    }
}

/// Runs a command that must succeed; gives its standard output.
pub fn run(command: &[&str]) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn output(command: &[&str]) -> Output {
    Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command in a namespace.
pub fn inside(netns: &str, command: &[&str]) -> Output {
    output(&[&["ip", "netns", "exec", netns], command].concat())
}

/// Both outputs of a command, for messages.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits until `done`, at most ten seconds.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a bound on waiting, not a measurement")]
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process that ends with the test.
pub struct Process(pub Child);

impl Process {
    pub fn spawn(command: &[&str]) -> Self {
        let child = Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `tapway run`.
pub struct Switch {
    child: Child,
    socket: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// The namespace it runs in; none: the test's own.
    netns: Option<String>,
    _dir: tempfile::TempDir,
}

impl Switch {
    /// Writes the configuration, starts the switch and waits until its API answers.
    pub fn start(config: &str) -> Self {
        Self::start_in(None, config)
    }

    /// The same in a namespace that plays its host.
    pub fn start_in(netns: Option<&str>, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tapway.toml");
        fs::write(&path, config).unwrap();
        let (socket, log) = (dir.path().join("api.sock"), dir.path().join("log"));
        let netns = netns.map(str::to_owned);
        let child = Self::spawn(netns.as_deref(), &path, &socket, &log);
        let mut switch = Self { child, socket, config: path, log, netns, _dir: dir };
        switch.wait_until_up();
        switch
    }

    fn spawn(netns: Option<&str>, config: &Path, socket: &Path, log: &Path) -> Child {
        let log = fs::File::create(log).unwrap();
        let tapway = env!("CARGO_BIN_EXE_tapway");
        let mut command = match netns {
            // `ip netns exec` would hide the names of the namespaces that tapway makes.
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{netns}")).arg(tapway);
                command
            }
            None => Command::new(tapway),
        };
        command
            .args(["--socket", socket.to_str().unwrap(), "run", "-c", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn wait_until_up(&mut self) {
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("tapway ended with {status}: {}", self.log());
            }
            if self.try_show(&["stats"]).status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("tapway did not come up: {}", self.log());
    }

    /// The file it was started with.
    pub fn config(&self) -> &Path {
        &self.config
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A `tapway` command that asks this switch.
    pub fn tapway(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapway"));
        command.arg("--socket").arg(&self.socket).args(arguments).stdin(Stdio::null());
        command
    }

    fn try_show(&self, what: &[&str]) -> Output {
        self.ask(&[&["show"], what].concat())
    }

    /// Runs a command of `tapway` that asks the running one.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        let socket = self.socket.to_str().unwrap();
        output(&[&[env!("CARGO_BIN_EXE_tapway"), "--socket", socket], arguments].concat())
    }

    /// The text of `tapway show`.
    pub fn show(&self, what: &[&str]) -> String {
        let output = self.try_show(what);
        assert!(output.status.success(), "show {what:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The value of `tapway show -j`.
    pub fn json(&self, what: &str) -> serde_json::Value {
        serde_json::from_str(&self.show(&[what, "-j"])).unwrap()
    }

    /// Frames dropped for a reason, over all ports.
    pub fn dropped(&self, reason: &str) -> u64 {
        let rows = self.json("drops");
        rows.as_array()
            .unwrap()
            .iter()
            .filter(|row| row["reason"] == reason)
            .map(|row| row["frames"].as_u64().unwrap())
            .sum()
    }

    /// Kills it without a chance to clean up, and starts it again.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Kills it without a chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Self::kill`].
    pub fn restart(&mut self) {
        self.child = Self::spawn(self.netns.as_deref(), &self.config, &self.socket, &self.log);
        self.wait_until_up();
    }

    /// Stops it as systemd would; gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate()
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        panic!("tapway did not stop: {}", self.log());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            for _ in 0..250 {
                if self.child.try_wait().ok().flatten().is_some() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The lines of a file, for logs that servers write.
pub fn lines(path: &Path) -> Vec<String> {
    match fs::File::open(path) {
        Ok(file) => BufReader::new(file).lines().map_while(Result::ok).collect(),
        Err(_) => Vec::new(),
    }
}
