//! The hosts that run as commands: attached, followed by their processes, and taken back.
//!
//! A host lives exactly as long as its process, zombies not counted: a descriptor of the process
//! tells its end, so nothing has to be told by the process, and a `kill -9` is an end like any
//! other. Whoever attaches a host first takes back those that have ended, so an address or a
//! published port is free as soon as a shell sees its command end.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::admission::{admit, check_bounds};
use super::{HostAnswer, HostInterface, HostRequest, HostRow, LinkSyntax, PrivateFiles};
use crate::control::config::{Config, Port, PortKind};
use crate::control::live::{Control, Draft};
use crate::control::model::HostIndex;
use crate::control::rejection::{Rejection, RejectionKind};
use crate::io::{Clock, HostFiles, OpenError, Process, ProcessNetns, ProcessWatch, WatchId};
use crate::packet::MacAddr;
use crate::time::Instant;

/// Digits of a name that is made up: as many as Docker's short ids have.
const NAME_BYTES: usize = 6;

/// The hosts; they stay attached until their processes end or the switch does.
#[derive(Clone, Debug)]
pub struct Hosts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    control: Control,
    files: PrivateFiles,
    running: Mutex<BTreeMap<String, Running>>,
    /// Set once, right after the rest.
    watch: Mutex<Option<ProcessWatch>>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    watch: Option<WatchId>,
    since: Instant,
    publish: Vec<String>,
    links: Vec<String>,
}

impl Hosts {
    /// No hosts yet; `files` is shared with who writes them.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors.
    pub fn start(control: Control, files: PrivateFiles) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { control, files, running: Mutex::default(), watch: Mutex::default() });
        let of_thread: Weak<Shared> = Arc::downgrade(&shared);
        let watch = ProcessWatch::start(move |ids| match of_thread.upgrade() {
            Some(shared) if !shared.take_back(&ids) => ids,
            _ => HashSet::new(),
        })?;
        *lock(&shared.watch) = Some(watch);
        Ok(Self { shared })
    }

    /// Attaches the process `pid` as a host.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn attach(&self, request: &HostRequest, pid: u32) -> Result<HostAnswer, Rejection> {
        check_bounds(request)?;
        let links = parse_links(&request.links)?;
        let process = Process::open(pid).map_err(rejection)?;
        let netns = process.netns().map_err(rejection)?;
        let files = request.files.map(|numbers| HostFiles::open(&process, numbers));
        let files = files.transpose().map_err(rejection)?;
        self.shared.attach(request, (process, netns, files), &links)
    }

    /// Detaches a host; its process goes on without a network.
    ///
    /// # Errors
    /// If there is no such host, or it cannot be taken back.
    pub fn detach(&self, name: &str) -> Result<(), Rejection> {
        let mut running = lock(&self.shared.running);
        let Some(pid) = running.get(name).map(|host| host.process.pid()) else {
            let names: Vec<&str> = running.keys().map(String::as_str).collect();
            let remedy = match names.as_slice() {
                [] => "none runs; `tapway exec` starts one".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            return Err(Rejection::not_found(format!("there is no host {name}"), remedy));
        };
        self.shared.control.edit(|draft| {
            draft.remove_host_of(name, pid);
            Ok(())
        })?;
        self.shared.forget(&mut running, name);
        Ok(())
    }

    /// Those that run, by name.
    pub fn rows(&self) -> Vec<HostRow> {
        let config = self.shared.control.config();
        let now = Clock.now();
        let running = lock(&self.shared.running);
        let is_there = |(_, host): &(&String, &Running)| !has_gone(&config, host);
        let row = |(name, host): (&String, &Running)| HostRow {
            name: name.clone(),
            pid: host.process.pid(),
            since_s: now.since(host.since).as_secs(),
            interfaces: interfaces(&config, name),
            publish: host.publish.clone(),
            links: host.links.clone(),
        };
        running.iter().filter(is_there).map(row).collect()
    }
}

impl Shared {
    fn attach(
        &self,
        request: &HostRequest,
        (process, netns, files): (Process, ProcessNetns, Option<HostFiles>),
        links: &[LinkSyntax],
    ) -> Result<HostAnswer, Rejection> {
        let mut running = lock(&self.running);
        let name = request.name.clone().map_or_else(|| free_name(&running), Ok)?;
        let config = self.control.config();
        if let Some(other) = running.get(&name).filter(|other| !has_gone(&config, other)) {
            let what = format!("host {name} runs already, as process {}", other.process.pid());
            return Err(Rejection::conflict(what, "choose another name, or end that one first"));
        }
        let ended = ended(&running, |host| has_gone(&config, host));
        let has_files = files.is_some();
        for (name, _) in &ended {
            self.files.remove(name);
        }
        if let Some(files) = files {
            self.files.insert(&name, files);
        }
        let pid = process.pid();
        let edited = self.control.edit(|draft| {
            remove(draft, &ended);
            admit(draft, (&name, request), (pid, netns), links)
        });
        let edited = edited.inspect_err(|_| {
            if has_files {
                self.files.remove(&name);
            }
        })?;
        for (name, _) in &ended {
            running.remove(name);
        }
        let environment = self.environment(&name);
        let host = Running {
            watch: self.watch(&process),
            process,
            since: Clock.now(),
            publish: request.publish.clone(),
            links: request.links.clone(),
        };
        running.insert(name.clone(), host);
        Ok(HostAnswer { interfaces: interfaces(&edited.config, &name), name, environment })
    }

