//! Hosts in several networks, what is left to tapway, and what was made live.

use super::*;

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
    (
        r#"
[[connect]]
port = "web"
network = "bridge"
[port.web]
[[connect]]
port = "web"
network = "front"
[[connect]]
port = "db"
[[publish]]
port = "db"
publish = "80"
[[publish]]
port = "web"
publish = "x"
"#,
        r#"
f:10:11: connect.network: web is in network bridge already; keep one of them
f:14:11: port.web@front.network: there is no network front; add [network.front], or use bridge
f:15:1: connect: `network` is missing; add network = "front"
f:18:8: publish.port: there is no port db; add [port.db]
f:22:11: publish.publish: "x": "x" is not a port; use 1 to 65535; examples: "80:80", "192.168.33.10:53:53/udp", "8000-8009:8000-8009"
"#,
    ),
    (
        r#"
[network.inside]
subnet = "10.1.0.0/30"
internal = true
[network.flat]
[port.a]
network = "inside"
address = "auto"
publish = ["80"]
[port.b]
network = "inside"
address = "auto"
[port.c]
network = "flat"
address = "auto"
process = 7
[network.chosen]
subnet = "auto"
gateway = "10.0.0.1"
range = "1.2.3"
"#,
        r#"
f:15:12: port.a.publish: network inside is internal: nothing comes in from outside; remove `publish`, or connect the host to another network
f:18:11: port.b.address: network inside has no free address in 10.1.0.0-10.1.0.3: 1 are taken; remove a host, widen the network's range, or give it a larger subnet than 10.1.0.0/30
f:21:11: port.c.address: network flat has no subnet; add `subnet` to [network.flat]
f:22:1: port.c.process: unknown key; known here: network, kind, netns, create_netns, interface, backend, offload, address, mac, mtu, guard, publish, expose, links, static_macs, limit_rx, limit_tx, limit_burst, aliases
f:25:11: network.chosen.gateway: a subnet of tapway's choice has a gateway of its choice; add the subnet, or remove it
f:26:9: network.chosen.range: "1.2.3" is not an address, a subnet, or a range such as 172.17.0.10-172.17.0.20; correct it
"#,
    ),
];

fn compose(text: &str, live: &str, memory: &mut Memory) -> Config {
    let routed = ["172.18.0.0/16".parse().unwrap()];
    let sources = Sources { name: "f", text, live, routed: &routed };
    Config::compose(sources, memory).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn addresses(config: &Config) -> Vec<String> {
    let row = |port: &Port| {
        format!("{} {}", port.name.get_ref(), port.address.as_ref().unwrap().get_ref())
    };
    config.ports.iter().map(row).collect()
}

#[test]
fn a_host_in_two_networks_is_two_ports_in_one_place() {
    let text = "[network.front]\nsubnet = \"10.1.0.0/24\"\ninternal = true\n\
                [network.back]\nsubnet = \"10.2.0.0/24\"\n\
                [port.web]\nnetwork = \"front\"\nnetns = \"web\"\naddress = \"10.1.0.2\"\n\
                publish = [\"80:80\"]\n[[connect]]\nport = \"web\"\nnetwork = \"back\"";
    let config = compose(text, "", &mut Memory::default());
    assert_eq!(addresses(&config), ["web 10.1.0.2", "web@back 10.2.0.2"]);
    let PortKind::Tap { netns, interface, .. } = &config.ports[1].kind else { panic!() };
    assert_eq!(
        (netns.as_ref().unwrap().get_ref().as_str(), interface.get_ref().as_str()),
        ("web", "eth1")
    );
    let model = Model::new(&config);
    let gateway = |at: usize| match &model.ports[at].plan {
        crate::io::PortPlan::Tap(tap) => tap.gateway,
        _ => None,
    };
    // An internal network is no way out, and nothing comes in by it.
    assert_eq!((gateway(0), gateway(1)), (None, Some(Ipv4Addr::new(10, 2, 0, 1))));
    assert_eq!(model.publishes[0].target.ip, Ipv4Addr::new(10, 2, 0, 2));
    assert!(model.ports.iter().all(|port| port.spec.guard.is_some()));
}

#[test]
fn what_tapway_chose_stays_and_a_name_that_comes_back_gets_what_it_had() {
    let mut memory = Memory::default();
    let network = |name: &str| format!("[network.{name}]\nsubnet = \"auto\"\n");
    let port = |name: &str, network: &str| {
        format!("[port.{name}]\nnetwork = \"{network}\"\naddress = \"auto\"\n")
    };
    let both = network("a") + &network("b") + &port("x", "a") + &port("y", "a") + &port("z", "b");
    let config = compose(&both, "", &mut memory);
    // The host has a route to the second of Docker's subnets.
    assert_eq!(addresses(&config), ["x 172.17.0.2", "y 172.17.0.3", "z 172.19.0.2"]);
    let fewer = network("b") + &network("a") + &port("y", "a");
    assert_eq!(addresses(&compose(&fewer, "", &mut memory)), ["y 172.17.0.3"]);
    // New ones take what nobody had; the first one comes back.
    let more = network("a") + &port("w", "a") + &port("x", "a") + &port("y", "a");
    let config = compose(&more, "", &mut memory);
    assert_eq!(addresses(&config), ["w 172.17.0.4", "x 172.17.0.2", "y 172.17.0.3"]);
}

#[test]
fn an_address_that_was_given_is_not_taken_away_by_who_names_it() {
    let mut memory = Memory::default();
    let text =
        "[network.a]\nsubnet = \"10.1.0.0/24\"\n[port.x]\nnetwork = \"a\"\naddress = \"auto\"\n";
    compose(text, "", &mut memory);
    let live = "[port.y]\nnetwork = \"a\"\naddress = \"10.1.0.2\"";
    let sources = Sources { name: "f", text, live, routed: &[] };
    let errors = Config::compose(sources, &mut memory).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "made live: port.y.address: 10.1.0.2 is that of port x; give each host an address of its own"
    );
    assert_eq!(errors.errors[0].kind, crate::control::rejection::RejectionKind::Conflict);

    let mut memory = Memory::default();
    compose(text, "", &mut memory);
    let text = format!("{text}[network.a.vxlan]\nvni = 1\npeers = [\"192.0.2.2\"]\n");
    let live = "[[endpoint]]\nnetwork = \"a\"\naddress = \"10.1.0.2\"\npeer = \"192.0.2.2\"";
    let sources = Sources { name: "f", text: &text, live, routed: &[] };
    let errors = Config::compose(sources, &mut memory).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "made live: endpoint.address: 10.1.0.2 is that of port x; give each host an address of its \
         own"
    );
    assert_eq!(errors.errors[0].kind, crate::control::rejection::RejectionKind::Conflict);
}

#[test]
fn what_was_made_live_joins_the_file_and_is_told_apart() {
    let text = "network = { a = { subnet = \"10.1.0.0/24\" } }\n# no line break at the end";
    let live = "[network.b]\nsubnet = \"10.2.0.0/24\"\n[port.x]\nnetwork = \"a\"\nprocess = 7\n\
                [[route]]\nto = \"10.9.0.0/24\"\nvia = \"10.1.0.9\"";
    let config = compose(text, live, &mut Memory::default());
    let is_live: Vec<bool> =
        config.networks.iter().map(|network| config.is_live(&network.name.span())).collect();
    assert_eq!(is_live, [false, true]);
    let PortKind::Tap { process, interface, .. } = &config.ports[0].kind else { panic!() };
    assert_eq!((*process, interface.get_ref().as_str()), (Some(7), "eth0"));
    assert_eq!(config.routes.len(), 1);
}
