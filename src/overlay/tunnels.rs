//! Which tunnel a datagram came by: the network's number and the sender's address say.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::quality::FixedState;

use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::packet::vxlan::Vni;

/// A network that stretches beyond this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretched {
    network: NetworkId,
    accepts_any: bool,
}

/// The tunnels of all networks. Bound: the ports there are.
///
/// The keys of its maps are configured, so nobody chooses them to collide.
#[derive(Debug, Default)]
pub struct Tunnels {
    networks: HashMap<Vni, Stretched, FixedState>,
    ports: HashMap<(Vni, IpAddr), PortId, FixedState>,
    /// What was found last: datagrams of one peer come together.
    last: Option<(Vni, IpAddr, PortId)>,
}

/// Why a datagram belongs to no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTunnel {
    /// Its network is not here.
    UnknownVni,
    /// Its sender is no peer of the network.
    Foreign,
    /// Nor is this one, but it may become one.
    Candidate(NetworkId),
}

impl From<NoTunnel> for DropReason {
    fn from(why: NoTunnel) -> Self {
        match why {
            NoTunnel::UnknownVni => Self::VxlanUnknownVni,
            NoTunnel::Foreign | NoTunnel::Candidate(_) => Self::VxlanForeignPeer,
        }
    }
}

impl Tunnels {
    /// Forgets everything, to be told anew.
    pub fn clear(&mut self) {
        self.networks.clear();
        self.ports.clear();
        self.last = None;
    }

    /// A network has a number; `accepts_any`: who is no peer yet may become one.
    pub fn add_network(&mut self, vni: Vni, network: NetworkId, accepts_any: bool) {
        self.networks.insert(vni, Stretched { network, accepts_any });
    }

    /// A network has a tunnel to an endpoint.
    pub fn add(&mut self, vni: Vni, peer: IpAddr, port: PortId) {
        self.ports.insert((vni, peer), port);
    }

    /// The tunnel that a datagram came by.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&mut self, vni: Vni, peer: IpAddr) -> Result<PortId, NoTunnel> {
        if let Some((known, of, port)) = self.last
            && (known, of) == (vni, peer)
        {
            return Ok(port);
        }
        if let Some(port) = self.ports.get(&(vni, peer)) {
            self.last = Some((vni, peer, *port));
            return Ok(*port);
        }
        let known = self.networks.get(&vni).ok_or(NoTunnel::UnknownVni)?;
        if known.accepts_any {
            Err(NoTunnel::Candidate(known.network))
        } else {
            Err(NoTunnel::Foreign)
        }
    }

    /// The tunnels to an endpoint, of whichever network.
    pub fn to(&self, peer: IpAddr) -> impl Iterator<Item = PortId> {
        self.ports.iter().filter(move |((_, other), _)| *other == peer).map(|(_, port)| *port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_found_by_network_and_sender() {
        let vni = |number| Vni::try_from(number).unwrap();
        let peer = |last| IpAddr::from([192, 0, 2, last]);
        let mut tunnels = Tunnels::default();
        tunnels.add_network(vni(1), NetworkId(1), false);
        tunnels.add_network(vni(2), NetworkId(2), true);
        tunnels.add(vni(1), peer(1), PortId(7));
        tunnels.add(vni(2), peer(1), PortId(8));
        assert_eq!(tunnels.find(vni(1), peer(1)), Ok(PortId(7)));
        assert_eq!(tunnels.find(vni(2), peer(1)), Ok(PortId(8)));
        assert_eq!(tunnels.find(vni(1), peer(2)), Err(NoTunnel::Foreign));
        assert_eq!(tunnels.find(vni(2), peer(2)), Err(NoTunnel::Candidate(NetworkId(2))));
        assert_eq!(tunnels.find(vni(3), peer(1)), Err(NoTunnel::UnknownVni));
        let mut to: Vec<PortId> = tunnels.to(peer(1)).collect();
        to.sort();
        assert_eq!(to, [PortId(7), PortId(8)]);
        tunnels.clear();
        assert_eq!(tunnels.find(vni(1), peer(1)), Err(NoTunnel::UnknownVni));
    }
}
