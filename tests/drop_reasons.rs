//! Every drop reason by a frame that ends under it: exactly one, and no other reason.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use support::stretched::*;
use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::NetworkSpec;
use tapway::local::dns::NameTable;
use tapway::nat::Publish;
use tapway::packet::tcp::SYN;
use tapway::packet::{FrameView, Offload, PortSpan};
use tapway::switch::{PortLimits, RateLimit};
use tapway::testkit::dhcp::{ClientMessage, DISCOVER};

/// Reasons that only a device can bring about; the tests of the ports drive them.
const OF_DEVICES: &[DropReason] = &[
    DropReason::HandOverQueueFull,
    DropReason::TxQueueFull,
    DropReason::TxError,
    DropReason::TxDeviceGone,
    DropReason::DeviceTxDropped,
    DropReason::DeviceRxDropped,
    DropReason::RingOverrun,
    DropReason::ReadTruncated,
];

/// For each reason a test whose scenario ends in one frame dropped for it and none for another.
macro_rules! drops {
    ($($reason:ident $test:ident($lab:ident) $scenario:block)*) => {
        const DRIVEN: &[DropReason] = &[$(DropReason::$reason),*];
        $(
            #[test]
            fn $test() {
                twice(|| {
                    let mut lab = Lab::new();
                    {
                        let $lab = &mut lab;
                        $scenario
                    }
                    let expected = BTreeMap::from([(DropReason::$reason.name().to_owned(), 1)]);
                    assert_eq!(lab.drops(), expected);
                    assert_eq!(lab.engine.totals().dropped, 1);
                    lab
                });
            }
        )*
    };
}

#[test]
fn every_reason_has_a_test() {
    let missing: Vec<_> = DropReason::ALL
        .iter()
        .filter(|reason| {
            !DRIVEN.contains(reason)
                && !OF_DEVICES.contains(reason)
                && **reason != DropReason::UnknownPort
        })
        .collect();
    assert!(missing.is_empty(), "no test drives {missing:?}");
}

#[test]
fn unknown_port() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.inside(2);
        let frame = build::arp_request(host.mac, host.ip, Lab::GATEWAY);
        assert!(lab.send_all(&[(PortId(99), frame)]).is_empty());
        let totals = lab.engine.totals();
        assert_eq!((totals.dropped, totals.unknown_port), (1, 1));
        lab
    });
}

/// The network `bridge` has names, and may ask for others.
fn names() -> Arc<NameTable> {
    let mut names = NameTable::default();
    names.add_network(BRIDGE, "bridge", "172.17.0.0/16".parse().ok(), true);
    names.add_host(BRIDGE, "web", Ipv4Addr::new(172, 17, 0, 3));
    Arc::new(names)
}

/// A datagram of `host` to a far endpoint.
fn query(host: &LabPort, sport: u16) -> Vec<u8> {
    build::udp(host.to_gateway(), host.at(sport), Endpoint::new(FAR, 53), b"query")
}

/// A query with another byte in its IPv4 header, its checksum right.
fn query_with(host: &LabPort, offset: usize, value: u8) -> Vec<u8> {
    let mut frame = query(host, 5000);
    frame[14 + offset] = value;
    fix_header_checksum(&mut frame);
    frame
}

fn small(sessions: usize, per_host: usize) -> Lab {
    let mut config = EngineConfig::with_sessions(sessions);
    config.nat.sessions_per_host = per_host;
    Lab::with(config, |_| {})
}

/// The standard lab, whose inside network is served by DHCP.
fn dhcp_lab() -> Lab {
    Lab::with(EngineConfig::with_sessions(64), |bridge| bridge.serves_dhcp = true)
}

/// A fragment of a datagram from `host`, of any content.
fn piece(
    host: &LabPort,
    dst: Ipv4Addr,
    id: u16,
    (offset, more): (u16, bool),
    len: usize,
) -> Vec<u8> {
    let mut header = build::ip_header(host.ip, dst, 17, 64);
    header.identification = id;
    header.dont_fragment = false;
    header.more_fragments = more;
    header.fragment_offset = etherparse::IpFragOffset::try_new(offset / 8).unwrap();
    build::ip(host.to_gateway(), &header, &vec![0x55; len])
}

