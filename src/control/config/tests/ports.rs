//! Ports, after [`super::BASE`]: names, addresses, MACs, devices, published ports.

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
    (
        r#"
[port."-x"]
[port.uplink]
"#,
        r#"
f:8:7: port.-x: not a name for a port; use letters, digits, - _ . and start with a letter or digit
f:9:7: port.uplink: this name is the uplink's own; choose another name
"#,
    ),
    (
        r#"
[port.a]
network = "lan"
"#,
        r#"
f:9:11: port.a.network: there is no network lan; add [network.lan], or use bridge
"#,
    ),
    (
        r#"
[port.a]
address = "172.18.0.2"
[port.b]
address = "172.17.0.1"
[port.c]
address = "172.17.0.0"
[port.d]
address = "172.17.255.255"
"#,
        r#"
f:9:11: port.a.address: 172.18.0.2 is outside the subnet 172.17.0.0/16; use a host address such as 172.17.0.2
f:11:11: port.b.address: 172.17.0.1 is that of the gateway; give each host an address of its own
f:13:11: port.c.address: 172.17.0.0 is the network address of the subnet 172.17.0.0/16; use a host address such as 172.17.0.2
f:15:11: port.d.address: 172.17.255.255 is the broadcast address of the subnet 172.17.0.0/16; use a host address such as 172.17.0.2
"#,
    ),
    (
        r#"
[port.a]
address = "172.17.0.2"
[port.b]
address = "172.17.0.2"
"#,
        r#"
f:11:11: port.b.address: 172.17.0.2 is that of port a; give each host an address of its own
"#,
    ),
    (
        r#"
[port.a]
mac = "02:00:00:00:00:01"
[port.b]
mac = "02:00:00:00:00:01"
[port.c]
mac = "02:42:ac:11:00:01"
[port.d]
mac = "01:00:00:00:00:00"
static_macs = ["02:00:00:00:00:01"]
"#,
        r#"
f:11:7: port.b.mac: 02:00:00:00:00:01 is that of port a; give each station of a network its own MAC
f:13:7: port.c.mac: 02:42:ac:11:00:01 is that of the gateway; give each station of a network its own MAC
f:15:7: port.d.mac: 01:00:00:00:00:00 is a group or zero address; use one whose first byte is even, such as 02:...
f:16:16: port.d.static_macs: 02:00:00:00:00:01 is that of port b; give each station of a network its own MAC
"#,
    ),
    (
        r#"
[port.a]
interface = "x"
[port.b]
interface = "x"
[port.c]
netns = "n"
[port.d]
netns = "n"
[port.e]
interface = "tapway0"
"#,
        r#"
f:11:13: port.b.interface: interface x in this host is that of port a; set another `interface` or `netns`
f:14:7: port.d.interface: interface eth0 in namespace n is that of port c; set another `interface` or `netns`
f:17:13: port.e.interface: interface tapway0 in this host is that of the uplink; set another `interface` or `netns`
"#,
    ),
    (
        r#"
[port.sixteen-letters-]
[port.a]
interface = "a b"
[port.b]
netns = ".."
"#,
        r#"
f:8:7: port.sixteen-letters-.interface: "sixteen-letters-" cannot be an interface's name; set `interface`: use 1 to 15 bytes
f:10:13: port.a.interface: "a b" cannot be an interface's name; set `interface`: leave out spaces and the characters / : %
f:12:9: port.b.netns: ".." cannot be a namespace's name; give its name under /run/netns, not a path
"#,
    ),
    (
        r#"
[port.a]
guard = true
mtu = 10
backend = "vhost"
kind = "tun"
[port.b]
guard = true
"#,
        r#"
f:9:9: port.a.guard: a port with neither `address` nor `mac` cannot be guarded; add the address, or remove it
f:10:7: port.a.mtu: 10 is out of range; use 68 to 9000
f:11:1: port.a.backend: unknown key; known here: network, kind, address, mac, mtu, guard, publish, expose, links, static_macs, limit_rx, limit_tx, limit_burst, aliases
f:12:8: port.a.kind: "tun" is unknown; use tap or replay or record
f:14:9: port.b.guard: a port with neither `address` nor `mac` cannot be guarded; add the address, or remove it
"#,
    ),
    (
        r#"
[port.a]
backend = "tun-tap"
offload = true
[port.b]
offload = 1
[port.c]
backend = "tun-tap"
offload = false
"#,
        r#"
f:10:11: port.a.offload: the tun-tap backend has no offloads; use `backend = "own"`, or `offload = false`
f:12:11: port.b.offload: 1 is not true or false; correct it
"#,
    ),
    (
        r#"
[port.a]
kind = "replay"
[port.b]
kind = "record"
file = "x"
netns = "n"
"#,
        r#"
f:8:1: port.a: `file` is missing; add file = "frames.pcapng"
f:13:1: port.b.netns: unknown key; known here: network, kind, file, address, mac, mtu, guard, publish, expose, links, static_macs, limit_rx, limit_tx, limit_burst, aliases
"#,
    ),
    (
        r#"
[port.a]
publish = ["80:80"]
[port.b]
network = "uplink"
address = "192.168.33.50"
publish = ["81:81"]
"#,
        r#"
f:9:12: port.a.publish: a port without `address` cannot publish; add `address` to the port, so that it is known where to deliver
f:13:12: port.b.publish: a host on the uplink is outside already; remove `publish`, or use another network
"#,
    ),
    (
        r#"
[port.a]
address = "172.17.0.2"
publish = ["80:80", "80:81/udp", "80:82", "8000-8010:9000-9010"]
[port.b]
address = "172.17.0.3"
publish = ["192.168.33.10:80:80", "8010:1", "1.2.3.4:90:90", "80:80:80", 80, "80-80:80"]
"#,
        r#"
f:10:34: port.a.publish: 80 is published already by port a (80, line 10); choose other external ports
f:13:12: port.b.publish: 80 is published already by port a (80, line 10); choose other external ports
f:13:35: port.b.publish: 8010 is published already by port a (8000-8010, line 10); choose other external ports
f:13:45: port.b.publish: 1.2.3.4 is not an address of tapway; leave it out for all addresses, or use 192.168.33.10, 172.17.0.1
f:13:62: port.b.publish: "80:80:80": "80" is not an IPv4 address; examples: "80:80", "192.168.33.10:53:53/udp", "8000-8009:8000-8009"
f:13:74: port.b.publish: 80 is not a text such as "8080:80/tcp"; correct it
f:13:78: port.b.publish: 80 is published already by port a (80, line 10); choose other external ports
"#,
    ),
    (
        r#"
[port.a]
address = "172.17.0.2"
publish = ["1.2.3.4:80:80", "80:80", "1.2.3.4:80:81"]
"#,
        r#"
f:10:12: port.a.publish: 1.2.3.4 is not an address of tapway; leave it out for all addresses, or use 192.168.33.10, 172.17.0.1
f:10:38: port.a.publish: 1.2.3.4 is not an address of tapway; leave it out for all addresses, or use 192.168.33.10, 172.17.0.1
"#,
    ),
    (
        r#"
[port.a]
kind = "record"
file = ""
[port.b]
network = ""
[api]
socket = ""
"#,
        r#"
f:10:8: port.a.file: `file` is empty; name a capture file
f:12:11: port.b.network: the name is empty; name one, or leave `network` out
f:14:10: api.socket: the path is empty; name a path such as /run/tapway.sock
"#,
    ),
    (
        r#"
[port.a]
address = "172.17.0.2"
publish = ["80-81:80", "80:80", "80-81:82", "80-81:83"]
"#,
        r#"
f:10:33: port.a.publish: no free port is left in 80-81; choose other external ports
f:10:45: port.a.publish: no free port is left in 80-81; choose other external ports
"#,
    ),
    (
        r#"
[port.a]
limit_rx = "100"
limit_tx = 5
limit_burst = "63k"
[port.b]
limit_rx = "33gbit"
limit_tx = "7999bit"
limit_burst = "4000m"
[port.c]
limit_burst = "64k"
[port.d]
limit_tx = "1mbps"
limit_burst = "64k"
[port.e]
limit_tx = "1 mbit"
limit_burst = 65536
"#,
        r#"
f:9:12: port.a.limit_rx: "100" is not a rate such as "100mbit"; use 8kbit to 32gbit: a number and bit, kbit, mbit or gbit
f:10:12: port.a.limit_tx: 5 is not a rate such as "100mbit"; correct it
f:11:15: port.a.limit_burst: "63k" is not a size such as "256k"; use 64k to 3800m, in bytes, with k or m for 1024 of them or 1024 k
f:13:12: port.b.limit_rx: "33gbit" is not a rate such as "100mbit"; use 8kbit to 32gbit: a number and bit, kbit, mbit or gbit
f:14:12: port.b.limit_tx: "7999bit" is not a rate such as "100mbit"; use 8kbit to 32gbit: a number and bit, kbit, mbit or gbit
f:15:15: port.b.limit_burst: "4000m" is not a size such as "256k"; use 64k to 3800m, in bytes, with k or m for 1024 of them or 1024 k
f:17:15: port.c.limit_burst: there is no limit that it could be about; add `limit_rx` or `limit_tx`, or remove it
f:19:12: port.d.limit_tx: "1mbps" is not a rate such as "100mbit"; use 8kbit to 32gbit: a number and bit, kbit, mbit or gbit
f:23:15: port.e.limit_burst: 65536 is not a size such as "256k"; correct it
"#,
    ),
];
