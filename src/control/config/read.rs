//! From text to a [`Config`]: types, ranges and unknown keys. What needs two values to be judged
//! is left to `check`.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use toml::Spanned;
use toml::de::DeTable;

use super::joins::{Choice, read_address};
use super::links::{read_expose, read_links};
use super::names::check_host_name;
use super::problem::Problems;
use super::section::Section;
use super::{
    Config, DEFAULT_NETWORK, DEFAULT_SOCKET, Network, NetworkRouter, Port, PortKind, StateSetting,
    StaticNat, StaticRoute, Uplink, UplinkKind,
};
use super::{joins, syntax, vxlan};
use crate::control::publish_syntax::PublishSyntax;
use crate::io::TapBackend;
use crate::nat::{NatMode, NatPolicy};
use crate::packet::{MacAddr, PortSpan};

pub(super) const ADDRESS: &str = "an IPv4 address such as 172.17.0.1";
const ADDRESS_AND_PREFIX: &str = "an IPv4 address and prefix such as 192.168.33.10/24";
const RANGE: &str = "an address, a subnet, or a range such as 172.17.0.10-172.17.0.20";
const SUBNET: &str = "an IPv4 subnet such as 172.17.0.0/16";
pub(super) const MAC: &str = "a MAC address such as 02:42:ac:11:00:02";
pub(super) const TEXT: &str = "a text in quotes";
pub(super) const BOOL: &str = "true or false";
const MODE: &str = "a NAT mode: \"none\", \"eim-eif\", \"eim-adf\", \"eim-apdf\" or \"apdm\"";
const BACKEND: &str = "\"own\" or \"tun-tap\"";
/// Packets in bytes: from what IPv4 demands of every link to what a frame buffer holds.
const MTU: std::ops::RangeInclusive<u64> = 68..=9000;
const DEFAULT_MTU: u16 = 1500;
const DEFAULT_STORM_LIMIT: u64 = 10_000;
/// Receive buffer of a device, in bytes: about ten milliseconds at 2 Gbit/s.
pub(super) const DEFAULT_RECEIVE_BUFFER: u64 = 4 * 1024 * 1024;

/// Longest path of a Unix socket, in bytes (`sun_path` without its terminating zero).
const MAX_SOCKET: usize = 107;

/// What was read.
#[derive(Default)]
pub(super) struct Draft {
    /// What could be read of the configuration.
    pub config: Config,
    /// Networks that are named in the file and could not be read: nothing more is said about
    /// them.
    pub broken_networks: HashSet<String>,
    /// The uplink is there, and something in it could not be read.
    pub is_uplink_broken: bool,
}

/// Reads a file's text, and what was made live: a text whose places follow those of the file's.
pub(super) fn read<'i>(problems: &mut Problems<'i>, text: &'i str, live: &'i str) -> Draft {
    let mut draft = Draft::default();
    let Some(mut file) = parse(problems, text) else { return draft };
    let Some(mut live) = parse(problems, live) else { return draft };
    draft.is_uplink_broken = file.has("uplink");
    if let Some(section) = file.take_section(problems, "uplink") {
        (draft.config.uplink, draft.is_uplink_broken) = read_uplink(problems, section);
    }
    draft.config.vtep = vxlan::read_vtep(problems, &mut file);
    for source in [&mut file, &mut live] {
        read_things(problems, source, &mut draft);
    }
    // Joins may be of any port, and peers of any network, wherever that is written.
    for source in [&mut file, &mut live] {
        for section in source.take_section_list(problems, "connect") {
            joins::read_connect(problems, &mut draft, section);
        }
        for section in source.take_section_list(problems, "publish") {
            joins::read_publish(problems, &mut draft, section);
        }
        for section in source.take_section_list(problems, "peer") {
            vxlan::read_peer(problems, &mut draft, section);
        }
        for section in source.take_section_list(problems, "endpoint") {
            vxlan::read_endpoint(problems, &mut draft, section);
        }
    }
    draft.config.dataplane = super::dataplane::read(problems, &mut file);
    draft.config.engine = super::limits::read(problems, &mut file);
    draft.config.dns = super::dns::read(problems, &mut file);
    draft.config.api_socket = read_api(problems, &mut file);
    draft.config.state = read_state(problems, &mut file);
    file.finish(problems);
    live.finish(problems);
    draft
}

