//! VXLAN through the whole engine, by an underlay's port: what enters tunnels, what comes out of
//! them, and what does not.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use support::stretched::*;
use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{Event, VxlanSpec};
use tapway::packet::tcp::ACK;
use tapway::packet::vxlan::Outer;
use tapway::packet::{Arp, ArpOperation, FrameView, Gso, TxLists};
use tapway::switch::Tunnel;

#[test]
fn frames_to_unknown_stations_go_to_all_peers_and_to_known_ones_to_theirs() {
    twice(|| {
        let mut net = stretched();
        let (host, other) = (net.lab.inside(2), net.lab.inside(3));
        let far = remote(7);
        let frame = hello(&host, &far);
        let out = net.lab.send(&host, &frame);
        assert_eq!(Lab::to(&out, &other), std::slice::from_ref(&frame));
        assert_eq!(net.tunnelled(&out), [(EAST, frame.clone()), (WEST, frame.clone())]);
        let answer = hello(&far, &host);
        assert_eq!(only(&net.arrives(WEST, &answer), &host), answer);
        assert_eq!(net.tunnelled(&net.lab.log.clone()).len(), 2);
        let out = net.lab.send(&host, &frame);
        assert_eq!(net.tunnelled(&out), [(WEST, frame)]);
        let stats = net.lab.engine.port_stats();
        let of = |port| stats.iter().find(|(id, _)| *id == port).unwrap().1.clone();
        let (east, west) = (of(net.east), of(net.west));
        assert_eq!((east.tx_frames, east.rx_frames), (1, 0));
        assert_eq!((west.tx_frames, west.rx_frames), (2, 1));
        net.lab
    });
}

#[test]
fn a_flow_keeps_its_source_port_and_flows_differ() {
    let mut net = stretched();
    let (host, far) = (net.lab.inside(2), remote(7));
    net.arrives(EAST, &hello(&far, &host));
    let mut ports = std::collections::BTreeSet::new();
    for sport in 1000..1064 {
        let frame = build::udp(host.to(&far), host.at(sport), far.at(53), &[1]);
        let sport_of = |out: Vec<(PortId, Vec<u8>)>| Outer::parse(&out[0].1).unwrap().sport;
        let first = sport_of(net.lab.send(&host, &frame));
        let longer = build::udp(host.to(&far), host.at(sport), far.at(53), &[1; 500]);
        assert_eq!(sport_of(net.lab.send(&host, &longer)), first);
        ports.insert(first);
    }
    assert!(ports.len() > 56, "{ports:?}");
}

#[test]
fn a_station_is_sent_to_where_it_was_heard_last_and_nowhere_when_it_has_aged() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.inside(2), remote(7));
        let frame = hello(&host, &far);
        for peer in [EAST, WEST, EAST] {
            net.arrives(peer, &broadcast(&far));
            let out = net.lab.send(&host, &frame);
            assert_eq!(net.tunnelled(&out), [(peer, frame.clone())]);
        }
        // It comes here, and goes again.
        let local = LabPort { port: net.lab.inside(9).port, ..far };
        net.lab.send(&local, &broadcast(&far));
        assert_eq!(only(&net.lab.send(&host, &frame), &local), frame);
        net.arrives(WEST, &broadcast(&far));
        let out = net.lab.send(&host, &frame);
        assert_eq!(net.tunnelled(&out), [(WEST, frame.clone())]);
        net.lab.advance(Duration::from_secs(400));
        let out = net.lab.send(&host, &frame);
        assert_eq!(net.tunnelled(&out).len(), 2);
        net.lab
    });
}

