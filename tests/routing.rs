//! The router through the whole engine: routes, TTL, MTU, ICMP errors, and what tapway answers.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{CommandError, NetworkSpec};
use tapway::local::reassemble;
use tapway::packet::tcp::{ACK, RST, SYN};

/// A lab whose inside network is routed, not translated.
fn routed() -> Lab {
    Lab::with(EngineConfig::with_sessions(64), |network| {
        network.nat = NatPolicy::uniform(NatMode::None);
    })
}

fn changed_mtu(change: impl FnOnce(&mut NetworkSpec)) -> Lab {
    Lab::with(EngineConfig::with_sessions(64), change)
}

/// What an ICMP error says: source, type, code, next-hop MTU, quote.
fn error(seen: &Seen) -> (Ipv4Addr, u8, u8, u16, &[u8]) {
    let mtu = u16::from_be_bytes([seen.payload[6], seen.payload[7]]);
    (seen.src.ip, seen.payload[0], seen.payload[1], mtu, &seen.payload[8..])
}

#[test]
fn the_longest_prefix_wins_and_a_change_takes_cached_flows_along() {
    twice(|| {
        let mut lab = routed();
        let router = lab.router();
        let second_ip = Ipv4Addr::new(192, 168, 33, 2);
        let second = lab.attach(UPLINK, Lab::EXTERNAL, second_ip);
        lab.introduce(&second, Lab::EXTERNAL);
        let host = lab.known_inside(2);
        let datagram = build::udp(host.to_gateway(), host.at(1), far(2), b"x");
        for _ in 0..3 {
            let seen = only_udp(&lab.send(&host, &datagram), &router);
            assert_eq!((seen.src, seen.dst, seen.ttl), (host.at(1), far(2), 63));
        }
        let narrow: Ipv4Net = "203.0.113.0/24".parse().unwrap();
        lab.must(Command::AddRoute(narrow, second_ip));
        only_udp(&lab.send(&host, &datagram), &second);
        lab.must(Command::AddRoute("203.0.113.7/32".parse().unwrap(), Lab::ROUTER));
        only_udp(&lab.send(&host, &datagram), &router);
        lab.must(Command::RemoveRoute("203.0.113.7/32".parse().unwrap()));
        lab.must(Command::RemoveRoute(narrow));
        only_udp(&lab.send(&host, &datagram), &router);
        let other = build::udp(host.to_gateway(), host.at(1), Endpoint::new(second_ip, 2), b"");
        only_udp(&lab.send(&host, &other), &second);
        lab
    });
}

#[test]
fn routes_that_cannot_be_are_refused_and_change_nothing() {
    let mut lab = Lab::new();
    let before = lab.engine.route_rows();
    let mut refused = |command| lab.apply(command).unwrap_err();
    let nowhere = Ipv4Addr::new(10, 9, 9, 9);
    let default = Ipv4Net::default();
    assert_eq!(
        refused(Command::AddRoute(default, nowhere)),
        CommandError::NextHopNotConnected(nowhere)
    );
    let connected: Ipv4Net = "172.17.0.0/16".parse().unwrap();
    assert_eq!(
        refused(Command::AddRoute(connected, Lab::ROUTER)),
        CommandError::RouteIsConnected(connected)
    );
    assert_eq!(refused(Command::RemoveRoute(connected)), CommandError::UnknownRoute(connected));
    let overlap = Lab::network_spec("overlap", Ipv4Addr::new(172, 17, 9, 1), 24);
    assert!(matches!(
        refused(Command::AddNetwork(OTHER, overlap)),
        CommandError::SubnetOverlap(..)
    ));
    assert_eq!(lab.engine.route_rows(), before);
}

#[test]
fn a_network_that_loses_its_gateway_loses_its_route() {
    let mut lab = Lab::new();
    lab.must(Command::AddNetwork(BRIDGE, NetworkSpec::new("bridge", None)));
    let routes: Vec<_> = lab.engine.route_rows().iter().map(|row| row.destination).collect();
    assert_eq!(routes, [Ipv4Net::default(), "192.168.33.0/24".parse().unwrap()]);
}

