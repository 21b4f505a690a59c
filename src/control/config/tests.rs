//! Every error a configuration can have, word for word.

use super::*;
use crate::control::model::Model;

/// A good uplink and network, before each text of [`BASED`]: seven lines, so that each starts at
/// line 8.
const BASE: &str = "\
[uplink]
address = \"192.168.33.10/24\"
gateway = \"192.168.33.1\"
[network.bridge]
subnet = \"172.17.0.0/16\"
gateway = \"172.17.0.1\"

";

/// Whole files, and what tapway says to them.
const WHOLE: &[(&str, &str)] = &[
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
f:1:1: a: unknown key; known here: uplink, network, port, route, dataplane, limits, timeouts, api
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
f:3:1: port.web.colour: unknown key; known here: network, kind, netns, create_netns, interface, backend, offload, address, mac, mtu, guard, publish, static_macs
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
f:1:1: colour: unknown key; known here: uplink, network, port, route, dataplane, limits, timeouts, api
f:2:2: uplnk: unknown key; known here: uplink, network, port, route, dataplane, limits, timeouts, api
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
    (
        r#"
[uplink]
kind = "wifi"
"#,
        r#"
f:1:1: uplink: `address` is missing; add address = "192.168.33.10/24"
f:2:8: uplink.kind: "wifi" is unknown; use tap or device
"#,
    ),
    (
        r#"
[uplink]
"#,
        r#"
f:1:1: uplink: `address` is missing; add address = "192.168.33.10/24"
"#,
    ),
    (
        r#"
[uplink]
kind = "device"
address = "192.168.33.10/24"
gateway = "192.168.33.1"
"#,
        r#"
f:1:1: uplink: `device` is missing; add device = "eth1"
"#,
    ),
    (
        r#"
[uplink]
kind = "device"
device = "a/b"
address = "192.168.33.10/24"
gateway = "192.168.33.1"
receive_buffer = 1
interface = "x"
"#,
        r#"
f:3:10: uplink.device: "a/b" cannot be an interface's name; set `device`: leave out spaces and the characters / : %
f:6:18: uplink.receive_buffer: 1 is out of range; use 4096 to 1073741824
f:7:1: uplink.interface: unknown key; known here: kind, netns, create_netns, device, receive_buffer, address, gateway, nat_addresses, static_nat, mac, mtu
"#,
    ),
    (
        r#"
[uplink]
address = "192.168.33.0/24"
gateway = "10.0.0.1"
mac = "01:00:00:00:00:00"
mtu = 20
"#,
        r#"
f:2:11: uplink.address: 192.168.33.0 is the network address of the subnet 192.168.33.0/24; use a host address such as 192.168.33.2
f:3:11: uplink.gateway: 10.0.0.1 is outside the subnet 192.168.33.0/24; use a host address such as 192.168.33.2
f:4:7: uplink.mac: 01:00:00:00:00:00 is a group or zero address; use one whose first byte is even, such as 02:...
f:5:7: uplink.mtu: 20 is out of range; use 68 to 9000
"#,
    ),
    (
        r#"
[uplink]
address = "192.168.33.10/24"
gateway = "192.168.33.10"
netns = "/run/netns/x"
"#,
        r#"
f:3:11: uplink.gateway: 192.168.33.10 is tapway's own address; name the router beyond the uplink
f:4:9: uplink.netns: "/run/netns/x" cannot be a namespace's name; give its name under /run/netns, not a path
"#,
    ),
    (
        r#"
[uplink]
address = "192.168.33.10/32"
"#,
        r#"
f:2:11: uplink.address: /32 leaves no room for a gateway; use a prefix from /1 to /31
"#,
    ),
    (
        r#"
[uplink]
address = "127.0.0.2/8"
gateway = "127.0.0.1"
"#,
        r#"
f:2:11: uplink.address: 127.0.0.2/8 reaches into addresses that no host may have; use a private range such as 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16
"#,
    ),
    (
        r#"
[uplink]
address = "192.168.33.10/24"
gateway = "192.168.33.1"
nat_addresses = ["10.0.0.1", "192.168.33.1", "192.168.33.11", "192.168.33.11", 7]
"#,
        r#"
f:4:18: uplink.nat_addresses: 10.0.0.1 is outside the subnet 192.168.33.0/24; use a host address such as 192.168.33.2
f:4:30: uplink.nat_addresses: 192.168.33.1 is the gateway; use an address that nobody else has
f:4:63: uplink.nat_addresses: 192.168.33.11 is listed before; use an address that nobody else has
f:4:80: uplink.nat_addresses: 7 is not an IPv4 address such as 172.17.0.1; correct it
"#,
    ),
    (
        r#"
[uplink]
address = "192.168.33.10/24"
gateway = "192.168.33.1"
nat_addresses = ["10.0.0.1", "192.168.33.1", "192.168.33.11", "192.168.33.11"]
static_nat = [{ external = "192.168.33.10", inside = "10.1.0.2" }, { external = "192.168.34.1", inside = "10.1.0.2" }, { external = "192.168.33.40" }, {external = "192.168.33.41", inside="10.1.0.0" }]
[network.a]
subnet="10.1.0.0/24"
"#,
        r#"
f:4:18: uplink.nat_addresses: 10.0.0.1 is outside the subnet 192.168.33.0/24; use a host address such as 192.168.33.2
f:4:30: uplink.nat_addresses: 192.168.33.1 is the gateway; use an address that nobody else has
f:4:63: uplink.nat_addresses: 192.168.33.11 is listed before; use an address that nobody else has
f:5:28: uplink.static_nat.external: 192.168.33.10 is tapway's own address; use an address that nobody else has
f:5:81: uplink.static_nat.external: 192.168.34.1 is outside the subnet 192.168.33.0/24; use a host address such as 192.168.33.2
f:5:106: uplink.static_nat.inside: 10.1.0.2 has a static translation already; give each host one external address
f:5:120: uplink.static_nat: `inside` is missing; add inside = "172.17.0.4"
f:5:188: uplink.static_nat.inside: 10.1.0.0 is the network address of the subnet 10.1.0.0/24; use a host address such as 10.1.0.2
"#,
    ),
    (
        r#"
[uplink]
address = "192.168.33.10/24"
gateway = "192.168.33.1"
static_nat = [{ external = "192.168.33.20", inside = "10.1.0.2" }]
"#,
        r#"
f:4:54: uplink.static_nat.inside: 10.1.0.2 is on no network; use the address of a host on a network
"#,
    ),
    (
        r#"
[network.uplink]
subnet = "10.0.0.0/8"
[network."a b"]
subnet="11.0.0.0/31"
[network.c]
gateway = "10.2.3.4"
gateway_mac = "02:00:00:00:00:01"
"#,
        r#"
f:1:10: network.uplink: this name is the uplink's own; choose another name
f:3:10: network.a b: not a name for a network; use letters, digits, - _ . and start with a letter or digit
f:4:8: network.a b.subnet: /31 leaves no room for hosts; use a prefix from /1 to /30
f:6:11: network.c.gateway: there is no `subnet` it could be in; add the subnet, or remove it
f:7:15: network.c.gateway_mac: there is no `subnet` it could be in; add the subnet, or remove it
"#,
    ),
    (
        r#"
[network.a]
subnet = "10.0.0.1/8"
gateway = "11.0.0.1"
gateway_mac = "ff:ff:ff:ff:ff:ff"
[network.b]
subnet = "10.1.0.0/16"
gateway = "10.1.0.0"
[network.c]
subnet="0.0.0.0/1"
[network.d]
subnet="224.0.0.0/8"
"#,
        r#"
f:2:10: network.a.subnet: 10.0.0.1/8 has bits set behind its prefix; write 10.0.0.0/8
f:3:11: network.a.gateway: 11.0.0.1 is outside the subnet 10.0.0.0/8; use a host address such as 10.0.0.2
f:4:15: network.a.gateway_mac: ff:ff:ff:ff:ff:ff is a group or zero address; use one whose first byte is even, such as 02:...
f:6:10: network.b.subnet: 10.1.0.0/16 overlaps 10.0.0.0/8 of a (line 2); give each network a subnet of its own
f:7:11: network.b.gateway: 10.1.0.0 is the network address of the subnet 10.1.0.0/16; use a host address such as 10.1.0.2
f:9:8: network.c.subnet: 0.0.0.0/1 reaches into addresses that no host may have; use a private range such as 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16
f:9:8: network.c.subnet: 0.0.0.0/1 overlaps 10.0.0.0/8 of a (line 2); give each network a subnet of its own
f:11:8: network.d.subnet: 224.0.0.0/8 reaches into addresses that no host may have; use a private range such as 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16
"#,
    ),
    (
        r#"
[network.a]
subnet = "10.0.0.0/33"
gateway = "x"
mtu = 70000
icc = 1
nat = "full"
nat_exempt = "10.0.0.0/8"
storm_limit = -1
forward_reserved = "no"
speed = 1
[port.p]
network = "a"
address = "1.1.1.1"
"#,
        r#"
f:2:10: network.a.subnet: "10.0.0.0/33" is not an IPv4 subnet such as 172.17.0.0/16; correct it
f:3:11: network.a.gateway: "x" is not an IPv4 address such as 172.17.0.1; correct it
f:4:7: network.a.mtu: 70000 is out of range; use 68 to 9000
f:5:7: network.a.icc: 1 is not true or false; correct it
f:6:7: network.a.nat: "full" is not a NAT mode: "none", "eim-eif", "eim-adf", "eim-apdf" or "apdm"; correct it
f:7:14: network.a.nat_exempt: "10.0.0.0/8" is not a list; write [ ... ], each an IPv4 subnet such as 172.17.0.0/16
f:8:15: network.a.storm_limit: -1 is out of range; use 0 to 4294967295
f:9:20: network.a.forward_reserved: "no" is not true or false; correct it
f:10:1: network.a.speed: unknown key; known here: subnet, gateway, gateway_mac, mtu, icc, nat, nat_exempt, storm_limit, forward_reserved
"#,
    ),
    (
        r#"
[network.a]
nat = { tcp = "x", sctp = "none" }
"#,
        r#"
f:2:15: network.a.nat.tcp: "x" is not a NAT mode: "none", "eim-eif", "eim-adf", "eim-apdf" or "apdm"; correct it
f:2:20: network.a.nat.sctp: unknown key; known here: tcp, udp, icmp, other
"#,
    ),
];