#[test]
fn no_frame_goes_from_a_tunnel_into_a_tunnel() {
    twice(|| {
        let mut net = stretched();
        let (east, west) = (remote(7), remote(8));
        net.lab.alone();
        assert_eq!(net.arrives(EAST, &broadcast(&east)), []);
        assert_eq!(net.counted(net.east, DropReason::VxlanSplitHorizon), 1);
        assert_eq!(net.arrives(WEST, &broadcast(&west)), []);
        assert_eq!(net.arrives(EAST, &hello(&east, &west)), []);
        assert_eq!(net.counted(net.east, DropReason::VxlanSplitHorizon), 2);
        // One local port is enough to be flooded to, and gets the only copy.
        let host = net.lab.inside(2);
        assert_eq!(only(&net.arrives(EAST, &broadcast(&east)), &host), broadcast(&east));
        net.lab
    });
}

#[test]
fn what_is_of_no_tunnel_is_named_at_the_underlay() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.inside(2), remote(7));
        let good = wrapped(EAST, 0, &hello(&far, &host));
        let mut expected = Vec::new();
        let mut drops = |net: &mut Stretched, frame: &[u8], reason| {
            assert_eq!(net.lab.send(&net.underlay, frame), []);
            expected.push(reason);
            let count = expected.iter().filter(|other| **other == reason).count();
            assert_eq!(net.counted(net.underlay.port, reason), count as u64, "{reason}");
        };
        let mut unflagged = good.clone();
        unflagged[42] = 0;
        drops(&mut net, &unflagged, DropReason::VxlanHeader);
        drops(&mut net, &good[..45], DropReason::VxlanHeader);
        let mut other_port = good.clone();
        other_port[36] ^= 1;
        drops(&mut net, &other_port, DropReason::VxlanHeader);
        let mut other_vni = good.clone();
        other_vni[48] = 43;
        drops(&mut net, &other_vni, DropReason::VxlanUnknownVni);
        drops(&mut net, &wrapped(FAR, 0, &hello(&far, &host)), DropReason::VxlanForeignPeer);
        // Reserved bits are nobody's business.
        let mut reserved = good.clone();
        (reserved[42], reserved[43], reserved[49]) = (0xff, 1, 1);
        assert_eq!(only(&net.lab.send(&net.underlay, &reserved), &host), hello(&far, &host));
        net.lab
    });
}

#[test]
fn an_unknown_peer_is_told_of_where_any_may_become_one() {
    let mut net = stretched_by(|network| {
        network.vxlan = Some(VxlanSpec { accepts_any: true, ..spec(vni(VNI)) });
    });
    let host = net.lab.inside(2);
    assert_eq!(net.arrives(FAR, &hello(&remote(7), &host)), []);
    assert_eq!(net.lab.dropped(DropReason::VxlanForeignPeer), 1);
    let told = net.lab.engine.poll_event();
    assert_eq!(told, Some(Event::UnknownPeer { network: BRIDGE, peer: IpAddr::V4(FAR) }));
    tunnel(&mut net.lab, tunnel_spec(FAR));
    assert_eq!(net.arrives(FAR, &hello(&remote(7), &host)).len(), 1);
}

#[test]
fn a_member_of_a_group_gets_frames_to_many_by_the_group_only() {
    let mut net = stretched();
    let group = Ipv4Addr::new(239, 1, 1, 1);
    net.lab.must(Command::RemovePort(net.east));
    net.lab.must(Command::RemovePort(net.west));
    tunnel(&mut net.lab, tunnel_spec(group));
    let silent = PortRole::Tunnel(Tunnel { peer: IpAddr::V4(EAST), floods: false });
    tunnel(&mut net.lab, PortSpec { role: silent, ..tunnel_spec(EAST) });
    let (host, far) = (net.lab.inside(2), remote(7));
    let out = net.lab.send(&host, &broadcast(&host));
    assert_eq!(net.tunnelled(&out), [(group, broadcast(&host))]);
    net.arrives(EAST, &broadcast(&far));
    let out = net.lab.send(&host, &hello(&host, &far));
    assert_eq!(net.tunnelled(&out), [(EAST, hello(&host, &far))]);
    // It goes with its network, though it takes no part in flooding.
    net.lab.must(Command::RemoveNetwork(BRIDGE));
    assert_eq!(net.lab.engine.port_stats().len(), 1);
}

