//! Hosts with an external address of their own, which belong to different workers.

use std::net::Ipv4Addr;

use tapway::packet::tcp::{ACK, SYN};

use super::bench::*;
use super::support::*;

/// Hosts with own addresses, enough that some have one owner and others two, and one without.
fn hosts(bench: &mut Bench) -> (Vec<(LabPort, Ipv4Addr)>, LabPort) {
    let hosts: Vec<LabPort> = (0..5).map(|_| bench.host()).collect();
    let own = |at: usize| Ipv4Addr::new(192, 168, 33, 50 + at as u8);
    let hosts: Vec<(LabPort, Ipv4Addr)> =
        hosts.into_iter().enumerate().map(|(at, host)| (host, own(at))).collect();
    let statics: Vec<_> = hosts.iter().map(|(host, own)| (host.ip, *own)).collect();
    bench.set_statics(&statics);
    (hosts, bench.host())
}

#[test]
fn a_host_is_seen_by_its_own_address_and_reached_by_it() {
    everywhere(|mut bench| {
        let router = router();
        let (hosts, _) = hosts(&mut bench);
        for (host, own) in &hosts {
            for sport in [5000, 5001] {
                assert_eq!(bench.leave(host, sport, far(53)), Endpoint::new(*own, sport));
                let to = Endpoint::new(*own, sport);
                let answer = build::udp(router.to_gateway(), far(53), to, b"answer");
                assert_eq!(only_udp(&bench.send(&router, &answer), host).dst, host.at(sport));
            }
            let to = Endpoint::new(*own, 80);
            let syn = build::tcp(router.to_gateway(), far(4000), to, SYN, b"");
            assert_eq!(only_tcp(&bench.send(&router, &syn), host).dst, host.at(80));
            let answer = build::tcp(host.to_gateway(), host.at(80), far(4000), SYN | ACK, b"");
            assert_eq!(only_tcp(&bench.send(host, &answer), &router).src, to);
            let ping = build::echo(router.to_gateway(), FAR, *own, 9, false);
            assert_eq!(only_icmp(&bench.send(&router, &ping), host).dst.ip, host.ip);
            let pong = build::echo(host.to_gateway(), host.ip, FAR, 9, true);
            assert_eq!(only_icmp(&bench.send(host, &pong), &router).src.ip, *own);
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn two_hosts_reach_each_other_by_their_own_addresses() {
    everywhere(|mut bench| {
        let (hosts, plain) = hosts(&mut bench);
        let all: Vec<LabPort> = hosts.iter().map(|(host, _)| *host).chain([plain]).collect();
        for from in &all {
            for (to, own) in hosts.iter().filter(|(to, _)| to.ip != from.ip) {
                let at = Endpoint::new(*own, 53);
                let query = build::udp(from.to_gateway(), from.at(7000), at, b"query");
                let seen = only_udp(&bench.send(from, &query), to);
                assert_eq!((seen.src, seen.dst), (from.at(7000), to.at(53)));
                // Straight to its neighbour's MAC, as on one link.
                let answer = build::udp(to.to(from), to.at(53), from.at(7000), b"answer");
                assert_eq!(only_udp(&bench.send(to, &answer), from).src, at);
            }
        }
        for (host, own) in &hosts {
            let at = Endpoint::new(*own, 53);
            let query = build::udp(host.to_gateway(), host.at(7000), at, b"query");
            let seen = only_udp(&bench.send(host, &query), host);
            assert_eq!((seen.src.ip, seen.dst), (Lab::GATEWAY, host.at(53)));
            let answer = build::udp(host.to_gateway(), host.at(53), seen.src, b"answer");
            assert_eq!(only_udp(&bench.send(host, &answer), host).src, at);
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn a_host_with_an_own_address_and_a_mapping_reach_each_other() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let (hosts, plain) = hosts(&mut bench);
        let mapped = bench.leave(&plain, 6000, far(53));
        for (host, own) in &hosts {
            let hello = build::udp(host.to_gateway(), host.at(7000), mapped, b"hello");
            let seen = only_udp(&bench.send(host, &hello), &plain);
            assert_eq!((seen.src, seen.dst), (Endpoint::new(*own, 7000), plain.at(6000)));
            let back = build::udp(plain.to_gateway(), plain.at(6000), seen.src, b"back");
            let seen = only_udp(&bench.send(&plain, &back), host);
            assert_eq!((seen.src, seen.dst), (mapped, host.at(7000)));
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}