#[test]
fn a_packet_is_changed_in_ttl_macs_and_checksum_only() {
    twice(|| {
        let mut lab = routed();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let mut header = build::ip_header(host.ip, FAR, 17, 9);
        header.dscp = etherparse::IpDscp::try_new(46).unwrap();
        header.ecn = etherparse::IpEcn::ONE;
        header.identification = 0xabcd;
        header.dont_fragment = false;
        header.options = [7, 7, 4, 0, 0, 0, 0, 1].into();
        let mut sent = build::ip(host.to_gateway(), &header, &[0xa5; 40]);
        let padded = [&sent[..], &[0xee; 9]].concat();
        for _ in 0..2 {
            let out = only(&lab.send(&host, &padded), &router);
            sent[..6].copy_from_slice(&router.mac.0);
            sent[6..12].copy_from_slice(&router.gateway.0);
            sent[22] = 8;
            fix_header_checksum(&mut sent);
            // The Ethernet trailer ended here.
            assert_eq!(out, sent);
        }
        lab
    });
}

#[test]
fn ttl_one_is_reported_by_the_interface_it_came_in_by_but_local_packets_live() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, host.at(53));
        let hop = host.to_gateway().ttl(1);
        let sent = build::udp(hop, host.at(33_434), far(33_435), b"traceroute");
        let seen = only_icmp(&lab.send(&host, &sent), &host);
        assert_eq!(error(&seen), (Lab::GATEWAY, 11, 0, 0, &sent[14..]));
        assert_eq!((seen.dst.ip, seen.ttl), (host.ip, 64));
        // A packet to a published port shows the outside only outside addresses.
        let sent = build::udp(router.to_gateway().ttl(1), far(9), ext(53), b"");
        let seen = only_icmp(&lab.send(&router, &sent), &router);
        assert_eq!(error(&seen), (Lab::EXTERNAL, 11, 0, 0, &sent[14..]));
        assert_eq!(lab.engine.session_usage().0, 0);
        let ping = build::echo(hop, host.ip, Lab::EXTERNAL, 7, false);
        assert_eq!(only_icmp(&lab.send(&host, &ping), &host).payload[0], 0);
        assert_eq!(lab.dropped(DropReason::TtlExceeded), 2);
        lab
    });
}

#[test]
fn a_cached_flow_still_checks_ttl_and_mtu() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let hop = host.to_gateway();
        let datagram = |hop, len| build::udp(hop, host.at(5000), far(53), &vec![7; len]);
        for _ in 0..2 {
            only_udp(&lab.send(&host, &datagram(hop, 10)), &router);
        }
        let seen = only_icmp(&lab.send(&host, &datagram(hop.ttl(1), 10)), &host);
        assert_eq!(seen.payload[..2], [11, 0]);
        let seen = only_icmp(&lab.send(&host, &datagram(hop, 1473)), &host);
        assert_eq!(error(&seen).3, 1500);
        only_udp(&lab.send(&host, &datagram(hop, 1472)), &router);
        lab
    });
}

#[test]
fn too_big_with_df_is_reported_with_the_next_mtu_and_a_quote_within_576() {
    twice(|| {
        let mut lab = changed_mtu(|network| network.mtu = 1400);
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, server.at(53));
        let sent = build::udp(router.to_gateway(), far(9), ext(53), &[1; 1373]);
        let seen = only_icmp(&lab.send(&router, &sent), &router);
        assert_eq!(error(&seen), (Lab::EXTERNAL, 3, 4, 1400, &sent[14..14 + 548]));
        assert_eq!(lab.engine.session_usage().0, 0);
        let fits = build::udp(router.to_gateway(), far(9), ext(53), &[1; 1372]);
        only_udp(&lab.send(&router, &fits), &server);
        lab
    });
}

#[test]
fn the_mtu_of_the_port_behind_the_next_hop_counts_too() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, server.at(53));
        let sent = build::udp(router.to_gateway(), far(9), ext(53), &[1; 1372]);
        only_udp(&lab.send(&router, &sent), &server);
        lab.must(Command::SetPortMtu(server.port, 1280));
        let seen = only_icmp(&lab.send(&router, &sent), &router);
        assert_eq!(error(&seen).3, 1280);
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &[1; 1372]);
        let pieces = Lab::to(&lab.send(&router, &sent), &server);
        assert_eq!(pieces.iter().map(|p| p.len() - 14).collect::<Vec<_>>(), [1276, 144]);
        let ping = build::echo(server.to_gateway(), server.ip, Lab::GATEWAY, 7, false);
        only_icmp(&lab.send(&server, &ping), &server);
        assert_eq!(lab.dropped(DropReason::Oversize), 0);
        lab
    });
}

