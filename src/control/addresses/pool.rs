//! The addresses of one network.
//!
//! Who asks without a wish gets the lowest address that nobody ever had; when there is none left,
//! the one that was released longest ago, so that what others still remember of an address is as
//! old as can be. A name that comes back gets its former address while that is free. Every act
//! costs O(log n) in the addresses that are taken or released, whatever the subnet's size.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{AddressError, AddressRange, PoolEntry, PoolSettings, PoolSnapshot};

/// Names whose former address is remembered. Beyond it the oldest is forgotten, and its address is
/// as good as one that nobody ever had.
pub const MAX_REMEMBERED: usize = 65_536;

/// Order in which released addresses are given to others: those of the range, then by time. What
/// was wished for outside of the range is only kept for its former owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    is_outside: bool,
    number: u64,
}

/// Gives out the addresses of one network; no two owners have the same.
#[derive(Clone, Debug)]
pub struct AddressPool {
    settings: PoolSettings,
    /// Addresses of the range that nobody has or had, as first -> last.
    fresh: BTreeMap<u32, u32>,
    by_owner: HashMap<Arc<str>, u32>,
    by_address: BTreeMap<u32, Arc<str>>,
    /// Former addresses of names, free all of them.
    remembered: HashMap<Arc<str>, u32>,
    /// Where a released address is in the queue, and who had it.
    released: HashMap<u32, (Release, Arc<str>)>,
    /// Released addresses, oldest first.
    queue: BTreeMap<Release, u32>,
    releases: u64,
}

impl AddressPool {
    /// A pool of which nothing is taken.
    ///
    /// # Errors
    /// A gateway, range or exclusion that is not in the subnet.
    pub fn new(settings: PoolSettings) -> Result<Self, AddressError> {
        let subnet = settings.subnet;
        for range in settings.range.iter().chain(&settings.exclude) {
            if !subnet.contains(&range.first()) || !subnet.contains(&range.last()) {
                let network = settings.network.clone();
                return Err(AddressError::RangeOutsideSubnet { network, subnet, range: *range });
            }
        }
        if let Some(address) = settings.gateway.filter(|gateway| !subnet.contains(gateway)) {
            let network = settings.network.clone();
            return Err(AddressError::OutsideSubnet { network, subnet, address });
        }
        let fresh = fresh(&settings);
        Ok(Self {
            settings,
            fresh,
            by_owner: HashMap::new(),
            by_address: BTreeMap::new(),
            remembered: HashMap::new(),
            released: HashMap::new(),
            queue: BTreeMap::new(),
            releases: 0,
        })
    }

    /// A pool as it was. What was released and cannot be given out any more is forgotten.
    ///
    /// # Errors
    /// Whatever [`new`](Self::new) refuses, and taken addresses that cannot be: of two owners, or
    /// outside of the subnet, or reserved.
    pub fn restore(settings: PoolSettings, kept: &PoolSnapshot) -> Result<Self, AddressError> {
        let mut pool = Self::new(settings)?;
        for PoolEntry { owner, address } in &kept.assigned {
            if pool.address_of(owner).is_some() {
                return Err(pool.damaged(format!("{owner} has two addresses")));
            }
            pool.assign(owner, Some(*address))?;
        }
        for PoolEntry { owner, address } in &kept.released {
            if pool.released.contains_key(&address.to_bits()) {
                return Err(pool.damaged(format!("{address} was released twice")));
            }
            if let Some(holder) = pool.holder_of(*address) {
                let why = format!("{address} is {holder}'s and released by {owner}");
                return Err(pool.damaged(why));
            }
            if pool.address_of(owner).is_some() || pool.remembered.contains_key(owner.as_str()) {
                return Err(pool.damaged(format!("{owner} has two addresses, one released")));
            }
            if pool.refusal(*address).is_none() {
                pool.take_out_of_fresh(address.to_bits());
                pool.remember(owner.as_str().into(), address.to_bits());
            }
        }
        Ok(pool)
    }

