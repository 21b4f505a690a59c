//! Differences against engines: what they lead to is what a start with the new state leads to.

use proptest::prelude::*;

use super::*;
use crate::control::config::Config;
use crate::control::model::Processes;
use crate::engine::{Engine, EngineConfig};
use crate::time::Instant;

const START: Instant = Instant::from_nanos(0);

fn model(text: &str, before: Option<&Model>) -> Model {
    let loaded = Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"));
    Model::succeeding(&loaded.config, before, &Processes::new())
}

fn engine(model: &Model) -> Engine {
    let mut config = EngineConfig::with_sessions(16);
    (config.fdb.total, config.neighbours.total) = (64, 64);
    let mut engine = Engine::new(config, 1, START);
    for command in model.commands() {
        engine.apply(START, command.clone()).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }
    engine
}

/// Everything of an engine that commands lead to, in no particular order.
fn tables(engine: &mut Engine) -> Vec<String> {
    let mut rows: Vec<String> = engine.route_rows().iter().map(|row| format!("{row:?}")).collect();
    rows.extend(engine.fdb_rows(START).iter().map(|row| format!("{row:?}")));
    rows.extend(engine.publishes().iter().map(|row| format!("{row:?}")));
    rows.extend(engine.statics().iter().map(|row| format!("{row:?}")));
    rows.extend(engine.port_stats().iter().map(|(id, stats)| format!("{id} {stats:?}")));
    rows.extend((0..8).map(|id| format!("{id} {}", engine.network_name(NetworkId(id)))));
    let view = engine.nat_view();
    rows.extend(view.uplink.iter().map(|row| format!("{row:?}")));
    rows.extend(view.networks.iter().map(|row| format!("{row:?}")));
    rows.sort();
    rows
}

fn apply(engine: &mut Engine, steps: &[Step]) {
    for step in steps {
        engine
            .apply(START, step.command.clone())
            .unwrap_or_else(|error| panic!("{step:?}: {error}"));
    }
}

#[test]
fn what_stays_gets_no_command() {
    let text = include_str!("../../../../tools/configs/tutorial.toml");
    let old = model(text, None);
    assert!(model(text, Some(&old)).since(&old).is_empty());
    let more = format!(
        "{text}\n[network.front]\nsubnet = \"10.9.0.0/24\"\n[port.x]\nnetwork = \"front\"\n\
         address = \"10.9.0.2\"\npublish = [\"81:80\"]"
    );
    let new = model(&more, Some(&old));
    let names: Vec<String> = new
        .since(&old)
        .steps()
        .iter()
        .map(|step| format!("{:?}", step.command).chars().take_while(|c| *c != '(').collect())
        .collect();
    assert_eq!(names, ["AddNetwork", "AddPort", "Publish"]);
}

#[test]
fn a_tunnel_endpoint_comes_after_its_port_and_goes_before_it() {
    let bare = "[network.a]\nsubnet = \"10.1.0.0/16\"\n";
    let peer = |last| format!("[[peer]]\nnetwork = \"a\"\naddress = \"192.0.2.{last}\"\n");
    let host = |peer| {
        format!(
            "[[endpoint]]\nnetwork = \"a\"\naddress = \"10.1.0.9\"\npeer = \"192.0.2.{peer}\"\n"
        )
    };
    let stretched = format!("{bare}vxlan = 7\n");
    let names = |new: &Model, old: &Model| -> Vec<String> {
        let told = |step: &Step| format!("{:?}", step.command);
        let steps = new.since(old).steps().iter().map(told).collect::<Vec<_>>();
        steps.iter().map(|text| text.chars().take_while(|c| *c != ',').collect()).collect()
    };
    let first = model(bare, None);
    let second = model(&format!("{stretched}{}{}{}", peer(1), peer(2), host(1)), Some(&first));
    assert_eq!(
        names(&second, &first),
        [
            "AddNetwork(NetworkId(1)",
            "AddPort(PortId(1)",
            "AddPort(PortId(2)",
            "AddPort(PortId(3)",
            "SetVtep(Some(Vtep { address: 0.0.0.0",
            "SetEndpoints(NetworkId(1)",
        ]
    );
    // A known host that moved, and a peer that came, are no one else's business.
    let moved =
        model(&format!("{stretched}{}{}{}{}", peer(1), peer(2), peer(3), host(2)), Some(&second));
    let expected = ["AddPort(PortId(4)", "AlterPort(PortId(2)", "AlterPort(PortId(3)"];
    assert_eq!(names(&moved, &second), expected);
    let gone = model(bare, Some(&second));
    assert_eq!(
        names(&gone, &second),
        [
            "SetVtep(None)",
            "SetEndpoints(NetworkId(1)",
            "RemovePort(PortId(1))",
            "RemovePort(PortId(2))",
            "RemovePort(PortId(3))",
            "AddNetwork(NetworkId(1)",
        ]
    );
    let mut changed = engine(&second);
    apply(&mut changed, &moved.since(&second).steps());
    assert_eq!(tables(&mut changed), tables(&mut engine(&moved)));
    apply(&mut changed, &gone.since(&moved).steps());
    assert_eq!(tables(&mut changed), tables(&mut engine(&gone)));
}

