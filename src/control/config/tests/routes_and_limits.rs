//! Routes, limits and timeouts, after [`super::BASE`].

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
    (
        r#"
[[route]]
to = "10.0.0.1/8"
via = "9.9.9.9"
[[route]]
to = "10.0.0.0/8"
via = "172.17.0.1"
[[route]]
to = "0.0.0.0/0"
via = "172.17.0.9"
[[route]]
to = "172.17.0.0/16"
via = "172.17.0.0"
[[route]]
via = 3
x = 2
"#,
        r#"
f:9:6: route.to: 10.0.0.1/8 has bits set behind its prefix; write 10.0.0.0/8
f:10:7: route.via: 9.9.9.9 is on no network of tapway; use a router in the subnet of a network or of the uplink
f:12:6: route.to: 10.0.0.0/8 is routed already (line 9); keep one of them
f:13:7: route.via: 172.17.0.1 is tapway's own address; name another router
f:15:6: route.to: 0.0.0.0/0 is the default route by uplink.gateway 192.168.33.1; keep one of them
f:18:6: route.to: 172.17.0.0/16 is the subnet of bridge; keep one of them
f:19:7: route.via: 172.17.0.0 is the network address of the subnet 172.17.0.0/16; use a host address such as 172.17.0.2
f:20:1: route: `to` is missing; add to = "10.0.0.0/8"
f:21:7: route.via: 3 is not an IPv4 address such as 172.17.0.1; correct it
f:22:1: route.x: unknown key; known here: to, via
"#,
    ),
    (
        r#"
[limits]
sessions = 0
fdb = 1
buckets = 3
sessions_per_host = "many"
[timeouts]
udp_s = 0
icmp_s = 5
tcp_s = 3
[api]
socket = 3
port = 80
"#,
        r#"
f:9:12: limits.sessions: 0 is out of range; use 1 to 16777216
f:10:7: limits.fdb: 1 is out of range; use 16 to 1048576
f:11:1: limits.buckets: unknown key; known here: sessions, sessions_per_host, ports_per_host, flows, fdb, fdb_per_network, fdb_per_port, neighbours, unresolved_per_port, icmp_per_host, icmp_total
f:12:21: limits.sessions_per_host: "many" is not a whole number; correct it
f:14:9: timeouts.udp_s: 0 is out of range; use 1 to 604800
f:16:1: timeouts.tcp_s: unknown key; known here: udp_s, tcp_opening_s, tcp_established_s, tcp_closing_s, icmp_s, other_s, fdb_ageing_s, port_quarantine_s
f:18:10: api.socket: 3 is not a text in quotes; correct it
f:19:1: api.port: unknown key; known here: socket
"#,
    ),
    (
        r#"
[limits]
sessions = 100
sessions_per_host = 101
"#,
        r#"
f:10:21: limits.sessions_per_host: 101 is out of range; use 1 to 100
"#,
    ),
];
