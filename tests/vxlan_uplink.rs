//! VXLAN through the whole engine, by its own uplink: datagrams are packets of tapway's own there.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::time::Duration;

use support::stretched::*;
use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{Underlay, Vtep};
use tapway::packet::tcp::ACK;
use tapway::packet::vxlan::{ENCAPSULATION, Outer, VXLAN_PORT};
use tapway::packet::{FrameView, Gso};

/// A lab whose VTEP is on its own uplink, with one peer beyond the router.
fn on_uplink() -> (Lab, LabPort, PortId) {
    let mut lab = Lab::with(EngineConfig::with_sessions(256), |network| {
        network.vxlan = Some(spec(vni(VNI)));
    });
    let router = lab.attach(UPLINK, Lab::EXTERNAL, Lab::ROUTER);
    let vtep = Vtep { address: Lab::EXTERNAL, port: VXLAN_PORT, underlay: Underlay::Uplink };
    lab.must(Command::SetVtep(Some(vtep)));
    let east = tunnel(&mut lab, tunnel_spec(EAST));
    (lab, router, east)
}

/// A datagram of the peer as the router passes it on.
fn from_peer(router: &LabPort, inner: &[u8]) -> Vec<u8> {
    let outer = Outer {
        src: EAST,
        dst: Lab::EXTERNAL,
        sport: 55_555,
        dport: VXLAN_PORT,
        tos: 0,
        vni: vni(VNI),
    };
    [&outer.headers((router.gateway, router.mac), inner.len())[..], inner].concat()
}

#[test]
fn by_the_uplink_a_datagram_waits_for_the_router_and_then_goes_its_way() {
    twice(|| {
        let (mut lab, router, _) = on_uplink();
        let (host, far) = (lab.inside(2), remote(7));
        let frame = hello(&host, &far);
        let out = lab.send(&host, &frame);
        assert_eq!(Lab::arp_targets(&out), [Lab::ROUTER]);
        let answer = build::arp_reply(router.mac, router.ip, (router.gateway, Lab::EXTERNAL));
        let out = lab.send(&router, &answer);
        let sent = only(&out, &router);
        let outer = Outer::parse(&sent).unwrap();
        assert_eq!((outer.src, outer.dst, outer.vni), (Lab::EXTERNAL, EAST, vni(VNI)));
        assert_eq!((&sent[..6], &sent[ENCAPSULATION..]), (&router.mac.0[..], &frame[..]));
        let back = hello(&far, &host);
        assert_eq!(only(&lab.send(&router, &from_peer(&router, &back)), &host), back);
        assert_eq!(Lab::to(&lab.send(&host, &frame), &router)[0][ENCAPSULATION..], frame);
        lab
    });
}

#[test]
fn by_the_uplink_a_peer_that_nobody_routes_to_is_named() {
    twice(|| {
        let (mut lab, router, east) = on_uplink();
        let host = lab.inside(2);
        lab.send(&host, &broadcast(&host));
        lab.advance(Duration::from_secs(5));
        let rows = lab.engine.drop_rows();
        let lost = rows.iter().find(|row| row.reason == "vxlan_no_way").unwrap();
        assert_eq!((lost.port.as_str(), lost.frames), ("bridge@192.0.2.2", 1));
        let _ = (router, east);
        lab
    });
}

#[test]
fn by_the_uplink_super_frames_leave_in_segments_and_fragments_are_put_together() {
    let (mut lab, router, _) = on_uplink();
    lab.alone();
    let (host, far) = (lab.inside(2), remote(7));
    lab.introduce(&router, Lab::EXTERNAL);
    lab.send(&router, &from_peer(&router, &broadcast(&far)));
    let whole = build::tcp(host.to(&far), host.at(1), far.at(2), ACK, &[5; 4000]);
    let (bytes, offload) = build::unfinished(&whole);
    let view = FrameView { bytes: &bytes, offload: offload.segmented(Gso::Tcp4, 1400) };
    let out = lab.send_view(&host, view);
    let sent = Lab::to(&out, &router);
    assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1504, 1504, 1304]);
    for frame in &sent {
        assert_eq!(read(frame).payload.len(), frame.len() - 42);
        read(&frame[ENCAPSULATION..]);
    }
    let large = from_peer(&router, &build::udp(far.to(&host), far.at(1), host.at(2), &[3; 1400]));
    let mut out = Vec::new();
    for piece in build::fragments(&large, 7, 800) {
        out.extend(lab.send(&router, &piece));
    }
    assert_eq!(only(&out, &host), large[ENCAPSULATION..]);
}

