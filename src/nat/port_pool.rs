//! The external ports of one external address and protocol.
//!
//! A wished-for port is given if it is free; else one at random of the same class (0-1023 or
//! above, RFC 4787 REQ-3a) and parity (REQ-4). A released port rests for the quarantine (RFC 6888
//! REQ-8), except for the host that had it, after a tracked TCP close, or when nothing else is
//! left.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::random::Random;
use crate::time::Instant;

const WORDS: usize = 1024;
/// Ports below are of a class of their own.
const WELL_KNOWN: u16 = 1024;
const WELL_KNOWN_WORDS: usize = WELL_KNOWN as usize / 64;
const EVEN_BITS: u64 = 0x5555_5555_5555_5555;

/// Ports of one external address and protocol.
#[derive(Clone, Debug)]
pub(super) struct PortPool {
    used: Box<[u64; WORDS]>,
    /// Until when a port rests, and for whom it does not.
    resting: HashMap<u16, (Instant, Ipv4Addr)>,
    /// Resting ports in the order of release; one that was taken meanwhile no longer counts.
    rests: VecDeque<(u16, Instant)>,
}

/// The first and the last port of the class of a port: 0-1023 or above (RFC 4787 REQ-3a).
pub(super) const fn class_of(port: u16) -> (u16, u16) {
    if port < WELL_KNOWN { (1, WELL_KNOWN - 1) } else { (WELL_KNOWN, u16::MAX) }
}

impl Default for PortPool {
    fn default() -> Self {
        let mut used = Box::new([0; WORDS]);
        if let Some(first) = used.first_mut() {
            *first = 1; // port 0 is never given out
        }
        Self { used, resting: HashMap::new(), rests: VecDeque::new() }
    }
}

impl PortPool {
    /// Gives a port to `host`: `wish` if it can be had, else a random one; none if all are used.
    pub(super) fn allocate(
        &mut self,
        now: Instant,
        wish: u16,
        host: Ipv4Addr,
        random: &mut Random,
    ) -> Option<u16> {
        self.end_rests(now);
        if self.reserve_for(wish, host) {
            return Some(wish);
        }
        let port = self.search(wish, random, true).or_else(|| self.search(wish, random, false));
        match port {
            Some(port) => {
                self.set(port, true);
                Some(port)
            }
            None => self.wake_oldest(wish),
        }
    }

    /// The first unused port from `from` to `last`.
    pub(super) fn next_unused(&self, from: u16, last: u16) -> Option<u16> {
        let mut port = from;
        while port <= last {
            let free = !self.used.get(usize::from(port) / 64)? >> (port % 64);
            if free != 0 {
                let found = u32::from(port) + free.trailing_zeros();
                return u16::try_from(found).ok().filter(|found| *found <= last);
            }
            port = (port | 63).checked_add(1)?;
        }
        None
    }

    /// Takes one particular port; false if it is in use.
    pub(super) fn reserve(&mut self, port: u16) -> bool {
        if self.is_used(port) {
            return false;
        }
        self.set(port, true);
        true
    }

    /// Gives a port back; with `quarantine` it rests first.
    pub(super) fn release(
        &mut self,
        now: Instant,
        port: u16,
        host: Ipv4Addr,
        quarantine: Duration,
    ) {
        if quarantine.is_zero() {
            self.set(port, false);
        } else {
            let until = now + quarantine;
            self.resting.insert(port, (until, host));
            self.rests.push_back((port, until));
        }
    }

    fn reserve_for(&mut self, port: u16, host: Ipv4Addr) -> bool {
        if self.reserve(port) {
            return true;
        }
        let is_own = self.resting.get(&port).is_some_and(|(_, last)| *last == host);
        is_own && self.resting.remove(&port).is_some()
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some((port, until)) = self.rests.front().copied().filter(|rest| rest.1 <= now) {
            self.rests.pop_front();
            if self.is_resting(port, until) {
                self.resting.remove(&port);
                self.set(port, false);
            }
        }
    }

