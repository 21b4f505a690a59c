//! Bounds of the translation: quotas, named exhaustion, and what may be recycled (RFC 6888).
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::Event;
use tapway::packet::tcp::{ACK, FIN, RST, SYN};
use tapway::switch::{PortLimits, RateLimit};

fn lab_with(sessions: usize, per_host: usize, change: impl FnOnce(&mut EngineConfig)) -> Lab {
    let mut config = EngineConfig::with_sessions(sessions);
    config.nat.sessions_per_host = per_host;
    change(&mut config);
    Lab::with(config, |_| {})
}

fn segment(host: &LabPort, sport: u16, flags: u8) -> Vec<u8> {
    build::tcp(host.to_gateway(), host.at(sport), far(80), flags, b"")
}

fn answer(router: &LabPort, to: Endpoint, flags: u8) -> Vec<u8> {
    build::tcp(router.to_gateway(), far(80), to, flags, b"")
}

/// Opens a connection in full.
fn connect(lab: &mut Lab, (host, router): (&LabPort, &LabPort), sport: u16) -> Endpoint {
    let mapped = only_tcp(&lab.send(host, &segment(host, sport, SYN)), router).src;
    only_tcp(&lab.send(router, &answer(router, mapped, SYN | ACK)), host);
    only_tcp(&lab.send(host, &segment(host, sport, ACK)), router);
    mapped
}

/// True if an inside host's segment leaves; else it must have been told why not.
fn leaves(lab: &mut Lab, (host, router): (&LabPort, &LabPort), frame: &[u8]) -> bool {
    let out = lab.send(host, frame);
    if !Lab::to(&out, router).is_empty() {
        return true;
    }
    let refusal = only_icmp(&out, host);
    assert_eq!((refusal.src.ip, &refusal.payload[..2]), (Lab::GATEWAY, &[3, 13][..]));
    false
}

#[test]
fn a_host_at_its_quota_is_told_and_the_operator_too() {
    twice(|| {
        let mut lab = lab_with(64, 3, |_| {});
        let (router, host) = (lab.router(), lab.known_inside(2));
        for sport in 1..=3 {
            assert_eq!(leave(&mut lab, (&host, &router), 5000 + sport, far(1)).port, 5000 + sport);
        }
        let refused = build::udp(host.to_gateway(), host.at(6000), far(1), b"");
        assert!(!leaves(&mut lab, (&host, &router), &refused));
        assert_eq!(lab.dropped(DropReason::HostSessionQuota), 1);
        let exhausted = Event::Exhausted { network: BRIDGE, host: host.ip };
        assert_eq!(lab.engine.poll_event(), Some(exhausted));
        // What lives goes on living, and others are not touched.
        assert!(arrives(&mut lab, (&router, &host), far(1), ext(5001), 5001));
        let other = lab.known_inside(3);
        leave(&mut lab, (&other, &router), 6000, far(1));
        // Time gives room again.
        pass(&mut lab, &[&host, &router], Duration::from_secs(302));
        assert!(leaves(&mut lab, (&host, &router), &refused));
        lab
    });
}

#[test]
fn connections_that_closed_were_reset_or_never_opened_make_room_and_others_do_not() {
    twice(|| {
        let mut lab = lab_with(64, 4, |_| {});
        let (router, host) = (lab.router(), lab.known_inside(2));
        let closed = connect(&mut lab, (&host, &router), 5001);
        lab.send(&host, &segment(&host, 5001, FIN | ACK));
        lab.send(&router, &answer(&router, closed, FIN | ACK));
        let reset = connect(&mut lab, (&host, &router), 5002);
        lab.send(&router, &answer(&router, reset, RST));
        lab.send(&host, &segment(&host, 5003, SYN));
        let live = connect(&mut lab, (&host, &router), 5004);
        for sport in [6001, 6002, 6003] {
            connect(&mut lab, (&host, &router), sport);
        }
        assert!(!leaves(&mut lab, (&host, &router), &segment(&host, 6004, SYN)));
        only_tcp(&lab.send(&router, &answer(&router, live, ACK)), &host);
        assert!(lab.send(&router, &answer(&router, closed, ACK)).is_empty());
        assert_eq!(lab.engine.session_usage().0, 4);
        lab
    });
}

