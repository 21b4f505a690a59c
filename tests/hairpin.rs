//! Traffic between inside hosts by tapway's external address (RFC 4787 REQ-9, RFC 5382 REQ-8).
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::Arp;
use tapway::packet::tcp::{ACK, SYN};

/// A datagram between two inside endpoints by way of tapway; what arrives at `to`.
fn reach(lab: &mut Lab, from: (&LabPort, u16), dst: Endpoint, to: &LabPort) -> Option<Seen> {
    let datagram = build::udp(from.0.to_gateway(), from.0.at(from.1), dst, b"hairpin");
    let out = lab.send(from.0, &datagram);
    (!out.is_empty()).then(|| only_udp(&out, to))
}

#[test]
fn a_host_of_another_network_reaches_a_published_port() {
    twice(|| {
        let mut lab = Lab::new();
        add_other_network(&mut lab);
        let (_, server) = (lab.router(), lab.known_inside(2));
        let client = known_other(&mut lab, 2);
        lab.publish(6, 80, server.at(80));
        for own in [Lab::EXTERNAL, OTHER_GATEWAY, Lab::GATEWAY] {
            let to = Endpoint::new(own, 80);
            let sport = 4000 + u16::from(own.octets()[3]) + u16::from(own.octets()[0]);
            let syn = build::tcp(client.to_gateway(), client.at(sport), to, SYN, b"");
            let seen = only_tcp(&lab.send(&client, &syn), &server);
            assert_eq!((seen.src, seen.dst), (client.at(sport), server.at(80)));
            let answer =
                build::tcp(server.to_gateway(), server.at(80), client.at(sport), SYN | ACK, b"");
            assert_eq!(only_tcp(&lab.send(&server, &answer), &client).src, to);
        }
        // The server may not start anything towards the other network.
        let syn = build::tcp(server.to_gateway(), server.at(80), client.at(9), SYN, b"");
        assert!(lab.send(&server, &syn).is_empty());
        assert_eq!(lab.dropped(DropReason::NetworkIsolated), 1);
        lab
    });
}

#[test]
fn other_traffic_of_a_publishing_host_stays_in_layer_two() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let (server, client) = (lab.known_inside(2), lab.known_inside(3));
        lab.publish(6, 80, server.at(80));
        let direct = build::tcp(server.to(&client), server.at(80), client.at(9), ACK, b"direct");
        assert_eq!(lab.send(&server, &direct), [(client.port, direct.clone())]);
        // Also when the router has forwarded the very same flow before.
        let routed = build::tcp(server.to_gateway(), server.at(80), client.at(9), ACK, b"routed");
        assert_eq!(only_tcp(&lab.send(&server, &routed), &client).ttl, 63);
        assert_eq!(only_tcp(&lab.send(&server, &routed), &client).ttl, 63);
        assert_eq!(lab.send(&server, &direct), [(client.port, direct.clone())]);
        lab
    });
}

#[test]
fn after_its_session_a_hairpin_answer_is_plain_layer_two_again() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let (server, client) = (lab.known_inside(2), lab.known_inside(3));
        let entry = lab.publish(17, 53, server.at(53));
        let second = lab.publish(17, 54, server.at(54));
        let seen = reach(&mut lab, (&client, 4000), ext(53), &server).unwrap();
        assert_eq!(seen.src, client.at(4000));
        let answer = build::udp(server.to(&client), server.at(53), client.at(4000), b"");
        for _ in 0..2 {
            assert_eq!(only_udp(&lab.send(&server, &answer), &client).src, ext(53));
        }
        lab.must(Command::Unpublish(entry));
        assert_eq!(lab.send(&server, &answer), [(client.port, answer.clone())]);
        lab.must(Command::Unpublish(second));
        assert_eq!(lab.send(&server, &answer), [(client.port, answer.clone())]);
        lab
    });
}

#[test]
fn a_guarded_server_answers_by_layer_two_and_its_guard_still_holds() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let (server, client) = (guarded(&mut lab, 2), guarded(&mut lab, 3));
        lab.publish(17, 53, server.at(53));
        reach(&mut lab, (&client, 4000), ext(53), &server).unwrap();
        let answer = build::udp(server.to(&client), server.at(53), client.at(4000), b"");
        assert_eq!(only_udp(&lab.send(&server, &answer), &client).src, ext(53));
        // Another host cannot answer in its place.
        let forged = build::udp(client.to(&server), server.at(53), client.at(4000), b"");
        assert!(lab.send(&client, &forged).is_empty());
        assert_eq!(lab.dropped(DropReason::GuardIp), 1);
        lab
    });
}

