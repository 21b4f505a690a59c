//! The tables as rows, for `show` and the API.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::id::NetworkId;
use crate::nat::{Direction, Endpoint, NatMode, Publish, StaticNat, Tuple};
use crate::packet::{MacAddr, PROTOCOL_TCP};
use crate::route::{NeighbourState, RouteKind};
use crate::time::Instant;

/// A line of `bridge fdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbRow {
    /// MAC.
    pub mac: MacAddr,
    /// Port it is behind; none for tapway's own MAC.
    pub port: Option<String>,
    /// Network.
    pub network: String,
    /// Configured, not learned.
    pub is_static: bool,
    /// Seconds since it was seen; zero for static entries.
    pub age_s: u64,
}

/// A line of `ip neigh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourRow {
    /// Address.
    pub address: Ipv4Addr,
    /// Network.
    pub network: String,
    /// MAC, if known.
    pub mac: Option<MacAddr>,
    /// State.
    pub state: NeighbourState,
}

/// A line of `ip route`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Prefix.
    pub destination: Ipv4Net,
    /// Next router, if any.
    pub via: Option<Ipv4Addr>,
    /// Network it leads to.
    pub network: String,
    /// Where it came from.
    pub kind: RouteKind,
    /// tapway's address there.
    pub source: Option<Ipv4Addr>,
}

/// A line of `conntrack -L`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// IP protocol number.
    pub protocol: u8,
    /// Seconds until it ends unless used.
    pub expires_s: u64,
    /// TCP state, empty for other protocols.
    pub state: String,
    /// Network of the packet that made it.
    pub network: String,
    /// Source of that packet.
    pub src: Endpoint,
    /// Destination of that packet.
    pub dst: Endpoint,
    /// Source of replies, as they come in.
    pub reply_src: Endpoint,
    /// Destination of replies, as they come in.
    pub reply_dst: Endpoint,
    /// A reply was seen.
    pub is_answered: bool,
}

/// tapway's place outside, to which packets are translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkRow {
    /// Its network.
    pub network: String,
    /// tapway's address.
    pub address: Ipv4Addr,
    /// The addresses packets are translated to; empty: `address`.
    pub pool: Vec<Ipv4Addr>,
}

/// How an inside network is translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatNetworkRow {
    /// The network.
    pub network: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// For TCP.
    pub tcp: NatMode,
    /// For UDP.
    pub udp: NatMode,
    /// For ICMP queries.
    pub icmp: NatMode,
    /// For the other protocols.
    pub other: NatMode,
    /// Destinations to which nothing is translated.
    pub exempt: Vec<Ipv4Net>,
}

/// A published port or range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRow {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// The address it answers on; none: every address of tapway.
    pub address: Option<Ipv4Addr>,
    /// First external port.
    pub port: u16,
    /// Ports in the range, at least one.
    pub count: u16,
    /// The network of the host.
    pub network: String,
    /// The host and its first port.
    pub target: Endpoint,
}

/// A static 1:1 translation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticNatRow {
    /// The network of the host.
    pub network: String,
    /// Its inside address.
    pub inside: Ipv4Addr,
    /// The external address that is its own.
    pub external: Ipv4Addr,
}

/// The rules of the NAPT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatView {
    /// tapway's place outside, if it has one.
    pub uplink: Option<UplinkRow>,
    /// The inside networks that have a gateway, by id.
    pub networks: Vec<NatNetworkRow>,
    /// Published ports, by protocol, address and port.
    pub publishes: Vec<PublishRow>,
    /// Static 1:1 translations.
    pub statics: Vec<StaticNatRow>,
}

impl Engine {
    /// The forwarding database, tapway's own MACs included, by network and MAC.
    pub fn fdb_rows(&self, now: Instant) -> Vec<FdbRow> {
        let own = self.interfaces.iter().map(|interface| FdbRow {
            mac: interface.mac,
            port: None,
            network: self.network_name(interface.network),
            is_static: true,
            age_s: 0,
        });
        let entries = self.fdb.iter().map(|entry| FdbRow {
            mac: entry.mac,
            port: self.port(entry.port).map(|port| port.name.clone()),
            network: self.network_name(entry.network),
            is_static: entry.is_static,
            age_s: if entry.is_static { 0 } else { now.since(entry.last_seen).as_secs() },
        });
        let mut rows: Vec<FdbRow> = own.chain(entries).collect();
        rows.sort_by(|a, b| (&a.network, a.mac).cmp(&(&b.network, b.mac)));
        rows
    }

