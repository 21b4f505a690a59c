use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::{NetworkId, PortId};
use crate::local::dhcp::{DhcpMessage, DhcpRequest, Parameters, ReplyKind};
use crate::packet::MacAddr;
use crate::testkit::dhcp::{ClientMessage, DECLINE, DISCOVER, RELEASE, REQUEST};
use crate::time::Instant;

const NETWORK: NetworkId = NetworkId(1);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn settings(range: &str, ports: Vec<ScopePort>) -> ScopeSettings {
    ScopeSettings {
        network: NETWORK,
        name: "lab".to_owned(),
        range: Some(range.parse().unwrap()),
        exclude: Vec::new(),
        lease_s: 600,
        parameters: Parameters {
            server: "10.0.0.1/24".parse().unwrap(),
            server_mac: mac(1),
            router: Some(ip(1)),
            dns: Vec::new(),
            domain: None,
            mtu: 1500,
        },
        ports,
    }
}

fn port(name: &str, number: u16, mac: MacAddr, address: Ipv4Addr) -> ScopePort {
    let (name, mac, address) = (name.to_owned(), Some(mac), Some(address));
    ScopePort { id: PortId(number), name, mac, address, guard: None }
}

fn request(port: u16, message: &ClientMessage) -> DhcpRequest {
    let message = DhcpMessage::parse(&message.bytes).unwrap();
    DhcpRequest { network: NETWORK, port: PortId(port), message }
}

fn reply(scope: &mut Scope, at: u64, port: u16, message: &ClientMessage) -> (ReplyKind, Ipv4Addr) {
    match scope.answer(Instant::from_secs(at), &request(port, message)) {
        Answer::Reply(reply) => (reply.kind, reply.your_ip),
        Answer::Silence(silence) => panic!("{silence}"),
    }
}

fn discover(client: u8) -> ClientMessage {
    ClientMessage::new(DISCOVER, mac(client), 1)
}

fn wish(client: u8, address: Ipv4Addr) -> ClientMessage {
    ClientMessage::new(REQUEST, mac(client), 1).option(50, &address.octets())
}

fn lease(scope: &mut Scope, at: u64, client: u8) -> Ipv4Addr {
    let (_, address) = reply(scope, at, u16::from(client), &discover(client));
    let taken = wish(client, address).option(54, &[10, 0, 0, 1]);
    assert_eq!(reply(scope, at, u16::from(client), &taken), (ReplyKind::Ack, address));
    address
}

#[test]
fn the_same_client_gets_the_same_address_also_after_its_lease_is_over() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", Vec::new())).unwrap();
    let first = lease(&mut scope, 0, 7);
    assert_eq!(lease(&mut scope, 0, 8), ip(11));
    assert_eq!(reply(&mut scope, 10, 7, &discover(7)), (ReplyKind::Offer, first));
    scope.expire(Instant::from_secs(601));
    assert!(scope.leases().is_empty());
    assert_eq!(lease(&mut scope, 700, 9), ip(12), "others get what was never used first");
    assert_eq!(lease(&mut scope, 700, 7), first);
}

#[test]
fn an_identifier_tells_clients_apart_better_than_their_mac() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", Vec::new())).unwrap();
    let with_id = |id: &[u8]| discover(7).option(61, id);
    let (_, one) = reply(&mut scope, 0, 1, &with_id(&[0, 1]));
    let (_, two) = reply(&mut scope, 0, 1, &with_id(&[0, 2]));
    assert_ne!(one, two);
    let (_, again) = reply(&mut scope, 0, 1, &with_id(&[0, 1]));
    assert_eq!(one, again);
}

#[test]
fn a_configured_ports_address_is_its_own_macs_only() {
    let ports = vec![port("web", 3, mac(3), ip(10)), port("db", 4, mac(4), ip(200))];
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.11", ports)).unwrap();
    assert_eq!(lease(&mut scope, 0, 7), ip(11), "the first is reserved");
    assert_eq!(lease(&mut scope, 0, 3), ip(10));
    assert_eq!(lease(&mut scope, 0, 4), ip(200), "also outside of the range");
    assert_eq!(reply(&mut scope, 0, 8, &wish(8, ip(200))).0, ReplyKind::Nak);
    let row = &LeaseRow::of(&scope, Instant::ZERO)[0];
    assert_eq!((row.host_name.as_deref(), row.is_reserved), (Some("web"), true));
}

