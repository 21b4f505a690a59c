//! Published ports: addresses, ranges, both directions, and what unpublishing ends.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::CommandError;
use tapway::nat::Publish;
use tapway::packet::tcp::{ACK, SYN};

fn publish(
    protocol: u8,
    address: Option<Ipv4Addr>,
    port: u16,
    count: u16,
    to: Endpoint,
) -> Publish {
    Publish { protocol, address, port, count, network: BRIDGE, target: to }
}

/// A connection attempt from outside; where it arrives, if it does.
fn knock(lab: &mut Lab, router: &LabPort, to: Endpoint) -> Option<Endpoint> {
    // A client per address: one port of one client must differ on two of them.
    let client = far(4000 + u16::from(to.ip.octets()[3]));
    let syn = build::tcp(router.to_gateway(), client, to, SYN, b"");
    let out = lab.send(router, &syn);
    out.first().map(|(_, frame)| {
        let seen = read(frame);
        assert_eq!(seen.src, client);
        seen.dst
    })
}

#[test]
fn a_range_maps_port_by_port_at_the_cost_of_one_entry() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        let range = publish(6, None, 8000, 1000, server.at(9000));
        lab.must(Command::Publish(range));
        assert_eq!(lab.engine.publishes(), [range]);
        for (external, inside) in [(8000, 9000), (8001, 9001), (8999, 9999)] {
            assert_eq!(knock(&mut lab, &router, ext(external)), Some(server.at(inside)));
        }
        for outside_range in [7999, 9000] {
            assert_eq!(knock(&mut lab, &router, ext(outside_range)), None);
        }
        // Not for another protocol.
        assert!(!arrives(&mut lab, (&router, &server), far(1), ext(8000), 9000));
        assert_eq!(lab.dropped(DropReason::UnsolicitedSyn), 2);
        lab
    });
}

#[test]
fn the_whole_port_space_and_its_edges_can_be_published() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.must(Command::Publish(publish(6, None, 1, 65_535, server.at(1))));
        for port in [1, 1023, 65_535] {
            assert_eq!(knock(&mut lab, &router, ext(port)), Some(server.at(port)));
        }
        assert_eq!(knock(&mut lab, &router, ext(0)), None);
        // No port is left for others, and that has a name.
        let other = lab.known_inside(3);
        let syn = build::tcp(other.to_gateway(), other.at(5000), far(80), SYN, b"");
        assert_eq!(only_icmp(&lab.send(&other, &syn), &other).payload[..2], [3, 13]);
        assert_eq!(lab.dropped(DropReason::PortsExhausted), 1);
        lab
    });
}

#[test]
fn ranges_that_are_empty_or_leave_the_port_space_are_refused() {
    let mut lab = Lab::new();
    let server = lab.inside(2);
    for (port, count, target) in
        [(80, 0, 80), (0, 1, 80), (80, 1, 0), (65_535, 2, 1), (1, 2, 65_535)]
    {
        let wrong = publish(6, None, port, count, server.at(target));
        assert_eq!(lab.apply(Command::Publish(wrong)), Err(CommandError::BadRange), "{wrong:?}");
    }
    assert!(lab.engine.publishes().is_empty());
}

#[test]
fn it_answers_on_every_address_of_tapway_or_on_the_one_given() {
    twice(|| {
        let mut lab = Lab::new();
        set_uplink(&mut lab, &[[192, 168, 33, 10], [192, 168, 33, 21]], &[]);
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(6, 80, server.at(80));
        let second = Ipv4Addr::new(192, 168, 33, 21);
        for address in [Lab::EXTERNAL, second, Lab::GATEWAY] {
            let to = Endpoint::new(address, 80);
            assert_eq!(knock(&mut lab, &router, to), Some(server.at(80)), "{address}");
        }
        lab.must(Command::Publish(publish(6, Some(second), 81, 1, server.at(81))));
        assert_eq!(knock(&mut lab, &router, Endpoint::new(second, 81)), Some(server.at(81)));
        assert_eq!(knock(&mut lab, &router, ext(81)), None);
        // A neighbour reaches it by the gateway's address.
        let client = lab.known_inside(3);
        let to = Endpoint::new(Lab::GATEWAY, 80);
        let syn = build::tcp(client.to_gateway(), client.at(9), to, SYN, b"");
        let seen = only_tcp(&lab.send(&client, &syn), &server);
        assert_eq!((seen.src, seen.dst), (client.at(9), server.at(80)));
        let answer = build::tcp(server.to(&client), server.at(80), client.at(9), SYN | ACK, b"");
        assert_eq!(only_tcp(&lab.send(&server, &answer), &client).src, to);
        lab
    });
}

