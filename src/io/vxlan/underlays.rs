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
    is_lost: bool,
}

impl Watched {
    fn new(namespace: &Namespace, probe: Option<PathProbe>) -> Self {
        let named = namespace.name().map(|name| (name.to_owned(), namespace.inode()));
        Self { namespace: named, probe, is_lost: false }
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
        // Former sockets have been closed by who had them, before the port is taken anew.
        let sockets = VxlanSockets::open(&namespace, plan)?;
        let place = namespace.suffix();
        let description = format!("vxlan udp {} {}{place}", plan.port, plan.address);
        self.open.insert(port.to_owned(), Watched::new(&namespace, None));
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
        let probe = PathProbe::open(&namespace, plan.peer)?;
        let mtu = Some(probe.mtu());
        self.open.insert(port.to_owned(), Watched::new(&namespace, Some(probe)));
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
