//! The first lines of `tapway run`: what runs, whether hosts reach the outside, how to attach.

use std::net::Ipv4Addr;

use crate::control::config::{
    Config, DEFAULT_CONFIG, DEFAULT_NETWORK, Network, Origin, Uplink, UplinkKind,
};
use crate::control::model::Model;
use crate::io::Broker;
use crate::nat::Publish;
use crate::packet::PROTOCOL_UDP;

/// Published ports that are listed; `show nat` lists all.
const MAX_PUBLISHED: usize = 16;
/// A port for a configuration that has none.
const EXAMPLE_PORT: &str = "\
[port.web]
netns = \"web\"
address = \"172.17.0.2\"
publish = [\"8080:80\"]
";

/// What there is to tell of.
pub(super) struct Greeted<'g> {
    /// Where the configuration comes from.
    pub origin: &'g Origin,
    /// What it is called.
    pub name: &'g str,
    /// What it says, with what was made live.
    pub config: &'g Config,
    /// What it comes to.
    pub model: &'g Model,
}

/// The lines.
pub(super) fn lines(greeted: &Greeted<'_>, broker: &dyn Broker) -> Vec<String> {
    let mut lines = compose(greeted, &outside(greeted.config, greeted.model, broker));
    if greeted.config.ports.is_empty() {
        lines.extend(how_to_attach(greeted));
    }
    lines
}

/// The lines of an ordinary user's switch.
pub(super) fn confined_lines(greeted: &Greeted<'_>) -> Vec<String> {
    let outside = "not reachable: an ordinary user's switch has no way out of its user namespace; \
                   run tapway as root for one";
    let mut lines = compose(greeted, outside);
    lines.extend(exec_example(greeted.config));
    lines
}

fn compose(greeted: &Greeted<'_>, outside: &str) -> Vec<String> {
    let Greeted { name, config, model, .. } = greeted;
    let ports = config.ports.len();
    let mut lines = vec![
        format!("tapway {}: {}, ports: {ports}", env!("CARGO_PKG_VERSION"), name),
        format!("outside: {outside}"),
    ];
    lines.extend(config.networks.iter().map(network));
    let published = model.publishes.iter();
    lines.extend(published.take(MAX_PUBLISHED).map(|publish| published_port(publish, model)));
    if let Some(more) = model.publishes.len().checked_sub(MAX_PUBLISHED).filter(|more| *more > 0) {
        lines.push(format!("published: {more} more, see `tapway show nat`"));
    }
    lines
}

/// Whether hosts reach the outside, and what to set if not.
fn outside(config: &Config, model: &Model, broker: &dyn Broker) -> String {
    let Some(uplink) = &config.uplink else {
        return "not reachable: there is no uplink; add [uplink] to the configuration".to_owned();
    };
    if let UplinkKind::Shared { device, .. } = &uplink.kind {
        return format!("by {0} of this host, whose address is shared", device.get_ref());
    }
    let Some(gateway) = &uplink.gateway else {
        let subnet = uplink.own_address().unwrap_or_default().trunc();
        return format!("only {subnet}; set `gateway` in [uplink] for what lies beyond");
    };
    let way = format!("by {} on {}", gateway.get_ref(), place(uplink));
    let is_here = matches!(uplink.kind, UplinkKind::Tap { .. }) && uplink.netns.is_none();
    let hint = model.uplink().filter(|_| is_here).and_then(|port| broker.outside_hint(&port.plan));
    match hint {
        Some(hint) => format!("{way}; {hint}"),
        None => way,
    }
}

fn place(uplink: &Uplink) -> String {
    let name = match &uplink.kind {
        UplinkKind::Tap { interface, .. } => format!("TAP {}", interface.get_ref()),
        UplinkKind::Device { device, .. } | UplinkKind::Shared { device, .. } => {
            format!("device {}", device.get_ref())
        }
    };
    match &uplink.netns {
        Some(netns) => format!("{name} in namespace {}", netns.get_ref()),
        None => format!("{name} of this host"),
    }
}

fn network(network: &Network) -> String {
    let name = network.name.get_ref();
    let vxlan = network.vxlan.as_ref().map(|vxlan| format!(", vxlan {}", vxlan.vni.get_ref()));
    let vxlan = vxlan.unwrap_or_default();
    match &network.router {
        Some(router) => {
            let (subnet, gateway) = (router.subnet.get_ref(), router.gateway.get_ref());
            let host = network.host.as_ref().zip(network.host_address());
            let host = host
                .map(|(place, at)| format!(", this host {at} on {}", place.interface.get_ref()));
            format!(
                "network {name}: {subnet}, gateway {gateway}{}{vxlan}",
                host.unwrap_or_default()
            )
        }
        None => format!("network {name}: switched only{vxlan}"),
    }
}