#[test]
fn one_client_port_on_two_addresses_is_two_connections() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(6, 80, server.at(80));
        let gateway = Endpoint::new(Lab::GATEWAY, 80);
        let mut seen = Vec::new();
        for to in [ext(80), gateway] {
            let syn = build::tcp(router.to_gateway(), far(4000), to, SYN, b"");
            seen.push(only_tcp(&lab.send(&router, &syn), &server).src);
        }
        // The server must be able to tell them apart.
        assert_eq!(seen[0], far(4000));
        assert_ne!(seen[1], seen[0]);
        for (client, own) in seen.into_iter().zip([ext(80), gateway]) {
            let answer = build::tcp(server.to_gateway(), server.at(80), client, SYN | ACK, b"");
            let back = only_tcp(&lab.send(&server, &answer), &router);
            assert_eq!((back.src, back.dst), (own, far(4000)));
        }
        lab
    });
}

#[test]
fn outbound_traffic_of_a_published_port_leaves_as_it() {
    for mode in [NatMode::EimApdf, NatMode::Apdm] {
        twice(|| {
            let mut lab = lab_with_mode(mode);
            let (router, server) = (lab.router(), lab.known_inside(2));
            lab.must(Command::Publish(publish(17, None, 5300, 10, server.at(53))));
            assert_eq!(leave(&mut lab, (&server, &router), 53, far(9)), ext(5300));
            assert_eq!(leave(&mut lab, (&server, &router), 62, stranger(9)), ext(5309));
            assert_eq!(leave(&mut lab, (&server, &router), 63, far(9)), ext(63));
            // Anybody may answer a published port.
            assert!(arrives(&mut lab, (&router, &server), stranger(1), ext(5300), 53));
            lab
        });
    }
}

#[test]
fn a_port_published_on_a_gateways_address_only_does_not_show_it_outside() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.must(Command::Publish(publish(17, Some(Lab::GATEWAY), 53, 1, server.at(53))));
        assert_eq!(leave(&mut lab, (&server, &router), 53, far(9)), ext(53));
        lab
    });
}

#[test]
fn dynamic_mappings_never_take_a_published_port_and_make_way_for_a_new_one() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let (router, server, other) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        lab.must(Command::Publish(publish(17, None, 5000, 1000, server.at(5000))));
        for sport in 5000..5100 {
            let mapped = leave(&mut lab, (&other, &router), sport, far(53));
            assert!(!(5000..6000).contains(&mapped.port), "{mapped}");
        }
        let mapped = leave(&mut lab, (&other, &router), 7000, far(53));
        assert_eq!(mapped, ext(7000));
        let reply = lab.must(Command::Publish(publish(17, None, 7000, 1, server.at(7))));
        assert_eq!(reply.ended_sessions, 1);
        assert!(arrives(&mut lab, (&router, &server), far(53), ext(7000), 7));
        assert_ne!(leave(&mut lab, (&other, &router), 7000, far(53)), ext(7000));
        lab
    });
}

#[test]
fn unpublishing_ends_exactly_its_sessions() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        let first = lab.publish(6, 80, server.at(80));
        let second = lab.publish(6, 8080, server.at(80));
        let answer = |lab: &mut Lab, client| {
            let segment = build::tcp(server.to_gateway(), server.at(80), client, SYN | ACK, b"");
            Lab::to(&lab.send(&server, &segment), &router).first().map(|f| read(f).src)
        };
        let syn = |port, sport| build::tcp(router.to_gateway(), far(sport), ext(port), SYN, b"");
        lab.send(&router, &syn(80, 1));
        lab.send(&router, &syn(8080, 2));
        assert_eq!(answer(&mut lab, far(1)), Some(ext(80)));
        assert_eq!(answer(&mut lab, far(2)), Some(ext(8080)));
        assert_eq!(lab.must(Command::Unpublish(second)).ended_sessions, 1);
        assert_eq!(answer(&mut lab, far(1)), Some(ext(80)));
        assert!(lab.send(&router, &syn(8080, 2)).is_empty());
        assert_eq!(lab.must(Command::Unpublish(first)).ended_sessions, 1);
        assert_eq!(lab.engine.session_usage().0, 0);
        // A cached flow must not survive its session.
        assert!(lab.send(&router, &syn(80, 1)).is_empty());
        assert_eq!(lab.apply(Command::Unpublish(first)), Err(CommandError::NotPublished(first)));
        lab
    });
}