    fn environment(&self, name: &str) -> Vec<(String, String)> {
        let model = self.control.model();
        let index = HostIndex::of(&model);
        let links = index.host(name).map(|host| index.links(host)).unwrap_or_default();
        links.iter().flat_map(|link| link.environment(name)).collect()
    }

    /// Without it the host is taken back when the next one is attached.
    fn watch(&self, process: &Process) -> Option<WatchId> {
        let watched = lock(&self.watch).as_ref().map(|watch| watch.add(process))?;
        let pid = process.pid();
        watched
            .inspect_err(|error| tracing::warn!(pid, %error, "a command's end is not heard of"))
            .ok()
    }

    /// Takes back the hosts whose processes have ended; false if that has to be tried again.
    fn take_back(&self, ids: &HashSet<WatchId>) -> bool {
        let mut running = lock(&self.running);
        let hosts = ended(&running, |host| host.watch.is_some_and(|id| ids.contains(&id)));
        if hosts.is_empty() {
            return true;
        }
        let removed = self.control.edit(|draft| {
            remove(draft, &hosts);
            Ok(())
        });
        match removed {
            Ok(_) => {
                hosts.iter().for_each(|(name, _)| self.forget(&mut running, name));
                true
            }
            Err(error) => {
                let names: Vec<String> = hosts.into_iter().map(|(name, _)| name).collect();
                let names = names.join(", ");
                tracing::error!(%error, names, "hosts that have ended are not taken back yet");
                false
            }
        }
    }

    fn forget(&self, running: &mut BTreeMap<String, Running>, name: &str) {
        running.remove(name);
        self.files.remove(name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if its command has ended, or it was removed as any port.
fn has_gone(config: &Config, host: &Running) -> bool {
    host.process.has_ended() || !config.uses_process(host.process.pid())
}

/// Names and processes of those that have ended.
fn ended(
    running: &BTreeMap<String, Running>,
    is_ended: impl Fn(&Running) -> bool,
) -> Vec<(String, u32)> {
    let ended = running.iter().filter(|(_, host)| is_ended(host));
    ended.map(|(name, host)| (name.clone(), host.process.pid())).collect()
}

/// Removes hosts that may have been removed by somebody else already.
fn remove(draft: &mut Draft<'_>, hosts: &[(String, u32)]) {
    for (name, pid) in hosts {
        draft.remove_host_of(name, *pid);
    }
}

fn parse_links(links: &[String]) -> Result<Vec<LinkSyntax>, Rejection> {
    let parse = |text: &String| {
        text.parse().map_err(|error| Rejection::wrong(error, "an example is db:database"))
    };
    links.iter().map(parse).collect()
}

fn free_name(running: &BTreeMap<String, Running>) -> Result<String, Rejection> {
    loop {
        let mut bytes = [0; NAME_BYTES];
        let flags = rustix::rand::GetRandomFlags::empty();
        rustix::rand::getrandom(&mut bytes, flags).map_err(|error| {
            Rejection::new(RejectionKind::Failed, format!("no name: {error}"), "choose one")
        })?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if !running.contains_key(&name) {
            return Ok(name);
        }
    }
}

fn interfaces(config: &Config, host: &str) -> Vec<HostInterface> {
    let interface = |port: &Port| {
        let PortKind::Tap { interface, .. } = &port.kind else { return None };
        let address = port.address.as_ref().map(|address| *address.get_ref());
        let mac = port.mac.as_ref().map(|mac| *mac.get_ref());
        Some(HostInterface {
            name: interface.get_ref().clone(),
            network: port.network.get_ref().clone(),
            address,
            mac: mac.or(address.map(MacAddr::from_ipv4)),
        })
    };
    config.ports_of(host).filter_map(interface).collect()
}

fn rejection(error: OpenError) -> Rejection {
    let kind = match &error {
        OpenError::Permission { .. } => RejectionKind::Permission,
        OpenError::NotFound { .. } => RejectionKind::NotFound,
        OpenError::Conflict { .. } => RejectionKind::Conflict,
        OpenError::System { .. } => RejectionKind::Failed,
    };
    Rejection::new(kind, error, "")
}
