//! The DHCP server of one network: who gets which address, and for how long.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Lease, LeaseState, ScopeSettings};
use crate::control::addresses::{AddressError, AddressPool};
use crate::id::PortId;
use crate::local::dhcp::{ClientId, DhcpMessage, DhcpReply, DhcpRequest, ReplyKind, RequestKind};
use crate::packet::MacAddr;
use crate::time::Instant;

/// Leases of a network, offers and declined addresses included.
pub const MAX_LEASES: usize = 16_384;
/// Leases of the hosts behind one port, unless half of the network's addresses are fewer: one that
/// asks in ever new names starves nobody.
pub const MAX_LEASES_PER_PORT: usize = 256;
/// How long an offer holds: clients choose within seconds.
const OFFER: Duration = Duration::from_secs(60);
/// How long an address rests that its client found in use.
const DECLINED: Duration = Duration::from_secs(600);
/// Shortest lease that a client may ask for, in seconds.
const MIN_LEASE_S: u32 = 60;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is answered.
    Reply(DhcpReply),
    /// It is not.
    Silence(Silence),
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It wants none.
    Done,
    /// It is for another server.
    OtherServer,
    /// It is about the lease of a client behind another port.
    NotItsOwn,
    /// Every address is taken.
    Exhausted,
    /// The hosts behind its port hold as many leases as they may.
    PortQuota,
}

/// What changed for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its port.
    pub port: PortId,
    /// Its MAC.
    pub mac: MacAddr,
    /// The address.
    pub address: Ipv4Addr,
    /// It has it now, or has it no more.
    pub is_bound: bool,
}

/// The server of one network.
#[derive(Debug)]
pub struct Scope {
    settings: ScopeSettings,
    pool: AddressPool,
    leases: HashMap<ClientId, Lease>,
    by_port: HashMap<PortId, usize>,
    ends: BTreeSet<(Instant, ClientId)>,
    changes: Vec<Change>,
}

