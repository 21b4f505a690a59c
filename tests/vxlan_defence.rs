//! VXLAN and those who mean it ill, or are only unlucky: guests that write datagrams of VXLAN
//! themselves, copies that a tunnel does not take, gateways that ask each other.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use support::stretched::*;
use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{Underlay, Vtep};
use tapway::packet::TxLists;
use tapway::packet::vxlan::{Outer, VXLAN_PORT};

#[test]
fn a_guest_sends_no_datagrams_of_vxlan_to_peers_in_the_name_of_the_vtep() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(256), |network| {
            network.vxlan = Some(spec(vni(VNI)));
        });
        let router = lab.attach(UPLINK, Lab::EXTERNAL, Lab::ROUTER);
        let vtep = Vtep { address: Lab::EXTERNAL, port: VXLAN_PORT, underlay: Underlay::Uplink };
        lab.must(Command::SetVtep(Some(vtep)));
        lab.introduce(&router, Lab::EXTERNAL);
        let host = lab.known_inside(2);
        let forged = |to, port| {
            build::udp(host.to_gateway(), host.at(7), Endpoint::new(to, port), &[8, 0, 0, 0, 0, 0])
        };
        // Who is no peer is nobody's business, and a session from before ends with becoming one.
        assert_eq!(lab.send(&host, &forged(EAST, VXLAN_PORT)).len(), 1);
        tunnel(&mut lab, tunnel_spec(EAST));
        assert_eq!(Lab::to(&lab.send(&host, &forged(EAST, VXLAN_PORT)), &router).len(), 0);
        assert_eq!(lab.dropped(DropReason::VxlanFromInside), 1);
        assert_eq!(Lab::to(&lab.send(&host, &forged(EAST, 53)), &router).len(), 1);
        assert_eq!(Lab::to(&lab.send(&host, &forged(WEST, VXLAN_PORT)), &router).len(), 1);
        lab
    });
}

#[test]
fn a_copy_that_a_tunnel_does_not_take_is_counted_there_though_others_get_theirs() {
    twice(|| {
        let mut net = stretched();
        let (host, other) = (net.lab.inside(2), net.lab.inside(3));
        net.lab.must(Command::SetPortMtu(net.west, 1000));
        let frame = ether(host.mac, MacAddr::BROADCAST, 0x1234, &[7; 1200]);
        let out = net.lab.send(&host, &frame);
        assert_eq!(Lab::to(&out, &other), std::slice::from_ref(&frame));
        assert_eq!(net.tunnelled(&out), [(EAST, frame.clone())]);
        assert_eq!(net.counted(net.west, DropReason::Oversize), 1);
        net.lab.must(Command::SetPortUp(net.underlay.port, false));
        assert_eq!(net.lab.send(&host, &broadcast(&host)).len(), 1);
        for tunnel in [net.east, net.west] {
            assert_eq!(net.counted(tunnel, DropReason::VxlanNoWay), 1);
        }
        net.lab
    });
}

#[test]
fn gateways_of_one_address_do_not_ask_each_other_for_ever() {
    twice(|| {
        let mut net = stretched();
        let host = net.lab.known_inside(2);
        let gateway = MacAddr::from_ipv4(Lab::GATEWAY);
        let nobody = Ipv4Addr::new(172, 17, 0, 99);
        let asked = build::arp_request(gateway, Lab::GATEWAY, nobody);
        let mut out = net.arrives(EAST, &asked);
        out.extend(net.lab.advance(Duration::from_secs(5)));
        // Hosts of this side are asked; the other gateways ask theirs themselves.
        assert!(Lab::to(&out, &host).len() > 1);
        assert_eq!(net.tunnelled(&out), []);
        // What a host of this side wants to know is asked everywhere, meanwhile as well.
        net.arrives(EAST, &asked);
        let wanted = build::udp(host.to_gateway(), host.at(1), Endpoint::new(nobody, 2), &[0; 9]);
        let mut out = net.lab.send(&host, &wanted);
        out.extend(net.lab.advance(Duration::from_secs(2)));
        assert!(!net.tunnelled(&out).is_empty());
        net.lab
    });
}

#[test]
fn a_gateway_that_changes_is_announced_on_this_side_only() {
    twice(|| {
        let mut net = stretched();
        let host = net.lab.inside(2);
        net.lab.advance(Duration::from_secs(1));
        let mut network = Lab::network_spec("bridge", Ipv4Addr::new(172, 17, 0, 254), 16);
        network.vxlan = Some(spec(vni(VNI)));
        net.lab.must(Command::AddNetwork(BRIDGE, network));
        let out = net.lab.advance(Duration::from_secs(1));
        assert_eq!(Lab::to(&out, &host).len(), 1);
        assert_eq!(net.tunnelled(&out), []);
        net.lab
    });
}

#[test]
fn what_the_kernel_refused_is_counted_though_its_tunnel_is_gone_or_it_cannot_be_read() {
    let mut net = stretched();
    let (host, far) = (net.lab.known_inside(2), remote(7));
    net.arrives(EAST, &broadcast(&far));
    let frame = build::udp(host.to(&far), host.at(1), far.at(2), &[0; 1400]);
    let outer = only(&net.lab.send(&host, &frame), &net.underlay);
    let mut tx = TxLists::new();
    let mut short = Outer::parse(&outer).unwrap().headers((host.mac, host.mac), 5).to_vec();
    short.extend([0; 5]);
    net.lab.engine.take_back(net.lab.now(), &short, 1400, &mut tx);
    assert_eq!(net.counted(net.east, DropReason::FrameTooShort), 1);
    net.lab.must(Command::RemovePort(net.east));
    net.lab.engine.take_back(net.lab.now(), &outer, 1400, &mut tx);
    assert_eq!(net.counted(net.underlay.port, DropReason::FragmentationNeeded), 1);
}

#[test]
fn copies_for_many_peers_leave_room_for_answers() {
    twice(|| {
        let mut net = stretched();
        let (host, other) = (net.lab.inside(2), net.lab.inside(3));
        for last in 50..68 {
            tunnel(&mut net.lab, tunnel_spec(Ipv4Addr::new(192, 0, 2, last)));
        }
        let mut frames = vec![(host.port, broadcast(&host)); 63];
        frames.push((host.port, build::arp_request(host.mac, host.ip, Lab::GATEWAY)));
        let out = net.lab.send_all(&frames);
        assert_eq!(Lab::to(&out, &host).len(), 1);
        assert_eq!(Lab::to(&out, &other).len(), 64);
        // Twenty copies each, and every one that is not there is counted.
        let sent = net.tunnelled(&out).len() as u64;
        assert!(sent < 1024);
        assert_eq!(sent + net.lab.dropped(DropReason::EgressQueueFull), 1260);
        net.lab
    });
}