#[test]
fn without_df_it_is_cut_in_order_and_joins_to_the_same_datagram() {
    twice(|| {
        let mut lab = changed_mtu(|network| network.mtu = 576);
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, server.at(53));
        let payload: Vec<u8> = (0..1400).map(|n| n as u8).collect();
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &payload);
        let pieces = Lab::to(&lab.send(&router, &sent), &server);
        assert_eq!(pieces.len(), 3);
        let packets: Vec<&[u8]> = pieces.iter().map(|piece| &piece[14..]).collect();
        assert!(packets.iter().all(|packet| packet.len() <= 576));
        let whole = reassemble(&packets).unwrap().unwrap();
        let frame = [&pieces[0][..14], &whole[..]].concat();
        let seen = read(&frame);
        assert_eq!((seen.dst, seen.payload), (server.at(53), payload));
        let totals = lab.engine.totals();
        assert_eq!((totals.forwarded, totals.dropped), (1, 0));
        lab
    });
}

#[test]
fn no_route_no_host_no_protocol_and_no_port_have_their_codes() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        let hop = host.to_gateway();
        let udp = build::udp(hop, host.at(1), Endpoint::new(Lab::GATEWAY, 2), b"closed");
        let seen = only_icmp(&lab.send(&host, &udp), &host);
        assert_eq!(error(&seen), (Lab::GATEWAY, 3, 3, 0, &udp[14..]));
        // From the address asked, which may be another of tapway's.
        let udp = build::udp(hop, host.at(1), ext(2), b"closed");
        assert_eq!(only_icmp(&lab.send(&host, &udp), &host).src.ip, Lab::EXTERNAL);
        let other = packet(hop, host.ip, Lab::GATEWAY, 132, &[0; 12]);
        assert_eq!(only_icmp(&lab.send(&host, &other), &host).payload[..2], [3, 2]);
        let absent = build::udp(hop, host.at(1), at([172, 17, 0, 9], 2), b"");
        lab.send(&host, &absent);
        let out = Lab::to(&lab.advance(Duration::from_secs(4)), &host);
        let unreachable: Vec<_> = out.iter().filter(|f| f[12..14] == [8, 0]).collect();
        assert_eq!(read(unreachable[0]).payload[..2], [3, 1]);
        lab.must(Command::RemoveRoute(Ipv4Net::default()));
        let lost = build::udp(hop, host.at(1), far(2), b"");
        let seen = only_icmp(&lab.send(&host, &lost), &host);
        assert_eq!(error(&seen), (Lab::GATEWAY, 3, 0, 0, &lost[14..]));
        lab
    });
}

#[test]
fn a_closed_tcp_port_is_refused_inside_and_silent_outside() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        for to in [Endpoint::new(Lab::GATEWAY, 22), ext(22)] {
            let syn = build::tcp(host.to_gateway(), host.at(1), to, SYN, b"");
            let out = lab.send(&host, &syn);
            let reset = only(&out, &host);
            assert_eq!(reset[47], RST | ACK);
            let seen = read(&reset);
            assert_eq!((seen.src, seen.dst), (to, host.at(1)));
        }
        let reset = build::tcp(host.to_gateway(), host.at(1), ext(22), RST, b"");
        assert!(lab.send(&host, &reset).is_empty());
        for flags in [SYN, ACK, RST] {
            let probe = build::tcp(router.to_gateway(), far(1), ext(22), flags, b"");
            assert!(lab.send(&router, &probe).is_empty());
        }
        assert_eq!(lab.dropped(DropReason::UnsolicitedSyn), 1);
        assert_eq!(lab.dropped(DropReason::NoSession), 2);
        assert_eq!(lab.dropped(DropReason::LocalPortClosed), 3);
        lab
    });
}

