//! ARP and the neighbour table through the whole engine.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{Command, Event};
use tapway::packet::{Arp, ArpOperation, MacAddr};
use tapway::route::NeighbourState;

const ABSENT: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 9);

fn state(lab: &Lab, ip: Ipv4Addr) -> Option<NeighbourState> {
    lab.engine.neighbour_rows(lab.now()).into_iter().find(|row| row.address == ip).map(|r| r.state)
}

fn arp(frame: &[u8]) -> Arp {
    Arp::parse(&frame[14..]).unwrap()
}

/// A datagram to a neighbour by way of the router.
fn to_absent(host: &LabPort) -> Vec<u8> {
    build::udp(host.to_gateway(), host.at(1), Endpoint::new(ABSENT, 2), b"wait")
}

fn reply(host: &LabPort) -> Vec<u8> {
    build::arp_reply(host.mac, host.ip, (host.gateway, Lab::GATEWAY))
}

#[test]
fn own_addresses_are_answered_by_unicast_and_no_others() {
    twice(|| {
        let mut lab = Lab::new();
        let (host, other) = (lab.inside(2), lab.inside(3));
        let broadcast = build::arp_request(host.mac, host.ip, Lab::GATEWAY);
        let mut unicast = broadcast.clone();
        unicast[..6].copy_from_slice(&host.gateway.0);
        let probe = build::arp_request(host.mac, Ipv4Addr::UNSPECIFIED, Lab::GATEWAY);
        for (request, sender) in
            [(broadcast, host.ip), (unicast, host.ip), (probe, Ipv4Addr::UNSPECIFIED)]
        {
            let answers = Lab::to(&lab.send(&host, &request), &host);
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0][..12], [host.mac.0, host.gateway.0].concat());
            let answer = arp(&answers[0]);
            assert_eq!(answer.operation, ArpOperation::Reply);
            assert_eq!((answer.sender_mac, answer.sender_ip), (host.gateway, Lab::GATEWAY));
            assert_eq!((answer.target_mac, answer.target_ip), (host.mac, sender));
        }
        // Not for a neighbour, and not for tapway's address on another network.
        for target in [other.ip, Lab::EXTERNAL] {
            let out = lab.send(&host, &build::arp_request(host.mac, host.ip, target));
            assert!(Lab::to(&out, &host).is_empty());
            assert_eq!(Lab::to(&out, &other).len(), 1);
        }
        lab
    });
}

#[test]
fn extra_addresses_of_the_uplink_are_answered_too() {
    twice(|| {
        let mut lab = Lab::new();
        let mut uplink = Lab::network_spec("uplink", Lab::EXTERNAL, 24);
        uplink.is_outside = true;
        let extra = Ipv4Addr::new(192, 168, 33, 20);
        uplink.gateway.as_mut().unwrap().statics =
            vec![(BRIDGE, Ipv4Addr::new(172, 17, 0, 2), extra)];
        uplink.gateway.as_mut().unwrap().pool = vec![Ipv4Addr::new(192, 168, 33, 21)];
        lab.must(Command::AddNetwork(UPLINK, uplink));
        let router = lab.router();
        for own in [extra, Ipv4Addr::new(192, 168, 33, 21)] {
            let out = lab.send(&router, &build::arp_request(router.mac, router.ip, own));
            assert_eq!(arp(&only(&out, &router)).sender_ip, own);
        }
        lab
    });
}

#[test]
fn a_port_that_is_attached_hears_who_the_gateway_is() {
    twice(|| {
        let mut lab = Lab::new();
        lab.must(Command::AddPort(PortId(40), port_spec("new")));
        // A busy loop would ask for ever; once is enough.
        assert!(lab.engine.poll_timeout().is_some_and(|at| at <= lab.now()));
        let out = lab.advance(Duration::ZERO);
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].0, &out[0].1[..6]), (PortId(40), &MacAddr::BROADCAST.0[..]));
        let said = arp(&out[0].1);
        assert_eq!(said.operation, ArpOperation::Request);
        assert_eq!((said.sender_ip, said.target_ip), (Lab::GATEWAY, Lab::GATEWAY));
        assert!(lab.engine.poll_timeout().is_none_or(|at| at > lab.now()));
        lab
    });
}