#[test]
fn tags_pass_tunnels_only_where_that_is_configured() {
    for carries_tags in [false, true] {
        let mut net = stretched_by(|network| {
            network.vxlan = Some(VxlanSpec { carries_tags, ..spec(vni(VNI)) });
        });
        let (host, far) = (net.lab.inside(2), remote(7));
        net.arrives(EAST, &broadcast(&far));
        let tagged = |mut frame: Vec<u8>| {
            frame.splice(12..12, [0x81, 0, 0, 7]);
            frame
        };
        let inbound = net.arrives(EAST, &tagged(hello(&far, &host)));
        let outbound = net.lab.send(&host, &tagged(hello(&host, &far)));
        assert_eq!((inbound.len(), outbound.len()), (carries_tags.into(), carries_tags.into()));
        let count = if carries_tags { 0 } else { 2 };
        assert_eq!(net.lab.dropped(DropReason::VxlanTagged), count);
    }
}

#[test]
fn congestion_and_class_of_service_pass_the_tunnel() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.inside(2), remote(7));
        let with_tos = |mut frame: Vec<u8>, tos| {
            frame[15] = tos;
            fix_header_checksum(&mut frame);
            frame
        };
        // ECT(0) inside meets congestion outside.
        let frame = wrapped(EAST, 3, &with_tos(hello(&far, &host), 0xb8 | 2));
        let out = net.lab.send(&net.underlay, &frame);
        assert_eq!(only(&out, &host), with_tos(hello(&far, &host), 0xb8 | 3));
        // Who takes no marks loses the packet instead.
        let frame = wrapped(EAST, 3, &hello(&far, &host));
        assert_eq!(net.lab.send(&net.underlay, &frame), []);
        assert_eq!(net.counted(net.east, DropReason::VxlanEcn), 1);
        let out = net.lab.send(&host, &with_tos(hello(&host, &far), 0x2a));
        assert_eq!(Outer::parse(&only(&out, &net.underlay)).unwrap().tos, 0x2a);
        net.lab
    });
}

#[test]
fn what_is_too_large_for_the_way_is_told_to_its_sender() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.known_inside(2), remote(7));
        net.arrives(EAST, &broadcast(&far));
        let frame = build::udp(host.to(&far), host.at(1), far.at(2), &[0; 1450 - 28]);
        let out = net.lab.send(&host, &frame);
        assert_eq!(net.tunnelled(&out), [(EAST, frame)]);
        let frame = build::udp(host.to(&far), host.at(1), far.at(2), &[0; 1451 - 28]);
        let seen = only_icmp(&net.lab.send(&host, &frame), &host);
        assert_eq!((told_mtu(&seen), seen.src.ip, seen.dst.ip), (1450, Lab::GATEWAY, host.ip));
        assert_eq!((seen.src_mac, seen.dst_mac), (host.gateway, host.mac));
        assert_eq!(&seen.payload[8..36], &frame[14..42]);
        assert_eq!(net.lab.dropped(DropReason::FragmentationNeeded), 1);
        // Nobody is told about a frame to many, and no datagram outside is ever a fragment.
        let group = MacAddr([1, 0, 0x5e, 1, 1, 1]);
        let to_all = ether(host.mac, group, 0x0800, &frame[14..]);
        assert_eq!(net.lab.send(&host, &to_all), []);
        assert_eq!(net.lab.dropped(DropReason::Oversize), 1);
        net.lab
    });
}

