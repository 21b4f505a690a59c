//! DHCP through the engine: what reaches the server, what does not, and what the client hears.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use support::*;
use tapway::control::dhcp::{Answer, DhcpServer, LeaseState, ScopePort, ScopeSettings, Silence};
use tapway::drop_reason::DropReason;
use tapway::local::dhcp::Parameters;
use tapway::switch::PortRole;
use tapway::testkit::dhcp::{
    ACK, ClientMessage, DISCOVER, INFORM, NAK, OFFER, RELEASE, REQUEST, ServerMessage,
};

const SERVER: Ipv4Addr = Lab::GATEWAY;
const XID: u32 = 0x600d_cafe;

fn settings(ports: Vec<ScopePort>) -> ScopeSettings {
    ScopeSettings {
        network: BRIDGE,
        name: "bridge".to_owned(),
        range: Some("172.17.0.100-172.17.0.199".parse().unwrap()),
        exclude: vec!["172.17.0.100".parse().unwrap()],
        lease_s: 3600,
        parameters: Parameters {
            server: "172.17.0.1/16".parse().unwrap(),
            server_mac: MacAddr::from_ipv4(SERVER),
            router: Some(SERVER),
            dns: vec![SERVER],
            domain: Some("bridge".to_owned()),
            mtu: 1450,
        },
        ports,
    }
}

fn lab_with(change: impl FnOnce(&mut tapway::engine::NetworkSpec)) -> Lab {
    Lab::with(EngineConfig::with_sessions(64), |bridge| {
        bridge.serves_dhcp = true;
        change(bridge);
    })
}

fn served(ports: Vec<ScopePort>) -> DhcpServer {
    let mut server = DhcpServer::default();
    assert!(server.follow(vec![settings(ports)]).is_empty());
    server
}

/// Lets the server answer all that the engine took; gives back what then leaves.
fn serve(lab: &mut Lab, server: &mut DhcpServer) -> Vec<(PortId, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(request) = lab.engine.poll_dhcp() {
        let answer = server.answer(lab.now(), &request).unwrap();
        for command in server.take_commands() {
            lab.must(command);
        }
        if let Answer::Reply(reply) = answer {
            lab.must(server.send(&request, &reply).unwrap());
        }
        out.extend(lab.advance(Duration::ZERO));
    }
    out
}

/// The server's message in a frame, with what it came in.
fn heard(frame: &[u8]) -> (Seen, ServerMessage) {
    let seen = read(frame);
    assert_eq!((seen.src, seen.dst.port), (Endpoint::new(SERVER, 67), 68));
    assert_eq!(seen.src_mac, MacAddr::from_ipv4(SERVER));
    assert!(seen.payload.len() >= 300, "{}", seen.payload.len());
    let message = ServerMessage::parse(&seen.payload).unwrap();
    assert_eq!(message.option(54), Some(&SERVER.octets()[..]));
    (seen, message)
}

fn ask(
    lab: &mut Lab,
    server: &mut DhcpServer,
    host: &LabPort,
    message: &ClientMessage,
) -> Option<(Seen, ServerMessage)> {
    lab.send(host, &message.frame(host.mac));
    let out = serve(lab, server);
    let to_host = Lab::to(&out, host);
    assert_eq!(to_host.len(), out.len(), "to the one who asked only");
    to_host.last().map(|frame| heard(frame))
}

fn requested(kind: u8, host: &LabPort, address: Ipv4Addr) -> ClientMessage {
    ClientMessage::new(kind, host.mac, XID).option(50, &address.octets())
}

fn selecting(host: &LabPort, address: Ipv4Addr) -> ClientMessage {
    requested(REQUEST, host, address).option(54, &SERVER.octets())
}

