use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::pool::MAX_REMEMBERED;
use super::*;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn settings(subnet: &str) -> PoolSettings {
    let subnet = net(subnet);
    let gateway = subnet.hosts().next();
    PoolSettings { gateway, ..PoolSettings::new("web", subnet) }
}

fn pool(subnet: &str) -> AddressPool {
    AddressPool::new(settings(subnet)).unwrap()
}

#[test]
fn addresses_come_in_order_behind_the_gateway() {
    let mut pool = pool("172.17.0.0/16");
    assert_eq!(pool.assign("a", None), Ok(ip("172.17.0.2")));
    assert_eq!(pool.assign("b", None), Ok(ip("172.17.0.3")));
    assert_eq!(pool.assign("a", None), Ok(ip("172.17.0.2")), "asked twice");
    assert_eq!(pool.holder_of(ip("172.17.0.3")), Some("b"));
    assert_eq!(pool.address_of("c"), None);
}

#[test]
fn exclusions_and_range_are_obeyed_and_a_wish_may_be_outside_of_the_range() {
    let exclude = ["172.17.0.10", "172.17.0.12-172.17.0.13", "172.17.0.14/31"];
    let mut pool = AddressPool::new(PoolSettings {
        range: Some("172.17.0.9-172.17.0.16".parse().unwrap()),
        exclude: exclude.map(|text| text.parse().unwrap()).to_vec(),
        ..settings("172.17.0.0/16")
    })
    .unwrap();
    let given: Vec<_> = (0..3).map(|n| pool.assign(&n.to_string(), None).unwrap()).collect();
    assert_eq!(given, [ip("172.17.0.9"), ip("172.17.0.11"), ip("172.17.0.16")]);
    let full = pool.assign("x", None).unwrap_err().to_string();
    assert!(
        full.starts_with("network web has no free address in 172.17.0.9-172.17.0.16"),
        "{full}"
    );
    assert!(full.contains("widen the network's range"), "{full}");
    assert_eq!(pool.assign("x", Some(ip("172.17.9.9"))), Ok(ip("172.17.9.9")));
    pool.release("x");
    assert!(pool.assign("y", None).is_err(), "what lies outside of the range is not given out");
    assert_eq!(pool.assign("x", None), Ok(ip("172.17.9.9")), "but to its former owner");
}

#[test]
fn a_wish_that_cannot_be_granted_says_why_and_who() {
    let mut pool = AddressPool::new(PoolSettings {
        exclude: vec![ip("10.0.0.77").into()],
        ..settings("10.0.0.0/24")
    })
    .unwrap();
    pool.assign("web1", Some(ip("10.0.0.9"))).unwrap();
    let refused = [
        ("10.0.1.1", "10.0.1.1 is not in 10.0.0.0/24 of network web"),
        ("10.0.0.0", "10.0.0.0 is the subnet's own address in network web"),
        ("10.0.0.255", "10.0.0.255 is the broadcast address in network web"),
        ("10.0.0.1", "10.0.0.1 is the gateway's in network web"),
        ("10.0.0.77", "10.0.0.77 is excluded in network web"),
        ("10.0.0.9", "10.0.0.9 of network web belongs to web1;"),
    ];
    for (wish, why) in refused {
        let refusal = pool.assign("web2", Some(ip(wish))).unwrap_err().to_string();
        assert!(refusal.starts_with(why), "{refusal}");
    }
    let refusal = pool.assign("web1", Some(ip("10.0.0.10"))).unwrap_err().to_string();
    assert!(refusal.starts_with("web1 has 10.0.0.9 in network web already"), "{refusal}");
    assert_eq!(pool.len(), 1);
}

#[test]
fn released_addresses_are_given_to_others_last_and_oldest_first() {
    let mut pool = pool("10.0.0.0/29");
    for owner in ["a", "b", "c"] {
        pool.assign(owner, None).unwrap();
    }
    pool.release("b");
    pool.release("a");
    assert_eq!(pool.assign("d", None), Ok(ip("10.0.0.5")), "never used before");
    assert_eq!(pool.assign("e", None), Ok(ip("10.0.0.6")), "never used before");
    assert_eq!(pool.assign("f", None), Ok(ip("10.0.0.3")), "b's, released first");
    assert_eq!(pool.assign("a", None), Ok(ip("10.0.0.2")), "a comes back");
    assert!(matches!(pool.assign("b", None), Err(AddressError::Exhausted { taken: 5, .. })));
}