impl Scope {
    /// A server without leases.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn new(settings: ScopeSettings) -> Result<Self, AddressError> {
        let mut pool = AddressPool::new(settings.pool())?;
        reserve(&mut pool, &settings);
        let (leases, by_port) = (HashMap::new(), HashMap::new());
        Ok(Self { settings, pool, leases, by_port, ends: BTreeSet::new(), changes: Vec::new() })
    }

    /// What it was told.
    pub const fn settings(&self) -> &ScopeSettings {
        &self.settings
    }

    /// Goes on under other settings. Leases that these do not permit end; so do those of addresses
    /// that belong to a port by now: their clients are refused at their next request.
    ///
    /// # Errors
    /// Settings that contradict each other; nothing has changed then.
    pub fn reconfigure(&mut self, settings: ScopeSettings) -> Result<(), AddressError> {
        let mut fresh = Self::new(settings)?;
        for (client, lease) in std::mem::take(&mut self.leases) {
            let reserved = fresh.settings.reservation(lease.mac).map(|(_, address)| address);
            let is_kept = match reserved {
                Some(address) => address == lease.address,
                None => !lease.is_reserved && fresh.takes(&client, lease.address),
            };
            if is_kept {
                // Ports may be new in the engine and have to be told again.
                let Lease { port, mac, address, .. } = lease;
                if lease.state == LeaseState::Bound {
                    fresh.changes.push(Change { port, mac, address, is_bound: true });
                }
                fresh.insert(client, Lease { is_reserved: reserved.is_some(), ..lease });
            } else {
                fresh.tell_end(&lease);
            }
        }
        fresh.changes.splice(0..0, self.changes.drain(..));
        *self = fresh;
        Ok(())
    }

    /// Answers a request.
    pub fn answer(&mut self, now: Instant, request: &DhcpRequest) -> Answer {
        self.expire(now);
        let message = &request.message;
        let is_ours = message.server.is_none_or(|server| server == self.server());
        if self.is_anothers(request) {
            return Answer::Silence(Silence::NotItsOwn);
        }
        match message.kind {
            RequestKind::Discover => self.discover(now, request),
            RequestKind::Request if !is_ours => {
                // It has chosen another one's offer.
                let client = message.client();
                let is_here = |l: &Lease| l.state == LeaseState::Offered && l.port == request.port;
                if self.leases.get(&client).is_some_and(is_here) {
                    self.remove(&client);
                }
                Answer::Silence(Silence::OtherServer)
            }
            RequestKind::Request => self.request(now, request),
            RequestKind::Inform => Answer::Reply(self.reply(ReplyKind::Ack, None, message)),
            _ if !is_ours => Answer::Silence(Silence::OtherServer),
            RequestKind::Decline => self.decline(now, request),
            RequestKind::Release => self.release(message),
        }
    }

    /// True if a host speaks of the lease of a client behind another port, and is not that client
    /// itself, moved there: it has another MAC, or wants the lease ended.
    fn is_anothers(&self, request: &DhcpRequest) -> bool {
        let message = &request.message;
        let asks = matches!(message.kind, RequestKind::Discover | RequestKind::Request);
        // The host of a port whose MAC is configured is nowhere else.
        let is_bound = |lease: &Lease| {
            let ports = self.settings.ports.iter().filter(|port| port.id == lease.port);
            ports.filter_map(|port| port.mac).any(|mac| mac == lease.mac)
        };
        let is_moved = |lease: &Lease| lease.mac == message.mac && asks && !is_bound(lease);
        let lease = self.leases.get(&message.client());
        lease.is_some_and(|lease| lease.port != request.port && !is_moved(lease))
    }

    /// True if what a client would be offered is not known to be free: it had not leased it before.
    /// Somebody else may use it without having asked.
    pub fn wants_probe(&self, message: &DhcpMessage) -> bool {
        let lease = self.leases.get(&message.client());
        message.kind == RequestKind::Discover
            && lease.is_none_or(|lease| lease.state != LeaseState::Bound)
    }

    /// Somebody was found to use an address that a client has been offered: it rests.
    pub fn conflict(&mut self, now: Instant, client: &ClientId) {
        if let Some(lease) = self.leases.get(client).cloned() {
            self.remove(client);
            self.rest(now, &lease);
        }
    }

    /// Ends leases that are over; says when the next one will be.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some((until, client)) = self.ends.first().cloned() {
            if until > now {
                return Some(until);
            }
            self.remove(&client);
        }
        None
    }

    /// What changed for hosts since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// What hosts with a lease are called, and their addresses: of two with one name the one that
    /// had it first. A name of a configured port is that port's.
    pub fn names(&self) -> Vec<(&str, Ipv4Addr)> {
        let is_theirs = |lease: &&Lease, name: &str| {
            lease.is_reserved || self.settings.ports.iter().all(|port| port.name != name)
        };
        let bound = self.leases.values().filter(|lease| lease.state == LeaseState::Bound);
        let named = bound.filter_map(|lease| Some((lease, lease.host_name.as_deref()?)));
        let mut named: Vec<_> = named.filter(|(lease, name)| is_theirs(lease, name)).collect();
        named.sort_by_key(|(lease, name)| (*name, lease.since, lease.address));
        named.dedup_by_key(|(_, name)| *name);
        named.into_iter().map(|(lease, name)| (name, lease.address)).collect()
    }

    /// Leases by address.
    pub fn leases(&self) -> Vec<(&ClientId, &Lease)> {
        let mut leases: Vec<_> = self.leases.iter().collect();
        leases.sort_by_key(|(_, lease)| lease.address);
        leases
    }

    /// The lease of a client.
    pub fn lease(&self, client: &ClientId) -> Option<&Lease> {
        self.leases.get(client)
    }

    fn server(&self) -> Ipv4Addr {
        self.settings.parameters.server.addr()
    }

    fn discover(&mut self, now: Instant, request: &DhcpRequest) -> Answer {
        let message = &request.message;
        let client = message.client();
        let bound = self.leases.get(&client).filter(|lease| lease.state == LeaseState::Bound);
        let address = match bound.map(|lease| lease.address) {
            // As long as it lasts, it is the client's; an offer does not shorten it.
            Some(address) => {
                self.move_to_port(&client, request.port);
                address
            }
            None => match self.bind(now, request, message.requested, LeaseState::Offered) {
                Ok(address) => address,
                Err(silence) => return Answer::Silence(silence),
            },
        };
        Answer::Reply(self.reply(ReplyKind::Offer, Some(address), message))
    }

    /// A client takes an offer, or asks whether it still has an address (RFC 2131 section 4.3.2).
    fn request(&mut self, now: Instant, request: &DhcpRequest) -> Answer {
        let message = &request.message;
        let wanted = message.requested.unwrap_or(message.client_ip);
        let client = message.client();
        let has = self.leases.get(&client).map(|lease| lease.address);
        let is_selecting = message.server.is_some();
        let is_granted = match has {
            Some(has) => has == wanted,
            // An offer that was ours is not any more. Whoever had the address before a restart of
            // tapway may have it again.
            None => !is_selecting && self.may_have(message, wanted),
        };
        if !is_granted {
            return self.refuse(message, "not your address here");
        }
        match self.bind(now, request, Some(wanted), LeaseState::Bound) {
            Ok(address) if address == wanted => {
                Answer::Reply(self.reply(ReplyKind::Ack, Some(address), message))
            }
            _ => self.refuse(message, "somebody else's address"),
        }
    }

    fn decline(&mut self, now: Instant, request: &DhcpRequest) -> Answer {
        let client = request.message.client();
        let declined = request.message.requested;
        let lease = self.leases.get(&client).filter(|lease| Some(lease.address) == declined);
        if let Some(lease) = lease.cloned() {
            self.remove(&client);
            self.rest(now, &lease);
        }
        Answer::Silence(Silence::Done)
    }

    fn release(&mut self, message: &DhcpMessage) -> Answer {
        let client = message.client();
        if self.leases.get(&client).is_some_and(|lease| lease.address == message.client_ip) {
            self.remove(&client);
        }
        Answer::Silence(Silence::Done)
    }

    /// Nobody gets an address for a while that is in use without a lease.
    fn rest(&mut self, now: Instant, lease: &Lease) {
        // As a client of its own, so that it counts against who told, and ends by itself. Its MAC is
        // a group's, which no client has.
        let [a, b, c, d] = lease.address.octets();
        let client = ClientId::Mac(MacAddr([1, 0, a, b, c, d]));
        let is_taken = !lease.is_reserved && self.takes(&client, lease.address);
        if is_taken {
            let until = now + DECLINED;
            let lease = lease.clone();
            let lease = Lease { state: LeaseState::Declined, until, host_name: None, ..lease };
            self.insert(client, lease);
        }
    }

    /// Gives a client an address, `wish` if that can be, and notes it.
    fn bind(
        &mut self,
        now: Instant,
        request: &DhcpRequest,
        wish: Option<Ipv4Addr>,
        state: LeaseState,
    ) -> Result<Ipv4Addr, Silence> {
        let message = &request.message;
        let client = message.client();
        let before = self.remove_quietly(&client);
        let reserved = self.settings.reservation(message.mac);
        let reserved = reserved.map(|(port, address)| (port.name.clone(), address));
        let address = match (self.is_full(request.port), &reserved) {
            (Some(silence), _) => Err(silence),
            (None, Some((_, address))) => Ok(*address),
            (None, None) => self.assign(&client, wish).ok_or(Silence::Exhausted),
        };
        let address = match (address, &before) {
            (Err(silence), Some(before)) => {
                self.tell_end(before);
                return Err(silence);
            }
            (address, _) => address?,
        };
        let lasts = match state {
            LeaseState::Bound => Duration::from_secs(u64::from(self.lease_s(message))),
            LeaseState::Offered | LeaseState::Declined => OFFER,
        };
        let host_name = match &reserved {
            Some((port, _)) => Some(port.clone()),
            None => message.host_name.clone(),
        };
        let lease = Lease {
            address,
            mac: message.mac,
            port: request.port,
            host_name,
            state,
            since: before.as_ref().map_or(now, |before| before.since),
            until: now + lasts,
            is_reserved: reserved.is_some(),
        };
        let was_same = before.as_ref().is_some_and(|before| is_same(before, &lease));
        if let Some(before) = before.filter(|_| !was_same) {
            self.tell_end(&before);
        }
        if state == LeaseState::Bound && !was_same {
            let Lease { port, mac, .. } = lease;
            self.changes.push(Change { port, mac, address, is_bound: true });
        }
        self.insert(client, lease);
        Ok(address)
    }

    fn assign(&mut self, client: &ClientId, wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let owner = owner(client);
        let range = self.settings.leased_range();
        let wish = wish.filter(|wish| range.contains(*wish));
        let wished = wish.and_then(|wish| self.pool.assign(&owner, Some(wish)).ok());
        wished.or_else(|| self.pool.assign(&owner, None).ok())
    }

    /// Takes an address for a client if it can be leased and is free.
    fn takes(&mut self, client: &ClientId, address: Ipv4Addr) -> bool {
        let is_leased = self.settings.leased_range().contains(address);
        is_leased && self.pool.assign(&owner(client), Some(address)).is_ok()
    }

    /// True if a client that is not known may say that an address is its.
    fn may_have(&self, message: &DhcpMessage, address: Ipv4Addr) -> bool {
        match self.settings.reservation(message.mac) {
            Some((_, reserved)) => reserved == address,
            None => {
                self.settings.leased_range().contains(address)
                    && self.pool.holder_of(address).is_none()
            }
        }
    }

    fn is_full(&self, port: PortId) -> Option<Silence> {
        let range = self.settings.leased_range();
        let addresses = u64::from(range.last().to_bits()) - u64::from(range.first().to_bits()) + 1;
        let half = usize::try_from(addresses / 2).unwrap_or(usize::MAX).max(1);
        if self.by_port.get(&port).is_some_and(|has| *has >= MAX_LEASES_PER_PORT.min(half)) {
            return Some(Silence::PortQuota);
        }
        (self.leases.len() >= MAX_LEASES).then_some(Silence::Exhausted)
    }

    /// A client that has moved to another port is counted there.
    fn move_to_port(&mut self, client: &ClientId, port: PortId) {
        let moved = self.leases.get(client).filter(|lease| lease.port != port).cloned();
        if let Some(lease) = moved {
            self.remove_quietly(client);
            self.tell_end(&lease);
            let Lease { mac, address, .. } = lease;
            self.changes.push(Change { port, mac, address, is_bound: true });
            if !lease.is_reserved {
                // It was free a moment ago.
                let _ = self.pool.assign(&owner(client), Some(address));
            }
            self.insert(client.clone(), Lease { port, ..lease });
        }
    }

    fn insert(&mut self, client: ClientId, lease: Lease) {
        *self.by_port.entry(lease.port).or_default() += 1;
        self.ends.insert((lease.until, client.clone()));
        self.leases.insert(client, lease);
    }

    fn remove(&mut self, client: &ClientId) {
        if let Some(lease) = self.remove_quietly(client) {
            self.tell_end(&lease);
        }
    }

    fn remove_quietly(&mut self, client: &ClientId) -> Option<Lease> {
        let lease = self.leases.remove(client)?;
        self.ends.remove(&(lease.until, client.clone()));
        if !lease.is_reserved {
            self.pool.release(&owner(client));
        }
        if let Some(count) = self.by_port.get_mut(&lease.port) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_port.remove(&lease.port);
            }
        }
        Some(lease)
    }

    fn tell_end(&mut self, lease: &Lease) {
        if lease.state == LeaseState::Bound {
            let Lease { port, mac, address, .. } = *lease;
            self.changes.push(Change { port, mac, address, is_bound: false });
        }
    }

    fn refuse(&self, message: &DhcpMessage, reason: &'static str) -> Answer {
        let reply = self.reply(ReplyKind::Nak, None, message);
        Answer::Reply(DhcpReply { reason: Some(reason), ..reply })
    }

    fn reply(
        &self,
        kind: ReplyKind,
        address: Option<Ipv4Addr>,
        message: &DhcpMessage,
    ) -> DhcpReply {
        DhcpReply {
            kind,
            your_ip: address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            lease_s: address.map(|_| self.lease_s(message)),
            host_name: self.leases.get(&message.client()).and_then(|l| l.host_name.clone()),
            reason: None,
        }
    }

    /// As long as the network's leases last, or shorter if the client wants it so.
    fn lease_s(&self, message: &DhcpMessage) -> u32 {
        let most = self.settings.lease_s;
        message.lease_s.map_or(most, |wanted| wanted.max(MIN_LEASE_S).min(most))
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Done => "no answer is wanted",
            Self::OtherServer => "it is for another server",
            Self::NotItsOwn => "it is about the lease of a client behind another port",
            Self::Exhausted => "no address is free; widen `dhcp.range` or the subnet",
            Self::PortQuota => "the hosts behind its port hold as many leases as they may",
        })
    }
}

/// Takes the addresses of configured ports out of what is leased.
fn reserve(pool: &mut AddressPool, settings: &ScopeSettings) {
    for port in &settings.ports {
        if let Some(address) = port.address {
            // One that is excluded is nobody's already.
            let _ = pool.assign(&format!("port {}", port.name), Some(address));
        }
    }
}

fn owner(client: &ClientId) -> String {
    format!("dhcp {client}")
}

fn is_same(a: &Lease, b: &Lease) -> bool {
    let bound = LeaseState::Bound;
    let told = |lease: &Lease| (lease.state == bound, lease.address, lease.mac, lease.port);
    told(a) == told(b)
}
