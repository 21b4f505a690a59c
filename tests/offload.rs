//! Real kernels that leave checksums and segmentation to tapway: every mix of ports with offloads
//! and without, written by io_uring and by single writes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(feature = "daemon")]

#[path = "support/hosts.rs"]
mod hosts;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hosts::{Namespace, Switch, inside, run, skip_unless, text, unique};
use tapway::io::Namespace as Entered;

const TOOLS: [&str; 4] = ["ip", "ping", "nstat", "tc"];
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of each TCP transfer.
const TRANSFER: usize = 4_000_000;

/// Which ends have offloads.
#[derive(Clone, Copy, Debug)]
struct Mix {
    io: &'static str,
    workers: u8,
    near: bool,
    /// The neighbour's and the outside's.
    far: bool,
}

/// A switch between `near` and `far` on one network, and `outside` behind a NAPT.
struct World {
    switch: Switch,
    near: String,
    far: String,
    outside: String,
}

impl World {
    fn start(mix: Mix) -> Self {
        let (outside, near, far) = (unique("o"), unique("n"), unique("f"));
        let Mix { io, workers, near: near_offload, far: far_offload } = mix;
        let switch = Switch::start(&format!(
            r#"
[dataplane]
io = "{io}"
workers = {workers}
[uplink]
netns = "{outside}"
address = "192.168.33.10/24"
gateway = "192.168.33.1"
offload = {far_offload}
[network.bridge]
subnet = "172.17.0.0/16"
[port.near]
netns = "{near}"
address = "172.17.0.2"
offload = {near_offload}
[port.far]
netns = "{far}"
address = "172.17.0.3"
offload = {far_offload}
"#
        ));
        Self { switch, near, far, outside }
    }

    /// A counter of a port.
    fn count(&self, port: &str, counter: &str) -> u64 {
        let stats = self.switch.json("stats");
        let row = stats["ports"].as_array().unwrap().iter().find(|row| row["port"] == port);
        row.unwrap()[counter].as_u64().unwrap()
    }

    fn check_sound(&self, mix: Mix) {
        for netns in [&self.near, &self.far, &self.outside] {
            assert_eq!(checksum_errors(netns), 0, "{mix:?} {netns}");
        }
        let drops = self.switch.json("drops");
        // What the kernels' own IPv6 and group traffic is dropped for does not matter here.
        let bad = ["vnet_header", "tx_error", "tx_device_gone", "oversize", "read_truncated"];
        let rows = drops.as_array().unwrap().iter();
        let bad: Vec<_> = rows.filter(|row| bad.iter().any(|bad| row["reason"] == *bad)).collect();
        assert!(bad.is_empty(), "{mix:?} {bad:?}");
    }
}

fn checksum_errors(netns: &str) -> u64 {
    let names = ["TcpInCsumErrors", "UdpInCsumErrors", "IcmpInCsumErrors"];
    let counters = text(&inside(netns, &[&["nstat", "-asz"][..], &names].concat()));
    let lines = counters.lines().filter(|line| !line.starts_with('#'));
    let counts: Vec<u64> =
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect();
    assert_eq!(counts.len(), names.len(), "{counters}");
    counts.iter().sum()
}

/// Does something in a namespace; what is opened there belongs to it.
fn within<R: Send>(netns: &str, act: impl FnOnce() -> R + Send) -> R {
    Entered::named(netns).unwrap().run(|| Ok(act())).unwrap()
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31).wrapping_add(at / 251 + seed)) as u8).collect()
}

/// Sends different bytes both ways over one connection, one way after the other.
fn tcp_both_ways(client: &str, (server, at): (&str, &str)) {
    let address: SocketAddr = format!("{at}:4000").parse().unwrap();
    let listener = within(server, || TcpListener::bind(address).unwrap());
    let mut near = within(client, || TcpStream::connect_timeout(&address, PATIENCE).unwrap());
    let (mut far, _) = listener.accept().unwrap();
    transfer(&mut near, &mut far, &bytes(TRANSFER, 1));
    transfer(&mut far, &mut near, &bytes(TRANSFER, 2));
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream, sent: &[u8]) {
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = vec![0; sent.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| from.write_all(sent).unwrap());
        to.read_exact(&mut received).unwrap();
    });
    assert!(received == sent, "what arrived differs");
}