#[test]
fn a_name_that_is_forgotten_is_as_new() {
    let mut pool = pool("10.0.0.0/29");
    pool.assign("a", Some(ip("10.0.0.4"))).unwrap();
    pool.release("a");
    pool.forget("a");
    assert_eq!(pool.assign("a", None), Ok(ip("10.0.0.2")));
    assert_eq!(pool.assign("b", None), Ok(ip("10.0.0.3")));
    assert_eq!(pool.assign("c", None), Ok(ip("10.0.0.4")), "it is fresh again");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut pool = pool("10.0.0.0/8");
    for number in 0..MAX_REMEMBERED + 10 {
        let owner = number.to_string();
        pool.assign(&owner, None).unwrap();
        pool.release(&owner);
    }
    assert_eq!(pool.snapshot().released.len(), MAX_REMEMBERED);
    // The first ten are forgotten; the names after the last address of the first round took the
    // first nine of theirs again.
    assert_eq!(pool.assign("0", None), Ok(ip("10.0.0.11")), "the lowest that is fresh");
}

#[test]
fn a_pool_of_sixteen_million_addresses_fills_quickly() {
    let mut pool = pool("10.0.0.0/8");
    for number in 0..100_000 {
        pool.assign(&number.to_string(), None).unwrap();
    }
    assert_eq!(pool.len(), 100_000);
    assert_eq!(pool.holder_of(ip("10.1.134.161")), Some("99999"));
}

#[test]
fn settings_that_contradict_the_subnet_are_refused() {
    let outside = PoolSettings { gateway: Some(ip("10.0.1.1")), ..settings("10.0.0.0/24") };
    assert!(matches!(AddressPool::new(outside), Err(AddressError::OutsideSubnet { .. })));
    let range = Some("10.0.0.9-10.0.1.1".parse().unwrap());
    let outside = PoolSettings { range, ..settings("10.0.0.0/24") };
    assert!(matches!(AddressPool::new(outside), Err(AddressError::RangeOutsideSubnet { .. })));
}

#[test]
fn a_snapshot_restores_and_nonsense_is_refused() {
    let mut pool = pool("10.0.0.0/29");
    for owner in ["a", "b", "c"] {
        pool.assign(owner, None).unwrap();
    }
    pool.release("b");
    pool.release("a");
    let text = serde_json::to_string(&pool.snapshot()).unwrap();
    let kept: PoolSnapshot = serde_json::from_str(&text).unwrap();
    let mut restored = AddressPool::restore(settings("10.0.0.0/29"), &kept).unwrap();
    assert_eq!(restored.snapshot(), kept);
    assert_eq!(restored.assign("a", None), Ok(ip("10.0.0.2")));

    let entry = |owner: &str, at: &str| PoolEntry { owner: owner.to_owned(), address: ip(at) };
    let nonsense = [
        (vec![entry("a", "10.0.0.2"), entry("b", "10.0.0.2")], vec![], "belongs to a"),
        (vec![entry("a", "10.0.0.2"), entry("a", "10.0.0.3")], vec![], "a has two addresses"),
        (vec![entry("a", "10.0.9.2")], vec![], "is not in 10.0.0.0/29"),
        (vec![entry("a", "10.0.0.1")], vec![], "is the gateway's"),
        (vec![entry("a", "10.0.0.2")], vec![entry("b", "10.0.0.2")], "10.0.0.2 is a's"),
        (vec![entry("a", "10.0.0.2")], vec![entry("a", "10.0.0.3")], "a has two addresses"),
        (vec![], vec![entry("a", "10.0.0.2"), entry("b", "10.0.0.2")], "released twice"),
        (vec![], vec![entry("a", "10.0.0.2"), entry("a", "10.0.0.3")], "a has two addresses"),
    ];
    for (assigned, released, why) in nonsense {
        let kept = PoolSnapshot { assigned, released };
        let refusal = AddressPool::restore(settings("10.0.0.0/29"), &kept).unwrap_err();
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
    assert!(serde_json::from_str::<PoolSnapshot>(r#"{"assigned": [], "more": 1}"#).is_err());
}

#[test]
fn a_released_address_that_is_excluded_by_now_is_forgotten() {
    let mut pool = pool("10.0.0.0/29");
    pool.assign("a", None).unwrap();
    pool.release("a");
    let settings = PoolSettings { exclude: vec![ip("10.0.0.2").into()], ..settings("10.0.0.0/29") };
    let mut restored = AddressPool::restore(settings, &pool.snapshot()).unwrap();
    assert_eq!(restored.assign("a", None), Ok(ip("10.0.0.3")));
}

#[test]
fn ranges_are_read_as_written() {
    for text in ["10.0.0.1", "10.0.0.1-10.0.0.9"] {
        assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), text);
    }
    assert_eq!("10.0.0.4/30".parse::<AddressRange>().unwrap().to_string(), "10.0.0.4-10.0.0.7");
    for text in ["", "10.0.0.9-10.0.0.1", "10.0.0.0/33", "a", "10.0.0.1-", "10.0.0.1-2-3"] {
        let refusal = text.parse::<AddressRange>().unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("`{text}` is no range")), "{refusal}");
    }
}

