//! A snapshot's state taken over: what still fits, by each engine what is its own.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::snapshot::{FdbRecord, NeighbourRecord, SessionRecord, SideRecord};
use super::{Engine, Restored, SNAPSHOT_VERSION, Snapshot, SnapshotError};
use crate::id::{NetworkId, PortId, WorkerId};
use crate::nat::{Endpoint, Mapping, PortLeases, Session, TcpState, Tuple};
use crate::packet::{FlowKey, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::switch::FdbKey;
use crate::time::Instant;

impl Engine {
    /// Takes a snapshot's state over, as far as it fits the present networks and ports. Of several
    /// engines each must be given the same snapshot ([`Snapshot::joined`]), and takes what is its
    /// own; what all know is counted by the first.
    ///
    /// # Errors
    /// [`SnapshotError::Version`] if it was written by another version; nothing has changed then.
    pub fn restore(&mut self, now: Instant, from: &Snapshot) -> Result<Restored, SnapshotError> {
        if from.version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(from.version));
        }
        let mut restored = Restored::default();
        let counts = usize::from(self.is_arp_worker());
        for record in &from.fdb {
            if self.restore_mac(now, record).is_none() {
                restored.left_out += counts;
            }
        }
        for record in &from.neighbours {
            if self.restore_neighbour(now, record).is_none() {
                restored.left_out += counts;
            }
        }
        let sessions: Vec<_> =
            from.sessions.iter().map(|record| self.session_of(now, record)).collect();
        let takers = self.takers(sessions.iter().flatten());
        for session in sessions {
            match session
                .map(|(session, mapping)| self.restore_session(now, session, mapping, &takers))
            {
                None => restored.left_out += counts,
                Some(Some(true)) => restored.sessions += 1,
                Some(Some(false)) => restored.left_out += 1,
                Some(None) => {}
            }
        }
        Ok(restored)
    }

    /// Which engine gets each chunk of external ports that a snapshot's sessions have ports in. A
    /// chunk is one engine's: where hosts of several have ports in it, as they may if there were
    /// other engines, the one whose hosts have most sessions there gets it, and the other sessions
    /// cannot go on.
    fn takers<'a>(
        &mut self,
        sessions: impl Iterator<Item = &'a (Session, Option<Mapping>)>,
    ) -> HashMap<PortChunk, WorkerId> {
        if self.share.is_sole() {
            return HashMap::new();
        }
        let mut claims: HashMap<(PortChunk, WorkerId), usize> = HashMap::new();
        for (session, mapping) in sessions {
            let owner = self.owner_of(&session.original);
            if let Some(chunk) = chunk_of(session, mapping.as_ref()) {
                *claims.entry((chunk, owner)).or_default() += 1;
            }
        }
        let mut takers: HashMap<PortChunk, (usize, WorkerId)> = HashMap::new();
        for ((chunk, owner), count) in claims {
            let taker = takers.entry(chunk).or_insert((count, owner));
            // All engines must come to the same, so that of equals the first gets it.
            if (count, Reverse(owner)) > (taker.0, Reverse(taker.1)) {
                *taker = (count, owner);
            }
        }
        takers.into_iter().map(|(chunk, (_, owner))| (chunk, owner)).collect()
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

    /// A session as the present networks call it; none if one of them is gone.
    fn session_of(
        &self,
        now: Instant,
        record: &SessionRecord,
    ) -> Option<(Session, Option<Mapping>)> {
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
        let mapping = record.mapping.map(|(inside, external, mode)| Mapping {
            network: original.network,
            protocol,
            inside,
            external,
            mode,
            sessions: 0,
        });
        Some((session, mapping))
    }

    /// Enters a session; false if it does not fit, none if it is another engine's.
    fn restore_session(
        &mut self,
        now: Instant,
        session: Session,
        mapping: Option<Mapping>,
        takers: &HashMap<PortChunk, WorkerId>,
    ) -> Option<bool> {
        let own = self.share.worker;
        if !self.share.is_sole() && self.owner_of(&session.original) != own {
            return None;
        }
        let taker = chunk_of(&session, mapping.as_ref()).and_then(|chunk| takers.get(&chunk));
        if taker.is_some_and(|taker| *taker != own) || !self.still_holds(&session, mapping.as_ref())
        {
            return Some(false);
        }
        let from_inside = self.is_inside(session.original.network);
        let held_by = if from_inside { session.original } else { session.reply };
        Some(self.nat.restore(now, (held_by.network, held_by.src), session, mapping))
    }

    /// Whether the present configuration would translate a session the same way.
    fn still_holds(&self, session: &Session, mapping: Option<&Mapping>) -> bool {
        let (original, reply) = (session.original, session.reply);
        let (source, external) = (Tuple::from(original).src, Tuple::from(reply).dst);
        let is_owned = |address| self.interfaces.owner_of(address).is_some();
        let leads_to = |key: &FlowKey, to: (NetworkId, Endpoint)| {
            self.nat.inside_of(self.nat.destination(key, is_owned(key.dst))) == Some(to)
        };
        if self.is_inside(reply.network) {
            return leads_to(&original, (reply.network, Tuple::from(reply).src));
        }
        if let Some(mapping) = mapping {
            let is_its = (mapping.inside, mapping.external) == (source, external);
            return is_owned(external.ip) && is_its;
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

/// External address, protocol, and number of a chunk of ports.
type PortChunk = (Ipv4Addr, u8, u16);

/// The chunk in which a session has a port, if it has one that is leased.
fn chunk_of(session: &Session, mapping: Option<&Mapping>) -> Option<PortChunk> {
    let shared = Tuple::from(session.reply).dst;
    let at = mapping.map(|mapping| mapping.external);
    let at = at.or_else(|| session.is_overloaded().then_some(shared))?;
    Some((at.ip, session.original.protocol, PortLeases::chunk(at.port)))
}
