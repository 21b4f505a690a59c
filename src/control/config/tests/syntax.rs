//! TOML that is none, tables and keys at the wrong place, values of the wrong kind.

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
    (
        r#"
[uplink
address = "1.2.3.4/24"
"#,
        r#"
f:1:8: unclosed table, expected `]`; correct the TOML syntax, then the other values are checked
"#,
    ),
    (
        r#"
a = 1
a = 2
"#,
        r#"
f:1:1: a: unknown key; known here: uplink, vxlan, network, port, route, connect, publish, peer, endpoint, dataplane, limits, timeouts, dns, api, state
f:2:1: a: this key is there already; keep one of them
"#,
    ),
    (
        r#"
[network.a]
subnet = "10.0.0.0/8"
[network.a]
mtu = 1500
"#,
        r#"
f:3:10: network.a: this table is there already (line 1); rename it, or join the two
"#,
    ),
    (
        r#"
[network.a]
subnet = 10.0.0.0/8
[network.b]
subnet = "10.1.0.0/33"
icc = yes
[port.p]
network = a
address = "10.0.0.2
mtu = 3
"#,
        r#"
f:2:10: 10.0.0.0/8 is not a value; put texts and addresses in quotes, or write a number, true or false
f:4:10: network.b.subnet: "10.1.0.0/33" is not an IPv4 subnet such as 172.17.0.0/16; correct it
f:5:7: yes is not a value; put texts and addresses in quotes, or write a number, true or false
f:7:11: a is not a value; put texts and addresses in quotes, or write a number, true or false
f:8:20: invalid basic string, expected `"`; correct the TOML syntax
f:9:7: port.p.mtu: 3 is out of range; use 68 to 9000
"#,
    ),
    (
        r#"
[port.web]
address = "172.17.0.2"
colour = 1
 [ port.web ] # again
address = "172.17.0.3"
mtu = 1
[network.b]
mtu = 10
mtu = 11
[[port]]
x = 1
"#,
        r#"
f:3:1: port.web.colour: unknown key; known here: network, kind, netns, create_netns, interface, backend, offload, address, mac, mtu, guard, publish, expose, links, static_macs, limit_rx, limit_tx, limit_burst, aliases
f:4:9: port.web: this table is there already (line 1); rename it, or join the two
f:4:9: port.web.network: there is no network bridge; add [network.bridge], or use b
f:6:7: port.web.mtu: 1 is out of range; use 68 to 9000
f:8:7: network.b.mtu: 10 is out of range; use 68 to 9000
f:9:1: network.b.mtu: this key is there already; keep one of them
f:10:3: port: this name is used already; rename it, or join the two
"#,
    ),
    (
        r#"
colour = 1
[uplnk]
"#,
        r#"
f:1:1: colour: unknown key; known here: uplink, vxlan, network, port, route, connect, publish, peer, endpoint, dataplane, limits, timeouts, dns, api, state
f:2:2: uplnk: unknown key; known here: uplink, vxlan, network, port, route, connect, publish, peer, endpoint, dataplane, limits, timeouts, dns, api, state
"#,
    ),
    (
        r#"
uplink = 3
network = 4
route = 5
port = [1]
[port.a]
x=1
"#,
        r#"
f:5:2: cannot extend value of type array with a dotted key; correct the TOML syntax, then the other values are checked
"#,
    ),
    (
        r#"
uplink = 3
network = 4
route = 5
port = [1]
"#,
        r#"
f:1:10: uplink: 3 is not a table; write [uplink] and its keys below
f:2:11: network: 4 is not a table; write [network] and its keys below
f:3:9: route: not a list of tables; write [[route]]
f:4:8: port: [1] is not a table; write [port] and its keys below
"#,
    ),
    (
        r#"
[port]
a = 1
[network]
b = "x"
"#,
        r#"
f:2:5: port.a: 1 is not a table; write [port.NAME] and its keys below
f:4:5: network.b: "x" is not a table; write [network.NAME] and its keys below
"#,
    ),
];
