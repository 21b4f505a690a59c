//! Looks after the devices of the ports: one that goes takes its port down, and is opened again
//! once it can be. Changes of the model are carried out here, one after the other (see `apply`).
//!
//! A thread of its own, because opening a device may take its time and must not stop the
//! dataplane. It owns the broker. Bounds: one attempt per second and port; a reason that stays
//! the same is logged once.

mod apply;
mod failure;
mod shared;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select, tick};

use super::follower::Follower;
use super::model::{Model, PortEntry};
use super::registry::{LinkState, Registry};
use crate::engine::{Command, Event, PortStats};
use crate::id::{NetworkId, PortId};
use crate::io::{
    Broker, Clock, Dataplane, DeviceChange, Netns, Opened, PortPlan, Station, TapPlan, WorkerError,
    WorkerEvent, WriteMethod,
};

use shared::Place;
use throttle::Throttle;

pub(super) use apply::{Order, PATIENCE};
pub use failure::{ApplyError, PortFailure};

/// Between two attempts to open a device, and between two looks at all of them.
const PERIOD: Duration = Duration::from_secs(1);

/// What is the matter with a port's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// To be opened again.
    Lost,
    /// A capture file that has been read to its end, or cannot be written any more.
    Ended,
}

struct Supervised {
    entry: PortEntry,
    state: State,
}

pub(super) struct Supervisor {
    worker: Arc<Dataplane>,
    broker: Box<dyn Broker>,
    registry: Registry,
    followers: Vec<Box<dyn Follower>>,
    /// Disconnects when the switch is to stop.
    stop: Receiver<()>,
    orders: Receiver<Order>,
    /// What runs.
    model: Model,
    /// Where tapway is on a shared uplink.
    place: Option<Place>,
    /// Where the host went and tapway could not follow yet.
    behind: Option<Station>,
    ports: Vec<Supervised>,
    /// Of each kind of engine event, in the order of [`kind_of`].
    throttles: [Throttle; EVENT_KINDS.len()],
}

/// Kinds of engine events, as the log tells of more of them.
const EVENT_KINDS: [&str; 4] = [
    "sessions or external ports have run out",
    "another station claims an address of tapway",
    "a MAC moved to another port",
    "an endpoint that is no peer sends frames of a network",
];

const fn kind_of(event: &Event) -> usize {
    match event {
        Event::Exhausted { .. } => 0,
        Event::DuplicateAddress { .. } => 1,
        Event::MacMoved { .. } => 2,
        Event::UnknownPeer { .. } => 3,
    }
}

/// What a supervisor is given.
pub(super) struct Charge {
    pub worker: Arc<Dataplane>,
    pub broker: Box<dyn Broker>,
    pub registry: Registry,
    pub followers: Vec<Box<dyn Follower>>,
    /// Disconnects when the switch is to stop.
    pub stop: Receiver<()>,
    pub orders: Receiver<Order>,
}

impl Supervisor {
    /// A supervisor of a dataplane in which nothing is yet; `model` has the settings it runs
    /// with.
    pub(super) fn new(charge: Charge, model: &Model) -> Self {
        let Charge { worker, broker, registry, followers, stop, orders } = charge;
        Self {
            worker,
            broker,
            registry,
            followers,
            stop,
            orders,
            model: model.emptied(),
            place: None,
            behind: None,
            ports: Vec::new(),
            throttles: Default::default(),
        }
    }

    pub(super) fn run(mut self) {
        let period = tick(PERIOD);
        let worker = self.worker.clone();
        let stop = self.stop.clone();
        let orders = self.orders.clone();
        loop {
            select! {
                recv(stop) -> _ => break,
                recv(orders) -> order => match order {
                    // Whoever asked may have given up; a change holds all the same.
                    Ok(Order::Apply { model, reply }) => {
                        let _ = reply.send(self.apply(*model, Duration::ZERO));
                    }
                    Ok(Order::HostRoutes { reply }) => {
                        let _ = reply.send(self.broker.host_routes());
                    }
                    // With the switch the last one who can give orders goes.
                    Err(_) => break,
                },
                recv(worker.events()) -> event => match event {
                    Ok(event) => self.handle(event),
                    Err(_) => {
                        tracing::error!("the dataplane has ended; the switch stops");
                        break;
                    }
                },
                recv(period) -> _ => {
                    if worker.has_ended() {
                        tracing::error!("a worker has ended; the switch stops");
                        break;
                    }
                    self.look_after();
                }
            }
        }
        self.close_all();
    }

    /// Takes every device from the dataplane and removes what was made for it.
    fn close_all(&mut self) {
        let nothing = self.model.emptied();
        self.with_followers(&nothing, |follower, stage| follower.commit(stage));
        for Supervised { entry, .. } in std::mem::take(&mut self.ports) {
            // If the dataplane has ended, its devices are closed already.
            drop(self.worker.detach(entry.id));
            let _ = self.worker.apply(Command::SetPortUp(entry.id, false));
            self.broker.close(&entry.spec.name);
            self.registry.update(&entry.spec.name, |link| link.state = LinkState::Down);
        }
    }