#[test]
fn a_client_gets_an_offer_and_a_lease_with_what_it_asked_for() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let mut server = served(Vec::new());
        let host = lab.inside(2);
        let list = [1, 3, 6, 12, 15, 26, 28, 51, 54, 121];
        let discover =
            ClientMessage::new(DISCOVER, host.mac, XID).option(55, &list).option(12, b"Web1.lab");
        let (seen, offer) = ask(&mut lab, &mut server, &host, &discover).unwrap();
        assert_eq!((seen.dst_mac, seen.dst.ip), (host.mac, offer.your_ip));
        assert_eq!((offer.kind, offer.xid), (OFFER, XID));
        assert_eq!(offer.your_ip, Ipv4Addr::new(172, 17, 0, 101), "the first is excluded");
        let request = selecting(&host, offer.your_ip).option(55, &list).option(12, b"Web1.lab");
        let (_, ack) = ask(&mut lab, &mut server, &host, &request).unwrap();
        assert_eq!((ack.kind, ack.your_ip), (ACK, offer.your_ip));
        let expected: [(u8, &[u8]); 10] = [
            (51, &3600_u32.to_be_bytes()),
            (58, &1800_u32.to_be_bytes()),
            (59, &3150_u32.to_be_bytes()),
            (1, &[255, 255, 0, 0]),
            (3, &[172, 17, 0, 1]),
            (6, &[172, 17, 0, 1]),
            (12, b"web1"),
            (15, b"bridge"),
            (26, &1450_u16.to_be_bytes()),
            (121, &[0, 172, 17, 0, 1]),
        ];
        for (number, value) in expected {
            assert_eq!(ack.option(number), Some(value), "option {number}");
        }
        let names = server.names();
        assert_eq!(names, [(BRIDGE, "web1".to_owned(), ack.your_ip)]);
        assert_eq!(server.rows(lab.now())[0].state, LeaseState::Bound);
        lab
    });
}

#[test]
fn only_what_is_asked_for_is_told_and_the_broadcast_flag_is_obeyed() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let mut server = served(Vec::new());
        let host = lab.inside(2);
        let discover = ClientMessage::new(DISCOVER, host.mac, XID).option(55, &[1, 51]).broadcast();
        let (seen, offer) = ask(&mut lab, &mut server, &host, &discover).unwrap();
        assert_eq!((seen.dst_mac, seen.dst.ip), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST));
        for number in [3, 6, 12, 15, 26, 121] {
            assert_eq!(offer.option(number), None, "option {number}");
        }
        lab
    });
}

#[test]
fn a_lease_is_renewed_by_unicast_and_ends_by_release() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let mut server = served(Vec::new());
        let host = lab.inside(2);
        let discover = ClientMessage::new(DISCOVER, host.mac, XID);
        let (_, offer) = ask(&mut lab, &mut server, &host, &discover).unwrap();
        let address = offer.your_ip;
        ask(&mut lab, &mut server, &host, &selecting(&host, address)).unwrap();
        lab.advance(Duration::from_secs(1800));
        let renew = ClientMessage::new(REQUEST, host.mac, XID + 1).client_ip(address);
        lab.send(&host, &renew.frame_to(host.to_gateway(), address, SERVER));
        let out = serve(&mut lab, &mut server);
        let (seen, ack) = heard(&only(&out, &host));
        assert_eq!((ack.kind, ack.xid, seen.dst.ip), (ACK, XID + 1, address));
        assert_eq!(server.rows(lab.now())[0].remaining_s, 3600);
        // Inform: the rest, without a lease.
        let inform = ClientMessage::new(INFORM, host.mac, XID).client_ip(address);
        lab.send(&host, &inform.frame_to(host.to_gateway(), address, SERVER));
        let (_, ack) = heard(&only(&serve(&mut lab, &mut server), &host));
        assert_eq!((ack.kind, ack.option(51)), (ACK, None));
        assert!(ack.your_ip.is_unspecified());
        let release = ClientMessage::new(RELEASE, host.mac, XID).client_ip(address);
        lab.send(&host, &release.frame_to(host.to_gateway(), address, SERVER));
        assert!(serve(&mut lab, &mut server).is_empty());
        assert!(server.rows(lab.now()).is_empty());
        assert_eq!(lab.dropped(DropReason::MartianSource), 0);
        lab
    });
}

