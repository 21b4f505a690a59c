//! Translated connections: whichever worker takes a frame, they leave and return.

use std::collections::HashSet;
use std::time::Duration;

use tapway::packet::tcp::{ACK, SYN};

use super::bench::*;
use super::support::*;

#[test]
fn connections_of_many_hosts_leave_and_return_whichever_worker_takes_them() {
    everywhere(|mut bench| {
        let router = router();
        let mut seen = HashSet::new();
        for _ in 0..20 {
            let host = bench.host();
            for sport in [5000, 5001, 40_000] {
                let open = build::tcp(host.to_gateway(), host.at(sport), far(80), SYN, b"");
                let out = only_tcp(&bench.send(&host, &open), &router);
                assert_eq!(out.src.ip, Lab::EXTERNAL);
                assert!(seen.insert(out.src), "{} twice", out.src);
                assert_eq!(out.src.port % 2, sport % 2, "parity");
                let answer = build::tcp(router.to_gateway(), far(80), out.src, SYN | ACK, b"");
                let back = only_tcp(&bench.send(&router, &answer), &host);
                assert_eq!((back.src, back.dst), (far(80), host.at(sport)));
            }
            let ping = build::echo(host.to_gateway(), host.ip, FAR, 7, false);
            let id = only_icmp(&bench.send(&host, &ping), &router).payload[4..6].to_vec();
            let id = u16::from_be_bytes([id[0], id[1]]);
            let pong = build::echo(router.to_gateway(), FAR, Lab::EXTERNAL, id, true);
            assert_eq!(only_icmp(&bench.send(&router, &pong), &host).payload[4..6], [0, 7]);
        }
        assert_eq!(bench.crew.session_rows(bench.now).len(), 80);
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn mapping_is_endpoint_independent_for_every_number_of_workers() {
    everywhere(|mut bench| {
        let host = bench.host();
        let first = bench.leave(&host, 5000, far(53));
        assert_eq!(first.port, 5000, "the only user of its chunk");
        for dport in 54..80 {
            assert_eq!(bench.leave(&host, 5000, far(dport)), first);
            assert_eq!(bench.leave(&host, 5000, Endpoint::new(STRANGER, dport)), first);
        }
        bench.assert_balanced();
    });
}

#[test]
fn icmp_error_from_outside_reaches_the_host_it_is_for() {
    everywhere(|mut bench| {
        let router = router();
        let hosts: Vec<LabPort> = (0..8).map(|_| bench.host()).collect();
        for host in &hosts {
            let frame = build::udp(host.to_gateway(), host.at(6000), far(53), b"query");
            let sent = only(&bench.send(host, &frame), &router);
            let error = icmp_error(router.to_gateway(), (FAR, Lab::EXTERNAL), (3, 3), &sent[14..]);
            let seen = only_icmp(&bench.send(&router, &error), host);
            assert_eq!(seen.payload[8 + 12..8 + 16], host.ip.octets());
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn fragments_meet_in_any_order() {
    everywhere(|mut bench| {
        let (router, server) = (router(), bench.host());
        bench.publish(17, 53, server.at(53));
        let mapped = bench.leave(&server, 6000, far(9));
        for (id, dst, inside) in [(1, ext(53), 53), (2, mapped, 6000)] {
            for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
                let id = id * 100 + order[0] as u16 * 10 + order[1] as u16;
                let frame = udp_df_clear(router.to_gateway(), far(9), dst, &[7; 3000]);
                let pieces = build::fragments(&frame, id, 1400);
                assert_eq!(pieces.len(), 3);
                let mut out = Vec::new();
                for piece in order {
                    out.extend(bench.send(&router, &pieces[piece]));
                }
                assert_eq!(out.len(), 3, "{order:?}");
                let first = out.iter().find(|(_, frame)| frame[21] == 0).unwrap();
                assert_eq!(first.0, server.port);
                assert_eq!(first.1[36..38], u16::to_be_bytes(inside));
            }
        }
        // And out, where any fragment tells its host.
        let frame = udp_df_clear(server.to_gateway(), server.at(6000), far(9), &[7; 3000]);
        let mut ids = HashSet::new();
        for piece in build::fragments(&frame, 77, 1400) {
            ids.insert(read(&only(&bench.send(&server, &piece), &router)).id);
        }
        assert_eq!(ids.len(), 1);
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn sixteen_connections_from_low_ports_leave_low_ports_to_other_workers() {
    everywhere(|mut bench| {
        let greedy = bench.host();
        for chunk in 0..16 {
            bench.leave(&greedy, chunk * 64 + 2, far(53));
        }
        for _ in 0..20 {
            let other = bench.host();
            assert!(bench.leave(&other, 700, far(53)).port < 1024);
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn ports_that_have_rested_are_given_back_though_their_worker_needs_none() {
    for workers in WORKERS {
        let mut bench = bench(workers, 1, |_| {});
        let (greedy, others): (_, Vec<_>) = (bench.host(), (0..6).map(|_| bench.host()).collect());
        for sport in 1..1024 {
            bench.leave(&greedy, sport, far(53));
        }
        bench.advance(Duration::from_secs(302));
        bench.advance(Duration::from_secs(121));
        for other in others {
            let frame = build::udp(other.to_gateway(), other.at(500), far(53), b"out");
            let answer =
                build::arp_reply(router().mac, Lab::ROUTER, (router().gateway, Lab::EXTERNAL));
            let mut out = bench.send(&other, &frame);
            out.extend(bench.send(&router(), &answer));
            let has_left =
                |(port, frame): &(PortId, Vec<u8>)| *port == ROUTER && frame.ends_with(b"out");
            assert!(out.iter().any(has_left), "{workers} workers: {:?}", bench.drops());
        }
    }
}

/// Random ports are tried one after the other: if all workers tried the same, one would find only
/// what the others have leased.
#[test]
fn workers_try_other_random_ports_than_each_other() {
    everywhere_with(NatMode::Apdm, |mut bench| {
        let hosts: Vec<LabPort> = (0..4).map(|_| bench.host()).collect();
        let mut seen = HashSet::new();
        for host in &hosts {
            for sport in 7000..7150 {
                assert!(seen.insert(bench.leave(host, sport, far(53))));
            }
        }
    });
}
