//! The bridge through the whole engine: learn, look up, flood, and what must not pass.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{Event, FdbRow, NetworkSpec, Totals};
use tapway::packet::tcp::SYN;

const TYPE: u16 = 0x88b5;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, last])
}

fn frame(src: MacAddr, dst: MacAddr) -> Vec<u8> {
    ether(src, dst, TYPE, &[0x5a; 46])
}

/// The ports of a result, in order.
fn ports(out: &[(PortId, Vec<u8>)]) -> Vec<PortId> {
    out.iter().map(|(port, _)| *port).collect()
}

fn entry(lab: &Lab, mac: MacAddr) -> Option<FdbRow> {
    lab.engine.fdb_rows(lab.now()).into_iter().find(|row| row.mac == mac)
}

#[test]
fn unknown_unicast_floods_until_the_destination_has_spoken() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b, c) = (lab.inside(2), lab.inside(3), lab.inside(4));
        let to_b = frame(a.mac, b.mac);
        assert_eq!(ports(&lab.send(&a, &to_b)), [b.port, c.port]);
        assert_eq!(lab.send(&b, &frame(b.mac, a.mac)), [(a.port, frame(b.mac, a.mac))]);
        assert_eq!(lab.send(&a, &to_b), [(b.port, to_b.clone())]);
        let Totals { received, forwarded, flooded, .. } = lab.engine.totals();
        assert_eq!((received, forwarded, flooded), (3, 2, 1));
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn a_burst_learns_as_it_goes_and_keeps_the_order() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b, c) = (lab.inside(2), lab.inside(3), lab.inside(4));
        let mut burst = vec![(b.port, frame(b.mac, a.mac))];
        let numbered = |n: u8| ether(a.mac, b.mac, TYPE, &[n; 46]);
        burst.extend((0..20).map(|n| (a.port, numbered(n))));
        let out = lab.send_all(&burst);
        let expected: Vec<_> = (0..20).map(numbered).collect();
        assert_eq!(Lab::to(&out, &b), expected);
        // Only b's first frame was flooded.
        assert_eq!(Lab::to(&out, &c), [frame(b.mac, a.mac)]);
        lab
    });
}

#[test]
fn broadcast_and_multicast_go_to_all_others_once() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b, c) = (lab.inside(2), lab.inside(3), lab.inside(4));
        let multicast = MacAddr([0x01, 0, 0x5e, 0, 0, 0xfb]);
        for group in [MacAddr::BROADCAST, multicast, MacAddr([0x33, 0x33, 0, 0, 0, 1])] {
            assert_eq!(ports(&lab.send(&a, &frame(a.mac, group))), [b.port, c.port]);
        }
        // A group is never learned, whoever sends to it.
        assert_eq!(entry(&lab, multicast), None);
        lab
    });
}

#[test]
fn an_entry_ages_after_300_s_without_frames_and_a_frame_keeps_it() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let (a, b, c) = (lab.inside(2), lab.inside(3), lab.inside(4));
        lab.send(&b, &frame(b.mac, MacAddr::BROADCAST));
        lab.advance(Duration::from_secs(200));
        lab.send(&b, &frame(b.mac, MacAddr::BROADCAST));
        lab.advance(Duration::from_secs(300));
        assert_eq!(entry(&lab, b.mac).map(|row| row.age_s), Some(300));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, b.mac))), [b.port]);
        lab.advance(Duration::from_secs(1));
        assert_eq!(entry(&lab, b.mac), None);
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, b.mac))), [b.port, c.port]);
        lab
    });
}

#[test]
fn the_ageing_time_is_a_setting() {
    let mut config = EngineConfig::with_sessions(64);
    config.fdb_ageing = Duration::from_secs(10);
    let mut lab = Lab::with(config, |_| {});
    let host = lab.inside(2);
    lab.send(&host, &frame(host.mac, MacAddr::BROADCAST));
    lab.advance(Duration::from_secs(11));
    assert_eq!(entry(&lab, host.mac), None);
}