#[test]
fn without_a_gateway_it_is_told_in_the_name_of_the_destination() {
    let mut net = stretched_by(|network| network.gateway = None);
    let (host, far) = (net.lab.inside(2), remote(7));
    net.arrives(EAST, &broadcast(&far));
    net.lab.send(&host, &broadcast(&host));
    let frame = build::udp(host.to(&far), host.at(1), far.at(2), &[0; 1460]);
    let seen = only_icmp(&net.lab.send(&host, &frame), &host);
    assert_eq!((told_mtu(&seen), seen.src.ip, seen.src_mac), (1450, far.ip, far.mac));
}

#[test]
fn an_ipv6_sender_is_told_by_icmpv6() {
    let mut net = stretched();
    let (host, far) = (net.lab.inside(2), remote(7));
    net.arrives(EAST, &broadcast(&far));
    let mut packet = vec![0x60, 0, 0, 0, 5, 0x78, 17, 64];
    packet.extend([0xfd; 16]);
    packet.extend([0xfe; 16]);
    packet.extend([0; 1400]);
    let frame = ether(host.mac, far.mac, 0x86dd, &packet[..1440]);
    let out = net.lab.send(&host, &frame);
    assert_eq!(net.tunnelled(&out), [(EAST, frame)]);
    packet.extend([0; 40]);
    let out = net.lab.send(&host, &ether(host.mac, far.mac, 0x86dd, &packet));
    let told = only(&out, &host);
    let parsed = etherparse::SlicedPacket::from_ethernet(&told).unwrap();
    let Some(etherparse::TransportSlice::Icmpv6(icmp)) = parsed.transport else { panic!() };
    let Some(etherparse::NetSlice::Ipv6(ip)) = parsed.net else { panic!() };
    assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
    assert_eq!((ip.header().source(), ip.header().destination()), ([0xfe; 16], [0xfd; 16]));
    assert_eq!((icmp.slice()[0], &icmp.slice()[4..8]), (2, &1450u32.to_be_bytes()[..]));
}

#[test]
fn what_may_be_cut_is_cut_inside() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.inside(2), remote(7));
        net.arrives(EAST, &broadcast(&far));
        let frame = udp_df_clear(host.to(&far), host.at(1), far.at(2), &[9; 1472]);
        let out = net.lab.send(&host, &frame);
        let sent = net.tunnelled(&out);
        assert_eq!(sent.len(), 2);
        let payload: usize = sent
            .iter()
            .map(|(peer, inner)| {
                assert_eq!(*peer, EAST);
                assert!(inner.len() <= 1464);
                inner.len() - 34
            })
            .sum();
        assert_eq!(payload, 1480);
        net.lab
    });
}

#[test]
fn a_super_frame_leaves_whole_by_the_underlay_and_is_refused_whole() {
    let mut net = stretched();
    net.lab.alone();
    let (host, far) = (net.lab.known_inside(2), remote(7));
    net.arrives(EAST, &broadcast(&far));
    let whole = build::tcp(host.to(&far), host.at(1), far.at(2), ACK, &[5; 4200]);
    let (bytes, offload) = build::unfinished(&whole);
    let of = |size| FrameView { bytes: &bytes, offload: offload.segmented(Gso::Tcp4, size) };
    let out = net.lab.send_view(&host, of(1410));
    let sent = net.tunnelled(&out);
    assert_eq!(sent.iter().map(|(_, inner)| inner.len()).collect::<Vec<_>>(), [1464, 1464, 1434]);
    for (_, inner) in &sent {
        read(inner);
    }
    let seen = only_icmp(&net.lab.send_view(&host, of(1411)), &host);
    assert_eq!(told_mtu(&seen), 1450);
}

