//! The API's description as OpenAPI 3.1, served at `/v1/openapi.json`.
//!
//! Written out of two tables, [`OPERATIONS`] and [`SCHEMAS`]. Tests hold them against the paths
//! that are served and against answers.

use serde_json::{Map, Value, json};

/// What can be asked.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Parameters of the query: name and type.
    query: &'static [(&'static str, &'static str)],
    /// The type of the body; empty: none.
    body: &'static str,
    /// The type of the answer, or a media type.
    answer: &'static str,
}

/// An [`Operation`], as a line.
const fn operation(
    (method, path): (&'static str, &'static str),
    query: &'static [(&'static str, &'static str)],
    (body, answer): (&'static str, &'static str),
    summary: &'static str,
) -> Operation {
    Operation { method, path, summary, query, body, answer }
}

const OPERATIONS: &[Operation] = &[
    operation(("get", "/v1/openapi.json"), &[], ("", "object"), "This description."),
    operation(("get", "/v1/links"), &[], ("", "[LinkRow]"), "Ports, devices and counters."),
    operation(("get", "/v1/fdb"), &[], ("", "[FdbRow]"), "MAC addresses and their ports."),
    operation(("get", "/v1/neighbours"), &[], ("", "[NeighbourRow]"), "Neighbours."),
    operation(("get", "/v1/routes"), &[], ("", "[RouteRow]"), "Routes."),
    operation(("post", "/v1/routes"), &[], ("Route", "Changed"), "Adds a route."),
    operation(
        ("delete", "/v1/routes"),
        &[("to", "string")],
        ("", "Changed"),
        "Removes a route that was made live.",
    ),
    operation(("get", "/v1/nat"), &[], ("", "NatView"), "Translation rules."),
    operation(
        ("get", "/v1/sessions"),
        &[("limit", "integer?")],
        ("", "[SessionRow]"),
        "Translated connections.",
    ),
    operation(("get", "/v1/names"), &[], ("", "Names"), "Names of hosts."),
    operation(("get", "/v1/drops"), &[], ("", "[DropRow]"), "Frames that were not passed on."),
    operation(("get", "/v1/stats"), &[], ("", "Stats"), "Counters of the whole switch."),
    operation(("get", "/v1/leases"), &[], ("", "[LeaseRow]"), "DHCP leases."),
    operation(
        ("get", "/v1/capture"),
        &[("port", "string?")],
        ("", "application/x-pcapng"),
        "Frames as they pass, until the client hangs up.",
    ),
    operation(("get", "/v1/networks"), &[], ("", "[Network]"), "Networks and their hosts."),
    operation(("post", "/v1/networks"), &[], ("NewNetwork", "Changed"), "Makes a network."),
    operation(("get", "/v1/networks/{name}"), &[], ("", "Network"), "One network."),
    operation(
        ("delete", "/v1/networks/{name}"),
        &[("force", "boolean?")],
        ("", "Changed"),
        "Removes a network that was made live; by force with the hosts in it.",
    ),
    operation(
        ("post", "/v1/networks/{name}/connect"),
        &[],
        ("Connection", "Changed"),
        "Lets a host join a further network.",
    ),
    operation(
        ("post", "/v1/networks/{name}/disconnect"),
        &[],
        ("Disconnection", "Changed"),
        "Lets a host leave a network that it was connected to live.",
    ),
    operation(
        ("put", "/v1/networks/{name}/vxlan"),
        &[],
        ("Remote", "Changed"),
        "Says which peers and endpoints of a network are known, besides those of the file.",
    ),
    operation(
        ("put", "/v1/networks/{name}/peers/{address}"),
        &[],
        ("", "Changed"),
        "Makes another tunnel endpoint a peer of a network.",
    ),
    operation(
        ("delete", "/v1/networks/{name}/peers/{address}"),
        &[],
        ("", "Changed"),
        "Removes a peer that was made live or learned.",
    ),
    operation(
        ("put", "/v1/networks/{name}/endpoints/{address}"),
        &[],
        ("RemoteHost", "Changed"),
        "Says which peer of a network a host is behind.",
    ),
    operation(
        ("delete", "/v1/networks/{name}/endpoints/{address}"),
        &[],
        ("", "Changed"),
        "Forgets a host behind a peer that was made live.",
    ),
    operation(("get", "/v1/vxlan"), &[], ("", "[VxlanRow]"), "Networks over several hosts."),
    operation(("get", "/v1/peers"), &[], ("", "[PeerRow]"), "Their other tunnel endpoints."),
    operation(("get", "/v1/hosts"), &[], ("", "[HostRow]"), "Hosts that run as commands."),
    operation(
        ("post", "/v1/hosts"),
        &[],
        ("NewHost", "HostAttached"),
        "Attaches a process that is in a network namespace of its own.",
    ),
    operation(
        ("delete", "/v1/hosts/{name}"),
        &[],
        ("", "[HostRow]"),
        "Takes a host back that runs as a command; the command goes on without a network.",
    ),
    operation(("post", "/v1/ports"), &[], ("NewPort", "Changed"), "Attaches a host."),
    operation(
        ("delete", "/v1/ports/{name}"),
        &[],
        ("", "Changed"),
        "Removes a host that was made live, with what it publishes.",
    ),
    operation(
        ("post", "/v1/ports/{name}/publish"),
        &[],
        ("Publish", "Changed"),
        "Publishes ports of a host.",
    ),
    operation(
        ("post", "/v1/ports/{name}/unpublish"),
        &[],
        ("Publish", "Changed"),
        "Takes published ports back that were made live.",
    ),
    operation(
        ("post", "/v1/reload"),
        &[],
        ("", "Changed"),
        "Reads the configuration anew: all of it holds, or nothing changes.",
    ),
    operation(
        ("get", "/v1/diff"),
        &[],
        ("", "[Change]"),
        "What runs and is not in the file, and what is in it only.",
    ),
    operation(
        ("get", "/v1/export"),
        &[],
        ("", "application/toml"),
        "What runs, as a configuration.",
    ),
];

