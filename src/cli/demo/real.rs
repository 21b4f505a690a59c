//! The stage on real devices: namespaces with the kernel's own stacks, TAPs, and two workers.
//!
//! tapway runs as by `tapway run`, with its names and files. The wire to the router is in memory,
//! and the router an engine of its own.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::broker::DemoBroker;
use super::host::Host;
use super::interrupt::Interrupt;
use super::real_host::RealHost;
use super::stage::Stage;
use super::topology::{HostName, INSIDE_PREFIX, Switch, net};
use super::{DemoError, Fault, desired};
use crate::control::api::ApiState;
use crate::control::follower::Follower;
use crate::control::hosts::HostsFiles;
use crate::control::model::Model;
use crate::control::names::{Names, NamesView};
use crate::control::registry::Registry;
use crate::engine::{Command, Engine, Reply};
use crate::io::{
    Broker, Clock, Dataplane, DataplaneSettings, LinuxBroker, Namespace, Netns, OpenError, Opened,
    PortPlan, TapBackend, TapPlan, wire,
};
use crate::time::Instant;

/// Before the names of the demo's namespaces, so that they are nobody else's.
const PREFIX: &str = "tapway-demo-";

/// Tries to open a TAP, and the pause between them.
const OPEN_TRIES: usize = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(100);
/// Until what hosts sent last has arrived.
const SETTLE: Duration = Duration::from_millis(100);

/// The stage. Dropping it stops servers, router and tapway, which removes the namespaces.
pub struct Real {
    hosts: Vec<RealHost>,
    second: Dataplane,
    router: Dataplane,
    switch: crate::control::switch::Switch,
    model: Model,
    registry: Registry,
    names: NamesView,
    without_here: Option<String>,
}

/// The namespace of a host.
pub fn namespace_of(host: HostName) -> String {
    format!("{PREFIX}{}", host.name())
}

impl Real {
    /// Builds it. Leftovers of a killed demo are adopted, and removed at the end.
    ///
    /// # Errors
    /// [`DemoError::Open`] if namespaces or TAPs are not to be had. Nothing is left behind.
    pub fn new(fault: Option<Fault>, interrupt: &Interrupt) -> Result<Self, DemoError> {
        let mut broker = LinuxBroker::new();
        let without_here = taken_here(&broker)?;
        let mut model = desired::tapway(fault, without_here.is_none())?;
        desired::rename_namespaces(&mut model, PREFIX);
        let engine = desired::router(seed(), Clock.now())?;
        let router = Dataplane::spawn(engine, DataplaneSettings::default())?;
        let engine = desired::engine(&desired::second()?, seed(), Clock.now())?;
        let second = Dataplane::spawn(engine, DataplaneSettings::default())?;
        for name in HostName::ALL {
            let dataplane = match name.port().0 {
                Switch::Router => &router,
                Switch::Second => &second,
                Switch::Tapway => continue,
            };
            interrupt.check()?;
            dataplane.attach(name.port().1, open(&mut broker, name)?.io)?;
        }
        let (near, far) = wire().map_err(|error| DemoError::system("making a wire", error))?;
        router.attach(Switch::Tapway.trunk().1, Box::new(far))?;
        let (of_second, far) = wire().map_err(|error| DemoError::system("making a wire", error))?;
        router.attach(Switch::Second.trunk().1, Box::new(far))?;
        second.attach(Switch::Second.trunk().0, Box::new(of_second))?;
        let broker = Box::new(DemoBroker::new(broker, near));
        let (registry, names) = (Registry::default(), Names::default());
        let view = names.view();
        let followers: Vec<Box<dyn Follower>> =
            vec![Box::new(HostsFiles::default()), Box::new(names)];
        let start = crate::control::switch::Switch::start;
        let switch = start(model.clone(), broker, registry.clone(), followers)?;
        interrupt.check()?;
        let mut hosts = Vec::new();
        for name in HostName::ALL {
            let namespace = match name {
                HostName::Here => Namespace::own()?,
                name => Namespace::named(&namespace_of(name))?,
            };
            hosts.push(RealHost::new(name, namespace, interrupt.clone()));
        }
        Ok(Self { hosts, second, router, switch, model, registry, names: view, without_here })
    }

    /// What the API shows of tapway.
    pub fn api_state(&self) -> ApiState {
        let state = ApiState::new(self.switch.worker().clone(), self.registry.clone());
        state.with_names(self.names.clone())
    }

    fn worker(&self, switch: Switch) -> &Dataplane {
        match switch {
            Switch::Tapway => self.switch.worker(),
            Switch::Second => &self.second,
            Switch::Router => &self.router,
        }
    }
}

impl Stage for Real {
    fn host(&mut self, name: HostName) -> Result<Box<dyn Host + '_>, DemoError> {
        let host = self.hosts.iter_mut().find(|host| host.name() == name);
        Ok(Box::new(host.ok_or(DemoError::Missing(name.name()))?))
    }

    fn settle(&mut self) {
        std::thread::sleep(SETTLE);
    }

    /// tapway's ports are up with their devices.
    fn start(&mut self) -> Result<(), DemoError> {
        for switch in [Switch::Second, Switch::Router] {
            for port in switch.ports() {
                self.apply(switch, Command::SetPortUp(port, true))?;
            }
        }
        Ok(())
    }

    fn without_here(&self) -> Option<&str> {
        self.without_here.as_deref()
    }

    fn model(&self) -> &Model {
        &self.model
    }

    fn apply(&mut self, switch: Switch, command: Command) -> Result<Reply, DemoError> {
        Ok(self.worker(switch).apply(command)?)
    }

    fn read<R: Send + 'static>(
        &mut self,
        switch: Switch,
        read: impl FnOnce(&mut Engine, Instant) -> R + Send + 'static,
    ) -> Result<R, DemoError> {
        Ok(self.worker(switch).query(read)?)
    }
}

/// Why this host cannot be in the demo's network: its subnet is routed elsewhere already.
fn taken_here(broker: &LinuxBroker) -> Result<Option<String>, OpenError> {
    let here = net(HostName::Here.address(), INSIDE_PREFIX).trunc();
    let overlaps =
        |route: &Ipv4Net| route.prefix_len() > 0 && (route.contains(&here) || here.contains(route));
    let taken = broker.host_routes()?.into_iter().find(overlaps);
    Ok(taken
        .map(|route| format!("this host routes {route} already, as Docker's; it keeps that route")))
}

/// The standard library's own random keys, which it has from the system.
fn seed() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(PREFIX));
    (half() << 64) | half()
}

/// Opens a host's TAP. What a killed demo held is free a moment after it: asked for again.
fn open(broker: &mut LinuxBroker, host: HostName) -> Result<Opened, OpenError> {
    for _ in 1..OPEN_TRIES {
        match broker.open(host.name(), &plan(host)) {
            Err(OpenError::Conflict { .. }) => std::thread::sleep(OPEN_PAUSE),
            done => return done,
        }
    }
    broker.open(host.name(), &plan(host))
}

fn plan(host: HostName) -> PortPlan {
    let (spec, mtu) = (host.spec(), host.mtu());
    PortPlan::Tap(TapPlan {
        netns: Some(Netns::named(namespace_of(host), true)),
        interface: "eth0".to_owned(),
        mac: Some(spec.mac),
        mtu,
        address: Some(spec.address),
        gateway: spec.gateway,
        backend: TapBackend::Own,
        queues: 1,
        offload: true,
    })
}
