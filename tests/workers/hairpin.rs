//! From inside to inside by an external address, between hosts of one owner and of two.

use std::collections::HashSet;
use std::time::Duration;

use tapway::packet::tcp::SYN;

use super::bench::*;
use super::support::*;

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

/// An ICMP error that tapway sent a host about a packet of its own: its type and code, and that
/// it quotes the packet as it was sent.
fn error_about(out: &[(PortId, Vec<u8>)], host: &LabPort, sent: &[u8]) -> [u8; 2] {
    let frame = only(out, host);
    let seen = only_icmp(out, host);
    assert_eq!((seen.src_mac, seen.dst_mac), (host.gateway, host.mac));
    assert_eq!((seen.src.ip, seen.dst.ip, seen.ttl), (Lab::GATEWAY, host.ip, 64));
    let quoted = &seen.payload[8..];
    assert!(sent[14..].starts_with(quoted) && quoted.len() >= 28, "{frame:x?} about {sent:x?}");
    [seen.payload[0], seen.payload[1]]
}

#[test]
fn a_hairpin_takes_one_off_the_ttl_and_so_does_an_error_about_it() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let hosts: Vec<LabPort> = (0..4).map(|_| bench.host()).collect();
        let mapped: Vec<Endpoint> =
            hosts.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for from in &hosts {
            for (b, to) in hosts.iter().enumerate().filter(|(_, to)| to.ip != from.ip) {
                let frame = build::udp(from.to_gateway(), from.at(6000), mapped[b], b"hairpin");
                let sent = only(&bench.send(from, &frame), to);
                assert_eq!((read(&frame).ttl, read(&sent).ttl), (64, 63));
                let error =
                    icmp_error(to.to_gateway(), (to.ip, Lab::EXTERNAL), (3, 3), &sent[14..]);
                assert_eq!(only_icmp(&bench.send(to, &error), from).ttl, 63);
            }
        }
        bench.assert_balanced();
    });
}

#[test]
fn what_ends_a_hairpin_is_told_its_sender_in_his_own_words() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let narrow: Vec<LabPort> = (0..4).map(|_| bench.host_with_mtu(1000)).collect();
        let from = bench.host();
        let mapped: Vec<Endpoint> =
            narrow.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for to in &mapped {
            let last = Hop { ttl: 1, ..from.to_gateway() };
            let frame = build::udp(last, from.at(6000), *to, b"near its end");
            assert_eq!(error_about(&bench.send(&from, &frame), &from, &frame), [11, 0]);
            let frame = build::udp(from.to_gateway(), from.at(6000), *to, &[7; 1200]);
            assert_eq!(error_about(&bench.send(&from, &frame), &from, &frame), [3, 4]);
            let frame = build::udp(from.to_gateway(), from.at(6000), *to, b"fits");
            assert_eq!(bench.send(&from, &frame).len(), 1);
        }
        // Nobody answers to the probes that followed.
        bench.advance(Duration::from_secs(20));
        for to in &mapped {
            let frame = build::udp(from.to_gateway(), from.at(6000), *to, b"anybody?");
            let mut out = bench.send(&from, &frame);
            out.extend(bench.advance(Duration::from_secs(5)));
            // All hear the requests that ask for it.
            let is_told =
                |(port, frame): &(PortId, Vec<u8>)| *port == from.port && frame[12..14] == [8, 0];
            let told: Vec<_> = out.into_iter().filter(is_told).collect();
            assert_eq!(error_about(&told, &from, &frame), [3, 1]);
        }
        bench.assert_balanced();
    });
}

#[test]
fn a_port_that_nobody_has_is_refused_whoever_has_leased_its_chunk() {
    everywhere_with(NatMode::EimEif, |mut bench| {
        let router = router();
        let hosts: Vec<LabPort> = (0..6).map(|_| bench.host()).collect();
        // A chunk for every worker, if its hosts are among these.
        let mapped: Vec<Endpoint> =
            hosts.iter().map(|host| bench.leave(host, 6000, far(53))).collect();
        for at in mapped {
            let closed = Endpoint::new(at.ip, at.port ^ 1);
            let frame = build::udp(hosts[0].to_gateway(), hosts[0].at(7000), closed, b"hello?");
            assert_eq!(error_about_at(&bench.send(&hosts[0], &frame), &hosts[0], closed), [3, 3]);
            let frame = build::tcp(hosts[0].to_gateway(), hosts[0].at(7000), closed, SYN, b"");
            let reset = only_tcp(&bench.send(&hosts[0], &frame), &hosts[0]);
            assert_eq!((reset.src, reset.dst), (closed, hosts[0].at(7000)));
            let pieces = build::fragments(
                &udp_df_clear(hosts[0].to_gateway(), hosts[0].at(7000), closed, &[7; 2000]),
                closed.port,
                1400,
            );
            let mut out = bench.send(&hosts[0], &pieces[1]);
            out.extend(bench.send(&hosts[0], &pieces[0]));
            assert_eq!(error_about_at(&out, &hosts[0], closed), [3, 3]);
            // A stranger outside hears nothing, for a reason that has one name.
            let frame = build::udp(router.to_gateway(), far(9), closed, b"hello?");
            assert_eq!(bench.send(&router, &frame), []);
        }
        let rows = bench.drops();
        let count = |name: &str| {
            rows.iter().filter(|(reason, _)| reason == name).map(|(_, count)| count).sum::<u64>()
        };
        assert_eq!((count("local_port_closed"), count("no_session")), (18, 6), "{rows:?}");
        bench.assert_balanced();
    });
}

/// The same for an error from the address that was asked.
fn error_about_at(out: &[(PortId, Vec<u8>)], host: &LabPort, asked: Endpoint) -> [u8; 2] {
    let seen = only_icmp(out, host);
    assert_eq!((seen.src_mac, seen.dst_mac), (host.gateway, host.mac));
    assert_eq!((seen.src.ip, seen.dst.ip, seen.ttl), (asked.ip, host.ip, 64));
    let quoted = &seen.payload[8..];
    assert_eq!(quoted[12..20], [host.ip.octets(), asked.ip.octets()].concat()[..]);
    assert_eq!(quoted[20..22], 7000u16.to_be_bytes());
    [seen.payload[0], seen.payload[1]]
}