#[test]
fn a_connection_asks_for_segments_that_fit_in_both_directions() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.inside(2), remote(7));
        net.arrives(EAST, &broadcast(&far));
        let syn = |from: &LabPort, to: &LabPort, mss| {
            let mut frame = Vec::new();
            let options = [etherparse::TcpOptionElement::MaximumSegmentSize(mss)];
            etherparse::PacketBuilder::ethernet2(from.mac.0, to.mac.0)
                .ipv4(from.ip.octets(), to.ip.octets(), 64)
                .tcp(1, 2, 3, 4)
                .syn()
                .options(&options)
                .unwrap()
                .write(&mut frame, &[])
                .unwrap();
            frame
        };
        let out = net.lab.send(&host, &syn(&host, &far, 1460));
        assert_eq!(net.tunnelled(&out), [(EAST, syn(&host, &far, 1410))]);
        let out = net.arrives(EAST, &syn(&far, &host, 1460));
        assert_eq!(only(&out, &host), syn(&far, &host, 1410));
        let out = net.lab.send(&host, &syn(&host, &far, 1000));
        assert_eq!(net.tunnelled(&out), [(EAST, syn(&host, &far, 1000))]);
        net.lab
    });
}

#[test]
fn arp_for_known_hosts_behind_peers_is_answered_here() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.inside(2), remote(7));
        let bound = PortSpec { static_macs: vec![far.mac], ..tunnel_spec(EAST) };
        net.lab.must(Command::AlterPort(net.east, bound));
        net.lab.must(Command::SetEndpoints(BRIDGE, vec![(far.ip, far.mac)]));
        let out = net.lab.send(&host, &build::arp_request(host.mac, host.ip, far.ip));
        let reply = Arp::parse(&only(&out, &host)[14..]).unwrap();
        assert_eq!((reply.operation, reply.sender_mac), (ArpOperation::Reply, far.mac));
        let out = net.lab.send(&host, &hello(&host, &far));
        assert_eq!(net.tunnelled(&out), [(EAST, hello(&host, &far))]);
        // An announcement is for everybody, and a stranger is asked for everywhere.
        let out = net.lab.send(&host, &build::arp_request(host.mac, host.ip, host.ip));
        assert_eq!(net.tunnelled(&out).len(), 2);
        let out = net.lab.send(&host, &build::arp_request(host.mac, host.ip, remote(8).ip));
        assert_eq!(net.tunnelled(&out).len(), 2);
        // Who asks from behind a peer is answered by the peer's own side.
        assert_eq!(
            net.arrives(WEST, &build::arp_request(remote(8).mac, remote(8).ip, far.ip)).len(),
            1
        );
        net.lab.must(Command::SetEndpoints(BRIDGE, Vec::new()));
        let out = net.lab.send(&host, &build::arp_request(host.mac, host.ip, far.ip));
        assert_eq!(net.tunnelled(&out).len(), 2);
        net.lab
    });
}

#[test]
fn each_side_has_its_own_gateway_of_one_address() {
    twice(|| {
        let mut net = stretched();
        let (host, far) = (net.lab.known_inside(2), remote(7));
        // Asked for here, answered here.
        let out = net.lab.send(&host, &build::arp_request(host.mac, host.ip, Lab::GATEWAY));
        assert_eq!((out.len(), net.tunnelled(&out).len()), (1, 0));
        // The other side's gateway looks for a host of this side, and is told.
        let gateway = MacAddr::from_ipv4(Lab::GATEWAY);
        let out = net.arrives(EAST, &build::arp_request(gateway, Lab::GATEWAY, host.ip));
        let [(peer, inner)] = &net.tunnelled(&out)[..] else { panic!("{out:02x?}") };
        let reply = Arp::parse(&inner[14..]).unwrap();
        assert_eq!((*peer, reply.sender_ip, reply.sender_mac), (EAST, host.ip, host.mac));
        // What it sends there arrives, and this side's gateway stays where it is.
        let from_gateway = Hop::new(gateway, host.mac);
        let frame = build::udp(from_gateway, far.at(1), host.at(2), b"routed");
        assert_eq!(only(&net.arrives(EAST, &frame), &host), frame);
        let out =
            net.lab.send(&host, &build::echo(host.to_gateway(), host.ip, Lab::GATEWAY, 1, false));
        assert_eq!(only_icmp(&out, &host).src.ip, Lab::GATEWAY);
        assert_eq!(net.arrives(EAST, &ether(gateway, gateway, 0x0800, &[0; 46])), []);
        assert_eq!(net.lab.dropped(DropReason::OwnMacAsSource), 1);
        net.lab
    });
}

