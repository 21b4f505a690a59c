//! Translation through the whole engine: frames in, frames out, exact counters.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::tcp::{ACK, SYN};
use tapway::testkit::{Lab, build};

#[test]
fn udp_leaves_by_the_external_address_and_the_answer_comes_back() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let host = lab.known_inside(2);
        let far = at([203, 0, 113, 7], 53);
        let out = lab.send(&host, &build::udp(host.to_gateway(), host.at(5000), far, b"query"));
        let seen = only_udp(&out, &router);
        assert_eq!((seen.src, seen.dst, seen.ttl), (ext(5000), far, 63));
        assert_eq!((seen.src_mac, seen.dst_mac), (router.gateway, router.mac));
        let back = build::udp(router.to_gateway(), far, seen.src, b"answer");
        let seen = only_udp(&lab.send(&router, &back), &host);
        assert_eq!((seen.src, seen.dst, seen.payload), (far, host.at(5000), b"answer".to_vec()));
        assert!(lab.is_balanced() && lab.drops().is_empty());
        lab
    });
}

#[test]
fn published_port_keeps_the_clients_address() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let server = lab.known_inside(2);
        let client = at([192, 168, 33, 1], 40_000);
        let syn = build::tcp(router.to_gateway(), client, ext(80), SYN, b"");
        assert!(lab.send(&router, &syn).is_empty());
        assert_eq!(lab.dropped(DropReason::UnsolicitedSyn), 1);
        lab.publish(6, 80, server.at(80));
        let seen = only_tcp(&lab.send(&router, &syn), &server);
        assert_eq!((seen.src, seen.dst), (client, server.at(80)));
        let answer = build::tcp(server.to_gateway(), server.at(80), client, SYN | ACK, b"");
        let seen = only_tcp(&lab.send(&server, &answer), &router);
        assert_eq!((seen.src, seen.dst), (ext(80), client));
        lab
    });
}

#[test]
fn hairpin_through_a_published_port_answers_by_either_mac() {
    twice(|| {
        let mut lab = Lab::new();
        lab.router();
        let server = lab.known_inside(2);
        let client = lab.known_inside(3);
        lab.publish(6, 80, server.at(80));
        let syn = build::tcp(client.to_gateway(), client.at(4000), ext(80), SYN, b"");
        let seen = only_tcp(&lab.send(&client, &syn), &server);
        assert_eq!((seen.src, seen.dst), (client.at(4000), server.at(80)));
        for hop in [server.to(&client), server.to_gateway()] {
            let answer = build::tcp(hop, server.at(80), client.at(4000), SYN | ACK, b"");
            let seen = only_tcp(&lab.send(&server, &answer), &client);
            assert_eq!((seen.src, seen.dst), (ext(80), client.at(4000)));
            assert_eq!((seen.src_mac, seen.dst_mac), (client.gateway, client.mac));
        }
        // To itself: the server sees the gateway's address.
        let syn = build::tcp(server.to_gateway(), server.at(4001), ext(80), SYN, b"");
        let seen = only_tcp(&lab.send(&server, &syn), &server);
        assert_eq!((seen.src, seen.dst), (Endpoint::new(Lab::GATEWAY, 4001), server.at(80)));
        let answer = build::tcp(server.to_gateway(), server.at(80), seen.src, SYN | ACK, b"");
        let seen = only_tcp(&lab.send(&server, &answer), &server);
        assert_eq!((seen.src, seen.dst), (ext(80), server.at(4001)));
        lab
    });
}
