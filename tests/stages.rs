//! A burst is decided as its frames would be one after the other: what the stages look at ahead
//! never decides. An earlier frame may move a MAC, make a session, answer one or end one.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::*;
use tapway::packet::tcp::{ACK, FIN, RST, SYN};

/// Hosts inside, and ports of each.
const HOSTS: usize = 3;
const FLAGS: [u8; 5] = [SYN, SYN | ACK, ACK, FIN | ACK, RST];

/// A frame to be made.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Between two hosts, by the port of a third: it may be a move.
    Bridged { src: usize, dst: usize, by: usize },
    /// Outwards, by UDP or with TCP flags, by the port of another host perhaps.
    Out { host: usize, by: usize, sport: u16, flags: Option<u8> },
    /// Back from outside, to a port that may have a mapping, or is published.
    Back { port: u16, flags: Option<u8> },
    /// To a MAC that nobody has.
    Unknown { src: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let host = || 0..HOSTS;
    let flags = || proptest::option::of(proptest::sample::select(FLAGS.to_vec()));
    prop_oneof![
        3 => (host(), host(), host()).prop_map(|(src, dst, by)| Step::Bridged { src, dst, by }),
        4 => (host(), 5000u16..5004, flags())
            .prop_map(|(host, sport, flags)| Step::Out { host, by: host, sport, flags }),
        1 => (host(), host(), 5000u16..5004, flags())
            .prop_map(|(host, by, sport, flags)| Step::Out { host, by, sport, flags }),
        4 => (4999u16..5004, flags()).prop_map(|(port, flags)| Step::Back { port, flags }),
        1 => host().prop_map(|src| Step::Unknown { src }),
    ]
}

/// A lab in which everybody is known, and so few sessions fit that they are recycled.
fn lab() -> (Lab, LabPort, Vec<LabPort>) {
    let mut lab = Lab::with(EngineConfig::with_sessions(8), |_| {});
    // What one engine hands to another is decided after the burst.
    lab.alone();
    let router = lab.router();
    let hosts: Vec<_> = (2..).take(HOSTS).map(|last| lab.known_inside(last)).collect();
    lab.publish(17, 4999, hosts[0].at(53));
    lab.log.clear();
    (lab, router, hosts)
}

fn frame(step: Step, router: &LabPort, hosts: &[LabPort]) -> (PortId, Vec<u8>) {
    let transport = |hop, src, dst, flags| match flags {
        None => udp_df_clear(hop, src, dst, b"x"),
        Some(flags) => build::tcp(hop, src, dst, flags, b"x"),
    };
    match step {
        Step::Bridged { src, dst, by } => {
            let (a, b) = (&hosts[src], &hosts[dst]);
            (hosts[by].port, build::udp(a.to(b), a.at(1), b.at(2), b"x"))
        }
        Step::Out { host, by, sport, flags } => {
            let from = &hosts[host];
            (hosts[by].port, transport(from.to_gateway(), from.at(sport), far(80), flags))
        }
        Step::Back { port, flags } => {
            (router.port, transport(router.to_gateway(), far(80), ext(port), flags))
        }
        Step::Unknown { src } => {
            let nobody = MacAddr([2, 9, 9, 9, 9, 9]);
            let hop = Hop::new(hosts[src].mac, nobody);
            (hosts[src].port, build::udp(hop, hosts[src].at(1), far(2), b"x"))
        }
    }
}

/// What each port got, in order.
fn by_port(lab: &Lab) -> BTreeMap<PortId, Vec<Vec<u8>>> {
    let mut lists: BTreeMap<PortId, Vec<Vec<u8>>> = BTreeMap::new();
    for (port, frame) in &lab.log {
        lists.entry(*port).or_default().push(frame.clone());
    }
    lists
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_burst_is_decided_as_its_frames_one_by_one(
        bursts in proptest::collection::vec(proptest::collection::vec(step(), 1..24), 1..5),
    ) {
        let ((mut together, router, hosts), (mut alone, ..)) = (lab(), lab());
        for burst in bursts {
            let frames: Vec<_> =
                burst.into_iter().map(|step| frame(step, &router, &hosts)).collect();
            together.send_all(&frames);
            for frame in &frames {
                alone.send_all(std::slice::from_ref(frame));
            }
        }
        prop_assert_eq!(by_port(&together), by_port(&alone));
        prop_assert_eq!(together.engine.totals(), alone.engine.totals());
        prop_assert_eq!(together.drops(), alone.drops());
        prop_assert!(together.is_balanced());
    }
}

#[test]
fn a_host_that_moves_in_the_middle_of_a_burst_gets_the_rest_at_its_new_port() {
    let mut lab = Lab::new();
    lab.alone();
    let (router, host, other) = (lab.router(), lab.known_inside(2), lab.known_inside(3));
    lab.send(&host, &build::udp(host.to_gateway(), host.at(5000), far(80), b"out"));
    let back = (router.port, build::udp(router.to_gateway(), far(80), ext(5000), b"back"));
    lab.send_all(std::slice::from_ref(&back));
    let moved = build::udp(host.to(&other), host.at(1), other.at(2), b"moved");
    let elsewhere = lab.inside(9);
    let out = lab.send_all(&[back.clone(), (elsewhere.port, moved), back]);
    let ports: Vec<_> = [&host, &elsewhere].map(|at| Lab::to(&out, at).len()).into();
    assert_eq!(ports, [1, 1]);
    assert_eq!(lab.drops().values().sum::<u64>(), 0);
}

#[test]
fn the_second_packet_of_a_burst_finds_the_session_that_the_first_made() {
    let mut lab = Lab::new();
    lab.alone();
    let (router, host) = (lab.router(), lab.known_inside(2));
    let out = (host.port, build::udp(host.to_gateway(), host.at(5000), far(80), b"out"));
    let back = (router.port, build::udp(router.to_gateway(), far(80), ext(5000), b"back"));
    let sent = lab.send_all(&[out.clone(), out, back]);
    assert_eq!((Lab::to(&sent, &router).len(), Lab::to(&sent, &host).len()), (2, 1));
    assert_eq!(lab.engine.session_usage().0, 1);
    let seen = Lab::to(&sent, &router);
    assert_eq!(read(&seen[0]).src, read(seen.get(1).unwrap()).src);
}