/// The whole text as a section; none where the syntax is wrong, for then keys may seem to be
/// where they are not.
fn parse<'i>(problems: &mut Problems<'i>, text: &'i str) -> Option<Section<'i>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    syntax::report(problems, text, &errors).then(|| Section::new("", 0..0, table.into_inner()))
}

/// Networks, ports and routes.
fn read_things<'i>(problems: &mut Problems<'i>, source: &mut Section<'i>, draft: &mut Draft) {
    for (name, section) in source.take_sections(problems, "network") {
        let key = name.get_ref().clone();
        match read_network(problems, name, section, draft) {
            Some(network) => draft.config.networks.push(network),
            None => drop(draft.broken_networks.insert(key)),
        }
    }
    for (name, section) in source.take_sections(problems, "port") {
        draft.config.ports.extend(read_port(problems, name, section));
    }
    for section in source.take_section_list(problems, "route") {
        draft.config.routes.extend(read_route(problems, section));
    }
}

/// The uplink as far as it could be read, and whether something was wrong with it.
fn read_uplink<'i>(
    problems: &mut Problems<'i>,
    mut section: Section<'i>,
) -> (Option<Uplink>, bool) {
    let kind = read_uplink_kind(problems, &mut section);
    if kind.as_deref() == Some("shared") {
        return read_shared(problems, section);
    }
    let netns = section.take(problems, "netns", TEXT);
    let create_netns = read_create_netns(problems, &mut section, netns.is_some());
    let kind = match kind.as_deref() {
        Some("device") => {
            let device = section.take::<String>(problems, "device", TEXT);
            let device = section.require(problems, "device", device, "\"eth1\"");
            let receive_buffer = read_buffer(problems, &mut section);
            device.map(|device| UplinkKind::Device { device, receive_buffer })
        }
        _ => {
            let name = if netns.is_some() { "eth0" } else { "tapway0" };
            let interface = section.take(problems, "interface", TEXT);
            let interface =
                interface.unwrap_or_else(|| Spanned::new(section.span(), name.to_owned()));
            let (backend, offload) = read_backend(problems, &mut section);
            kind.is_some().then_some(UplinkKind::Tap { interface, backend, offload })
        }
    };
    let example = "\"192.168.33.10/24\"";
    let address = section.take::<Ipv4Net>(problems, "address", ADDRESS_AND_PREFIX);
    let address = section.require(problems, "address", address, example);
    let gateway = section.take(problems, "gateway", ADDRESS);
    let nat_addresses = section.take_list(problems, "nat_addresses", ADDRESS);
    let static_nat = section.take_section_list(problems, "static_nat").into_iter();
    let static_nat: Vec<StaticNat> =
        static_nat.filter_map(|entry| read_static_nat(problems, entry)).collect();
    let mac = section.take(problems, "mac", MAC);
    let mtu = read_mtu(problems, &mut section).unwrap_or(DEFAULT_MTU);
    let is_broken = !section.finish(problems);
    let uplink = kind.zip(address).map(|(kind, address)| Uplink {
        kind,
        create_netns,
        netns,
        address: Some(address),
        gateway,
        nat_addresses,
        static_nat,
        mac,
        mtu,
    });
    (uplink, is_broken)
}

