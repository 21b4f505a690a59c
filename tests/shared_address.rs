//! An uplink that shares the address of tapway's host: the host's kernel answers there.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::PortSpan;
use tapway::packet::tcp::{ACK, SYN};

const SPAN: PortSpan = PortSpan { first: 61_000, last: 61_999 };

/// The standard lab with a shared uplink; its router and a host inside, known to tapway.
fn shared() -> (Lab, LabPort, LabPort) {
    let mut lab = Lab::new();
    share(&mut lab, SPAN);
    let router = lab.attach(UPLINK, Lab::EXTERNAL, Lab::ROUTER);
    let host = lab.known_inside(2);
    lab.send(&host, &build::udp(host.to_gateway(), host.at(1), far(1), b"who"));
    let answer =
        build::arp_reply(router.mac, router.ip, (MacAddr::from_ipv4(Lab::EXTERNAL), Lab::EXTERNAL));
    assert_eq!(lab.send(&router, &answer).len(), 1, "what waited leaves");
    (lab, router, host)
}

#[test]
fn nothing_is_announced_answered_or_defended_in_the_hosts_place() {
    twice(|| {
        let mut lab = Lab::new();
        share(&mut lab, SPAN);
        let router = lab.attach(UPLINK, Lab::EXTERNAL, Lab::ROUTER);
        assert_eq!(lab.log, [], "no announcement");
        let hop = router.to_gateway();
        let own = (MacAddr::from_ipv4(Lab::EXTERNAL), Lab::EXTERNAL);
        let frames = [
            build::arp_request(router.mac, router.ip, Lab::EXTERNAL),
            build::arp_reply(router.mac, router.ip, own),
            build::arp_request(router.mac, Lab::EXTERNAL, Lab::EXTERNAL),
            build::echo(hop, router.ip, Lab::EXTERNAL, 7, false),
            build::echo(hop, router.ip, Lab::EXTERNAL, 7, true),
            build::tcp(hop, router.at(5000), ext(22), SYN, b""),
            build::udp(hop, router.at(5000), ext(53), b"query"),
            packet(hop, router.ip, Lab::EXTERNAL, 47, &[0; 8]),
            icmp_error(
                hop,
                (FAR, Lab::EXTERNAL),
                (3, 3),
                &build::udp(hop, ext(9), far(9), b"")[14..],
            ),
            icmp_error(
                hop,
                (FAR, Lab::EXTERNAL),
                (5, 1),
                &build::udp(hop, ext(9), far(9), b"")[14..],
            ),
        ];
        for (at, frame) in frames.iter().enumerate() {
            assert_eq!(lab.send(&router, frame), [], "{at}");
        }
        // A redirect is advice to the host.
        let (own, local) = (DropReason::HostsOwn, DropReason::LocalProtocol);
        assert_eq!((lab.dropped(own), lab.dropped(local)), (frames.len() as u64 - 1, 1));
        lab
    });
}

#[test]
fn fragments_for_the_host_go_at_once_and_those_of_a_flow_are_translated() {
    twice(|| {
        let (mut lab, router, host) = shared();
        let external = leave(&mut lab, (&host, &router), 61_500, far(53));
        let hop = router.to_gateway();
        for (to, is_ours) in [(ext(2049), false), (external, true)] {
            let whole = build::udp(hop, far(53), to, &[7; 3000]);
            for piece in build::fragments(&whole, 9 + to.port, 1400).iter().rev() {
                lab.send(&router, piece);
            }
            let got = Lab::to(&lab.log, &host).len();
            assert_eq!(got >= 3, is_ours, "{got}");
        }
        assert_eq!(lab.engine.totals().waiting, 0);
        assert_eq!(lab.dropped(DropReason::HostsOwn), 3);
        lab
    });
}

#[test]
fn flows_of_hosts_leave_by_ports_of_the_span_and_answers_find_them() {
    twice(|| {
        let (mut lab, router, host) = shared();
        let external = leave(&mut lab, (&host, &router), 61_500, far(53));
        assert!(external.ip == Lab::EXTERNAL && SPAN.contains(external.port), "{external}");
        assert!(arrives(&mut lab, (&router, &host), far(53), external, 61_500));
        let out = lab.send(&host, &build::echo(host.to_gateway(), host.ip, FAR, 61_077, false));
        let seen = only_icmp(&out, &router);
        let id = u16::from_be_bytes([seen.payload[4], seen.payload[5]]);
        assert!(SPAN.contains(id), "{id}");
        let reply = build::echo(router.to_gateway(), FAR, Lab::EXTERNAL, id, true);
        assert_eq!(only_icmp(&lab.send(&router, &reply), &host).src.ip, FAR);
        let datagram = build::udp(host.to_gateway(), host.at(61_500), far(53), b"x");
        let left = only(&lab.send(&host, &datagram), &router);
        let error = icmp_error(router.to_gateway(), (FAR, Lab::EXTERNAL), (3, 1), &left[14..]);
        assert_eq!(only_icmp(&lab.send(&router, &error), &host).src.ip, FAR);
        let gre = packet(host.to_gateway(), host.ip, FAR, 47, &[0; 8]);
        assert!(Lab::to(&lab.send(&host, &gre), &router).is_empty());
        assert_eq!(lab.dropped(DropReason::SharedProtocol), 1);
        lab
    });
}

#[test]
fn a_published_port_keeps_the_clients_address_and_a_closed_port_of_the_span_is_silent() {
    twice(|| {
        let (mut lab, router, host) = shared();
        lab.publish(6, 80, host.at(80));
        let hop = router.to_gateway();
        let syn = build::tcp(hop, far(4000), ext(80), SYN, b"");
        let seen = only_tcp(&lab.send(&router, &syn), &host);
        assert_eq!((seen.src, seen.dst), (far(4000), host.at(80)));
        let answer = build::tcp(host.to_gateway(), host.at(80), far(4000), SYN | ACK, b"");
        assert_eq!(only_tcp(&lab.send(&host, &answer), &router).src, ext(80));
        let closed = build::tcp(hop, far(4000), ext(61_500), SYN, b"");
        assert_eq!(lab.send(&router, &closed), []);
        assert_eq!(lab.dropped(DropReason::UnsolicitedSyn), 1);
        lab
    });
}

#[test]
fn another_span_ends_what_the_old_one_served() {
    let (mut lab, router, host) = shared();
    lab.alone();
    leave(&mut lab, (&host, &router), 5000, far(53));
    let span = PortSpan { first: 62_000, last: 62_063 };
    assert_eq!(share(&mut lab, span), 2);
    for sport in 5000..5064 {
        let external = leave(&mut lab, (&host, &router), sport, far(53));
        assert!(span.contains(external.port), "{external}");
    }
}