/// What follows [`BASE`].
const BASED: &[(&str, &str)] = &[
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
f:9:9: port.a.guard: a port without `address` cannot be guarded; add the address, or remove it
f:10:7: port.a.mtu: 10 is out of range; use 68 to 9000
f:11:1: port.a.backend: unknown key; known here: network, kind, address, mac, mtu, guard, publish, static_macs
f:12:8: port.a.kind: "tun" is unknown; use tap or replay or record
f:14:9: port.b.guard: a port without `address` cannot be guarded; add the address, or remove it
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
f:13:1: port.b.netns: unknown key; known here: network, kind, file, address, mac, mtu, guard, publish, static_macs
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

fn check_golden(base: &str, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        // The texts start and end with a line break, for the eye only.
        let errors = Config::parse("f", &format!("{base}{}", text.trim())).unwrap_err();
        assert_eq!(errors.to_string(), expected.trim(), "{text}");
    }
}

#[test]
fn every_error_of_a_file_is_told_at_once_with_place_and_remedy() {
    check_golden("", WHOLE);
    check_golden(BASE, BASED);
}

#[test]
fn a_file_cannot_steer_the_terminal_its_errors_are_read_on() {
    let text = "[port.\"a\\u001b[31mb\"]\nnetwork = \"x\\u009b\\u202e\"\ngaurd = 1\n\
                publish = [\"\\r\"]\n[uplink]\nkind = \"\\u0007\"\n\"\u{202e}\" = 1";
    let errors = Config::parse("f", text).unwrap_err().to_string();
    assert!(errors.contains("1:7: port.a\\u{1b}[31mb: not a name"), "{errors}");
    assert!(errors.contains("there is no network x\\u{9b}\\u{202e}"), "{errors}");
    assert!(!errors.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{errors}");
}

#[test]
fn many_networks_ports_and_routes_are_checked_in_one_pass_each() {
    use std::fmt::Write as _;
    let mut text = BASE.to_owned();
    for number in 0..5000 {
        let (high, low) = (number / 256, number % 256);
        writeln!(text, "[network.n{number}]\nsubnet = \"10.{high}.{low}.0/24\"").unwrap();
        writeln!(text, "[port.p{number}]\nnetwork = \"n{number}\"").unwrap();
        writeln!(text, "address = \"10.{high}.{low}.2\"\npublish = [\"80\"]").unwrap();
    }
    for number in 0..20_000 {
        let (high, low) = (number / 256, number % 256);
        writeln!(text, "[[route]]\nto = \"20.{high}.{low}.0/24\"\nvia = \"10.1.1.9\"").unwrap();
    }
    text.push_str("[network.z]\nsubnet = \"10.0.0.0/8\"\n[[route]]\nto = \"20.0.1.0/24\"\n");
    let errors = Config::parse("f", &text).unwrap_err().to_string();
    let whats: Vec<&str> = errors.lines().filter_map(|line| line.splitn(4, ':').nth(3)).collect();
    assert_eq!(
        whats,
        [
            " network.z.subnet: 10.0.0.0/8 overlaps 10.0.0.0/24 of n0 (line 9); give each network \
             a subnet of its own",
            " route: `via` is missing; add via = \"172.17.0.9\"",
        ]
    );
}

#[test]
fn odd_but_legal_things_are_warned_of() {
    let text = format!("{BASE}[timeouts]\nicmp_s = 5\n[port.a]\nmtu = 1400");
    let warnings = Config::parse("f", &text).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "f:9:10: warning: timeouts.icmp_s: 5 s is shorter than the standards allow; use at \
             least 60, unless peers are known to keep it up",
            "f:10:7: warning: port.a: mtu 1400 is not the 1500 of network bridge; hosts of one \
             network should agree: larger frames are dropped between them",
        ]
    );
    let text = "[network.bridge]\n[port.a]\ncreate_netns = false";
    assert_eq!(
        Config::parse("f", text).unwrap().warnings,
        ["f:3:16: warning: port.a.create_netns: there is no `netns` that it could be about; add \
          it, or remove this"]
    );
    let text = "[uplink]\naddress = \"192.168.33.10/24\"";
    let warnings = Config::parse("f", text).unwrap().warnings;
    assert_eq!(
        warnings,
        ["f:2:11: warning: uplink: without `gateway` only 192.168.33.0/24 is reachable outside; \
          add the router's address"]
    );
}

#[test]
fn the_files_in_tools_are_clean_and_an_engine_takes_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/configs");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let loaded = Config::load(Some(&path)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.warnings, Vec::<String>::new());
        engine_takes(&Model::new(&loaded.config));
        files += 1;
    }
    assert!(files >= 3);
    assert_eq!(Config::load(None).unwrap().name, DEFAULT_NAME);
}

fn engine_takes(model: &Model) {
    let now = crate::time::Instant::from_secs(1);
    let config = EngineConfig { flows: 1024, ..EngineConfig::with_sessions(64) };
    let mut engine = crate::engine::Engine::new(config, 1, now);
    for command in model.commands() {
        let text = format!("{command:?}");
        assert_eq!(engine.apply(now, command).err(), None, "{text}");
    }
}
