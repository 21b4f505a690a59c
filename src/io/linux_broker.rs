//! The broker that really does it: TAPs, namespaces and packet sockets of Linux.

use super::netns::Namespaces;
use super::{
    Broker, DevicePlan, Namespace, OpenError, Opened, PacketSocket, PortPlan, Tap, TapPlan,
};

/// Opens devices in this host's namespaces. What it made goes when it is dropped; what a kill
/// leaves is adopted by the next one.
#[derive(Debug, Default)]
pub struct LinuxBroker {
    namespaces: Namespaces,
}

impl LinuxBroker {
    /// A broker that has made nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn open_tap(&mut self, port: &str, plan: &TapPlan) -> Result<Opened, OpenError> {
        let namespace = match &plan.netns {
            Some(netns) => self.namespaces.acquire(port, netns)?,
            None => Namespace::own()?,
        };
        let (tap, link) = Tap::open(&namespace, plan)?;
        Ok(Opened {
            io: Box::new(tap),
            mtu: u16::try_from(link.mtu).ok(),
            description: describe("tap", &plan.interface, namespace.name()),
        })
    }
}

impl Broker for LinuxBroker {
    fn open(&mut self, port: &str, plan: &PortPlan) -> Result<Opened, OpenError> {
        let had_namespace = self.namespaces.holds(port);
        let opened = match plan {
            PortPlan::Tap(plan) => self.open_tap(port, plan),
            PortPlan::Device(plan) => open_device(plan),
            PortPlan::Replay(_) | PortPlan::Record(_) => {
                Err(OpenError::from_io("opening the port", std::io::ErrorKind::Unsupported.into()))
            }
        };
        // A namespace that was there before this call may have processes in it: it stays.
        if opened.is_err() && !had_namespace {
            self.close(port);
        }
        opened
    }

    fn close(&mut self, port: &str) {
        self.namespaces.release(port);
    }

    fn outside_hint(&self, _plan: &PortPlan) -> Option<String> {
        None
    }
}

fn open_device(plan: &DevicePlan) -> Result<Opened, OpenError> {
    let namespace = match &plan.netns {
        Some(name) => Namespace::named(name)?,
        None => Namespace::own()?,
    };
    let (socket, link) = PacketSocket::open(&namespace, plan)?;
    Ok(Opened {
        io: Box::new(socket),
        mtu: u16::try_from(link.mtu).ok(),
        description: describe("device", &plan.device, namespace.name()),
    })
}

fn describe(kind: &str, interface: &str, netns: Option<&str>) -> String {
    match netns {
        Some(name) => format!("{kind} {interface} netns {name}"),
        None => format!("{kind} {interface}"),
    }
}
