//! The lease tables, shared by who answers clients, who shows leases and who changes the model.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DhcpServer, LeaseRow, ScopeSettings};
use crate::control::follower::{Follower, Stage};
use crate::control::model::Model;
use crate::control::rejection::Rejection;
use crate::control::resolver::HostResolvers;
use crate::engine::Command;
use crate::io::{Clock, Dataplane};

/// All leases.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<DhcpServer>>);

/// Serves the networks that the model wants to be served.
#[derive(Default)]
pub struct LeasesFollower {
    leases: Leases,
    host: HostResolvers,
}

impl Leases {
    /// The tables, held for a moment.
    pub fn lock(&self) -> MutexGuard<'_, DhcpServer> {
        // What a thread that panicked left is a lease table all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All leases, by network and address.
    pub fn rows(&self) -> Vec<LeaseRow> {
        self.lock().rows(Clock.now())
    }
}

impl LeasesFollower {
    /// Of these tables.
    pub fn new(leases: Leases) -> Self {
        Self { leases, host: HostResolvers::default() }
    }

    fn follow(&self, dataplane: &Dataplane, model: &Model) {
        let networks = model.dhcp.iter().map(|settings| self.with_resolvers(settings));
        let commands = self.leases.lock().follow(networks.collect());
        tell(dataplane, commands);
    }

    /// Hosts of a network without names ask this host's resolvers, if they can reach them.
    fn with_resolvers(&self, settings: &ScopeSettings) -> ScopeSettings {
        let mut settings = settings.clone();
        if settings.parameters.dns.is_empty() {
            let reachable = |ip: &Ipv4Addr| !ip.is_loopback() && !ip.is_unspecified();
            let servers = self.host.servers().iter().filter_map(|server| match server.ip() {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            });
            settings.parameters.dns = servers.filter(reachable).collect();
        }
        settings
    }
}

impl Follower for LeasesFollower {
    fn name(&self) -> &'static str {
        "DHCP"
    }

    fn prepare(&mut self, _: &mut Stage<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    fn commit(&mut self, stage: &mut Stage<'_>) {
        self.host.refresh();
        self.follow(stage.dataplane, stage.new);
    }

    fn roll_back(&mut self, stage: &mut Stage<'_>) {
        // Ports that left the engine and came back forgot what their hosts have leased.
        self.follow(stage.dataplane, stage.old);
    }

    fn look_after(&mut self, stage: &mut Stage<'_>) {
        if !stage.new.dhcp.is_empty() && self.host.refresh() {
            self.follow(stage.dataplane, stage.new);
        }
    }
}

/// Tells the engines; a port or network that went meanwhile needs to know nothing.
pub(super) fn tell(dataplane: &Dataplane, commands: Vec<Command>) {
    for command in commands {
        if let Err(error) = dataplane.apply(command) {
            tracing::debug!(%error, "not told about a lease");
        }
    }
}
