//! Fragments through the translation (RFC 4787 REQ-14): any order, both ways, within bounds.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::Totals;
use tapway::local::reassemble;

/// Every order of four pieces.
fn orders() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for n in 0..256usize {
        let order = [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6];
        if order.iter().collect::<HashSet<_>>().len() == 4 {
            all.push(order);
        }
    }
    all
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// Joins frames that must be the fragments of one datagram; the datagram, as one frame.
fn joined(frames: &[Vec<u8>]) -> Seen {
    let name = |frame: &Vec<u8>| (frame[18..20].to_vec(), frame[23], frame[26..34].to_vec());
    assert!(frames.iter().all(|frame| name(frame) == name(&frames[0])), "not one datagram");
    let packets: Vec<&[u8]> = frames.iter().map(|frame| &frame[14..]).collect();
    let whole = reassemble(&packets).unwrap().expect("incomplete");
    read(&[&frames[0][..14], &whole[..]].concat())
}

/// Sends pieces in an order; everything `to` got.
fn send_in(
    lab: &mut Lab,
    (from, to): (&LabPort, &LabPort),
    pieces: &[Vec<u8>],
    order: &[usize],
) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    for at in order {
        got.extend(Lab::to(&lab.send(from, &pieces[*at]), to));
    }
    got
}

/// An orphan: the last fragment of a datagram whose first never comes.
fn orphan(from: &LabPort, to: Endpoint, id: u16, len: usize) -> Vec<u8> {
    let datagram = build::udp(from.to_gateway(), from.at(9), to, &vec![1; 1480 + len - 8]);
    build::fragments(&datagram, id, 1480).remove(1)
}

#[test]
fn every_order_passes_in_both_directions() {
    twice(|| {
        let mut lab = Lab::new();
        lab.alone();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let other = lab.known_inside(3);
        leave(&mut lab, (&other, &router), 5000, far(9));
        let payload = data(4000);
        for (n, order) in orders().into_iter().enumerate() {
            let sent = udp_df_clear(host.to_gateway(), host.at(5000), far(53), &payload);
            let pieces = build::fragments(&sent, n as u16, 1008);
            let out = joined(&send_in(&mut lab, (&host, &router), &pieces, &order));
            assert_eq!((out.dst, &out.payload), (far(53), &payload), "{order:?}");
            assert_eq!(out.src.ip, Lab::EXTERNAL);
            assert_ne!(out.src.port, 5000, "the port changes, so the checksum does");
            let back = udp_df_clear(router.to_gateway(), far(53), out.src, &payload);
            let pieces = build::fragments(&back, n as u16, 1008);
            let back = joined(&send_in(&mut lab, (&router, &host), &pieces, &order));
            assert_eq!((back.src, back.dst), (far(53), host.at(5000)));
            assert_eq!((back.id, &back.payload), (n as u16, &payload));
        }
        let Totals { received, forwarded, waiting, dropped, .. } = lab.engine.totals();
        assert_eq!((forwarded, waiting, dropped), (24 * 8 + 1, 0, 0));
        assert_eq!(received, forwarded + 3);
        lab
    });
}

#[test]
fn tcp_icmp_and_portless_datagrams_are_followed_too() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let tcp = build::tcp(host.to_gateway(), host.at(5000), far(80), 0x10, &data(2000));
        let mut message = [&[8, 0, 0, 0, 0, 77, 0, 1][..], &data(2000)].concat();
        let sum = tapway::packet::checksum::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let ping = packet(host.to_gateway(), host.ip, FAR, 1, &message);
        let esp = packet(host.to_gateway(), host.ip, FAR, 50, &data(2000));
        for (id, frame) in [tcp, ping, esp].iter().enumerate() {
            let pieces = build::fragments(frame, id as u16, 800);
            let seen = joined(&send_in(&mut lab, (&host, &router), &pieces, &[2, 1, 0]));
            assert_eq!((seen.src.ip, seen.dst.ip), (Lab::EXTERNAL, FAR));
        }
        lab
    });
}

#[test]
fn a_fragmented_datagram_to_a_published_port_finds_its_host() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, server.at(5353));
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &data(3000));
        let pieces = build::fragments(&sent, 7, 1008);
        let seen = joined(&send_in(&mut lab, (&router, &server), &pieces, &[2, 1, 0]));
        assert_eq!((seen.src, seen.dst), (far(9), server.at(5353)));
        lab
    });
}

#[test]
fn two_hosts_with_one_identification_are_not_mixed_up() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        let mut got = Vec::new();
        let (one, two) = (vec![1; 2000], vec![2; 2000]);
        let cut = |host: &LabPort, data: &[u8]| {
            let sent = udp_df_clear(host.to_gateway(), host.at(5000), far(53), data);
            build::fragments(&sent, 42, 1480)
        };
        for (first, second) in cut(&a, &one).into_iter().zip(cut(&b, &two)) {
            got.extend(Lab::to(&lab.send(&a, &first), &router));
            got.extend(Lab::to(&lab.send(&b, &second), &router));
        }
        let id = |frame: &Vec<u8>| u16::from_be_bytes([frame[18], frame[19]]);
        let ids: HashSet<u16> = got.iter().map(id).collect();
        assert_eq!(ids.len(), 2);
        for (at, payload) in [(0, one), (1, two)] {
            let own: Vec<_> = got.iter().filter(|f| id(f) == id(&got[at])).cloned().collect();
            assert_eq!(joined(&own).payload, payload);
        }
        lab
    });
}

