//! The external ports of one external address and protocol.
//!
//! A wished-for port is given if it is free; else one at random of the same class (0-1023 or
//! above, RFC 4787 REQ-3a) and parity (REQ-4). A released port rests for the quarantine (RFC 6888
//! REQ-8), except for the host that had it, after a tracked TCP close, or when nothing else is
//! left.
//!
//! Where the host's own kernel has ports of the same address, only those of a span are given out,
//! and it is the only class.
//!
//! With several workers a pool has only the chunks of ports that its worker has leased, see
//! [`super::PortLeases`]: ports of other chunks count as used. A chunk is given back when none of
//! its ports is used or rests. Beyond its fair share of a class a worker leases a chunk only when
//! it has no port left, not for a wish: else a host that opens one port in each chunk would leave
//! the hosts of other workers without any.
//!
//! Bounds: 8 KiB for the ports in use, 256 KiB for who has them, and for each port that rests one
//! record in a map and one in an ordered set, at most 65 535 of each. No step is longer than a logarithm of them, but for
//! the one pass over the words of the class that looks for a free port.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use foldhash::quality::FixedState;

use super::lease::{CHUNK, Lessee};
use super::random::Random;
use crate::packet::PortSpan;
use crate::time::Instant;

const WORDS: usize = 1024;
/// Ports below are of a class of their own.
pub(super) const WELL_KNOWN: u16 = 1024;
const EVEN_BITS: u64 = 0x5555_5555_5555_5555;

/// Ports of one external address and protocol.
#[derive(Clone, Debug)]
pub(super) struct PortPool {
    used: Box<[u64; WORDS]>,
    /// Those that may be given out.
    span: PortSpan,
    /// The mapping that has a port, plus one; 0: none. Empty until there is a mapping.
    mappings: Vec<u32>,
    /// What it may lease; none: all ports are its own.
    lessee: Option<Lessee>,
    /// The chunks it has leased.
    leased: Leased,
    /// Until when a port rests, and for whom it does not.
    resting: HashMap<u16, (Instant, Ipv4Addr), FixedState>,
    /// The same ports by the end of their rest, for each class: well known, or above.
    rests: [BTreeSet<(Instant, u16)>; 2],
}

// A word of the bitmap is a chunk.
const _: () = assert!(CHUNK as usize == u64::BITS as usize);

impl Default for PortPool {
    fn default() -> Self {
        let mut used = Box::new([0; WORDS]);
        if let Some(first) = used.first_mut() {
            *first = outside(&PortSpan::ALL, 0);
        }
        Self {
            used,
            span: PortSpan::ALL,
            mappings: Vec::new(),
            lessee: None,
            leased: Leased::default(),
            resting: HashMap::default(),
            rests: Default::default(),
        }
    }
}

/// A set of chunks.
#[derive(Clone, Debug, Default)]
struct Leased([u64; WORDS / 64]);

impl Leased {
    fn is_set(&self, port: u16) -> bool {
        let chunk = port / CHUNK;
        self.0.get(usize::from(chunk / 64)).is_some_and(|word| word & 1 << (chunk % 64) != 0)
    }

    fn set(&mut self, port: u16) {
        let chunk = port / CHUNK;
        if let Some(word) = self.0.get_mut(usize::from(chunk / 64)) {
            *word |= 1 << (chunk % 64);
        }
    }

    fn clear(&mut self, port: u16) {
        let chunk = port / CHUNK;
        if let Some(word) = self.0.get_mut(usize::from(chunk / 64)) {
            *word &= !(1 << (chunk % 64));
        }
    }
}

impl PortPool {
    /// A pool without ports that leases what it needs.
    pub(super) fn leasing(lessee: Lessee) -> Self {
        Self { used: Box::new([u64::MAX; WORDS]), lessee: Some(lessee), ..Self::default() }
    }

    /// Gives out the ports of `span` only. No port may be in use; those that rest are forgotten.
    pub(super) fn restrict(&mut self, span: PortSpan) {
        self.end_rests(Instant::from_nanos(u64::MAX));
        self.span = span;
        if self.lessee.is_none() {
            for (word, used) in self.used.iter_mut().enumerate() {
                *used = outside(&span, word);
            }
        }
    }