#[test]
fn by_the_uplink_a_router_tells_what_the_way_takes() {
    twice(|| {
        let (mut lab, router, _) = on_uplink();
        let (host, far) = (lab.known_inside(2), remote(7));
        lab.introduce(&router, Lab::EXTERNAL);
        lab.send(&router, &from_peer(&router, &broadcast(&far)));
        let frame = build::udp(host.to(&far), host.at(1), far.at(2), &[0; 1400]);
        let sent = only(&lab.send(&host, &frame), &router);
        let mut error = icmp_error(
            Hop::new(router.mac, router.gateway),
            (Lab::ROUTER, Lab::EXTERNAL),
            (3, 4),
            &sent[14..42],
        );
        error[40..42].copy_from_slice(&1300u16.to_be_bytes());
        error[36..38].fill(0);
        let sum = tapway::packet::checksum::checksum(&error[34..]);
        error[36..38].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(lab.send(&router, &error), []);
        let seen = only_icmp(&lab.send(&host, &frame), &host);
        assert_eq!(told_mtu(&seen), 1250);
        // Ten minutes later the way is tried again.
        lab.advance(Duration::from_secs(601));
        lab.introduce(&host, Lab::GATEWAY);
        lab.introduce(&router, Lab::EXTERNAL);
        lab.send(&router, &from_peer(&router, &broadcast(&far)));
        assert_eq!(Lab::to(&lab.send(&host, &frame), &router).len(), 1);
        lab
    });
}

#[test]
fn by_the_uplink_strangers_and_damage_are_named() {
    twice(|| {
        let (mut lab, router, _) = on_uplink();
        let (host, far) = (lab.inside(2), remote(7));
        let good = from_peer(&router, &hello(&far, &host));
        let drops = |lab: &mut Lab, frame: &[u8], reason| {
            assert_eq!(lab.send(&router, frame), []);
            assert_eq!(lab.dropped(reason), 1, "{reason}");
        };
        let mut wrong = good.clone();
        wrong[40..42].copy_from_slice(&[1, 1]);
        drops(&mut lab, &wrong, DropReason::VxlanHeader);
        let mut other = good.clone();
        other[48] = 43;
        drops(&mut lab, &other, DropReason::VxlanUnknownVni);
        let mut stranger = good;
        stranger[29] = 77;
        fix_header_checksum(&mut stranger);
        drops(&mut lab, &stranger, DropReason::VxlanForeignPeer);
        lab
    });
}

#[test]
fn no_session_has_the_port_of_the_vtep() {
    twice(|| {
        let (mut lab, router, _) = on_uplink();
        // Workers choose other external ports.
        lab.alone();
        let host = lab.known_inside(2);
        lab.introduce(&router, Lab::EXTERNAL);
        let frame = build::udp(host.to_gateway(), host.at(VXLAN_PORT), far(53), b"query");
        let seen = only_udp(&lab.send(&host, &frame), &router);
        assert_ne!(seen.src.port, VXLAN_PORT);
        // One that had it before ends with it.
        lab.must(Command::SetVtep(None));
        let frame = build::udp(host.to_gateway(), host.at(VXLAN_PORT), far(54), b"query");
        lab.send(&host, &frame);
        let (address, port) = (Lab::EXTERNAL, seen.src.port);
        let vtep = Vtep { address, port, underlay: Underlay::Uplink };
        assert_eq!(lab.must(Command::SetVtep(Some(vtep))).ended_sessions, 2);
        lab
    });
}