#[test]
fn subnets_come_in_dockers_order_and_far_beyond_thirty_one() {
    let pool = SubnetPool::default();
    let mut networks = Vec::new();
    for _ in 0..300 {
        networks.push(pool.next_free(&networks, &[]).unwrap());
    }
    let at = |index: usize| networks[index].to_string();
    assert_eq!([at(0), at(1), at(14)], ["172.17.0.0/16", "172.18.0.0/16", "172.31.0.0/16"]);
    assert_eq!([at(15), at(30)], ["192.168.0.0/20", "192.168.240.0/20"]);
    assert_eq!([at(31), at(299)], ["10.0.0.0/24", "10.1.12.0/24"]);
}

#[test]
fn subnets_avoid_networks_and_what_the_host_routes_but_for_its_default_routes() {
    let pool = SubnetPool::default();
    let networks = [net("172.17.0.0/16"), net("172.19.128.0/24")];
    let routes = ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "172.18.3.4/32", "172.20.0.0/15"];
    let free = pool.next_free(&networks, &routes.map(net)).unwrap();
    assert_eq!(free, net("172.22.0.0/16"));
    let routes = ["172.16.0.0/12", "192.168.0.0/17", "192.168.33.0/24"].map(net);
    assert_eq!(pool.next_free(&[], &routes).unwrap(), net("192.168.128.0/20"));
    let everything = ["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"].map(net);
    let full = pool.next_free(&[], &everything).unwrap_err().to_string();
    assert!(full.contains("10.0.0.0/8 (as /24)") && full.contains("3 prefixes"), "{full}");
    let whole = [net("0.0.0.0/0")];
    assert!(pool.next_free(&whole, &[]).is_err(), "a network is avoided whatever its size");
}

