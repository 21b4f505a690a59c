//! Hosts that go, and that come back as somebody else.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::CommandError;
use tapway::nat::Publish;
use tapway::packet::tcp::{ACK, SYN};
use tapway::packet::{Arp, ArpOperation};

fn publish(protocol: u8, port: u16, target: Endpoint) -> Publish {
    Publish { protocol, address: None, port, count: 1, network: BRIDGE, target }
}

/// Who a host is, as a configuration says.
fn identity(host: &LabPort) -> Guard {
    Guard { mac: host.mac, address: host.ip }
}

/// A host at an address of the bridge, by a MAC of its own; tapway is told who it is.
fn told(lab: &mut Lab, (last, mac): (u8, u8)) -> LabPort {
    let address = Ipv4Addr::new(172, 17, 0, last);
    let mac = MacAddr([2, 0, 0, 0, 0, mac]);
    let host = Some(Guard { mac, address });
    let spec = PortSpec { host, ..port_spec(&format!("told-{last}-{mac}")) };
    LabPort { mac, ..lab.attach_with(spec, Lab::GATEWAY, address) }
}

/// Lets hosts answer the ARP requests in a result; gives back what comes of it.
fn answer(lab: &mut Lab, host: &LabPort, out: &[(PortId, Vec<u8>)]) -> Vec<(PortId, Vec<u8>)> {
    let asked = Lab::arp_targets(out);
    assert!(!asked.is_empty() && asked.iter().all(|ip| *ip == host.ip), "{out:02x?}");
    let arp = Arp::parse(&Lab::to(out, host)[0][14..]).unwrap();
    lab.send(host, &build::arp_reply(host.mac, host.ip, (arp.sender_mac, arp.sender_ip)))
}

fn sessions(lab: &Lab) -> usize {
    lab.engine.session_usage().0
}

#[test]
fn a_removed_ports_sessions_end_in_both_directions_and_the_others_stay() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, gone, stays) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        lab.publish(17, 53, gone.at(53));
        leave(&mut lab, (&gone, &router), 5000, far(80));
        leave(&mut lab, (&gone, &router), 5001, stranger(80));
        let kept = leave(&mut lab, (&stays, &router), 6000, far(80));
        assert!(arrives(&mut lab, (&router, &gone), far(4000), ext(53), 53));
        // A neighbour's hairpin to it is its, too.
        let hairpin = build::udp(stays.to_gateway(), stays.at(7000), ext(53), b"q");
        assert_eq!(only_udp(&lab.send(&stays, &hairpin), &gone).src, stays.at(7000));
        assert_eq!(sessions(&lab), 5);
        assert_eq!(lab.must(Command::RemovePort(gone.port)).ended_sessions, 4);
        assert_eq!(sessions(&lab), 1);
        assert!(arrives(&mut lab, (&router, &stays), far(80), kept, 6000));
        let left: Vec<_> =
            lab.engine.neighbour_rows(lab.now()).iter().map(|row| row.address).collect();
        assert_eq!(left, [stays.ip, router.ip]);
        assert!(lab.engine.fdb_rows(lab.now()).iter().all(|row| row.mac != gone.mac));
        lab
    });
}

#[test]
fn a_host_that_is_out_of_reach_for_a_moment_keeps_its_sessions() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let external = leave(&mut lab, (&host, &router), 5000, far(80));
        lab.must(Command::SetPortUp(host.port, false));
        lab.must(Command::SetPortUp(host.port, true));
        lab.advance(Duration::ZERO);
        lab.introduce(&host, Lab::GATEWAY);
        assert!(arrives(&mut lab, (&router, &host), far(80), external, 5000));
        // Removed while it is down, as a port whose device is closed first: they end.
        lab.must(Command::SetPortUp(host.port, false));
        assert_eq!(lab.must(Command::RemovePort(host.port)).ended_sessions, 1);
        lab
    });
}

#[test]
fn an_address_that_has_moved_on_is_not_ended_with_its_former_port() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        lab.must(Command::SetPortUp(host.port, false));
        let other = LabPort { mac: MacAddr([2, 0, 0, 0, 0, 9]), ..lab.inside(2) };
        lab.introduce(&other, Lab::GATEWAY);
        let external = leave(&mut lab, (&other, &router), 5000, far(80));
        assert_eq!(lab.must(Command::RemovePort(host.port)).ended_sessions, 0);
        assert!(arrives(&mut lab, (&router, &other), far(80), external, 5000));
        lab
    });
}

