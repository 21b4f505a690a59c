//! DNS at the gateways: what the engine answers itself, what it asks for, and who hears the answer.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use support::*;
use tapway::drop_reason::DropReason;
use tapway::engine::{Engine, NameQuery};
use tapway::id::WorkerId;
use tapway::local::dns::NameTable;
use tapway::packet::tcp::{ACK, RST, SYN};
use tapway::packet::{FrameView, Gso, Offload, checksum};
use tapway::switch::PortRole;
use tapway::testkit::{Crew, HostSpec, Plug, SimHost, WireQuality, World};
use tapway::time::Instant;

const WEB2: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04web2\0\0\x01\0\x01";
const FOREIGN: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04test\0\0\x01\0\x01";

fn names() -> Command {
    let mut names = NameTable::default();
    names.add_network(BRIDGE, "bridge", "172.17.0.0/16".parse().ok(), true);
    names.add_host(BRIDGE, "web2", Ipv4Addr::new(172, 17, 0, 3));
    Command::SetNames(Arc::new(names))
}

fn server() -> Endpoint {
    Endpoint::new(Lab::GATEWAY, 53)
}

fn ask(lab: &mut Lab, host: &LabPort, sport: u16, message: &[u8]) -> Vec<(PortId, Vec<u8>)> {
    lab.send(host, &build::udp(host.to_gateway(), host.at(sport), server(), message))
}

