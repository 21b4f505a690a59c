//! Whether a host may come, and what is made of it: a port for each of its networks, as if it had
//! been made live by hand.
//!
//! The check of the whole state would say no to all that is refused here, but would name whoever
//! comes later by name, not who came later in time.

use std::collections::HashSet;

use toml::{Table, Value};

use super::{HostNetwork, HostRequest, LinkSyntax};
use crate::control::config::{Config, DEFAULT_NETWORK, Port, publishes};
use crate::control::live::Draft;
use crate::control::publish_syntax::{PortRange, PublishSyntax};
use crate::control::rejection::Rejection;
use crate::io::ProcessNetns;

/// Networks that one host may join.
const MAX_NETWORKS: usize = 64;
/// Entries of each list of a request.
const MAX_ENTRIES: usize = 64;

/// Enters a host.
///
/// # Errors
/// What is in its way, or not there.
pub(super) fn admit(
    draft: &mut Draft<'_>,
    (name, request): (&str, &HostRequest),
    (pid, netns): (u32, ProcessNetns),
    links: &[LinkSyntax],
) -> Result<(), Rejection> {
    let default = [HostNetwork { network: DEFAULT_NETWORK.to_owned(), ..HostNetwork::default() }];
    let networks = match request.networks.as_slice() {
        [] => &default[..],
        networks => networks,
    };
    check_links(draft.config, name, networks, links)?;
    check_addresses(draft, networks)?;
    check_publish(draft, &request.publish)?;
    draft.processes.insert(pid, netns);
    for (at, network) in networks.iter().enumerate() {
        let mut settings = place(network);
        if at > 0 {
            settings.insert("port".to_owned(), Value::from(name));
            draft.made.connect.push(settings);
            continue;
        }
        settings.insert("process".to_owned(), Value::from(i64::from(pid)));
        for (key, list) in
            [("publish", &request.publish), ("expose", &request.expose), ("links", &request.links)]
        {
            if !list.is_empty() {
                settings.insert(key.to_owned(), Value::from(list.clone()));
            }
        }
        draft.add_port(name, settings)?;
    }
    Ok(())
}

/// Refuses a request that is too large, before anything is made of it.
///
/// # Errors
/// What there is too much of.
pub(super) fn check_bounds(request: &HostRequest) -> Result<(), Rejection> {
    let lists = [&request.publish, &request.expose, &request.links].map(|list| list.len());
    let aliases = request.networks.iter().map(|network| network.aliases.len());
    let longest = lists.into_iter().chain(aliases).max().unwrap_or_default();
    if longest > MAX_ENTRIES || request.networks.len() > MAX_NETWORKS {
        let what = format!(
            "more than {MAX_NETWORKS} networks, or {MAX_ENTRIES} published or exposed ports, links \
             or aliases"
        );
        return Err(Rejection::wrong(what, "leave some out"));
    }
    let mut seen = HashSet::new();
    match request.networks.iter().find(|network| !seen.insert(&network.network)) {
        Some(twice) => {
            let what = format!("network {} is named twice", twice.network);
            Err(Rejection::wrong(what, "name each network once"))
        }
        None => Ok(()),
    }
}

/// A network as the settings of a port or connection have it.
fn place(network: &HostNetwork) -> Table {
    let mut settings = Table::new();
    settings.insert("network".to_owned(), Value::from(network.network.as_str()));
    let address = network.address.map_or("auto".to_owned(), |address| address.to_string());
    settings.insert("address".to_owned(), Value::from(address));
    if let Some(mac) = network.mac {
        settings.insert("mac".to_owned(), Value::from(mac.to_string()));
    }
    if !network.aliases.is_empty() {
        settings.insert("aliases".to_owned(), Value::from(network.aliases.clone()));
    }
    settings
}

/// A link needs a host that runs, on a network of both.
fn check_links(
    config: &Config,
    name: &str,
    networks: &[HostNetwork],
    links: &[LinkSyntax],
) -> Result<(), Rejection> {
    for LinkSyntax { target, .. } in links {
        let theirs: Vec<&str> =
            config.ports_of(target).map(|port| port.network.get_ref().as_str()).collect();
        let Some(first) = theirs.first().filter(|_| target != name) else {
            let what = format!("there is no host {target} to link to");
            return Err(Rejection::not_found(what, "start it first, or name another one"));
        };
        if !networks.iter().any(|own| theirs.contains(&own.network.as_str())) {
            let own: Vec<&str> = networks.iter().map(|own| own.network.as_str()).collect();
            let (theirs, own) = (theirs.join(", "), own.join(", "));
            let what = format!("host {target} is on network {theirs}, not on {own}");
            let remedy = format!("join a network of both: --network {first}");
            return Err(Rejection::conflict(what, remedy));
        }
    }
    Ok(())
}

/// An address that somebody has.
fn check_addresses(draft: &Draft<'_>, networks: &[HostNetwork]) -> Result<(), Rejection> {
    for HostNetwork { network, address, .. } in networks {
        let Some(address) = address else { continue };
        let is_it = |port: &&Port| {
            port.network.get_ref() == network
                && port.address.as_ref().is_some_and(|at| at.get_ref() == address)
                && draft.stays(port)
        };
        if let Some(holder) = draft.config.ports.iter().find(is_it) {
            let what = format!("{address} in network {network} is that of host {}", holder.host);
            let remedy = "choose another address, or none for a free one";
            return Err(Rejection::conflict(what, remedy));
        }
    }
    Ok(())
}

/// External ports that somebody publishes.
fn check_publish(draft: &Draft<'_>, publish: &[String]) -> Result<(), Rejection> {
    // What cannot be read is refused where it is entered.
    let wanted: Vec<PublishSyntax> = publish.iter().filter_map(|text| text.parse().ok()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let (placed, _) = publishes::place(draft.config);
    for other in &placed {
        let Some(holder) = draft.config.ports.get(other.port).filter(|port| draft.stays(port))
        else {
            continue;
        };
        let is_in_the_way = |wanted: &&PublishSyntax| {
            let is_fixed = |range: &PortRange| range.count() == wanted.container.count();
            let meets = |range: PortRange| {
                range.first <= other.external.last && other.external.first <= range.last
            };
            wanted.protocol == other.protocol
                && (wanted.address.is_none()
                    || other.address.is_none()
                    || wanted.address == other.address)
                && wanted.host.filter(is_fixed).is_some_and(meets)
        };
        if let Some(wanted) = wanted.iter().find(is_in_the_way) {
            let what =
                format!("{wanted} meets {}, published by host {}", other.external, holder.host);
            return Err(Rejection::conflict(what, "choose another external port"));
        }
    }
    Ok(())
}
