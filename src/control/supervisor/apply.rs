//! One change of the model: devices, engines and followers, all or nothing.
//!
//! New devices come first, then the engines' commands, and what is not needed any more goes last,
//! so that a no of anybody leaves everything as it was. Only a device in whose place another one
//! is to be must go before that one can come; taking that back opens it again.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::Sender;
use ipnet::Ipv4Net;

use super::failure::{ApplyError, PortFailure};
use super::{State, Supervised, Supervisor};
use crate::control::follower::{Follower, Stage};
use crate::control::model::{Change, Model, PortChange, PortEntry};
use crate::control::registry::{LinkInfo, LinkState};
use crate::engine::Command;
use crate::id::PortId;
use crate::io::{Clock, Netns, OpenError, Opened, PortPlan};
use crate::time::Instant;

/// How long a device is waited for in all whose former holder may not have let go of it yet.
pub(in crate::control) const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const STEP: Duration = Duration::from_millis(50);

/// What has been done so far, to be taken back.
#[derive(Default)]
struct Done {
    /// How many followers have prepared.
    prepared: usize,
    /// Ports whose device had to make way.
    displaced: Vec<PortEntry>,
    /// Ports whose new device is open.
    opened: Vec<PortEntry>,
    /// Ports that keep the device they have, as they were: MTU and being up.
    kept: Vec<(PortId, u16, bool)>,
    /// What takes the commands back.
    undo: Vec<Command>,
    /// Ports that were given their new device.
    attached: Vec<PortId>,
    /// What was shown of ports before.
    shown: Vec<(String, Option<LinkInfo>)>,
}

impl Supervisor {
    /// Goes from the running model to another one. Devices that something else still holds are
    /// waited for as long as `patience`.
    ///
    /// # Errors
    /// Why not; everything is as it was then.
    pub(in crate::control) fn apply(
        &mut self,
        new: Model,
        patience: Duration,
    ) -> Result<Change, ApplyError> {
        let new = self.placed(new)?;
        let change = new.since(&self.model);
        let mut done = Done::default();
        match self.carry_out(&new, &change, patience, &mut done) {
            Ok(()) => {
                self.settle(&change, &new);
                self.with_followers(&new, |follower, stage| follower.commit(stage));
                self.model = new;
                Ok(change)
            }
            Err(error) => {
                self.take_back(&new, done);
                Err(error)
            }
        }
    }

    fn carry_out(
        &mut self,
        new: &Model,
        change: &Change,
        patience: Duration,
        done: &mut Done,
    ) -> Result<(), ApplyError> {
        self.prepare_followers(new, done)?;
        let order = DeviceOrder::of(change);
        let end = Clock.now() + patience;
        let mut devices = self.open_all(&order.first, end, done)?;
        for port in &order.displaced {
            self.displace(port, order.keeps_namespace(port));
            done.displaced.push((*port).clone());
        }
        let end = Clock.now() + patience.max(PATIENCE);
        devices.extend(self.open_all(&order.later, end, done)?);
        done.kept = self.kept_ports(change)?;
        for step in change.steps() {
            let what = || format!("{:?}", step.command);
            let told = self.worker.apply(step.command.clone());
            told.map_err(|error| ApplyError::Refused { what: what(), error })?;
            done.undo.push(step.undo);
        }
        self.restore_kept(change, &done.kept);
        for (entry, device) in devices {
            let what = format!("port {}", entry.spec.name);
            let shown = self.show(&entry, &device);
            done.shown.push((entry.spec.name.clone(), shown));
            done.attached.push(entry.id);
            self.attach(&entry, device).map_err(|error| ApplyError::Refused { what, error })?;
        }
        self.complete_followers(new)
    }

    /// Opens devices: all of them, or none stays open.
    fn open_all(
        &mut self,
        ports: &[&PortEntry],
        end: Instant,
        done: &mut Done,
    ) -> Result<Vec<(PortEntry, Opened)>, ApplyError> {
        let mut devices = Vec::new();
        let mut failures = Vec::new();
        for entry in ports {
            match self.open_patiently(entry, end) {
                Ok(device) => {
                    done.opened.push((*entry).clone());
                    devices.push(((*entry).clone(), device));
                }
                Err(error) => {
                    failures.push(PortFailure { port: entry.spec.name.clone(), error });
                }
            }
        }
        if failures.is_empty() { Ok(devices) } else { Err(ApplyError::Ports(failures)) }
    }