#[test]
fn a_request_for_us_makes_an_entry_and_nothing_else_does() {
    twice(|| {
        let mut lab = Lab::new();
        let (host, _) = (lab.inside(2), lab.inside(3));
        lab.send(&host, &reply(&host));
        lab.send(&host, &build::arp_request(host.mac, host.ip, host.ip));
        lab.send(&host, &build::arp_request(host.mac, host.ip, ABSENT));
        lab.send(&host, &build::arp_reply(host.mac, host.ip, (MacAddr::BROADCAST, host.ip)));
        let foreign = Ipv4Addr::new(10, 9, 9, 9);
        lab.send(&host, &build::arp_request(host.mac, foreign, Lab::GATEWAY));
        assert!(lab.engine.neighbour_rows(lab.now()).is_empty());
        assert_eq!(lab.dropped(DropReason::ArpUnsolicited), 1);
        lab.introduce(&host, Lab::GATEWAY);
        assert_eq!(state(&lab, host.ip), Some(NeighbourState::Stale));
        lab
    });
}

#[test]
fn a_gratuitous_message_updates_a_known_neighbour() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let far = at([203, 0, 113, 7], 53);
        lab.send(&host, &build::udp(host.to_gateway(), host.at(5000), far, b""));
        let answer = build::udp(router.to_gateway(), far, ext(5000), b"");
        only_udp(&lab.send(&router, &answer), &host);
        // The host's address moves to another MAC on another port: the cached flow follows.
        let heir = LabPort { mac: MacAddr([2; 6]), ip: host.ip, ..lab.inside(3) };
        lab.send(&heir, &build::arp_request(heir.mac, heir.ip, heir.ip));
        assert_eq!(state(&lab, host.ip), Some(NeighbourState::Stale));
        let seen = only_udp(&lab.send(&router, &answer), &heir);
        assert_eq!(seen.dst_mac, heir.mac);
        lab
    });
}

#[test]
fn claims_to_our_address_are_defended_and_never_believed() {
    twice(|| {
        let mut lab = Lab::new();
        let (thief, other) = (lab.inside(2), lab.inside(3));
        let claim = build::arp_request(thief.mac, Lab::GATEWAY, Lab::GATEWAY);
        let out = lab.send(&thief, &claim);
        // Others, who may have heard it, hear whose it is, and not the claim.
        for host in [&thief, &other] {
            let heard = Lab::to(&out, host);
            assert_eq!((heard.len(), &heard[0][..6]), (1, &MacAddr::BROADCAST.0[..]));
            let said = arp(&heard[0]);
            assert_eq!((said.sender_mac, said.sender_ip), (thief.gateway, Lab::GATEWAY));
        }
        assert_eq!(lab.drops(), [("duplicate_address".to_owned(), 1)].into());
        let told =
            Event::DuplicateAddress { network: BRIDGE, address: Lab::GATEWAY, mac: thief.mac };
        assert_eq!(lab.engine.poll_event(), Some(told));
        assert!(lab.engine.neighbour_rows(lab.now()).is_empty());
        // Nor may a neighbour claim the gateway's MAC as its own.
        lab.must(Command::RemovePort(other.port));
        let mut forged = build::arp_request(thief.mac, thief.ip, Lab::GATEWAY);
        forged[22..28].copy_from_slice(&thief.gateway.0);
        lab.send(&thief, &forged);
        assert!(lab.engine.neighbour_rows(lab.now()).is_empty());
        assert_eq!(lab.dropped(DropReason::OwnMacAsSource), 1);
        lab
    });
}