#[test]
fn what_belongs_elsewhere_is_refused_and_another_servers_clients_are_left_alone() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let mut server = served(Vec::new());
        let host = lab.inside(2);
        let foreign = requested(REQUEST, &host, Ipv4Addr::new(10, 0, 0, 5));
        let (seen, nak) = ask(&mut lab, &mut server, &host, &foreign).unwrap();
        assert_eq!((nak.kind, seen.dst_mac), (NAK, MacAddr::BROADCAST));
        assert!(nak.option(56).is_some() && nak.option(51).is_none());
        let other = requested(REQUEST, &host, Ipv4Addr::new(172, 17, 0, 101));
        let other = other.option(54, &[172, 17, 0, 9]);
        assert_eq!(ask(&mut lab, &mut server, &host, &other), None);
        // After a restart of tapway a client may keep what nobody else has.
        let reboot = requested(REQUEST, &host, Ipv4Addr::new(172, 17, 0, 150));
        let (_, ack) = ask(&mut lab, &mut server, &host, &reboot).unwrap();
        assert_eq!((ack.kind, ack.your_ip), (ACK, Ipv4Addr::new(172, 17, 0, 150)));
        let thief = lab.inside(3);
        let theft = requested(REQUEST, &thief, Ipv4Addr::new(172, 17, 0, 150));
        let (_, nak) = ask(&mut lab, &mut server, &thief, &theft).unwrap();
        assert_eq!(nak.kind, NAK);
        lab
    });
}

#[test]
fn the_others_hear_the_broadcast_unless_hosts_are_isolated() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let (host, other) = (lab.inside(2), lab.inside(3));
        let frame = ClientMessage::new(DISCOVER, host.mac, XID).frame(host.mac);
        assert_eq!(only(&lab.send(&host, &frame), &other), frame);
        assert!(lab.engine.poll_dhcp().is_some());
        lab
    });
    twice(|| {
        let mut lab = lab_with(|bridge| bridge.icc = false);
        let (host, _) = (lab.inside(2), lab.inside(3));
        let frame = ClientMessage::new(DISCOVER, host.mac, XID).frame(host.mac);
        assert!(lab.send(&host, &frame).is_empty());
        assert!(lab.engine.poll_dhcp().is_some() && lab.drops().is_empty());
        lab
    });
}

#[test]
fn a_network_that_is_not_served_floods_and_takes_nothing() {
    twice(|| {
        let mut lab = Lab::new();
        let (host, other) = (lab.inside(2), lab.inside(3));
        let frame = ClientMessage::new(DISCOVER, host.mac, XID).frame(host.mac);
        assert_eq!(only(&lab.send(&host, &frame), &other), frame);
        assert_eq!(lab.engine.poll_dhcp(), None);
        lab
    });
}

#[test]
fn a_flood_of_one_port_is_counted_and_keeps_nobody_else_from_asking() {
    let mut lab = lab_with(|_| {});
    lab.alone();
    let (flooder, other) = (lab.inside(2), lab.inside(3));
    for number in 0..100_u8 {
        let mac = MacAddr([2, 0, 0, 0, 7, number]);
        lab.send(&flooder, &ClientMessage::new(DISCOVER, mac, XID).frame(mac));
    }
    lab.send(&other, &ClientMessage::new(DISCOVER, other.mac, XID).frame(other.mac));
    let mut taken: Vec<PortId> = Vec::new();
    while let Some(request) = lab.engine.poll_dhcp() {
        taken.push(request.port);
    }
    assert_eq!(taken.iter().filter(|port| **port == flooder.port).count(), 40);
    assert_eq!(taken.last(), Some(&other.port));
    // The others heard all of them: the frames themselves were flooded.
    assert_eq!(lab.dropped(DropReason::DhcpLimit), 60);
    assert!(lab.is_balanced());
    assert_eq!(lab.engine.totals().dropped, 0);
}

#[test]
fn who_asks_in_ever_new_names_leaves_half_of_the_addresses_to_others() {
    let mut lab = lab_with(|_| {});
    lab.alone();
    let mut server = served(Vec::new());
    let (greedy, other) = (lab.inside(2), lab.inside(3));
    let mut refused = 0;
    for number in 0..90_u8 {
        let mac = MacAddr([2, 0, 0, 0, 7, number]);
        lab.advance(Duration::from_millis(100));
        lab.send(&greedy, &ClientMessage::new(DISCOVER, mac, XID).frame(mac));
        while let Some(request) = lab.engine.poll_dhcp() {
            match server.answer(lab.now(), &request).unwrap() {
                Answer::Silence(Silence::PortQuota) => refused += 1,
                Answer::Silence(other) => panic!("{other}"),
                Answer::Reply(_) => {}
            }
        }
    }
    assert_eq!(refused, 40, "half of the hundred addresses of the range");
    let discover = ClientMessage::new(DISCOVER, other.mac, XID);
    assert!(ask(&mut lab, &mut server, &other, &discover).is_some());
}