    /// Opens a device; until `end` one that something may still hold is waited for.
    fn open_patiently(&mut self, entry: &PortEntry, end: Instant) -> Result<Opened, OpenError> {
        loop {
            match self.broker.open(&entry.spec.name, &entry.plan) {
                Err(OpenError::Conflict { .. }) if Clock.now() < end => std::thread::sleep(STEP),
                done => return done,
            }
        }
    }

    /// Takes a port's device away. A namespace that its next device is in, too, stays: processes
    /// live in it.
    fn displace(&mut self, port: &PortEntry, keeps_namespace: bool) {
        // If the dataplane has ended, its devices are closed already, and the next step tells.
        drop(self.worker.detach(port.id));
        let _ = self.worker.apply(Command::SetPortUp(port.id, false));
        if !keeps_namespace {
            self.broker.close(&port.spec.name);
        }
    }

    /// How ports are that leave the engine and keep their device, for now at least.
    fn kept_ports(&self, change: &Change) -> Result<Vec<(PortId, u16, bool)>, ApplyError> {
        let leaving = change.ports.iter().filter_map(|port| match port {
            PortChange::Removed(port) => Some(port.id),
            other => other.rejoins(),
        });
        let leaving: HashSet<PortId> = leaving.collect();
        if leaving.is_empty() {
            return Ok(Vec::new());
        }
        let stats = self.worker.query(|engine, _| engine.port_stats());
        let what = "the state of the ports".to_owned();
        let stats = stats.map_err(|error| ApplyError::Refused { what, error })?;
        let kept = stats.into_iter().filter(|(id, _)| leaving.contains(id));
        // What a tunnel by the uplink takes is configured; what its path takes the engine knows.
        let configured: HashMap<PortId, u16> = self.ports.iter().filter_map(own_mtu).collect();
        let mtu = |id: PortId, now: u16| configured.get(&id).copied().unwrap_or(now);
        Ok(kept.map(|(id, stats)| (id, mtu(id, stats.mtu), stats.is_up)).collect())
    }

    /// Ports that joined again with the device they have are as that device is.
    fn restore_kept(&self, change: &Change, kept: &[(PortId, u16, bool)]) {
        let rejoined: HashSet<PortId> =
            change.ports.iter().filter_map(PortChange::rejoins).collect();
        for (id, mtu, is_up) in kept.iter().filter(|(id, _, _)| rejoined.contains(id)) {
            let _ = self.worker.apply(Command::SetPortMtu(*id, *mtu));
            let _ = self.worker.apply(Command::SetPortUp(*id, *is_up));
        }
    }

    /// Enters a port that is about to go up; what was shown of it before.
    fn show(&self, entry: &PortEntry, device: &Opened) -> Option<LinkInfo> {
        let name = &entry.spec.name;
        let before = self.registry.get(name);
        let link = LinkInfo {
            description: device.description.clone(),
            state: LinkState::Down,
            mac: entry.mac,
            address: entry.address,
            last_error: None,
        };
        self.registry.set(name, link);
        before
    }

    /// The change holds: closes what is not needed any more.
    fn settle(&mut self, change: &Change, new: &Model) {
        let in_use: HashSet<PortId> = new.ports.iter().map(|port| port.id).collect();
        let mut gone = HashSet::new();
        let mut changed = HashMap::new();
        for port in &change.ports {
            match port {
                PortChange::Added(entry) => {
                    self.ports.push(Supervised { entry: entry.clone(), state: State::Open })
                }
                PortChange::Removed(entry) => {
                    if !in_use.contains(&entry.id) {
                        drop(self.worker.detach(entry.id));
                    }
                    self.broker.close(&entry.spec.name);
                    self.registry.remove(&entry.spec.name);
                    gone.insert(entry.spec.name.as_str());
                }
                PortChange::Replaced(both) => {
                    changed.insert(both.1.spec.name.as_str(), (&both.1, Some(State::Open)));
                }
                PortChange::Altered(both) => {
                    let (mac, address) = (both.1.mac, both.1.address);
                    self.registry.update(&both.1.spec.name, |link| {
                        (link.mac, link.address) = (mac, address);
                    });
                    changed.insert(both.1.spec.name.as_str(), (&both.1, None));
                }
            }
        }
        self.ports.retain(|port| !gone.contains(port.entry.spec.name.as_str()));
        for port in &mut self.ports {
            if let Some((entry, state)) = changed.get(port.entry.spec.name.as_str()) {
                port.entry = (*entry).clone();
                port.state = state.unwrap_or(port.state);
            }
        }
    }