    /// What the pool is made of.
    pub fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    /// Gives `owner` an address: the one it wishes for, else the one it has, else the one it had,
    /// else a free one.
    ///
    /// # Errors
    /// The wish cannot be granted, or there is no address left.
    pub fn assign(
        &mut self,
        owner: &str,
        wish: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, AddressError> {
        if let Some(has) = self.address_of(owner) {
            return match wish {
                Some(address) if address != has => Err(AddressError::HasAnother {
                    network: self.settings.network.clone(),
                    owner: owner.to_owned(),
                    has,
                    address,
                }),
                _ => Ok(has),
            };
        }
        let address = match wish {
            Some(address) => match self.refusal(address) {
                Some(refusal) => return Err(refusal),
                None => address.to_bits(),
            },
            None => self.choose(owner).ok_or_else(|| self.exhausted())?,
        };
        self.take(owner.into(), address);
        Ok(Ipv4Addr::from_bits(address))
    }

    /// Takes an owner's address back, and remembers that it was its; none if it has none.
    pub fn release(&mut self, owner: &str) -> Option<Ipv4Addr> {
        let (owner, address) = self.by_owner.remove_entry(owner)?;
        self.by_address.remove(&address);
        self.remember(owner, address);
        while self.queue.len() > MAX_REMEMBERED
            && let Some((_, oldest)) = self.queue.pop_first()
        {
            self.forget_address(oldest);
            self.return_to_fresh(oldest);
        }
        Some(Ipv4Addr::from_bits(address))
    }

    /// Forgets what address a name had: its next one is as for a name that was never seen.
    pub fn forget(&mut self, owner: &str) {
        if let Some(address) = self.remembered.remove(owner) {
            self.forget_address(address);
            self.return_to_fresh(address);
        }
    }

    /// The address that an owner has.
    pub fn address_of(&self, owner: &str) -> Option<Ipv4Addr> {
        self.by_owner.get(owner).copied().map(Ipv4Addr::from_bits)
    }

    /// The owner of an address.
    pub fn holder_of(&self, address: Ipv4Addr) -> Option<&str> {
        self.by_address.get(&address.to_bits()).map(AsRef::as_ref)
    }

    /// Owners and their addresses, by address.
    pub fn assigned(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        self.by_address
            .iter()
            .map(|(address, owner)| (owner.as_ref(), Ipv4Addr::from_bits(*address)))
    }

    /// How many addresses are taken.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// True if none is taken.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// What is to be kept over a restart.
    pub fn snapshot(&self) -> PoolSnapshot {
        let entry = |owner: &str, address| PoolEntry { owner: owner.to_owned(), address };
        let former = self.queue.values().filter_map(|address| {
            let (_, owner) = self.released.get(address)?;
            let is_last = self.remembered.get(owner) == Some(address);
            is_last.then(|| entry(owner, Ipv4Addr::from_bits(*address)))
        });
        PoolSnapshot {
            assigned: self.assigned().map(|(owner, address)| entry(owner, address)).collect(),
            released: former.collect(),
        }
    }

    /// Why a wish cannot be granted to somebody who has no address; none: it can.
    fn refusal(&self, address: Ipv4Addr) -> Option<AddressError> {
        let PoolSettings { network, subnet, .. } = &self.settings;
        let (network, subnet) = (network.clone(), *subnet);
        if !subnet.contains(&address) {
            return Some(AddressError::OutsideSubnet { network, subnet, address });
        }
        if let Some(what) = self.settings.reserved(address) {
            return Some(AddressError::Reserved { network, subnet, address, what });
        }
        let holder = self.holder_of(address)?.to_owned();
        Some(AddressError::Taken { network, address, holder })
    }

    fn choose(&self, owner: &str) -> Option<u32> {
        let former = self.remembered.get(owner).copied();
        let fresh = || self.fresh.first_key_value().map(|(first, _)| *first);
        let oldest = || {
            let (release, address) = self.queue.first_key_value()?;
            (!release.is_outside).then_some(*address)
        };
        former.or_else(fresh).or_else(oldest)
    }

    fn take(&mut self, owner: Arc<str>, address: u32) {
        self.forget_address(address);
        self.remembered.remove(&owner);
        self.take_out_of_fresh(address);
        self.by_address.insert(address, Arc::clone(&owner));
        self.by_owner.insert(owner, address);
    }

    fn remember(&mut self, owner: Arc<str>, address: u32) {
        self.releases += 1;
        let is_outside = !assignable(&self.settings).contains(Ipv4Addr::from_bits(address));
        let release = Release { is_outside, number: self.releases };
        self.queue.insert(release, address);
        self.released.insert(address, (release, Arc::clone(&owner)));
        self.remembered.insert(owner, address);
    }

    /// An address is no longer one that was released.
    fn forget_address(&mut self, address: u32) {
        let Some((release, owner)) = self.released.remove(&address) else { return };
        self.queue.remove(&release);
        if self.remembered.get(&owner) == Some(&address) {
            self.remembered.remove(&owner);
        }
    }

    fn take_out_of_fresh(&mut self, address: u32) {
        cut(&mut self.fresh, AddressRange::from(Ipv4Addr::from_bits(address)));
    }

    fn return_to_fresh(&mut self, address: u32) {
        if !assignable(&self.settings).contains(Ipv4Addr::from_bits(address)) {
            return;
        }
        let mut last = address;
        if let Some(next) = address.checked_add(1)
            && let Some(end) = self.fresh.remove(&next)
        {
            last = end;
        }
        let before = self.fresh.range_mut(..address).next_back();
        match before.filter(|(_, end)| end.checked_add(1) == Some(address)) {
            Some((_, end)) => *end = last,
            None => {
                self.fresh.insert(address, last);
            }
        }
    }

    fn exhausted(&self) -> AddressError {
        AddressError::Exhausted {
            network: self.settings.network.clone(),
            subnet: self.settings.subnet,
            range: assignable(&self.settings),
            taken: self.len(),
        }
    }

    fn damaged(&self, why: String) -> AddressError {
        AddressError::Damaged { network: self.settings.network.clone(), why }
    }
}

/// Where addresses come from that nobody wished for.
fn assignable(settings: &PoolSettings) -> AddressRange {
    settings.range.unwrap_or_else(|| settings.subnet.into())
}

/// What of it can be given out.
fn fresh(settings: &PoolSettings) -> BTreeMap<u32, u32> {
    let range = assignable(settings);
    let mut fresh = BTreeMap::from([(range.first().to_bits(), range.last().to_bits())]);
    let subnet = settings.subnet;
    let ends = [subnet.network(), subnet.broadcast()];
    let ends = ends.into_iter().filter(|_| subnet.prefix_len() < 31);
    for address in ends.chain(settings.gateway) {
        cut(&mut fresh, address.into());
    }
    for range in &settings.exclude {
        cut(&mut fresh, *range);
    }
    fresh
}

/// Takes a range out of a set of disjoint intervals.
fn cut(intervals: &mut BTreeMap<u32, u32>, range: AddressRange) {
    let (first, last) = (range.first().to_bits(), range.last().to_bits());
    while let Some((&start, &end)) = intervals.range(..=last).next_back() {
        if end < first {
            return;
        }
        intervals.remove(&start);
        if last < end {
            intervals.insert(last + 1, end);
        }
        if start < first {
            intervals.insert(start, first - 1);
            return;
        }
    }
}
