//! Where a measurement takes place: hosts in namespaces, and a running switch between them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::error::{Context, Result};
use crate::figure::Scenario;
use crate::netns::{self, Netns};
use crate::process::Process;

/// The router inside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The host inside that talks to one outside, or publishes.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The switch's address outside.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The host outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Ports that a peer publishes for the published scenario, TCP and UDP.
pub const PORTS: std::ops::RangeInclusive<u16> = 7001..=7004;
/// Where streams of bytes go to.
pub const STREAM_PORT: u16 = 7001;
/// Where single bytes are echoed.
pub const ECHO_PORT: u16 = 7002;
/// Where floods go to.
pub const FLOOD_PORT: u16 = 7003;
/// Where connections are closed at once.
pub const CONNECT_PORT: u16 = 7004;

/// Temporary folders are called that, the process id, and something random.
const FOLDERS: &str = "netbench-";
/// Where switches that name shared memory after their folder have it.
const SHARED_MEMORY: &str = "/dev/shm";

/// MTU of every interface.
pub const MTU: u16 = 1500;

/// A namespace that plays a host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its namespace.
    pub netns: Arc<Netns>,
    /// Its own address.
    pub address: Ipv4Addr,
}

impl Host {
    /// Makes a namespace for a host.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn create(role: &str, address: Ipv4Addr) -> Result<Self> {
        Ok(Self { netns: Arc::new(Netns::create(role)?), address })
    }

    /// The hosts of an L2 scenario: the first two talk, the others are bystanders.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn create_many(count: u8) -> Result<Vec<Self>> {
        let host = |at: u8| {
            let [a, b, c, first] = INSIDE.octets();
            Self::create(&format!("h{at}"), Ipv4Addr::new(a, b, c, first + at))
        };
        (0..count).map(host).collect()
    }
}

/// How many hosts an L2 scenario needs.
pub const fn hosts_of(scenario: Scenario) -> u8 {
    match scenario {
        Scenario::Fairness => 5,
        _ => 2,
    }
}

/// Who talks to whom, and at which address.
#[derive(Clone, Debug)]
pub struct Route {
    /// Opens connections, sends.
    pub client: Host,
    /// Accepts, receives, echoes.
    pub server: Host,
    /// The server as the client reaches it.
    pub target: Ipv4Addr,
}

impl Route {
    /// From one host straight to another.
    pub fn direct(client: &Host, server: &Host) -> Self {
        Self { client: client.clone(), server: server.clone(), target: server.address }
    }

    /// As a scenario wants it, given the two hosts at a translating switch.
    pub fn translated(scenario: Scenario, inside: &Host, outside: &Host) -> Self {
        match scenario {
            Scenario::Published => {
                Self { client: outside.clone(), server: inside.clone(), target: EXTERNAL }
            }
            _ => Self::direct(inside, outside),
        }
    }

    /// A port of the server as the client reaches it.
    pub const fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.target, port)
    }
}

/// A switch that runs, and the hosts at it. Dropping it removes all of that, in this order.
pub struct Testbed {
    /// The switch's processes; none if the kernel is the switch.
    pub processes: Vec<Process>,
    /// Who talks to whom.
    pub route: Route,
    /// Other hosts of the same network.
    pub bystanders: Vec<Host>,
    /// Namespaces of the switch itself.
    pub own: Vec<Netns>,
    /// Files of the switch: configuration, log, sockets.
    pub folder: TempDir,
}

impl Testbed {
    /// A folder for the files of a switch.
    ///
    /// # Errors
    /// If there is no room for temporary files.
    pub fn folder() -> Result<TempDir> {
        let prefix = format!("{FOLDERS}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir();
        folder.context("making a folder for temporary files")
    }

    /// A testbed between the first two of `hosts`; further ones are bystanders.
    ///
    /// # Panics
    /// With fewer than two hosts.
    pub fn between(hosts: Vec<Host>, folder: TempDir) -> Self {
        let (talking, bystanders) = hosts.split_at(2);
        let route = Route::direct(&talking[0], &talking[1]);
        let bystanders = bystanders.to_vec();
        Self { processes: Vec::new(), route, bystanders, own: Vec::new(), folder }
    }

    /// Where the switch's files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Process ids of the switch.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Complains if the switch has ended.
    ///
    /// # Errors
    /// The end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }
}

/// Removes namespaces, folders and shared memory of benchmarks that were killed.
pub fn sweep() {
    netns::sweep();
    for place in [std::env::temp_dir(), SHARED_MEMORY.into()] {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if netns::maker_of(&name, FOLDERS).is_some_and(netns::is_gone)
                && let Err(error) = remove(&entry.path())
            {
                eprintln!("netbench: {name} is left behind: {error}");
            }
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}