drops! {
    PortDown port_down(lab) {
        let host = lab.inside(2);
        lab.must(Command::SetPortUp(host.port, false));
        lab.send(&host, &build::arp_request(host.mac, host.ip, Lab::GATEWAY));
    }
    FrameTooShort frame_too_short(lab) {
        let host = lab.inside(2);
        lab.send(&host, &[2; 13]);
    }
    VnetHeader vnet_header(lab) {
        let host = lab.known_inside(2);
        let bytes = query(&host, 5000);
        // The sum would be written over the source address.
        lab.send_view(&host, FrameView { bytes: &bytes, offload: Offload::partial(26, 0) });
    }
    Oversize oversize(lab) {
        let (a, b) = (lab.inside(2), lab.known_inside(3));
        lab.must(Command::SetPortMtu(b.port, 1000));
        lab.send(&a, &build::udp(a.to(&b), a.at(1), b.at(2), &[0; 973]));
    }
    GroupSource group_source(lab) {
        let host = lab.inside(2);
        lab.send(&host, &ether(MacAddr::BROADCAST, host.gateway, 0x88b5, &[0; 46]));
    }
    OwnMacAsSource own_mac_as_source(lab) {
        let host = lab.inside(2);
        lab.send(&host, &ether(host.gateway, MacAddr::BROADCAST, 0x88b5, &[0; 46]));
    }
    GuardMac guard_mac(lab) {
        let host = guarded(lab, 2);
        lab.send(&host, &ether(MacAddr([2; 6]), host.gateway, 0x88b5, &[0; 46]));
    }
    GuardIp guard_ip(lab) {
        let host = guarded(lab, 2);
        let forged = at([172, 17, 0, 9], 1);
        lab.send(&host, &build::udp(host.to_gateway(), forged, Endpoint::new(FAR, 53), b""));
    }
    GuardArp guard_arp(lab) {
        let host = guarded(lab, 2);
        let forged = Ipv4Addr::new(172, 17, 0, 9);
        lab.send(&host, &build::arp_request(host.mac, forged, Lab::GATEWAY));
    }
    GuardTags guard_tags(lab) {
        let host = guarded(lab, 2);
        let forged = Ipv4Addr::new(172, 17, 0, 9);
        let mut frame = build::arp_request(host.mac, forged, Lab::GATEWAY);
        frame.splice(12..12, [0x81, 0, 0, 0].repeat(3));
        lab.send(&host, &frame);
    }
    GuardDhcp guard_dhcp(lab) {
        *lab = dhcp_lab();
        let (host, _) = (guarded(lab, 2), lab.known_inside(3));
        let hop = Hop::new(host.mac, MacAddr::BROADCAST);
        lab.send(&host, &build::udp(hop, host.at(67), at([255; 4], 68), b"offer"));
    }
    GuardRa guard_ra(lab) {
        *lab = dhcp_lab();
        let (host, _) = (guarded(lab, 2), lab.known_inside(3));
        let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        lab.send(&host, &ether(host.mac, all_nodes, 0x86dd, &ipv6_packet(58, &[134; 16])));
    }
    StaticMacMoved static_mac_moved(lab) {
        let (own, thief) = (guarded(lab, 2), lab.inside(3));
        lab.send(&thief, &ether(own.mac, MacAddr::BROADCAST, 0x88b5, &[0; 46]));
    }
    ReservedGroup reserved_group(lab) {
        let (a, _) = (lab.inside(2), lab.inside(3));
        let lldp = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        lab.send(&a, &ether(a.mac, lldp, 0x88cc, &[0; 46]));
    }
    SamePort same_port(lab) {
        let (hub, _) = (lab.known_inside(2), lab.inside(3));
        lab.send(&hub, &ether(MacAddr([2; 6]), hub.mac, 0x88b5, &[0; 46]));
    }
    Isolated isolated(lab) {
        *lab = Lab::with(EngineConfig::with_sessions(64), |network| network.icc = false);
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        lab.send(&a, &build::udp(a.to(&b), a.at(1), b.at(2), b""));
    }
    NoOtherPort no_other_port(lab) {
        let host = lab.inside(2);
        lab.send(&host, &ether(host.mac, MacAddr::BROADCAST, 0x88b5, &[0; 46]));
    }
    StormLimit storm_limit(lab) {
        *lab = Lab::with(EngineConfig::with_sessions(64), |network| network.bridge.storm_limit = 1);
        lab.alone();
        let (a, _) = (lab.inside(2), lab.inside(3));
        for _ in 0..2 {
            lab.send(&a, &ether(a.mac, MacAddr::BROADCAST, 0x88b5, &[0; 46]));
        }
    }
    LimitRx limit_rx(lab) {
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let limit = RateLimit { bytes_per_s: 60, burst: 60 };
        lab.must(Command::SetPortLimits(a.port, PortLimits { rx: Some(limit), tx: None }));
        for _ in 0..2 {
            lab.send(&a, &ether(a.mac, b.mac, 0x88b5, &[0; 46]));
        }
    }
    LimitTx limit_tx(lab) {
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let limit = RateLimit { bytes_per_s: 60, burst: 60 };
        lab.must(Command::SetPortLimits(b.port, PortLimits { rx: None, tx: Some(limit) }));
        for _ in 0..2 {
            lab.send(&a, &ether(a.mac, b.mac, 0x88b5, &[0; 46]));
        }
    }
    EgressQueueFull egress_queue_full(lab) {
        // 30 fragments each; 1024 generated frames are the most.
        *lab = Lab::with(EngineConfig::with_sessions(64), |network| network.mtu = 68);
        lab.alone();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, server.at(53));
        let frame =
            udp_df_clear(router.to_gateway(), Endpoint::new(FAR, 9), ext(53), &[0; 1400]);
        let burst: Vec<_> = (0..35).map(|_| (router.port, frame.clone())).collect();
        lab.send_all(&burst);
    }
    VlanNotRouted vlan_not_routed(lab) {
        let host = lab.inside(2);
        let mut frame = query(&host, 5000);
        frame.splice(12..12, [0x81, 0, 0, 7]);
        lab.send(&host, &frame);
    }
    Ipv6NotRouted ipv6_not_routed(lab) {
        let host = lab.inside(2);
        lab.send(&host, &ether(host.mac, host.gateway, 0x86dd, &[0x60; 40]));
    }
    EtherTypeNotRouted ethertype_not_routed(lab) {
        let host = lab.inside(2);
        lab.send(&host, &ether(host.mac, host.gateway, 0x88b5, &[0; 46]));
    }
    NoGateway no_gateway(lab) {
        let router = lab.router();
        lab.must(Command::AddNetwork(OTHER, NetworkSpec::new("switched", None)));
        let target = at([10, 2, 0, 2], 80);
        let publish =
            Publish { protocol: 6, address: None, port: 80, count: 1, network: OTHER, target };
        lab.must(Command::Publish(publish));
        let client = Endpoint::new(FAR, 4000);
        lab.send(&router, &build::tcp(router.to_gateway(), client, ext(80), SYN, b""));
    }
    ArpMalformed arp_malformed(lab) {
        let host = lab.inside(2);
        let mut frame = build::arp_request(host.mac, host.ip, Lab::GATEWAY);
        frame[18] = 5;
        lab.send(&host, &frame);
    }
    ArpNotForUs arp_not_for_us(lab) {
        let host = lab.inside(2);
        lab.send(&host, &build::arp_request(host.mac, host.ip, Ipv4Addr::new(172, 17, 0, 9)));
    }
    ArpUnsolicited arp_unsolicited(lab) {
        let host = lab.inside(2);
        lab.send(&host, &build::arp_reply(host.mac, host.ip, (host.gateway, Lab::GATEWAY)));
    }
    DuplicateAddress duplicate_address(lab) {
        let host = lab.inside(2);
        lab.send(&host, &build::arp_request(host.mac, Lab::GATEWAY, Lab::GATEWAY));
    }
    Ipv4Truncated ipv4_truncated(lab) {
        let host = lab.inside(2);
        let frame = query(&host, 5000);
        lab.send(&host, &frame[..frame.len() - 1]);
    }
    Ipv4Version ipv4_version(lab) {
        let host = lab.inside(2);
        lab.send(&host, &query_with(&host, 0, 0x55));
    }
    Ipv4HeaderLength ipv4_header_length(lab) {
        let host = lab.inside(2);
        lab.send(&host, &query_with(&host, 0, 0x44));
    }
    Ipv4Checksum ipv4_checksum(lab) {
        let host = lab.inside(2);
        let mut frame = query(&host, 5000);
        frame[24] ^= 1;
        lab.send(&host, &frame);
    }
    Ipv4SourceRoute ipv4_source_route(lab) {
        let host = lab.inside(2);
        let mut header = build::ip_header(host.ip, FAR, 17, 64);
        header.options = [131, 7, 4, 10, 0, 0, 1, 0].into();
        lab.send(&host, &build::ip(host.to_gateway(), &header, &[0; 8]));
    }
    TransportTruncated transport_truncated(lab) {
        let host = lab.inside(2);
        lab.send(&host, &packet(host.to_gateway(), host.ip, FAR, 17, &[0; 7]));
    }
    MartianSource martian_source(lab) {
        let host = lab.inside(2);
        lab.send(&host, &packet(host.to_gateway(), Ipv4Addr::LOCALHOST, FAR, 17, &[0; 8]));
    }
    MartianDestination martian_destination(lab) {
        let host = lab.inside(2);
        lab.send(&host, &packet(host.to_gateway(), host.ip, Ipv4Addr::LOCALHOST, 17, &[0; 8]));
    }
    MulticastNotRouted multicast_not_routed(lab) {
        let host = lab.inside(2);
        let group = Ipv4Addr::new(224, 0, 0, 251);
        lab.send(&host, &packet(host.to_gateway(), host.ip, group, 17, &[0; 8]));
    }
    BroadcastNotRouted broadcast_not_routed(lab) {
        let host = lab.inside(2);
        let directed = Ipv4Addr::new(192, 168, 33, 255);
        lab.send(&host, &packet(host.to_gateway(), host.ip, directed, 17, &[0; 8]));
    }
    OwnAddressAsSource own_address_as_source(lab) {
        let host = lab.inside(2);
        lab.send(&host, &packet(host.to_gateway(), Lab::GATEWAY, FAR, 17, &[0; 8]));
    }
    ReversePath reverse_path(lab) {
        let host = lab.inside(2);
        lab.send(&host, &packet(host.to_gateway(), STRANGER, FAR, 17, &[0; 8]));
    }
    TtlExceeded ttl_exceeded(lab) {
        let (_, host) = (lab.router(), lab.known_inside(2));
        let hop = host.to_gateway().ttl(1);
        lab.send(&host, &build::udp(hop, host.at(5000), Endpoint::new(FAR, 53), b""));
    }
    NoRoute no_route(lab) {
        let host = lab.inside(2);
        lab.must(Command::RemoveRoute(ipnet::Ipv4Net::default()));
        lab.send(&host, &query(&host, 5000));
    }
    FragmentationNeeded fragmentation_needed(lab) {
        let (_, host) = (lab.router(), lab.known_inside(2));
        let big = [0; 1473];
        lab.send(&host, &build::udp(host.to_gateway(), host.at(1), Endpoint::new(FAR, 53), &big));
    }
    InternalNetwork internal_network(lab) {
        let (_, host) = (lab.router(), lab.known_inside(2));
        lab.send(&host, &query(&host, 5000));
        let mut internal = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        internal.is_internal = true;
        // What was open is closed, too.
        assert_eq!(lab.must(Command::AddNetwork(BRIDGE, internal)).ended_sessions, 1);
        lab.send(&host, &query(&host, 5000));
    }
    NetworkIsolated network_isolated(lab) {
        add_other_network(lab);
        let (a, b) = (lab.known_inside(2), known_other(lab, 2));
        lab.send(&a, &build::udp(a.to_gateway(), a.at(1), b.at(2), b""));
    }
    DirectRouting direct_routing(lab) {
        let (router, host) = (lab.router(), lab.known_inside(2));
        let stranger = Endpoint::new(STRANGER, 1);
        lab.send(&router, &build::udp(router.to_gateway(), stranger, host.at(2), b""));
    }
    NoTransit no_transit(lab) {
        let router = lab.router();
        let (from, to) = (Endpoint::new(STRANGER, 1), Endpoint::new(FAR, 2));
        lab.send(&router, &build::udp(router.to_gateway(), from, to, b""));
    }
    HostUnreachable host_unreachable(lab) {
        let host = lab.known_inside(2);
        lab.send(&host, &query(&host, 5000));
        lab.advance(Duration::from_secs(4));
    }
    HoldQueueFull hold_queue_full(lab) {
        let host = lab.known_inside(2);
        for _ in 0..102 {
            lab.send(&host, &query(&host, 5000));
        }
    }
    NeighbourTableFull neighbour_table_full(lab) {
        let mut config = EngineConfig::with_sessions(64);
        config.neighbours.unresolved_per_port = 1;
        *lab = Lab::with(config, |_| {});
        lab.alone();
        let host = lab.known_inside(2);
        for last in [8, 9] {
            let absent = at([172, 17, 0, last], 9);
            lab.send(&host, &build::udp(host.to_gateway(), host.at(1), absent, b""));
        }
    }
    LocalPortClosed local_port_closed(lab) {
        let host = lab.known_inside(2);
        let closed = Endpoint::new(Lab::GATEWAY, 80);
        lab.send(&host, &build::tcp(host.to_gateway(), host.at(1), closed, SYN, b""));
    }
    DnsMalformed dns_malformed(lab) {
        lab.must(Command::SetNames(names()));
        let host = lab.known_inside(2);
        let server = Endpoint::new(Lab::GATEWAY, 53);
        // An answer: two servers that answer answers would never end.
        let answer = b"\x12\x34\x81\x80\0\0\0\0\0\0\0\0";
        assert!(lab.send(&host, &build::udp(host.to_gateway(), host.at(53), server, answer)).is_empty());
    }
    DnsLimit dns_limit(lab) {
        lab.must(Command::SetNames(names()));
        let host = lab.known_inside(2);
        let server = Endpoint::new(Lab::GATEWAY, 53);
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01x\0\0\x01\0\x01";
        // So many may ask at once.
        for _ in 0..501 {
            lab.send(&host, &build::udp(host.to_gateway(), host.at(4000), server, query));
        }
    }
    DnsConnections dns_connections(lab) {
        lab.must(Command::SetNames(names()));
        // Sequence numbers are each worker's own.
        lab.alone();
        let host = lab.known_inside(2);
        let server = Endpoint::new(Lab::GATEWAY, 53);
        for sport in 0..9 {
            let syn = build::tcp(host.to_gateway(), host.at(4000 + sport), server, SYN, b"");
            assert_eq!(lab.send(&host, &syn).len(), usize::from(sport < 8));
        }
    }
    LocalProtocol local_protocol(lab) {
        let host = lab.known_inside(2);
        lab.send(&host, &packet(host.to_gateway(), host.ip, Lab::GATEWAY, 50, &[0; 8]));
    }
    DhcpMalformed dhcp_malformed(lab) {
        *lab = dhcp_lab();
        let host = lab.inside(2);
        let message = ClientMessage::new(DISCOVER, host.mac, 1).field(236, &[0]);
        lab.send(&host, &message.frame(host.mac));
    }
    DhcpRelayed dhcp_relayed(lab) {
        *lab = dhcp_lab();
        let host = lab.inside(2);
        let message = ClientMessage::new(DISCOVER, host.mac, 1).relayed(host.ip);
        lab.send(&host, &message.frame(host.mac));
    }
    DhcpLimit dhcp_limit(lab) {
        *lab = dhcp_lab();
        // Each worker has a limit of its own.
        lab.alone();
        let host = lab.inside(2);
        let message = ClientMessage::new(DISCOVER, host.mac, 1);
        for _ in 0..41 {
            lab.send(&host, &message.frame(host.mac));
        }
    }
    UnsolicitedSyn unsolicited_syn(lab) {
        let router = lab.router();
        let stranger = Endpoint::new(STRANGER, 1);
        lab.send(&router, &build::tcp(router.to_gateway(), stranger, ext(80), SYN, b""));
    }
    NoSession no_session(lab) {
        let router = lab.router();
        let stranger = Endpoint::new(STRANGER, 1);
        lab.send(&router, &build::udp(router.to_gateway(), stranger, ext(80), b""));
    }
    Filtered filtered(lab) {
        let (router, host) = (lab.router(), lab.known_inside(2));
        lab.send(&host, &query(&host, 5000));
        let stranger = Endpoint::new(STRANGER, 53);
        lab.send(&router, &build::udp(router.to_gateway(), stranger, ext(5000), b""));
    }
    SessionTableFull session_table_full(lab) {
        *lab = small(2, 1);
        lab.alone();
        lab.router();
        for last in 2..5 {
            let host = lab.known_inside(last);
            lab.send(&host, &query(&host, 5000));
        }
    }
    HostSessionQuota host_session_quota(lab) {
        *lab = small(4, 1);
        let (_, host) = (lab.router(), lab.known_inside(2));
        lab.send(&host, &query(&host, 5000));
        lab.send(&host, &query(&host, 5001));
    }
    PortsExhausted ports_exhausted(lab) {
        *lab = small(4096, 2048);
        let (_, host) = (lab.router(), lab.known_inside(2));
        for sport in 1..=1024 {
            // Well-known ports stay well known: there are 1023.
            let end = if sport == 1024 { 0 } else { sport };
            lab.send(&host, &query(&host, end));
        }
    }
    HostPortQuota host_port_quota(lab) {
        let mut config = EngineConfig::with_sessions(64);
        config.nat.ports_per_host = 1;
        *lab = Lab::with(config, |_| {});
        let (_, host) = (lab.router(), lab.known_inside(2));
        lab.send(&host, &query(&host, 5000));
        lab.send(&host, &query(&host, 5001));
    }
    ProtocolConflict protocol_conflict(lab) {
        lab.router();
        for last in [2, 3] {
            let host = lab.known_inside(last);
            lab.send(&host, &packet(host.to_gateway(), host.ip, FAR, 50, &[0; 8]));
        }
    }
    HostsOwn hosts_own(lab) {
        let router = lab.router();
        share(lab, PortSpan { first: 61_000, last: 61_999 });
        lab.send(&router, &build::echo(router.to_gateway(), FAR, Lab::EXTERNAL, 1, false));
    }
    SharedProtocol shared_protocol(lab) {
        let (_, host) = (lab.router(), lab.known_inside(2));
        share(lab, PortSpan { first: 61_000, last: 61_999 });
        lab.send(&host, &packet(host.to_gateway(), host.ip, FAR, 47, &[0; 8]));
    }
    NoExternalAddress no_external_address(lab) {
        lab.alone();
        let (_, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        lab.send(&a, &query(&a, 5000));
        // The uplink becomes an ordinary network; the mapping is still there.
        lab.must(Command::AddNetwork(UPLINK, Lab::network_spec("uplink", Lab::EXTERNAL, 24)));
        lab.send(&b, &build::udp(b.to_gateway(), b.at(6000), ext(5000), b""));
    }
    IcmpErrorMalformed icmp_error_malformed(lab) {
        let router = lab.router();
        let mut error = icmp_error(router.to_gateway(), (FAR, Lab::EXTERNAL), (3, 1), &[0x45; 28]);
        error[40] ^= 1;
        lab.send(&router, &error);
    }
    IcmpErrorUnmatched icmp_error_unmatched(lab) {
        let router = lab.router();
        let about = build::udp(router.to_gateway(), ext(5000), Endpoint::new(FAR, 53), b"");
        let addresses = (FAR, Lab::EXTERNAL);
        lab.send(&router, &icmp_error(router.to_gateway(), addresses, (3, 3), &about[14..]));
    }
    FragmentTooSmall fragment_too_small(lab) {
        let (_, host) = (lab.router(), lab.known_inside(2));
        lab.send(&host, &piece(&host, FAR, 1, (0, true), 7));
    }
    FragmentOverlap fragment_overlap(lab) {
        // A fragment that is not the last must hold a multiple of eight bytes.
        let host = lab.known_inside(2);
        lab.send(&host, &piece(&host, Lab::GATEWAY, 1, (0, true), 15));
    }
    FragmentTimeout fragment_timeout(lab) {
        let host = lab.known_inside(2);
        lab.send(&host, &piece(&host, FAR, 1, (800, false), 80));
        lab.advance(Duration::from_secs(31));
    }
    FragmentTableFull fragment_table_full(lab) {
        let host = lab.known_inside(2);
        for id in 0..257 {
            lab.send(&host, &piece(&host, FAR, id, (800, false), 80));
        }
    }
    VxlanHeader vxlan_header(lab) {
        let (underlay, ..) = stretch(lab, |_| {});
        let mut frame = wrapped(EAST, 0, &broadcast(&remote(7)));
        frame[42] = 0;
        lab.send(&underlay, &frame);
    }
    VxlanUnknownVni vxlan_unknown_vni(lab) {
        let (underlay, ..) = stretch(lab, |_| {});
        let mut frame = wrapped(EAST, 0, &broadcast(&remote(7)));
        frame[46] = 1;
        lab.send(&underlay, &frame);
    }
    VxlanForeignPeer vxlan_foreign_peer(lab) {
        let (underlay, ..) = stretch(lab, |_| {});
        lab.send(&underlay, &wrapped(FAR, 0, &broadcast(&remote(7))));
    }
    VxlanTagged vxlan_tagged(lab) {
        let (underlay, ..) = stretch(lab, |_| {});
        let mut inner = broadcast(&remote(7));
        inner.splice(12..12, [0x81, 0, 0, 7]);
        lab.send(&underlay, &wrapped(EAST, 0, &inner));
    }
    VxlanEcn vxlan_ecn(lab) {
        let (underlay, ..) = stretch(lab, |_| {});
        lab.send(&underlay, &wrapped(EAST, 3, &hello(&remote(7), &remote(8))));
    }
    VxlanSplitHorizon vxlan_split_horizon(lab) {
        let (underlay, ..) = stretch(lab, |_| {});
        lab.send(&underlay, &wrapped(EAST, 0, &broadcast(&remote(7))));
    }
    VxlanFromInside vxlan_from_inside(lab) {
        let router = lab.router();
        lab.introduce(&router, Lab::EXTERNAL);
        let (host, _) = (lab.known_inside(2), stretch(lab, |_| {}));
        let to = Endpoint::new(EAST, tapway::packet::vxlan::VXLAN_PORT);
        lab.send(&host, &build::udp(host.to_gateway(), host.at(1), to, &[8, 0, 0, 0]));
    }
    VxlanNoWay vxlan_no_way(lab) {
        let (host, (underlay, ..)) = (lab.inside(2), stretch(lab, |_| {}));
        lab.must(Command::SetPortUp(underlay.port, false));
        lab.send(&host, &broadcast(&host));
    }
}
