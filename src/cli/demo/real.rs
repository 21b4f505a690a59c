//! The stage on real devices: namespaces with the kernel's own stacks, TAPs, and two workers.
//!
//! The wire between the engines is in memory; everything else is what `tapway run` uses.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::host::Host;
use super::interrupt::Interrupt;
use super::real_host::RealHost;
use super::stage::Stage;
use super::topology::{HostName, MTU, Switch};
use super::{DemoError, Fault};
use crate::control::api::ApiState;
use crate::control::registry::{LinkInfo, LinkState, Registry};
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

/// The stage. Dropping it stops servers and workers first, then removes the namespaces.
pub struct Real {
    hosts: Vec<RealHost>,
    tapway: Arc<Dataplane>,
    router: Dataplane,
    registry: Registry,
    /// Never read again, but dropping it removes what it made.
    _broker: LinuxBroker,
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
        let tapway = Arc::new(worker(Switch::Tapway, fault)?);
        let router = worker(Switch::Router, fault)?;
        let registry = Registry::default();
        let mut hosts = Vec::new();
        for name in HostName::ALL {
            interrupt.check()?;
            let opened = open(&mut broker, name)?;
            let (switch, port) = name.port();
            let worker = if switch == Switch::Tapway { &*tapway } else { &router };
            if switch == Switch::Tapway {
                registry.set(name.name(), link(name, &opened.description));
            }
            worker.attach(port, opened.io)?;
            let namespace = Namespace::named(&namespace_of(name))?;
            hosts.push(RealHost::new(name, namespace, interrupt.clone()));
        }
        let (near, far) = wire().map_err(|error| DemoError::system("making a wire", error))?;
        tapway.attach(Switch::Tapway.trunk(), Box::new(near))?;
        router.attach(Switch::Router.trunk(), Box::new(far))?;
        Ok(Self { hosts, tapway, router, registry, _broker: broker })
    }

    /// What the API shows of tapway.
    pub fn api_state(&self) -> ApiState {
        ApiState::new(self.tapway.clone(), self.registry.clone())
    }

    fn worker(&self, switch: Switch) -> &Dataplane {
        match switch {
            Switch::Tapway => &self.tapway,
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

fn worker(switch: Switch, fault: Option<Fault>) -> Result<Dataplane, DemoError> {
    let engine = switch.engine(seed(), Clock.now(), fault)?;
    Ok(Dataplane::spawn(engine, DataplaneSettings::default())?)
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

fn link(host: HostName, description: &str) -> LinkInfo {
    let spec = host.spec();
    LinkInfo {
        description: description.to_owned(),
        state: LinkState::Up,
        mac: Some(spec.mac),
        address: Some(spec.address.addr()),
        last_error: None,
    }
}

fn plan(host: HostName) -> PortPlan {
    let spec = host.spec();
    PortPlan::Tap(TapPlan {
        netns: Some(Netns::named(namespace_of(host), true)),
        interface: "eth0".to_owned(),
        mac: Some(spec.mac),
        mtu: MTU,
        address: Some(spec.address),
        gateway: spec.gateway,
        backend: TapBackend::Own,
        queues: 1,
        offload: true,
    })
}
