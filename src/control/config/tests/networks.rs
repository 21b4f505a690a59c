//! Networks: names, subnets, gateways, modes.

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
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
[uplink]
address = "192.168.33.10/24"
gateway = "192.168.33.1"
[network.bridge]
subnet = "10.1.0.0/24"
host = "10.1.0.1"
[network.flat]
host = true
[network.front]
subnet = "10.2.0.0/24"
host = 7
[network.back]
subnet = "10.3.0.0/24"
host = true
host_interface = "a/b"
[port.last]
network = "back"
address = "10.3.0.254"
"#,
        r#"
f:1:1: uplink.interface: tapway0 is that of this host in network bridge; give one of them another name
f:6:8: network.bridge.host: 10.1.0.1 is that of the gateway; give this host another one: `host = "172.17.0.254"`
f:7:10: network.flat.host: there is no `subnet` in which this host could have an address; add the subnet, or remove `host`
f:11:8: network.front.host: 7 is not true, false or an IPv4 address such as "172.17.0.254"; correct it
f:15:18: network.back.host_interface: "a/b" cannot be an interface's name; leave out spaces and the characters / : %
f:18:11: port.last.address: 10.3.0.254 is that of this host (`host`); give each host an address of its own
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
f:10:1: network.a.speed: unknown key; known here: subnet, gateway, gateway_mac, mtu, icc, internal, range, exclude, host, host_interface, nat, nat_exempt, timeouts, storm_limit, forward_reserved, dhcp, dns, vxlan
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
    (
        r#"
[network.a]
dhcp = true
[network.b]
subnet = "10.0.0.0/24"
dhcp = { range = "10.0.0.9-10.0.0.1", lease_s = 5, lifetime = 9 }
[network.c]
subnet = "10.1.0.0/24"
dhcp = { range = "10.1.0.9-10.1.1.9", exclude = ["10.2.0.0/24"] }
[network.d]
subnet = "10.2.0.0/24"
dhcp = "yes"
[port.p]
network = "d"
mac = "02:00:00:00:00:01"
guard = true
"#,
        r#"
f:2:8: network.a.dhcp: a network without `subnet` has no addresses to lease; add the subnet, or remove it
f:5:18: network.b.dhcp.range: "10.0.0.9-10.0.0.1" is not a range of addresses such as 172.17.0.100-172.17.0.199; correct it
f:5:49: network.b.dhcp.lease_s: 5 is out of range; use 60 to 31536000
f:5:52: network.b.dhcp.lifetime: unknown key; known here: range, exclude, lease_s, domain
f:8:18: network.c.dhcp.range: 10.1.0.9-10.1.1.9 is not in the subnet 10.1.0.0/24; choose a part of the subnet
f:8:50: network.c.dhcp.exclude: 10.2.0.0-10.2.0.255 is not in the subnet 10.1.0.0/24; choose a part of the subnet
f:11:8: network.d.dhcp: "yes" is not true or false; correct it
f:14:7: port.p.guard: a port without `address` cannot be guarded on a network without `dhcp`; add the address, or remove it
"#,
    ),
];
