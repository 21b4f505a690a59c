//! UDP through the translation (RFC 4787, RFC 6888, RFC 7857), and what all protocols share.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::nat::Timeouts;
use tapway::packet::checksum;

#[test]
fn one_inside_endpoint_keeps_one_external_endpoint_towards_everybody() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        assert_eq!(leave(&mut lab, (&a, &router), 5000, far(53)), ext(5000));
        // The port is taken: another of its class and parity, the same for every destination.
        let other = leave(&mut lab, (&b, &router), 5000, far(53));
        assert!(other.port >= 1024 && other.port.is_multiple_of(2) && other.port != 5000);
        for to in [far(54), stranger(53), stranger(9)] {
            assert_eq!(leave(&mut lab, (&b, &router), 5000, to), other);
            assert_eq!(leave(&mut lab, (&a, &router), 5000, to), ext(5000));
        }
        assert!(arrives(&mut lab, (&router, &b), far(53), other, 5000));
        assert!(arrives(&mut lab, (&router, &a), far(53), ext(5000), 5000));
        let low = leave(&mut lab, (&a, &router), 123, far(123));
        let taken = leave(&mut lab, (&b, &router), 123, far(123));
        assert_eq!(low, ext(123));
        assert!(taken.port < 1024 && taken.port % 2 == 1 && taken.port != 123);
        lab
    });
}

#[test]
fn every_mode_admits_exactly_whom_it_says() {
    // Peers: the one sent to, another port of it, a stranger.
    for (mode, admitted) in [
        (NatMode::EimEif, [true, true, true]),
        (NatMode::EimAdf, [true, true, false]),
        (NatMode::EimApdf, [true, false, false]),
        (NatMode::Apdm, [true, false, false]),
    ] {
        twice(|| {
            let mut lab = lab_with_mode(mode);
            let (router, host) = (lab.router(), lab.known_inside(2));
            let mapped = leave(&mut lab, (&host, &router), 5000, far(53));
            let seen = [far(53), far(54), stranger(53)]
                .map(|peer| arrives(&mut lab, (&router, &host), peer, mapped, 5000));
            assert_eq!(seen, admitted, "{mode:?}");
            let refused = admitted.iter().filter(|admitted| !**admitted).count() as u64;
            assert_eq!(lab.engine.totals().dropped, refused);
            lab
        });
    }
}

#[test]
fn address_and_port_dependent_mapping_shares_a_port_between_destinations_only() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::Apdm);
        // Hosts of different workers share no port.
        lab.alone();
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        assert_eq!(leave(&mut lab, (&a, &router), 5000, far(53)), ext(5000));
        assert_eq!(leave(&mut lab, (&b, &router), 5000, stranger(53)), ext(5000));
        let other = leave(&mut lab, (&b, &router), 5000, far(53));
        assert_ne!(other, ext(5000));
        assert!(arrives(&mut lab, (&router, &a), far(53), ext(5000), 5000));
        assert!(arrives(&mut lab, (&router, &b), stranger(53), ext(5000), 5000));
        assert!(arrives(&mut lab, (&router, &b), far(53), other, 5000));
        lab
    });
}

#[test]
fn shared_ports_stay_clear_of_mappings_and_of_published_ports() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::Apdm);
        add_other_network(&mut lab);
        let (router, shared, mapped) =
            (lab.router(), lab.known_inside(2), known_other(&mut lab, 2));
        assert_eq!(leave(&mut lab, (&shared, &router), 5000, far(53)), ext(5000));
        // An endpoint-independent mapping must be free towards everybody.
        let own = leave(&mut lab, (&mapped, &router), 5000, stranger(53));
        assert_ne!(own, ext(5000));
        assert_eq!(leave(&mut lab, (&mapped, &router), 6000, far(53)), ext(6000));
        assert_ne!(leave(&mut lab, (&shared, &router), 6000, stranger(53)), ext(6000));
        lab.publish(17, 7000, shared.at(7));
        assert_ne!(leave(&mut lab, (&shared, &router), 7000, far(53)), ext(7000));
        // Publishing takes a shared port away from those who have it.
        let reply = lab.must(Command::Publish(tapway::nat::Publish {
            protocol: 17,
            address: None,
            port: 5000,
            count: 1,
            network: BRIDGE,
            target: shared.at(8),
        }));
        assert_eq!(reply.ended_sessions, 1);
        pass(&mut lab, &[&shared, &mapped, &router], Duration::from_secs(302));
        assert_eq!(lab.engine.session_usage().0, 0);
        assert_eq!(leave(&mut lab, (&mapped, &router), 6002, far(53)), ext(6002));
        lab
    });
}