#[test]
fn icmp_errors_about_a_hairpin_are_translated_by_either_mac() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let (server, client) = (lab.known_inside(2), lab.known_inside(3));
        lab.publish(17, 53, server.at(53));
        let query = build::udp(client.to_gateway(), client.at(4000), ext(53), b"12345678");
        let got = only(&lab.send(&client, &query), &server);
        for hop in [server.to(&client), server.to_gateway()] {
            let error = icmp_error(hop, (server.ip, client.ip), (3, 3), &got[14..]);
            let seen = only_icmp(&lab.send(&server, &error), &client);
            assert_eq!((seen.src.ip, seen.dst.ip), (Lab::EXTERNAL, client.ip));
            let quote = read(&[&got[..14], &seen.payload[8..]].concat());
            assert_eq!((quote.src, quote.dst), (client.at(4000), ext(53)));
        }
        lab
    });
}

#[test]
fn dynamic_mappings_hairpin_with_the_senders_external_endpoint() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::EimEif);
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let mapped_b = leave(&mut lab, (&b, &router), 6000, far(1));
        let seen = reach(&mut lab, (&a, 5000), mapped_b, &b).unwrap();
        assert_eq!((seen.src, seen.dst, seen.ttl), (ext(5000), b.at(6000), 63));
        let seen = reach(&mut lab, (&b, 6000), ext(5000), &a).unwrap();
        assert_eq!((seen.src, seen.dst), (mapped_b, a.at(5000)));
        // The mapping made for the hairpin is the one the outside sees.
        assert_eq!(leave(&mut lab, (&a, &router), 5000, far(1)), ext(5000));
        // To itself.
        let seen = reach(&mut lab, (&a, 5001), ext(5000), &a).unwrap();
        assert_eq!((seen.src, seen.dst), (ext(5001), a.at(5000)));
        lab
    });
}

#[test]
fn two_inside_hosts_punch_holes_to_each_other() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        add_other_network(&mut lab);
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), known_other(&mut lab, 2));
        let mapped_a = leave(&mut lab, (&a, &router), 5000, far(1));
        let mapped_b = leave(&mut lab, (&b, &router), 5000, far(1));
        // The first does not pass, and opens the way for the other.
        assert_eq!(reach(&mut lab, (&a, 5000), mapped_b, &b), None);
        assert_eq!(reach(&mut lab, (&a, 5000), mapped_b, &b), None);
        assert_eq!(lab.dropped(DropReason::Filtered), 2);
        let seen = reach(&mut lab, (&b, 5000), mapped_a, &a).unwrap();
        assert_eq!((seen.src, seen.dst), (mapped_b, a.at(5000)));
        let seen = reach(&mut lab, (&a, 5000), mapped_b, &b).unwrap();
        assert_eq!((seen.src, seen.dst), (mapped_a, b.at(5000)));
        // A third host was not invited.
        let c = lab.known_inside(4);
        assert_eq!(reach(&mut lab, (&c, 5000), mapped_a, &a), None);
        lab
    });
}

#[test]
fn address_dependent_filters_admit_a_hairpin_after_one_packet_to_the_address() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::EimAdf);
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let mapped_b = leave(&mut lab, (&b, &router), 6000, far(1));
        assert_eq!(reach(&mut lab, (&a, 5000), mapped_b, &b), None);
        leave(&mut lab, (&a, &router), 5000, far(1));
        assert!(reach(&mut lab, (&b, 6000), ext(5000), &a).is_some());
        assert!(reach(&mut lab, (&a, 5000), mapped_b, &b).is_some());
        lab
    });
}

