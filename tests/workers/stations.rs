//! Stations and neighbours are known to all workers, and asked for by one.

use std::collections::HashSet;
use std::time::Duration;

use super::bench::*;
use super::support::*;

#[test]
fn stations_are_known_to_all_workers_and_moves_are_followed() {
    everywhere(|mut bench| {
        let hosts: Vec<LabPort> = (0..5).map(|_| bench.host()).collect();
        for n in 0..40u8 {
            let (from, to) = (&hosts[usize::from(n) % 5], &hosts[usize::from(n + 1) % 5]);
            let frame = build::udp(from.to(to), from.at(1), to.at(2), &[n; 20]);
            assert_eq!(only(&bench.send(from, &frame), to), frame);
        }
        // Host 0 moves behind another port, and tells so by one frame.
        let moved = LabPort { port: hosts[4].port, ..hosts[0] };
        let hello = build::udp(moved.to(&hosts[1]), moved.at(1), hosts[1].at(2), b"hello");
        only(&bench.send(&moved, &hello), &hosts[1]);
        for n in 0..20 {
            let frame =
                build::udp(hosts[1].to(&hosts[0]), hosts[1].at(1), hosts[0].at(2), &[n; 20]);
            assert_eq!(only(&bench.send(&hosts[1], &frame), &moved), frame);
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn a_silent_station_ages_at_all_workers_however_often_they_ask_each_other() {
    for workers in [2, 3] {
        let mut bench = bench(workers, 0, |_| {});
        let (station, other) = (bench.host(), bench.host());
        // Heard again by one of them after a while: the others do not hear of that unasked.
        bench.now = bench.now + Duration::from_secs(200);
        bench.send(&station, &build::udp(station.to(&other), station.at(1), other.at(2), b"here"));
        let heard = bench.now;
        let is_known =
            |bench: &Bench| bench.crew.fdb_rows(bench.now).iter().any(|row| row.mac == station.mac);
        for n in 0..80u32 {
            bench.now = bench.now + Duration::from_secs(5);
            bench.crew.handle_timeout(bench.now);
            // Each its own way to a worker.
            let payload = n.to_be_bytes();
            let frame = build::udp(other.to(&station), other.at(1), station.at(2), &payload);
            bench.send(&other, &frame);
            let age = bench.now.since(heard);
            assert_eq!(is_known(&bench), age < Duration::from_secs(300), "{age:?}");
        }
    }
}

#[test]
fn a_neighbour_is_asked_for_once_per_second_however_many_workers_want_it() {
    everywhere(|mut bench| {
        let hosts: Vec<LabPort> = (0..12).map(|_| bench.host()).collect();
        let silent = std::net::Ipv4Addr::new(172, 17, 99, 99);
        let mut requests = 0;
        let mut count = |out: Vec<(PortId, Vec<u8>)>| {
            let targets: HashSet<_> = Lab::arp_targets(&out).into_iter().collect();
            requests += usize::from(targets.contains(&silent));
        };
        bench.publish(17, 99, Endpoint::new(silent, 99));
        for host in &hosts {
            let frame = build::udp(host.to_gateway(), host.at(9), ext(99), b"anybody?");
            count(bench.send(host, &frame));
        }
        for _ in 0..20 {
            count(bench.advance(Duration::from_millis(100)));
        }
        assert!((2..=3).contains(&requests), "{requests}");
        // It answers after all, to whichever worker.
        let late = LabPort { ip: silent, mac: MacAddr::from_ipv4(silent), ..hosts[11] };
        let reply = build::arp_reply(late.mac, late.ip, (late.gateway, Lab::GATEWAY));
        let mut out = bench.send(&late, &reply);
        out.extend(bench.advance(Duration::from_millis(10)));
        let released = out.iter().filter(|(port, _)| *port == late.port).count();
        assert_eq!(released, 12);
        bench.advance(Duration::from_secs(5));
        bench.assert_balanced();
        assert_eq!(bench.crew.totals().waiting, 0);
    });
}

#[test]
fn a_scan_by_one_host_leaves_the_others_neighbours_to_be_found() {
    everywhere(|mut bench| {
        let (scanner, other) = (bench.host(), bench.host());
        // More than one port may have unresolved.
        for number in 0..600u16 {
            let [high, low] = (0x6400 + number).to_be_bytes();
            let silent = Endpoint::new(std::net::Ipv4Addr::new(172, 17, high, low), 9);
            let frame = build::udp(scanner.to_gateway(), scanner.at(9), silent, b"anybody?");
            bench.send(&scanner, &frame);
        }
        // Whichever worker's they are.
        for last in 1..=20 {
            let wanted = std::net::Ipv4Addr::new(172, 17, 98, last);
            let to = Endpoint::new(wanted, 9);
            let frame = build::udp(other.to_gateway(), other.at(9), to, b"you?");
            let out = bench.send(&other, &frame);
            assert!(Lab::arp_targets(&out).contains(&wanted), "{wanted} {:?}", bench.drops());
        }
    });
}

#[test]
fn silence_of_a_neighbour_is_reported_to_all_who_wait() {
    everywhere(|mut bench| {
        let silent = std::net::Ipv4Addr::new(172, 17, 99, 99);
        bench.publish(17, 99, Endpoint::new(silent, 99));
        let hosts: Vec<LabPort> = (0..6).map(|_| bench.host()).collect();
        for host in &hosts {
            bench.send(host, &build::udp(host.to_gateway(), host.at(9), ext(99), b"anybody?"));
        }
        let out = bench.advance(Duration::from_secs(6));
        for host in &hosts {
            let told = Lab::to(&out, host).iter().filter(|frame| frame.get(23) == Some(&1)).count();
            assert_eq!(told, 1);
        }
        bench.assert_balanced();
    });
}
