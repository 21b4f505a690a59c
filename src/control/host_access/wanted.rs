//! Which ports of this host are to be bound for a model, and where what comes in is carried to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::control::model::{Model, UPLINK};
use crate::control::rejection::Rejection;
use crate::nat::Publish;
use crate::packet::PROTOCOL_TCP;

/// Ports that may be bound: each takes a file descriptor.
pub(super) const MAX_PORTS: usize = 4096;

/// A port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Port {
    /// By TCP, or by UDP.
    pub is_tcp: bool,
    /// Where; the unspecified address stands for all of the host's.
    pub at: SocketAddrV4,
}

/// The bound ports, each with where it leads; none: it is reserved only.
pub(super) type Wanted = BTreeMap<Port, Option<SocketAddrV4>>;

/// The ports that a model wants.
///
/// # Errors
/// If they are too many, or one is published on an address that leads nowhere.
pub(super) fn wanted(model: &Model) -> Result<Wanted, Rejection> {
    let mut wanted = Wanted::new();
    for publish in &model.publishes {
        let Some(address) = address_of(model, publish)? else { continue };
        let is_served = model.has_host(publish.network);
        for port in publish.port..=publish.last() {
            let at = Port {
                is_tcp: publish.protocol == PROTOCOL_TCP,
                at: SocketAddrV4::new(address, port),
            };
            let target = publish.target_of(port);
            let target = SocketAddrV4::new(target.ip, target.port);
            wanted.insert(at, is_served.then_some(target));
        }
        if wanted.len() > MAX_PORTS {
            return Err(Rejection::conflict(
                format!("more than {MAX_PORTS} published ports to be bound on this host"),
                "publish fewer, or on an address that is tapway's alone",
            ));
        }
    }
    Ok(wanted)
}

/// The address of this host to bind a published port on; none: it is not about this host.
fn address_of(model: &Model, publish: &Publish) -> Result<Option<Ipv4Addr>, Rejection> {
    let has_host = model.has_host(publish.network);
    let is_shared = model.shared_plan().is_some();
    let Some(address) = publish.address else {
        return Ok((has_host || is_shared).then_some(Ipv4Addr::UNSPECIFIED));
    };
    if is_shared && model.uplink_address() == Some(address) {
        return Ok(Some(address));
    }
    let owns = |(_, spec): &(_, crate::engine::NetworkSpec)| {
        spec.gateway.as_ref().is_some_and(|own| {
            let statics = own.statics.iter().map(|(_, _, external)| external);
            own.address.addr() == address || own.pool.iter().chain(statics).any(|ip| *ip == address)
        })
    };
    if model.networks.iter().any(owns) {
        return Ok(None);
    }
    if has_host {
        return Ok(Some(address));
    }
    let network = model.network(publish.network).map_or("", |spec| spec.name.as_str());
    let uplink = model.network(UPLINK).map_or("", |spec| spec.name.as_str());
    Err(Rejection::wrong(
        format!("port {} is published on {address}, which is none of tapway's", publish.port),
        format!(
            "leave the address out, use that of the {uplink}, or set `host = true` on network \
             {network} for an address of this host"
        ),
    ))
}

impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.at, if self.is_tcp { "tcp" } else { "udp" })
    }
}