#[test]
fn without_translation_addresses_stay_and_exempt_destinations_are_reached_so() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |network| {
            network.nat.exempt = vec!["198.51.100.0/24".parse().unwrap()];
            network.nat.tcp = NatMode::None;
        });
        let (router, host) = (lab.router(), lab.known_inside(2));
        assert_eq!(leave(&mut lab, (&host, &router), 5000, stranger(53)), host.at(5000));
        assert!(arrives(&mut lab, (&router, &host), stranger(53), host.at(5000), 5000));
        assert_eq!(leave(&mut lab, (&host, &router), 5000, far(53)), ext(5000));
        assert!(!arrives(&mut lab, (&router, &host), far(53), host.at(5000), 5000));
        assert_eq!(lab.dropped(DropReason::DirectRouting), 1);
        let syn = build::tcp(host.to_gateway(), host.at(5000), far(80), 2, b"");
        assert_eq!(only_tcp(&lab.send(&host, &syn), &router).src, host.at(5000));
        lab
    });
}

#[test]
fn a_mapping_lives_300_s_from_the_last_packet_out() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        leave(&mut lab, (&host, &router), 5000, far(53));
        pass(&mut lab, &[&host, &router], Duration::from_secs(290));
        assert!(arrives(&mut lab, (&router, &host), far(53), ext(5000), 5000));
        pass(&mut lab, &[&host, &router], Duration::from_secs(290));
        leave(&mut lab, (&host, &router), 5000, far(53));
        pass(&mut lab, &[&host, &router], Duration::from_secs(299));
        assert_eq!(lab.engine.session_usage().0, 1);
        pass(&mut lab, &[&host, &router], Duration::from_secs(3));
        assert_eq!(lab.engine.session_usage().0, 0);
        assert!(!arrives(&mut lab, (&router, &host), far(53), ext(5000), 5000));
        assert_eq!(lab.dropped(DropReason::NoSession), 1);
        lab
    });
}

#[test]
fn a_network_may_have_lifetimes_of_its_own() {
    let brief = Timeouts { udp_s: 30, ..Timeouts::default() };
    let mut lab = Lab::with(EngineConfig::default(), |bridge| bridge.timeouts = Some(brief));
    let (router, host) = (lab.router(), lab.known_inside(2));
    leave(&mut lab, (&host, &router), 5000, far(53));
    pass(&mut lab, &[&host, &router], Duration::from_secs(29));
    assert_eq!(lab.engine.session_usage().0, 1);
    pass(&mut lab, &[&host, &router], Duration::from_secs(3));
    assert_eq!(lab.engine.session_usage().0, 0);
    // Without them the usual ones hold again.
    lab.must(Command::AddNetwork(BRIDGE, Lab::network_spec("bridge", Lab::GATEWAY, 16)));
    leave(&mut lab, (&host, &router), 5000, far(53));
    pass(&mut lab, &[&host, &router], Duration::from_secs(200));
    assert_eq!(lab.engine.session_usage().0, 1);
}

#[test]
fn strangers_do_not_keep_an_open_mapping_alive() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::EimEif);
        let (router, host) = (lab.router(), lab.known_inside(2));
        leave(&mut lab, (&host, &router), 5000, far(53));
        for _ in 0..8 {
            pass(&mut lab, &[&host, &router], Duration::from_secs(50));
            let answer = build::udp(router.to_gateway(), far(53), ext(5000), b"in");
            lab.send(&router, &answer);
        }
        assert_eq!(lab.engine.session_usage().0, 0);
        assert_eq!(lab.dropped(DropReason::NoSession), 2);
        lab
    });
}

#[test]
fn a_released_port_rests_for_others_but_not_for_its_host() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        leave(&mut lab, (&a, &router), 5000, far(53));
        pass(&mut lab, &[&a, &b, &router], Duration::from_secs(302));
        assert_eq!(lab.engine.session_usage().0, 0);
        assert_ne!(leave(&mut lab, (&b, &router), 5000, far(53)), ext(5000));
        assert_eq!(leave(&mut lab, (&a, &router), 5000, far(53)), ext(5000));
        lab
    });
}