/// The same of an uplink that shares the host's address: the device says most of it.
fn read_shared<'i>(
    problems: &mut Problems<'i>,
    mut section: Section<'i>,
) -> (Option<Uplink>, bool) {
    let device = section.take::<String>(problems, "device", TEXT);
    let device = section.require(problems, "device", device, "\"eth0\"");
    let gateway = section.take(problems, "gateway", ADDRESS);
    let ports = section.take::<String>(problems, "nat_ports", TEXT);
    let ports = ports.and_then(|text| match text.get_ref().parse::<PortSpan>() {
        Ok(ports) => Some(Spanned::new(text.span(), ports)),
        Err(error) => {
            let what = format!("\"{}\": {error}", text.get_ref());
            let remedy = "write it like \"61000-65535\"";
            problems.error(text.span(), section.key("nat_ports"), what, remedy);
            None
        }
    });
    let receive_buffer = read_buffer(problems, &mut section);
    for key in ["address", "mac", "mtu"] {
        section.refuse(problems, key, "it is the device's own with `kind = \"shared\"`");
    }
    for key in ["nat_addresses", "static_nat", "netns", "create_netns"] {
        section.refuse(problems, key, "there is none with `kind = \"shared\"`");
    }
    let is_broken = !section.finish(problems);
    let uplink = device.map(|device| Uplink {
        kind: UplinkKind::Shared { device, ports, receive_buffer },
        netns: None,
        create_netns: false,
        address: None,
        gateway,
        nat_addresses: Vec::new(),
        static_nat: Vec::new(),
        mac: None,
        mtu: DEFAULT_MTU,
    });
    (uplink, is_broken)
}

pub(super) fn read_buffer<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> usize {
    let buffer = section.take_number(problems, "receive_buffer", 4096..=1 << 30);
    buffer.map_or(DEFAULT_RECEIVE_BUFFER, Spanned::into_inner) as usize
}

fn read_uplink_kind<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> Option<String> {
    let Some(kind) = section.take::<String>(problems, "kind", TEXT) else {
        return Some("tap".to_owned());
    };
    read_choice(problems, section, "kind", kind, &["tap", "device", "shared"])
}

pub(super) fn read_choice<'i>(
    problems: &mut Problems<'i>,
    section: &Section<'i>,
    key: &str,
    value: Spanned<String>,
    choices: &[&str],
) -> Option<String> {
    if choices.contains(&value.get_ref().as_str()) {
        return Some(value.into_inner());
    }
    let what = format!("\"{}\" is unknown", value.get_ref());
    problems.error(value.span(), section.key(key), what, format!("use {}", choices.join(" or ")));
    None
}

fn read_static_nat<'i>(problems: &mut Problems<'i>, mut entry: Section<'i>) -> Option<StaticNat> {
    let external = entry.take(problems, "external", ADDRESS);
    let external = entry.require(problems, "external", external, "\"192.168.33.20\"");
    let inside = entry.take(problems, "inside", ADDRESS);
    let inside = entry.require(problems, "inside", inside, "\"172.17.0.4\"");
    entry.finish(problems);
    Some(StaticNat { external: external?, inside: inside? })
}