#[test]
fn a_guarded_host_may_use_what_it_has_leased_and_nothing_else() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let guard = Guard { mac, address: Ipv4Addr::UNSPECIFIED };
        let spec = PortSpec {
            name: "vm".to_owned(),
            network: BRIDGE,
            mtu: 1500,
            guard: Some(guard),
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: true,
        };
        let host = lab.attach_with(spec, SERVER, Ipv4Addr::new(172, 17, 0, 101));
        let host = LabPort { mac, ..host };
        let port = ScopePort {
            id: host.port,
            name: "vm".to_owned(),
            mac: Some(mac),
            address: None,
            guard: Some(guard),
        };
        let mut server = served(vec![port]);
        let ping = build::echo(host.to_gateway(), host.ip, SERVER, 1, false);
        assert!(lab.send(&host, &ping).is_empty());
        assert_eq!(lab.dropped(DropReason::GuardIp), 1);
        // Nor may it ask in the name of another one.
        let forged = ClientMessage::new(DISCOVER, MacAddr([2, 0, 0, 0, 0, 8]), XID);
        lab.send(&host, &forged.frame(host.mac));
        assert_eq!((lab.dropped(DropReason::GuardMac), lab.engine.poll_dhcp()), (1, None));

        let discover = ClientMessage::new(DISCOVER, host.mac, XID);
        let (_, offer) = ask(&mut lab, &mut server, &host, &discover).unwrap();
        assert_eq!(offer.your_ip, host.ip);
        assert!(lab.send(&host, &ping).is_empty(), "an offer is no lease");
        ask(&mut lab, &mut server, &host, &selecting(&host, host.ip)).unwrap();
        assert_eq!(Lab::to(&lab.send(&host, &ping), &host).len(), 1);
        let foreign = Ipv4Addr::new(172, 17, 0, 102);
        assert!(
            lab.send(&host, &build::echo(host.to_gateway(), foreign, SERVER, 1, false)).is_empty()
        );
        lab.advance(Duration::from_secs(3601));
        server.expire(lab.now());
        for command in server.take_commands() {
            lab.must(command);
        }
        assert!(lab.send(&host, &ping).is_empty(), "the lease is over");
        lab
    });
}

#[test]
fn the_server_can_ask_whether_an_address_is_in_use() {
    twice(|| {
        let mut lab = lab_with(|_| {});
        let squatter = lab.inside(101);
        let (used, free) = (squatter.ip, Ipv4Addr::new(172, 17, 0, 102));
        for address in [used, free] {
            lab.must(Command::AskNeighbour(BRIDGE, address, squatter.port));
        }
        let out = lab.advance(Duration::ZERO);
        assert_eq!(Lab::arp_targets(&out), [used, free]);
        let (mac, gateway) = (MacAddr::from_ipv4(SERVER), SERVER);
        lab.send(&squatter, &build::arp_reply(squatter.mac, used, (mac, gateway)));
        assert_eq!(lab.engine.neighbour(lab.now(), BRIDGE, used), Some(squatter.mac));
        assert_eq!(lab.engine.neighbour(lab.now(), BRIDGE, free), None);
        lab
    });
}

#[test]
fn frames_of_control_are_bounded_and_go_to_ports_that_are_there() {
    let mut lab = Lab::new();
    lab.alone();
    let host = lab.inside(2);
    let frame = Bytes::from_static(&[0xff; 60]);
    assert!(lab.apply(Command::Send(PortId(77), frame.clone())).is_err());
    let sent = (0..1000).filter(|_| lab.apply(Command::Send(host.port, frame.clone())).is_ok());
    assert_eq!(sent.count(), 256);
    assert_eq!(lab.advance(Duration::ZERO).len(), 256);
    lab.must(Command::Send(host.port, frame));
    lab.must(Command::RemovePort(host.port));
    assert!(lab.advance(Duration::ZERO).is_empty());
}
