//! Where the steps are played: two engines and their hosts, however they are made.

use super::DemoError;
use super::host::Host;
use super::topology::{HostName, Switch};
use crate::control::model::Model;
use crate::engine::{Command, Engine, Reply};
use crate::time::Instant;

/// A built topology. Dropping it takes it down.
pub trait Stage {
    /// A host.
    ///
    /// # Errors
    /// If it is gone.
    fn host(&mut self, name: HostName) -> Result<Box<dyn Host + '_>, DemoError>;

    /// Gives an engine a command while it forwards.
    ///
    /// # Errors
    /// The engine's refusal, or that it is gone.
    fn apply(&mut self, switch: Switch, command: Command) -> Result<Reply, DemoError>;

    /// Reads something of an engine.
    ///
    /// # Errors
    /// If it is gone.
    fn read<R: Send + 'static>(
        &mut self,
        switch: Switch,
        read: impl FnOnce(&mut Engine, Instant) -> R + Send + 'static,
    ) -> Result<R, DemoError>;

    /// Waits until what hosts have sent has arrived; in a simulation it has.
    fn settle(&mut self) {}

    /// Takes all ports up, once everything is behind them.
    ///
    /// # Errors
    /// As [`Stage::apply`].
    fn start(&mut self) -> Result<(), DemoError>;

    /// Why this host is not in tapway's network; none: it is.
    fn without_here(&self) -> Option<&str> {
        None
    }

    /// What tapway is to be.
    fn model(&self) -> &Model;
}