#[test]
fn a_datagram_flow_goes_to_the_new_container_with_its_first_packet() {
    // As moby's stale conntrack entry, which sends it to the old one for as long as it flows.
    twice(|| {
        let mut lab = Lab::new();
        let (router, old) = (lab.router(), told(&mut lab, (2, 2)));
        lab.introduce(&old, Lab::GATEWAY);
        let before = lab.publish(17, 53, old.at(53));
        for _ in 0..3 {
            assert!(arrives(&mut lab, (&router, &old), far(4000), ext(53), 53));
        }
        let new = told(&mut lab, (3, 3));
        let after = publish(17, 53, new.at(5353));
        assert_eq!(lab.must(Command::MovePublish(before, after)).ended_sessions, 1);
        lab.must(Command::RemovePort(old.port));
        let query = build::udp(router.to_gateway(), far(4000), ext(53), b"in");
        let out = lab.send(&router, &query);
        let out = answer(&mut lab, &new, &out);
        let seen = only_udp(&out, &new);
        assert_eq!((seen.src, seen.dst), (far(4000), new.at(5353)));
        // Its answer leaves by the published port.
        let reply = build::udp(new.to_gateway(), new.at(5353), far(4000), b"answer");
        assert_eq!(only_udp(&lab.send(&new, &reply), &router).src, ext(53));
        assert_eq!(sessions(&lab), 1);
        assert!(lab.drops().is_empty(), "{:?}", lab.drops());
        lab
    });
}

#[test]
fn a_connection_of_a_moved_port_is_refused_by_the_new_host_and_not_left_hanging() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, old, new) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let before = lab.publish(6, 80, old.at(80));
        let segment = |flags| build::tcp(router.to_gateway(), far(4000), ext(80), flags, b"");
        assert_eq!(only_tcp(&lab.send(&router, &segment(SYN)), &old).dst, old.at(80));
        let syn_ack = build::tcp(old.to_gateway(), old.at(80), far(4000), SYN | ACK, b"");
        lab.send(&old, &syn_ack);
        lab.must(Command::MovePublish(before, publish(6, 80, new.at(80))));
        // Mid-stream: the new host sees it, and says itself that it knows of nothing.
        assert_eq!(only_tcp(&lab.send(&router, &segment(ACK)), &new).dst, new.at(80));
        let reset = build::tcp(new.to_gateway(), new.at(80), far(4000), 4, b"");
        assert_eq!(only_tcp(&lab.send(&new, &reset), &router).src, ext(80));
        lab
    });
}

#[test]
fn a_move_that_is_refused_leaves_the_port_where_it_was() {
    let mut lab = Lab::new();
    let (router, host) = (lab.router(), lab.known_inside(2));
    let before = lab.publish(17, 53, host.at(53));
    lab.publish(17, 54, host.at(54));
    let refused = [
        publish(17, 54, host.at(55)),
        Publish { network: NetworkId(9), ..before },
        Publish { network: UPLINK, ..before },
        Publish { count: 0, ..before },
    ];
    for to in refused {
        assert!(lab.apply(Command::MovePublish(before, to)).is_err(), "{to:?}");
        assert!(arrives(&mut lab, (&router, &host), far(4000), ext(53), 53), "{to:?}");
    }
    let unknown = publish(17, 99, host.at(53));
    assert_eq!(
        lab.apply(Command::MovePublish(unknown, before)),
        Err(CommandError::NotPublished(unknown))
    );
}

#[test]
fn a_host_that_returns_with_another_mac_is_announced_and_gets_the_first_packet() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, neighbour) = (lab.router(), lab.known_inside(7));
        let old = told(&mut lab, (2, 2));
        lab.introduce(&old, Lab::GATEWAY);
        lab.publish(17, 53, old.at(53));
        assert!(arrives(&mut lab, (&router, &old), far(4000), ext(53), 53));
        lab.must(Command::RemovePort(old.port));
        let new = LabPort { mac: MacAddr([2, 0, 0, 0, 0, 0x22]), ..old };
        let spec = PortSpec { host: Some(identity(&new)), ..port_spec("again") };
        lab.must(Command::AddPort(new.port, spec));
        let out = lab.advance(Duration::ZERO);
        let told_neighbour = Lab::to(&out, &neighbour);
        assert_eq!(told_neighbour.len(), 1, "{out:02x?}");
        assert_eq!(told_neighbour[0][..6], MacAddr::BROADCAST.0);
        let arp = Arp::parse(&told_neighbour[0][14..]).unwrap();
        assert_eq!(
            (arp.operation, arp.sender_mac, arp.sender_ip, arp.target_ip),
            (ArpOperation::Request, new.mac, new.ip, new.ip)
        );
        assert!(Lab::to(&out, &router).is_empty(), "its own network only");
        let own = Lab::to(&out, &new);
        assert!(own.iter().all(|frame| frame[6..12] != new.mac.0), "not to itself");
        // The same client, the same flow: to the new MAC.
        let query = build::udp(router.to_gateway(), far(4000), ext(53), b"in");
        let out = lab.send(&router, &query);
        let seen = only_udp(&answer(&mut lab, &new, &out), &new);
        assert_eq!((seen.dst_mac, seen.dst), (new.mac, new.at(53)));
        lab
    });
}

