//! Captures of a running switch: what they hold, who reads them, and what they may not cost.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/running.rs"]
mod running;
#[path = "support/skip.rs"]
mod skip;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::bounded;
use running::{FAR, HOST, Running, receive};
use rustix::process::{Pid, Signal, kill_process};
use skip::skip;
use tapway::control::api::{Client, ClientError};
use tapway::control::capture::{MAX_CAPTURES, QUEUE_FRAMES};
use tapway::drop_reason::DropReason;
use tapway::nat::Endpoint;
use tapway::packet::pcap::{FrameDirection, Reader};
use tapway::packet::tcp::SYN;
use tapway::testkit::{Lab, build};

/// Port, direction, drop reason and frame, in order.
type Frame = (String, FrameDirection, Option<DropReason>, Vec<u8>);

fn read(file: &[u8]) -> Vec<Frame> {
    let mut reader = Reader::new(file).unwrap();
    let mut frames = Vec::new();
    loop {
        let Some(frame) = reader.next_frame().unwrap() else { return frames };
        let found = (frame.interface, frame.direction, frame.drop_reason(), frame.data.to_vec());
        let name = reader.interfaces()[found.0 as usize].name.clone();
        frames.push((name, found.1, found.2, found.3));
    }
}

/// Starts `tapway capture -w -` and waits until it captures: its first bytes are there.
fn start(running: &Running, arguments: &[&str]) -> (Child, Vec<u8>) {
    let mut command = running.tapway(&["capture", "-w", "-"]);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut head = vec![0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut head).unwrap();
    (child, head)
}

/// Gives the last frames time to come through, interrupts it, and reads the rest.
fn end(child: Child, mut file: Vec<u8>) -> (Vec<u8>, String) {
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    file.extend(output.stdout);
    (file, String::from_utf8(output.stderr).unwrap())
}