#[test]
fn a_station_that_moves_is_found_at_its_new_port_and_told_about() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b, c) = (lab.inside(2), lab.inside(3), lab.inside(4));
        lab.send(&b, &frame(mac(1), MacAddr::BROADCAST));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(1)))), [b.port]);
        lab.send(&c, &frame(mac(1), MacAddr::BROADCAST));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(1)))), [c.port]);
        let moved = Event::MacMoved { network: BRIDGE, mac: mac(1), to: c.port };
        assert_eq!(lab.engine.poll_event(), Some(moved));
        lab
    });
}

#[test]
fn a_cached_flow_follows_a_station_that_moves() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let second = lab.inside(3);
        let far = at([203, 0, 113, 7], 53);
        lab.send(&host, &build::udp(host.to_gateway(), host.at(5000), far, b""));
        let answer = build::udp(router.to_gateway(), far, ext(5000), b"");
        only_udp(&lab.send(&router, &answer), &host);
        only_udp(&lab.send(&router, &answer), &host);
        lab.send_all(&[(second.port, frame(host.mac, second.mac))]);
        only_udp(&lab.send(&router, &answer), &second);
        lab
    });
}

#[test]
fn configured_macs_are_bound_before_they_speak_and_cannot_be_stolen() {
    twice(|| {
        let mut lab = Lab::new();
        let spec = PortSpec { static_macs: vec![mac(7)], ..port_spec("bound") };
        let bound = lab.attach_with(spec, Lab::GATEWAY, Ipv4Addr::new(172, 17, 0, 2));
        let (a, b) = (lab.inside(3), lab.inside(4));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(7)))), [bound.port]);
        lab.send(&b, &frame(mac(7), MacAddr::BROADCAST));
        assert_eq!(lab.dropped(DropReason::StaticMacMoved), 1);
        lab.advance(Duration::from_secs(1000));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(7)))), [bound.port]);
        // The gateway's MAC is nobody's to learn either.
        lab.send(&b, &frame(b.gateway, MacAddr::BROADCAST));
        assert_eq!(lab.dropped(DropReason::OwnMacAsSource), 1);
        assert_eq!(entry(&lab, b.gateway).unwrap().port, None);
        lab.must(Command::RemovePort(bound.port));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(7)))), [b.port]);
        lab
    });
}

#[test]
fn a_flood_of_sources_evicts_its_own_and_frames_still_pass() {
    twice(|| {
        let mut config = EngineConfig::with_sessions(64);
        config.fdb.per_port = 4;
        config.fdb.per_network = 6;
        let mut lab = Lab::with(config, |_| {});
        let (a, b, attacker) = (lab.inside(2), lab.inside(3), lab.inside(4));
        lab.send(&a, &frame(a.mac, MacAddr::BROADCAST));
        lab.send(&b, &frame(b.mac, MacAddr::BROADCAST));
        for last in 0..100 {
            lab.send(&attacker, &frame(mac(last), MacAddr::BROADCAST));
        }
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, b.mac))), [b.port]);
        assert_eq!(ports(&lab.send(&b, &frame(b.mac, mac(99)))), [attacker.port]);
        assert_eq!(ports(&lab.send(&b, &frame(b.mac, mac(1)))), [a.port, attacker.port]);
        let learned = lab.engine.fdb_rows(lab.now());
        assert_eq!(learned.iter().filter(|row| !row.is_static).count(), 6);
        lab
    });
}

#[test]
fn reserved_groups_pass_only_where_a_network_says_so() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |network| {
            network.bridge.forward_reserved = true;
        });
        add_other_network(&mut lab);
        let reserved = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        let (a, b) = (lab.inside(2), lab.inside(3));
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, reserved))), [b.port]);
        let (c, d) = (known_other(&mut lab, 2), known_other(&mut lab, 3));
        assert!(lab.send(&c, &frame(c.mac, reserved)).is_empty());
        assert_eq!(lab.dropped(DropReason::ReservedGroup), 1);
        let beyond = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x10]);
        assert_eq!(ports(&lab.send(&c, &frame(c.mac, beyond))), [d.port]);
        lab
    });
}