#[test]
fn no_error_is_sent_about_errors_fragments_groups_and_nobodys_packets() {
    twice(|| {
        let mut lab = Lab::new();
        let (_, host) = (lab.router(), lab.known_inside(2));
        let hop = host.to_gateway().ttl(1);
        let quoted = build::udp(Hop::new(host.gateway, host.mac), far(1), host.at(2), b"12345678");
        let about = icmp_error(hop, (host.ip, FAR), (3, 3), &quoted[14..]);
        let datagram = udp_df_clear(hop, host.at(1), far(2), &[0; 64]);
        let pieces = build::fragments(&datagram, 5, 40);
        let nobody = packet(hop, Ipv4Addr::UNSPECIFIED, FAR, 17, &[0; 8]);
        let loopback = packet(hop, Ipv4Addr::LOCALHOST, FAR, 17, &[0; 8]);
        let class_e = packet(hop, Ipv4Addr::new(240, 0, 0, 1), FAR, 17, &[0; 8]);
        let group = packet(hop, host.ip, Ipv4Addr::new(224, 0, 0, 9), 17, &[0; 8]);
        let limited = packet(hop, host.ip, Ipv4Addr::BROADCAST, 17, &[0; 8]);
        for sent in [&about, &pieces[1], &nobody, &loopback, &class_e, &group, &limited] {
            assert!(lab.send(&host, sent).is_empty());
        }
        // The first fragment may be reported, once, and ends the rest.
        only_icmp(&lab.send(&host, &pieces[0]), &host);
        assert_eq!(lab.dropped(DropReason::TtlExceeded), 2);
        lab
    });
}

#[test]
fn errors_are_limited_and_a_traceroute_still_gets_its_answers() {
    twice(|| {
        let mut lab = Lab::new();
        let (_, host) = (lab.router(), lab.known_inside(2));
        let sent = build::udp(host.to_gateway().ttl(1), host.at(1), far(2), b"");
        let flood = |lab: &mut Lab| (0..200).map(|_| lab.send(&host, &sent).len()).sum::<usize>();
        assert_eq!(flood(&mut lab), 50);
        lab.advance(Duration::from_millis(100));
        assert_eq!(flood(&mut lab), 5);
        assert_eq!(lab.dropped(DropReason::TtlExceeded), 400);
        // Another host has its own share.
        let other = lab.known_inside(3);
        let sent = build::udp(other.to_gateway().ttl(1), other.at(1), far(2), b"");
        assert_eq!((0..3).map(|_| lab.send(&other, &sent).len()).sum::<usize>(), 3);
        lab
    });
}

#[test]
fn ping_to_the_gateway_and_to_the_uplink_is_answered_even_with_4000_bytes() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let data: Vec<u8> = (0..4000).map(|n| (n % 251) as u8).collect();
        for (from, own) in [(host, Lab::GATEWAY), (host, Lab::EXTERNAL), (router, Lab::EXTERNAL)] {
            let mut message = [&[8, 0, 0, 0, 0x12, 0x34, 0, 1][..], &data].concat();
            let sum = tapway::packet::checksum::checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let whole = packet(from.to_gateway(), from.ip, own, 1, &message);
            let mut pieces = build::fragments(&whole, 77, 1480);
            pieces.rotate_left(1);
            let mut out = Vec::new();
            for piece in &pieces {
                out.extend(lab.send(&from, piece));
            }
            let answers = Lab::to(&out, &from);
            assert_eq!(answers.len(), 3);
            assert!(answers.iter().all(|frame| frame.len() <= 1514));
            let packets: Vec<&[u8]> = answers.iter().map(|frame| &frame[14..]).collect();
            let answer = reassemble(&packets).unwrap().unwrap();
            let seen = read(&[&answers[0][..14], &answer[..]].concat());
            assert_eq!((seen.src.ip, seen.dst.ip), (own, from.ip));
            assert_eq!((seen.payload[0], &seen.payload[4..]), (0, &message[4..]));
        }
        let totals = lab.engine.totals();
        assert_eq!((totals.waiting, totals.dropped), (0, 0));
        lab
    });
}

