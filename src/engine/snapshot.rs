//! The state that outlives a process: sessions with their mappings, learned MACs, neighbours.
//!
//! Networks and ports are named, not numbered, so a snapshot fits an engine that was configured
//! anew. What no longer fits is left out and counted, never forced in.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::nat::{Endpoint, Mapping, NatMode, Session};
use crate::packet::{FlowKey, MacAddr};
use crate::time::Instant;

/// Version of the format; another one is refused.
pub const SNAPSHOT_VERSION: u32 = 1;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`].
    pub version: u32,
    pub(super) fdb: Vec<FdbRecord>,
    pub(super) neighbours: Vec<NeighbourRecord>,
    pub(super) sessions: Vec<SessionRecord>,
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
pub(super) struct FdbRecord {
    pub network: String,
    pub port: String,
    pub mac: MacAddr,
    pub age_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NeighbourRecord {
    pub network: String,
    pub address: Ipv4Addr,
    pub mac: MacAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub protocol: u8,
    pub original: SideRecord,
    pub reply: SideRecord,
    pub idle_s: u64,
    pub tcp: u8,
    pub refreshes: (bool, bool),
    pub is_published: bool,
    pub is_answered: bool,
    pub is_overloaded: bool,
    pub mapping: Option<(Endpoint, Endpoint, NatMode)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SideRecord {
    pub network: String,
    pub src: Endpoint,
    pub dst: Endpoint,
}

impl Snapshot {
    /// One snapshot out of those of all engines that carry a switch together.
    pub fn joined(of_each: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut all = of_each.into_iter().reduce(|mut all, one| {
            all.fdb.extend(one.fdb);
            all.neighbours.extend(one.neighbours);
            all.sessions.extend(one.sessions);
            all
        })?;
        // What several know, whoever heard of it last knows best.
        all.fdb.sort_by(|a, b| (&a.network, a.mac, a.age_s).cmp(&(&b.network, b.mac, b.age_s)));
        all.fdb.dedup_by(|later, first| (&later.network, later.mac) == (&first.network, first.mac));
        all.neighbours.sort_by(|a, b| (&a.network, a.address).cmp(&(&b.network, b.address)));
        all.neighbours.dedup_by(|later, first| {
            (&later.network, later.address) == (&first.network, first.address)
        });
        Some(all)
    }
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
}