    fn is_resting(&self, port: u16, until: Instant) -> bool {
        self.resting.get(&port).is_some_and(|rest| rest.0 == until)
    }

    /// Nothing free is left: the port that has rested longest, of the right class.
    fn wake_oldest(&mut self, wish: u16) -> Option<u16> {
        let at = self.rests.iter().position(|(port, until)| {
            (*port < WELL_KNOWN) == (wish < WELL_KNOWN) && self.is_resting(*port, *until)
        })?;
        let (port, _) = self.rests.remove(at)?;
        self.resting.remove(&port).map(|_| port)
    }

    /// A free port, from a random place on: one pass over at most 1008 words.
    fn search(&self, wish: u16, random: &mut Random, keep_parity: bool) -> Option<u16> {
        let (first, count) = if wish < WELL_KNOWN {
            (0, WELL_KNOWN_WORDS)
        } else {
            (WELL_KNOWN_WORDS, WORDS - WELL_KNOWN_WORDS)
        };
        let parity = match (keep_parity, wish & 1) {
            (false, _) => u64::MAX,
            (true, 0) => EVEN_BITS,
            (true, _) => !EVEN_BITS,
        };
        let number = random.next_u64();
        let start = (number >> 8) as usize % count;
        let rotation = number as u32 % 64;
        for step in 0..=count {
            let word = first + (start + step) % count;
            let free = !self.used.get(word).copied()? & parity;
            if free != 0 {
                let bit = (free.rotate_right(rotation).trailing_zeros() + rotation) % 64;
                return Some((word * 64) as u16 + bit as u16);
            }
        }
        None
    }

    pub(super) fn is_used(&self, port: u16) -> bool {
        self.used.get(usize::from(port) / 64).is_none_or(|word| word & 1 << (port % 64) != 0)
    }

    fn set(&mut self, port: u16, used: bool) {
        if let Some(word) = self.used.get_mut(usize::from(port) / 64) {
            let bit = 1 << (port % 64);
            if used { *word |= bit } else { *word &= !bit }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn class_and_parity_are_kept_and_no_port_is_given_twice() {
        let (mut pool, mut random) = (PortPool::default(), Random::new(1));
        let mut given = HashSet::new();
        for _ in 0..2000 {
            let port = pool.allocate(Instant::ZERO, 5001, A, &mut random).unwrap();
            assert!(port >= 1024 && port % 2 == 1 && given.insert(port), "{port}");
        }
        for _ in 0..400 {
            let port = pool.allocate(Instant::ZERO, 80, A, &mut random).unwrap();
            assert!((1..1024).contains(&port) && port % 2 == 0 && given.insert(port), "{port}");
        }
    }

    #[test]
    fn every_port_of_the_class_is_given_before_refusal() {
        let (mut pool, mut random) = (PortPool::default(), Random::new(1));
        let given = std::iter::from_fn(|| pool.allocate(Instant::ZERO, 2000, A, &mut random));
        assert_eq!(given.collect::<HashSet<_>>().len(), 65_536 - 1024);
    }

    #[test]
    fn a_released_port_rests_for_others_but_not_for_its_host() {
        let (mut pool, mut random) = (PortPool::default(), Random::new(1));
        let rest = Duration::from_secs(120);
        let mut take = |pool: &mut PortPool, now, host| {
            pool.allocate(Instant::from_secs(now), 4000, host, &mut random)
        };
        assert_eq!(take(&mut pool, 0, A), Some(4000));
        pool.release(Instant::ZERO, 4000, A, rest);
        assert_ne!(take(&mut pool, 60, B), Some(4000));
        assert_eq!(take(&mut pool, 60, A), Some(4000));
        pool.release(Instant::from_secs(60), 4000, A, rest);
        assert_eq!(take(&mut pool, 180, B), Some(4000));
    }
}
