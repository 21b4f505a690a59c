//! The kernel: its bridge for L2, and its `vxlan` device between two of them; routing with
//! nftables' masquerade and DNAT for the others. Veth pairs as `ip` makes them, their offloads
//! untouched. Rules live in a namespace that goes.

use std::process::Command;

use super::{LINUX, Peer, version_of};
use crate::error::{Context, Result};
use crate::figure::Scenario;
use crate::machine::Machine;
use crate::netns::{self, Netns};
use crate::process::run_with;
use crate::testbed::{EXTERNAL, GATEWAY, Host, INSIDE, OUTSIDE, PORTS, Route, Testbed, hosts_of};
use crate::underlay::{self, HOST_MTU, PORT, UNDERLAY, VNI, Vtep};

/// Linux.
pub struct Linux;

impl Peer for Linux {
    fn name(&self) -> &str {
        LINUX
    }

    fn about(&self) -> String {
        "the kernel's bridge; a routing namespace with nft masquerade and DNAT, without a bridge; \
         a `vxlan` device without outer checksums on a bridge"
            .to_owned()
    }

    fn version(&self) -> std::result::Result<String, String> {
        let nftables = version_of("nft", &["--version"], "nftables")?;
        Ok(format!("Linux {}, {nftables}", Machine::read().kernel))
    }

    fn refuses(&self, _: Scenario) -> Option<&'static str> {
        None
    }

    fn start(&self, scenario: Scenario) -> Result<Testbed> {
        match scenario {
            Scenario::L2 | Scenario::Fairness => start_bridge(hosts_of(scenario)),
            Scenario::Nat | Scenario::Published => {
                let mut testbed = start_router(scenario)?;
                translate(&mut testbed)?;
                Ok(testbed)
            }
            Scenario::Vxlan => start_vxlan(),
        }
    }
}

fn start_bridge(hosts: u8) -> Result<Testbed> {
    let hosts = Host::create_many(hosts)?;
    let switch = Netns::create("sw")?;
    switch.ip("link add br0 type bridge")?;
    switch.ip("link set br0 up")?;
    for (at, host) in hosts.iter().enumerate() {
        let port = format!("p{at}");
        attach(host, &switch, &port)?;
        switch.ip(&format!("link set {port} master br0"))?;
        switch.ip(&format!("link set {port} up"))?;
    }
    let mut testbed = Testbed::between(hosts, Testbed::folder()?);
    testbed.own.push(switch);
    Ok(testbed)
}

/// On each machine a bridge between the host's veth and a `vxlan` device to the other one.
fn start_vxlan() -> Result<Testbed> {
    let testbed = underlay::create()?;
    for Vtep { netns, host, local, remote, .. } in underlay::vteps(&testbed) {
        netns.ip("link add br0 type bridge")?;
        netns.ip("link set br0 up")?;
        netns.ip(&format!(
            "link add vx0 type vxlan id {VNI} local {local} remote {remote} dstport {PORT} \
             dev {UNDERLAY} noudpcsum"
        ))?;
        attach(host, netns, "p0")?;
        host.netns.ip(&format!("link set eth0 mtu {HOST_MTU}"))?;
        for port in ["p0", "vx0"] {
            netns.ip(&format!("link set {port} mtu {HOST_MTU} master br0"))?;
            netns.ip(&format!("link set {port} up"))?;
        }
    }
    Ok(testbed)
}

/// Joins a host's `eth0`, with its address, to a port of a switch.
pub fn attach(host: &Host, switch: &Netns, port: &str) -> Result<()> {
    netns::connect((switch, port), (&host.netns, "eth0"))?;
    host.netns.set_address("eth0", host.address)
}

/// A host inside and one outside, and a namespace between them, in `own`, that has `in0` and
/// `out0` with the gateway's and the external address.
pub fn start_router(scenario: Scenario) -> Result<Testbed> {
    let (inside, outside) = (Host::create("in", INSIDE)?, Host::create("out", OUTSIDE)?);
    let router = Netns::create("sw")?;
    attach(&inside, &router, "in0")?;
    router.set_address("in0", GATEWAY)?;
    inside.netns.ip(&format!("route add default via {GATEWAY}"))?;
    attach(&outside, &router, "out0")?;
    router.set_address("out0", EXTERNAL)?;
    let mut testbed = Testbed::between(vec![inside.clone(), outside.clone()], Testbed::folder()?);
    testbed.route = Route::translated(scenario, &inside, &outside);
    testbed.own.push(router);
    Ok(testbed)
}

/// A host outside, and a namespace in `own` with `out0` from which a process reaches it, for the
/// sake of a host inside that has no other way out.
pub fn start_exit(scenario: Scenario, inside: &Host) -> Result<Testbed> {
    let outside = Host::create("out", OUTSIDE)?;
    let router = Netns::create("sw")?;
    attach(&outside, &router, "out0")?;
    router.set_address("out0", EXTERNAL)?;
    router.ip(&format!("route add default via {OUTSIDE}"))?;
    let mut testbed = Testbed::between(vec![inside.clone(), outside.clone()], Testbed::folder()?);
    testbed.route = Route::translated(scenario, inside, &outside);
    testbed.own.push(router);
    Ok(testbed)
}

/// Rules as Docker's, without what Docker needs for its own filters.
fn translate(testbed: &mut Testbed) -> Result<()> {
    let (first, last) = (PORTS.start(), PORTS.end());
    let rules = format!(
        "table ip nat {{
            chain prerouting {{
                type nat hook prerouting priority dstnat;
                iifname out0 tcp dport {first}-{last} dnat to {INSIDE}
                iifname out0 udp dport {first}-{last} dnat to {INSIDE}
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                oifname out0 masquerade
            }}
        }}
        "
    );
    let file = testbed.path().join("rules.nft");
    std::fs::write(&file, rules).context(file.display().to_string())?;
    for router in &testbed.own {
        router.set_sysctl("net/ipv4/ip_forward", "1")?;
        let name = router.name();
        run_with(Command::new("ip").args(["netns", "exec", name, "nft", "-f"]).arg(&file))?;
    }
    Ok(())
}
