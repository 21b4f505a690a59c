//! Names follow the desired state: the dataplane and the resolver know those of all networks, and
//! each namespace that tapway made has a resolver of its own, and a file that says so.
//!
//! A namespace in which that cannot be, because something listens there already, is told of in the
//! log and works without: names at the gateway are not touched by it.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use super::dhcp::Leases;
use super::follower::{Follower, Stage};
use super::model::{Model, PortEntry};
use super::rejection::{Rejection, RejectionKind};
use super::resolver::{
    Counters, HostResolvers, Resolver, ResolverStats, Served, Upstreams, own_file,
};
use crate::engine::Command;
use crate::id::NetworkId;
use crate::io::{EtcFile, Namespace, Netns, PortPlan, TapPlan, Written};
use crate::local::dns::{NameRow, NameTable, Place};

/// Each namespace is looked at once in so many seconds.
const TURNS: usize = 8;

/// What of the names can be shown.
#[derive(Clone, Debug, Default)]
pub struct NamesView {
    table: Arc<RwLock<Arc<NameTable>>>,
    counters: Arc<Counters>,
}

/// A follower.
#[derive(Default)]
pub struct Names {
    view: NamesView,
    /// None until the first change.
    resolver: Option<Resolver>,
    /// By what the namespace is known by.
    serving: HashMap<String, Serving>,
    host: HostResolvers,
    leases: Leases,
    /// Names that were leased when the table was made.
    leased: Vec<LeasedName>,
    turn: usize,
}

/// What the host with a lease calls itself.
type LeasedName = (NetworkId, String, Ipv4Addr);

/// A namespace that has a resolver.
struct Serving {
    inode: u64,
    /// A process is in it that has no name for it, and goes with its port.
    is_process: bool,
    places: Vec<Place>,
}

/// A namespace that is to have one.
struct Wanted<'m> {
    netns: &'m Netns,
    places: Vec<Place>,
}

impl NamesView {
    /// All names.
    pub fn rows(&self) -> Vec<NameRow> {
        self.table().rows()
    }

    /// What the resolver counts.
    pub fn stats(&self) -> ResolverStats {
        self.counters.stats()
    }

    fn table(&self) -> Arc<NameTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, table: Arc<NameTable>) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
    }
}

impl Names {
    /// Those of the model, and of hosts with a lease.
    pub fn new(leases: Leases) -> Self {
        Self { leases, ..Self::default() }
    }

    /// What of the names can be shown.
    pub fn view(&self) -> NamesView {
        self.view.clone()
    }

    /// Goes to the names and namespaces of a model.
    fn follow(&mut self, stage: &mut Stage<'_>, to: &Model) -> Result<(), Rejection> {
        self.leased = self.leases.lock().names();
        self.set_table(stage, to)?;
        let Some(resolver) = &self.resolver else { return Ok(()) };
        resolver.set_upstreams(upstreams(to));
        let wanted = wanted(to);
        for (name, serving) in &mut self.serving {
            if let Some(wanted) = wanted.get(name)
                && wanted.places != serving.places
            {
                serving.places.clone_from(&wanted.places);
                resolver.move_to(name, wanted.places.clone());
            }
        }
        let new = wanted.into_iter().filter(|(name, _)| !self.serving.contains_key(name));
        let new: Vec<_> = new.collect();
        for (name, wanted) in new {
            self.serve(stage, name, wanted);
        }
        Ok(())
    }

    /// The names of the model and of leases are those that all know. Nobody takes a configured
    /// name by asking for a lease.
    fn set_table(&self, stage: &Stage<'_>, model: &Model) -> Result<(), Rejection> {
        let mut table = model.names.clone();
        for (network, name, address) in &self.leased {
            if !model.names.has(*network, name) {
                Arc::make_mut(&mut table).add_host(*network, name, *address);
            }
        }
        let gone = |error| Rejection::new(RejectionKind::Failed, error, "");
        stage.dataplane.apply(Command::SetNames(table.clone())).map_err(gone)?;
        if let Some(resolver) = &self.resolver {
            resolver.set_names(table.clone());
        }
        self.view.set(table);
        Ok(())
    }

    /// Answers in a namespace.
    fn serve(&mut self, stage: &mut Stage<'_>, name: String, wanted: Wanted<'_>) {
        let Some(resolver) = &self.resolver else { return };
        let Wanted { netns, places } = wanted;
        // Sockets in the namespace that had the name before are in the way of nobody.
        self.serving.remove(&name);
        let sockets = match stage.broker.name_sockets(netns) {
            Ok(Some(sockets)) => sockets,
            Ok(None) => return resolver.leave(&name),
            Err(error) => {
                tracing::warn!(namespace = name, %error, "the namespace has no resolver");
                return resolver.leave(&name);
            }
        };
        let is_process = matches!(netns, Netns::OfProcess(_));
        let inode = sockets.namespace;
        let serving = Serving { inode, is_process, places: places.clone() };
        resolver.serve(Served { name: name.clone(), places, sockets });
        self.serving.insert(name, serving);
        if let Netns::Named { name, .. } = netns {
            self.host.refresh();
            self.write_file(stage, name);
        }
    }

