//! Whether hosts behind a TAP in tapway's own namespace can reach beyond this host: read, never
//! set.

use std::fs;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{PortPlan, TapPlan, netlink};

/// Where the kernel says whether it forwards.
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What a user would set so that traffic of a TAP uplink leaves this host; none if the plan is
/// no such uplink.
pub(super) fn hint(plan: &PortPlan) -> Option<String> {
    let PortPlan::Tap(TapPlan { netns: None, interface, address: Some(address), .. }) = plan else {
        return None;
    };
    let forwards = fs::read_to_string(IP_FORWARD).ok().map(|text| text.trim() == "1");
    let exit = netlink::default_route_interface().ok().flatten();
    compose(interface, *address, forwards, exit.as_deref())
}

fn compose(
    interface: &str,
    address: Ipv4Net,
    forwards: Option<bool>,
    exit: Option<&str>,
) -> Option<String> {
    let mut steps = Vec::new();
    if forwards == Some(false) {
        steps.push("sysctl -w net.ipv4.ip_forward=1".to_owned());
    }
    match exit {
        None => steps.push("give this host a default route".to_owned()),
        Some(exit) if needs_masquerade(address.addr()) => steps.push(format!(
            "masquerade {} out of {exit}, unless a rule of yours does: \
             iptables -t nat -A POSTROUTING -s {} -o {exit} -j MASQUERADE",
            address.trunc(),
            address.trunc(),
        )),
        Some(_) => {}
    }
    if steps.is_empty() {
        return None;
    }
    Some(format!(
        "traffic from {interface} ends in this host unless it routes it on (tapway sets nothing \
         there): {}",
        steps.join("; ")
    ))
}

/// Addresses that nobody beyond this host has a route back to.
const fn needs_masquerade(address: Ipv4Addr) -> bool {
    address.is_private() || address.is_link_local() || is_shared(address)
}

/// 100.64.0.0/10 (RFC 6598).
const fn is_shared(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [100, second, ..] if second & 0xc0 == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_names_what_is_missing_and_nothing_else() {
        let private = "10.9.0.1/24".parse().unwrap();
        let public = "192.0.2.1/24".parse().unwrap();
        let all = compose("tapway0", private, Some(false), Some("eth0")).unwrap();
        assert!(all.contains("ip_forward=1") && all.contains("-s 10.9.0.0/24 -o eth0"), "{all}");
        let masquerade = compose("tapway0", private, Some(true), Some("eth0")).unwrap();
        assert!(!masquerade.contains("ip_forward"), "{masquerade}");
        assert!(compose("tapway0", public, Some(true), None).unwrap().contains("default route"));
        assert_eq!(compose("tapway0", public, Some(true), Some("eth0")), None);
    }
}
