//! Snapshot and restore: connections outlive the process, and nothing is forced in.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{SNAPSHOT_VERSION, Snapshot, SnapshotError};
use tapway::packet::tcp::{ACK, SYN};

struct Bench {
    lab: Lab,
    router: LabPort,
    host: LabPort,
    server: LabPort,
}

impl Bench {
    /// Hosts that nobody has heard of yet.
    fn silent(mode: NatMode) -> Self {
        let mut lab = lab_with_mode(mode);
        let router = lab.attach(UPLINK, Lab::EXTERNAL, Lab::ROUTER);
        let (host, server) = (lab.inside(2), lab.inside(3));
        Self { lab, router, host, server }
    }

    fn new(mode: NatMode) -> Self {
        let mut bench = Self::silent(mode);
        bench.lab.introduce(&bench.router, Lab::EXTERNAL);
        for host in [bench.host, bench.server] {
            bench.lab.introduce(&host, Lab::GATEWAY);
        }
        bench
    }

    fn tcp_out(&mut self, flags: u8) -> Vec<(PortId, Vec<u8>)> {
        let host = self.host;
        let segment = build::tcp(host.to_gateway(), host.at(5000), far(80), flags, b"");
        self.lab.send(&host, &segment)
    }

    fn tcp_back(&mut self, flags: u8) -> Vec<(PortId, Vec<u8>)> {
        let router = self.router;
        let segment = build::tcp(router.to_gateway(), far(80), ext(5000), flags, b"");
        self.lab.send(&router, &segment)
    }

    /// A connection out, one in by a published port, a ping and a datagram.
    fn busy(mode: NatMode) -> Self {
        let mut bench = Self::new(mode);
        bench.tcp_out(SYN);
        bench.tcp_back(SYN | ACK);
        bench.tcp_out(ACK);
        let (router, host, server) = (bench.router, bench.host, bench.server);
        bench.lab.publish(6, 80, server.at(8080));
        let syn = build::tcp(router.to_gateway(), far(4000), ext(80), SYN, b"");
        only_tcp(&bench.lab.send(&router, &syn), &server);
        let ping = build::echo(host.to_gateway(), host.ip, FAR, 77, false);
        only_icmp(&bench.lab.send(&host, &ping), &router);
        assert_eq!(leave(&mut bench.lab, (&server, &router), 6000, far(53)), ext(6000));
        assert_eq!(bench.lab.engine.session_usage().0, 4);
        bench
    }