    /// Everything as it was.
    fn take_back(&mut self, new: &Model, done: Done) {
        for (name, shown) in done.shown {
            match shown {
                Some(link) => self.registry.set(&name, link),
                None => self.registry.remove(&name),
            }
        }
        let displaced: HashSet<&str> =
            done.displaced.iter().map(|port| port.spec.name.as_str()).collect();
        for id in done.attached {
            drop(self.worker.detach(id));
        }
        for entry in &done.opened {
            if !displaced.contains(entry.spec.name.as_str()) {
                self.broker.close(&entry.spec.name);
            }
        }
        for command in done.undo.into_iter().rev() {
            let what = format!("{command:?}");
            if let Err(error) = self.worker.apply(command) {
                tracing::error!(what, %error, "a change cannot be taken back");
            }
        }
        for (id, mtu, is_up) in done.kept {
            let _ = self.worker.apply(Command::SetPortMtu(id, mtu));
            let _ = self.worker.apply(Command::SetPortUp(id, is_up));
        }
        for entry in &done.displaced {
            self.bring_back(entry, &done.opened);
        }
        let prepared = done.prepared;
        let mut at = 0;
        self.with_followers(new, |follower, stage| {
            if at < prepared {
                follower.roll_back(stage);
            }
            at += 1;
        });
    }

    /// Opens a device again that had to make way; if it does not come, the port waits for it.
    fn bring_back(&mut self, entry: &PortEntry, opened: &[PortEntry]) {
        let name = &entry.spec.name;
        let was_open =
            |port: &Supervised| port.entry.spec.name == *name && port.state == State::Open;
        let Some(at) = self.ports.iter().position(was_open) else { return };
        let newer = opened.iter().find(|other| other.spec.name == *name);
        if newer.is_some_and(|newer| !shares_namespace(&newer.plan, &entry.plan)) {
            self.broker.close(name);
        }
        let end = Clock.now() + PATIENCE;
        let back = match self.open_patiently(entry, end) {
            Ok(device) => self.attach(entry, device).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = back {
            self.lose(at, why);
        }
    }

    fn prepare_followers(&mut self, new: &Model, done: &mut Done) -> Result<(), ApplyError> {
        let mut refused = None;
        self.with_followers(new, |follower, stage| {
            if refused.is_none() {
                match follower.prepare(stage) {
                    Ok(()) => done.prepared += 1,
                    Err(rejection) => {
                        refused =
                            Some(ApplyError::Follower { follower: follower.name(), rejection });
                    }
                }
            }
        });
        refused.map_or(Ok(()), Err)
    }

    fn complete_followers(&mut self, new: &Model) -> Result<(), ApplyError> {
        let mut refused = None;
        self.with_followers(new, |follower, stage| {
            if refused.is_none()
                && let Err(rejection) = follower.complete(stage)
            {
                refused = Some(ApplyError::Follower { follower: follower.name(), rejection });
            }
        });
        refused.map_or(Ok(()), Err)
    }

    /// Tells each follower something about the way from the running model to `new`.
    pub(super) fn with_followers(
        &mut self,
        new: &Model,
        mut tell: impl FnMut(&mut dyn Follower, &mut Stage<'_>),
    ) {
        let mut stage =
            Stage { dataplane: &self.worker, broker: self.broker.as_mut(), old: &self.model, new };
        for follower in &mut self.followers {
            tell(follower.as_mut(), &mut stage);
        }
    }
}

/// What packets a tunnel by the uplink takes.
fn own_mtu(Supervised { entry, .. }: &Supervised) -> Option<(PortId, u16)> {
    match &entry.plan {
        PortPlan::Tunnel(tunnel) => Some((entry.id, tunnel.mtu?)),
        _ => None,
    }
}

/// In which order devices come and go.
struct DeviceOrder<'c> {
    /// New ones in whose place there is none.
    first: Vec<&'c PortEntry>,
    /// Old ones that must make way.
    displaced: Vec<&'c PortEntry>,
    /// New ones in their places.
    later: Vec<&'c PortEntry>,
}

impl<'c> DeviceOrder<'c> {
    fn of(change: &'c Change) -> Self {
        let mut order = Self { first: Vec::new(), displaced: Vec::new(), later: Vec::new() };
        let mut left = HashMap::new();
        for port in &change.ports {
            match port {
                PortChange::Removed(port) => {
                    left.insert(place(&port.plan), port);
                }
                PortChange::Replaced(both) => {
                    order.displaced.push(&both.0);
                    order.later.push(&both.1);
                    left.insert(place(&both.0.plan), &both.0);
                }
                PortChange::Added(_) | PortChange::Altered(_) => {}
            }
        }
        for port in &change.ports {
            let PortChange::Added(entry) = port else { continue };
            match left.get(&place(&entry.plan)) {
                Some(_) => order.later.push(entry),
                None => order.first.push(entry),
            }
        }
        let wanted: HashSet<_> = order.later.iter().map(|entry| place(&entry.plan)).collect();
        for port in &change.ports {
            if let PortChange::Removed(port) = port
                && wanted.contains(&place(&port.plan))
            {
                order.displaced.push(port);
            }
        }
        order
    }

