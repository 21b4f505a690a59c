//! What the engine knows of the overlay, and how control changes it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use foldhash::quality::FixedState;

use super::{Audience, CommandError, Engine, Notice, Underlay, Vtep};
use crate::id::{NetworkId, PortId};
use crate::nat::Endpoint;
use crate::overlay::{Endpoints, Tunnels};
use crate::packet::vxlan::TUNNEL_OVERHEAD;
use crate::packet::{MacAddr, PROTOCOL_UDP};
use crate::switch::{PortRole, Tunnel};
use crate::table::KeyHash;
use crate::time::Instant;

/// How long a path MTU is believed that a router told of (RFC 1191 6.3).
const PATH_MTU_AGE: Duration = Duration::from_secs(600);
/// The smallest path MTU that is believed, in bytes: a forged one must not cut everything into
/// crumbs. Every host takes packets of this size (RFC 791 3.2).
const MIN_PATH_MTU: u16 = 576;

/// The VTEP that tapway is, its tunnels and what is known behind them.
#[derive(Debug)]
pub(super) struct Overlay {
    pub vtep: Option<Vtep>,
    pub tunnels: Tunnels,
    pub endpoints: Endpoints,
    /// By peer, what the engine itself was told by routers. Bound: the peers of tunnels.
    paths: HashMap<Ipv4Addr, PathMtu, FixedState>,
    /// Datagrams that wait for the underlay's neighbours. What is inside was counted already.
    pub waiting: usize,
    /// Of inner flows: source ports hang on it.
    pub flow_hash: KeyHash,
}

#[derive(Clone, Copy, Debug)]
struct PathMtu {
    mtu: u16,
    until: Instant,
}

impl Overlay {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            vtep: None,
            tunnels: Tunnels::default(),
            endpoints: Endpoints::default(),
            paths: HashMap::default(),
            waiting: 0,
            flow_hash: KeyHash::new(seed),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.paths.values().map(|path| path.until).min()
    }
}

impl Engine {
    /// Makes tapway another VTEP. On the uplink its port is given to no session.
    pub(super) fn set_vtep(&mut self, now: Instant, vtep: Option<Vtep>) -> usize {
        self.overlay.vtep = vtep;
        let on_uplink = vtep.filter(|vtep| vtep.underlay == Underlay::Uplink);
        let own = on_uplink.map(|vtep| (PROTOCOL_UDP, Endpoint::new(vtep.address, vtep.port)));
        self.nat.keep_for_itself(now, own)
    }

    /// Replaces what is known of a network's hosts behind tunnels.
    pub(super) fn set_endpoints(
        &mut self,
        network: NetworkId,
        hosts: Vec<(Ipv4Addr, MacAddr)>,
    ) -> Result<(), CommandError> {
        if self.network(network).is_none() {
            return Err(CommandError::UnknownNetwork(network));
        }
        self.overlay.endpoints.set(network, hosts);
        Ok(())
    }

    /// Enters all tunnels anew, after any change of networks and ports.
    pub(super) fn refresh_tunnels(&mut self) {
        let tunnels = &mut self.overlay.tunnels;
        tunnels.clear();
        for (at, network) in self.networks.iter().enumerate() {
            if let Some(spec) = network.as_ref().and_then(|network| network.vxlan) {
                tunnels.add_network(spec.vni, NetworkId(at as u16), spec.accepts_any);
            }
        }
        for (at, port) in self.ports.iter().enumerate() {
            let Some(port) = port else { continue };
            let network = self.networks.get(port.network.index()).and_then(Option::as_ref);
            let spec = network.and_then(|network| network.vxlan);
            if let (PortRole::Tunnel(Tunnel { peer, .. }), Some(spec)) = (port.role, spec) {
                tunnels.add(spec.vni, peer, PortId(at as u16));
            }
        }
    }

    /// True if a peer has its sockets there. A peer knows tapway by its address, which hosts inside
    /// may share: whatever they wrote would come from tapway.
    pub(super) fn is_vtep_of_peer(&self, protocol: u8, at: Endpoint) -> bool {
        let is_port = self.overlay.vtep.is_some_and(|vtep| vtep.port == at.port);
        let mut tunnels = self.overlay.tunnels.to(IpAddr::V4(at.ip));
        protocol == PROTOCOL_UDP && is_port && tunnels.next().is_some()
    }

    /// The largest packet that a port's device takes. A tunnel's path may take less.
    pub(super) fn set_port_mtu(&mut self, id: PortId, mtu: u16) -> Result<(), CommandError> {
        let port = self.port(id).ok_or(CommandError::UnknownPort(id))?;
        let path = match port.role {
            PortRole::Tunnel(Tunnel { peer: IpAddr::V4(peer), .. }) => {
                self.overlay.paths.get(&peer)
            }
            _ => None,
        };
        let most = path.map_or(u16::MAX, |path| inner_mtu(path.mtu));
        if let Some(port) = self.port_mut(id) {
            (port.full_mtu, port.mtu) = (mtu, mtu.min(most));
        }
        Ok(())
    }

    /// The way to a peer takes outer packets of no more than `mtu` bytes, as the kernel or a router
    /// says. What the engine learns of its own uplink is believed for ten minutes; a socket's
    /// kernel keeps count itself, and control tells when that changes ([`Command::SetPortMtu`]).
    ///
    /// [`Command::SetPortMtu`]: super::Command::SetPortMtu
    pub fn lower_path_mtu(&mut self, now: Instant, peer: Ipv4Addr, mtu: u16) {
        self.notify(Audience::All, Notice::PathMtu { peer, mtu });
        self.believe_path_mtu(now, peer, mtu);
    }

    pub(super) fn believe_path_mtu(&mut self, now: Instant, peer: Ipv4Addr, mtu: u16) {
        let tunnels: Vec<PortId> = self.overlay.tunnels.to(IpAddr::V4(peer)).collect();
        if mtu < MIN_PATH_MTU || tunnels.is_empty() {
            return;
        }
        if self.overlay.vtep.is_some_and(|vtep| vtep.underlay == Underlay::Uplink) {
            self.overlay.paths.insert(peer, PathMtu { mtu, until: now + PATH_MTU_AGE });
        }
        for id in tunnels {
            if let Some(port) = self.port_mut(id) {
                port.mtu = port.mtu.min(inner_mtu(mtu));
            }
        }
        // Flows remember what their way takes.
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Path MTUs that are not believed any more.
    pub(super) fn age_path_mtus(&mut self, now: Instant) {
        let aged: Vec<Ipv4Addr> = self
            .overlay
            .paths
            .iter()
            .filter(|(_, path)| path.until <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in aged {
            self.overlay.paths.remove(&peer);
            let tunnels: Vec<PortId> = self.overlay.tunnels.to(IpAddr::V4(peer)).collect();
            for id in tunnels {
                if let Some(port) = self.port_mut(id) {
                    port.mtu = port.full_mtu;
                }
            }
            self.epoch = self.epoch.wrapping_add(1);
        }
    }
}

/// The largest packet inside of an outer packet of `mtu` bytes.
const fn inner_mtu(mtu: u16) -> u16 {
    mtu.saturating_sub(TUNNEL_OVERHEAD)
}