/// Types: their fields as `name: type`, where `?` is a value that may be null, or a field that may
/// be left out of a request; `[T]` a list; and `*` at the end says that there may be further ones.
const SCHEMAS: &[(&str, &str)] = &[
    ("Refusal", "error: string, remedy: string"),
    ("Changed", "changes: [Change]"),
    ("Change", "sign: string, kind: string, name: string, detail: string"),
    ("Endpoint", "ip: string, port: integer"),
    (
        "LinkRow",
        "index: integer, port: string, network: string, is_up: boolean, mtu: integer, \
         rx_frames: integer, rx_bytes: integer, rx_segments: integer, tx_frames: integer, \
         tx_bytes: integer, tx_segments: integer, dropped: integer, limit_rx: integer?, \
         limit_tx: integer?, device: LinkInfo?",
    ),
    (
        "LinkInfo",
        "description: string, state: string, mac: string?, address: string?, last_error: string?",
    ),
    (
        "PortStats",
        "port: string, network: string, is_up: boolean, mtu: integer, rx_frames: integer, \
         rx_bytes: integer, rx_segments: integer, tx_frames: integer, tx_bytes: integer, \
         tx_segments: integer, dropped: integer, limit_rx: integer?, limit_tx: integer?",
    ),
    ("FdbRow", "mac: string, port: string?, network: string, is_static: boolean, age_s: integer"),
    ("NeighbourRow", "address: string, network: string, mac: string?, state: string"),
    (
        "RouteRow",
        "destination: string, via: string?, network: string, kind: string, source: string?",
    ),
    ("Route", "to: string, via: string"),
    (
        "NatView",
        "uplink: Uplink?, networks: [NatNetwork], publishes: [Published], statics: [StaticNat]",
    ),
    ("Uplink", "network: string, address: string, pool: [string]"),
    (
        "NatNetwork",
        "network: string, subnet: string, tcp: string, udp: string, icmp: string, other: string, \
         exempt: [string]",
    ),
    (
        "Published",
        "protocol: integer, address: string?, port: integer, count: integer, network: string, \
         target: Endpoint",
    ),
    ("StaticNat", "network: string, inside: string, external: string"),
    (
        "SessionRow",
        "protocol: integer, expires_s: integer, state: string, network: string, src: Endpoint, \
         dst: Endpoint, reply_src: Endpoint, reply_dst: Endpoint, is_answered: boolean",
    ),
    ("Names", "names: [NameRow], resolver: object"),
    ("NameRow", "network: string, name: string, addresses: [string], is_alias: boolean"),
    ("DropRow", "port: string, reason: string, frames: integer, when: string, remedy: string"),
    (
        "LeaseRow",
        "network: string, address: string, mac: string, client: string, host_name: string?, \
         port: string, state: string, remaining_s: integer, is_reserved: boolean",
    ),
    ("Stats", "totals: Totals, workers: [Totals], sessions: SessionUsage, ports: [PortStats]"),
    (
        "Totals",
        "received: integer, forwarded: integer, flooded: integer, local: integer, \
         dropped: integer, waiting: integer, handed_over: integer, taken_over: integer, \
         unknown_port: integer, generated: integer",
    ),
    ("SessionUsage", "used: integer, limit: integer"),
    (
        "Network",
        "name: string, subnet: string?, gateway: string?, mtu: integer, internal: boolean, \
         icc: boolean, live: boolean, hosts: [Host], vxlan: NetworkVxlan?",
    ),
    (
        "NetworkVxlan",
        "vni: integer, group: string?, accepts_any: boolean, peers: [NetworkPeer], \
         endpoints: [NetworkEndpoint]",
    ),
    ("NetworkPeer", "address: string, from: string"),
    ("NetworkEndpoint", "address: string, name: string?, mac: string, peer: string, live: boolean"),
    ("Remote", "peers: [string], endpoints: [RemoteEndpoint]?"),
    ("RemoteEndpoint", "address: string, peer: string, name: string?, mac: string?"),
    ("RemoteHost", "peer: string, name: string?, mac: string?"),
    (
        "VxlanRow",
        "network: string, vni: integer, underlay: string, address: string?, port: integer, \
         mtu: integer, peers: integer, group: string?, accepts_any: boolean, endpoints: integer, \
         rx_frames: integer, rx_bytes: integer, rx_segments: integer, tx_frames: integer, \
         tx_bytes: integer, tx_segments: integer, dropped: integer",
    ),
    (
        "PeerRow",
        "network: string, vni: integer, peer: string, from: string, is_up: boolean, \
         error: string?, mtu: integer, macs: integer, endpoints: integer, rx_frames: integer, \
         rx_bytes: integer, rx_segments: integer, tx_frames: integer, tx_bytes: integer, \
         tx_segments: integer, dropped: integer",
    ),
    ("Host", "name: string, port: string, address: string?, mac: string?"),
    (
        "NewNetwork",
        "name: string, subnet: string?, gateway: string?, mtu: integer?, internal: boolean?, \
         icc: boolean?, range: string?, exclude: [string]?, *",
    ),
    (
        "NewPort",
        "name: string, network: string?, netns: string?, address: string?, mac: string?, \
         interface: string?, mtu: integer?, guard: boolean?, publish: [string]?, *",
    ),
    (
        "HostRow",
        "name: string, pid: integer, since_s: integer, interfaces: [HostInterface], \
         publish: [string], links: [string]",
    ),
    ("HostInterface", "name: string, network: string, address: string?, mac: string?"),
    ("HostAttached", "name: string, interfaces: [HostInterface], environment: [[string]]"),
    (
        "NewHost",
        "name: string?, networks: [HostNetwork]?, publish: [string]?, expose: [string]?, \
         links: [string]?, pid: integer?, files: HostFiles?",
    ),
    ("HostNetwork", "network: string, address: string?, aliases: [string]?, mac: string?"),
    ("HostFiles", "hosts: integer, resolv_conf: integer, hostname: integer"),
    ("Connection", "port: string, address: string?, mac: string?, interface: string?"),
    ("Disconnection", "port: string"),
    ("Publish", "publish: [string]"),
];