fn read_network<'i>(
    problems: &mut Problems<'i>,
    name: Spanned<String>,
    mut section: Section<'i>,
    draft: &Draft,
) -> Option<Network> {
    let subnet = section.take::<Choice<Ipv4Net>>(problems, "subnet", SUBNET);
    let (subnet, wish) = match subnet.map(|subnet| (subnet.span(), subnet.into_inner())) {
        None => (None, None),
        Some((span, Choice::Auto)) => (None, Some(span)),
        Some((span, Choice::Is(subnet))) => (Some(Spanned::new(span, subnet)), None),
    };
    let gateway = section.take::<Ipv4Addr>(problems, "gateway", ADDRESS);
    let mac = section.take::<MacAddr>(problems, "gateway_mac", MAC);
    let mtu = read_mtu(problems, &mut section);
    let is_stretched = section.has("vxlan");
    let default_mtu = if is_stretched { vxlan::default_mtu(draft) } else { DEFAULT_MTU };
    let icc = section.take(problems, "icc", BOOL).is_none_or(Spanned::into_inner);
    let internal = section.take(problems, "internal", BOOL).is_some_and(Spanned::into_inner);
    let range = section.take(problems, "range", RANGE);
    let exclude = section.take_list(problems, "exclude", RANGE);
    let host = super::host::read(problems, &mut section, &name);
    let mut nat = read_nat(problems, &mut section);
    let exempt = section.take_list::<Ipv4Net>(problems, "nat_exempt", SUBNET);
    nat.exempt = exempt.iter().map(|net| net.get_ref().trunc()).collect();
    let timeouts = section.take_section(problems, "timeouts").map(|mut section| {
        let lifetimes = super::limits::read_lifetimes(problems, &mut section);
        section.finish(problems);
        lifetimes
    });
    let storm = section.take_number(problems, "storm_limit", 0..=u64::from(u32::MAX));
    let reserved = section.take(problems, "forward_reserved", BOOL);
    let dhcp = super::dhcp::read(problems, &mut section);
    let dns = section.take::<bool>(problems, "dns", BOOL).map(Spanned::into_inner);
    let vxlan = vxlan::read_network(problems, &mut section, &draft.config.vtep);
    if subnet.is_none() && !section.has_failed(&["subnet"]) {
        let spans = [
            ("gateway", gateway.as_ref().map(Spanned::span)),
            ("gateway_mac", mac.as_ref().map(Spanned::span)),
        ];
        for (key, span) in spans {
            let Some(span) = span else { continue };
            let what = match wish {
                Some(_) => "a subnet of tapway's choice has a gateway of its choice",
                None => "there is no `subnet` it could be in",
            };
            problems.error(span, section.key(key), what, "add the subnet, or remove it");
        }
    }
    let is_broken = section.has_failed(&["subnet", "gateway"]) || is_stretched && vxlan.is_none();
    section.finish(problems);
    if is_broken {
        return None;
    }
    let router = subnet.map(|subnet| NetworkRouter {
        gateway: gateway.unwrap_or_else(|| first_host(&subnet)),
        subnet,
        mac,
    });
    Some(Network {
        // As with Docker, the default network knows links only.
        dns: dns.unwrap_or(name.get_ref() != DEFAULT_NETWORK),
        name,
        router,
        wish,
        range,
        exclude,
        mtu: mtu.unwrap_or(default_mtu),
        internal,
        host,
        icc,
        nat,
        timeouts,
        storm_limit: storm.map_or(DEFAULT_STORM_LIMIT, Spanned::into_inner) as u32,
        forward_reserved: reserved.is_some_and(Spanned::into_inner),
        dhcp,
        vxlan,
    })
}

/// The gateway unless configured: the subnet's first host, as Docker does.
pub(super) fn first_host(subnet: &Spanned<Ipv4Net>) -> Spanned<Ipv4Addr> {
    let address = subnet.get_ref().hosts().next().unwrap_or_else(|| subnet.get_ref().addr());
    Spanned::new(subnet.span(), address)
}

/// `nat = "eim-apdf"` for all protocols, or a table by protocol.
fn read_nat<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> NatPolicy {
    if !section.is_table("nat") {
        let mode = section.take::<NatMode>(problems, "nat", MODE);
        return NatPolicy::uniform(mode.map(Spanned::into_inner).unwrap_or_default());
    }
    let mut policy = NatPolicy::default();
    if let Some(mut table) = section.take_section(problems, "nat") {
        let targets = [
            ("tcp", &mut policy.tcp),
            ("udp", &mut policy.udp),
            ("icmp", &mut policy.icmp),
            ("other", &mut policy.other),
        ];
        for (key, mode) in targets {
            if let Some(value) = table.take(problems, key, MODE) {
                *mode = value.into_inner();
            }
        }
        table.finish(problems);
    }
    policy
}

