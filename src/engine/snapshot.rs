//! The state that outlives a process: sessions with their mappings, learned MACs, neighbours.
//!
//! Networks and ports are named, not numbered, so a snapshot fits an engine that was configured
//! anew. What no longer fits is left out and counted, never forced in.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::id::{NetworkId, PortId};
use crate::nat::{Endpoint, Mapping, NatMode, Session, TcpState, Tuple};
use crate::packet::{FlowKey, MacAddr, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::switch::FdbKey;
use crate::time::Instant;

/// Version of the format; another one is refused.
pub const SNAPSHOT_VERSION: u32 = 1;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`].
    pub version: u32,
    fdb: Vec<FdbRecord>,
    neighbours: Vec<NeighbourRecord>,
    sessions: Vec<SessionRecord>,
}

/// What of a snapshot could be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Sessions that go on.
    pub sessions: usize,
    /// Entries whose network or port is gone, or that clash with what is there.
    pub left_out: usize,
}

/// Why a snapshot cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by another version.
    #[error("snapshot version {0} is not {SNAPSHOT_VERSION}; start without it")]
    Version(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FdbRecord {
    network: String,
    port: String,
    mac: MacAddr,
    age_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NeighbourRecord {
    network: String,
    address: Ipv4Addr,
    mac: MacAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SessionRecord {
    protocol: u8,
    original: SideRecord,
    reply: SideRecord,
    idle_s: u64,
    tcp: u8,
    refreshes: (bool, bool),
    is_published: bool,
    is_answered: bool,
    is_overloaded: bool,
    mapping: Option<(Endpoint, Endpoint, NatMode)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SideRecord {
    network: String,
    src: Endpoint,
    dst: Endpoint,
}

impl Engine {
    /// Writes the state down. Sessions to another host's dynamic mapping are left out: their
    /// hosts open them again.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let fdb = self.fdb.iter().filter(|entry| !entry.is_static).filter_map(|entry| {
            Some(FdbRecord {
                network: self.network_name(entry.network),
                port: self.port(entry.port)?.name.clone(),
                mac: entry.mac,
                age_s: now.since(entry.last_seen).as_secs(),
            })
        });
        let neighbours = self.neighbours.iter().filter_map(|entry| {
            let network = self.network_name(entry.network);
            Some(NeighbourRecord { network, address: entry.ip, mac: entry.mac? })
        });
        let sessions = self.nat.mapped_sessions().filter_map(|(session, own, far)| {
            far.is_none().then(|| self.record(now, session, own)).flatten()
        });
        Snapshot {
            version: SNAPSHOT_VERSION,
            fdb: fdb.collect(),
            neighbours: neighbours.collect(),
            sessions: sessions.collect(),
        }
    }

    /// Takes a snapshot's state over, as far as it fits the present networks and ports.
    ///
    /// # Errors
    /// [`SnapshotError::Version`] if it was written by another version; nothing has changed then.
    pub fn restore(&mut self, now: Instant, from: &Snapshot) -> Result<Restored, SnapshotError> {
        if from.version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(from.version));
        }
        let mut restored = Restored::default();
        for record in &from.fdb {
            if self.restore_mac(now, record).is_none() {
                restored.left_out += 1;
            }
        }
        for record in &from.neighbours {
            if self.restore_neighbour(now, record).is_none() {
                restored.left_out += 1;
            }
        }
        for record in &from.sessions {
            match self.restore_session(now, record) {
                Some(()) => restored.sessions += 1,
                None => restored.left_out += 1,
            }
        }
        Ok(restored)
    }

    /// Enters a learned MAC, unless it is known already or cannot be there.
    fn restore_mac(&mut self, now: Instant, record: &FdbRecord) -> Option<()> {
        let network = self.network_by_name(&record.network)?;
        let port = self.port_by_name(&record.port)?;
        let key = FdbKey::new(network, record.mac);
        let fits = record.mac.is_station()
            && !self.is_gateway_mac(network, record.mac)
            && self.port(port).is_some_and(|port| port.network == network)
            && self.fdb.lookup(now, key).is_none();
        fits.then(|| self.fdb.learn(now, key, port, self.fdb.hash(key))).map(|_| ())
    }

    /// Enters a neighbour, unless it is known already or cannot be there.
    fn restore_neighbour(&mut self, now: Instant, record: &NeighbourRecord) -> Option<()> {
        let network = self.network_by_name(&record.network)?;
        let (ip, mac) = (record.address, record.mac);
        let fits = self.interfaces.get(network)?.subnet.contains(&ip)
            && self.interfaces.owner_of(ip).is_none()
            && mac.is_station()
            && !self.neighbours.iter().any(|known| known.network == network && known.ip == ip);
        fits.then(|| self.neighbours.restore(now, network, ip, mac))
    }

    fn record(
        &self,
        now: Instant,
        session: &Session,
        own: Option<&Mapping>,
    ) -> Option<SessionRecord> {
        let side = |key: FlowKey| SideRecord {
            network: self.network_name(key.network),
            src: Endpoint::new(key.src, key.sport),
            dst: Endpoint::new(key.dst, key.dport),
        };
        Some(SessionRecord {
            protocol: session.original.protocol,
            original: side(session.original),
            reply: side(session.reply),
            idle_s: now.since(session.last_seen).as_secs(),
            tcp: session.tcp.to_bits(),
            refreshes: session.refreshes(),
            is_published: session.is_published(),
            is_answered: session.is_answered(),
            is_overloaded: session.is_overloaded(),
            mapping: own.map(|mapping| (mapping.inside, mapping.external, mapping.mode)),
        })
    }

    fn restore_session(&mut self, now: Instant, record: &SessionRecord) -> Option<()> {
        let protocol = record.protocol;
        let key = |side: &SideRecord, network| FlowKey {
            network,
            protocol,
            src: side.src.ip,
            dst: side.dst.ip,
            sport: side.src.port,
            dport: side.dst.port,
        };
        let original = key(&record.original, self.network_by_name(&record.original.network)?);
        let reply = key(&record.reply, self.network_by_name(&record.reply.network)?);
        let idle = std::time::Duration::from_secs(record.idle_s);
        let last_seen = Instant::from_nanos(
            now.as_nanos().saturating_sub(u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX)),
        );
        let session = Session::restored(
            (original, reply),
            last_seen,
            TcpState::from_bits(record.tcp),
            record.refreshes,
            (record.is_published, record.is_answered),
        );
        let session = if record.is_overloaded { session.overloaded() } else { session };
        if !self.still_holds(&session, record.mapping.as_ref()) {
            return None;
        }
        let from_inside = self.is_inside(original.network);
        let held_by = if from_inside { original } else { reply };
        let mapping = record.mapping.map(|(inside, external, mode)| Mapping {
            network: original.network,
            protocol,
            inside,
            external,
            mode,
            sessions: 0,
        });
        self.nat.restore(now, (held_by.network, held_by.src), session, mapping).then_some(())
    }

    /// Whether the present configuration would translate a session the same way.
    fn still_holds(
        &self,
        session: &Session,
        mapping: Option<&(Endpoint, Endpoint, NatMode)>,
    ) -> bool {
        let (original, reply) = (session.original, session.reply);
        let (source, external) = (Tuple::from(original).src, Tuple::from(reply).dst);
        let is_owned = |address| self.interfaces.owner_of(address).is_some();
        let leads_to = |key: &FlowKey, to: (NetworkId, Endpoint)| {
            self.nat.inside_of(self.nat.destination(key, is_owned(key.dst))) == Some(to)
        };
        if self.is_inside(reply.network) {
            return leads_to(&original, (reply.network, Tuple::from(reply).src));
        }
        if let Some((inside, mapped, _)) = mapping {
            return is_owned(external.ip) && (*inside, *mapped) == (source, external);
        }
        let is_by_address =
            !matches!(original.protocol, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_ICMP);
        is_owned(external.ip)
            && (session.is_overloaded()
                || is_by_address
                || leads_to(&reply, (original.network, source)))
    }

    fn network_by_name(&self, name: &str) -> Option<NetworkId> {
        let at = self
            .networks
            .iter()
            .position(|network| network.as_ref().is_some_and(|n| n.bridge.name == name))?;
        Some(NetworkId(at as u16))
    }

    fn port_by_name(&self, name: &str) -> Option<PortId> {
        self.ports_with_ids().find(|(_, port)| port.name == name).map(|(id, _)| id)
    }
}
