//! A snapshot that some workers took and others take over: each session goes to its owner, and its
//! port with it.

use std::collections::HashMap;

use super::bench::*;
use super::support::*;

const HOSTS: usize = 12;

/// Hosts that have two connections out each, and a server that a stranger asks.
fn busy(workers: usize, mode: NatMode) -> (Bench, Vec<LabPort>, Vec<(Endpoint, Endpoint)>) {
    let (mut bench, hosts) = quiet(workers, mode);
    let mut mapped = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        for sport in [6000, 7000 + 10 * index as u16] {
            mapped.push((host.at(sport), bench.leave(host, sport, far(53))));
        }
    }
    let query = build::udp(router().to_gateway(), far(9), ext(53), b"query");
    only_udp(&bench.send(&router(), &query), &hosts[0]);
    (bench, hosts, mapped)
}

fn quiet(workers: usize, mode: NatMode) -> (Bench, Vec<LabPort>) {
    let mut bench = bench(workers, 3, |bridge| bridge.nat = NatPolicy::uniform(mode));
    let hosts: Vec<LabPort> = (0..HOSTS).map(|_| bench.host()).collect();
    bench.publish(17, 53, hosts[0].at(5353));
    (bench, hosts)
}

#[test]
fn sessions_go_on_with_their_owners_among_other_numbers_of_workers() {
    for mode in [NatMode::default(), NatMode::Apdm] {
        for (before, after) in WORKERS.iter().flat_map(|n| WORKERS.map(|m| (*n, m))) {
            let (old, _, mapped) = busy(before, mode);
            let snapshot = old.crew.snapshot(old.now).unwrap();
            let (mut bench, hosts) = quiet(after, mode);
            bench.now = old.now;
            let restored = bench.crew.restore(bench.now, &snapshot).unwrap();
            let sessions = bench.crew.session_rows(bench.now).len();
            assert_eq!(restored.sessions, sessions, "{before} to {after}");
            let stations = bench.crew.fdb_rows(bench.now).len();
            assert_eq!(stations, HOSTS + 3, "each once, with the router and two gateways");
            let mut alive = 0;
            for (inside, external) in &mapped {
                let host = hosts.iter().find(|host| host.ip == inside.ip).unwrap();
                let answer = build::udp(router().to_gateway(), far(53), *external, b"answer");
                let out = bench.send(&router(), &answer);
                if !out.is_empty() {
                    assert_eq!(only_udp(&out, host).dst, *inside);
                    let again = bench.leave(host, inside.port, far(53));
                    assert_eq!(again, *external, "{before} to {after}");
                    alive += 1;
                }
            }
            let answer = build::udp(hosts[0].to_gateway(), hosts[0].at(5353), far(9), b"answer");
            assert_eq!(only_udp(&bench.send(&hosts[0], &answer), &router()).src, ext(53));
            assert_eq!(alive + 1, sessions, "whatever was restored works");
            if before == after || after == 1 {
                assert_eq!(alive, mapped.len(), "{before} to {after}");
            }
            // Others get other ports, whoever leases them.
            let mut taken = HashMap::new();
            for host in &hosts {
                for sport in (6000..6004).chain((7000..7120).step_by(5)) {
                    let external = bench.leave(host, sport, far(53));
                    assert_eq!(taken.insert(external, host.at(sport)), None, "{external} twice");
                }
            }
            bench.assert_balanced();
        }
    }
}

#[test]
fn what_several_workers_know_is_left_out_once() {
    let (old, ..) = busy(3, NatMode::default());
    let snapshot = old.crew.snapshot(old.now).unwrap();
    let (mut bench, _) = quiet(2, NatMode::default());
    let first = bench.crew.restore(old.now, &snapshot).unwrap();
    let again = bench.crew.restore(old.now, &snapshot).unwrap();
    // Stations and neighbours were known before the first; the second finds the sessions, too.
    assert_eq!(again.sessions, 0);
    assert_eq!(again.left_out, first.left_out + first.sessions);
}