fn read_port<'i>(
    problems: &mut Problems<'i>,
    name: Spanned<String>,
    mut section: Section<'i>,
) -> Option<Port> {
    let network = section.take(problems, "network", TEXT);
    let network = network.unwrap_or_else(|| Spanned::new(name.span(), DEFAULT_NETWORK.to_owned()));
    let kind = read_port_kind(problems, &mut section, &name);
    let (address, wish) = read_address(problems, &mut section);
    let mac = section.take(problems, "mac", MAC);
    let mtu = read_mtu(problems, &mut section);
    let guard = section.take::<bool>(problems, "guard", BOOL);
    let has_address = address.is_some()
        || wish.is_some()
        || mac.is_some()
        || section.has_failed(&["address", "mac"]);
    if let Some(guard) = guard.as_ref().filter(|guard| *guard.get_ref() && !has_address) {
        let what = "a port with neither `address` nor `mac` cannot be guarded";
        problems.error(guard.span(), section.key("guard"), what, "add the address, or remove it");
    }
    let publish = read_publish(problems, &mut section);
    let expose = read_expose(problems, &mut section);
    let links = read_links(problems, &mut section);
    let static_macs = section.take_list(problems, "static_macs", MAC);
    let limits = super::rates::read(problems, &mut section);
    let aliases = read_aliases(problems, &mut section);
    let is_broken = section.has_failed(&["network", "address", "mac", "netns", "interface"]);
    section.finish(problems);
    if is_broken {
        return None;
    }
    let guard = guard.map_or(address.is_some() || wish.is_some(), Spanned::into_inner);
    let host = name.get_ref().clone();
    Some(Port {
        kind: kind?,
        name,
        host,
        network,
        address,
        wish,
        mac,
        mtu,
        guard,
        publish,
        expose,
        links,
        static_macs,
        limits,
        aliases,
    })
}

pub(super) fn read_aliases<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
) -> Vec<Spanned<String>> {
    let aliases = section.take_list::<String>(problems, "aliases", TEXT);
    for alias in &aliases {
        if let Err(remedy) = check_host_name(alias.get_ref()) {
            let what = format!("\"{}\" is no name for a host", alias.get_ref());
            problems.error(alias.span(), section.key("aliases"), what, remedy);
        }
    }
    aliases
}

fn read_port_kind<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    name: &Spanned<String>,
) -> Option<PortKind> {
    let kind = match section.take::<String>(problems, "kind", TEXT) {
        Some(kind) => read_choice(problems, section, "kind", kind, &["tap", "replay", "record"])?,
        None => "tap".to_owned(),
    };
    if kind != "tap" {
        let file = section.take::<PathBuf>(problems, "file", TEXT);
        let file = section.require(problems, "file", file, "\"frames.pcapng\"")?;
        if file.get_ref().as_os_str().is_empty() {
            let what = "`file` is empty";
            problems.error(file.span(), section.key("file"), what, "name a capture file");
        }
        let file = file.into_inner();
        let is_replay = kind == "replay";
        return Some(if is_replay { PortKind::Replay(file) } else { PortKind::Record(file) });
    }
    let netns = section.take::<String>(problems, "netns", TEXT);
    let create_netns = read_create_netns(problems, section, netns.is_some());
    let process = read_process(problems, section);
    let interface = section.take::<String>(problems, "interface", TEXT);
    let is_inside = netns.is_some() || process.is_some();
    let default = if is_inside { "eth0" } else { name.get_ref() };
    let (backend, offload) = read_backend(problems, section);
    Some(PortKind::Tap {
        interface: interface.unwrap_or_else(|| Spanned::new(name.span(), default.to_owned())),
        netns,
        create_netns,
        process,
        backend,
        offload,
    })
}

/// The process in whose namespace the TAP is: only who holds that process can say so.
fn read_process<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> Option<u32> {
    if !problems.is_live(&section.span()) {
        return None;
    }
    section
        .take_number(problems, "process", 1..=u64::from(u32::MAX))
        .map(|pid| *pid.get_ref() as u32)
}

fn read_publish<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
) -> Vec<Spanned<PublishSyntax>> {
    let mut publish = Vec::new();
    for text in section.take_list::<String>(problems, "publish", "a text such as \"8080:80/tcp\"") {
        publish.extend(read_syntax(problems, &section.key("publish"), text));
    }
    publish
}

pub(super) fn read_syntax(
    problems: &mut Problems<'_>,
    key: &str,
    text: Spanned<String>,
) -> Option<Spanned<PublishSyntax>> {
    match text.get_ref().parse() {
        Ok(syntax) => Some(Spanned::new(text.span(), syntax)),
        Err(error) => {
            let what = format!("\"{}\": {error}", text.get_ref());
            let remedy =
                "examples: \"80:80\", \"192.168.33.10:53:53/udp\", \"8000-8009:8000-8009\"";
            problems.error(text.span(), key, what, remedy);
            None
        }
    }
}