fn published_port(publish: &Publish, model: &Model) -> String {
    let protocol = if publish.protocol == PROTOCOL_UDP { "udp" } else { "tcp" };
    let on = match (publish.address, model.uplink_address()) {
        (Some(address), _) => format!("{address}:"),
        (None, Some(address)) => format!("{address}:"),
        (None, None) => {
            model.shared_plan().map_or(String::new(), |plan| format!("{}:", plan.device))
        }
    };
    let last = publish.last();
    let range = if last > publish.port { format!("-{last}") } else { String::new() };
    let target = publish.target;
    let target_last = publish.target_of(last).port;
    let target_range = if last > publish.port { format!("-{target_last}") } else { String::new() };
    format!("published: {on}{}{range} -> {target}{target_range}/{protocol}", publish.port)
}

fn how_to_attach(greeted: &Greeted<'_>) -> Vec<String> {
    let example = match greeted.origin {
        Origin::Embedded => Some(("(a file for `tapway run -c FILE`)", example_file())),
        // Who names a device and no file wants to write none.
        Origin::Shared { .. } => None,
        Origin::File(_) => Some(("(in the file)", example_port(greeted.config))),
    };
    let mut lines = Vec::new();
    if let Some((place, text)) = example {
        lines.push("no host is attached; a port attaches one, such as:".to_owned());
        lines.push(place.to_owned());
        lines.extend(text.lines().map(|line| format!("    {line}")));
        let gateway = match (greeted.config.networks.is_empty(), routed(greeted.config)) {
            (true, _) => Some(Ipv4Addr::new(172, 17, 0, 1)),
            (false, found) => found.map(|(_, gateway)| gateway),
        };
        let ping = gateway.map(|at| format!("then, for example: ip netns exec web ping {at}"));
        lines.extend(ping);
    }
    lines.extend(exec_example(greeted.config));
    lines
}

/// The first network that has a gateway, and that.
fn routed(config: &Config) -> Option<(&Network, Ipv4Addr)> {
    let gateway = |network: &Network| Some(*network.router.as_ref()?.gateway.get_ref());
    config.networks.iter().find_map(|network| Some((network, gateway(network)?)))
}

/// A port of a network that there is, one with a gateway rather than one without; or of a new one.
fn example_port(config: &Config) -> String {
    let found = routed(config).map(|(network, _)| network).or(config.networks.first());
    let (name, has_addresses) = match found {
        Some(network) => (network.name.get_ref().as_str(), network.router.is_some()),
        None => (DEFAULT_NETWORK, true),
    };
    let mut text = String::new();
    if found.is_none() {
        text.push_str("[network.bridge]\nsubnet = \"172.17.0.0/16\"\n\n");
    }
    text.push_str(&format!("[port.web]\nnetwork = \"{name}\"\nnetns = \"web\"\n"));
    if has_addresses {
        text.push_str("address = \"auto\"\n");
    }
    text
}

/// A command as a host of the first network that has a gateway.
fn exec_example(config: &Config) -> Option<String> {
    let (network, gateway) = routed(config)?;
    let option = match network.name.get_ref().as_str() {
        DEFAULT_NETWORK => String::new(),
        name => format!("--network {name} "),
    };
    Some(format!("a command runs as a host by: tapway exec {option}-- ping {gateway}"))
}

