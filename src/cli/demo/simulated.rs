//! The stage in memory: smoltcp hosts, and engines stepped under a virtual clock.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::host::{Fetch, Host, Pong};
use super::stage::Stage;
use super::topology::{HostName, Switch};
use super::{DemoError, Fault, desired, http};
use crate::control::model::Model;
use crate::engine::{Command, Engine, Reply};
use crate::io::EtcFile;
use crate::local::dns::DNS_PORT;
use crate::testkit::{EngineId, HostId, Plug, Progress, SimHost, WireQuality, World};
use crate::time::Instant;

/// How long a wire takes, each way.
const WIRE: WireQuality = WireQuality::perfect(Duration::from_micros(20));
/// How long a ping waits; virtual time costs nothing.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two acts, as somebody typing takes it. smoltcp asks by ARP only once a second,
/// for all addresses together: without a pause that would be seen as a slow network.
const PAUSE: Duration = Duration::from_millis(1100);
/// The simulation is the same every time.
const SEED: u128 = 0x7461_7077_6179;

/// The stage.
pub struct Simulated {
    world: World,
    engines: Vec<(Switch, EngineId)>,
    hosts: Vec<(HostName, HostId)>,
    model: Model,
}

struct SimulatedHost<'a> {
    world: &'a mut World,
    id: HostId,
    name: HostName,
}

impl Simulated {
    /// Builds it.
    ///
    /// # Errors
    /// If an engine refuses the topology.
    pub fn new(fault: Option<Fault>) -> Result<Self, DemoError> {
        let mut world = World::new(SEED);
        let now = world.now();
        let model = desired::tapway(fault, true)?;
        let tapway = world.add_engine(desired::engine(&model, SEED, now)?);
        let second = world.add_engine(desired::engine(&desired::second()?, SEED << 1, now)?);
        let router = world.add_engine(desired::router(!SEED, now)?);
        for (switch, engine) in [(Switch::Tapway, tapway), (Switch::Second, second)] {
            let (near, far) = switch.trunk();
            world.connect(Plug::Engine(engine, near), Plug::Engine(router, far), WIRE);
        }
        let engines =
            vec![(Switch::Tapway, tapway), (Switch::Second, second), (Switch::Router, router)];
        let mut hosts = Vec::new();
        for name in HostName::ALL {
            let id = world.add_host(&name.spec());
            let (switch, port) = name.port();
            let found = engines.iter().find(|(known, _)| *known == switch);
            let (_, engine) = *found.ok_or(DemoError::Missing(switch.name()))?;
            world.connect(Plug::Engine(engine, port), Plug::Host(id), WIRE);
            hosts.push((name, id));
        }
        Ok(Self { world, engines, hosts, model })
    }

    fn engine(&mut self, switch: Switch) -> Result<&mut Engine, DemoError> {
        let found = self.engines.iter().find(|(known, _)| *known == switch);
        let (_, id) = *found.ok_or(DemoError::Missing(switch.name()))?;
        self.world.engine(id).ok_or(DemoError::Missing(switch.name()))
    }
}

impl Stage for Simulated {
    fn host(&mut self, name: HostName) -> Result<Box<dyn Host + '_>, DemoError> {
        let found = self.hosts.iter().find(|(known, _)| *known == name);
        let (_, id) = *found.ok_or(DemoError::Missing(name.name()))?;
        Ok(Box::new(SimulatedHost { world: &mut self.world, id, name }))
    }

    fn start(&mut self) -> Result<(), DemoError> {
        for switch in Switch::ALL {
            for port in switch.ports() {
                self.apply(switch, Command::SetPortUp(port, true))?;
            }
        }
        Ok(())
    }

    fn model(&self) -> &Model {
        &self.model
    }

    fn apply(&mut self, switch: Switch, command: Command) -> Result<Reply, DemoError> {
        let now = self.world.now();
        Ok(self.engine(switch)?.apply(now, command)?)
    }

    fn read<R: Send + 'static>(
        &mut self,
        switch: Switch,
        read: impl FnOnce(&mut Engine, Instant) -> R + Send + 'static,
    ) -> Result<R, DemoError> {
        let now = self.world.now();
        Ok(read(self.engine(switch)?, now))
    }
}

impl SimulatedHost<'_> {
    fn own(&mut self) -> Result<&mut SimHost, DemoError> {
        self.world.host(self.id).ok_or(DemoError::Missing(self.name.name()))
    }
}

impl Host for SimulatedHost<'_> {
    fn ping(&mut self, dst: Ipv4Addr, ttl: u8) -> Result<Option<Pong>, DemoError> {
        self.world.run(PAUSE);
        let (id, start) = (self.id, self.world.now());
        let probe = self.own()?.probe(dst, ttl);
        let mut answer = None;
        self.world.run_until(PING_TIMEOUT, |world| {
            answer = world.host(id).and_then(|host| host.probe_answer(probe));
            answer.is_some()
        });
        self.own()?.forget_probe(probe);
        let rtt = self.world.now().since(start);
        Ok(answer.map(|answer| Pong { answer, rtt }))
    }

    fn http_get(&mut self, at: SocketAddrV4, timeout: Duration) -> Result<Fetch, DemoError> {
        self.world.run(PAUSE);
        let id = self.id;
        let exchange = self
            .own()?
            .exchange(at, &http::request(*at.ip()))
            .ok_or(DemoError::Missing("a free socket"))?;
        let mut fetch = Fetch::Silence;
        self.world.run_until(timeout, |world| {
            let Some(host) = world.host(id) else { return true };
            let (progress, received) = host.progress(exchange);
            match http::body(received) {
                Some(body) => fetch = Fetch::Body(body),
                None if matches!(progress, Progress::Failed | Progress::Done) => {
                    fetch = Fetch::Refused;
                }
                None => return false,
            }
            true
        });
        let host = self.own()?;
        match fetch {
            Fetch::Body(_) => host.close(exchange),
            Fetch::Refused | Fetch::Silence => host.abort(exchange),
        }
        self.world.run(PAUSE);
        Ok(fetch)
    }

    fn serve_http(&mut self, port: u16) -> Result<(), DemoError> {
        let name = self.name.name();
        let service = Box::new(move |client, request: &[u8]| http::respond(name, client, request));
        self.own()?.serve(port, service);
        Ok(())
    }

    fn etc(&mut self, _file: EtcFile) -> Result<Option<String>, DemoError> {
        Ok(None)
    }

    /// Asks the gateway, by TCP: nothing listens at 127.0.0.11 in a stack without sockets.
    fn ask_resolver(
        &mut self,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, DemoError> {
        let Some(gateway) = self.name.spec().gateway else { return Ok(None) };
        self.world.run(PAUSE);
        let id = self.id;
        let asked = [&(message.len() as u16).to_be_bytes(), message].concat();
        let exchange = self
            .own()?
            .exchange(SocketAddrV4::new(gateway, DNS_PORT), &asked)
            .ok_or(DemoError::Missing("a free socket"))?;
        let mut answer = None;
        self.world.run_until(timeout, |world| {
            let Some(host) = world.host(id) else { return true };
            let (progress, received) = host.progress(exchange);
            answer = of_stream(received);
            answer.is_some() || matches!(progress, Progress::Failed | Progress::Done)
        });
        self.own()?.abort(exchange);
        self.world.run(PAUSE);
        Ok(answer)
    }
}

/// The first DNS message of a stream, if all of it is there (RFC 1035 4.2.2).
fn of_stream(received: &[u8]) -> Option<Vec<u8>> {
    let (len, rest) = received.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len))).map(<[u8]>::to_vec)
}
