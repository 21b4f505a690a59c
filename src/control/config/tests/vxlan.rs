//! Networks over several hosts.

use crate::control::config::{Config, Peer, PeerSource};

/// See [`super::check_golden`].
pub(super) const CASES: &[(&str, &str)] = &[
    (
        r#"
[vxlan]
underlay = "pigeon"
address = "239.1.1.1"
port = 0
netns = "a/b"
device = "eth 1"
peers = ["192.0.2.2", "192.0.2.2", "2001:db8::2", "0.0.0.0"]
[network.a]
vxlan = 0
[network.b]
vxlan = 7
[network.c.vxlan]
vni = 7
peers = ["192.0.2.2", "192.0.2.9", "192.0.2.9", "blue"]
accept = "some"
vlan_tags = 1
[network.d.vxlan]
vni = 9
group = "192.0.2.7"
ttl = 3
[network.e]
vxlan = "42"
[port.vxlan]
network = "c"
"#,
        r#"
f:2:12: vxlan.underlay: "pigeon" is unknown; use socket or uplink
f:3:11: vxlan.address: 239.1.1.1 is no address of one host; use an address of this host, or leave it out
f:4:8: vxlan.port: 0 is out of range; use 1 to 65535
f:5:9: vxlan.netns: "a/b" cannot be a namespace's name; give its name under /run/netns, not a path
f:6:10: vxlan.device: "eth 1" cannot be an interface's name; leave out spaces and the characters / : %
f:7:23: vxlan.peers: 192.0.2.2 is named twice; keep one of them
f:7:36: vxlan.peers: 2001:db8::2: tunnels are not yet over IPv6; use an IPv4 address of the endpoint
f:7:51: vxlan.peers: 0.0.0.0 is no address of one host; name each endpoint by its own address
f:9:9: network.a.vxlan: 0 is out of range; use 1 to 16777215
f:13:7: network.c.vxlan: 7 is the number of another network (line 11); give each network a number of its own
f:14:36: network.c.vxlan.peers: 192.0.2.9 is named twice; keep one of them
f:14:49: network.c.vxlan.peers: "blue" is not an IPv4 address such as 172.17.0.1; correct it
f:15:10: network.c.vxlan.accept: "some" is unknown; use peers or any
f:16:13: network.c.vxlan.vlan_tags: 1 is not true or false; correct it
f:19:9: network.d.vxlan.group: 192.0.2.7 is no multicast address; use one of 224.0.0.0/4 such as 239.1.1.1
f:20:1: network.d.vxlan.ttl: unknown key; known here: vni, peers, group, accept, vlan_tags
f:22:9: network.e.vxlan: "42" is not a whole number; correct it
f:23:7: port.vxlan: this name is that of the port to other tunnel endpoints; choose another name
"#,
    ),
    (
        r#"
[uplink]
kind = "shared"
device = "eth0"
[vxlan]
underlay = "uplink"
address = "192.0.2.1"
netns = "a"
[network.a.vxlan]
vni = 1
group = "239.1.1.1"
[network.uplink]
vxlan = 2
"#,
        r#"
f:5:12: vxlan.underlay: the uplink's address is this host's as well; use "socket"
f:6:1: vxlan.address: it is the uplink's with `underlay = "uplink"`; remove it
f:7:1: vxlan.netns: there is none with `underlay = "uplink"`; remove it
f:10:9: network.a.vxlan.group: groups are heard by the kernel's sockets only; name `peers`, or use `underlay = "socket"` in [vxlan]
f:11:10: network.uplink: this name is the uplink's own; choose another name
"#,
    ),
    (
        r#"
[uplink]
address = "192.0.2.1/24"
gateway = "192.0.2.254"
[vxlan]
underlay = "uplink"
peers = ["192.0.2.1", "10.1.0.9"]
[network.a]
subnet = "10.1.0.0/16"
vxlan = 1
"#,
        r#"
f:6:10: vxlan.peers: 192.0.2.1 is tapway's own address; name the other endpoints only
f:6:23: vxlan.peers: 10.1.0.9 is on a network of tapway; use an address beyond the uplink
"#,
    ),
    (
        r#"
[vxlan]
underlay = "uplink"
[network.a]
vxlan = 1
[network."192.0.2.2"]
[port.a]
netns = "a"
network = "a"
[[connect]]
port = "a"
network = "192.0.2.2"
address = "10.0.0.1"
[[peer]]
network = "a"
address = "192.0.2.2"
[[peer]]
network = "a"
address = "192.0.2.2"
[[peer]]
network = "192.0.2.2"
address = "192.0.2.2"
[[peer]]
network = "b"
address = "2001:db8::2"
learned = true
[[peer]]
network = "b"
address = "192.0.2.2"
"#,
        r#"
f:2:12: vxlan.underlay: there is no [uplink]; use "socket"
f:12:11: port.a@192.0.2.2.address: network 192.0.2.2 has no subnet; add `subnet` to [network.192.0.2.2]
f:15:11: network.a.vxlan.peers: a port is called a@192.0.2.2 as the tunnel to this peer; give network 192.0.2.2 another name
f:18:11: network.a.vxlan.peers: 192.0.2.2 is named twice; keep one of them
f:18:11: network.a.vxlan.peers: a port is called a@192.0.2.2 as the tunnel to this peer; give network 192.0.2.2 another name
f:20:11: peer.network: network 192.0.2.2 is on this host only; add `vxlan = 42`, or another number, to [network.192.0.2.2]
f:24:11: peer.address: 2001:db8::2: tunnels are not yet over IPv6; use an IPv4 address of the endpoint
f:25:1: peer.learned: unknown key; known here: network, address
f:27:11: peer.network: there is no network b; add [network.b]
"#,
    ),
    (
        r#"
[network.a]
subnet = "10.1.0.0/24"
host = true
vxlan = 1
[port.web]
network = "a"
address = "10.1.0.2"
static_macs = ["02:00:00:00:00:09"]
[[peer]]
network = "a"
address = "192.0.2.2"
[[endpoint]]
network = "a"
address = "10.1.0.2"
peer = "192.0.2.2"
[[endpoint]]
network = "a"
name = "a b"
address = "10.1.0.3"
mac = "02:00:00:00:00:09"
peer = "192.0.2.3"
[[endpoint]]
network = "a"
address = "10.1.0.3"
mac = "ff:ff:ff:ff:ff:ff"
peer = "192.0.2.2"
[[endpoint]]
network = "a"
address = "10.2.0.4"
peer = "192.0.2.2"
[[endpoint]]
network = "a"
address = "10.1.0.254"
peer = "192.0.2.2"
[[endpoint]]
network = "a"
address = "10.1.0.4"
mac = "02:42:0a:01:00:01"
peer = "192.0.2.2"
[[endpoint]]
network = "a"
"#,
        r#"
f:14:11: endpoint.address: 10.1.0.2 is that of port web; give each host an address of its own
f:18:8: endpoint.name: "a b" is no name for a host; use letters, digits, - _ . and start with a letter or digit
f:20:7: endpoint.mac: 02:00:00:00:00:09 is that of port web; give each station of a network its own MAC
f:21:8: endpoint.peer: 192.0.2.3 is no peer of network a; add it to the network's `peers`
f:24:11: endpoint.address: 10.1.0.3 is that of another endpoint; give each host an address of its own
f:29:11: endpoint.address: 10.2.0.4 is outside the subnet 10.1.0.0/24; use a host address such as 10.1.0.2
f:33:11: endpoint.address: 10.1.0.254 is that of this host (`host`); give each host an address of its own
f:38:7: endpoint.mac: 02:42:0a:01:00:01 is that of the gateway; give each station of a network its own MAC
f:40:1: endpoint: `address` is missing; add address = "10.0.0.7"
f:40:1: endpoint: `peer` is missing; add peer = "192.0.2.2"
"#,
    ),
];