#[test]
fn a_subnet_pool_of_ones_own_is_cut_as_told() {
    let pool = SubnetPool::new([(net("255.255.255.0/24"), 30)]).unwrap();
    let taken = [net("255.255.255.0/25"), net("255.255.255.128/26"), net("255.255.255.192/27")];
    assert_eq!(pool.next_free(&taken, &[]).unwrap(), net("255.255.255.224/30"));
    assert!(pool.next_free(&[net("255.255.255.0/24")], &[]).is_err(), "up to the last address");
    for len in [23, 31, 33] {
        assert!(SubnetPool::new([(net("10.0.0.0/24"), len)]).is_err(), "/{len}");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Assign(u8),
    Wish(u8, u8),
    Release(u8),
    Forget(u8),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..24_u8).prop_map(Act::Assign),
        2 => (0..24_u8, 0..32_u8).prop_map(|(owner, at)| Act::Wish(owner, at)),
        4 => (0..24_u8).prop_map(Act::Release),
        1 => (0..24_u8).prop_map(Act::Forget),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    /// Against plain maps: no address twice, none that is reserved, the same name the same address
    /// while that is free, and refused only if nothing is free.
    #[test]
    fn a_pool_gives_what_is_free_to_one_owner_only(acts in prop::collection::vec(act(), 1..200)) {
        let settings = PoolSettings {
            exclude: vec!["10.0.0.5-10.0.0.7".parse().unwrap()],
            range: Some("10.0.0.0-10.0.0.19".parse().unwrap()),
            ..settings("10.0.0.0/27")
        };
        let may_have = |at: Ipv4Addr| {
            let last = at.octets()[3];
            !matches!(last, 0 | 1 | 5..=7 | 31)
        };
        let mut pool = AddressPool::new(settings.clone()).unwrap();
        let mut has: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
        let mut had: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Assign(owner) | Act::Wish(owner, _) => {
                    let wish = match act {
                        Act::Wish(_, at) => Some(Ipv4Addr::new(10, 0, 0, at)),
                        _ => None,
                    };
                    let owner = owner.to_string();
                    let taken: HashSet<Ipv4Addr> = has.values().copied().collect();
                    let before = has.get(&owner).copied();
                    let given = pool.assign(&owner, wish);
                    let expected = match (before, wish) {
                        (Some(before), None) => Some(before),
                        (Some(before), Some(wish)) => (before == wish).then_some(wish),
                        (None, Some(wish)) => {
                            (may_have(wish) && !taken.contains(&wish)).then_some(wish)
                        }
                        (None, None) => {
                            let former = had.get(&owner).filter(|at| !taken.contains(at));
                            let is_full = (0..20)
                                .map(|at| Ipv4Addr::new(10, 0, 0, at))
                                .all(|at| !may_have(at) || taken.contains(&at));
                            match former {
                                Some(former) => Some(*former),
                                None => (!is_full).then(|| given.clone().unwrap()),
                            }
                        }
                    };
                    prop_assert_eq!(given.clone().ok(), expected, "{:?}", given);
                    if let Ok(given) = given {
                        prop_assert!(may_have(given));
                        prop_assert!(before == Some(given) || !taken.contains(&given));
                        had.retain(|_, at| *at != given);
                        had.remove(&owner);
                        has.insert(owner, given);
                    }
                }
                Act::Release(owner) => {
                    let owner = owner.to_string();
                    let released = has.remove(&owner);
                    prop_assert_eq!(pool.release(&owner), released);
                    had.extend(released.map(|at| (owner, at)));
                }
                Act::Forget(owner) => {
                    pool.forget(&owner.to_string());
                    had.remove(&owner.to_string());
                }
                Act::Restart => {
                    pool = AddressPool::restore(settings.clone(), &pool.snapshot()).unwrap();
                }
            }
            let listed: BTreeMap<String, Ipv4Addr> =
                pool.assigned().map(|(owner, at)| (owner.to_owned(), at)).collect();
            prop_assert_eq!(&listed, &has);
        }
    }

    /// The first aligned subnet of the pool that overlaps nothing, as a plain search finds it.
    #[test]
    fn the_next_subnet_is_the_first_that_overlaps_nothing(
        taken in prop::collection::vec((any::<u16>(), 17..=32_u8), 0..40)
    ) {
        let taken: Vec<Ipv4Net> = taken
            .into_iter()
            .map(|(low, len)| Ipv4Net::new(Ipv4Addr::from_bits(0x0a01_0000 | u32::from(low)), len))
            .map(|net| net.unwrap().trunc())
            .collect();
        let pool = SubnetPool::new([(net("10.1.0.0/16"), 22)]).unwrap();
        let free = net("10.1.0.0/16").subnets(22).unwrap().find(|candidate| {
            taken.iter().all(|net| !net.contains(candidate) && !candidate.contains(net))
        });
        prop_assert_eq!(pool.next_free(&taken, &[]).ok(), free);
    }
}