#[test]
fn a_client_cannot_take_the_name_of_a_port_or_of_another_client() {
    let ports = vec![port("web", 3, mac(3), ip(10))];
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", ports)).unwrap();
    let named = |client, name: &[u8]| wish(client, ip(client)).option(12, name);
    for (client, name) in [(12, &b"web"[..]), (15, b"db"), (14, b"db"), (13, b"DB2.lab")] {
        let at = 20 - u64::from(client);
        assert_eq!(
            reply(&mut scope, at, 1, &named(client, name)),
            (ReplyKind::Ack, ip(client)),
            "{client}"
        );
    }
    assert_eq!(scope.names(), [("db", ip(15)), ("db2", ip(13))]);
}

#[test]
fn a_declined_address_rests_and_an_exhausted_network_is_silent() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.13", Vec::new())).unwrap();
    let first = lease(&mut scope, 0, 7);
    let decline = ClientMessage::new(DECLINE, mac(7), 1).option(50, &first.octets());
    let answer = scope.answer(Instant::ZERO, &request(7, &decline));
    assert_eq!(answer, Answer::Silence(Silence::Done));
    assert_eq!(scope.leases()[0].1.state, LeaseState::Declined);
    assert_ne!(lease(&mut scope, 1, 7), first);
    lease(&mut scope, 1, 8);
    lease(&mut scope, 1, 9);
    let answer = scope.answer(Instant::from_secs(1), &request(10, &discover(10)));
    assert_eq!(answer, Answer::Silence(Silence::Exhausted));
    // Leases last 600 s, and a declined address rests as long.
    assert_eq!(reply(&mut scope, 600, 10, &discover(10)), (ReplyKind::Offer, first));
}

#[test]
fn a_host_does_not_end_or_take_the_lease_of_one_behind_another_port() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", Vec::new())).unwrap();
    let address = lease(&mut scope, 0, 7);
    let named = |message: ClientMessage| message.option(61, b"\0a name of its own");
    let (_, other) = reply(&mut scope, 0, 9, &named(discover(9)));
    let taken = named(wish(9, other).option(54, &[10, 0, 0, 1]));
    assert_eq!(reply(&mut scope, 0, 9, &taken), (ReplyKind::Ack, other));
    for message in [
        ClientMessage::new(RELEASE, mac(7), 1).client_ip(address),
        ClientMessage::new(DECLINE, mac(7), 1).option(50, &address.octets()),
        // With a MAC of its own, under the other's name.
        named(ClientMessage::new(RELEASE, mac(8), 1).client_ip(other)),
        named(discover(8)),
        named(wish(8, other)),
    ] {
        let answer = scope.answer(Instant::ZERO, &request(8, &message));
        assert_eq!(answer, Answer::Silence(Silence::NotItsOwn));
    }
    let (_, kept) = scope.leases()[0];
    assert_eq!((kept.address, kept.port, kept.state), (address, PortId(7), LeaseState::Bound));
    // The client itself may have moved.
    assert_eq!(reply(&mut scope, 1, 8, &discover(7)).1, address);
    // Not so the host of a port with a MAC: another one would only call itself so.
    let vm = ScopePort { address: None, ..port("vm", 7, mac(7), ip(9)) };
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", vec![vm])).unwrap();
    lease(&mut scope, 0, 7);
    let answer = scope.answer(Instant::ZERO, &request(8, &discover(7)));
    assert_eq!(answer, Answer::Silence(Silence::NotItsOwn));
}

#[test]
fn an_offer_that_nobody_takes_ends_within_a_minute() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.11", Vec::new())).unwrap();
    let (_, offered) = reply(&mut scope, 0, 7, &discover(7));
    let other = ClientMessage::new(REQUEST, mac(7), 1).option(54, &[10, 0, 0, 9]);
    let answer = scope.answer(Instant::ZERO, &request(7, &other));
    assert_eq!(answer, Answer::Silence(Silence::OtherServer));
    assert!(scope.leases().is_empty(), "it has chosen another server");
    assert_eq!(reply(&mut scope, 1, 8, &discover(8)).1, ip(11));
    assert_eq!(reply(&mut scope, 1, 7, &discover(7)).1, offered);
    assert_eq!(scope.expire(Instant::from_secs(62)), None);
    let late = wish(7, offered).option(54, &[10, 0, 0, 1]);
    assert_eq!(reply(&mut scope, 62, 7, &late).0, ReplyKind::Nak, "too late");
}

#[test]
fn a_client_may_have_a_shorter_lease_not_a_longer_one() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", Vec::new())).unwrap();
    for (wanted, given) in [(100_u32, 100), (1, 60), (100_000, 600)] {
        let message = discover(7).option(51, &wanted.to_be_bytes());
        match scope.answer(Instant::ZERO, &request(7, &message)) {
            Answer::Reply(reply) => assert_eq!(reply.lease_s, Some(given)),
            Answer::Silence(silence) => panic!("{silence}"),
        }
    }
}