    /// The first and the last port of the class of a port: 0-1023 or above (RFC 4787 REQ-3a), or
    /// the span.
    pub(super) fn class_of(&self, port: u16) -> (u16, u16) {
        match (self.span == PortSpan::ALL, port < WELL_KNOWN) {
            (true, true) => (1, WELL_KNOWN - 1),
            (true, false) => (WELL_KNOWN, u16::MAX),
            (false, _) => (self.span.first, self.span.last),
        }
    }

    /// Gives a port to `host`: `wish` if it can be had, else a random one; none if all are used.
    pub(super) fn allocate(
        &mut self,
        now: Instant,
        wish: u16,
        host: Ipv4Addr,
        random: &mut Random,
    ) -> Option<u16> {
        self.end_rests(now);
        if self.may_wish(wish) && self.reserve_for(wish, host) {
            return Some(wish);
        }
        let port = self
            .search(wish, random, true)
            .or_else(|| self.lease_any(wish, random).then(|| self.search(wish, random, true))?)
            .or_else(|| self.search(wish, random, false));
        match port {
            Some(port) => {
                self.set(port, true);
                Some(port)
            }
            None => self.wake_oldest(wish),
        }
    }

    /// The mapping that has a port.
    pub(super) fn mapping(&self, port: u16) -> Option<u32> {
        self.mappings.get(usize::from(port))?.checked_sub(1)
    }