    fn snapshot(&self) -> Snapshot {
        // By way of its file.
        let text = serde_json::to_string(&self.lab.engine.snapshot(self.lab.now())).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[test]
fn connections_go_on_in_a_new_engine_without_a_packet_lost() {
    for mode in [NatMode::EimApdf, NatMode::EimAdf, NatMode::EimEif, NatMode::Apdm] {
        twice(|| {
            let mut old = Bench::busy(mode);
            pass(&mut old.lab, &[&old.router, &old.host, &old.server], Duration::from_secs(50));
            let snapshot = old.snapshot();
            let mut new = Bench::silent(mode);
            let (router, host, server) = (new.router, new.host, new.server);
            new.lab.publish(6, 80, server.at(8080));
            let restored = new.lab.restore(&snapshot).unwrap();
            assert_eq!((restored.sessions, restored.left_out), (4, 0));
            // From outside, at once: MACs and neighbours are known too.
            assert_eq!(only_tcp(&new.tcp_back(ACK), &host).dst, host.at(5000));
            assert_eq!(only_tcp(&new.tcp_out(ACK), &router).src, ext(5000));
            let answer =
                build::tcp(server.to_gateway(), server.at(8080), far(4000), SYN | ACK, b"");
            assert_eq!(only_tcp(&new.lab.send(&server, &answer), &router).src, ext(80));
            let pong = build::echo(router.to_gateway(), FAR, Lab::EXTERNAL, 77, true);
            assert_eq!(only_icmp(&new.lab.send(&router, &pong), &host).dst.ip, host.ip);
            assert!(arrives(&mut new.lab, (&router, &server), far(53), ext(6000), 6000));
            // The mappings hold their ports, and idle time counts on.
            assert_ne!(leave(&mut new.lab, (&host, &router), 6000, far(53)), ext(6000));
            let established = new
                .lab
                .engine
                .session_rows(new.lab.now(), 10)
                .iter()
                .filter(|row| row.state == "ESTABLISHED")
                .count();
            assert_eq!(established, 1);
            pass(&mut new.lab, &[&router, &host, &server], Duration::from_secs(302));
            assert_eq!(new.lab.engine.session_usage().0, 1);
            new.lab
        });
    }
}

#[test]
fn a_snapshot_of_what_was_restored_is_the_same_again() {
    let old = Bench::busy(NatMode::EimApdf);
    let snapshot = old.snapshot();
    let mut new = Bench::silent(NatMode::EimApdf);
    new.lab.publish(6, 80, new.server.at(8080));
    new.lab.restore(&snapshot).unwrap();
    let sorted = |snapshot: &Snapshot| {
        let mut value = serde_json::to_value(snapshot).unwrap();
        for rows in value.as_object_mut().unwrap().values_mut() {
            if let Some(rows) = rows.as_array_mut() {
                rows.sort_by_key(ToString::to_string);
            }
        }
        value
    };
    assert_eq!(sorted(&new.snapshot()), sorted(&snapshot));
    // Twice changes nothing.
    let again = new.lab.restore(&snapshot).unwrap();
    assert_eq!((again.sessions, again.left_out), (0, 4 + 3 + 3));
    assert_eq!(sorted(&new.snapshot()), sorted(&snapshot));
}

#[test]
fn another_version_is_refused_and_changes_nothing() {
    let mut bench = Bench::busy(NatMode::EimApdf);
    let mut snapshot = bench.snapshot();
    snapshot.version += 1;
    let refused = bench.lab.restore(&snapshot).unwrap_err();
    assert_eq!(refused, SnapshotError::Version(SNAPSHOT_VERSION + 1));
}

#[test]
fn what_no_longer_fits_the_configuration_is_left_out() {
    let snapshot = Bench::busy(NatMode::EimApdf).snapshot();
    // Without the published port its session is not restored, and its port is free.
    let mut new = Bench::new(NatMode::EimApdf);
    let now = new.lab.now();
    let restored = new.lab.restore(&snapshot).unwrap();
    assert_eq!(restored.sessions, 3);
    let (router, server) = (new.router, new.server);
    let answer = build::tcp(server.to_gateway(), server.at(8080), far(4000), ACK, b"");
    assert_eq!(only_tcp(&new.lab.send(&server, &answer), &router).src, ext(8080));

    // A mapping whose port is published now.
    let mut new = Bench::new(NatMode::EimApdf);
    new.lab.publish(17, 6000, new.host.at(1));
    let restored = new.lab.restore(&snapshot).unwrap();
    assert_eq!(restored.sessions, 2);

    // Another external address: nothing that was translated to the old one.
    let mut new = Bench::new(NatMode::EimApdf);
    let mut uplink = Lab::network_spec("uplink", std::net::Ipv4Addr::new(192, 168, 33, 11), 24);
    uplink.is_outside = true;
    new.lab.must(Command::AddNetwork(UPLINK, uplink));
    assert_eq!(new.lab.restore(&snapshot).unwrap().sessions, 0);
    assert_eq!(new.lab.engine.session_usage().0, 0);

    // Networks and ports of other names.
    let mut new = Lab::bare(EngineConfig::with_sessions(64));
    let restored = new.engine.restore(now, &snapshot).unwrap();
    assert_eq!((restored.sessions, restored.left_out), (0, 4 + 3 + 3));
}

#[test]
fn what_was_learned_since_wins_over_the_snapshot() {
    let old = Bench::new(NatMode::EimApdf);
    let snapshot = old.snapshot();
    let mut new = Bench::silent(NatMode::EimApdf);
    // The host is behind the other port now.
    let moved = LabPort { port: new.server.port, ..new.host };
    new.lab.introduce(&moved, Lab::GATEWAY);
    let restored = new.lab.restore(&snapshot).unwrap();
    assert_eq!(restored.left_out, 2);
    let to_host = build::udp(new.server.to(&new.host), new.server.at(1), new.host.at(2), b"");
    assert!(new.lab.send(&new.server, &to_host).is_empty());
    assert_eq!(new.lab.dropped(DropReason::SamePort), 1);
}

#[test]
fn a_full_table_takes_what_it_can_and_ends_nothing_for_it() {
    let snapshot = Bench::busy(NatMode::EimApdf).snapshot();
    let mut config = EngineConfig::with_sessions(4);
    config.nat.sessions_per_host = 4;
    let mut lab = Lab::with(config, |_| {});
    let router = lab.router();
    let other = lab.known_inside(9);
    for sport in 1..=3 {
        let syn = build::tcp(other.to_gateway(), other.at(sport), far(81), SYN, b"");
        only_tcp(&lab.send(&other, &syn), &router);
    }
    let restored = lab.restore(&snapshot).unwrap();
    assert_eq!((restored.sessions, lab.engine.session_usage().0), (1, 4));
    for sport in 1..=3 {
        let answer = build::tcp(router.to_gateway(), far(81), ext(sport), SYN | ACK, b"");
        only_tcp(&lab.send(&router, &answer), &other);
    }
}

#[test]
fn restored_sessions_are_charged_to_the_inside_host() {
    let snapshot = Bench::busy(NatMode::EimApdf).snapshot();
    let mut config = EngineConfig::with_sessions(64);
    config.nat.sessions_per_host = 2;
    let mut lab = Lab::with(config, |_| {});
    let (router, server) = (lab.router(), lab.known_inside(3));
    lab.publish(6, 80, server.at(8080));
    lab.publish(17, 53, server.at(53));
    assert_eq!(lab.restore(&snapshot).unwrap().sessions, 4);
    // The server holds two: the one from outside counts. The half-open one makes room once.
    assert!(arrives(&mut lab, (&router, &server), stranger(1), ext(53), 53));
    assert!(!arrives(&mut lab, (&router, &server), stranger(2), ext(53), 53));
    assert_eq!(lab.dropped(DropReason::HostSessionQuota), 1);
}