#[test]
fn other_settings_keep_the_leases_that_they_permit() {
    let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", Vec::new())).unwrap();
    for client in [7, 8, 9] {
        lease(&mut scope, 0, client);
    }
    scope.take_changes();
    // 10 is out of the range, 11 a port's by now.
    let ports = vec![port("web", 3, mac(3), ip(11))];
    scope.reconfigure(settings("10.0.0.11-10.0.0.19", ports)).unwrap();
    let left: Vec<_> = scope.leases().iter().map(|(_, lease)| lease.address).collect();
    assert_eq!(left, [ip(12)]);
    let changes = scope.take_changes();
    let ended = changes.iter().filter(|change| !change.is_bound).count();
    assert_eq!((ended, changes.len()), (2, 3));
    assert_eq!(reply(&mut scope, 1, 8, &wish(8, ip(11))).0, ReplyKind::Nak);
    assert!(scope.reconfigure(settings("10.9.0.1-10.9.0.2", Vec::new())).is_err());
    assert_eq!(scope.leases().len(), 1, "refused settings change nothing");
}

#[derive(Clone, Debug)]
enum Act {
    Discover(u8),
    Take(u8),
    Renew(u8, u8),
    Release(u8),
    Decline(u8),
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let client = 2..20_u8;
    prop_oneof![
        4 => client.clone().prop_map(Act::Discover),
        4 => client.clone().prop_map(Act::Take),
        2 => (client.clone(), 8..24_u8).prop_map(|(client, at)| Act::Renew(client, at)),
        1 => client.clone().prop_map(Act::Release),
        1 => client.prop_map(Act::Decline),
        1 => (0..400_u16).prop_map(Act::Wait),
    ]
}

proptest! {
    /// Whatever clients do: what is acknowledged is in the range, and nobody else's meanwhile.
    #[test]
    fn no_two_clients_have_one_address(acts in prop::collection::vec(act(), 1..200)) {
        let ports = vec![port("web", 3, mac(3), ip(12))];
        let mut scope = Scope::new(settings("10.0.0.10-10.0.0.19", ports)).unwrap();
        let mut now = Instant::ZERO;
        let mut has: HashMap<u8, (Ipv4Addr, Instant)> = HashMap::new();
        for act in acts {
            has.retain(|_, (_, until)| *until > now);
            let offered = |scope: &Scope, client: u8| {
                let lease = scope.lease(&crate::local::dhcp::ClientId::Mac(mac(client)));
                lease.map_or(ip(99), |lease| lease.address)
            };
            let (client, message) = match act {
                Act::Discover(client) => (client, discover(client)),
                Act::Take(client) => {
                    let address = offered(&scope, client);
                    (client, wish(client, address).option(54, &[10, 0, 0, 1]))
                }
                Act::Renew(client, at) => {
                    (client, ClientMessage::new(REQUEST, mac(client), 1).client_ip(ip(at)))
                }
                Act::Release(client) => {
                    let address = offered(&scope, client);
                    (client, ClientMessage::new(RELEASE, mac(client), 1).client_ip(address))
                }
                Act::Decline(client) => {
                    let address = offered(&scope, client);
                    let decline = ClientMessage::new(DECLINE, mac(client), 1);
                    (client, decline.option(50, &address.octets()))
                }
                Act::Wait(seconds) => {
                    now = now + Duration::from_secs(u64::from(seconds));
                    continue;
                }
            };
            let answer = scope.answer(now, &request(u16::from(client), &message));
            if matches!(act, Act::Release(_) | Act::Decline(_)) {
                has.remove(&client);
            }
            let Answer::Reply(given) = answer else { continue };
            if given.kind == ReplyKind::Nak {
                // A client that is refused has nothing any more.
                has.remove(&client);
                continue;
            }
            let address = given.your_ip;
            let is_free = has.iter().all(|(other, (at, _))| *other == client || *at != address);
            prop_assert!(is_free, "{address} of {has:?}");
            let is_reserved = address == ip(12);
            prop_assert_eq!(is_reserved, client == 3);
            prop_assert!((10..20).contains(&address.octets()[3]));
            if given.kind == ReplyKind::Ack {
                let until = now + Duration::from_secs(u64::from(given.lease_s.unwrap()));
                has.insert(client, (address, until));
            }
        }
    }
}