#[test]
fn hosts_with_static_addresses_hairpin_by_them() {
    twice(|| {
        let mut lab = Lab::new();
        let own = Ipv4Addr::new(192, 168, 33, 20);
        set_uplink(&mut lab, &[], &[([172, 17, 0, 2], own.octets())]);
        let router = lab.router();
        let (server, client) = (lab.known_inside(2), lab.known_inside(3));
        let seen = reach(&mut lab, (&client, 4000), Endpoint::new(own, 53), &server).unwrap();
        assert_eq!((seen.src, seen.dst), (client.at(4000), server.at(53)));
        for hop in [server.to(&client), server.to_gateway()] {
            let answer = build::udp(hop, server.at(53), client.at(4000), b"");
            assert_eq!(only_udp(&lab.send(&server, &answer), &client).src, Endpoint::new(own, 53));
        }
        // To itself, and to a neighbour's published port and mapping.
        let seen = reach(&mut lab, (&server, 4000), Endpoint::new(own, 53), &server).unwrap();
        assert_eq!(seen.src, Endpoint::new(Lab::GATEWAY, 4000));
        lab.publish(17, 7, client.at(7));
        let seen = reach(&mut lab, (&server, 4001), ext(7), &client).unwrap();
        assert_eq!(seen.src, server.at(4001));
        let mapped = leave(&mut lab, (&client, &router), 6000, Endpoint::new(FAR, 1));
        assert_eq!(reach(&mut lab, (&server, 4002), mapped, &client), None);
        // Another worker does not know what the filter of the client's has refused.
        lab.alone();
        let seen = reach(&mut lab, (&client, 6000), Endpoint::new(own, 4002), &server).unwrap();
        assert_eq!((seen.src, seen.dst), (mapped, server.at(4002)));
        let seen = reach(&mut lab, (&server, 4002), mapped, &client).unwrap();
        assert_eq!((seen.src, seen.dst), (Endpoint::new(own, 4002), client.at(6000)));
        lab
    });
}

#[test]
fn two_clients_of_the_gateways_address_do_not_meet() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let server = lab.known_inside(2);
        lab.publish(17, 53, server.at(53));
        // From itself by two of tapway's addresses with one source port: one source address.
        let first = reach(&mut lab, (&server, 4000), ext(53), &server).unwrap();
        let to = Endpoint::new(Lab::GATEWAY, 53);
        let second = reach(&mut lab, (&server, 4000), to, &server).unwrap();
        assert_eq!(first.src, Endpoint::new(Lab::GATEWAY, 4000));
        assert_eq!(second.src.ip, Lab::GATEWAY);
        assert_ne!(first.src, second.src);
        for (client, own) in [(first.src, ext(53)), (second.src, to)] {
            let seen = reach(&mut lab, (&server, 53), client, &server).unwrap();
            assert_eq!((seen.src, seen.dst), (own, server.at(4000)));
        }
        lab
    });
}

#[test]
fn fragmented_datagrams_hairpin_both_ways() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let (server, client) = (lab.known_inside(2), lab.known_inside(3));
        lab.publish(17, 53, server.at(53));
        let data: Vec<u8> = (0..3000).map(|n| (n % 251) as u8).collect();
        let query = build::udp(client.to_gateway(), client.at(4000), ext(53), &data);
        let answers = [server.to(&client), server.to_gateway()]
            .map(|hop| build::udp(hop, server.at(53), client.at(4000), &data));
        let cases = [
            (client, server, query, client.at(4000), server.at(53)),
            (server, client, answers[0].clone(), ext(53), client.at(4000)),
            (server, client, answers[1].clone(), ext(53), client.at(4000)),
        ];
        for (id, (from, to, frame, src, dst)) in cases.into_iter().enumerate() {
            for order in [[0, 1, 2], [0, 2, 1], [2, 1, 0], [1, 0, 2]] {
                let id = (id * 100 + order[0] * 10 + order[1]) as u16;
                let pieces = build::fragments(&frame, id, 1200);
                let mut out = Vec::new();
                for at in order {
                    out.extend(lab.send(&from, &pieces[at]));
                }
                let got = Lab::to(&out, &to);
                let packets: Vec<&[u8]> = got.iter().map(|frame| &frame[14..]).collect();
                let name = |packet: &&[u8]| (packet[4..6].to_vec(), packet[12..20].to_vec());
                assert!(packets.iter().all(|p| name(p) == name(&packets[0])), "{order:?}");
                let whole = tapway::local::reassemble(&packets).unwrap().expect("incomplete");
                let seen = read(&[&got[0][..14], &whole[..]].concat());
                assert_eq!((seen.src, seen.dst, &seen.payload), (src, dst, &data), "{order:?}");
            }
        }
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn fragments_between_neighbours_of_which_one_publishes_pass_in_any_order() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let (server, peer) = (lab.known_inside(2), lab.known_inside(3));
        lab.publish(17, 53, server.at(53));
        let frame = build::udp(server.to(&peer), server.at(7000), peer.at(7000), &[9; 3000]);
        let pieces = build::fragments(&frame, 1, 1200);
        let mut got = Vec::new();
        for at in [2, 0, 1] {
            got.extend(Lab::to(&lab.send(&server, &pieces[at]), &peer));
        }
        got.sort();
        let mut expected = pieces.clone();
        expected.sort();
        // Unchanged: it is layer two.
        assert_eq!(got, expected);
        assert_eq!(lab.engine.totals().waiting, 0);
        lab
    });
}