#[test]
fn two_networks_may_swap_their_subnets_and_ports_their_addresses() {
    let text = |a, b, p, q| {
        format!(
            "[network.a]\nsubnet = \"{a}\"\n[network.b]\nsubnet = \"{b}\"\n\
             [port.p]\nnetwork = \"a\"\naddress = \"{p}\"\npublish = [\"80:80\"]\n\
             [port.q]\nnetwork = \"b\"\naddress = \"{q}\"\npublish = [\"81:80\"]"
        )
    };
    let old = model(&text("10.1.0.0/16", "10.2.0.0/16", "10.1.0.2", "10.2.0.2"), None);
    let new = model(&text("10.2.0.0/16", "10.1.0.0/16", "10.2.0.2", "10.1.0.2"), Some(&old));
    let mut changed = engine(&old);
    let before = tables(&mut changed);
    let steps = new.since(&old).steps();
    apply(&mut changed, &steps);
    assert_eq!(tables(&mut changed), tables(&mut engine(&new)));
    for step in steps.iter().rev() {
        changed.apply(START, step.undo.clone()).unwrap();
    }
    assert_eq!(tables(&mut changed), before);
}

#[test]
fn a_port_keeps_its_device_unless_its_plan_is_another() {
    let text =
        |port| format!("[network.a]\nsubnet = \"10.1.0.0/16\"\n[port.p]\nnetwork = \"a\"\n{port}");
    let old = model(&text("address = \"10.1.0.2\""), None);
    let kind = |text: String| model(&text, Some(&old)).since(&old).ports;
    let unguarded = kind(text("address = \"10.1.0.2\"\nguard = false"));
    assert!(
        matches!(unguarded.as_slice(), [change @ PortChange::Altered(_)] if change.rejoins().is_none())
    );
    let moved = kind(text("address = \"10.1.0.3\""));
    assert!(matches!(moved.as_slice(), [PortChange::Replaced(_)]));
    let published = kind(text("address = \"10.1.0.2\"\npublish = [\"80:80\"]"));
    assert_eq!(published, []);
}

#[test]
fn a_port_that_stays_on_its_network_is_altered_and_a_publish_moved_in_one_step_each() {
    let text = |guard, at| {
        let host = |name, last| {
            let publish = if at == name { "publish = [\"80:80\"]\n" } else { "" };
            format!("[port.{name}]\nnetwork = \"a\"\naddress = \"10.1.0.{last}\"\n{publish}")
        };
        let ports = host("p", 2) + &host("q", 3);
        format!("[network.a]\nsubnet = \"10.1.0.0/16\"\n{ports}guard = {guard}\n")
    };
    let old = model(&text(true, "p"), None);
    let new = model(&text(false, "q"), Some(&old));
    let steps = new.since(&old).steps();
    let [altered, moved] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(matches!(altered.command, Command::AlterPort(..)), "{altered:?}");
    let (from, to) = (old.publishes[0], new.publishes[0]);
    assert_eq!(moved.command, Command::MovePublish(from, to));
    assert_eq!(moved.undo, Command::MovePublish(to, from));
}

/// A good configuration out of a few names and addresses, so that two of them meet.
fn any_text() -> impl Strategy<Value = String> {
    let subnets = Just([1_u8, 2, 3]).prop_shuffle();
    let tunnels = prop::option::of((0..3_u8, any::<bool>(), any::<bool>()));
    let network = (any::<bool>(), any::<bool>(), any::<bool>(), tunnels);
    let networks = prop::collection::vec(prop::option::weighted(0.8, network), 3);
    let hosts = Just([2_u8, 3, 4]).prop_shuffle();
    let port = (any::<prop::sample::Index>(), any::<bool>(), 0..4_u16);
    let ports = prop::collection::vec(prop::option::weighted(0.8, port), 3);
    let uplink = prop::option::of((2..4_u8, any::<bool>()));
    (uplink, (subnets, networks), (hosts, ports), any::<bool>()).prop_map(write_text)
}