/// Sends SYNs to a closed port until `count` were dropped: two records each.
fn syns(running: &mut Running, count: u64) {
    let (src, dst) = (Endpoint::new(Lab::ROUTER, 40_000), Endpoint::new(Lab::EXTERNAL, 81));
    let syn = build::tcp(running.router_hop(), src, dst, SYN, &[0; 1400]);
    for _ in 0..count {
        while tapway::io::PortIo::send(&mut running.router, &syn).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let dropped = |running: &Running| {
        running.state.worker.query(|engine, _| engine.totals().dropped).unwrap()
    };
    for _ in 0..5000 {
        if dropped(running) >= count {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the switch stands still: {} dropped", dropped(running));
}

#[test]
fn a_capture_holds_ports_directions_and_drop_reasons() {
    let mut running = Running::start();
    let (child, head) = start(&running, &[]);
    running.traffic();
    let (file, said) = end(child, head);
    let frames = read(&file);
    assert_eq!(said, format!("tapway: {} frames captured, 0 missed\n", frames.len()));
    let has = |port: &str, direction, end: &[u8]| {
        frames.iter().any(|(name, way, why, frame)| {
            name == port && *way == direction && why.is_none() && frame.ends_with(end)
        })
    };
    assert!(has("nginx1", FrameDirection::Received, b"query"));
    assert!(has("uplink", FrameDirection::Sent, b"query"));
    assert!(has("uplink", FrameDirection::Received, b"answer"));
    assert!(has("nginx1", FrameDirection::Sent, b"answer"));
    let drops: Vec<_> =
        frames.iter().filter_map(|(name, _, why, _)| Some((name.as_str(), (*why)?))).collect();
    assert_eq!(drops, [("uplink", DropReason::UnsolicitedSyn)]);
}

/// A frame that one worker receives and another has to do with is shown once on each side, and
/// once more if it ends.
#[test]
fn a_capture_of_several_workers_shows_each_frame_once() {
    for workers in [2, 8] {
        let mut running = Running::start_with_workers(workers);
        let (child, head) = start(&running, &[]);
        running.traffic();
        let totals = running.state.worker.query_each(|engine, _| engine.totals()).unwrap();
        let handed: u64 = totals.iter().map(|totals| totals.handed_over).sum();
        assert!(handed > 0 || workers == 2, "the host belongs to a worker that reads nothing");
        let (file, said) = end(child, head);
        let frames = read(&file);
        assert_eq!(said, format!("tapway: {} frames captured, 0 missed\n", frames.len()));
        let count = |port: &str, direction, end: &[u8]| {
            let is_it = |(name, way, why, frame): &&Frame| {
                name == port && *way == direction && why.is_none() && frame.ends_with(end)
            };
            frames.iter().filter(is_it).count()
        };
        let (received, sent) = (FrameDirection::Received, FrameDirection::Sent);
        assert_eq!((count("nginx1", received, b"query"), count("uplink", sent, b"query")), (1, 1));
        assert_eq!(
            (count("uplink", received, b"answer"), count("nginx1", sent, b"answer")),
            (1, 1)
        );
        let drops: Vec<_> =
            frames.iter().filter_map(|(name, _, why, _)| Some((name.as_str(), (*why)?))).collect();
        assert_eq!(drops, [("uplink", DropReason::UnsolicitedSyn)], "{workers} workers");
    }
}

#[test]
fn a_capture_of_one_port_holds_that_port_only() {
    let mut running = Running::start();
    let (child, head) = start(&running, &["--port", "nginx1"]);
    running.traffic();
    let (file, _) = end(child, head);
    let frames = read(&file);
    assert!(frames.len() >= 5, "{frames:?}");
    assert!(frames.iter().all(|(name, ..)| name == "nginx1"), "{frames:?}");
}

#[test]
fn a_file_is_readable_while_it_grows_and_a_refused_capture_leaves_none() {
    let mut running = Running::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.pcapng");
    let name = file.to_str().unwrap().to_owned();
    let refused = running.run(&["capture", "-w", &name, "--port", "nobody"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(!file.exists());
    let mut command = running.tapway(&["capture", "-w", &name]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let is_there = (0..5000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        file.exists()
    });
    assert!(is_there);
    // It holds what hosts said: nobody else may read it.
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    running.traffic();
    std::thread::sleep(Duration::from_millis(500));
    assert!(read(&std::fs::read(&file).unwrap()).len() >= 10);
    // The switch goes: so ends the capture.
    running.api = None;
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_client_that_takes_nothing_misses_frames_and_costs_the_switch_none() {
    let mut running = Running::start();
    let client = running.client();
    let (started, is_started) = bounded(1);
    let (go, may_go) = bounded::<()>(1);
    let thread = std::thread::spawn(move || {
        let mut file = Vec::new();
        let result = client.stream("/v1/capture", |bytes| {
            if file.is_empty() {
                started.send(()).unwrap();
                may_go.recv().unwrap();
            }
            file.extend_from_slice(bytes);
            Ok(())
        });
        result.map(|()| file)
    });
    is_started.recv().unwrap();
    let sent = 3 * QUEUE_FRAMES as u64;
    syns(&mut running, sent);
    go.send(()).unwrap();
    // What waits is still delivered; then the capture ends.
    running.state.captures.stop_all();
    let file = thread.join().unwrap().unwrap();
    let frames = read(&file).len() as u64;
    let missed = statistics(&file);
    assert!(missed > 0 && frames >= QUEUE_FRAMES as u64, "{frames} frames, {missed} missed");
    assert_eq!(frames + missed, 2 * sent);
}

/// The missed frames of the last statistics block, read by another parser.
fn statistics(file: &[u8]) -> u64 {
    use pcap_parser::{Block, OptionCode, parse_block_le};
    let (mut rest, mut missed) = (file, 0);
    while let Ok((next, block)) = parse_block_le(rest) {
        if let Block::InterfaceStatistics(block) = block {
            let option = block.options.iter().find(|option| option.code == OptionCode(5)).unwrap();
            missed = u64::from_le_bytes(option.value[..8].try_into().unwrap());
        }
        rest = next;
    }
    missed
}

#[test]
fn there_are_only_so_many_captures_and_an_ended_one_makes_room() {
    let running = Running::start();
    let mut children: Vec<_> = (0..MAX_CAPTURES).map(|_| start(&running, &[]).0).collect();
    let refused = running.run(&["capture", "-w", "-"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let mut gone = children.pop().unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    let client: Client = running.client();
    let has_room = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let first = client.stream("/v1/capture", |_| Err(std::io::ErrorKind::BrokenPipe.into()));
        matches!(first, Err(ClientError::Sink(_)))
    });
    assert!(has_room);
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn tshark_reads_a_capture_from_a_pipe() {
    if Command::new("tshark").arg("--version").output().is_err() {
        return skip("tshark is not installed");
    }
    let mut running = Running::start();
    let (child, head) = start(&running, &[]);
    running.traffic();
    let near = Endpoint::new(HOST, 5000);
    let query = build::udp(running.host_hop(), near, Endpoint::new(FAR, 53), b"again");
    running.host_sends(&query);
    receive(&mut running.router, |frame| frame.ends_with(b"again"));
    let (file, _) = end(child, head);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.pcapng");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new("tshark");
    command.stdin(std::fs::File::open(&path).unwrap()).args(["-n", "-r", "-", "-T", "fields"]);
    for field in ["frame.interface_name", "frame.packet_flags_direction", "frame.comment", "ip.dst"]
    {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let count = |line: &str| text.lines().filter(|other| *other == line).count();
    assert_eq!(count("nginx1\t0x00000001\t\t203.0.113.7"), 3, "{text}");
    assert_eq!(count("uplink\t0x00000002\t\t203.0.113.7"), 3, "{text}");
    assert_eq!(count("uplink\t0x00000001\tunsolicited_syn\t192.168.33.10"), 1, "{text}");
}