    /// True if the namespace of a device that makes way is needed by one that comes.
    fn keeps_namespace(&self, port: &PortEntry) -> bool {
        let shares = |next: &&PortEntry| shares_namespace(&next.plan, &port.plan);
        match self.later.iter().find(|next| next.spec.name == port.spec.name) {
            Some(next) => shares(next),
            None => self.later.iter().any(shares),
        }
    }
}

/// What only one device can be at: an interface's name in a namespace, a UDP port, or a file.
fn place(plan: &PortPlan) -> (Option<String>, PathBuf) {
    let at = match plan {
        PortPlan::Tap(tap) => PathBuf::from(&tap.interface),
        PortPlan::Device(device) => PathBuf::from(&device.device),
        PortPlan::Shared(shared) => PathBuf::from(&shared.device),
        // No interface's name has a slash.
        PortPlan::Vxlan(sockets) => format!("udp/{}", sockets.port).into(),
        PortPlan::Tunnel(tunnel) => format!("tunnel/{}/{}", tunnel.vni, tunnel.peer).into(),
        PortPlan::Replay(file) | PortPlan::Record(file) => file.clone(),
    };
    (namespace(plan), at)
}

/// The namespace a device is in, as a text that no other one has; none: tapway's own.
fn namespace(plan: &PortPlan) -> Option<String> {
    match plan {
        PortPlan::Tap(tap) => tap.netns.as_ref().map(|netns| match netns {
            Netns::Named { name, .. } => name.clone(),
            // No name has a slash.
            Netns::OfProcess(process) => format!("/{process:?}"),
        }),
        PortPlan::Device(device) => device.netns.clone(),
        PortPlan::Vxlan(sockets) => sockets.netns.clone(),
        PortPlan::Tunnel(tunnel) => tunnel.netns.clone(),
        PortPlan::Shared(_) | PortPlan::Replay(_) | PortPlan::Record(_) => None,
    }
}

fn shares_namespace(one: &PortPlan, other: &PortPlan) -> bool {
    namespace(one).is_some() && namespace(one) == namespace(other)
}

/// An order for the supervisor, with the way its answer takes.
pub(in crate::control) enum Order {
    /// Go to this model.
    Apply { model: Box<Model>, reply: Sender<Result<Change, ApplyError>> },
    /// Tell which subnets this host routes.
    HostRoutes { reply: Sender<Result<Vec<Ipv4Net>, OpenError>> },
}
