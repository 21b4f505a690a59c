//! ICMP through the translation (RFC 5508): queries, and errors with what they quote.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::packet::tcp::{ACK, SYN};
use tapway::packet::{FrameView, Offload, checksum, put16};

/// The packet of a frame.
fn inner(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

/// Reads what an error quotes as if it were a frame; a whole quote has its checksums verified.
fn quoted(seen: &Seen) -> Seen {
    read(&[&[0; 12][..], &[8, 0], &seen.payload[8..]].concat())
}

struct Bench {
    lab: Lab,
    router: LabPort,
    host: LabPort,
}

impl Bench {
    fn new() -> Self {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        Self { lab, router, host }
    }

    /// A datagram as the host sends it, and as it leaves.
    fn sent(&mut self) -> (Vec<u8>, Vec<u8>) {
        let datagram =
            build::udp(self.host.to_gateway(), self.host.at(5001), far(33_434), b"probe");
        let out = only(&self.lab.send(&self.host, &datagram), &self.router);
        (datagram, out)
    }

    fn error_from(
        &mut self,
        src: Ipv4Addr,
        kind: (u8, u8),
        about: &[u8],
    ) -> Vec<(PortId, Vec<u8>)> {
        let error = icmp_error(self.router.to_gateway(), (src, Lab::EXTERNAL), kind, about);
        self.lab.send(&self.router, &error)
    }
}

/// A host may not have a checksum written where it makes another message of what was looked at.
#[test]
fn partial_checksum_makes_no_error_of_another_message() {
    let mut bench = Bench::new();
    let (datagram, _) = bench.sent();
    // Type and code 0xffff count as zero: the sum is a valid error's, of type and code 3.
    let mut message = [&[0xff; 2][..], &[0; 6], &inner(&datagram)[..28], &[0; 2]].concat();
    let missing = !checksum::sum_of(&[checksum::sum(&message), 0x0303]);
    put16(&mut message, 36, missing);
    let hop = bench.host.to_gateway();
    let frame = packet(hop, bench.host.at(0).ip, FAR, 1, &message);
    let offload = Offload::partial(34, 0);
    let mut forged = frame.clone();
    offload.complete(&mut forged);
    assert!(forged[34..36] == [3, 3] && checksum::is_valid(&forged[34..]));
    let dropped = bench.lab.dropped(DropReason::VnetHeader);
    let out = bench.lab.send_view(&bench.host, FrameView { bytes: &frame, offload });
    assert!(out.is_empty(), "{out:02x?}");
    assert_eq!(bench.lab.dropped(DropReason::VnetHeader), dropped + 1);
}

#[test]
fn two_hosts_ping_one_address_with_one_identifier() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let mut ids = Vec::new();
        for host in [&a, &b] {
            let ping = build::echo(host.to_gateway(), host.ip, FAR, 77, false);
            let seen = only_icmp(&lab.send(host, &ping), &router);
            assert_eq!((seen.src.ip, seen.dst.ip), (Lab::EXTERNAL, FAR));
            ids.push(u16::from_be_bytes([seen.payload[4], seen.payload[5]]));
        }
        assert_eq!(ids[0], 77);
        assert_ne!(ids[1], 77);
        for (host, id) in [(&a, ids[0]), (&b, ids[1])] {
            let pong = build::echo(router.to_gateway(), FAR, Lab::EXTERNAL, id, true);
            let seen = only_icmp(&lab.send(&router, &pong), host);
            assert_eq!((seen.dst.ip, &seen.payload[..2]), (host.ip, &[0, 0][..]));
            assert_eq!(seen.payload[4..6], [0, 77]);
            assert_eq!(seen.payload[8..], *b"tapway echo payload");
        }
        // Nobody asked with this identifier.
        let pong = build::echo(router.to_gateway(), FAR, Lab::EXTERNAL, 78, true);
        assert!(lab.send(&router, &pong).is_empty());
        lab
    });
}

