//! Several engines that carry one switch: whichever worker a frame comes in by, the same must
//! happen to it.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use support::*;
use tapway::engine::NetworkSpec;
use tapway::id::WorkerId;
use tapway::nat::Publish;
use tapway::packet::tcp::{ACK, SYN};
use tapway::packet::{Offload, TxLists};
use tapway::testkit::{Crew, build};
use tapway::time::Instant;

const WORKERS: [usize; 4] = [1, 2, 3, 16];
const ROUTER: PortId = PortId(0);

/// The tutorial's host with several workers; frames come in by whichever a hash names.
struct Bench {
    crew: Crew,
    now: Instant,
    salt: u64,
    hosts: u16,
}

fn bench(workers: usize, salt: u64, change: impl FnOnce(&mut NetworkSpec)) -> Bench {
    let now = Instant::from_secs(1000);
    let crew = Crew::new(workers, EngineConfig::with_sessions(4096), 0x5eed, now);
    let mut bench = Bench { crew, now, salt, hosts: 0 };
    let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
    uplink.is_outside = true;
    let mut bridge = Lab::network_spec("bridge", Lab::GATEWAY, 16);
    change(&mut bridge);
    bench.must(Command::AddNetwork(UPLINK, uplink));
    bench.must(Command::AddNetwork(BRIDGE, bridge));
    bench.must(Command::AddRoute("0.0.0.0/0".parse().unwrap(), Lab::ROUTER));
    bench.must(Command::AddPort(ROUTER, PortSpec { network: UPLINK, ..port_spec("router") }));
    let router = router();
    bench.send(&router, &build::arp_request(router.mac, router.ip, Lab::EXTERNAL));
    bench
}

/// Each number of workers, and several ways in which frames come in by them.
fn everywhere(scenario: impl Fn(Bench)) {
    everywhere_with(NatMode::default(), scenario);
}

fn everywhere_with(mode: NatMode, scenario: impl Fn(Bench)) {
    for workers in WORKERS {
        for salt in 0..6 {
            let policy = NatPolicy::uniform(mode);
            scenario(bench(workers, salt, |bridge| bridge.nat = policy));
        }
    }
}

fn router() -> LabPort {
    LabPort {
        port: ROUTER,
        mac: MacAddr::from_ipv4(Lab::ROUTER),
        ip: Lab::ROUTER,
        gateway: MacAddr::from_ipv4(Lab::EXTERNAL),
    }
}

impl Bench {
    fn must(&mut self, command: Command) {
        self.crew.apply(self.now, &command).unwrap();
        self.crew.handle_timeout(self.now);
    }

    /// A host on `bridge` that has asked for its gateway.
    fn host(&mut self) -> LabPort {
        self.hosts += 1;
        let [high, low] = (self.hosts + 1).to_be_bytes();
        let ip = std::net::Ipv4Addr::new(172, 17, high, low);
        let port = PortId(self.hosts);
        self.must(Command::AddPort(port, port_spec(&format!("host{}", self.hosts))));
        let host = LabPort {
            port,
            mac: MacAddr::from_ipv4(ip),
            ip,
            gateway: MacAddr::from_ipv4(Lab::GATEWAY),
        };
        self.send(&host, &build::arp_request(host.mac, host.ip, Lab::GATEWAY));
        host
    }

    fn publish(&mut self, protocol: u8, port: u16, target: Endpoint) {
        let publish = Publish { protocol, address: None, port, count: 1, network: BRIDGE, target };
        self.must(Command::Publish(publish));
    }

    fn send(&mut self, from: &LabPort, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let mut hasher = foldhash::fast::FixedState::with_seed(self.salt).build_hasher();
        hasher.write(frame);
        let worker = WorkerId((hasher.finish() % self.crew.len() as u64) as u8);
        let out =
            self.crew.receive(self.now, worker, &[(from.port, frame.to_vec(), Offload::NONE)]);
        self.now = self.now + Duration::from_millis(1);
        out
    }

    fn advance(&mut self, by: Duration) -> Vec<(PortId, Vec<u8>)> {
        let out = self.crew.advance(self.now, by);
        self.now = self.now + by;
        out
    }