#[test]
fn tags_foreign_types_llc_and_broken_packets_pass_unchanged() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let mut tagged = build::udp(a.to(&b), a.at(1), b.at(2), b"tagged");
        tagged.splice(12..12, [0x81, 0x00, 0x20, 0x07]);
        let mut double = tagged.clone();
        double.splice(12..12, [0x88, 0xa8, 0x00, 0x08]);
        let llc = ether(a.mac, b.mac, 3, &[0x42, 0x42, 3]);
        let mut wrong = build::udp(a.to(&b), a.at(1), b.at(2), b"wrong checksum");
        wrong[24] ^= 0xff;
        let ipv6 = ether(a.mac, b.mac, 0x86dd, &[0x60; 60]);
        let rubbish = ether(a.mac, b.mac, 0x0800, &[0xff; 5]);
        let short = ether(a.mac, b.mac, 0x9000, &[]);
        for sent in [tagged, double, llc, wrong, ipv6, rubbish, short] {
            assert_eq!(lab.send(&a, &sent), [(b.port, sent.clone())]);
        }
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn a_tag_does_not_count_against_the_mtu() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let mut full = ether(a.mac, b.mac, TYPE, &[0; 1500]);
        full.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
        assert_eq!(ports(&lab.send(&a, &full)), [b.port]);
        full.push(0);
        assert!(lab.send(&a, &full).is_empty());
        assert_eq!(lab.dropped(DropReason::Oversize), 1);
        lab
    });
}

#[test]
fn all_reach_the_one_open_port_of_a_network_that_isolates_its_hosts() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |network| {
            network.icc = false;
            network.open_port = Some(PortId(1));
        });
        let (a, open, b) = (lab.known_inside(2), lab.known_inside(3), lab.known_inside(4));
        assert_eq!(open.port, PortId(1));
        for (from, to) in [(&a, &open), (&open, &b)] {
            let datagram = build::udp(from.to(to), from.at(1), to.at(2), b"x");
            assert_eq!(lab.send(from, &datagram), [(to.port, datagram)]);
        }
        let datagram = build::udp(a.to(&b), a.at(1), b.at(2), b"x");
        assert_eq!(lab.send(&a, &datagram), []);
        // As it is when the network is changed with its ports in it.
        let mut spec = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        (spec.icc, spec.open_port) = (false, Some(b.port));
        lab.must(Command::AddNetwork(BRIDGE, spec));
        assert_eq!(lab.send(&a, &datagram).len(), 1);
        lab
    });
}

#[test]
fn isolated_hosts_reach_the_gateway_and_the_outside_but_not_each_other() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |network| network.icc = false);
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        assert!(lab.send(&a, &frame(a.mac, b.mac)).is_empty());
        // The request does not pass; the gateway answers it, see the proxy ARP tests.
        let answer = only(&lab.send(&a, &build::arp_request(a.mac, a.ip, b.ip)), &a);
        assert_eq!(answer[6..12], a.gateway.0);
        // Nor by way of the router.
        let routed = build::udp(a.to_gateway(), a.at(1), b.at(2), b"");
        assert!(lab.send(&a, &routed).is_empty());
        // The gateway read the ARP request, so only the other two are lost.
        assert_eq!(lab.dropped(DropReason::Isolated), 2);
        let ping = build::echo(a.to_gateway(), a.ip, Lab::GATEWAY, 1, false);
        only_icmp(&lab.send(&a, &ping), &a);
        let far = at([203, 0, 113, 7], 53);
        only_udp(&lab.send(&a, &build::udp(a.to_gateway(), a.at(1), far, b"")), &router);
        // A published port is reachable all the same, as from anywhere.
        lab.publish(6, 80, b.at(80));
        let syn = build::tcp(a.to_gateway(), a.at(1), ext(80), SYN, b"");
        only_tcp(&lab.send(&a, &syn), &b);
        lab
    });
}