#[test]
fn a_syn_flood_on_a_published_port_does_not_lock_the_others_out() {
    twice(|| {
        let mut lab = lab_with(256, 100, |_| {});
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(6, 80, server.at(80));
        let established = far(999);
        let syn = |from| build::tcp(router.to_gateway(), from, ext(80), SYN, b"");
        let reply = |to, flags| build::tcp(server.to_gateway(), server.at(80), to, flags, b"");
        lab.send(&router, &syn(established));
        lab.send(&server, &reply(established, SYN | ACK));
        lab.send(&router, &build::tcp(router.to_gateway(), established, ext(80), ACK, b""));
        // The server answers each; nobody ever confirms.
        for sport in 1000..2000 {
            only_tcp(&lab.send(&router, &syn(stranger(sport))), &server);
            only_tcp(&lab.send(&server, &reply(stranger(sport), SYN | ACK)), &router);
        }
        assert_eq!(lab.engine.session_usage().0, 100);
        only_tcp(&lab.send(&router, &syn(far(5))), &server);
        only_tcp(&lab.send(&server, &reply(established, ACK)), &router);
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn a_full_table_recycles_the_hosts_own_first_and_never_what_lives() {
    twice(|| {
        let mut lab = lab_with(4, 4, |_| {});
        lab.alone();
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        lab.send(&a, &segment(&a, 5001, SYN));
        lab.send(&b, &segment(&b, 6001, SYN));
        let live = connect(&mut lab, (&a, &router), 5002);
        connect(&mut lab, (&a, &router), 5003);
        // b's own attempt goes, though a's is older.
        assert!(leaves(&mut lab, (&b, &router), &segment(&b, 6002, SYN)));
        only_tcp(&lab.send(&router, &answer(&router, ext(5001), SYN | ACK)), &a);
        assert!(lab.send(&router, &answer(&router, ext(6001), SYN | ACK)).is_empty());
        // A third host takes the oldest attempt of all.
        let c = lab.known_inside(4);
        connect(&mut lab, (&c, &router), 7001);
        connect(&mut lab, (&b, &router), 6003);
        assert!(!leaves(&mut lab, (&c, &router), &segment(&c, 7002, SYN)));
        assert_eq!(lab.dropped(DropReason::SessionTableFull), 1);
        only_tcp(&lab.send(&router, &answer(&router, live, ACK)), &a);
        lab
    });
}

#[test]
fn a_stranger_who_is_filtered_ends_nothing() {
    twice(|| {
        let mut lab = lab_with(2, 2, |_| {});
        let (router, host) = (lab.router(), lab.known_inside(2));
        lab.send(&host, &segment(&host, 5001, SYN));
        lab.send(&host, &segment(&host, 5002, SYN));
        for sport in 1..50 {
            let probe = build::tcp(router.to_gateway(), stranger(sport), ext(5001), SYN, b"");
            assert!(lab.send(&router, &probe).is_empty());
        }
        assert_eq!(lab.dropped(DropReason::Filtered), 49);
        for mapped in [ext(5001), ext(5002)] {
            only_tcp(&lab.send(&router, &answer(&router, mapped, SYN | ACK)), &host);
        }
        lab
    });
}

#[test]
fn external_ports_are_counted_per_host_and_protocol_and_given_back() {
    twice(|| {
        let mut lab = lab_with(64, 64, |config| config.nat.ports_per_host = 2);
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let udp =
            |host: &LabPort, sport| build::udp(host.to_gateway(), host.at(sport), far(1), b"");
        for round in 0..3 {
            assert!(leaves(&mut lab, (&a, &router), &udp(&a, 5001)));
            assert!(leaves(&mut lab, (&a, &router), &udp(&a, 5002)));
            assert!(!leaves(&mut lab, (&a, &router), &udp(&a, 5003)));
            // Another destination costs no port, another protocol and host have their own.
            let elsewhere = build::udp(a.to_gateway(), a.at(5001), far(2), b"");
            assert!(leaves(&mut lab, (&a, &router), &elsewhere));
            assert!(leaves(&mut lab, (&a, &router), &segment(&a, 5001, SYN)));
            assert!(leaves(&mut lab, (&b, &router), &udp(&b, 5001)));
            assert_eq!(lab.dropped(DropReason::HostPortQuota), round + 1);
            pass(&mut lab, &[&a, &b, &router], Duration::from_secs(302));
            assert_eq!(lab.engine.session_usage().0, 0);
        }
        lab
    });
}

#[test]
fn a_mapping_kept_by_somebody_elses_session_still_counts_for_its_own_host() {
    twice(|| {
        let mut lab = Lab::with(
            {
                let mut config = EngineConfig::with_sessions(64);
                config.nat.ports_per_host = 1;
                config
            },
            |network| network.nat = NatPolicy::uniform(NatMode::EimEif),
        );
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let hosts = [&a, &b, &router];
        let mapped = leave(&mut lab, (&b, &router), 6000, far(1));
        // a talks to b's mapping on and on, while b's own session ends.
        for _ in 0..4 {
            let hairpin = build::udp(a.to_gateway(), a.at(5000), mapped, b"");
            only_udp(&lab.send(&a, &hairpin), &b);
            pass(&mut lab, &hosts, Duration::from_secs(100));
        }
        assert_eq!(lab.engine.session_usage().0, 1);
        let second = |host: &LabPort| build::udp(host.to_gateway(), host.at(9), far(1), b"");
        assert!(!leaves(&mut lab, (&b, &router), &second(&b)));
        assert!(!leaves(&mut lab, (&a, &router), &second(&a)));
        // When all of it has ended both may have a port again, and only one.
        pass(&mut lab, &hosts, Duration::from_secs(302));
        assert_eq!(lab.engine.session_usage().0, 0);
        for host in [&a, &b] {
            assert!(leaves(&mut lab, (host, &router), &second(host)));
            let third = build::udp(host.to_gateway(), host.at(10), far(1), b"");
            assert!(!leaves(&mut lab, (host, &router), &third));
        }
        lab
    });
}

#[test]
fn ports_that_run_out_are_named_and_resting_ones_are_woken_first() {
    twice(|| {
        let mut lab = lab_with(4096, 2048, |_| {});
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let udp =
            |host: &LabPort, sport| build::udp(host.to_gateway(), host.at(sport), far(1), b"");
        for sport in 1..1024 {
            assert!(leaves(&mut lab, (&a, &router), &udp(&a, sport)));
        }
        assert!(!leaves(&mut lab, (&b, &router), &udp(&b, 500)));
        assert_eq!(lab.dropped(DropReason::PortsExhausted), 1);
        // Other classes are not affected.
        assert!(leaves(&mut lab, (&b, &router), &udp(&b, 5000)));
        // Ports that rest belong to the worker that had leased them, a while longer.
        lab.alone();
        pass(&mut lab, &[&a, &b, &router], Duration::from_secs(302));
        assert!(leaves(&mut lab, (&b, &router), &udp(&b, 500)));
        lab
    });
}

#[test]
fn a_full_flow_cache_breaks_nothing() {
    twice(|| {
        let mut lab = lab_with(4096, 4096, |config| config.flows = 16);
        let (router, host) = (lab.router(), lab.known_inside(2));
        for _ in 0..2 {
            for sport in 5000..5200 {
                assert_eq!(leave(&mut lab, (&host, &router), sport, far(1)), ext(sport));
                assert!(arrives(&mut lab, (&router, &host), far(1), ext(sport), sport));
            }
        }
        assert_eq!(lab.engine.session_usage().0, 200);
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn sessions_come_and_go_without_leaving_anything_behind() {
    let mut lab = lab_with(512, 512, |_| {});
    let (router, host) = (lab.router(), lab.known_inside(2));
    for round in 0..20 {
        for n in 0..500u16 {
            leave(&mut lab, (&host, &router), 2000 + n, far(round + 1));
        }
        pass(&mut lab, &[&host, &router], Duration::from_secs(302));
        assert_eq!(lab.engine.session_usage(), (0, 512));
    }
    assert!(lab.drops().is_empty() && lab.is_balanced());
}

#[test]
fn making_room_never_ends_what_the_newcomer_leans_on() {
    twice(|| {
        let mut config = EngineConfig::with_sessions(64);
        config.nat.sessions_per_host = 2;
        let mut lab = Lab::with(config, |n| n.nat = NatPolicy::uniform(NatMode::EimEif));
        let (router, host, other) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        // The oldest attempt is the only one that holds the mapping the stranger comes by.
        lab.send(&host, &segment(&host, 5001, SYN));
        lab.send(&host, &segment(&host, 5002, SYN));
        let syn = build::tcp(router.to_gateway(), stranger(9), ext(5001), SYN, b"");
        only_tcp(&lab.send(&router, &syn), &host);
        assert!(lab.send(&router, &answer(&router, ext(5002), SYN | ACK)).is_empty());
        only_tcp(&lab.send(&router, &answer(&router, ext(5001), SYN | ACK)), &host);
        // Its port is still its own.
        let mapped = only_tcp(&lab.send(&other, &segment(&other, 5001, SYN)), &router).src;
        assert_ne!(mapped, ext(5001));
        lab
    });
}

#[test]
fn one_host_cannot_take_every_external_port_of_the_others() {
    let mut lab = Lab::with(EngineConfig::default(), |_| {});
    let (router, greedy, other) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
    for sport in 1024..=u16::MAX {
        let datagram = build::udp(greedy.to_gateway(), greedy.at(sport), far(80), b"");
        lab.send(&greedy, &datagram);
        lab.log.clear();
    }
    assert_eq!(lab.dropped(DropReason::HostPortQuota), 32_256);
    leave(&mut lab, (&other, &router), 5000, far(53));
}

#[test]
fn a_mac_that_moves_all_the_time_does_not_hide_other_events() {
    twice(|| {
        let mut lab = lab_with(64, 1, |_| {});
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        for _ in 0..200 {
            lab.introduce(&LabPort { port: b.port, ..a }, Lab::GATEWAY);
            lab.introduce(&a, Lab::GATEWAY);
        }
        leave(&mut lab, (&a, &router), 5001, far(1));
        lab.send(&a, &build::udp(a.to_gateway(), a.at(5002), far(1), b""));
        let told: Vec<Event> = std::iter::from_fn(|| lab.engine.poll_event()).collect();
        assert_eq!(told.len(), 9);
        assert_eq!(told.last(), Some(&Event::Exhausted { network: BRIDGE, host: a.ip }));
        lab
    });
}

/// Sends frames of 60 bytes in turns of two; returns how many arrived.
fn pour(lab: &mut Lab, from: &LabPort, to: &LabPort, frames: usize) -> usize {
    let frame = [&to.mac.0[..], &from.mac.0, &[0x88, 0xb5], &[0; 46]].concat();
    (0..frames / 2).map(|_| lab.send_all(&vec![(from.port, frame.clone()); 2]).len()).sum()
}

#[test]
fn what_a_host_sends_and_gets_is_limited_by_all_workers_together() {
    twice(|| {
        let mut lab = lab_with(64, 64, |_| {});
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let ten_frames = RateLimit { bytes_per_s: 6_000, burst: 600 };
        let (rx, tx) = (Some(ten_frames), Some(ten_frames));
        assert_eq!(pour(&mut lab, &a, &b, 40), 40);
        lab.must(Command::SetPortLimits(a.port, PortLimits { rx, tx: None }));
        assert_eq!(pour(&mut lab, &a, &b, 40), 10);
        assert_eq!(pour(&mut lab, &b, &a, 40), 40, "the other way");
        lab.advance(Duration::from_millis(50));
        assert_eq!(pour(&mut lab, &a, &b, 40), 5);
        assert_eq!(lab.dropped(DropReason::LimitRx), 65);
        lab.must(Command::SetPortLimits(a.port, PortLimits { rx: None, tx }));
        assert_eq!(pour(&mut lab, &a, &b, 40), 40);
        assert_eq!(pour(&mut lab, &b, &a, 40), 10);
        assert_eq!(lab.dropped(DropReason::LimitTx), 30);
        // The gateway answers nevertheless.
        let out = lab.send(&a, &build::arp_request(a.mac, a.ip, Lab::GATEWAY));
        assert!(out.iter().any(|(port, _)| *port == a.port));
        // What is unlimited costs nothing of what was.
        lab.must(Command::SetPortLimits(a.port, PortLimits::default()));
        assert_eq!(pour(&mut lab, &b, &a, 40), 40);
        lab
    });
}

#[test]
fn a_limit_that_is_raised_holds_at_once_and_a_new_port_owes_nothing() {
    twice(|| {
        let mut lab = lab_with(64, 64, |_| {});
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let limited = |bytes_per_s, burst| {
            let limit = Some(RateLimit { bytes_per_s, burst });
            Command::SetPortLimits(a.port, PortLimits { rx: limit, tx: None })
        };
        lab.must(limited(60, 600));
        assert_eq!(pour(&mut lab, &a, &b, 40), 10, "ten seconds' worth");
        lab.must(limited(6_000, 600));
        lab.advance(Duration::from_millis(100));
        assert_eq!(pour(&mut lab, &a, &b, 40), 10);
        lab
    });
}
