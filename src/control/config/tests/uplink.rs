//! The uplink: its device, addresses, gateway, static translations.

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
    (
        r#"
[uplink]
kind = "wifi"
"#,
        r#"
f:1:1: uplink: `address` is missing; add address = "192.168.33.10/24"
f:2:8: uplink.kind: "wifi" is unknown; use tap or device or shared
"#,
    ),
    (
        r#"
[uplink]
kind = "shared"
address = "192.168.33.10/24"
static_nat = [{ external = "192.168.33.20", inside = "172.17.0.5" }]
nat_ports = "80"
netns = "outside"
"#,
        r#"
f:1:1: uplink: `device` is missing; add device = "eth0"
f:3:1: uplink.address: it is the device's own with `kind = "shared"`; remove it
f:4:1: uplink.static_nat: there is none with `kind = "shared"`; remove it
f:5:13: uplink.nat_ports: "80": expected FIRST-LAST, two ports in rising order; write it like "61000-65535"
f:6:1: uplink.netns: there is none with `kind = "shared"`; remove it
"#,
    ),
    (
        r#"
[uplink]
kind = "shared"
device = "eth0"
nat_ports = "1000-2000"
[port.lab]
network = "uplink"
"#,
        r#"
f:4:13: uplink.nat_ports: 1000-2000 are too few, or reach below 1024; use 256 ports or more, such as "61000-65535"
f:6:11: port.lab.network: the uplink is an interface of this host, which no other port can join; use another network
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
];