/// The embedded configuration without its comments, and a port.
fn example_file() -> String {
    let settings = DEFAULT_CONFIG.lines().filter_map(|line| {
        let setting = line.split('#').next().unwrap_or_default().trim_end();
        (!setting.is_empty()).then_some(setting)
    });
    let settings: Vec<&str> = settings.collect();
    format!("{}\n{EXAMPLE_PORT}", settings.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{OpenError, Opened, PortPlan};

    struct Hinting;

    impl Broker for Hinting {
        fn open(&mut self, port: &str, _plan: &PortPlan) -> Result<Opened, OpenError> {
            Err(OpenError::Permission { what: port.to_owned() })
        }

        fn close(&mut self, _port: &str) {}

        fn outside_hint(&self, _plan: &PortPlan) -> Option<String> {
            Some("nothing beyond this host: set net.ipv4.ip_forward=1".to_owned())
        }
    }

    fn greet(text: &str) -> Vec<String> {
        greet_as(&Origin::File("f".into()), text)
    }

    fn greet_as(origin: &Origin, text: &str) -> Vec<String> {
        let config = &Config::parse("f", text).unwrap().config;
        let model = &Model::new(config);
        lines(&Greeted { origin, name: "f", config, model }, &Hinting)
    }

    #[test]
    fn the_first_lines_say_whether_hosts_reach_the_outside() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            greet(include_str!("../../tools/configs/tutorial.toml")),
            [
                &format!("tapway {version}: f, ports: 2"),
                "outside: by 192.168.33.1 on TAP eth0 in namespace outside",
                "network bridge: 172.17.0.0/16, gateway 172.17.0.1",
                "published: 192.168.33.10:80 -> 172.17.0.2:80/tcp",
            ]
        );
        let text = include_str!("../../tools/configs/shared.toml");
        let text = text.replace("[port.nginx1]", "host = true\n[port.nginx1]");
        assert_eq!(
            greet(&text)[1..],
            [
                "outside: by eth0 of this host, whose address is shared",
                "network bridge: 172.17.0.0/16, gateway 172.17.0.1, this host 172.17.255.254 on \
                 tapway0",
                "published: eth0:80 -> 172.17.0.2:80/tcp",
            ]
        );
        let text = "[uplink]\naddress = \"10.0.0.2/24\"\ngateway = \"10.0.0.1\"\n";
        assert_eq!(
            greet(text)[1],
            "outside: by 10.0.0.1 on TAP tapway0 of this host; nothing beyond this host: set \
             net.ipv4.ip_forward=1"
        );
        let text = "[uplink]\nkind = \"device\"\ndevice = \"eth1\"\naddress = \"10.0.0.2/24\"";
        assert_eq!(
            greet(text)[1],
            "outside: only 10.0.0.0/24; set `gateway` in [uplink] for what lies beyond"
        );
        assert_eq!(
            greet("[network.a]")[1..3],
            [
                "outside: not reachable: there is no uplink; add [uplink] to the configuration",
                "network a: switched only",
            ]
        );
    }

    #[test]
    fn the_file_that_is_suggested_works() {
        let loaded = Config::parse("f", &example_file()).unwrap();
        assert_eq!((loaded.config.ports.len(), loaded.warnings.len()), (1, 0));
        let lines = greet_as(&Origin::Embedded, DEFAULT_CONFIG).join("\n");
        assert!(lines.contains("    [port.web]\n    netns = \"web\""), "{lines}");
        let shared = Origin::Shared { device: "eth0".to_owned() };
        let lines = greet_as(&shared, &shared.read().unwrap().1);
        assert_eq!(lines[3..], ["a command runs as a host by: tapway exec -- ping 172.17.0.1"]);
    }

    #[test]
    fn the_port_that_is_suggested_joins_a_network_of_the_file() {
        let suggested = |text: &str| {
            let lines = greet(text);
            let at = lines.iter().position(|line| line == "(in the file)").unwrap();
            let port: Vec<&str> =
                lines[at..].iter().filter_map(|line| line.strip_prefix("    ")).collect();
            let loaded = Config::parse("f", &format!("{text}\n{}", port.join("\n"))).unwrap();
            assert_eq!((loaded.config.ports.len(), loaded.warnings.len()), (1, 0), "{lines:?}");
            let after = lines[at + 1..].iter().filter(|line| !line.starts_with("    "));
            (loaded.config, after.cloned().collect::<Vec<_>>())
        };
        let (config, after) = suggested("[network.a]\n[network.b]\nsubnet = \"10.0.0.0/24\"");
        assert_eq!(config.ports[0].network.get_ref(), "b");
        assert_eq!(
            after,
            [
                "then, for example: ip netns exec web ping 10.0.0.1",
                "a command runs as a host by: tapway exec --network b -- ping 10.0.0.1",
            ]
        );
        let (config, after) = suggested("[network.a]");
        assert_eq!(config.ports[0].network.get_ref(), "a");
        assert_eq!(after, [""; 0]);
        let (config, after) = suggested("");
        assert_eq!(config.ports[0].network.get_ref(), DEFAULT_NETWORK);
        assert_eq!(after, ["then, for example: ip netns exec web ping 172.17.0.1"]);
    }
}