#[test]
fn an_identifier_is_mapped_alike_towards_everybody_and_lives_60_s() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let (a, b) = (lab.known_inside(2), lab.known_inside(3));
        let id_of = |lab: &mut Lab, host: &LabPort, to| {
            let ping = build::echo(host.to_gateway(), host.ip, to, 77, false);
            only_icmp(&lab.send(host, &ping), &router).payload[4..6].to_vec()
        };
        id_of(&mut lab, &a, FAR);
        let other = id_of(&mut lab, &b, FAR);
        assert_eq!(id_of(&mut lab, &b, STRANGER), other);
        pass(&mut lab, &[&a, &b, &router], Duration::from_secs(59));
        assert_eq!(lab.engine.session_usage().0, 3);
        pass(&mut lab, &[&a, &b, &router], Duration::from_secs(3));
        assert_eq!(lab.engine.session_usage().0, 0);
        lab
    });
}

#[test]
fn a_reply_nobody_asked_for_makes_no_session() {
    twice(|| {
        let mut bench = Bench::new();
        let host = bench.host;
        let pong = build::echo(host.to_gateway(), host.ip, FAR, 77, true);
        assert!(bench.lab.send(&host, &pong).is_empty());
        assert_eq!(bench.lab.dropped(DropReason::NoSession), 1);
        assert_eq!(bench.lab.engine.session_usage().0, 0);
        bench.lab
    });
}

#[test]
fn errors_from_outside_reach_the_inside_host_with_its_own_packet_quoted() {
    let hop_router = Ipv4Addr::new(100, 64, 0, 1);
    for (kind, from) in
        [((3, 1), FAR), ((3, 3), FAR), ((3, 4), hop_router), ((11, 0), hop_router), ((12, 0), FAR)]
    {
        twice(|| {
            let mut bench = Bench::new();
            let (own, left) = bench.sent();
            let out = bench.error_from(from, kind, inner(&left));
            let seen = only_icmp(&out, &bench.host);
            assert_eq!((seen.src.ip, seen.dst.ip), (from, bench.host.ip));
            assert_eq!((seen.payload[0], seen.payload[1]), kind);
            // The quote is the packet as the host sent it, but for the TTL it had outside.
            let mut expected = own.clone();
            expected[22] -= 1;
            fix_header_checksum(&mut expected);
            assert_eq!(seen.payload[8..], *inner(&expected));
            assert_eq!(quoted(&seen).src, bench.host.at(5001));
            bench.lab
        });
    }
}

#[test]
fn the_next_mtu_and_extensions_behind_the_quote_pass_unchanged() {
    twice(|| {
        let mut bench = Bench::new();
        let (_, left) = bench.sent();
        // RFC 4884: the quote padded to 128 bytes, then an extension.
        let mut about = inner(&left).to_vec();
        about.resize(128, 0);
        about.extend_from_slice(&[0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 1, 2, 3, 4]);
        let router = bench.router;
        let mut error = icmp_error(router.to_gateway(), (FAR, Lab::EXTERNAL), (3, 4), &about);
        error[38..42].copy_from_slice(&[0, 32, 0x05, 0x14]);
        error[36..38].fill(0);
        let sum = tapway::packet::checksum::checksum(&error[34..]);
        error[36..38].copy_from_slice(&sum.to_be_bytes());
        let seen = only_icmp(&bench.lab.send(&router, &error), &bench.host);
        assert_eq!(seen.payload[4..8], [0, 32, 0x05, 0x14]);
        assert_eq!(seen.payload[8 + left.len() - 14..], about[left.len() - 14..]);
        bench.lab
    });
}

