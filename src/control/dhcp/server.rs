//! The DHCP servers of all networks.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bytes::Bytes;

use super::scope::Change;
use super::{Answer, LeaseRow, Scope, ScopeSettings, Silence};
use crate::engine::Command;
use crate::id::NetworkId;
use crate::local::dhcp::{ClientId, DhcpReply, DhcpRequest};
use crate::switch::Guard;
use crate::time::Instant;

/// The servers of the networks that are served.
#[derive(Debug, Default)]
pub struct DhcpServer {
    scopes: HashMap<NetworkId, Scope>,
}

impl DhcpServer {
    /// Serves these networks and no others. What goes on being served keeps its leases. Returns
    /// what engines are to be told of leases that ended.
    pub fn follow(&mut self, networks: Vec<ScopeSettings>) -> Vec<Command> {
        let is_served = |id: &NetworkId| networks.iter().any(|settings| settings.network == *id);
        self.scopes.retain(|id, _| is_served(id));
        for settings in networks {
            let (network, name) = (settings.network, settings.name.clone());
            let done = match self.scopes.get_mut(&network) {
                Some(scope) => scope.reconfigure(settings),
                None => Scope::new(settings).map(|scope| drop(self.scopes.insert(network, scope))),
            };
            if let Err(error) = done {
                // The configuration was checked: here it can only be a fault of ours.
                tracing::error!(network = name, %error, "DHCP is not served as configured");
            }
        }
        self.take_commands()
    }

    /// Answers a request; none if its network is not served any more.
    pub fn answer(&mut self, now: Instant, request: &DhcpRequest) -> Option<Answer> {
        Some(self.scopes.get_mut(&request.network)?.answer(now, request))
    }

    /// True if what the request is offered is to be probed first.
    pub fn wants_probe(&self, request: &DhcpRequest) -> bool {
        let scope = self.scopes.get(&request.network);
        scope.is_some_and(|scope| scope.wants_probe(&request.message))
    }

    /// Somebody uses what a client has been offered.
    pub fn conflict(&mut self, now: Instant, network: NetworkId, client: &ClientId) {
        if let Some(scope) = self.scopes.get_mut(&network) {
            scope.conflict(now, client);
        }
    }

    /// Ends leases that are over.
    pub fn expire(&mut self, now: Instant) {
        for scope in self.scopes.values_mut() {
            scope.expire(now);
        }
    }

    /// What engines are to be told of what changed: guards follow the leases, who has a new one is
    /// announced, and the sessions of a host end with its lease.
    pub fn take_commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for (network, scope) in &mut self.scopes {
            let changes = scope.take_changes();
            for Change { port, mac, address, is_bound } in changes.iter().copied() {
                let guard = scope.settings().port(port).and_then(|port| port.guard);
                if guard.is_some_and(|guard| guard.is_unleased() && guard.mac == mac) {
                    let address = if is_bound { address } else { Ipv4Addr::UNSPECIFIED };
                    let guard = Some(Guard { mac, address });
                    commands.push(Command::SetPortGuard(port, guard));
                }
                let moves_on = || changes.iter().any(|c| c.is_bound && c.address == address);
                if is_bound {
                    commands.push(Command::AnnounceHost(port, Guard { mac, address }));
                } else if !moves_on() {
                    commands.push(Command::EndHost(*network, address));
                }
            }
        }
        commands
    }

    /// The command that sends an answer.
    pub fn send(&self, request: &DhcpRequest, reply: &DhcpReply) -> Option<Command> {
        let parameters = &self.scopes.get(&request.network)?.settings().parameters;
        let frame = reply.frame(&request.message, parameters);
        Some(Command::Send(request.port, Bytes::from(frame)))
    }

    /// What a network is called.
    pub fn network_name(&self, network: NetworkId) -> &str {
        self.scopes.get(&network).map_or("", |scope| &scope.settings().name)
    }

    /// All leases, by network and address.
    pub fn rows(&self, now: Instant) -> Vec<LeaseRow> {
        let mut rows: Vec<LeaseRow> =
            self.scopes.values().flat_map(|scope| LeaseRow::of(scope, now)).collect();
        rows.sort_by(|a, b| (&a.network, a.address).cmp(&(&b.network, b.address)));
        rows
    }

    /// Names of hosts with a lease and their addresses, for each network that is served.
    pub fn names(&self) -> Vec<(NetworkId, String, Ipv4Addr)> {
        let scopes = self.scopes.iter();
        let names = scopes.flat_map(|(id, scope)| scope.names().into_iter().map(move |n| (*id, n)));
        names.map(|(id, (name, address))| (id, name.to_owned(), address)).collect()
    }

    /// Addresses of a network that are leased or offered, so that nobody else is given them.
    pub fn leased(&self, network: NetworkId) -> Vec<Ipv4Addr> {
        let leases = self.scopes.get(&network).map(Scope::leases).unwrap_or_default();
        leases.into_iter().map(|(_, lease)| lease.address).collect()
    }
}

/// Why a request got no answer, unless that is ordinary.
pub(super) const fn worth_telling(silence: Silence) -> bool {
    matches!(silence, Silence::Exhausted | Silence::PortQuota)
}