    fn handle(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::PortGone { port, error } => {
                let at = self.ports.iter().position(|other| other.entry.id == port);
                // Told late, the port may have a new device already.
                if let Some(at) = at.filter(|_| !self.is_up(port)) {
                    drop(self.worker.detach(port));
                    let _ = self.worker.apply(Command::SetPortUp(port, false));
                    self.lose(at, error.to_string());
                }
            }
            WorkerEvent::PathMtu => self.follow_changes(),
            WorkerEvent::WritesSingly => self.show_single_writes(),
            WorkerEvent::Engine(event) => {
                let running = self.model.clone();
                self.with_followers(&running, |follower, stage| follower.hear(&event, stage));
                let throttle = self.throttles.get_mut(kind_of(&event));
                if throttle.is_none_or(|throttle| throttle.admit(Clock.now())) {
                    self.log(event);
                }
            }
        }
    }

    fn look_after(&mut self) {
        let now = Clock.now();
        for (throttle, kind) in self.throttles.iter_mut().zip(EVENT_KINDS) {
            if let Some(more) = throttle.summary(now) {
                tracing::warn!("{kind}: {more} more like it");
            }
        }
        self.follow_changes();
        if let Some(station) = self.behind.clone() {
            self.move_to(station);
        }
        if !self.followers.is_empty() {
            let running = self.model.clone();
            self.with_followers(&running, |follower, stage| follower.look_after(stage));
        }
        for at in 0..self.ports.len() {
            if self.ports.get(at).is_some_and(|port| port.state == State::Lost) {
                self.reopen(at);
            }
        }
    }

    fn follow_changes(&mut self) {
        for change in self.broker.poll_changes() {
            self.follow(change);
        }
    }

    fn follow(&mut self, change: DeviceChange) {
        let name = change.port();
        let is_it = |port: &Supervised| port.entry.spec.name == name && port.state == State::Open;
        let Some(at) = self.ports.iter().position(is_it) else { return };
        let Some(id) = self.ports.get(at).map(|port| port.entry.id) else { return };
        match change {
            DeviceChange::Mtu { port, mtu } => {
                // The port may have gone down meanwhile; then its MTU is read at its return.
                if self.worker.apply(Command::SetPortMtu(id, mtu)).is_ok() {
                    tracing::info!(port, mtu, "the device's MTU changed; the port follows");
                    if let Some(port) = self.ports.get(at) {
                        warn_of_path(&port.entry, mtu);
                    }
                }
            }
            DeviceChange::Down { port, why } => {
                let _ = self.worker.apply(Command::SetPortUp(id, false));
                tracing::warn!(port, why, "port down");
                self.registry.update(&port, |link| {
                    link.state = LinkState::Down;
                    link.last_error = Some(why);
                });
            }
            DeviceChange::Up { port } => {
                if self.worker.apply(Command::SetPortUp(id, true)).is_ok() {
                    tracing::info!(port, "port up: its host set the device up");
                    self.registry.update(&port, |link| {
                        link.state = LinkState::Up;
                        link.last_error = None;
                    });
                }
            }
            DeviceChange::Renamed { port, from, to } => {
                tracing::warn!(port, from, to, "its host gave the device another name");
                // The name follows the kind.
                self.registry.update(&port, |link| {
                    link.description =
                        link.description.replacen(&format!(" {from}"), &format!(" {to}"), 1);
                });
            }
            DeviceChange::Moved { station, .. } => self.move_to(station),
            DeviceChange::Lost { why, .. } => {
                drop(self.worker.detach(id));
                let _ = self.worker.apply(Command::SetPortUp(id, false));
                self.lose(at, why);
            }
        }
    }

    fn lose(&mut self, at: usize, why: String) {
        let Some(Supervised { entry, state }) = self.ports.get_mut(at) else { return };
        let port = &entry.spec.name;
        match &entry.plan {
            PortPlan::Tap(_)
            | PortPlan::Device(_)
            | PortPlan::Shared(_)
            | PortPlan::Vxlan(_)
            | PortPlan::Tunnel(_) => {
                *state = State::Lost;
                tracing::warn!(port, why, "port down: its device is gone; waiting for its return");
            }
            PortPlan::Replay(_) | PortPlan::Record(_) => {
                *state = State::Ended;
                tracing::info!(port, why, "port down: its capture file has ended");
            }
        }
        self.registry.update(port, |link| {
            link.state = LinkState::Down;
            link.last_error = Some(why);
        });
    }

    fn reopen(&mut self, at: usize) {
        let Some(Supervised { entry, .. }) = self.ports.get(at) else { return };
        let entry = entry.clone();
        let port = &entry.spec.name;
        let mut station = None;
        let result = match self.broker.open(port, &plan_to_return(&entry.plan)) {
            Ok(device) => {
                station.clone_from(&device.station);
                self.attach(&entry, device).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => {
                tracing::info!(port, "port up: its device is back");
                if let Some(port) = self.ports.get_mut(at) {
                    port.state = State::Open;
                }
                let running = self.model.clone();
                self.with_followers(&running, |follower, stage| follower.reopened(&entry, stage));
                if let Some(station) = station {
                    self.move_to(station);
                }
            }
            Err(why) => {
                let last = self.registry.get(port).and_then(|link| link.last_error);
                if last.as_ref() != Some(&why) {
                    tracing::warn!(port, why, "the device cannot be opened again yet");
                    self.registry.update(port, |link| link.last_error = Some(why));
                }
            }
        }
    }

    /// Gives the dataplane a device and sets the port up.
    fn attach(&self, entry: &PortEntry, device: Opened) -> Result<(), WorkerError> {
        let mtu = device.mtu.unwrap_or(entry.spec.mtu);
        warn_of_path(entry, mtu);
        self.worker.apply(Command::SetPortMtu(entry.id, mtu))?;
        let description = self.describe(&device);
        self.worker.attach_up(entry.id, device.io)?;
        self.registry.update(&entry.spec.name, |link| {
            link.state = LinkState::Up;
            link.description = description;
            link.last_error = None;
        });
        Ok(())
    }

    /// What it is, and how frames leave by it.
    fn describe(&self, device: &Opened) -> String {
        let what = &device.description;
        if device.io.transmit_file().is_none() {
            return what.clone();
        }
        format!("{what} offloads {}{}", device.io.offloads(), written(self.worker.write_method()))
    }

    /// No device is written to by io_uring any more.
    fn show_single_writes(&self) {
        for Supervised { entry, .. } in &self.ports {
            self.registry.update(&entry.spec.name, |link| {
                let what = link.description.strip_suffix(&written(WriteMethod::IoUring));
                if let Some(what) = what {
                    link.description = what.to_owned() + &written(WriteMethod::Write);
                }
            });
        }
    }

    fn is_up(&self, id: PortId) -> bool {
        let is_up = move |(port, stats): &(PortId, PortStats)| *port == id && stats.is_up;
        // One worker that has lost it is enough.
        let is_up = self.worker.query_each(move |engine, _| engine.port_stats().iter().any(&is_up));
        is_up.is_ok_and(|workers| workers.into_iter().all(|is_up| is_up))
    }

    fn log(&self, event: Event) {
        match event {
            Event::Exhausted { network, host } => tracing::warn!(
                network = self.network_name(network),
                %host,
                "sessions or external ports have run out; `tapway show drops` says which"
            ),
            Event::DuplicateAddress { network, address, mac } => tracing::warn!(
                network = self.network_name(network),
                %address,
                %mac,
                "another station claims an address of tapway"
            ),
            Event::MacMoved { network, mac, to } => tracing::info!(
                network = self.network_name(network),
                %mac,
                to = self.port_name(to),
                "a MAC moved to another port"
            ),
            Event::UnknownPeer { network, peer } => tracing::info!(
                network = self.network_name(network),
                %peer,
                "a VTEP that is no peer sends frames of the network"
            ),
        }
    }

    fn network_name(&self, network: NetworkId) -> String {
        self.worker.query(move |engine, _| engine.network_name(network)).unwrap_or_default()
    }

    fn port_name(&self, id: PortId) -> &str {
        let port = self.ports.iter().find(|port| port.entry.id == id);
        port.map_or("", |port| &port.entry.spec.name)
    }
}

/// Tells of a way to a peer that takes less than the hosts of its network believe.
fn warn_of_path(entry: &PortEntry, mtu: u16) {
    if let PortPlan::Tunnel(tunnel) = &entry.plan
        && mtu < entry.spec.mtu
    {
        tracing::warn!(
            port = entry.spec.name,
            peer = %tunnel.peer,
            mtu,
            "the way to the peer takes smaller packets than the network's mtu {}: what is larger is \
             cut or refused; set `mtu = {mtu}` for the network on all hosts",
            entry.spec.mtu
        );
    }
}

/// The end of a description: how frames are written to the device.
fn written(method: WriteMethod) -> String {
    format!(" io {method}")
}

/// A namespace that somebody removed while tapway ran is waited for, not made again: its removal
/// was meant.
fn plan_to_return(plan: &PortPlan) -> PortPlan {
    let mut plan = plan.clone();
    if let PortPlan::Tap(TapPlan { netns: Some(Netns::Named { create, .. }), .. }) = &mut plan {
        *create = false;
    }
    plan
}
