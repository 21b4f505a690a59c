//! The lease tables, shared by who answers clients, who shows leases and who changes the model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DhcpServer, LeaseRow};
use crate::control::follower::{Follower, Stage};
use crate::control::rejection::Rejection;
use crate::engine::Command;
use crate::io::{Clock, Dataplane};

/// All leases. As a follower of the model it serves the networks that are to be served.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<DhcpServer>>);

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

impl Follower for Leases {
    fn name(&self) -> &'static str {
        "DHCP"
    }

    fn prepare(&mut self, _: &mut Stage<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    fn commit(&mut self, stage: &mut Stage<'_>) {
        let commands = self.lock().follow(stage.new.dhcp.clone());
        tell(stage.dataplane, commands);
    }

    fn roll_back(&mut self, stage: &mut Stage<'_>) {
        // Ports that left the engine and came back forgot what their hosts have leased.
        let commands = self.lock().follow(stage.old.dhcp.clone());
        tell(stage.dataplane, commands);
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