/// Types that come in requests only: there, what may be null may be left out.
const REQUESTS: [&str; 11] = [
    "Route",
    "NewNetwork",
    "NewPort",
    "NewHost",
    "HostNetwork",
    "Connection",
    "Disconnection",
    "Publish",
    "Remote",
    "RemoteEndpoint",
    "RemoteHost",
];

/// The whole description.
pub(super) fn openapi() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = describe(operation);
    }
    let schemas: Map<String, Value> =
        SCHEMAS.iter().map(|(name, fields)| ((*name).to_owned(), schema(name, fields))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tapway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A running tapway, on its Unix socket. Names and settings of networks \
                            and ports are those of the configuration file; see `tapway check`.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "summary": operation.summary,
        "responses": {
            "200": { "description": "Done.", "content": content(operation.answer) },
            "default": { "description": "Refused.", "content": content("Refusal") },
        },
    });
    let mut parameters: Vec<Value> = Vec::new();
    for name in ["name", "address"] {
        if !operation.path.contains(&format!("{{{name}}}")) {
            continue;
        }
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }));
    }
    parameters.extend(operation.query.iter().map(|(name, kind)| {
        let required = !kind.ends_with('?');
        let kind = kind.trim_end_matches('?');
        json!({ "name": name, "in": "query", "required": required, "schema": { "type": kind } })
    }));
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if !operation.body.is_empty() {
        described["requestBody"] = json!({ "required": true, "content": content(operation.body) });
    }
    described
}

