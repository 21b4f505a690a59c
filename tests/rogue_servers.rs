//! On a network with DHCP a guarded host is neither a DHCP server nor a router to its neighbours.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use support::*;
use tapway::drop_reason::DropReason;

const ALL_NODES: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];

/// A network with or without tapway's DHCP, a guarded host and its neighbour.
fn lab(serves_dhcp: bool) -> (Lab, LabPort, LabPort) {
    let mut lab =
        Lab::with(EngineConfig::with_sessions(64), |bridge| bridge.serves_dhcp = serves_dhcp);
    let (host, neighbour) = (guarded(&mut lab, 2), lab.known_inside(3));
    (lab, host, neighbour)
}

/// What a host says as a DHCP server: to all, to one by any source port, tagged, in fragments.
fn of_dhcp_servers(host: &LabPort, neighbour: &LabPort) -> Vec<Vec<u8>> {
    let broadcast = Hop::new(host.mac, MacAddr::BROADCAST);
    let offer = build::udp(broadcast, host.at(67), at([255; 4], 68), &[2; 300]);
    let first =
        build::fragments(&udp_df_clear(broadcast, host.at(67), at([255; 4], 68), &[2; 300]), 7, 64);
    let mut tagged = offer.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let unicast = build::udp(host.to(neighbour), host.at(6767), neighbour.at(68), &[2; 300]);
    let advertise = ipv6_packet(17, &[2, 35, 2, 34, 0, 9, 1, 1, 2]);
    let advertise = ether(host.mac, neighbour.mac, 0x86dd, &advertise);
    vec![offer, tagged, unicast, advertise, first[0].clone()]
}

/// Router advertisements: plain, tagged, behind extension headers and as first fragments.
fn advertisements(host: &LabPort) -> Vec<Vec<u8>> {
    let options = [58, 0, 1, 4, 0, 0, 0, 0];
    let first = [58, 0, 0, 1, 0, 0, 0, 9];
    // The fragment ends within the header that would tell.
    let hidden = [60, 0, 0, 1, 0, 0, 0, 9, 58, 3, 0, 0, 0, 0, 0, 0];
    let packets = [
        ipv6_packet(58, &ADVERTISEMENT),
        ipv6_packet(60, &[&options[..], &ADVERTISEMENT].concat()),
        ipv6_packet(44, &[&first[..], &ADVERTISEMENT].concat()),
        ipv6_packet(44, &hidden),
        ipv6_packet(
            60,
            &[&[60, 0, 1, 4, 0, 0, 0, 0].repeat(20)[..], &options, &ADVERTISEMENT].concat(),
        ),
    ];
    let plain = packets.iter().map(|packet| ether(host.mac, ALL_NODES, 0x86dd, packet));
    let mut tagged = ether(host.mac, ALL_NODES, 0x86dd, &packets[0]);
    tagged.splice(12..12, [0x81, 0, 0, 0, 0x81, 0, 0, 7]);
    plain.chain([tagged]).collect()
}

#[test]
fn a_guarded_host_is_no_server_and_no_router_where_tapway_leases_addresses() {
    twice(|| {
        let (mut lab, host, neighbour) = lab(true);
        let (offers, routers) = (of_dhcp_servers(&host, &neighbour), advertisements(&host));
        for frame in offers.iter().chain(&routers) {
            assert!(lab.send(&host, frame).is_empty(), "{frame:02x?}");
        }
        assert_eq!(lab.dropped(DropReason::GuardDhcp), offers.len() as u64);
        assert_eq!(lab.dropped(DropReason::GuardRa), routers.len() as u64);
        lab
    });
}

#[test]
fn what_else_a_guarded_host_says_passes() {
    twice(|| {
        let (mut lab, host, neighbour) = lab(true);
        let (solicitation, echo) = ([133, 0, 0, 0, 0, 0, 0, 0], [128, 0, 0, 0, 0, 1, 0, 1]);
        let later = [58, 0, 5, 0x68, 0, 0, 0, 9, 134, 134, 134, 134];
        let packets = [
            ipv6_packet(58, &solicitation),
            ipv6_packet(60, &[&[58, 0, 1, 4, 0, 0, 0, 0], &echo[..]].concat()),
            ipv6_packet(44, &later),
            ipv6_packet(17, &[2, 34, 2, 35, 0, 8, 1, 1]),
            ipv6_packet(59, &[]),
        ];
        let mut frames: Vec<_> =
            packets.iter().map(|packet| ether(host.mac, ALL_NODES, 0x86dd, packet)).collect();
        frames.push(build::udp(host.to(&neighbour), host.at(67), neighbour.at(67), b"x"));
        for frame in frames {
            assert_eq!(only(&lab.send(&host, &frame), &neighbour), frame);
        }
        assert!(lab.drops().is_empty(), "{:?}", lab.drops());
        lab
    });
}

#[test]
fn without_dhcp_of_tapway_or_without_a_guard_a_host_may_serve() {
    twice(|| {
        let (mut lab, host, neighbour) = lab(false);
        for frame in of_dhcp_servers(&host, &neighbour).iter().chain(&advertisements(&host)) {
            assert_eq!(only(&lab.send(&host, frame), &neighbour), *frame);
        }
        // The network is served from now on; the guard that is there refuses at once.
        let mut bridge = Lab::network_spec("bridge", Lab::GATEWAY, 16);
        bridge.serves_dhcp = true;
        lab.must(Command::AddNetwork(BRIDGE, bridge));
        let offer = &of_dhcp_servers(&host, &neighbour)[0];
        assert!(lab.send(&host, offer).is_empty());
        lab.must(Command::SetPortGuard(host.port, None));
        assert_eq!(only(&lab.send(&host, offer), &neighbour), *offer);
        lab
    });
}