#[test]
fn zero_checksum_stays_zero_and_a_wrong_one_stays_wrong() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let b = lab.known_inside(3);
        leave(&mut lab, (&b, &router), 5000, far(53));
        let sum_of = |frame: &[u8]| u16::from_be_bytes([frame[40], frame[41]]);
        // The port changes too. Twice: by the slow path and by the cached flow.
        for _ in 0..2 {
            let mut none = build::udp(host.to_gateway(), host.at(5000), far(53), b"none");
            none[40..42].fill(0);
            let out = only(&lab.send(&host, &none), &router);
            assert_eq!((sum_of(&out), &out[42..]), (0, &b"none"[..]));
            for error in [1, 0x0100, 0x8000] {
                let mut wrong = build::udp(host.to_gateway(), host.at(5000), far(53), b"wrong");
                let sum = checksum::Delta::NONE.word(0, error).apply(sum_of(&wrong));
                wrong[40..42].copy_from_slice(&sum.to_be_bytes());
                let mut out = only(&lab.send(&host, &wrong), &router);
                assert_eq!(out[26..30], Lab::EXTERNAL.octets());
                // Wrong by the same amount: taking the error away makes it right.
                let right = checksum::Delta::NONE.word(error, 0).apply(sum_of(&out));
                out[40..42].copy_from_slice(&right.to_be_bytes());
                assert_eq!(read(&out).payload, b"wrong");
            }
        }
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let mut found = 0;
        for n in 0..=u16::MAX {
            // Two bytes of payload run through every sum once.
            let datagram = build::udp(host.to_gateway(), host.at(5000), far(53), &n.to_be_bytes());
            let out = only(&lab.send(&host, &datagram), &router);
            assert_ne!(out[40..42], [0, 0]);
            if out[40..42] == [0xff, 0xff] {
                found += 1;
                read(&out);
            }
        }
        assert_eq!(found, 1);
        lab.log.clear();
        lab
    });
}

#[test]
fn payload_that_looks_like_addresses_is_left_alone() {
    let mut lab = Lab::new();
    let (router, host) = (lab.router(), lab.known_inside(2));
    let text = b"PORT 172,17,0,2,19,136 172.17.0.2:5000 \xac\x11\x00\x02";
    let sent = build::udp(host.to_gateway(), host.at(5000), far(53), text);
    assert_eq!(only_udp(&lab.send(&host, &sent), &router).payload, text);
}

#[test]
fn a_host_keeps_one_address_of_the_pool_and_hosts_are_spread() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let pool: Vec<[u8; 4]> = (20..24).map(|last| [192, 168, 33, last]).collect();
        set_uplink(&mut lab, &pool, &[]);
        let router = lab.router();
        let mut used = HashSet::new();
        for last in 2..34 {
            let host = lab.known_inside(last);
            let first = leave(&mut lab, (&host, &router), 5000, far(53));
            assert!(pool.contains(&first.ip.octets()));
            for sport in 5001..5004 {
                assert_eq!(leave(&mut lab, (&host, &router), sport, far(sport)).ip, first.ip);
            }
            assert!(arrives(&mut lab, (&router, &host), far(53), first, 5000));
            used.insert(first.ip);
        }
        assert_eq!(used.len(), 4);
        lab
    });
}

#[test]
fn static_translation_is_one_to_one_both_ways_for_every_protocol() {
    twice(|| {
        let mut lab = Lab::new();
        set_uplink(&mut lab, &[], &[([172, 17, 0, 2], [192, 168, 33, 20])]);
        let (router, host) = (lab.router(), lab.known_inside(2));
        let own = |port| at([192, 168, 33, 20], port);
        assert_eq!(leave(&mut lab, (&host, &router), 5000, far(53)), own(5000));
        assert!(arrives(&mut lab, (&router, &host), stranger(9), own(7777), 7777));
        assert_eq!(leave(&mut lab, (&host, &router), 7777, stranger(9)), own(7777));
        let esp = packet(router.to_gateway(), FAR, own(0).ip, 50, b"\0\0\0\x01payload");
        let seen = read(&only(&lab.send(&router, &esp), &host));
        assert_eq!((seen.dst.ip, seen.protocol), (host.ip, 50));
        let ping = build::echo(router.to_gateway(), FAR, own(0).ip, 9, false);
        let seen = only_icmp(&lab.send(&router, &ping), &host);
        assert_eq!((seen.dst.ip, &seen.payload[4..6]), (host.ip, &[0, 9][..]));
        let pong = build::echo(host.to_gateway(), host.ip, FAR, 9, true);
        assert_eq!(only_icmp(&lab.send(&host, &pong), &router).src.ip, own(0).ip);
        // Another host is masqueraded as ever, and a port published on all addresses is not
        // taken from the host that owns this one.
        let other = lab.known_inside(3);
        assert_eq!(leave(&mut lab, (&other, &router), 5000, far(53)), ext(5000));
        lab.publish(17, 53, other.at(53));
        assert!(arrives(&mut lab, (&router, &host), stranger(9), own(53), 53));
        assert!(arrives(&mut lab, (&router, &other), stranger(9), ext(53), 53));
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn protocols_without_ports_are_translated_by_address() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let esp = |from: &LabPort, to| packet(from.to_gateway(), from.ip, to, 50, b"esp payload");
        let seen = read(&only(&lab.send(&a, &esp(&a, FAR)), &router));
        assert_eq!((seen.src.ip, &seen.payload[..]), (Lab::EXTERNAL, &b"esp payload"[..]));
        let back = packet(router.to_gateway(), FAR, Lab::EXTERNAL, 50, b"back");
        assert_eq!(read(&only(&lab.send(&router, &back), &a)).dst.ip, a.ip);
        // Towards another peer it is free; towards the same it is not.
        read(&only(&lab.send(&b, &esp(&b, STRANGER)), &router));
        let refusal = only_icmp(&lab.send(&b, &esp(&b, FAR)), &b);
        assert_eq!(refusal.payload[..2], [3, 13]);
        assert_eq!(lab.dropped(DropReason::ProtocolConflict), 1);
        let unasked = packet(router.to_gateway(), FAR, Lab::EXTERNAL, 47, b"gre");
        assert!(lab.send(&router, &unasked).is_empty());
        lab
    });
}

