//! The broker that really does it: TAPs, namespaces and packet sockets of Linux.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::link_watch::LinkWatch;
use super::netlink::LinkState;
use super::netns::Namespaces;
use super::shared::{self, SharedUplink};
use super::tap::settings;
use super::vxlan::Underlays;
use super::{
    Broker, DeviceChange, DevicePlan, EtcFile, NameSockets, Namespace, Netns, OpenError, Opened,
    PacketSocket, PortIo, PortPlan, RecordPort, ReplayPort, SharedPlan, Station, TakenPorts, Tap,
    TapPlan, Written, netlink, outside,
};
use crate::packet::PortSpan;

/// Opens devices in this host's namespaces. What it made goes when it is dropped; what a kill
/// leaves is adopted by the next one.
#[derive(Debug, Default)]
pub struct LinuxBroker {
    // First: a watched namespace lives on.
    watch: LinkWatch,
    /// Shared interfaces, by port.
    shared: HashMap<String, SharedUplink>,
    /// External ports on shared interfaces, and what is published there, by port.
    spans: HashMap<String, PortSpan>,
    taken: HashMap<String, Vec<TakenPorts>>,
    namespaces: Namespaces,
    underlays: Underlays,
    /// As planned, by port: what is set again after a TAP was down.
    taps: HashMap<String, TapPlan>,
}

impl LinuxBroker {
    /// A broker that has made nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn open_tap(&mut self, port: &str, plan: &TapPlan) -> Result<Opened, OpenError> {
        let namespace = match &plan.netns {
            Some(Netns::Named { name, create }) => {
                Arc::new(self.namespaces.acquire(port, name, *create)?)
            }
            Some(Netns::OfProcess(netns)) => {
                let namespace = netns.namespace().clone();
                namespace.run(netlink::set_loopback_up)?;
                namespace
            }
            None => Arc::new(Namespace::own()?),
        };
        let (tap, link) = Tap::open(&namespace, plan)?;
        self.taps.insert(port.to_owned(), plan.clone());
        self.opened(port, ("tap", &namespace), &link, Box::new(tap))
    }

    fn restore_route(&self, port: &str) -> Result<(), OpenError> {
        let Some((plan, index)) = self.taps.get(port).zip(self.watch.index(port)) else {
            return Ok(());
        };
        let namespace = match &plan.netns {
            Some(Netns::Named { name, .. }) => Arc::new(Namespace::named(name)?),
            Some(Netns::OfProcess(netns)) => netns.namespace().clone(),
            None => Arc::new(Namespace::own()?),
        };
        namespace.run(|| netlink::restore_default_route(index, &settings(plan), port))
    }

    fn open_device(&mut self, port: &str, plan: &DevicePlan) -> Result<Opened, OpenError> {
        let namespace = match &plan.netns {
            Some(name) => Namespace::named(name)?,
            None => Namespace::own()?,
        };
        let (socket, link) = PacketSocket::open(&namespace, plan)?;
        self.opened(port, ("device", &namespace), &link, Box::new(socket))
    }

    fn open_shared(&mut self, port: &str, plan: &SharedPlan) -> Result<Opened, OpenError> {
        let ports = self.span(port, plan)?;
        let taken = self.taken.get(port).cloned().unwrap_or_default();
        // One that was lost is let go first.
        drop(self.shared.remove(port));
        let (uplink, socket, link) = SharedUplink::open(plan, ports, taken)?;
        let station = Some(uplink.station().clone());
        self.shared.insert(port.to_owned(), uplink);
        let opened = self.opened(port, ("shared", &Namespace::own()?), &link, Box::new(socket))?;
        let description = format!("{} ports {ports}", opened.description);
        Ok(Opened { station, description, ..opened })
    }

    /// The external ports on a shared interface: chosen once.
    fn span(&mut self, port: &str, plan: &SharedPlan) -> Result<PortSpan, OpenError> {
        match (self.spans.get(port), plan.ports) {
            (Some(known), None) => Ok(*known),
            (Some(known), Some(ports)) if *known == ports => Ok(*known),
            _ => Ok(self.survey(port, plan)?.ports),
        }
    }

    fn opened(
        &mut self,
        port: &str,
        (kind, namespace): (&str, &Namespace),
        link: &LinkState,
        io: Box<dyn PortIo>,
    ) -> Result<Opened, OpenError> {
        self.watch.add(port, namespace, link)?;
        let netns = namespace.suffix();
        Ok(Opened {
            io,
            mtu: u16::try_from(link.mtu).ok(),
            station: None,
            description: format!("{kind} {}{netns}", link.name),
        })
    }
}

