//! The state that outlives a process: sessions with their mappings, learned MACs, neighbours.
//!
//! Networks and ports are named, not numbered, so a snapshot fits an engine that was configured
//! anew. What no longer fits is left out and counted, never forced in.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::id::{NetworkId, PortId};
use crate::nat::{Endpoint, Mapping, NatMode, Session, TcpState};
use crate::packet::{FlowKey, MacAddr};
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
        let sessions = self.nat.sessions().filter_map(|session| self.record(now, session));
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
            match (self.network_by_name(&record.network), self.port_by_name(&record.port)) {
                (Some(network), Some(port)) => {
                    let hash = self.fdb.hash(network, record.mac);
                    self.fdb.learn(now, (network, record.mac), port, (hash, None));
                }
                _ => restored.left_out += 1,
            }
        }
        for record in &from.neighbours {
            match self.network_by_name(&record.network) {
                Some(network) => {
                    self.neighbours.restore(now, network, record.address, record.mac);
                }
                None => restored.left_out += 1,
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

    fn record(&self, now: Instant, session: &Session) -> Option<SessionRecord> {
        let side = |key: FlowKey| SideRecord {
            network: self.network_name(key.network),
            src: Endpoint::new(key.src, key.sport),
            dst: Endpoint::new(key.dst, key.dport),
        };
        let (own, far) = self.nat.mappings_of(session);
        if far.is_some() {
            return None;
        }
        Some(SessionRecord {
            protocol: session.original.protocol,
            original: side(session.original),
            reply: side(session.reply),
            idle_s: now.since(session.last_seen).as_secs(),
            tcp: session.tcp.to_bits(),
            refreshes: (session.original_refreshes, session.reply_refreshes),
            is_published: session.is_published,
            is_answered: session.is_answered,
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
        let mapping = record.mapping.map(|(inside, external, mode)| Mapping {
            network: original.network,
            protocol,
            inside,
            external,
            mode,
            sessions: 0,
        });
        self.nat.restore(now, session, mapping).then_some(())
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