#[test]
fn a_claim_to_our_address_reaches_no_neighbour_whatever_is_wrong_with_it() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let (thief, other) = (lab.inside(2), lab.inside(3));
        let claim = build::arp_request(thief.mac, Lab::GATEWAY, Lab::GATEWAY);
        let mut of_a_group = claim.clone();
        of_a_group[22] |= 1;
        assert!(lab.send(&thief, &of_a_group).is_empty());
        assert_eq!(lab.dropped(DropReason::ArpMalformed), 1);
        // The defence has its rate, the refusal of claims has none.
        for _ in 0..60 {
            let out = lab.send(&thief, &claim);
            assert!(
                Lab::to(&out, &other).iter().all(|frame| arp(frame).sender_mac == other.gateway)
            );
        }
        assert_eq!(lab.dropped(DropReason::DuplicateAddress), 60);
        assert!(lab.send(&thief, &claim).is_empty());
        // A probe claims nothing, and others are to hear it.
        let probe = build::arp_request(thief.mac, Ipv4Addr::UNSPECIFIED, Lab::GATEWAY);
        assert_eq!(Lab::to(&lab.send(&thief, &probe), &other), [probe]);
        lab
    });
}

#[test]
fn frames_wait_for_the_answer_in_order_and_one_request_a_second_goes_out() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.inside(9));
        let numbered = |n: u8| build::udp(a.to_gateway(), a.at(1), b.at(u16::from(n)), &[n]);
        let mut requests = Vec::new();
        for n in 1..=5 {
            requests.extend(Lab::arp_targets(&lab.send(&a, &numbered(n))));
        }
        // Flooded to both ports, but asked once.
        assert_eq!(requests, [b.ip, b.ip]);
        assert_eq!(state(&lab, b.ip), Some(NeighbourState::Incomplete));
        assert_eq!(lab.engine.totals().waiting, 5);
        lab.advance(Duration::from_millis(900));
        let out = lab.send(&b, &reply(&b));
        let payloads: Vec<_> = Lab::to(&out, &b).iter().map(|frame| read(frame).payload).collect();
        assert_eq!(payloads, [[1], [2], [3], [4], [5]]);
        assert_eq!(state(&lab, b.ip), Some(NeighbourState::Reachable));
        assert_eq!(lab.engine.totals().waiting, 0);
        assert!(lab.drops().is_empty());
        lab
    });
}

#[test]
fn an_absent_neighbour_is_asked_for_three_times_and_each_frame_is_reported() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        for _ in 0..3 {
            lab.send(&host, &to_absent(&host));
        }
        let out = lab.advance(Duration::from_secs(10));
        assert_eq!(Lab::arp_targets(&out), [ABSENT; 2]);
        let errors: Vec<_> =
            out.iter().filter(|(_, frame)| frame[12..14] == [8, 0]).map(|(_, f)| read(f)).collect();
        assert_eq!(errors.len(), 3);
        for error in errors {
            assert_eq!((error.src.ip, error.dst.ip), (Lab::GATEWAY, host.ip));
            assert_eq!(error.payload[..2], [3, 1]);
            assert_eq!(error.payload[8..], to_absent(&host)[14..]);
        }
        assert_eq!(lab.dropped(DropReason::HostUnreachable), 3);
        assert_eq!(state(&lab, ABSENT), Some(NeighbourState::Failed));
        // The next packet asks again.
        assert_eq!(Lab::arp_targets(&lab.send(&host, &to_absent(&host))), [ABSENT]);
        lab
    });
}

#[test]
fn the_queue_is_bounded_and_the_oldest_goes() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.inside(9));
        for n in 0..150u8 {
            lab.send(&a, &build::udp(a.to_gateway(), a.at(1), b.at(2), &[n]));
        }
        assert_eq!(lab.engine.totals().waiting, 101);
        assert_eq!(lab.dropped(DropReason::HoldQueueFull), 49);
        let out = Lab::to(&lab.send(&b, &reply(&b)), &b);
        let first = read(&out[0]).payload;
        assert_eq!((out.len(), first), (101, vec![49]));
        lab
    });
}