fn read(text: &str) -> Config {
    Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn peers(config: &Config, network: &str) -> Vec<(u8, PeerSource)> {
    let vxlan = config.network(network).unwrap().vxlan.as_ref().unwrap();
    let row = |peer: &Peer| (peer.address.get_ref().octets()[3], peer.source);
    vxlan.peers.iter().map(row).collect()
}

#[test]
fn a_network_has_the_peers_of_all_unless_it_names_its_own_or_a_group() {
    let config = read(
        "[vxlan]\npeers = [\"192.0.2.1\"]\n[network.a]\nvxlan = 1\n\
         [network.b.vxlan]\nvni = 2\npeers = [\"192.0.2.2\"]\n\
         [network.c.vxlan]\nvni = 3\npeers = []\n\
         [network.d]\nvxlan = { vni = 4, group = \"239.1.1.1\" }\n\
         [[peer]]\nnetwork = \"a\"\naddress = \"192.0.2.9\"\n",
    );
    use PeerSource::{Common, Own};
    assert_eq!(peers(&config, "a"), [(1, Common), (9, Own)]);
    assert_eq!(peers(&config, "b"), [(2, Own)]);
    assert_eq!((peers(&config, "c"), peers(&config, "d")), (vec![], vec![]));
    let accepts_any = |name| config.network(name).unwrap().vxlan.as_ref().unwrap().accepts_any;
    assert!(!accepts_any("a") && accepts_any("d"), "a group's members are not listed");
}

#[test]
fn hosts_believe_what_fits_into_the_underlay_unless_told_otherwise() {
    let mtus = |text: &str| -> Vec<u16> {
        read(text).networks.iter().map(|network| network.mtu).collect()
    };
    let networks = "[network.a]\nvxlan = 1\n[network.b]\nvxlan = 2\nmtu = 9000\n[network.c]\n";
    let uplink = "[uplink]\naddress = \"192.0.2.10/24\"\ngateway = \"192.0.2.1\"\nmtu = 4000\n";
    assert_eq!(mtus(networks), [1450, 9000, 1500]);
    assert_eq!(mtus(&format!("{uplink}{networks}")), [1450, 9000, 1500]);
    let own = format!("{uplink}[vxlan]\nunderlay = \"uplink\"\n{networks}");
    assert_eq!(mtus(&own), [3950, 9000, 1500]);
}

#[test]
fn hosts_that_choose_from_the_same_subnet_are_warned_of() {
    let warnings = |range: &str, dhcp: &str| {
        let text = format!(
            "[network.a]\nsubnet = \"10.1.0.0/24\"\nvxlan = 1\n{range}dhcp = {dhcp}\n\
             [port.p]\nnetwork = \"a\"\naddress = \"auto\"\n"
        );
        Config::parse("f", &text).unwrap().warnings
    };
    let what = "addresses are chosen from the whole subnet, and so may be by the other hosts";
    let at_network =
        format!("f:1:10: warning: network.a: {what}; give each host a `range` of its own");
    let at_dhcp = format!(
        "f:4:8: warning: network.a.dhcp: {what}; give each host a range of its own: \
         `dhcp = {{ range = ... }}`"
    );
    assert_eq!(warnings("", "true"), [at_network.clone(), at_dhcp]);
    let range = "\"10.1.0.32/28\"";
    assert_eq!(warnings("", &format!("{{ range = {range} }}")), [at_network]);
    let both = ("range = \"10.1.0.16/28\"\n", format!("{{ range = {range} }}"));
    assert!(warnings(both.0, &both.1).is_empty());
}

#[test]
fn a_free_address_is_not_that_of_a_known_host_elsewhere() {
    let config = read(
        "[network.a]\nsubnet = \"10.1.0.0/24\"\nvxlan = 1\n[port.p]\nnetwork = \"a\"\n\
         address = \"auto\"\n[[peer]]\nnetwork = \"a\"\naddress = \"192.0.2.2\"\n\
         [[endpoint]]\nnetwork = \"a\"\naddress = \"10.1.0.2\"\npeer = \"192.0.2.2\"\n",
    );
    let address = config.ports[0].address.as_ref().unwrap();
    assert_eq!(address.get_ref().to_string(), "10.1.0.3");
}