fn content(kind: &str) -> Value {
    match kind.contains('/') {
        true => json!({ kind: {} }),
        false => json!({ "application/json": { "schema": type_of(kind) } }),
    }
}

fn schema(name: &str, fields: &str) -> Value {
    let is_request = REQUESTS.contains(&name);
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields.split(", ") {
        let Some((field, kind)) = field.split_once(": ") else { continue };
        properties.insert(field.to_owned(), type_of(kind));
        if !(is_request && kind.ends_with('?')) {
            required.push(field);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": fields.ends_with('*'),
    })
}

fn type_of(kind: &str) -> Value {
    if let Some(kind) = kind.strip_suffix('?') {
        return json!({ "anyOf": [type_of(kind), { "type": "null" }] });
    }
    if let Some(item) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
        return json!({ "type": "array", "items": type_of(item) });
    }
    match kind.starts_with(|c: char| c.is_ascii_uppercase()) {
        true => json!({ "$ref": format!("#/components/schemas/{kind}") }),
        false => json!({ "type": kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_that_is_served_is_described_and_every_described_one_is_served() {
        use super::super::{edits, hosts, routes, tunnels};
        let all = routes::endpoints().into_iter().chain(edits::endpoints());
        let all = all.chain(hosts::endpoints()).chain(tunnels::endpoints());
        let mut served: Vec<&str> = all.map(|(path, _)| path).collect();
        served.sort_unstable();
        let description = openapi();
        let described: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
        assert_eq!(served, described);
    }

    #[test]
    fn every_type_that_is_named_is_described_and_every_described_one_is_named() {
        let text = openapi().to_string();
        let mut named: Vec<&str> = text
            .split("#/components/schemas/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        named.sort_unstable();
        named.dedup();
        let mut described: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
        described.sort_unstable();
        assert_eq!(named, described);
        for request in REQUESTS {
            assert!(described.contains(&request), "{request}");
        }
    }
}