#[test]
fn a_host_that_sends_to_absent_addresses_leaves_the_others_room_to_wait() {
    twice(|| {
        let mut lab = Lab::new();
        let (greedy, other) = (lab.known_inside(2), lab.known_inside(3));
        let late = lab.inside(9);
        for last in 0..80u8 {
            for _ in 0..101 {
                let absent = at([172, 17, 9, last], 9);
                let datagram = build::udp(greedy.to_gateway(), greedy.at(1000), absent, &[0; 1400]);
                lab.send(&greedy, &datagram);
            }
        }
        let lost = lab.dropped(DropReason::HoldQueueFull);
        let wanted = build::udp(other.to_gateway(), other.at(1), late.at(2), &[0; 1400]);
        lab.send(&other, &wanted);
        assert_eq!(lab.dropped(DropReason::HoldQueueFull), lost);
        assert_eq!(Lab::to(&lab.send(&late, &reply(&late)), &late).len(), 1);
        lab
    });
}

#[test]
fn a_neighbour_in_use_is_probed_by_unicast_and_one_that_left_fails() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let far = at([203, 0, 113, 7], 53);
        let query = build::udp(host.to_gateway(), host.at(5000), far, b"");
        lab.send(&host, &query);
        let answer = build::udp(router.to_gateway(), far, ext(5000), b"");
        only_udp(&lab.send(&router, &answer), &host);
        assert_eq!(state(&lab, host.ip), Some(NeighbourState::Delay));
        let out = lab.advance(Duration::from_millis(5200));
        let probes = Lab::to(&out, &host);
        assert_eq!(probes.len(), 1);
        assert_eq!(probes[0][..6], host.mac.0);
        lab.send(&host, &reply(&host));
        assert_eq!(state(&lab, host.ip), Some(NeighbourState::Reachable));
        // It is gone now, and cached flows must not hide that.
        lab.advance(Duration::from_secs(60));
        only_udp(&lab.send(&router, &answer), &host);
        let out = lab.advance(Duration::from_secs(9));
        assert_eq!(Lab::arp_targets(&out).iter().filter(|ip| **ip == host.ip).count(), 3);
        assert_eq!(state(&lab, host.ip), Some(NeighbourState::Failed));
        let out = lab.send(&router, &answer);
        assert_eq!(Lab::arp_targets(&out), [host.ip]);
        lab.advance(Duration::from_secs(4));
        assert_eq!(lab.dropped(DropReason::HostUnreachable), 1);
        lab
    });
}

#[test]
fn a_neighbour_whose_port_goes_down_is_asked_for_again_when_it_is_back() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, other) = (lab.router(), lab.known_inside(3));
        let host = lab.known_inside(2);
        let ping = |lab: &mut Lab| {
            let out = build::udp(host.to_gateway(), host.at(1), at([192, 168, 33, 1], 2), b"x");
            lab.send(&host, &out)
        };
        assert_eq!(only_udp(&ping(&mut lab), &router).dst_mac, router.mac);
        lab.must(Command::SetPortUp(router.port, false));
        assert_eq!(state(&lab, router.ip), None);
        assert!(state(&lab, other.ip).is_some());

        lab.must(Command::SetPortUp(router.port, true));
        lab.advance(Duration::ZERO);
        assert_eq!(Lab::arp_targets(&ping(&mut lab)), [router.ip]);
        // Another machine has its place, and its address, but not its MAC.
        let heir = LabPort { mac: MacAddr([2, 0, 0, 0, 0, 9]), ..router };
        let answer = build::arp_reply(heir.mac, heir.ip, (heir.gateway, Lab::EXTERNAL));
        assert_eq!(only_udp(&lab.send(&heir, &answer), &heir).dst_mac, heir.mac);
        lab
    });
}

