//! The sessions of a host, at either end: found without a look at those of all others when the host
//! goes, which a host with DHCP may do as often as it likes.

use std::net::Ipv4Addr;

use super::{Direction, Session};
use crate::id::NetworkId;
use crate::table::{KeyHash, Links, List};

/// Most lists. A list holds the sessions of all hosts of one hash.
const MAX_LISTS: usize = 1 << 16;

/// Sessions by the source of each direction. Bound: two entries per session.
#[derive(Debug)]
pub(super) struct HostSessions {
    /// As many as a power of two.
    lists: Vec<List>,
    links: Links,
    hasher: KeyHash,
}

impl HostSessions {
    pub(super) fn new(sessions: usize, seed: u64) -> Self {
        let lists = sessions.clamp(1, MAX_LISTS).next_power_of_two();
        Self {
            lists: vec![List::default(); lists],
            links: Links::new(sessions.saturating_mul(2)),
            hasher: KeyHash::new(seed),
        }
    }

    pub(super) fn insert(&mut self, index: u32, session: &Session) {
        for direction in [Direction::Original, Direction::Reply] {
            let at = self.list_of(session, direction);
            if let Some(list) = self.lists.get_mut(at) {
                list.push_back(&mut self.links, entry(index, direction));
            }
        }
    }

    pub(super) fn remove(&mut self, index: u32, session: &Session) {
        for direction in [Direction::Original, Direction::Reply] {
            let at = self.list_of(session, direction);
            if let Some(list) = self.lists.get_mut(at) {
                list.remove(&mut self.links, entry(index, direction));
            }
        }
    }

    /// The sessions that a host may be in, and others of the same hash.
    pub(super) fn of(&self, network: NetworkId, ip: Ipv4Addr) -> impl Iterator<Item = u32> + '_ {
        let list = self.lists.get(self.list_at(network, ip)).copied().unwrap_or_default();
        let next = move |at: &u32| list.next(&self.links, *at);
        std::iter::successors(list.front(), next).map(|entry| entry >> 1)
    }

    fn list_of(&self, session: &Session, direction: Direction) -> usize {
        let key = session.key(direction);
        self.list_at(key.network, key.src)
    }

    fn list_at(&self, network: NetworkId, ip: Ipv4Addr) -> usize {
        let hash = self.hasher.hash(u64::from(network.0) << 32 | u64::from(ip.to_bits()));
        hash as usize & (self.lists.len() - 1)
    }
}

const fn entry(index: u32, direction: Direction) -> u32 {
    index << 1 | matches!(direction, Direction::Reply) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::TcpState;
    use crate::packet::{FlowKey, PROTOCOL_UDP};
    use crate::time::Instant;

    const INSIDE: NetworkId = NetworkId(1);
    const SESSIONS: u32 = 10_000;

    fn host(index: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 + index % 1000)
    }

    /// Of a thousand hosts, ten each, to as many servers.
    fn session(index: u32) -> Session {
        let (src, dst) = (host(index), Ipv4Addr::from_bits(0xc000_0000 + index));
        let sport = index as u16;
        let original =
            FlowKey { network: INSIDE, protocol: PROTOCOL_UDP, src, dst, sport, dport: 53 };
        let reply = FlowKey {
            network: NetworkId(0),
            src: dst,
            dst: Ipv4Addr::new(192, 0, 2, 1),
            sport: 53,
            dport: sport,
            ..original
        };
        Session::new((original, reply), Instant::from_secs(1), TcpState::default(), 0)
    }

    #[test]
    fn a_host_is_found_by_both_ends_among_few_others() {
        let mut sessions = HostSessions::new(SESSIONS as usize, 7);
        (0..SESSIONS).for_each(|index| sessions.insert(index, &session(index)));
        for index in 0..1000 {
            let found: Vec<u32> = sessions.of(INSIDE, host(index)).collect();
            assert!((0..10).all(|round| found.contains(&(index + round * 1000))), "{index}");
            assert!(found.len() < 100, "{} of {SESSIONS}", found.len());
        }
        let server = session(77).reply.src;
        assert!(sessions.of(NetworkId(0), server).any(|index| index == 77));
        (0..SESSIONS).for_each(|index| sessions.remove(index, &session(index)));
        assert!((0..1000).all(|index| sessions.of(INSIDE, host(index)).next().is_none()));
    }
}