#[test]
fn attempts_that_do_not_pass_yet_keep_the_senders_mapping() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let hosts = [&a, &b, &router];
        let mapped_a = leave(&mut lab, (&a, &router), 5000, far(1));
        for _ in 0..5 {
            let mapped_b = leave(&mut lab, (&b, &router), 6000, far(1));
            assert_eq!(reach(&mut lab, (&a, 5000), mapped_b, &b), None);
            pass(&mut lab, &hosts, std::time::Duration::from_secs(100));
        }
        // The session with the far host has ended, the mapping has not.
        let seen = reach(&mut lab, (&b, 6000), mapped_a, &a).unwrap();
        assert_eq!(seen.dst, a.at(5000));
        lab
    });
}

/// The standard lab, its hosts isolated from each other.
fn isolated() -> Lab {
    Lab::with(EngineConfig::with_sessions(64), |network| network.icc = false)
}

#[test]
fn an_isolated_neighbour_reaches_a_published_port_and_is_answered() {
    twice(|| {
        let mut lab = isolated();
        lab.router();
        let (client, server) = (lab.known_inside(2), lab.known_inside(3));
        lab.publish(6, 80, server.at(80));
        let syn = build::tcp(client.to_gateway(), client.at(5000), ext(80), SYN, b"");
        let seen = only_tcp(&lab.send(&client, &syn), &server);
        assert_eq!((seen.src, seen.dst), (client.at(5000), server.at(80)));
        // The server asks for the client, whose address it was shown.
        let request = build::arp_request(server.mac, server.ip, client.ip);
        let answer = Arp::parse(&only(&lab.send(&server, &request), &server)[14..]).unwrap();
        assert_eq!((answer.sender_mac, answer.sender_ip), (server.gateway, client.ip));
        let hop = Hop::new(server.mac, answer.sender_mac);
        let reply = build::tcp(hop, server.at(80), client.at(5000), SYN | ACK, b"");
        let seen = only_tcp(&lab.send(&server, &reply), &client);
        assert_eq!((seen.src, seen.dst), (ext(80), client.at(5000)));
        assert!(lab.drops().is_empty());
        // What belongs to no session does not pass that way.
        let plain = build::tcp(hop, server.at(81), client.at(5000), SYN, b"");
        assert!(lab.send(&server, &plain).is_empty());
        assert_eq!(lab.dropped(DropReason::Isolated), 1);
        lab
    });
}

#[test]
fn only_hosts_behind_other_isolated_ports_are_answered_for() {
    twice(|| {
        let mut lab = isolated();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        // A second host behind a's port answers for itself.
        let ip = Ipv4Addr::new(172, 17, 0, 4);
        let twin = LabPort { ip, mac: MacAddr::from_ipv4(ip), ..a };
        lab.introduce(&twin, Lab::GATEWAY);
        let from_a = |target: Ipv4Addr| build::arp_request(a.mac, a.ip, target);
        assert!(Lab::to(&lab.send(&a, &from_a(twin.ip)), &a).is_empty());
        // Announcements and probes: the address would seem to be taken.
        assert!(lab.send(&a, &from_a(a.ip)).is_empty());
        for free in [a.ip, b.ip] {
            let probe = build::arp_request(a.mac, Ipv4Addr::UNSPECIFIED, free);
            assert!(lab.send(&a, &probe).is_empty());
        }
        for elsewhere in [FAR, [172, 17, 255, 255].into(), [172, 17, 0, 0].into()] {
            assert!(lab.send(&a, &from_a(elsewhere)).is_empty());
        }
        // One that nobody has seen is asked for first.
        let absent = lab.inside(9);
        let out = lab.send(&a, &from_a(absent.ip));
        assert_eq!(Lab::arp_targets(&out), [absent.ip; 3]);
        assert!(out.iter().all(|(_, frame)| frame[6..12] == a.gateway.0));
        let gateway = (absent.gateway, Lab::GATEWAY);
        lab.send(&absent, &build::arp_reply(absent.mac, absent.ip, gateway));
        let answer = Arp::parse(&only(&lab.send(&a, &from_a(absent.ip)), &a)[14..]).unwrap();
        assert_eq!((answer.sender_mac, answer.sender_ip), (a.gateway, absent.ip));
        lab
    });
}
