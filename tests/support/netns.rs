//! Namespaces for tests: unique names, gone when the test ends, however it ends.
#![allow(dead_code, unused_imports, reason = "each test crate uses its part")]

#[path = "skip.rs"]
pub mod skip;

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tapway::io::Namespace;

pub use skip::skip;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// True, and said so, if TAPs and namespaces cannot be made here.
pub fn skipped() -> bool {
    let why = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if !std::path::Path::new("/dev/net/tun").exists() {
        "no /dev/net/tun"
    } else {
        return false;
    };
    skip::skip(why);
    true
}

/// A name for a namespace that nobody else uses; the namespace is removed with it.
pub struct Name(String);

impl Name {
    /// The name only; the code under test makes the namespace.
    pub fn new() -> Self {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("twtest-{}-{serial}", std::process::id()))
    }

    /// Makes the namespace, too, as a user would, without IPv6: nothing is sent unasked.
    pub fn made() -> Self {
        let name = Self::new();
        must(&["ip", "netns", "add", &name]);
        name.exec(&["ip", "link", "set", "lo", "up"]);
        name.without_ipv6();
        name
    }

    /// Turns IPv6 off in it, so that the kernel sends nothing by itself.
    pub fn without_ipv6(&self) {
        for which in ["all", "default"] {
            let setting = format!("net.ipv6.conf.{which}.disable_ipv6=1");
            self.exec(&["sysctl", "-qw", &setting]);
        }
    }

    /// Runs a command in it, which must succeed; gives what it printed.
    pub fn exec(&self, command: &[&str]) -> String {
        let mut whole = vec!["ip", "netns", "exec", &self.0];
        whole.extend(command);
        must(&whole)
    }

    /// A UDP socket of a process in it.
    pub fn udp(&self, bind: &str) -> UdpSocket {
        let bind: SocketAddr = bind.parse().unwrap();
        let namespace = Namespace::named(&self.0).unwrap();
        namespace.run(|| Ok(UdpSocket::bind(bind).unwrap())).unwrap()
    }

    pub fn exists(&self) -> bool {
        Namespace::named(&self.0).is_ok()
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.0]);
        let _ = std::fs::remove_file(format!("/run/tapway/netns/{}", self.0));
    }
}

pub fn run(command: &[&str]) -> Output {
    Command::new(command[0]).args(&command[1..]).output().unwrap()
}

/// Runs a command, which must succeed; gives what it printed.
pub fn must(command: &[&str]) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