#[test]
fn networks_share_nothing() {
    twice(|| {
        let mut lab = Lab::new();
        lab.must(Command::AddNetwork(OTHER, NetworkSpec::new("switched", None)));
        let a = lab.inside(2);
        let b = lab.attach(OTHER, OTHER_GATEWAY, Ipv4Addr::new(10, 2, 0, 2));
        let c = lab.attach(OTHER, OTHER_GATEWAY, Ipv4Addr::new(10, 2, 0, 3));
        assert!(lab.send(&a, &frame(a.mac, MacAddr::BROADCAST)).is_empty());
        assert_eq!(ports(&lab.send(&b, &frame(b.mac, MacAddr::BROADCAST))), [c.port]);
        // One MAC on two networks is two stations.
        lab.send(&b, &frame(a.mac, MacAddr::BROADCAST));
        assert_eq!(entry(&lab, a.mac).unwrap().network, "bridge");
        assert_eq!(ports(&lab.send(&c, &frame(c.mac, a.mac))), [b.port]);
        // Without a gateway ARP is only flooded.
        let out = lab.send(&b, &build::arp_request(b.mac, b.ip, OTHER_GATEWAY));
        assert_eq!(ports(&out), [c.port]);
        lab
    });
}

#[test]
fn a_guarded_host_may_probe_and_ask_for_an_address_but_not_forge() {
    twice(|| {
        let mut lab = Lab::new();
        let (own, other) = (guarded(&mut lab, 2), lab.known_inside(3));
        let probe = build::arp_request(own.mac, Ipv4Addr::UNSPECIFIED, own.ip);
        assert_eq!(ports(&lab.send(&own, &probe)), [other.port]);
        let hop = Hop::new(own.mac, MacAddr::BROADCAST);
        let discover = build::udp(hop, at([0; 4], 68), at([255; 4], 67), b"discover");
        assert_eq!(ports(&lab.send(&own, &discover)), [other.port]);
        let forged = build::udp(hop, at([0; 4], 69), at([255; 4], 67), b"");
        let poison = build::arp_reply(own.mac, other.ip, (other.mac, other.ip));
        let mut lure = build::arp_reply(own.mac, own.ip, (other.mac, other.ip));
        lure[22..28].copy_from_slice(&other.mac.0);
        let mut tagged = build::udp(own.to(&other), other.at(1), other.at(2), b"");
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        let stolen = frame(other.mac, MacAddr::BROADCAST);
        for sent in [forged, poison, lure, tagged, stolen] {
            assert!(lab.send(&own, &sent).is_empty());
        }
        let drops = [DropReason::GuardIp, DropReason::GuardArp, DropReason::GuardMac];
        assert_eq!(drops.map(|reason| lab.dropped(reason)), [2, 2, 1]);
        // Nothing was learned from the forged source.
        assert_eq!(ports(&lab.send(&own, &frame(own.mac, other.mac))), [other.port]);
        lab
    });
}

#[test]
fn a_guarded_host_hides_no_packet_behind_an_llc_header() {
    twice(|| {
        let mut lab = Lab::new();
        let (own, other) = (guarded(&mut lab, 2), lab.known_inside(3));
        let poison = build::arp_reply(own.mac, other.ip, (other.mac, other.ip));
        // With a length in place of the EtherType, and that behind LLC and SNAP (RFC 1042).
        let by_snap = |oui: [u8; 3], packet: &[u8]| {
            let payload = [&[0xaa, 0xaa, 3][..], &oui, packet].concat();
            ether(own.mac, other.mac, payload.len() as u16, &payload)
        };
        let hidden = by_snap([0; 3], &poison[12..]);
        let mut tagged = by_snap([0, 0, 0xf8], &poison[12..]);
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        for sent in [hidden, tagged, by_snap([0; 3], &[0x81, 0, 0, 0, 8, 6])] {
            assert!(lab.send(&own, &sent).is_empty());
        }
        assert_eq!(lab.drops(), [("guard_tags".to_owned(), 3)].into());
        // Protocols that live there pass: spanning tree, and those of others' OUIs.
        let tree = ether(own.mac, other.mac, 38, &[0x42; 38]);
        for sent in [tree, by_snap([0, 0, 0xc], &[0x20, 0, 2, 180])] {
            assert_eq!(only(&lab.send(&own, &sent), &other), sent);
        }
        lab
    });
}