    /// Notes which mapping has a port.
    pub(super) fn set_mapping(&mut self, port: u16, mapping: Option<u32>) {
        if self.mappings.is_empty() {
            self.mappings = vec![0; 1 << u16::BITS];
        }
        if let Some(slot) = self.mappings.get_mut(usize::from(port)) {
            *slot = mapping.map_or(0, |index| index.wrapping_add(1));
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
        if !self.lease(port) || self.is_used(port) {
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
            self.end_rest(port);
            self.resting.insert(port, (until, host));
            self.rests_of(port).insert((until, port));
        }
    }

    fn reserve_for(&mut self, port: u16, host: Ipv4Addr) -> bool {
        if self.reserve(port) {
            return true;
        }
        let is_own = self.resting.get(&port).is_some_and(|(_, last)| *last == host);
        is_own && self.end_rest(port)
    }

    /// When the next port has rested enough.
    pub(super) fn next_end_of_rest(&self) -> Option<Instant> {
        self.rests.iter().filter_map(|rests| Some(rests.first()?.0)).min()
    }

    /// Ports that have rested enough are free again.
    pub(super) fn end_rests(&mut self, now: Instant) {
        for class in [0, WELL_KNOWN] {
            while let Some((until, port)) = self.rests_of(class).first().copied()
                && until <= now
            {
                self.end_rest(port);
                self.set(port, false);
            }
        }
    }

    /// The port no longer rests; it stays in use. False if it did not rest.
    fn end_rest(&mut self, port: u16) -> bool {
        let Some((until, _)) = self.resting.remove(&port) else { return false };
        self.rests_of(port).remove(&(until, port))
    }

    /// Nothing free is left: the port that has rested longest, of the right class.
    fn wake_oldest(&mut self, wish: u16) -> Option<u16> {
        let class = self.class_of(wish).0;
        let (_, port) = self.rests_of(class).first().copied()?;
        self.end_rest(port).then_some(port)
    }

    /// The rests of a port's class.
    const fn rests_of(&mut self, port: u16) -> &mut BTreeSet<(Instant, u16)> {
        let [well_known, above] = &mut self.rests;
        if port < WELL_KNOWN { well_known } else { above }
    }

    /// A free port, from a random place on: one pass over at most 1008 words.
    fn search(&self, wish: u16, random: &mut Random, keep_parity: bool) -> Option<u16> {
        let (first, last) = self.class_of(wish);
        let (first, last) = (usize::from(first) / 64, usize::from(last) / 64);
        let count = last - first + 1;
        let parity = match (keep_parity, wish & 1) {
            (false, _) => u64::MAX,
            (true, 0) => EVEN_BITS,
            (true, _) => !EVEN_BITS,
        };
        // Sixteen bits for as many ports: a word and a place in it.
        let number = u32::from(random.next_u16());
        let start = ((number >> 6) as usize * count) >> 10;
        let rotation = number % 64;
        for step in 0..count {
            let word = start + step;
            let word = first + if word < count { word } else { word - count };
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

    /// What it may lease; none: all ports are its own.
    pub(super) const fn lessee(&self) -> Option<&Lessee> {
        self.lessee.as_ref()
    }

    /// True if a port may be had by wish: its chunk is this pool's, or within its fair share.
    pub(super) fn may_wish(&self, port: u16) -> bool {
        let Some(lessee) = &self.lessee else { return true };
        if self.leased.is_set(port) {
            return true;
        }
        if !self.span.contains(port) {
            return false;
        }
        let (first, last) = self.class_of(port);
        let chunks = (first / CHUNK)..=(last / CHUNK);
        let share = (chunks.len() / usize::from(lessee.workers.max(1))).max(1);
        let leased = chunks.filter(|chunk| self.leased.is_set(chunk * CHUNK)).count();
        leased < share
    }

    /// Makes sure that the chunk of a port is this pool's; false if it is another worker's.
    pub(super) fn lease(&mut self, port: u16) -> bool {
        let Some(lessee) = &self.lessee else { return true };
        if self.leased.is_set(port) {
            return true;
        }
        let never = outside(&self.span, usize::from(port) / 64);
        if never == u64::MAX || !lessee.lease(port) {
            return false;
        }
        if let Some(word) = self.used.get_mut(usize::from(port) / 64) {
            *word = never;
        }
        self.leased.set(port);
        true
    }

    /// Leases another chunk of the class of `wish`, from a random place on.
    fn lease_any(&mut self, wish: u16, random: &mut Random) -> bool {
        if self.lessee.is_none() {
            return false;
        }
        let (first, last) = self.class_of(wish);
        let (first, count) = (first / CHUNK, last / CHUNK - first / CHUNK + 1);
        // Below `count`, so that their sum is each chunk once.
        let start = random.next_u16() % count;
        (0..count)
            .map(|step| (first + (start + step) % count) * CHUNK)
            .any(|port| !self.leased.is_set(port) && self.lease(port))
    }

    fn set(&mut self, port: u16, used: bool) {
        let Some(word) = self.used.get_mut(usize::from(port) / 64) else { return };
        let bit = 1 << (port % 64);
        if used {
            *word |= bit;
            return;
        }
        *word &= !bit;
        let is_empty = *word == outside(&self.span, usize::from(port) / 64);
        if let Some(lessee) = self.lessee.as_ref().filter(|_| is_empty) {
            *word = u64::MAX;
            self.leased.clear(port);
            lessee.give_back(port);
        }
    }
}

/// Bits of a word whose ports are never given out: port 0, and those beyond the span.
fn outside(span: &PortSpan, word: usize) -> u64 {
    let first = word * 64;
    let (from, to) = (usize::from(span.first), usize::from(span.last));
    if from <= first && first + 63 <= to {
        return 0;
    }
    (0..64).filter(|bit| !(from..=to).contains(&(first + bit))).fold(0, |word, bit| word | 1 << bit)
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
    fn a_span_is_all_that_is_given_out_whatever_is_wished() {
        let span = PortSpan { first: 61_010, last: 61_200 };
        let (mut pool, mut random) = (PortPool::default(), Random::new(1));
        pool.restrict(span);
        assert_eq!(pool.allocate(Instant::ZERO, 61_100, A, &mut random), Some(61_100));
        assert!(!pool.reserve(80) && !pool.reserve(61_201) && !pool.reserve(0));
        let mut given = HashSet::from([61_100]);
        for wish in [80, 2000].into_iter().cycle() {
            let Some(port) = pool.allocate(Instant::ZERO, wish, A, &mut random) else { break };
            assert!(span.contains(port) && given.insert(port), "{port}");
        }
        assert_eq!(given.len() as u32, span.count());
        pool.release(Instant::ZERO, 61_150, A, Duration::from_secs(120));
        assert_eq!(pool.allocate(Instant::ZERO, 80, B, &mut random), Some(61_150), "woken");
    }

    #[test]
    fn a_span_is_leased_by_its_chunks_only() {
        use crate::id::WorkerId;
        use crate::nat::PortLeases;
        let (leases, mut random) = (PortLeases::default(), Random::new(1));
        let chunks = leases.chunks(A, 6);
        let mut pool = PortPool::leasing(Lessee { chunks, worker: WorkerId(0), workers: 2 });
        pool.restrict(PortSpan { first: 61_010, last: 61_200 });
        let given: HashSet<u16> =
            std::iter::from_fn(|| pool.allocate(Instant::ZERO, 5000, A, &mut random)).collect();
        assert_eq!(given.len(), 191);
        for port in given {
            pool.release(Instant::ZERO, port, A, Duration::ZERO);
        }
        let chunks = leases.chunks(A, 6);
        assert!((0..=u16::MAX).all(|port| chunks.owner(port).is_none()), "all given back");
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

    #[test]
    fn a_port_that_its_host_takes_again_and_again_leaves_nothing_behind() {
        let (mut pool, mut random) = (PortPool::default(), Random::new(1));
        let rest = Duration::from_secs(120);
        for round in 0..10_000u64 {
            let now = Instant::from_nanos(round);
            for wish in [4000, 80] {
                assert_eq!(pool.allocate(now, wish, A, &mut random), Some(wish));
                pool.release(now, wish, A, rest);
            }
            assert_eq!(pool.resting.len(), 2);
            assert_eq!(pool.rests.each_ref().map(BTreeSet::len), [1, 1]);
        }
        assert_eq!(pool.allocate(Instant::from_secs(200), 4000, B, &mut random), Some(4000));
        assert!(pool.resting.is_empty() && pool.rests.iter().all(BTreeSet::is_empty));
    }

    #[test]
    fn with_nothing_free_the_port_of_the_class_that_rested_longest_is_woken() {
        let (mut pool, mut random) = (PortPool::default(), Random::new(1));
        for port in 1..=u16::MAX {
            pool.reserve(port);
        }
        let order = [(1, 5000), (2, 80), (3, 4000), (4, 443)];
        for (now, port) in order {
            pool.release(Instant::from_secs(now), port, A, Duration::from_secs(120));
        }
        let mut take = |wish| pool.allocate(Instant::from_secs(5), wish, B, &mut random);
        assert_eq!([take(9), take(9), take(9)], [Some(80), Some(443), None]);
        assert_eq!([take(9000), take(9000), take(9000)], [Some(5000), Some(4000), None]);
    }

    #[test]
    fn workers_lease_chunks_and_give_them_back_when_they_are_empty() {
        use crate::id::WorkerId;
        use crate::nat::PortLeases;
        let leases = PortLeases::default();
        let mut random = Random::new(1);
        let lessee =
            |worker| Lessee { chunks: leases.chunks(A, 6), worker: WorkerId(worker), workers: 2 };
        let (mut first, mut second) = (PortPool::leasing(lessee(0)), PortPool::leasing(lessee(1)));
        let mut take =
            |pool: &mut PortPool, wish| pool.allocate(Instant::ZERO, wish, A, &mut random);
        assert_eq!(take(&mut first, 5000), Some(5000));
        // The wish is in the other worker's chunk: another of its class and parity.
        let other = take(&mut second, 5001).unwrap();
        assert!(other >= 1024 && other % 2 == 1 && other / 64 != 5001 / 64, "{other}");
        assert_eq!(take(&mut first, 5001), Some(5001));
        for port in [5000, 5001] {
            first.release(Instant::ZERO, port, A, Duration::ZERO);
        }
        assert_eq!(take(&mut second, 5001), Some(5001));
        assert_eq!(take(&mut second, 1), Some(1), "the first chunk");
        second.release(Instant::ZERO, 1, A, Duration::ZERO);
        assert_eq!(take(&mut first, 2), Some(2));
    }

    #[test]
    fn two_workers_use_up_every_port_of_the_class_between_them() {
        use crate::id::WorkerId;
        use crate::nat::PortLeases;
        let leases = PortLeases::default();
        let mut random = Random::new(1);
        let lessee =
            |worker| Lessee { chunks: leases.chunks(A, 6), worker: WorkerId(worker), workers: 2 };
        let mut pools = [PortPool::leasing(lessee(0)), PortPool::leasing(lessee(1))];
        let mut given = HashSet::new();
        let mut turn = 0;
        while let Some(port) = pools[turn].allocate(Instant::ZERO, 2000, A, &mut random) {
            assert!(given.insert(port), "{port} given twice");
            turn = (turn + 1) % 2;
        }
        while let Some(port) = pools[1 - turn].allocate(Instant::ZERO, 2000, A, &mut random) {
            assert!(given.insert(port), "{port} given twice");
        }
        assert_eq!(given.len(), 65_536 - 1024);
    }
}
