//! What a broker keeps of the sockets and tunnels that it opened: where they are, and how large
//! packets may be on the ways to peers.

use std::collections::BTreeMap;

use super::VxlanSockets;
use super::tunnel::{PathProbe, TunnelEnd};
use crate::io::namespace::inode_of;
use crate::io::{DeviceChange, Namespace, OpenError, Opened, PortIo, TunnelPlan, VxlanPlan};

/// The open sockets and tunnels, by port.
#[derive(Debug, Default)]
pub(crate) struct Underlays {
    open: BTreeMap<String, Watched>,
}

#[derive(Debug)]
struct Watched {
    /// The name of its namespace and what it was; none: tapway's own.
    namespace: Option<(String, u64)>,
    /// Of a tunnel whose MTU is as its path says.
    probe: Option<PathProbe>,
    /// Of sockets, the interface of their groups.
    device: Option<String>,
    is_lost: bool,
}

impl Watched {
    fn new(namespace: &Namespace) -> Self {
        let named = namespace.name().map(|name| (name.to_owned(), namespace.inode()));
        Self { namespace: named, probe: None, device: None, is_lost: false }
    }

    /// Its namespace went, or another one has its name: told once.
    fn poll_lost(&mut self) -> Option<String> {
        let (name, inode) = self.namespace.as_ref()?;
        let is_there = inode_of(name) == Some(*inode);
        let was_lost = std::mem::replace(&mut self.is_lost, !is_there);
        (!is_there && !was_lost).then(|| format!("namespace {name} is gone"))
    }
}

impl Underlays {
    /// Opens the sockets of a VTEP.
    ///
    /// # Errors
    /// See [`VxlanSockets::open`].
    pub fn open_vxlan(&mut self, port: &str, plan: &VxlanPlan) -> Result<Opened, OpenError> {
        let namespace = namespace_of(plan.netns.as_deref())?;
        let sockets = VxlanSockets::open(&namespace, plan)?;
        let place = namespace.suffix();
        let description = format!("vxlan udp {} {}{place}", plan.port, plan.address);
        let watched = Watched { device: plan.device.clone(), ..Watched::new(&namespace) };
        self.open.insert(port.to_owned(), watched);
        Ok(opened(Box::new(sockets), None, description))
    }

    /// Opens a tunnel.
    ///
    /// # Errors
    /// If there is no such namespace, or the peer is not one of IPv4.
    pub fn open_tunnel(&mut self, port: &str, plan: &TunnelPlan) -> Result<Opened, OpenError> {
        let description = format!("vxlan {} to {}", plan.vni, plan.peer);
        if plan.mtu.is_some() {
            return Ok(opened(Box::new(TunnelEnd), plan.mtu, description));
        }
        let namespace = namespace_of(plan.netns.as_deref())?;
        let watched = Watched::new(&namespace);
        let mut sockets = self.open.values().filter(|other| other.namespace == watched.namespace);
        let device = sockets.find_map(|sockets| sockets.device.as_deref());
        let device = device.filter(|_| plan.peer.is_multicast());
        let probe = PathProbe::open(&namespace, plan.peer, device)?;
        let mtu = Some(probe.mtu());
        self.open.insert(port.to_owned(), Watched { probe: Some(probe), ..watched });
        Ok(opened(Box::new(TunnelEnd), mtu, description))
    }

    /// Forgets a port.
    pub fn close(&mut self, port: &str) {
        self.open.remove(port);
    }

    /// Appends what became of them since the last call.
    pub fn poll(&mut self, changes: &mut Vec<DeviceChange>) {
        for (port, watched) in &mut self.open {
            if let Some(why) = watched.poll_lost() {
                changes.push(DeviceChange::Lost { port: port.clone(), why });
            }
            if let Some(mtu) = watched.probe.as_mut().and_then(PathProbe::poll) {
                changes.push(DeviceChange::Mtu { port: port.clone(), mtu });
            }
        }
    }
}

fn namespace_of(name: Option<&str>) -> Result<Namespace, OpenError> {
    name.map_or_else(Namespace::own, Namespace::named)
}

fn opened(io: Box<dyn PortIo>, mtu: Option<u16>, description: String) -> Opened {
    Opened { io, mtu, station: None, description }
}