#[test]
fn private_sources_never_leave_untranslated() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        for protocol in 0..=u8::MAX {
            for len in [0, 8, 20] {
                let sent = packet(host.to_gateway(), host.ip, FAR, protocol, &vec![0x55; len]);
                for frame in Lab::to(&lab.send(&host, &sent), &router) {
                    assert_eq!(frame[26..30], Lab::EXTERNAL.octets(), "protocol {protocol}");
                }
            }
        }
        lab
    });
}

#[test]
fn an_address_that_is_taken_away_ends_its_sessions() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let (router, host) = (lab.router(), lab.known_inside(2));
        leave(&mut lab, (&host, &router), 5000, far(53));
        let mut uplink = Lab::network_spec("uplink", Ipv4Addr::new(192, 168, 33, 11), 24);
        uplink.is_outside = true;
        let reply = lab.must(Command::AddNetwork(UPLINK, uplink));
        assert_eq!(reply.ended_sessions, 1);
        let mapped = leave(&mut lab, (&host, &router), 5000, far(53));
        assert_eq!(mapped, at([192, 168, 33, 11], 5000));
        // The same configuration again ends nothing.
        let mut uplink = Lab::network_spec("uplink", Ipv4Addr::new(192, 168, 33, 11), 24);
        uplink.is_outside = true;
        assert_eq!(lab.must(Command::AddNetwork(UPLINK, uplink)).ended_sessions, 0);
        lab
    });
}

#[test]
fn a_stricter_mode_closes_what_the_old_one_had_opened() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::EimEif);
        let (router, host) = (lab.router(), lab.known_inside(2));
        let mapped = leave(&mut lab, (&host, &router), 5000, far(53));
        assert!(arrives(&mut lab, (&router, &host), stranger(1), mapped, 5000));
        let bridge = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        assert_eq!(lab.must(Command::AddNetwork(BRIDGE, bridge)).ended_sessions, 2);
        assert!(!arrives(&mut lab, (&router, &host), stranger(1), mapped, 5000));
        assert_eq!(leave(&mut lab, (&host, &router), 5000, far(53)), mapped);
        assert!(!arrives(&mut lab, (&router, &host), stranger(1), mapped, 5000));
        lab
    });
}

#[test]
fn a_stranger_who_came_by_an_open_mapping_does_not_keep_it_alive_either() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::EimEif);
        let (router, host) = (lab.router(), lab.known_inside(2));
        let mapped = leave(&mut lab, (&host, &router), 5000, far(53));
        let mut got = 0;
        for _ in 0..8 {
            let datagram = build::udp(router.to_gateway(), stranger(9), mapped, b"in");
            got += lab.send(&router, &datagram).len();
            pass(&mut lab, &[&host, &router], Duration::from_secs(50));
        }
        assert!(got < 8 && lab.engine.session_usage().0 == 0, "{got}");
        // The host's own answers do keep it.
        let mapped = leave(&mut lab, (&host, &router), 5000, stranger(9));
        for _ in 0..8 {
            pass(&mut lab, &[&host, &router], Duration::from_secs(50));
            assert_eq!(leave(&mut lab, (&host, &router), 5000, stranger(9)), mapped);
        }
        assert!(arrives(&mut lab, (&router, &host), stranger(9), mapped, 5000));
        lab
    });
}