    /// A datagram of an inside host outside; gives back the endpoint it is seen by there.
    fn leave(&mut self, host: &LabPort, sport: u16, to: Endpoint) -> Endpoint {
        let frame = build::udp(host.to_gateway(), host.at(sport), to, b"out");
        only_udp(&self.send(host, &frame), &router()).src
    }

    fn assert_balanced(&self) {
        let totals = self.crew.totals();
        let outcomes = totals.forwarded + totals.flooded + totals.local + totals.dropped;
        assert_eq!(totals.received, outcomes + totals.waiting, "{totals:?}");
        assert_eq!(totals.handed_over, totals.taken_over);
    }

    fn drops(&self) -> Vec<(String, u64)> {
        self.crew.drop_rows().into_iter().map(|row| (row.reason, row.frames)).collect()
    }
}

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
fn published_port_is_reached_from_outside_by_hairpin_and_by_its_own_host() {
    everywhere(|mut bench| {
        let (router, server, client) = (router(), bench.host(), bench.host());
        bench.publish(17, 53, server.at(5353));
        let query = build::udp(router.to_gateway(), far(9), ext(53), b"query");
        assert_eq!(only_udp(&bench.send(&router, &query), &server).src, far(9));
        let answer = build::udp(server.to_gateway(), server.at(5353), far(9), b"answer");
        assert_eq!(only_udp(&bench.send(&server, &answer), &router).src, ext(53));

        let query = build::udp(client.to_gateway(), client.at(9), ext(53), b"query");
        let seen = only_udp(&bench.send(&client, &query), &server);
        assert_eq!((seen.src, seen.dst), (client.at(9), server.at(5353)));
        // Straight to its neighbour's MAC, as on one link.
        let answer = build::udp(server.to(&client), server.at(5353), client.at(9), b"answer");
        assert_eq!(only_udp(&bench.send(&server, &answer), &client).src, ext(53));

        let query = build::udp(server.to_gateway(), server.at(9), ext(53), b"query");
        let seen = only_udp(&bench.send(&server, &query), &server);
        assert_eq!(seen.src.ip, Lab::GATEWAY);
        let answer = build::udp(server.to_gateway(), server.at(5353), seen.src, b"answer");
        assert_eq!(only_udp(&bench.send(&server, &answer), &server).src, ext(53));
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn hairpin_to_a_dynamic_mapping_shows_the_external_source_to_either_side() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        // Enough hosts that some pairs have one owner, and others two.
        let hosts: Vec<LabPort> = (0..6).map(|_| bench.host()).collect();
        let mapped: Vec<Endpoint> =
            hosts.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for (a, from) in hosts.iter().enumerate() {
            for (b, to) in hosts.iter().enumerate().filter(|(b, _)| *b != a) {
                let frame = build::udp(from.to_gateway(), from.at(6000), mapped[b], b"hairpin");
                let seen = only_udp(&bench.send(from, &frame), to);
                assert_eq!((seen.src, seen.dst), (mapped[a], to.at(6000)));
                let back = build::udp(to.to_gateway(), to.at(6000), seen.src, b"back");
                let seen = only_udp(&bench.send(to, &back), from);
                assert_eq!((seen.src, seen.dst), (mapped[b], from.at(6000)));
            }
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn both_sides_of_a_hole_punched_through_two_translations_hear_each_other() {
    everywhere(|mut bench| {
        let (a, b) = (bench.host(), bench.host());
        let (at_a, at_b) = (bench.leave(&a, 6000, far(53)), bench.leave(&b, 6001, far(53)));
        // Neither filter admits the other yet; both have sent after this.
        bench.send(&a, &build::udp(a.to_gateway(), a.at(6000), at_b, b"1"));
        bench.send(&b, &build::udp(b.to_gateway(), b.at(6001), at_a, b"2"));
        let out = bench.send(&a, &build::udp(a.to_gateway(), a.at(6000), at_b, b"3"));
        assert_eq!(only_udp(&out, &b).src, at_a);
        let out = bench.send(&b, &build::udp(b.to_gateway(), b.at(6001), at_a, b"4"));
        assert_eq!(only_udp(&out, &a).src, at_b);
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

/// One thread plays N workers: how evenly the work falls on them, and how much is handed over if
/// the kernel's choice of a queue knows nothing of owners.
#[test]
fn work_spreads_over_up_to_sixteen_workers() {
    const HOSTS: usize = 256;
    eprintln!("workers  frames/worker min..max  skew  handed over");
    for workers in [1, 2, 4, 8, 16] {
        let mut bench = bench(workers, 7, |_| {});
        let hosts: Vec<LabPort> = (0..HOSTS).map(|_| bench.host()).collect();
        let mut mapped = HashMap::new();
        for (index, host) in hosts.iter().enumerate() {
            mapped.insert(index, bench.leave(host, 5000, far(53)));
        }
        let before = bench.crew.work();
        for round in 0..8 {
            for (index, host) in hosts.iter().enumerate() {
                bench.leave(host, 5000, far(60 + round));
                let answer = build::udp(router().to_gateway(), far(53), mapped[&index], b"in");
                only_udp(&bench.send(&router(), &answer), host);
            }
        }
        let work: Vec<(u64, u64)> = bench
            .crew
            .work()
            .iter()
            .zip(before)
            .map(|(now, then)| (now.frames - then.frames, now.handed_over - then.handed_over))
            .collect();
        let sent = (HOSTS * 8 * 2) as u64;
        let handed: u64 = work.iter().map(|(_, handed)| handed).sum();
        let frames = work.iter().map(|(frames, _)| *frames);
        let (least, most) = (frames.clone().min().unwrap(), frames.clone().max().unwrap());
        // Each handed frame costs both; what an engine did for its own hosts is the rest.
        assert_eq!(frames.sum::<u64>(), sent + handed);
        let mean = (sent + handed) as f64 / workers as f64;
        let skew = most as f64 / mean;
        let share = handed as f64 / sent as f64;
        eprintln!("{workers:>7}  {least:>13}..{most:<7}  {skew:>4.2}  {:>4.0} %", share * 100.0);
        assert!(skew < 1.6, "{work:?}");
        assert!(share <= 1.0 - 1.0 / workers as f64 + 0.1, "{share}");
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    }
}

#[test]
fn a_full_queue_between_workers_is_a_named_loss() {
    use tapway::crew::Relay;
    use tapway::engine::{Engine, Share};
    use tapway::packet::{Burst, HandOver, Origin};
    let now = Instant::from_secs(1000);
    let config = EngineConfig::with_sessions(16);
    let share = Share::of(2).remove(0);
    let mut engine = Engine::with_share(config, 1, now, share);
    let mut spec = Lab::network_spec("bridge", Lab::GATEWAY, 16);
    spec.is_outside = false;
    engine.apply(now, Command::AddNetwork(BRIDGE, spec)).unwrap();
    engine.apply(now, Command::AddPort(ROUTER, port_spec("p"))).unwrap();
    let mut relays = Relay::between(2);
    let relay = &mut relays[0];
    let (mut burst, mut tx) = (Burst::new(), TxLists::new());
    for _ in 0..100 {
        burst.clear();
        tx.clear();
        for _ in 0..64 {
            burst.push(ROUTER, &[0; 60]).unwrap();
        }
        for frame in 0..64 {
            let frame = tapway::packet::FrameRef::Burst(frame);
            tx.hand_over(HandOver { to: WorkerId(1), frame, port: ROUTER, origin: Origin::Owned });
        }
        relay.dispatch(&mut engine, (&tx, &burst), |_| {});
    }
    let lost: u64 = engine.drop_rows().iter().map(|row| row.frames).sum();
    assert_eq!(lost, 36 * 64, "{:?}", engine.drop_rows());
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
fn peer_of_a_published_port_answers_by_its_mapping() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let (server, peer) = (bench.host(), bench.host());
        bench.publish(17, 53, server.at(5353));
        let mapped = bench.leave(&peer, 6000, far(53));
        let hello = build::udp(server.to_gateway(), server.at(5353), mapped, b"hello");
        let seen = only_udp(&bench.send(&server, &hello), &peer);
        assert_eq!((seen.src, seen.dst), (ext(53), peer.at(6000)));
        let answer = build::udp(peer.to_gateway(), peer.at(6000), ext(53), b"answer");
        let seen = only_udp(&bench.send(&peer, &answer), &server);
        assert_eq!((seen.src, seen.dst), (mapped, server.at(5353)), "{} workers", bench.crew.len());
    });
}

#[test]
fn fragments_of_a_hairpin_to_a_dynamic_mapping_arrive() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let hosts: Vec<LabPort> = (0..4).map(|_| bench.host()).collect();
        let mapped: Vec<Endpoint> =
            hosts.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for (a, from) in hosts.iter().enumerate() {
            for (b, to) in hosts.iter().enumerate().filter(|(b, _)| *b != a) {
                let frame = udp_df_clear(from.to_gateway(), from.at(6000), mapped[b], &[7; 3000]);
                for order in [[0, 1, 2], [2, 1, 0]] {
                    let id = (a * 100 + b * 10 + order[0]) as u16;
                    let pieces = build::fragments(&frame, id, 1400);
                    let mut out = Vec::new();
                    for piece in order {
                        out.extend(bench.send(from, &pieces[piece]));
                    }
                    assert_eq!(out.len(), 3, "{} workers, {order:?}", bench.crew.len());
                    let ids: HashSet<u16> = out.iter().map(|(_, frame)| read(frame).id).collect();
                    assert_eq!(ids.len(), 1);
                    for (port, frame) in &out {
                        assert_eq!(*port, to.port);
                        assert_eq!(read(frame).src.ip, mapped[a].ip);
                        assert_eq!(read(frame).dst.ip, to.ip);
                    }
                }
            }
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn an_error_about_a_hairpin_reaches_its_sender() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let hosts: Vec<LabPort> = (0..4).map(|_| bench.host()).collect();
        let mapped: Vec<Endpoint> =
            hosts.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for from in &hosts {
            for (b, to) in hosts.iter().enumerate().filter(|(_, to)| to.ip != from.ip) {
                let frame = build::udp(from.to_gateway(), from.at(6000), mapped[b], b"hairpin");
                let sent = only(&bench.send(from, &frame), to);
                let error =
                    icmp_error(to.to_gateway(), (to.ip, Lab::EXTERNAL), (3, 3), &sent[14..]);
                let seen = only_icmp(&bench.send(to, &error), from);
                assert_eq!(seen.payload[8 + 12..8 + 16], from.ip.octets());
            }
        }
        bench.assert_balanced();
        assert_eq!(bench.drops(), []);
    });
}

#[test]
fn a_host_that_reaches_itself_from_another_hosts_port_is_answered() {
    everywhere(|mut bench| {
        let hosts: Vec<LabPort> = (0..6).map(|_| bench.host()).collect();
        let server = &hosts[0];
        bench.publish(17, 53, server.at(5353));
        for (at, host) in hosts.iter().enumerate().skip(1) {
            bench.publish(17, 100 + at as u16, host.at(1));
        }
        for at in 1..6 {
            let query = build::udp(server.to_gateway(), server.at(100 + at), ext(53), b"query");
            let seen = only_udp(&bench.send(server, &query), server);
            let answer = build::udp(server.to_gateway(), server.at(5353), seen.src, b"answer");
            let seen = only_udp(&bench.send(server, &answer), server);
            assert_eq!((seen.src, seen.dst), (ext(53), server.at(100 + at)));
        }
    });
}

#[test]
fn hairpin_from_inside_keeps_the_mapping_it_goes_to() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let hosts: Vec<LabPort> = (0..4).map(|_| bench.host()).collect();
        let mapped: Vec<Endpoint> =
            hosts.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for _ in 0..5 {
            for (b, to) in hosts.iter().enumerate().skip(1) {
                let frame = build::udp(hosts[0].to_gateway(), hosts[0].at(6000), mapped[b], b"on");
                let answer = build::arp_reply(to.mac, to.ip, (to.gateway, Lab::GATEWAY));
                let mut out = bench.send(&hosts[0], &frame);
                out.extend(bench.send(to, &answer));
                let is_its =
                    |(port, frame): &(PortId, Vec<u8>)| *port == to.port && frame.ends_with(b"on");
                assert!(out.iter().any(is_its), "{} workers", bench.crew.len());
            }
            bench.advance(Duration::from_secs(100));
        }
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