#[test]
fn a_storm_is_limited_per_port_and_known_unicast_is_not() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |n| n.bridge.storm_limit = 10);
        lab.alone();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        lab.advance(Duration::from_secs(2));
        let storm: Vec<_> = (0..60).map(|_| (a.port, frame(a.mac, MacAddr::BROADCAST))).collect();
        assert_eq!(lab.send_all(&storm).len(), 10);
        assert_eq!(lab.dropped(DropReason::StormLimit), 50);
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, b.mac))), [b.port]);
        assert_eq!(ports(&lab.send(&b, &frame(b.mac, MacAddr::BROADCAST))), [a.port]);
        // ARP to the gateway is answered in a storm too.
        let out = lab.send(&a, &build::arp_request(a.mac, a.ip, Lab::GATEWAY));
        assert_eq!(ports(&out), [a.port]);
        lab.advance(Duration::from_millis(200));
        assert_eq!(lab.send_all(&storm).len(), 2);
        lab
    });
}

#[test]
fn a_port_that_goes_down_is_forgotten_and_takes_nothing() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        lab.must(Command::SetPortUp(b.port, false));
        assert_eq!(entry(&lab, b.mac), None);
        assert!(lab.send(&a, &frame(a.mac, b.mac)).is_empty());
        assert_eq!(lab.dropped(DropReason::PortDown), 1);
        // The other port is down, yet the gateway answered: that is no loss.
        only(&lab.send(&a, &build::arp_request(a.mac, a.ip, Lab::GATEWAY)), &a);
        assert_eq!(lab.dropped(DropReason::PortDown), 1);
        lab.must(Command::SetPortUp(b.port, true));
        let announced = lab.advance(Duration::ZERO);
        assert_eq!(ports(&announced), [b.port]);
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, b.mac))), [b.port]);
        lab
    });
}

#[test]
fn a_port_learns_as_many_macs_as_it_may_and_forgets_its_oldest() {
    twice(|| {
        let mut config = EngineConfig::with_sessions(64);
        config.fdb.per_port = 2;
        let mut lab = Lab::with(config, |_| {});
        let (a, hub, c) = (lab.known_inside(2), lab.inside(3), lab.inside(4));
        for last in 1..=3 {
            lab.send(&hub, &frame(mac(last), MacAddr::BROADCAST));
            lab.advance(Duration::from_secs(1));
        }
        assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(1)))), [hub.port, c.port]);
        for last in [2, 3] {
            assert_eq!(ports(&lab.send(&a, &frame(a.mac, mac(last)))), [hub.port]);
        }
        lab
    });
}

#[test]
fn isolation_is_switched_on_and_off_while_frames_pass() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let routed = build::udp(a.to_gateway(), a.at(1), b.at(2), b"");
        let passes = |lab: &mut Lab| {
            let bridged = lab.send(&a, &frame(a.mac, b.mac)).len();
            (bridged, lab.send(&a, &routed).len())
        };
        assert_eq!(passes(&mut lab), (1, 1));
        let mut spec = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        spec.icc = false;
        lab.must(Command::AddNetwork(BRIDGE, spec.clone()));
        assert_eq!(passes(&mut lab), (0, 0));
        assert_eq!(lab.dropped(DropReason::Isolated), 2);
        spec.icc = true;
        lab.must(Command::AddNetwork(BRIDGE, spec));
        assert_eq!(passes(&mut lab), (1, 1));
        lab
    });
}