#[test]
fn eight_quoted_bytes_are_enough_and_inner_options_are_stepped_over() {
    twice(|| {
        let mut bench = Bench::new();
        let (_, left) = bench.sent();
        let seen = only_icmp(&bench.error_from(FAR, (3, 3), &inner(&left)[..28]), &bench.host);
        assert_eq!(seen.payload.len(), 8 + 28);
        assert_eq!(seen.payload[28..32], [0x13, 0x89, 0x82, 0x9a]);
        // Seven are not.
        assert!(bench.error_from(FAR, (3, 3), &inner(&left)[..27]).is_empty());
        // Options between header and ports.
        let mut header = build::ip_header(Lab::EXTERNAL, FAR, 17, 9);
        header.options = [7, 7, 4, 0, 0, 0, 0, 1].into();
        let frame = build::ip(bench.router.to_gateway(), &header, &left[34..]);
        let seen = only_icmp(&bench.error_from(FAR, (3, 3), inner(&frame)), &bench.host);
        assert_eq!(seen.payload[28..36], [7, 7, 4, 0, 0, 0, 0, 1]);
        assert_eq!(quoted(&seen).src, bench.host.at(5001));
        bench.lab
    });
}

#[test]
fn a_zero_udp_checksum_in_the_quote_stays_zero() {
    let mut bench = Bench::new();
    let (_, mut left) = bench.sent();
    left[40..42].fill(0);
    let seen = only_icmp(&bench.error_from(FAR, (3, 3), inner(&left)), &bench.host);
    assert_eq!(seen.payload[8 + 26..8 + 28], [0, 0]);
}

#[test]
fn errors_about_tcp_and_echo_are_translated_too() {
    twice(|| {
        let mut bench = Bench::new();
        bench.lab.alone();
        let host = bench.host;
        let other = bench.lab.known_inside(3);
        for ping_first in [&other, &host] {
            let ping = build::echo(ping_first.to_gateway(), ping_first.ip, FAR, 77, false);
            let left = only(&bench.lab.send(ping_first, &ping), &bench.router);
            let seen = only_icmp(&bench.error_from(FAR, (11, 0), inner(&left)), ping_first);
            let quote = quoted(&seen);
            assert_eq!((quote.src.ip, &quote.payload[4..6]), (ping_first.ip, &[0, 77][..]));
        }
        let syn = build::tcp(host.to_gateway(), host.at(5000), far(80), SYN, b"");
        let left = only(&bench.lab.send(&host, &syn), &bench.router);
        let seen = only_icmp(&bench.error_from(FAR, (3, 10), inner(&left)), &host);
        assert_eq!((quoted(&seen).src, quoted(&seen).dst), (host.at(5000), far(80)));
        // It did not end the attempt.
        let answer = build::tcp(bench.router.to_gateway(), far(80), ext(5000), SYN | ACK, b"");
        only_tcp(&bench.lab.send(&bench.router, &answer), &host);
        bench.lab
    });
}

#[test]
fn wrong_checksums_outside_or_in_the_quoted_header_end_an_error() {
    twice(|| {
        let mut bench = Bench::new();
        let (_, left) = bench.sent();
        let router = bench.router;
        let good = icmp_error(router.to_gateway(), (FAR, Lab::EXTERNAL), (3, 3), inner(&left));
        let mut outer = good.clone();
        outer[36] ^= 1;
        assert!(bench.lab.send(&router, &outer).is_empty());
        let mut damaged = inner(&left).to_vec();
        damaged[10] ^= 1;
        assert!(bench.error_from(FAR, (3, 3), &damaged).is_empty());
        assert_eq!(bench.lab.dropped(DropReason::IcmpErrorMalformed), 2);
        // The quoted transport checksum is nobody's business.
        let mut unchecked = inner(&left).to_vec();
        unchecked[26] ^= 1;
        let out = bench.error_from(FAR, (3, 3), &unchecked);
        assert_eq!(Lab::to(&out, &bench.host).len(), 1);
        bench.lab
    });
}