#[test]
fn routed_packets_enter_tunnels_and_their_senders_learn_the_mtu() {
    twice(|| {
        let mut net = stretched();
        add_other_network(&mut net.lab);
        let (host, far) = (known_other(&mut net.lab, 9), remote(7));
        net.arrives(EAST, &build::arp_request(far.mac, far.ip, Lab::GATEWAY));
        let open = build::udp(host.to_gateway(), host.at(1), far.at(2), &[0; 100]);
        net.lab.send(&host, &open);
        assert_eq!(net.lab.dropped(DropReason::NetworkIsolated), 1);
        // Networks are apart, but for published ports: here one of a host behind a peer.
        net.lab.publish(17, 53, far.at(53));
        let frame = |len: usize| {
            let payload = vec![0; len];
            build::udp(host.to_gateway(), host.at(1), Endpoint::new(OTHER_GATEWAY, 53), &payload)
        };
        let out = net.lab.send(&host, &frame(1400));
        let [(EAST, inner)] = &net.tunnelled(&out)[..] else { panic!("{out:02x?}") };
        assert_eq!(read(inner).dst, far.at(53));
        net.lab.lower_path_mtu(EAST, 1400);
        let seen = only_icmp(&net.lab.send(&host, &frame(1400)), &host);
        assert_eq!(told_mtu(&seen), 1350);
        net.lab
    });
}

#[test]
fn a_datagram_that_the_kernel_refuses_is_told_of_at_once() {
    let mut net = stretched();
    net.lab.alone();
    let (host, far) = (net.lab.known_inside(2), remote(7));
    net.arrives(EAST, &broadcast(&far));
    let frame = build::udp(host.to(&far), host.at(1), far.at(2), &[0; 1400]);
    let out = net.lab.send(&host, &frame);
    let outer = only(&out, &net.underlay);
    let mut tx = TxLists::new();
    net.lab.engine.take_back(net.lab.now(), &outer, 1400, &mut tx);
    let burst = tapway::packet::Burst::empty();
    let told: Vec<Vec<u8>> =
        tx.frames(host.port, &burst).map(|frame| frame.bytes.to_vec()).collect();
    assert_eq!(told_mtu(&read(&told[0])), 1350);
    assert_eq!(net.counted(net.east, DropReason::FragmentationNeeded), 1);
    let stats = net.lab.engine.port_stats();
    let mtu = |port| stats.iter().find(|(id, _)| *id == port).unwrap().1.mtu;
    assert_eq!((mtu(net.east), mtu(net.west)), (1350, 1450));
}

#[test]
fn what_a_senders_kernel_left_undone_inside_is_done_though_nobody_tells() {
    let mut net = stretched();
    net.lab.alone();
    let (host, far) = (net.lab.inside(2), remote(7));
    let small = build::tcp(far.to(&host), far.at(1), host.at(2), ACK, b"x");
    let (unfinished, _) = build::unfinished(&small);
    assert_eq!(only(&net.arrives(EAST, &unfinished), &host), small);
    let large = build::tcp(far.to(&host), far.at(1), host.at(2), ACK, &[5; 4000]);
    let (unfinished, _) = build::unfinished(&large);
    let out = net.arrives(EAST, &unfinished);
    let payloads: Vec<usize> = out.iter().map(|(_, frame)| read(frame).payload.len()).collect();
    assert_eq!(payloads, [1410, 1410, 1180]);
    // One that is wrong stays so.
    let mut wrong = small;
    wrong[51] ^= 1;
    assert_eq!(only(&net.arrives(EAST, &wrong), &host), wrong);
}
