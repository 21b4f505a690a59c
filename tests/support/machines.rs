//! Machines of a lab: namespaces that have cables between them, and what runs and passes there.
#![allow(dead_code, reason = "each test crate uses its part")]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tapway::io::Namespace as Entered;

use crate::hosts::{Namespace, Process, inside, output, run, text, wait_for};

/// How long data may stand still; no test waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
/// A mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;

/// A veth pair between two machines; both ends are up.
pub fn cable(left: (&Namespace, &str), right: (&Namespace, &str), mtu: u16) {
    let peer = ["type", "veth", "peer", "name", right.1, "netns", &right.0.0];
    run(&[&["ip", "link", "add", left.1, "netns", &left.0.0], &peer[..]].concat());
    for (machine, device) in [left, right] {
        set(machine, &["link", "set", device, "mtu", &mtu.to_string(), "up"]);
    }
}

/// `ip` in a namespace, which must succeed.
pub fn set(machine: &Namespace, arguments: &[&str]) {
    run(&[&["ip", "-n", &machine.0], arguments].concat());
}

/// `ip` in one that somebody else made.
pub fn set_at(netns: &str, arguments: &[&str]) {
    run(&[&["ip", "-n", netns], arguments].concat());
}

/// Gives a device of a machine an address.
pub fn address(machine: &Namespace, device: &str, address: &str) {
    set(machine, &["address", "add", address, "dev", device]);
}

/// A command in a namespace that must succeed; gives what it printed.
pub fn must(netns: &str, command: &[&str]) -> String {
    let output = inside(netns, command);
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

/// One echo that must come back, or a name that must be found as well.
pub fn ping(netns: &str, to: &str) -> String {
    must(netns, &["ping", "-c", "1", "-W", "3", to])
}

/// True if one echo comes back within a second.
pub fn pings(netns: &str, to: &str) -> bool {
    inside(netns, &["ping", "-n", "-c", "1", "-W", "1", to]).status.success()
}

/// Pings until an echo comes back.
pub fn reaches(netns: &str, to: &str) {
    wait_for(&format!("an echo of {to} at {netns}"), || pings(netns, to));
}

/// Without offloads, frames have their final size and checksum already on a veth.
pub fn without_offloads(machine: &str, device: &str) {
    set_offloads(machine, device, "off");
}

/// Sets them "on" or "off".
pub fn set_offloads(machine: &str, device: &str, to: &str) {
    must(machine, &["ethtool", "-K", device, "tx", to, "gro", to]);
}

/// A host's station: its MAC and its address at `eth0`, up.
#[derive(Clone, Copy)]
pub struct Station<'a> {
    pub mac: &'a str,
    pub address: &'a str,
}

impl Station<'_> {
    /// It comes up in a namespace, and says so by a gratuitous ARP (RFC 826, RFC 5227 3).
    pub fn appears(&self, netns: &str) {
        set_at(netns, &["link", "set", "eth0", "down"]);
        set_at(netns, &["link", "set", "eth0", "address", self.mac]);
        set_at(netns, &["address", "replace", &format!("{}/24", self.address), "dev", "eth0"]);
        set_at(netns, &["link", "set", "eth0", "up"]);
        wait_for("the carrier", || {
            let link = output(&["ip", "-n", netns, "link", "show", "dev", "eth0"]);
            text(&link).contains("LOWER_UP")
        });
        must(netns, &["busybox", "arping", "-U", "-c", "1", "-I", "eth0", self.address]);
    }

    /// It leaves without a word.
    pub fn leaves(&self, netns: &str) {
        set_at(netns, &["address", "flush", "dev", "eth0"]);
        set_at(netns, &["link", "set", "eth0", "down"]);
    }
}

/// Sends pseudo-random bytes by TCP from one namespace to an address of another; both ends
/// compute the SHA-256 of what they see.
pub fn stream(from: &str, (to, address): (&str, IpAddr), len: u64) {
    let at = SocketAddr::new(address, 7000);
    let listener = Entered::named(to).unwrap().run(|| Ok(TcpListener::bind(at).unwrap())).unwrap();
    let near = Entered::named(from).unwrap();
    let mut near = near.run(|| Ok(TcpStream::connect_timeout(&at, PATIENCE).unwrap())).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    near.set_write_timeout(Some(PATIENCE)).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let (sent, received) = std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let digest = send(&mut near, len);
            near.shutdown(std::net::Shutdown::Write).unwrap();
            (digest, near)
        });
        let received = receive(&mut far);
        (sender.join().unwrap().0, received)
    });
    assert_eq!(received, (len, sent), "{from} to {to}");
}

fn send(to: &mut TcpStream, len: u64) -> String {
    let mut digest = Digest::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; 64 << 10];
    let mut left = len;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let part = &block[..block.len().min(left as usize)];
        to.write_all(part).unwrap_or_else(|error| panic!("{left} bytes left: {error}"));
        digest.input.write_all(part).unwrap();
        left -= part.len() as u64;
    }
    digest.finish()
}

fn receive(from: &mut TcpStream) -> (u64, String) {
    let mut digest = Digest::new();
    let mut block = vec![0; 256 << 10];
    let mut len = 0;
    loop {
        let got = from.read(&mut block).unwrap_or_else(|error| panic!("after {len}: {error}"));
        if got == 0 {
            return (len, digest.finish());
        }
        digest.input.write_all(&block[..got]).unwrap();
        len += got as u64;
    }
}

/// `sha256sum` of a stream.
struct Digest {
    process: Child,
    input: ChildStdin,
}

impl Digest {
    fn new() -> Self {
        let mut process = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sha256sum");
        let input = process.stdin.take().unwrap();
        Self { process, input }
    }

    fn finish(self) -> String {
        drop(self.input);
        let output = self.process.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What passes a device, into a file.
pub struct Recording {
    process: Process,
    file: tempfile::NamedTempFile,
}

impl Recording {
    /// Begins with all packets that a filter of `tcpdump` lets through.
    pub fn start(netns: &str, device: &str, filter: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let process = Process::spawn(&[
            "ip",
            "netns",
            "exec",
            netns,
            "tcpdump",
            "-U",
            "-Z",
            "root",
            "--immediate-mode",
            "-B",
            "16384",
            "-s",
            "128",
            "-i",
            device,
            "-w",
            &path,
            filter,
        ]);
        wait_for("tcpdump", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
        Self { process, file }
    }

    /// The packets so far that another filter lets through.
    pub fn packets(&self, filter: &str) -> Vec<String> {
        let path = self.file.path().to_str().unwrap();
        // Each packet begins with its time; what is inside of one may be on lines of its own.
        let read = output(&["tcpdump", "-n", "-e", "-v", "-tt", "-r", path, filter]);
        let lines = String::from_utf8_lossy(&read.stdout).into_owned();
        let is_first =
            |line: &str| line.split(' ').next().is_some_and(|at| at.parse::<f64>().is_ok());
        let mut packets: Vec<String> = Vec::new();
        for line in lines.lines() {
            match packets.last_mut().filter(|_| !is_first(line)) {
                Some(packet) => packet.push_str(line),
                None => packets.push(line.to_owned()),
            }
        }
        packets
    }

    /// Ends it, all packets written, and gives those that a filter lets through.
    pub fn stop(mut self, filter: &str) -> Vec<String> {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        self.process.0.wait().unwrap();
        self.packets(filter)
    }
}

/// What a fragment of IPv4 has, and nothing else: an offset, or more to follow.
pub const FRAGMENTS: &str = "ip[6:2] & 0x3fff != 0";