#[test]
fn an_echo_with_a_wrong_checksum_and_foreign_queries_are_not_answered() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        let mut ping = build::echo(host.to_gateway(), host.ip, Lab::GATEWAY, 7, false);
        ping[50] ^= 1;
        assert!(lab.send(&host, &ping).is_empty());
        let timestamp = packet(host.to_gateway(), host.ip, Lab::GATEWAY, 1, &[13; 20]);
        assert!(lab.send(&host, &timestamp).is_empty());
        let reply = build::echo(host.to_gateway(), host.ip, Lab::GATEWAY, 7, true);
        assert!(lab.send(&host, &reply).is_empty());
        assert_eq!(lab.dropped(DropReason::LocalProtocol), 2);
        assert_eq!(lab.dropped(DropReason::NoSession), 1);
        lab
    });
}

#[test]
fn unicast_packets_in_group_frames_and_for_other_macs_are_not_routed() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        for mac in [MacAddr::BROADCAST, MacAddr([0x01, 0, 0x5e, 0, 0, 1]), MacAddr([2; 6])] {
            let sent = build::udp(Hop::new(host.mac, mac), host.at(1), far(2), b"");
            assert!(Lab::to(&lab.send(&host, &sent), &router).is_empty());
        }
        assert_eq!(lab.dropped(DropReason::NoOtherPort), 3);
        lab
    });
}

#[test]
fn a_routed_network_is_reached_by_its_own_addresses_both_ways() {
    twice(|| {
        let mut lab = routed();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let inbound = build::udp(router.to_gateway(), far(9), host.at(53), b"in");
        assert_eq!(only_udp(&lab.send(&router, &inbound), &host).src, far(9));
        let outbound = build::udp(host.to_gateway(), host.at(53), far(9), b"out");
        assert_eq!(only_udp(&lab.send(&host, &outbound), &router).src, host.at(53));
        // ICMP errors pass untouched but for the TTL.
        let quoted = read(&outbound);
        assert_eq!(quoted.ttl, 64);
        let about = icmp_error(host.to_gateway(), (host.ip, FAR), (3, 3), &inbound[14..]);
        let seen = only_icmp(&lab.send(&host, &about), &router);
        assert_eq!((seen.src.ip, &seen.payload[8..]), (host.ip, &inbound[14..]));
        assert_eq!(lab.engine.session_usage().0, 0);
        lab
    });
}

#[test]
fn outside_to_outside_is_refused_for_errors_too() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let quoted =
            build::udp(router.to_gateway(), at([192, 168, 33, 77], 1), far(2), b"12345678");
        let addresses = (FAR, Ipv4Addr::new(192, 168, 33, 77));
        let error = icmp_error(router.to_gateway(), addresses, (3, 3), &quoted[14..]);
        assert!(lab.send(&router, &error).is_empty());
        assert_eq!(lab.dropped(DropReason::IcmpErrorUnmatched), 1);
        lab
    });
}

#[test]
fn source_routes_are_refused_and_other_options_pass() {
    twice(|| {
        let mut lab = routed();
        let (router, host) = (lab.router(), lab.known_inside(2));
        for (option, passes) in [(131, false), (137, false), (7, true), (68, true), (222, true)] {
            let mut header = build::ip_header(host.ip, FAR, 17, 64);
            // Behind a no-operation, as it may be.
            header.options = [1, option, 7, 4, 10, 0, 0, 1].into();
            let out = lab.send(&host, &build::ip(host.to_gateway(), &header, &[0; 8]));
            assert_eq!(Lab::to(&out, &router).len(), usize::from(passes), "option {option}");
        }
        assert_eq!(lab.dropped(DropReason::Ipv4SourceRoute), 2);
        lab
    });
}

#[test]
fn errors_to_all_hosts_together_are_limited_too() {
    twice(|| {
        let mut config = EngineConfig::with_sessions(64);
        config.icmp.total = 5;
        let mut lab = Lab::with(config, |_| {});
        lab.alone();
        let mut sent = 0;
        for last in 2..12 {
            let host = lab.known_inside(last);
            let datagram = build::udp(host.to_gateway().ttl(1), host.at(1), far(2), b"");
            sent += Lab::to(&lab.send(&host, &datagram), &host).len();
        }
        assert_eq!(sent, 5);
        lab
    });
}