#[test]
fn identifications_of_whole_datagrams_that_may_be_cut_are_unique() {
    let mut lab = Lab::new();
    let (router, a, b) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
    let mut seen = HashSet::new();
    for n in 0..2000u16 {
        let host = if n % 2 == 0 { &a } else { &b };
        let mut sent = udp_df_clear(host.to_gateway(), host.at(5000), far(53), b"");
        sent[18..20].copy_from_slice(&(n / 2).to_be_bytes());
        fix_header_checksum(&mut sent);
        assert!(seen.insert(only_udp(&lab.send(host, &sent), &router).id));
    }
    // What may not be cut keeps its own (RFC 6864: it is of no use).
    let sent = build::udp(a.to_gateway(), a.at(5000), far(53), b"");
    assert_eq!(only_udp(&lab.send(&a, &sent), &router).id, read(&sent).id);
}

#[test]
fn fragments_larger_than_the_next_link_are_cut_further() {
    twice(|| {
        let mut lab = Lab::with(EngineConfig::with_sessions(64), |network| network.mtu = 576);
        let (router, server) = (lab.router(), lab.known_inside(2));
        lab.publish(17, 53, server.at(53));
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &data(4000));
        let pieces = build::fragments(&sent, 7, 1480);
        let got = send_in(&mut lab, (&router, &server), &pieces, &[2, 0, 1]);
        assert!(got.len() > 7 && got.iter().all(|frame| frame.len() <= 590));
        assert_eq!(joined(&got).payload, data(4000));
        lab
    });
}

#[test]
fn pieces_wait_while_the_next_hop_is_asked_for() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, server) = (lab.router(), lab.inside(2));
        lab.publish(17, 53, server.at(53));
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &data(4000));
        let pieces = build::fragments(&sent, 7, 1480);
        assert!(
            send_in(&mut lab, (&router, &server), &pieces, &[2, 0, 1]).iter().all(|f| f[13] == 6)
        );
        assert_eq!(lab.engine.totals().waiting, 3);
        let reply = build::arp_reply(server.mac, server.ip, (server.gateway, Lab::GATEWAY));
        let got = Lab::to(&lab.send(&server, &reply), &server);
        assert_eq!(joined(&got).payload, data(4000));
        assert_eq!(lab.engine.totals().waiting, 0);
        lab
    });
}

#[test]
fn the_fate_of_the_first_is_the_fate_of_all() {
    twice(|| {
        let mut lab = Lab::new();
        let router = lab.router();
        let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &data(4000));
        let pieces = build::fragments(&sent, 7, 1480);
        for at in [2, 0, 1] {
            assert!(lab.send(&router, &pieces[at]).is_empty());
        }
        // tapway has the address, so it put the datagram together before it refused it.
        let totals = lab.engine.totals();
        assert_eq!((totals.dropped, totals.local), (1, 3));
        let host = lab.known_inside(2);
        let away = udp_df_clear(host.to_gateway(), host.at(1), at([10, 9, 9, 9], 1), &data(4000));
        lab.must(Command::RemoveRoute(ipnet::Ipv4Net::default()));
        let pieces = build::fragments(&away, 7, 1480);
        let mut out = Vec::new();
        for at in [2, 0, 1] {
            out.extend(lab.send(&host, &pieces[at]));
        }
        assert_eq!(only_icmp(&out, &host).payload[..2], [3, 0]);
        assert_eq!(lab.dropped(DropReason::NoRoute), 3);
        lab
    });
}

#[test]
fn tiny_fragments_that_hide_or_overwrite_ports_and_flags_end() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, host) = (lab.router(), lab.known_inside(2));
        let syn = build::tcp(host.to_gateway(), host.at(5000), far(80), 2, &data(40));
        let pieces = build::fragments(&syn, 1, 8);
        assert!(lab.send(&host, &pieces[0]).is_empty());
        assert!(lab.send(&host, &pieces[1]).is_empty());
        let whole_header = build::fragments(&syn, 2, 24);
        assert_eq!(Lab::to(&lab.send(&host, &whole_header[0]), &router).len(), 1);
        let overwriting = build::fragments(&syn, 2, 8).remove(1);
        assert!(lab.send(&host, &overwriting).is_empty());
        assert_eq!(lab.dropped(DropReason::FragmentTooSmall), 3);
        lab
    });
}