fn read_route<'i>(problems: &mut Problems<'i>, mut section: Section<'i>) -> Option<StaticRoute> {
    let to = section.take(problems, "to", SUBNET);
    let to = section.require(problems, "to", to, "\"10.0.0.0/8\"");
    let via = section.take(problems, "via", ADDRESS);
    let via = section.require(problems, "via", via, "\"172.17.0.9\"");
    section.finish(problems);
    Some(StaticRoute { to: to?, via: via? })
}

fn read_api<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> PathBuf {
    let default = PathBuf::from(DEFAULT_SOCKET);
    let Some(mut section) = file.take_section(problems, "api") else { return default };
    let socket = section.take::<PathBuf>(problems, "socket", TEXT);
    section.finish(problems);
    if let Some(socket) = socket.as_ref().filter(|path| path.get_ref().as_os_str().is_empty()) {
        let remedy = format!("name a path such as {DEFAULT_SOCKET}");
        problems.error(socket.span(), "api.socket", "the path is empty", remedy);
    }
    if let Some(socket) =
        socket.as_ref().filter(|path| path.get_ref().as_os_str().len() > MAX_SOCKET)
    {
        let what = format!("longer than the {MAX_SOCKET} bytes that a socket's path may have");
        problems.error(socket.span(), "api.socket", what, "use a shorter path");
    }
    socket.map_or(default, Spanned::into_inner)
}

fn read_state<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> StateSetting {
    let Some(mut section) = file.take_section(problems, "state") else {
        return StateSetting::Usual;
    };
    let directory = section.take::<PathBuf>(problems, "directory", TEXT);
    section.finish(problems);
    match directory {
        None => StateSetting::Usual,
        Some(none) if none.get_ref().as_os_str() == "none" => StateSetting::None,
        Some(directory) => {
            if !directory.get_ref().is_absolute() {
                let what = format!("{} is not an absolute path", directory.get_ref().display());
                let remedy = "name a directory such as \"/var/lib/tapway\", or \"none\"";
                problems.error(directory.span(), "state.directory", what, remedy);
            }
            StateSetting::Directory(directory.into_inner())
        }
    }
}

/// Whether a namespace that is missing is made: yes, unless the file says otherwise.
fn read_create_netns<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    has_netns: bool,
) -> bool {
    let create = section.take(problems, "create_netns", BOOL);
    if let Some(create) = create.as_ref().filter(|_| !has_netns && !section.has_failed(&["netns"]))
    {
        let what = "there is no `netns` that it could be about";
        problems.warning(
            create.span(),
            section.key("create_netns"),
            what,
            "add it, or remove this",
        );
    }
    create.is_none_or(Spanned::into_inner)
}

/// How a TAP is opened, and whether with offloads: yes, where the backend can.
fn read_backend<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> (TapBackend, bool) {
    let name = section.take::<String>(problems, "backend", BACKEND);
    let name =
        name.and_then(|name| read_choice(problems, section, "backend", name, &["own", "tun-tap"]));
    let offload = section.take::<bool>(problems, "offload", BOOL);
    if name.as_deref() != Some("tun-tap") {
        return (TapBackend::Own, offload.is_none_or(Spanned::into_inner));
    }
    if let Some(offload) = offload.filter(|offload| *offload.get_ref()) {
        let what = "the tun-tap backend has no offloads";
        let remedy = "use `backend = \"own\"`, or `offload = false`";
        problems.error(offload.span(), section.key("offload"), what, remedy);
    }
    (TapBackend::TunTap, false)
}

fn read_mtu<'i>(problems: &mut Problems<'i>, section: &mut Section<'i>) -> Option<u16> {
    section.take_number(problems, "mtu", MTU).map(|mtu| mtu.into_inner() as u16)
}