#[test]
fn a_scan_stops_itself_and_leaves_the_living_alone() {
    twice(|| {
        let mut config = EngineConfig::with_sessions(64);
        config.neighbours.total = 64;
        config.neighbours.unresolved_per_port = 16;
        let mut lab = Lab::with(config, |_| {});
        lab.alone();
        let (router, host, scanner) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let far = at([203, 0, 113, 7], 53);
        let query = build::udp(host.to_gateway(), host.at(5000), far, b"");
        only_udp(&lab.send(&host, &query), &router);
        for last in 10..250 {
            let target = at([172, 17, 1, last], 80);
            lab.send(&scanner, &build::udp(scanner.to_gateway(), scanner.at(1), target, b""));
        }
        assert_eq!(lab.dropped(DropReason::NeighbourTableFull), 224);
        only_udp(&lab.send(&host, &query), &router);
        // Others may still resolve.
        assert_eq!(Lab::arp_targets(&lab.send(&host, &to_absent(&host))).len(), 2);
        lab
    });
}

#[test]
fn removing_what_frames_wait_for_ends_them_at_the_next_timeout() {
    twice(|| {
        let mut lab = Lab::new();
        add_other_network(&mut lab);
        let router = lab.router();
        let server = at([10, 2, 0, 9], 53);
        let publish = tapway::nat::Publish {
            protocol: 17,
            address: None,
            port: 53,
            count: 1,
            network: OTHER,
            target: server,
        };
        lab.must(Command::Publish(publish));
        let client = at([203, 0, 113, 7], 9);
        lab.send(&router, &build::udp(router.to_gateway(), client, ext(53), b""));
        assert_eq!(lab.engine.totals().waiting, 1);
        lab.must(Command::RemoveNetwork(OTHER));
        assert!(lab.is_balanced());
        assert!(lab.engine.poll_timeout().is_some_and(|at| at <= lab.now()));
        let out = lab.advance(Duration::ZERO);
        assert_eq!(only_icmp(&out, &router).payload[..2], [3, 1]);
        assert_eq!(lab.dropped(DropReason::HostUnreachable), 1);
        assert!(lab.engine.poll_timeout().is_none_or(|at| at > lab.now()));
        lab
    });
}

#[test]
fn timers_never_ask_to_be_called_in_the_past() {
    let mut lab = Lab::new();
    let (router, host) = (lab.router(), lab.known_inside(2));
    let far = at([203, 0, 113, 7], 53);
    lab.send(&host, &build::udp(host.to_gateway(), host.at(5000), far, b""));
    lab.send(&host, &to_absent(&host));
    lab.send(&router, &build::udp(router.to_gateway(), far, ext(5000), b""));
    let mut tx = tapway::packet::TxLists::new();
    let mut now = lab.now();
    // Sleep exactly until told, as the worker does; then nothing may be due any more.
    for _ in 0..2000 {
        let Some(at) = lab.engine.poll_timeout() else { break };
        assert!(at > now, "{at:?} is not after {now:?}");
        now = at;
        tx.clear();
        lab.engine.handle_timeout(now, &mut tx);
    }
    assert_eq!(lab.engine.poll_timeout(), None, "everything has expired");
    assert_eq!(lab.engine.session_usage().0, 0);
}

#[test]
fn a_gateway_that_changes_is_announced_to_all_of_its_network() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let hosts: Vec<_> = (2..=201).map(|last| lab.inside(last)).collect();
        let mut bridge = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        assert!(lab.must(Command::AddNetwork(BRIDGE, bridge.clone())).ended_sessions == 0);
        assert!(lab.advance(Duration::ZERO).is_empty(), "nothing has changed");
        bridge.gateway.as_mut().unwrap().mac = MacAddr([2, 9, 9, 9, 9, 9]);
        lab.must(Command::AddNetwork(BRIDGE, bridge));
        let out = lab.advance(Duration::ZERO);
        for host in &hosts {
            let said = arp(&Lab::to(&out, host)[0]);
            assert_eq!((said.sender_mac.0[1], said.sender_ip), (9, Lab::GATEWAY));
        }
        assert_eq!(out.len(), hosts.len());
        lab
    });
}