/// Numbered datagrams, `batch` bytes at a time that the kernel may leave joined (UDP_SEGMENT):
/// all must arrive, in order.
fn udp_in_order(client: &str, (server, at): (&str, &str), is_joined: bool) {
    const SIZE: usize = 1000;
    const WINDOW: u32 = 40;
    let address: SocketAddr = format!("{at}:4001").parse().unwrap();
    let far = within(server, || UdpSocket::bind(address).unwrap());
    let near = within(client, || UdpSocket::bind("0.0.0.0:0").unwrap());
    near.connect(address).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    if is_joined {
        set_segment_size(&near, SIZE as libc::c_int);
    }
    let datagram = |number: u32| {
        let mut datagram = bytes(SIZE, number as usize);
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        datagram
    };
    for first in (0..800).step_by(WINDOW as usize) {
        let window: Vec<Vec<u8>> = (first..first + WINDOW).map(datagram).collect();
        if is_joined {
            near.send(&window.concat()).unwrap();
        } else {
            window.iter().for_each(|datagram| assert_eq!(near.send(datagram).unwrap(), SIZE));
        }
        for expected in window {
            let mut room = [0; 2 * SIZE];
            let len = far.recv(&mut room).unwrap();
            assert!(room[..len] == expected, "another datagram than {:?}", &expected[..4]);
        }
    }
}

fn set_segment_size(socket: &UdpSocket, size: libc::c_int) {
    let (level, name) = (libc::SOL_UDP, libc::UDP_SEGMENT);
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one `int`, which lives through the call.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const size).cast(), len) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn ping(netns: &str, to: &str) {
    let output = inside(netns, &["ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", to]);
    assert!(output.status.success(), "ping {to}: {}", text(&output));
}

#[test]
fn every_mix_of_offloads_carries_tcp_and_udp_unharmed() {
    if skip_unless(&TOOLS) {
        return;
    }
    for (io, workers) in [("io_uring", 1), ("write", 1), ("io_uring", 2), ("write", 2)] {
        for (near, far) in [(true, true), (true, false), (false, true), (false, false)] {
            let mix = Mix { io, workers, near, far };
            let world = World::start(mix);
            let peers = [(world.far.as_str(), "172.17.0.3"), (&world.outside, "192.168.33.1")];
            for (netns, address) in peers {
                ping(&world.near, address);
                tcp_both_ways(&world.near, (netns, address));
                udp_in_order(&world.near, (netns, address), false);
                udp_in_order(&world.near, (netns, address), true);
            }
            udp_in_order(&world.far, (&world.near, "172.17.0.2"), true);
            world.check_sound(mix);
            let link = world.switch.show(&["link"]);
            let offloads = |is_on| if is_on { "csum,tso4,tso6,ecn" } else { "none io" };
            for (netns, is_on) in [(&world.near, near), (&world.far, far)] {
                let line = format!("tap eth0 netns {netns} offloads {}", offloads(is_on));
                assert!(link.contains(&line), "{mix:?} {link}");
            }
            assert!(link.contains(&format!(" io {io}\n")), "{mix:?} {link}");
            assert_eq!(world.switch.stop(), Some(0));
        }
    }
}

