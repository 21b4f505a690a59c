//! The API on a real socket: the command line as its client, hostile clients, start and stop.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/running.rs"]
mod running;
#[path = "support/skip.rs"]
mod skip;

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use running::Running;
use skip::skip;
use tapway::control::api::{self, ApiError, ClientError, StatsView};

/// Sends bytes as they are and reads until the server closes.
fn raw(running: &Running, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(&running.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have closed before it took everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_well(running: &Running) {
    running.client().get::<StatsView>("/v1/stats").unwrap();
}

#[test]
fn show_prints_every_table_of_the_running_switch() {
    let mut running = Running::start();
    running.traffic();
    assert_eq!(
        running.shown(&["show", "fdb"]),
        "02:42:ac:11:00:01 dev bridge master bridge permanent\n\
         02:42:ac:11:00:02 dev nginx1 master bridge static\n\
         02:42:c0:a8:21:01 dev uplink master uplink\n\
         02:42:c0:a8:21:0a dev uplink master uplink permanent\n"
    );
    let neighbours = running.shown(&["show", "neigh"]);
    assert!(neighbours.contains("172.17.0.2 dev bridge lladdr 02:42:ac:11:00:02 "), "{neighbours}");
    assert_eq!(
        running.shown(&["show", "route"]),
        "default via 192.168.33.1 dev uplink\n\
         172.17.0.0/16 dev bridge proto kernel scope link src 172.17.0.1\n\
         192.168.33.0/24 dev uplink proto kernel scope link src 192.168.33.10\n"
    );
    let sessions = running.shown(&["show", "sessions"]);
    let udp = "src=172.17.0.2 dst=203.0.113.7 sport=5000 dport=53 src=203.0.113.7 \
               dst=192.168.33.10 sport=53 dport=5000 [ASSURED]\n";
    assert!(sessions.starts_with("udp      17 ") || sessions.starts_with("icmp     1 "));
    assert!(sessions.contains(udp), "{sessions}");
    let icmp = "src=172.17.0.2 dst=203.0.113.7 type=8 code=0 id=77 [UNREPLIED] src=203.0.113.7 \
                dst=192.168.33.10 type=0 code=0 id=77\n";
    assert!(sessions.contains(icmp), "{sessions}");
    let drops = running.shown(&["show", "drops"]);
    let reason = "PORT    REASON           FRAMES\nuplink  unsolicited_syn       1\n    when:   ";
    assert!(drops.starts_with(reason) && drops.lines().count() == 4, "{drops}");
    let links = running.shown(&["show", "link"]);
    assert!(links.contains("1: nginx1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500"), "{links}");
    assert!(links.contains("    device tap eth0 netns nginx1\n"), "{links}");
    let stats = running.shown(&["show", "stats"]);
    assert!(stats.contains("\nsessions 2 of 1024\n"), "{stats}");
    let nat = running.shown(&["show", "nat"]);
    assert!(nat.contains("tcp dpt:80 to:172.17.0.2:80\n"), "{nat}");
}

#[test]
fn show_json_is_the_apis_answer() {
    let mut running = Running::start();
    running.traffic();
    for (table, path) in [
        ("link", "links"),
        ("fdb", "fdb"),
        ("neigh", "neighbours"),
        ("route", "routes"),
        ("nat", "nat"),
        ("drops", "drops"),
        ("stats", "stats"),
    ] {
        let shown = running.shown(&["show", table, "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let answer: serde_json::Value = running.client().get(&format!("/v1/{path}")).unwrap();
        assert_eq!(shown, answer, "{table}");
    }
    let one: serde_json::Value = running.client().get("/v1/sessions?limit=1").unwrap();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let nat: serde_json::Value = running.client().get("/v1/nat").unwrap();
    assert_eq!(nat["uplink"]["address"], "192.168.33.10");
    assert_eq!(nat["networks"][0]["tcp"], "eim-apdf");
}

#[test]
fn what_is_not_served_is_refused_in_json_with_a_remedy() {
    let running = Running::start();
    for (path, status) in [
        ("/", 404),
        ("/v2/links", 404),
        ("/v1/links?port=x", 400),
        ("/v1/sessions?limit=many", 400),
        ("/v1/sessions?limit=-1", 400),
        ("/v1/sessions?limit=65537", 400),
        ("/v1/capture?port=nobody", 404),
        ("/v1/capture?ports=nginx1", 400),
    ] {
        match running.client().get::<serde_json::Value>(path) {
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(refusal.status(), status, "{path}");
                assert!(!refusal.error.is_empty() && !refusal.remedy.is_empty(), "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    let answer = raw(&running, b"POST /v1/links HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(
        answer
            .contains("\"remedy\":\"GET reads, POST, PUT and DELETE change what can be changed\""),
        "{answer}"
    );
}

#[test]
fn malformed_requests_are_answered_and_the_server_stays_up() {
    let mut running = Running::start();
    running.traffic();
    for request in [
        &b"rubbish\r\n\r\n"[..],
        b"GET /v1/links HTTP/9.9\r\n\r\n",
        b"GET /v1/links HTTP/1.1\r\nbad header\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ] {
        let answer = raw(&running, request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
        is_well(&running);
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let answer = raw(&running, long.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let many = "x: y\r\n".repeat(1000);
    let answer = raw(&running, format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    is_well(&running);
}

#[test]
fn silent_and_vanished_clients_hold_nobody_up() {
    let running = Running::start();
    // More than are answered at once: those beyond wait, those that say nothing go after 5 s.
    let silent: Vec<_> = (0..100).map(|_| UnixStream::connect(&running.socket).unwrap()).collect();
    let mut half = UnixStream::connect(&running.socket).unwrap();
    let _ = half.write_all(b"GET /v1/li");
    drop(half);
    let answer = running.client().get::<StatsView>("/v1/stats");
    assert!(answer.is_ok(), "the silent clients were not cut off: {answer:?}");
    drop(silent);
    is_well(&running);
}

#[test]
fn a_dataplane_that_stands_still_is_said_to_and_the_api_lives_on() {
    let running = Running::start();
    let (stuck, is_stuck) = std::sync::mpsc::channel();
    let (free, may_go) = std::sync::mpsc::channel::<()>();
    let worker = running.state.worker.clone();
    let held = std::thread::spawn(move || {
        worker.query(move |_, _| {
            stuck.send(()).unwrap();
            may_go.recv().unwrap();
        })
    });
    is_stuck.recv().unwrap();
    let output = running.run(&["show", "fdb"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("tapway: the dataplane did not answer within 5 s; "), "{said}");
    free.send(()).unwrap();
    held.join().unwrap().unwrap();
    is_well(&running);
}

#[test]
fn the_socket_is_the_owners_and_goes_with_the_server() {
    let mut running = Running::start();
    let mode = std::fs::symlink_metadata(&running.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let second = api::serve(&running.socket, running.state.clone());
    assert!(matches!(second, Err(ApiError::Conflict { .. })), "{second:?}");
    is_well(&running);
    running.api = None;
    assert!(!running.socket.exists());
    let output = running.run(&["show", "fdb"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let socket = running.socket.display();
    assert_eq!(
        text,
        format!(
            "tapway: no tapway answers on {socket}; start one with `tapway run`, \
             or name its socket: --socket PATH\n"
        )
    );
}

#[test]
fn a_socket_nobody_answers_on_is_replaced_but_no_other_file() {
    let mut running = Running::start();
    running.api = None;
    drop(UnixListener::bind(&running.socket).unwrap());
    assert!(running.socket.exists());
    running.api = Some(api::serve(&running.socket, running.state.clone()).unwrap());
    is_well(&running);
    let file = running.socket.with_file_name("notes.txt");
    std::fs::write(&file, "mine").unwrap();
    let refused = api::serve(&file, running.state.clone());
    assert!(matches!(refused, Err(ApiError::NotASocket { .. })), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn exit_codes_are_those_scripts_rely_on() {
    let running = Running::start();
    for (arguments, code) in [
        (&["show", "fdb"][..], 0),
        (&["--version"], 0),
        (&["show", "fbd"], 2),
        (&[], 2),
        (&["show", "sessions", "--limit", "100000"], 2),
        (&["capture", "-w", "-", "--port", "nobody"], 3),
        (&["show", "fdb", "--socket", "/nonexistent/tapway.sock"], 4),
    ] {
        let output = running.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let running = Running::start();
    for arguments in [&["show", "link"][..], &["show", "nat", "-j"], &["capture", "-w", "-"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = running.tapway(arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.is_empty() || said == "tapway: 0 frames captured, 0 missed\n", "{said}");
    }
}

/// Once by the socket's mode, and once by the API itself where somebody changed the mode.
#[test]
fn another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can run a command as another user");
    }
    let running = Running::start();
    let directory = running.socket.parent().unwrap();
    let binary = directory.join("tapway");
    std::fs::copy(env!("CARGO_BIN_EXE_tapway"), &binary).unwrap();
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    for (mode, says) in [(0o600, "permission denied"), (0o666, "only the user tapway runs as")] {
        std::fs::set_permissions(&running.socket, Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&binary);
        command.env("TAPWAY_SOCKET", &running.socket).args(["show", "fdb"]);
        let output = command.uid(65_534).gid(65_534).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{mode:o}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{mode:o}: {said}");
    }
    is_well(&running);
}