#[test]
fn who_comes_first_or_with_the_same_mac_or_is_isolated_is_not_announced() {
    let announced = |icc: bool, mac: u8| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |bridge| bridge.icc = icc);
        let neighbour = lab.known_inside(7);
        let old = told(&mut lab, (2, 2));
        lab.must(Command::SetPortUp(old.port, false));
        lab.must(Command::RemovePort(old.port));
        let first = lab.advance(Duration::ZERO);
        let new = Guard { mac: MacAddr([2, 0, 0, 0, 0, mac]), address: old.ip };
        let spec = PortSpec { host: Some(new), ..port_spec("again") };
        lab.must(Command::AddPort(old.port, spec));
        let then = lab.advance(Duration::ZERO);
        (Lab::to(&first, &neighbour).len(), Lab::to(&then, &neighbour).len())
    };
    assert_eq!(announced(true, 3), (0, 1));
    assert_eq!(announced(true, 2), (0, 0));
    assert_eq!(announced(false, 3), (0, 0));
}

#[test]
fn control_can_say_that_a_host_has_another_mac_and_that_one_has_gone() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let neighbour = lab.known_inside(3);
        let external = leave(&mut lab, (&host, &router), 5000, far(80));
        let new = LabPort { mac: MacAddr([2, 0, 0, 0, 0, 0x22]), ..host };
        lab.must(Command::AnnounceHost(new.port, identity(&new)));
        assert_eq!(Lab::to(&lab.advance(Duration::ZERO), &neighbour).len(), 1);
        let answer = build::udp(router.to_gateway(), far(80), external, b"in");
        assert_eq!(Lab::to(&lab.send(&router, &answer), &host)[0][..6], new.mac.0);
        assert_eq!(lab.must(Command::EndHost(BRIDGE, host.ip)).ended_sessions, 1);
        assert!(!arrives(&mut lab, (&router, &host), far(80), external, 5000));
        // Of nobody, or outside, nothing ends.
        leave(&mut lab, (&neighbour, &router), 5000, far(80));
        assert_eq!(lab.must(Command::EndHost(BRIDGE, host.ip)).ended_sessions, 0);
        assert_eq!(lab.must(Command::EndHost(UPLINK, FAR)).ended_sessions, 0);
        lab
    });
}

#[test]
fn of_a_host_that_goes_all_sessions_end_whichever_end_it_is_and_nobody_elses() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let (server, other) = (lab.known_inside(2), lab.known_inside(3));
        lab.publish(17, 53, server.at(53));
        leave(&mut lab, (&server, &router), 5000, far(80));
        // From outside, from a neighbour, and from itself, each to its published port.
        for client in [&router, &other, &server] {
            let sent = build::udp(client.to_gateway(), client.at(6000), ext(53), b"");
            assert_eq!(Lab::to(&lab.send(client, &sent), &server).len(), 1);
        }
        for sport in 5000..5100 {
            leave(&mut lab, (&other, &router), sport, far(80));
        }
        assert_eq!(lab.engine.session_usage().0, 104);
        assert_eq!(lab.must(Command::EndHost(BRIDGE, server.ip)).ended_sessions, 4);
        assert_eq!(lab.must(Command::EndHost(BRIDGE, server.ip)).ended_sessions, 0);
        assert_eq!(lab.must(Command::EndHost(BRIDGE, other.ip)).ended_sessions, 100);
        assert_eq!(lab.engine.session_usage().0, 0);
        lab
    });
}

#[test]
fn a_guard_for_another_address_ends_the_sessions_of_the_former() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), guarded(&mut lab, 2));
        leave(&mut lab, (&host, &router), 5000, far(80));
        let same = Some(identity(&host));
        assert_eq!(lab.must(Command::SetPortGuard(host.port, same)).ended_sessions, 0);
        let other = Guard { mac: host.mac, address: Ipv4Addr::new(172, 17, 0, 9) };
        assert_eq!(lab.must(Command::SetPortGuard(host.port, Some(other))).ended_sessions, 1);
        let late = build::udp(host.to_gateway(), host.at(5000), far(80), b"out");
        assert!(lab.send(&host, &late).is_empty());
        assert_eq!(lab.dropped(DropReason::GuardIp), 1);
        lab
    });
}

#[test]
fn a_port_is_altered_without_its_host_noticing() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), guarded(&mut lab, 2));
        let external = leave(&mut lab, (&host, &router), 5000, far(80));
        let spec = PortSpec {
            guard: Some(identity(&host)),
            mtu: 1400,
            static_macs: vec![MacAddr([2, 0, 0, 0, 0, 0x33])],
            ..port_spec("altered")
        };
        assert_eq!(lab.must(Command::AlterPort(host.port, spec.clone())).ended_sessions, 0);
        assert!(arrives(&mut lab, (&router, &host), far(80), external, 5000));
        let rows = lab.engine.fdb_rows(lab.now());
        let statics = rows.iter().filter(|row| row.is_static && row.port.is_some());
        assert_eq!(statics.count(), 2);
        // Another host: the former one's sessions end. Another network: refused.
        let address = Ipv4Addr::new(172, 17, 0, 9);
        let guard = Some(Guard { mac: host.mac, address });
        let other = PortSpec { guard, ..spec.clone() };
        assert_eq!(lab.must(Command::AlterPort(host.port, other)).ended_sessions, 1);
        let elsewhere = PortSpec { network: UPLINK, ..spec };
        assert_eq!(
            lab.apply(Command::AlterPort(host.port, elsewhere)),
            Err(CommandError::OtherNetwork(host.port))
        );
        lab
    });
}