/// `cargo test --release --test offload -- --ignored --nocapture`
#[test]
#[ignore = "moves eight gibibytes; see above"]
fn a_gibibyte_by_curl_has_the_right_digest_for_every_mix_of_offloads() {
    if skip_unless(&[&TOOLS[..], &["curl", "nginx", "sha256sum", "ss", "sh"]].concat()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gibibyte");
    let served = dir.path().to_str().unwrap().to_owned();
    run(&["sh", "-c", &format!("head -c 1G /dev/urandom > {}", file.display())]);
    let digest = run(&["sha256sum", file.to_str().unwrap()]);
    let digest = digest.split_whitespace().next().unwrap();
    for (near, far) in [(true, true), (true, false), (false, true), (false, false)] {
        let world = World::start(Mix { io: "auto", workers: 1, near, far });
        for (server, at) in [(&world.far, "172.17.0.3"), (&world.outside, "192.168.33.1")] {
            let config = format!(
                "daemon off; master_process off; user root; pid {served}/{server}.pid; error_log /dev/null; \
                 events {{}} http {{ access_log off; sendfile on; \
                 server {{ listen 8080; root {served}; }} }}"
            );
            let path = dir.path().join(format!("{server}.conf"));
            std::fs::write(&path, config).unwrap();
            let path = path.to_str().unwrap();
            let exec = ["ip", "netns", "exec", server, "nginx", "-c", path];
            let _nginx = hosts::Process::spawn(&exec);
            hosts::wait_for("nginx", || {
                !inside(server, &["ss", "-ltnH", "sport = :8080"]).stdout.is_empty()
            });
            let get = format!("curl -sS http://{at}:8080/gibibyte | sha256sum");
            let got = text(&inside(&world.near, &["sh", "-c", &get]));
            assert!(got.starts_with(digest), "near {near}, far {far}, {at}: {got}");
            eprintln!("near {near}, far {far}, from {at}: {digest}");
        }
        world.check_sound(Mix { io: "auto", workers: 1, near, far });
        assert_eq!(world.switch.stop(), Some(0));
    }
}

#[test]
fn super_frame_passes_whole_where_both_ends_take_it_and_is_cut_for_a_plain_port() {
    if skip_unless(&TOOLS) {
        return;
    }
    for far in [true, false] {
        let world = World::start(Mix { io: "auto", workers: 1, near: true, far });
        tcp_both_ways(&world.near, (&world.far, "172.17.0.3"));
        let count = |counter| world.count("near", counter);
        // Of 2763 segments of data; the others are one frame each.
        assert!(count("rx_segments") > count("rx_frames") + 2000, "{far}");
        assert_eq!(world.count("far", "rx_segments") > world.count("far", "rx_frames"), far);
        // What the host at the far end got: as many frames as were handed over, or as segments.
        let packets = || {
            let link = inside(&world.far, &["ip", "-s", "-j", "link", "show", "eth0"]);
            let link: serde_json::Value = serde_json::from_slice(&link.stdout).unwrap();
            link[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
        };
        let sent = if far { "tx_frames" } else { "tx_segments" };
        hosts::wait_for("the counters to meet", || packets() == world.count("far", sent));
        assert!(world.count("far", "tx_segments") > world.count("far", "tx_frames"));
        assert_eq!(world.switch.stop(), Some(0));
    }
}

#[test]
fn taps_that_tapway_makes_have_no_queue_before_their_ring_and_others_keep_theirs() {
    if skip_unless(&TOOLS) {
        return;
    }
    let world = World::start(Mix { io: "auto", workers: 1, near: true, far: false });
    for netns in [&world.near, &world.far, &world.outside] {
        let queue = run(&["tc", "-n", netns, "qdisc", "show", "dev", "eth0"]);
        assert!(queue.starts_with("qdisc noqueue"), "{queue}");
        let link = run(&["ip", "-n", netns, "-o", "link", "show", "eth0"]);
        assert!(link.contains("qlen 4096"), "{link}");
    }
    assert_eq!(world.switch.stop(), Some(0));
    let own = Namespace::new("p");
    run(&["ip", "-n", &own.0, "tuntap", "add", "eth0", "mode", "tap"]);
    run(&["tc", "-n", &own.0, "qdisc", "replace", "dev", "eth0", "root", "pfifo"]);
    let switch = Switch::start(&format!(
        "[network.bridge]\nsubnet = \"172.17.0.0/16\"\n[port.p]\nnetns = \"{}\"\n",
        own.0
    ));
    let queue = run(&["tc", "-n", &own.0, "qdisc", "show", "dev", "eth0"]);
    assert!(queue.starts_with("qdisc pfifo"), "{queue}");
    assert_eq!(switch.stop(), Some(0));
}

#[test]
fn a_kept_tap_gives_plain_frames_again_when_it_is_opened_without_offloads() {
    if skip_unless(&TOOLS) {
        return;
    }
    let (own, peer) = (Namespace::new("k"), Namespace::new("q"));
    run(&["ip", "-n", &own.0, "tuntap", "add", "eth0", "mode", "tap"]);
    run(&["ip", "-n", &own.0, "addr", "add", "172.17.0.2/16", "dev", "eth0"]);
    for offload in [true, false] {
        let switch = Switch::start(&format!(
            "[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
             [port.k]\nnetns = \"{}\"\noffload = {offload}\n\
             [port.q]\nnetns = \"{}\"\naddress = \"172.17.0.3\"\n",
            own.0, peer.0
        ));
        tcp_both_ways(&own.0, (&peer.0, "172.17.0.3"));
        let stats = switch.json("stats");
        let row = stats["ports"].as_array().unwrap().iter().find(|row| row["port"] == "k").cloned();
        let count = |counter: &str| row.as_ref().unwrap()[counter].as_u64().unwrap();
        assert_eq!(count("rx_segments") > count("rx_frames"), offload);
        assert_eq!(switch.stop(), Some(0));
    }
}

#[test]
fn a_device_uplink_has_offloads_both_ways_through_the_napt() {
    if skip_unless(&TOOLS) {
        return;
    }
    for offload in [true, false] {
        let (outside, own, host) = (Namespace::new("o"), Namespace::new("d"), unique("h"));
        let veth = ["ip", "-n", &own.0, "link", "add", "dev0", "type", "veth"];
        run(&[&veth[..], &["peer", "name", "eth0", "netns", &outside.0]].concat());
        run(&["ip", "-n", &own.0, "link", "set", "dev0", "up"]);
        run(&["ip", "-n", &outside.0, "addr", "add", "192.168.33.1/24", "dev", "eth0"]);
        run(&["ip", "-n", &outside.0, "link", "set", "eth0", "up"]);
        let switch = Switch::start(&format!(
            "[uplink]\nkind = \"device\"\nnetns = \"{}\"\ndevice = \"dev0\"\n\
             address = \"192.168.33.10/24\"\ngateway = \"192.168.33.1\"\n\
             [network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
             [port.host]\nnetns = \"{host}\"\naddress = \"172.17.0.2\"\noffload = {offload}\n",
            own.0
        ));
        ping(&host, "192.168.33.1");
        tcp_both_ways(&host, (&outside.0, "192.168.33.1"));
        udp_in_order(&host, (&outside.0, "192.168.33.1"), false);
        udp_in_order(&host, (&outside.0, "192.168.33.1"), true);
        for netns in [&host, &outside.0] {
            assert_eq!(checksum_errors(netns), 0, "{netns}");
        }
        let link = switch.show(&["link"]);
        assert!(link.contains("device dev0 netns"), "{link}");
        assert!(link.contains("offloads csum,tso4,tso6,ecn"), "{link}");
        let stats = switch.json("stats");
        let uplink = &stats["ports"][0];
        let count = |counter: &str| uplink[counter].as_u64().unwrap();
        assert!(count("rx_segments") > count("rx_frames"), "{uplink}");
        assert_eq!(count("tx_segments") > count("tx_frames"), offload, "{uplink}");
        assert_eq!(switch.stop(), Some(0));
    }
}

/// Hundredths of a second of processor time that a process uses in `time`.
fn ticks_in(pid: u32, time: Duration) -> u64 {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(time);
    ticks() - before
}

#[test]
fn the_dataplane_rests_without_using_the_processor_unless_it_is_to_be_busy() {
    if skip_unless(&TOOLS) {
        return;
    }
    for (mode, is_at_rest) in [("auto", true), ("busy", false)] {
        let host = unique("h");
        let switch = Switch::start(&format!(
            "[dataplane]\nmode = \"{mode}\"\n[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\
             [port.host]\nnetns = \"{host}\"\naddress = \"172.17.0.2\"\n"
        ));
        ping(&host, "172.17.0.1");
        std::thread::sleep(Duration::from_millis(500));
        let ticks = ticks_in(switch.pid(), Duration::from_secs(2));
        assert_eq!(ticks <= 2, is_at_rest, "{mode}: {ticks} ticks in 2 s");
        assert_eq!(switch.stop(), Some(0));
    }
}

/// `tapway run` where a security policy forbids io_uring.
fn start_without_io_uring(io: &str, dir: &Path) -> Child {
    let config = dir.join(format!("{io}.toml"));
    std::fs::write(&config, format!("[dataplane]\nio = \"{io}\"\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapway"));
    command.arg("--socket").arg(dir.join(io)).args(["run", "-c"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: the closure makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(forbid_io_uring) };
    command.spawn().unwrap()
}

fn forbid_io_uring() -> std::io::Result<()> {
    let statement = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut program = [
        // The number of the system call is what a filter's data begins with.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_io_uring_setup as u32,
            0,
            1,
        ),
        statement(libc::BPF_RET | libc::BPF_K, refusal, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads the program, which lives through the call.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter),
        ]
    };
    if results == [0, 0] { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn where_io_uring_is_forbidden_auto_writes_and_a_must_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let refused = start_without_io_uring("io_uring", dir.path()).wait_with_output().unwrap();
    let message = text(&refused);
    assert_eq!(refused.status.code(), Some(5), "{message}");
    assert!(message.contains("[dataplane]: io_uring is not to be had: "), "{message}");
    assert!(
        message.contains("set `io = \"auto\"` or `io = \"write\"` in [dataplane]"),
        "{message}"
    );
    let mut running = start_without_io_uring("auto", dir.path());
    let lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let started =
        lines.map_while(Result::ok).any(|line| line.contains("dataplane starts io=write"));
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(started);
}
