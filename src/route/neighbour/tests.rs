//! The table alone: states, who may make an entry, and its bounds.

use super::*;
use bytes::Bytes;

const NET: NetworkId = NetworkId(1);
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn table(total: usize) -> Neighbours {
    let limits = NeighbourLimits { total, unresolved_per_port: 4 };
    Neighbours::new(limits, 1, Instant::ZERO)
}

fn secs(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

fn state(table: &Neighbours) -> Option<NeighbourState> {
    table.iter().find(|entry| entry.ip == IP).map(|entry| entry.state)
}

fn requests(table: &mut Neighbours) -> Vec<Option<MacAddr>> {
    std::iter::from_fn(|| table.poll_event())
        .filter_map(|event| match event {
            NeighbourEvent::Request { to, .. } => Some(to),
            _ => None,
        })
        .collect()
}

#[test]
fn walks_through_the_states_of_ip_neigh() {
    let mut table = table(10);
    assert!(matches!(table.resolve(secs(0), NET, IP, PortId(1)), Resolution::Pending(_)));
    assert_eq!(requests(&mut table), [None]);
    assert!(table.heard_reply(secs(1), NET, IP, MAC));
    assert_eq!(state(&table), Some(NeighbourState::Reachable));
    table.handle_timeout(secs(60));
    assert_eq!(state(&table), Some(NeighbourState::Stale));
    assert!(matches!(table.resolve(secs(61), NET, IP, PortId(1)), Resolution::Known(MAC, _)));
    assert_eq!(state(&table), Some(NeighbourState::Delay));
    let mut sent = Vec::new();
    for now in 62..75 {
        table.handle_timeout(secs(now));
        sent.extend(requests(&mut table));
    }
    assert_eq!(sent, [Some(MAC); 3]);
    assert_eq!(state(&table), Some(NeighbourState::Failed));
    for now in 75..110 {
        table.handle_timeout(secs(now));
    }
    assert_eq!(state(&table), None);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn an_unanswered_address_is_asked_for_once_a_second_and_fails_its_packets() {
    let mut table = table(10);
    let Resolution::Pending(index) = table.resolve(secs(0), NET, IP, PortId(1)) else {
        panic!("resolved out of nothing");
    };
    let held = Held {
        port: PortId(1),
        network: NET,
        frame: Bytes::from_static(b"frame"),
        offload: crate::packet::Offload::NONE,
        origin: crate::packet::Origin::Owned,
    };
    table.hold(index, held.clone());
    for _ in 0..50 {
        assert_eq!(table.resolve(secs(0), NET, IP, PortId(1)), Resolution::Pending(index));
    }
    assert_eq!(requests(&mut table).len(), 1);
    let mut events = Vec::new();
    for tenth in 0..50 {
        table.handle_timeout(Instant::from_nanos(tenth * 100_000_000));
        events.extend(std::iter::from_fn(|| table.poll_event()));
    }
    assert_eq!(events.pop(), Some(NeighbourEvent::Failed(vec![held])));
    assert_eq!(events.len(), 2);
}

#[test]
fn replies_nobody_asked_for_make_no_entry_and_a_new_mac_makes_it_stale() {
    let mut table = table(10);
    assert!(!table.heard_reply(secs(0), NET, IP, MAC));
    assert!(!table.merge(secs(0), NET, IP, MAC));
    table.heard_request(secs(0), NET, IP, MAC);
    assert_eq!(state(&table), Some(NeighbourState::Stale));
    let Resolution::Known(_, index) = table.resolve(secs(1), NET, IP, PortId(1)) else {
        panic!("unresolved");
    };
    let generation = table.generation(index);
    table.heard_reply(secs(2), NET, IP, MAC);
    assert_eq!(table.generation(index), generation);
    table.merge(secs(3), NET, IP, MacAddr([2, 0, 0, 0, 0, 8]));
    assert_eq!(state(&table), Some(NeighbourState::Stale));
    assert_ne!(table.generation(index), generation);
}

#[test]
fn a_scan_is_limited_per_port_and_never_evicts_the_living() {
    let mut table = table(6);
    table.heard_request(secs(0), NET, IP, MAC);
    table.resolve(secs(0), NET, IP, PortId(2));
    table.heard_reply(secs(0), NET, IP, MAC);
    let scan = |table: &mut Neighbours, now, from: u8| {
        (from..from + 20)
            .filter(|last| {
                let ip = Ipv4Addr::new(10, 0, 1, *last);
                table.resolve(now, NET, ip, PortId(1)) != Resolution::Full
            })
            .count()
    };
    assert_eq!(scan(&mut table, secs(0), 0), 4);
    assert_eq!(scan(&mut table, secs(0), 20), 0);
    for now in 1..10 {
        table.handle_timeout(secs(now));
    }
    assert_eq!(scan(&mut table, secs(10), 40), 4);
    assert_eq!(state(&table), Some(NeighbourState::Reachable));
}