#[test]
fn frames_that_wait_do_not_pass_to_the_next_owner_of_their_port_number() {
    twice(|| {
        let mut lab = Lab::new();
        add_other_network(&mut lab);
        let (a, b) = (lab.known_inside(2), lab.inside(9));
        lab.send(&a, &build::udp(a.to_gateway(), a.at(1), b.at(2), b""));
        let absent = at([172, 17, 0, 77], 2);
        lab.send(&a, &build::udp(a.to_gateway(), a.at(1), absent, b""));
        lab.must(Command::RemovePort(a.port));
        let spec = PortSpec { network: OTHER, ..port_spec("next") };
        lab.must(Command::AddPort(a.port, spec));
        lab.advance(Duration::ZERO);
        // Neither released nor reported to the new one.
        assert!(lab.send(&b, &reply(&b)).is_empty());
        assert!(Lab::to(&lab.advance(Duration::from_secs(5)), &a).is_empty());
        assert_eq!(lab.engine.totals().dropped, 2);
        lab
    });
}

#[test]
fn a_port_that_is_removed_ends_cached_flows_to_it() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), guarded(&mut lab, 2));
        let far = at([203, 0, 113, 7], 53);
        lab.send(&host, &build::udp(host.to_gateway(), host.at(5000), far, b""));
        let answer = build::udp(router.to_gateway(), far, ext(5000), b"");
        for _ in 0..2 {
            only_udp(&lab.send(&router, &answer), &host);
        }
        lab.must(Command::RemovePort(host.port));
        let out = lab.send(&router, &answer);
        assert!(out.iter().all(|(port, _)| *port != host.port), "{out:02x?}");
        // With its session.
        assert_eq!(lab.dropped(DropReason::NoSession), 1);
        lab
    });
}

#[test]
fn steady_traffic_to_an_absent_neighbour_asks_once_a_second_at_most() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        let mut asked = Vec::new();
        for tenth in 0..200 {
            let mut out = lab.send(&host, &to_absent(&host));
            out.extend(lab.advance(Duration::from_millis(100)));
            asked.extend(Lab::arp_targets(&out).iter().filter(|ip| **ip == ABSENT).map(|_| tenth));
        }
        assert!(asked.len() >= 15, "{asked:?}");
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 10), "{asked:?}");
        lab
    });
}

#[test]
fn a_neighbour_that_failed_and_speaks_again_is_known_at_once() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.known_inside(9));
        lab.send(&a, &to_absent(&a));
        lab.advance(Duration::from_secs(9));
        assert_eq!(state(&lab, b.ip), Some(NeighbourState::Failed));
        lab.introduce(&b, Lab::GATEWAY);
        assert_eq!(state(&lab, b.ip), Some(NeighbourState::Stale));
        lab.introduce(&a, Lab::GATEWAY);
        only_udp(&lab.send(&a, &to_absent(&a)), &b);
        lab
    });
}

#[test]
fn only_a_reply_to_us_confirms_a_neighbour() {
    twice(|| {
        let mut lab = Lab::new();
        let (a, b) = (lab.known_inside(2), lab.inside(9));
        lab.send(&a, &to_absent(&a));
        let mut broadcast = reply(&b);
        broadcast[..6].copy_from_slice(&MacAddr::BROADCAST.0);
        let out = lab.send(&b, &broadcast);
        assert_eq!(Lab::to(&out, &b).len(), 1, "released");
        assert_ne!(state(&lab, b.ip), Some(NeighbourState::Reachable));
        lab.advance(Duration::from_secs(5));
        lab.send(&b, &reply(&b));
        assert_eq!(state(&lab, b.ip), Some(NeighbourState::Reachable));
        lab
    });
}

#[test]
fn a_start_with_thousands_of_ports_announces_the_gateway_to_each() {
    let mut lab = Lab::new();
    lab.alone();
    for number in 0..3000 {
        lab.must(Command::AddPort(PortId(number), port_spec(&format!("port-{number}"))));
    }
    let mut announced = std::collections::HashSet::new();
    while lab.engine.poll_timeout().is_some_and(|at| at <= lab.now()) {
        for (port, _) in lab.advance(Duration::ZERO) {
            assert!(announced.insert(port));
        }
    }
    assert_eq!(announced.len(), 3000);
}