    fn write_file(&self, stage: &mut Stage<'_>, netns: &str) {
        let text = own_file(self.host.search());
        match stage.broker.write_file(netns, EtcFile::ResolvConf, &text) {
            Ok(Written::Done) => {}
            Ok(Written::UsersStays) => {
                tracing::info!("/etc/netns/{netns}/resolv.conf is the user's, and stays");
            }
            Err(error) => {
                tracing::warn!(%error, "`ip netns exec {netns}` shows this host's resolvers");
            }
        }
    }

    /// Answers no longer where nobody wants it.
    fn leave_all_but(&mut self, model: &Model) {
        let wanted = wanted(model);
        let Some(resolver) = &self.resolver else { return };
        self.serving.retain(|name, _| {
            let stays = wanted.contains_key(name);
            if !stays {
                resolver.leave(name);
            }
            stays
        });
    }
}

impl Follower for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    fn prepare(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection> {
        if self.resolver.is_none() {
            let started = Resolver::start(stage.dataplane, self.view.counters.clone());
            let failed = |error| {
                let what = format!("the resolver's thread: {error}");
                Rejection::new(RejectionKind::Failed, what, "raise the limits of this process")
            };
            self.resolver = Some(started.map_err(failed)?);
        }
        Ok(())
    }

    fn complete(&mut self, stage: &mut Stage<'_>) -> Result<(), Rejection> {
        self.follow(stage, stage.new)
    }

    fn commit(&mut self, stage: &mut Stage<'_>) {
        self.leave_all_but(stage.new);
    }

    fn roll_back(&mut self, stage: &mut Stage<'_>) {
        if let Err(error) = self.follow(stage, stage.old) {
            tracing::error!(%error, "the former names are not back");
        }
        self.leave_all_but(stage.old);
    }

    fn reopened(&mut self, port: &PortEntry, stage: &mut Stage<'_>) {
        let Some(name) = netns_of(port).map(key) else { return };
        let mut wanted = wanted(stage.new);
        if let Some(wanted) = wanted.remove(&name) {
            self.serve(stage, name, wanted);
        }
    }

    fn look_after(&mut self, stage: &mut Stage<'_>) {
        let leased = self.leases.lock().names();
        if leased != self.leased {
            self.leased = leased;
            // Only a dataplane that has ended takes none.
            let _ = self.set_table(stage, stage.new);
        }
        let Some(resolver) = &self.resolver else { return };
        let mut at = self.turn;
        self.turn = self.turn.wrapping_add(1);
        self.serving.retain(|name, serving| {
            at = at.wrapping_add(1);
            // A socket would keep a namespace alive that its owner has removed.
            let is_there = serving.is_process
                || !at.is_multiple_of(TURNS)
                || inode_of(name) == Some(serving.inode);
            if !is_there {
                resolver.leave(name);
            }
            is_there
        });
        let named = || self.serving.iter().filter(|(_, serving)| !serving.is_process);
        if named().next().is_some() && self.host.refresh() {
            let names: Vec<String> = named().map(|(name, _)| name.clone()).collect();
            for netns in names {
                self.write_file(stage, &netns);
            }
        }
    }
}

/// The inode of the namespace that has this name now.
fn inode_of(name: &str) -> Option<u64> {
    Namespace::named(name).ok().map(|found| found.inode())
}

/// The namespaces in whose networks there are names.
fn wanted(model: &Model) -> BTreeMap<String, Wanted<'_>> {
    let mut all: BTreeMap<String, Wanted<'_>> = BTreeMap::new();
    for port in &model.ports {
        let network = port.spec.network;
        let Some(netns) = netns_of(port).filter(|_| model.names.serves(network)) else { continue };
        let wanted = all.entry(key(netns)).or_insert_with(|| Wanted { netns, places: Vec::new() });
        wanted.places.push(Place { network, address: port.address });
    }
    all
}

const fn netns_of(port: &PortEntry) -> Option<&Netns> {
    match &port.plan {
        PortPlan::Tap(TapPlan { netns: Some(netns), .. }) => Some(netns),
        _ => None,
    }
}

/// What a namespace is known by.
fn key(netns: &Netns) -> String {
    match netns {
        Netns::Named { name, .. } => name.clone(),
        // No name has a slash.
        Netns::OfProcess(netns) => format!("/{}", netns.namespace().inode()),
    }
}

/// Questions to the gateways would come back.
fn upstreams(model: &Model) -> Upstreams {
    let gateways = model.networks.iter().filter_map(|(_, spec)| spec.gateway.as_ref());
    let own = gateways.map(|gateway| gateway.address.addr().into()).collect();
    Upstreams { configured: model.upstreams.clone(), own }
}