fn write_tunnels((at, subnet): (usize, u8), tunnels: Tunnels) -> String {
    let Some((place, has_group, has_more)) = tunnels else { return String::new() };
    let more = if has_more { ", \"203.0.113.4\"" } else { "" };
    let group = if has_group { "group = \"239.0.0.1\"\n" } else { "" };
    let endpoint = format!(
        "[[endpoint]]\nnetwork = \"n{at}\"\naddress = \"10.{subnet}.0.20\"\n\
         peer = \"203.0.113.{}\"\n",
        place + 1
    );
    format!(
        "[network.n{at}.vxlan]\nvni = {}\n{group}peers = [\"203.0.113.1\", \"203.0.113.2\", \
         \"203.0.113.3\"{more}]\n{endpoint}",
        at + 1
    )
}

type Uplink = Option<(u8, bool)>;
/// Of a network over several hosts: where a known host is, and whether there is a group, and one
/// more peer.
type Tunnels = Option<(u8, bool, bool)>;
/// Subnets, and whether a network is isolated, translated, routed, and on several hosts.
type Networks = ([u8; 3], Vec<Option<(bool, bool, bool, Tunnels)>>);
/// Hosts' addresses, and a port's network, guard and published port.
type Ports = ([u8; 3], Vec<Option<(prop::sample::Index, bool, u16)>>);

fn write_text(
    (uplink, (subnets, networks), (hosts, ports), route): (Uplink, Networks, Ports, bool),
) -> String {
    let mut text = String::new();
    let mut homes = Vec::new();
    for ((at, network), subnet) in networks.iter().enumerate().zip(subnets) {
        let Some((icc, is_translated, is_routed, tunnels)) = network else { continue };
        let nat = if *is_translated { "eim-eif" } else { "none" };
        text += &format!("[network.n{at}]\nicc = {icc}\nnat = \"{nat}\"\n");
        if *is_routed {
            text += &format!("subnet = \"10.{subnet}.0.0/16\"\n");
            homes.push((at, subnet));
        }
        text += &write_tunnels((at, subnet), *tunnels);
    }
    for ((at, port), host) in ports.iter().enumerate().zip(hosts) {
        let (Some((network, guard, publish)), false) = (port, homes.is_empty()) else { continue };
        let (network, subnet) = homes[network.index(homes.len())];
        text += &format!(
            "[port.p{at}]\nnetwork = \"n{network}\"\naddress = \"10.{subnet}.0.{host}\"\n\
             guard = {guard}\n"
        );
        if *publish > 0 {
            text += &format!("publish = [\"{at}{publish}:80\", \"80\"]\n");
        }
    }
    let home = homes.first();
    if let (Some((_, subnet)), true) = (home, route) {
        text += &format!("[[route]]\nto = \"10.99.0.0/16\"\nvia = \"10.{subnet}.0.7\"\n");
    }
    if let Some((own, has_static)) = uplink {
        text += &format!("[uplink]\naddress = \"192.0.2.{own}/24\"\ngateway = \"192.0.2.1\"\n");
        if let (Some((_, subnet)), true) = (home, has_static) {
            text += &format!(
                "static_nat = [{{ external = \"192.0.2.9\", inside = \"10.{subnet}.0.2\" }}]\n"
            );
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_leads_where_a_start_leads_and_can_be_taken_back_at_every_step(
        texts in (any_text(), any_text()),
        failing in any::<prop::sample::Index>(),
    ) {
        let old = model(&texts.0, None);
        let new = model(&texts.1, Some(&old));
        let mut changed = engine(&old);
        let before = tables(&mut changed);
        let steps = new.since(&old).steps();
        if !steps.is_empty() {
            let done = failing.index(steps.len());
            apply(&mut changed, &steps[..done]);
            for step in steps[..done].iter().rev() {
                changed.apply(START, step.undo.clone())
                    .unwrap_or_else(|error| panic!("{step:?}: {error}"));
            }
            prop_assert_eq!(tables(&mut changed), before);
        }
        apply(&mut changed, &steps);
        prop_assert_eq!(tables(&mut changed), tables(&mut engine(&new)));
    }
}