#[test]
fn orphans_of_one_source_stop_nobody_else_and_go_after_30_s() {
    twice(|| {
        let mut lab = Lab::new();
        let (router, attacker, host) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
        lab.publish(17, 53, host.at(53));
        let payload = data(3000);
        let sent = udp_df_clear(host.to_gateway(), host.at(5000), far(53), &payload);
        // One that began before the attack must survive it.
        let early = build::fragments(&sent, 1, 1480);
        assert!(lab.send(&host, &early[2]).is_empty());
        for n in 0..20_000u32 {
            lab.send(&attacker, &orphan(&attacker, far(9), n as u16, 400));
        }
        let got = send_in(&mut lab, (&host, &router), &early, &[0, 1]);
        assert_eq!(joined(&got).payload, payload);
        let late = build::fragments(&sent, 2, 1480);
        let got = send_in(&mut lab, (&host, &router), &late, &[2, 1, 0]);
        assert_eq!(joined(&got).payload, payload);
        // Nor the attacker's own whole datagrams.
        leave(&mut lab, (&attacker, &router), 7, far(9));
        let waiting = lab.engine.totals().waiting;
        assert_eq!(waiting, 256);
        assert_eq!(lab.dropped(DropReason::FragmentTableFull), 20_000 - waiting);
        lab.advance(Duration::from_secs(31));
        assert_eq!(lab.engine.totals().waiting, 0);
        assert_eq!(lab.dropped(DropReason::FragmentTimeout), waiting);
        lab
    });
}

#[test]
fn large_orphans_are_bounded_by_bytes_and_many_pieces_by_number() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        let datagram = udp_df_clear(host.to_gateway(), host.at(9), far(9), &data(4500));
        for id in 0..600 {
            for piece in &build::fragments(&datagram, id, 1480)[1..] {
                lab.send(&host, piece);
            }
        }
        let waiting = lab.engine.totals().waiting;
        // Three frames of 1514, 1514 and 102 bytes each.
        assert_eq!(waiting, 512 * 1024 / (1514 + 1514 + 102) * 3);
        lab.advance(Duration::from_secs(31));
        // A datagram in eight-byte pieces costs more work than it is worth.
        let before = lab.dropped(DropReason::FragmentTableFull);
        let gateway = Endpoint::new(Lab::GATEWAY, 9);
        let datagram = udp_df_clear(host.to_gateway(), host.at(9), gateway, &data(2000));
        let mut pieces = build::fragments(&datagram, 9, 8);
        pieces.pop();
        for piece in &pieces {
            lab.send(&host, piece);
        }
        assert_eq!(lab.engine.totals().waiting, 128);
        let refused = lab.dropped(DropReason::FragmentTableFull) - before;
        assert_eq!(refused, pieces.len() as u64 - 128);
        lab
    });
}

#[test]
fn many_spoofed_sources_fill_the_table_and_whole_traffic_goes_on() {
    let mut lab = Lab::new();
    let (router, host) = (lab.router(), lab.known_inside(2));
    lab.publish(17, 53, host.at(53));
    for n in 0..10_000u32 {
        let from = LabPort { ip: std::net::Ipv4Addr::from(0x0a00_0000 + n), ..router };
        lab.send(&router, &orphan(&from, ext(53), 1, 400));
    }
    assert_eq!(lab.engine.totals().waiting, 4096);
    assert!(lab.is_balanced());
    let sent = udp_df_clear(router.to_gateway(), far(9), ext(53), &data(3000));
    let pieces = build::fragments(&sent, 7, 1480);
    let got = send_in(&mut lab, (&router, &host), &pieces, &[2, 0, 1]);
    assert_eq!(joined(&got).payload, data(3000));
    assert!(arrives(&mut lab, (&router, &host), far(10), ext(53), 53));
}

#[test]
fn an_incomplete_echo_request_is_reported_after_a_minute_if_its_first_part_came() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        let ping = packet(host.to_gateway(), host.ip, Lab::GATEWAY, 1, &[8; 3000]);
        let pieces = build::fragments(&ping, 7, 1480);
        lab.send(&host, &pieces[0]);
        lab.send(&host, &pieces[2]);
        assert!(lab.advance(Duration::from_secs(59)).is_empty());
        let out = lab.advance(Duration::from_secs(2));
        let seen = only_icmp(&out, &host);
        assert_eq!((seen.src.ip, &seen.payload[..2]), (Lab::GATEWAY, &[11, 1][..]));
        assert_eq!(seen.payload[8..], pieces[0][14..14 + 548]);
        // Without the first there is nothing to say.
        lab.send(&host, &build::fragments(&ping, 8, 1480)[1]);
        assert!(lab.advance(Duration::from_secs(62)).is_empty());
        assert_eq!(lab.dropped(DropReason::FragmentTimeout), 3);
        lab
    });
}

#[test]
fn a_fragmented_datagram_to_a_closed_port_of_the_gateway_is_refused() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        let closed = Endpoint::new(Lab::GATEWAY, 9);
        let sent = udp_df_clear(host.to_gateway(), host.at(1), closed, &data(3000));
        let pieces = build::fragments(&sent, 7, 1480);
        let got = send_in(&mut lab, (&host, &host), &pieces, &[0, 1, 2]);
        assert_eq!(got.len(), 1);
        assert_eq!(read(&got[0]).payload[..2], [3, 3]);
        assert_eq!(lab.dropped(DropReason::LocalPortClosed), 1);
        lab
    });
}
