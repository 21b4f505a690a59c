//! What follows the desired state besides the dataplane and the ports' devices: names, filters of
//! the uplink, listeners of this host.

use std::sync::Arc;

use super::model::{Model, PortEntry};
use super::rejection::Rejection;
use crate::engine::Event;
use crate::io::{Broker, Dataplane};

/// What a follower works with; only for the time of one call, on the supervisor's thread.
pub struct Stage<'a> {
    /// The dataplane.
    pub dataplane: &'a Arc<Dataplane>,
    /// Opens devices and sockets in namespaces.
    pub broker: &'a mut dyn Broker,
    /// What ran before.
    pub old: &'a Model,
    /// What is to run.
    pub new: &'a Model,
}

/// Something that follows the desired state. Of each change it is told in this order, and a no of
/// anybody takes the whole change back:
///
/// 1. `prepare`: before anything else happens. What can be refused, such as a socket that must be
///    bound, is refused here.
/// 2. `complete`: the engine and all devices are as in `new`.
/// 3. `commit`: the change holds; what is not needed any more goes. Or `roll_back`, in place of 2
///    or 3: the state is `old` again.
pub trait Follower: Send {
    /// What it is called in messages.
    fn name(&self) -> &'static str;

    /// Reserves what the new state needs.
    ///
    /// # Errors
    /// Why the change cannot be; nothing has changed then.
    fn prepare(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection>;

    /// Starts what needs the new devices and engine.
    ///
    /// # Errors
    /// Why it cannot; `roll_back` follows.
    fn complete(&mut self, _stage: &mut Stage<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    /// The change holds.
    fn commit(&mut self, stage: &mut Stage<'_>);

    /// The change does not hold: what was prepared for it goes.
    fn roll_back(&mut self, stage: &mut Stage<'_>);

    /// A port's device was opened again, perhaps in another namespace of the same name. Both
    /// states of `stage` are what runs.
    fn reopened(&mut self, _port: &PortEntry, _stage: &mut Stage<'_>) {}

    /// An engine told of something. Both states of `stage` are what runs.
    fn hear(&mut self, _event: &Event, _stage: &mut Stage<'_>) {}

    /// About once a second.
    fn look_after(&mut self, _stage: &mut Stage<'_>) {}
}