    /// The neighbour table, by address.
    pub fn neighbour_rows(&self, now: Instant) -> Vec<NeighbourRow> {
        let mut rows: Vec<NeighbourRow> = self
            .neighbours
            .iter()
            .map(|entry| NeighbourRow {
                address: entry.ip,
                network: self.network_name(entry.network),
                mac: entry.mac,
                state: entry.state_at(now),
            })
            .collect();
        rows.sort_by_key(|row| row.address);
        rows
    }

    /// The routes, by prefix.
    pub fn route_rows(&self) -> Vec<RouteRow> {
        self.fib
            .iter()
            .map(|route| RouteRow {
                destination: route.destination,
                via: route.via,
                network: self.network_name(route.network),
                kind: route.kind,
                source: self.interfaces.get(route.network).map(|interface| interface.address),
            })
            .collect()
    }

    /// The sessions, at most `limit`, in no order that means anything.
    pub fn session_rows(&self, now: Instant, limit: usize) -> Vec<SessionRow> {
        self.nat
            .sessions()
            .take(limit)
            .map(|session| {
                let reply = Tuple::from(session.key(Direction::Reply));
                let protocol = session.original.protocol;
                let is_tcp = protocol == PROTOCOL_TCP;
                SessionRow {
                    protocol,
                    expires_s: session.deadline(self.nat.timeouts_of(session)).since(now).as_secs(),
                    state: if is_tcp { session.tcp.name().to_owned() } else { String::new() },
                    network: self.network_name(session.original.network),
                    src: Tuple::from(session.original).src,
                    dst: Tuple::from(session.original).dst,
                    reply_src: reply.src,
                    reply_dst: reply.dst,
                    is_answered: session.is_answered(),
                }
            })
            .collect()
    }

    /// Sessions now, and at most.
    pub const fn session_usage(&self) -> (usize, usize) {
        self.nat.usage()
    }

    /// Published ports.
    pub fn publishes(&self) -> Vec<Publish> {
        self.nat.publishes().iter().copied().collect()
    }

    /// Static 1:1 translations.
    pub fn statics(&self) -> Vec<StaticNat> {
        self.nat.statics().to_vec()
    }

    /// The rules of the NAPT.
    pub fn nat_view(&self) -> NatView {
        let uplink = self.interfaces.outside().map(|interface| UplinkRow {
            network: self.network_name(interface.network),
            address: interface.address,
            pool: interface.pool.clone(),
        });
        let inside = self.interfaces.iter().filter(|interface| !interface.is_outside);
        let networks = inside.filter_map(|interface| {
            let policy = &self.network(interface.network)?.nat;
            Some(NatNetworkRow {
                network: self.network_name(interface.network),
                subnet: interface.subnet.trunc(),
                tcp: policy.tcp,
                udp: policy.udp,
                icmp: policy.icmp,
                other: policy.other,
                exempt: policy.exempt.clone(),
            })
        });
        let publishes = self.nat.publishes().iter().map(|publish| PublishRow {
            protocol: publish.protocol,
            address: publish.address,
            port: publish.port,
            count: publish.count,
            network: self.network_name(publish.network),
            target: publish.target,
        });
        let statics = self.nat.statics().iter().map(|entry| StaticNatRow {
            network: self.network_name(entry.network),
            inside: entry.inside,
            external: entry.external,
        });
        NatView {
            uplink,
            networks: networks.collect(),
            publishes: publishes.collect(),
            statics: statics.collect(),
        }
    }

    /// A network's name; empty if there is none.
    pub fn network_name(&self, id: NetworkId) -> String {
        self.network(id).map(|network| network.bridge.name.clone()).unwrap_or_default()
    }
}