fn address_in(message: &[u8]) -> Ipv4Addr {
    let message = Message::from_vec(message).unwrap();
    match message.answers[0].data {
        RData::A(address) => address.0,
        ref other => panic!("{other:?}"),
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[test]
fn the_gateway_answers_with_its_own_address() {
    twice(|| {
        let mut lab = Lab::new();
        lab.must(names());
        let host = lab.known_inside(2);
        let out = ask(&mut lab, &host, 4000, WEB2);
        let answer = only_udp(&out, &host);
        assert_eq!((answer.src, answer.dst), (server(), host.at(4000)));
        assert_eq!((answer.src_mac, answer.dst_mac), (host.gateway, host.mac));
        assert_eq!(address_in(&answer.payload), Ipv4Addr::new(172, 17, 0, 3));
        assert_eq!(lab.engine.totals().local, 2, "with the ARP request before");
        lab
    });
}

#[test]
fn a_network_without_names_and_other_addresses_refuse() {
    twice(|| {
        let mut lab = Lab::new();
        let host = lab.known_inside(2);
        assert_eq!(only_icmp(&ask(&mut lab, &host, 4000, WEB2), &host).payload[..2], [3, 3]);
        lab.must(names());
        let elsewhere = Endpoint::new(Lab::EXTERNAL, 53);
        let frame = build::udp(host.to_gateway(), host.at(4000), elsewhere, WEB2);
        assert_eq!(only_icmp(&lab.send(&host, &frame), &host).payload[..2], [3, 3]);
        let closed = build::tcp(host.to_gateway(), host.at(4000), elsewhere, SYN, b"");
        assert_eq!(lab.send(&host, &closed).len(), 1);
        assert_eq!(lab.drops().len(), 1, "{:?}", lab.drops());
        lab
    });
}

#[test]
fn a_stranger_outside_hears_nothing() {
    twice(|| {
        let mut lab = Lab::new();
        lab.must(names());
        let router = lab.router();
        let frame = build::udp(router.to_gateway(), router.at(4000), ext(53), WEB2);
        assert!(lab.send(&router, &frame).is_empty());
        let inside = build::udp(router.to_gateway(), router.at(4000), server(), WEB2);
        assert!(lab.send(&router, &inside).is_empty());
        lab
    });
}

#[test]
fn a_query_in_fragments_is_read_and_a_long_answer_leaves_in_fragments() {
    let mut lab = Lab::new();
    lab.must(names());
    lab.alone();
    let host = lab.known_inside(2);
    let padding = 1800u16;
    let mut query = WEB2.to_vec();
    query[11] = 1;
    query.extend_from_slice(b"\0\0\x29\x10\0\0\0\0\0");
    query.extend_from_slice(&(padding + 4).to_be_bytes());
    query.extend_from_slice(&[0, 12]);
    query.extend_from_slice(&padding.to_be_bytes());
    query.resize(query.len() + usize::from(padding), 0);
    let whole = build::udp(host.to_gateway(), host.at(4000), server(), &query);
    let mut out = Vec::new();
    for piece in build::fragments(&whole, 7, 1400) {
        out = lab.send(&host, &piece);
    }
    assert_eq!(address_in(&only_udp(&out, &host).payload), Ipv4Addr::new(172, 17, 0, 3));
    ask(&mut lab, &host, 4000, FOREIGN);
    let asked = lab.engine.poll_name_query().unwrap();
    lab.must(Command::AnswerName(asked.from, vec![7; 4000]));
    assert_eq!(lab.run_timers().len(), 3);
}

#[test]
fn a_foreign_name_is_asked_for_and_the_answer_finds_the_asker() {
    let mut lab = Lab::new();
    lab.must(names());
    // Each worker would send the answer; a running one is told to one.
    lab.alone();
    let host = lab.known_inside(2);
    assert!(ask(&mut lab, &host, 4000, FOREIGN).is_empty());
    let NameQuery { from, message, .. } = lab.engine.poll_name_query().unwrap();
    assert_eq!((from.network, from.host, from.port), (BRIDGE, host.ip, 4000));
    assert_eq!(message, FOREIGN);
    lab.must(Command::AnswerName(from, b"the answer".to_vec()));
    let answer = only_udp(&lab.run_timers(), &host);
    assert_eq!((answer.src, answer.dst), (server(), host.at(4000)));
    assert_eq!(answer.payload, b"the answer");
    assert!(lab.run_timers().is_empty() && lab.engine.poll_name_query().is_none());
}

#[test]
fn a_lossy_wire_carries_queries_over_tcp() {
    let mut world = World::new(7);
    let mut engine = Engine::new(EngineConfig::with_sessions(64), 9, world.now());
    let spec = PortSpec {
        name: "host".to_owned(),
        network: BRIDGE,
        mtu: 1500,
        guard: None,
        host: None,
        static_macs: Vec::new(),
        role: PortRole::Hosts,
        is_up: true,
    };
    for command in [
        Command::AddNetwork(BRIDGE, Lab::network_spec("bridge", Lab::GATEWAY, 16)),
        Command::AddPort(PortId(0), spec),
        names(),
    ] {
        engine.apply(world.now(), command).unwrap();
    }
    let engine = world.add_engine(engine);
    let host = world.add_host(&HostSpec::new("172.17.0.2/16".parse().unwrap(), None));
    let quality = WireQuality { loss: 100, ..WireQuality::perfect(Duration::from_millis(1)) };
    world.connect(Plug::Engine(engine, PortId(0)), Plug::Host(host), quality);
    // Several queries in one go, and a foreign one between.
    let queries = [framed(WEB2), framed(FOREIGN), framed(WEB2)].concat();
    let to = SocketAddrV4::new(Lab::GATEWAY, 53);
    let exchange = world.host(host).unwrap().exchange(to, &queries).unwrap();
    let done = world.run_until(Duration::from_secs(9), |world| {
        let now = world.now();
        let engine = world.engine(engine).unwrap();
        if let Some(asked) = engine.poll_name_query() {
            assert!(asked.from.connection.is_some());
            engine.apply(now, Command::AnswerName(asked.from, vec![7; 20_000])).unwrap();
        }
        let (_, received) = world.host(host).unwrap().progress(exchange);
        received.len() >= 2 * (2 + 38) + 2 + 20_000
    });
    let (_, received) = world.host(host).unwrap().progress(exchange);
    assert!(done, "{} bytes", received.len());
    assert_eq!(address_in(&received[2..40]), Ipv4Addr::new(172, 17, 0, 3));
    assert_eq!(received[40..42], 20_000u16.to_be_bytes());
    assert!(received[42..20_042].iter().all(|byte| *byte == 7));
}

#[test]
fn a_connection_ends_after_ten_seconds_of_silence_and_another_makes_way() {
    let mut lab = Lab::new();
    lab.must(names());
    // Sequence numbers are each worker's own.
    lab.alone();
    let syn = |lab: &mut Lab, host: &LabPort, sport: u16| {
        lab.send(host, &build::tcp(host.to_gateway(), host.at(sport), server(), SYN, b""))
    };
    let host = lab.known_inside(2);
    let opened = only_tcp(&syn(&mut lab, &host, 4000), &host);
    assert_eq!(opened.src, server());
    let ended = lab.advance(Duration::from_secs(11));
    assert!(!ended.is_empty(), "it repeats itself, and gives up");
    assert!(lab.advance(Duration::from_secs(60)).iter().all(|(_, frame)| frame[12..14] == [8, 6]));
    // Far more hosts than places, all of them half-open.
    let hosts: Vec<LabPort> = (3..=20).map(|last| lab.known_inside(last)).collect();
    for host in &hosts {
        for sport in 4000..4008 {
            let out = syn(&mut lab, host, sport);
            let answered = Lab::to(&out, host);
            assert!(!answered.is_empty(), "{host:?} {sport}");
        }
    }
}

/// Whichever worker hears a segment, one answers.
#[test]
fn several_workers_are_one_server() {
    for workers in [1, 2, 3, 16] {
        let now = Instant::from_secs(1000);
        let mut crew = Crew::new(workers, EngineConfig::with_sessions(64), 0x5eed, now);
        let spec = PortSpec {
            name: "host".to_owned(),
            network: BRIDGE,
            mtu: 1500,
            guard: None,
            host: None,
            static_macs: Vec::new(),
            role: PortRole::Hosts,
            is_up: true,
        };
        for command in [
            Command::AddNetwork(BRIDGE, Lab::network_spec("bridge", Lab::GATEWAY, 16)),
            Command::AddPort(PortId(0), spec),
            names(),
        ] {
            crew.apply(now, &command).unwrap();
        }
        let spec = HostSpec::new("172.17.0.2/16".parse().unwrap(), None);
        let mut host = SimHost::new(&spec, 5, now);
        let to = SocketAddrV4::new(Lab::GATEWAY, 53);
        let exchange = host.exchange(to, &[framed(WEB2), framed(WEB2)].concat()).unwrap();
        let mut turn = 0;
        for step in 0..2000 {
            let now = now + Duration::from_millis(step);
            host.poll(now);
            let frames: Vec<Vec<u8>> = host.take_frames().collect();
            let mut out = crew.handle_timeout(now);
            for frame in frames {
                turn = (turn + 1) % workers;
                let frames = [(PortId(0), frame, Offload::NONE)];
                out.extend(crew.receive(now, WorkerId(turn as u8), &frames));
            }
            out.into_iter().for_each(|(_, frame)| host.receive(frame));
            if host.progress(exchange).1.len() == 80 {
                break;
            }
        }
        let (_, received) = host.progress(exchange);
        assert_eq!(received.len(), 80, "{workers} workers");
        assert_eq!(address_in(&received[42..]), Ipv4Addr::new(172, 17, 0, 3));
    }
}

#[test]
fn what_is_no_connection_is_reset() {
    let mut lab = Lab::new();
    lab.must(names());
    lab.alone();
    let host = lab.known_inside(2);
    let stray = build::tcp(host.to_gateway(), host.at(4000), server(), ACK, b"x");
    let reset = only(&lab.send(&host, &stray), &host);
    assert_eq!(read(&reset).dst, host.at(4000));
    assert_eq!(reset[47] & RST, RST);
    assert_eq!(lab.dropped(DropReason::LocalPortClosed), 1, "as at any closed port");
}

/// A SYN or another segment from an address that need not be the host's.
fn segment(host: &LabPort, from: Endpoint, flags: u8, payload: &[u8]) -> Vec<u8> {
    build::tcp(host.to_gateway(), from, server(), flags, payload)
}

#[test]
fn who_pretends_to_be_several_has_one_share_of_questions() {
    let mut lab = Lab::new();
    lab.must(names());
    lab.alone();
    let (guest, other) = (lab.known_inside(2), lab.known_inside(3));
    for number in 0..600_u16 {
        let [high, low] = number.to_be_bytes();
        let forged = at([172, 17, 9 + high, low], 4000);
        lab.send(&guest, &build::udp(guest.to_gateway(), forged, server(), FOREIGN));
    }
    assert_eq!(lab.dropped(DropReason::DnsLimit), 100);
    ask(&mut lab, &other, 4000, FOREIGN);
    assert_eq!(lab.dropped(DropReason::DnsLimit), 100, "the share of others is theirs");
    let asked: Vec<_> = std::iter::from_fn(|| lab.engine.poll_name_query()).collect();
    assert_eq!(asked.len(), 501);
    assert!(asked[..500].iter().all(|query| query.from.ingress == guest.port));
    assert_eq!(asked[500].from.ingress, other.port);
}

#[test]
fn who_pretends_to_be_several_has_one_share_of_connections() {
    let mut lab = Lab::new();
    lab.must(names());
    lab.alone();
    let (guest, other) = (lab.known_inside(2), lab.known_inside(3));
    let opened: usize = (0..20)
        .map(|last| {
            let syn = segment(&guest, at([172, 17, 9, last], 4000), SYN, b"");
            Lab::to(&lab.send(&guest, &syn), &guest).len()
        })
        .sum();
    assert_eq!((opened, lab.dropped(DropReason::DnsConnections)), (8, 12));
    let syn = segment(&other, other.at(4000), SYN, b"");
    assert_eq!(only_tcp(&lab.send(&other, &syn), &other).dst, other.at(4000));
}

#[test]
fn who_uses_the_address_of_another_gets_none_of_its_answers() {
    let mut lab = Lab::new();
    lab.must(names());
    lab.alone();
    let (guest, owner) = (lab.known_inside(2), lab.known_inside(3));
    let from = owner.at(4000);
    let opened = only_tcp(&lab.send(&owner, &segment(&owner, from, SYN, b"")), &owner);
    // The same endpoint, another port: a segment of no connection, and a connection of its own.
    let stray = segment(&guest, from, ACK, b"x");
    assert_eq!(only(&lab.send(&guest, &stray), &guest)[47] & RST, RST);
    let own = only_tcp(&lab.send(&guest, &segment(&guest, from, SYN, b"")), &guest);
    assert_eq!((own.dst, own.dst_mac), (from, guest.mac));
    // What the owner did not confirm comes again, to the owner.
    let again = lab.advance(Duration::from_secs(1));
    let to_owner = Lab::to(&again, &owner);
    let segments: Vec<_> =
        to_owner.iter().filter(|frame| frame[12..14] == [8, 0]).map(|frame| read(frame)).collect();
    assert!(!segments.is_empty());
    assert!(segments.iter().all(|seen| (seen.dst, seen.dst_mac) == (from, opened.dst_mac)));
}

#[test]
fn a_super_frame_of_queries_over_tcp_is_read_to_its_end() {
    let mut lab = Lab::new();
    lab.must(names());
    lab.alone();
    let host = lab.known_inside(2);
    let numbered = |flags, [seq, ack]: [u32; 2], payload: &[u8]| {
        let mut frame = segment(&host, host.at(4000), flags, payload);
        frame[38..42].copy_from_slice(&seq.to_be_bytes());
        frame[42..46].copy_from_slice(&ack.to_be_bytes());
        frame[50..52].fill(0);
        let sum = checksum::transport(host.ip, Lab::GATEWAY, 6, &frame[34..]);
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let word = |frame: &[u8], at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    let opened = only(&lab.send(&host, &numbered(SYN, [1000, 0], b"")), &host);
    let ack = word(&opened, 38).wrapping_add(1);
    // Three segments.
    let queries = framed(WEB2).repeat(125);
    let (bytes, offload) = build::unfinished(&numbered(ACK, [1001, ack], &queries));
    let whole = FrameView { bytes: &bytes, offload: offload.segmented(Gso::Tcp4, 1460) };
    let out = lab.send_view(&host, whole);
    assert_eq!(out.iter().map(|(_, frame)| word(frame, 42)).max(), Some(1001 + 3000));
    // Every one of them is answered.
    let mut received: u32 = 0;
    let mut pending = out;
    for _ in 0..200 {
        let ends = pending.iter().filter(|(_, frame)| frame[12..14] == [8, 0]).map(|(_, frame)| {
            let len = read(frame).payload.len() as u32;
            word(frame, 38).wrapping_add(len).wrapping_sub(ack)
        });
        received = received.max(ends.max().unwrap_or(0));
        let confirmed = [1001 + 3000, ack.wrapping_add(received)];
        pending = lab.send(&host, &numbered(ACK, confirmed, b""));
        pending.extend(lab.advance(Duration::from_millis(5)));
    }
    assert_eq!(received, 125 * (2 + 38));
}