impl Broker for LinuxBroker {
    fn open(&mut self, port: &str, plan: &PortPlan) -> Result<Opened, OpenError> {
        // A namespace of a port that is opened again is kept even if that fails: processes may
        // live in it.
        let had_namespace = self.namespaces.holds(port);
        let opened = match plan {
            PortPlan::Tap(plan) => self.open_tap(port, plan),
            PortPlan::Device(plan) => self.open_device(port, plan),
            PortPlan::Shared(plan) => self.open_shared(port, plan),
            PortPlan::Vxlan(plan) => self.underlays.open_vxlan(port, plan),
            PortPlan::Tunnel(plan) => self.underlays.open_tunnel(port, plan),
            PortPlan::Replay(path) => {
                ReplayPort::open(path).map(|port| of_file("replay", path, Box::new(port)))
            }
            PortPlan::Record(path) => {
                RecordPort::create(path, port).map(|port| of_file("record", path, Box::new(port)))
            }
        };
        if opened.is_err() && !had_namespace {
            self.close(port);
        }
        opened
    }

    fn survey(&mut self, port: &str, plan: &SharedPlan) -> Result<Station, OpenError> {
        let station = shared::survey(plan)?;
        self.spans.insert(port.to_owned(), station.ports);
        Ok(station)
    }

    fn take_ports(&mut self, port: &str, taken: &[TakenPorts]) -> Result<(), OpenError> {
        if let Some(uplink) = self.shared.get_mut(port) {
            uplink.take(taken)?;
        }
        self.taken.insert(port.to_owned(), taken.to_vec());
        Ok(())
    }

    fn close(&mut self, port: &str) {
        self.watch.remove(port);
        self.taps.remove(port);
        self.shared.remove(port);
        self.underlays.close(port);
        self.namespaces.release(port);
    }

    fn poll_changes(&mut self) -> Vec<DeviceChange> {
        let mut changes = self.watch.poll();
        self.underlays.poll(&mut changes);
        for (port, uplink) in &mut self.shared {
            match uplink.poll() {
                Ok(Some(station)) => {
                    changes.push(DeviceChange::Moved { port: port.clone(), station });
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(port, %error, "the host's address is not known"),
            }
        }
        for change in &changes {
            if let DeviceChange::Up { port } = change
                && let Err(error) = self.restore_route(port)
            {
                tracing::warn!(port, %error, "the host's default route is not back");
            }
        }
        changes
    }

    fn write_file(&mut self, netns: &str, file: EtcFile, text: &str) -> Result<Written, OpenError> {
        self.namespaces.write_file(netns, file, text)
    }

    fn name_sockets(&mut self, netns: &Netns) -> Result<Option<NameSockets>, OpenError> {
        match netns {
            Netns::Named { name, .. } if !self.namespaces.is_own(name) => Ok(None),
            Netns::Named { name, .. } => NameSockets::open(&Namespace::named(name)?).map(Some),
            Netns::OfProcess(netns) => NameSockets::open(netns.namespace()).map(Some),
        }
    }

    fn outside_hint(&self, plan: &PortPlan) -> Option<String> {
        outside::hint(plan)
    }

    fn host_routes(&self) -> Result<Vec<Ipv4Net>, OpenError> {
        Namespace::own()?.run(netlink::routes)
    }
}

fn of_file(kind: &str, path: &Path, io: Box<dyn PortIo>) -> Opened {
    Opened { io, mtu: None, station: None, description: format!("{kind} {}", path.display()) }
}