#[test]
fn errors_neither_keep_nor_end_a_session_and_unmatched_ones_are_silent() {
    twice(|| {
        let mut bench = Bench::new();
        let (_, left) = bench.sent();
        let hosts = [&bench.host, &bench.router].map(|host| *host);
        for _ in 0..2 {
            pass(&mut bench.lab, &[&hosts[0], &hosts[1]], Duration::from_secs(149));
            only_icmp(&bench.error_from(FAR, (3, 3), inner(&left)), &bench.host);
        }
        pass(&mut bench.lab, &[&hosts[0], &hosts[1]], Duration::from_secs(4));
        assert_eq!(bench.lab.engine.session_usage().0, 0);
        assert!(bench.error_from(FAR, (3, 3), inner(&left)).is_empty());
        assert_eq!(bench.lab.dropped(DropReason::IcmpErrorUnmatched), 1);
        bench.lab
    });
}

#[test]
fn an_error_from_inside_shows_the_public_address_outside_and_in_the_quote() {
    twice(|| {
        let mut bench = Bench::new();
        let (router, server) = (bench.router, bench.host);
        bench.lab.publish(17, 53, server.at(5353));
        let query = build::udp(router.to_gateway(), far(4000), ext(53), b"query");
        let got = only(&bench.lab.send(&router, &query), &server);
        // By the server itself, and by a router inside whose address nobody may see.
        for from in [server.ip, Ipv4Addr::new(172, 17, 0, 200)] {
            let error = icmp_error(server.to_gateway(), (from, FAR), (3, 3), inner(&got));
            let seen = only_icmp(&bench.lab.send(&server, &error), &router);
            assert_eq!((seen.src.ip, seen.dst.ip), (Lab::EXTERNAL, FAR));
            let quote = quoted(&seen);
            assert_eq!((quote.src, quote.dst), (far(4000), ext(53)));
        }
        bench.lab
    });
}

#[test]
fn an_error_about_an_answer_finds_its_way_back_inside() {
    twice(|| {
        let mut bench = Bench::new();
        let (router, server) = (bench.router, bench.host);
        bench.lab.publish(6, 80, server.at(8080));
        let syn = build::tcp(router.to_gateway(), far(4000), ext(80), SYN, b"");
        bench.lab.send(&router, &syn);
        let answer = build::tcp(server.to_gateway(), server.at(8080), far(4000), SYN | ACK, b"");
        let left = only(&bench.lab.send(&server, &answer), &router);
        let seen = only_icmp(&bench.error_from(FAR, (3, 1), inner(&left)), &server);
        let quote = quoted(&seen);
        assert_eq!((quote.src, quote.dst), (server.at(8080), far(4000)));
        bench.lab
    });
}

#[test]
fn a_traceroute_sees_each_hop_and_the_ttl_of_an_error_counts_too() {
    twice(|| {
        let mut bench = Bench::new();
        let (_, left) = bench.sent();
        let router = bench.router;
        let hop = router.to_gateway().ttl(1);
        let error = icmp_error(hop, (FAR, Lab::EXTERNAL), (11, 0), inner(&left));
        assert!(bench.lab.send(&router, &error).is_empty());
        assert_eq!(bench.lab.dropped(DropReason::TtlExceeded), 1);
        let seen = only_icmp(&bench.error_from(FAR, (11, 0), inner(&left)), &bench.host);
        assert_eq!(seen.ttl, 63);
        bench.lab
    });
}

#[test]
fn redirects_and_errors_about_errors_are_not_passed_on() {
    twice(|| {
        let mut bench = Bench::new();
        let (_, left) = bench.sent();
        assert!(bench.error_from(FAR, (5, 1), inner(&left)).is_empty());
        assert_eq!(bench.lab.dropped(DropReason::LocalProtocol), 1);
        let host = bench.host;
        let ping = build::echo(host.to_gateway(), host.ip, FAR, 77, false);
        let mut left = only(&bench.lab.send(&host, &ping), &bench.router);
        only_icmp(&bench.error_from(FAR, (11, 0), inner(&left)), &host);
        left[34] = 3;
        assert!(bench.error_from(FAR, (11, 0), inner(&left)).is_empty());
        assert_eq!(bench.lab.dropped(DropReason::IcmpErrorMalformed), 1);
        bench.lab
    });
}