#[test]
fn unpublishing_ends_outbound_sessions_of_the_port_too() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        let entry = lab.publish(17, 53, server.at(5353));
        assert_eq!(leave(&mut lab, (&server, &router), 5353, far(9)), ext(53));
        assert_eq!(leave(&mut lab, (&server, &router), 6000, far(9)), ext(6000));
        assert_eq!(lab.must(Command::Unpublish(entry)).ended_sessions, 1);
        assert_eq!(leave(&mut lab, (&server, &router), 5353, far(9)), ext(5353));
        assert_eq!(leave(&mut lab, (&server, &router), 6000, far(9)), ext(6000));
        lab
    });
}

#[test]
fn a_port_is_published_once() {
    let mut lab = Lab::new();
    let server = lab.inside(2);
    lab.must(Command::Publish(publish(6, None, 80, 10, server.at(80))));
    for (address, port, count) in [(None, 89, 1), (Some(Lab::EXTERNAL), 80, 1), (None, 70, 11)] {
        let again = publish(6, address, port, count, server.at(1));
        let refused = lab.apply(Command::Publish(again)).unwrap_err();
        assert!(matches!(refused, CommandError::PublishConflict { .. }), "{refused}");
    }
    lab.must(Command::Publish(publish(17, None, 80, 10, server.at(80))));
    lab.must(Command::Publish(publish(6, None, 90, 1, server.at(80))));
    assert_eq!(lab.engine.publishes().len(), 3);
}

#[test]
fn removing_the_network_ends_what_it_published() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(6, 80, server.at(80));
        assert!(knock(&mut lab, &router, ext(80)).is_some());
        assert_eq!(lab.must(Command::RemoveNetwork(BRIDGE)).ended_sessions, 1);
        assert_eq!(knock(&mut lab, &router, ext(80)), None);
        assert!(lab.engine.publishes().is_empty());
        assert_eq!(lab.engine.route_rows().len(), 2);
        // The name and the number can be used again.
        lab.must(Command::AddNetwork(BRIDGE, Lab::network_spec("bridge", Lab::GATEWAY, 16)));
        let server = lab.known_inside(2);
        lab.publish(6, 80, server.at(80));
        assert_eq!(knock(&mut lab, &router, ext(80)), Some(server.at(80)));
        lab
    });
}

#[test]
fn a_server_that_comes_back_elsewhere_is_found_by_its_address() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), guarded(&mut lab, 2));
        lab.publish(6, 80, server.at(80));
        assert_eq!(knock(&mut lab, &router, ext(80)), Some(server.at(80)));
        lab.must(Command::RemovePort(server.port));
        // Nobody has the address; the packets wait and the next owner gets them.
        assert_eq!(knock(&mut lab, &router, ext(80)), None);
        assert_eq!(lab.engine.totals().waiting, 1);
        let heir = LabPort { mac: MacAddr([2; 6]), ..lab.inside(2) };
        let reply = build::arp_reply(heir.mac, heir.ip, (heir.gateway, Lab::GATEWAY));
        let seen = only_tcp(&lab.send(&heir, &reply), &heir);
        assert_eq!((seen.dst_mac, seen.dst), (heir.mac, heir.at(80)));
        lab
    });
}

#[test]
fn the_last_ports_between_published_ranges_are_found() {
    twice(|| {
        let mut lab = lab_with_mode(NatMode::EimApdf);
        lab.alone();
        let (router, server, host) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        lab.must(Command::Publish(publish(17, None, 1024, 30_000, server.at(1024))));
        lab.must(Command::Publish(publish(17, None, 31_034, 34_502, server.at(31_034))));
        let mut given = std::collections::HashSet::new();
        for sport in 40_000..40_010 {
            let mapped = leave(&mut lab, (&host, &router), sport, far(1));
            assert!((31_024..31_034).contains(&mapped.port) && given.insert(mapped.port));
        }
        let refused = build::udp(host.to_gateway(), host.at(40_010), far(1), b"");
        assert_eq!(only_icmp(&lab.send(&host, &refused), &host).payload[..2], [3, 13]);
        lab
    });
}

#[test]
fn a_static_translation_of_a_host_outside_is_refused() {
    let mut lab = Lab::new();
    let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
    uplink.is_outside = true;
    let (inside, external) = (Lab::ROUTER, Ipv4Addr::new(192, 168, 33, 20));
    uplink.gateway.as_mut().unwrap().statics = vec![(UPLINK, inside, external)];
    let refused = lab.apply(Command::AddNetwork(UPLINK, uplink));
    let error = tapway::engine::CommandError::StaticNatOutside(inside, external);
    assert_eq!(refused, Err(error));
    assert!(lab.engine.statics().is_empty());
}
