//! The configuration: one TOML file, read and checked as a whole.
//!
//! Every error of a file is reported at once, each with its place, the key it is about and what
//! to do. A [`Config`] that was given out has passed all checks; `model` turns it into what the
//! dataplane and the broker are told.

mod check;
mod check_ports;
mod check_vxlan;
mod dataplane;
mod dhcp;
mod dns;
mod host;
mod joins;
mod limits;
mod links;
mod names;
mod nets;
mod origin;
mod problem;
pub mod publishes;
mod rates;
mod read;
mod resolve;
mod section;
mod syntax;
mod vxlan;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use toml::Spanned;

use crate::engine::EngineConfig;
use crate::io::{DataplaneSettings, TapBackend};
use crate::nat::NatPolicy;
use crate::packet::{MacAddr, PortSpan};
use crate::switch::PortLimits;

use super::addresses::AddressRange;
use super::hosts::{ExposeSyntax, LinkSyntax};
use super::publish_syntax::PublishSyntax;

pub use check_vxlan::{MAX_PEERS, may_be_peer, tunnel_name};
pub use dns::Dns;
pub use host::HostPlace;
pub use limits::Lifetimes;
pub use origin::{DEFAULT_CONFIG, DEFAULT_NAME, Origin};
pub use problem::{ConfigErrors, Problem};
pub use resolve::Memory;
pub use vxlan::{Endpoint, NetworkVxlan, Peer, PeerSource, UnderlayKind, VtepSettings};

/// The API's socket unless configured.
pub const DEFAULT_SOCKET: &str = "/run/tapway.sock";
/// The network that a port joins unless configured.
pub const DEFAULT_NETWORK: &str = "bridge";
/// The name of the uplink, as a network and as a port.
pub const UPLINK_NAME: &str = "uplink";
/// The name of the port to other tunnel endpoints.
pub const VTEP_NAME: &str = "vxlan";

/// Longest file, in bytes: far more than the most networks and ports need.
const MAX_FILE: u64 = 16 << 20;

/// A checked configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The way to the outside; none: there is none.
    pub uplink: Option<Uplink>,
    /// tapway as a tunnel endpoint, for networks with `vxlan`.
    pub vtep: VtepSettings,
    /// Networks, in the order of the file.
    pub networks: Vec<Network>,
    /// Ports, in the order of the file.
    pub ports: Vec<Port>,
    /// Routes besides the connected ones and the uplink's default route.
    pub routes: Vec<StaticRoute>,
    /// Bounds and timers.
    pub engine: EngineConfig,
    /// How the dataplane uses the system.
    pub dataplane: DataplaneSettings,
    /// Names for hosts.
    pub dns: Dns,
    /// The API's socket.
    pub api_socket: PathBuf,
    /// Where what is made live is kept.
    pub state: StateSetting,
    /// Places from here on are of what was made live, and in no file.
    pub live_at: usize,
}

/// `[state]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateSetting {
    /// The system's usual directory for the tapway on the usual socket; others keep nothing.
    #[default]
    Usual,
    /// Nothing is kept.
    None,
    /// This directory.
    Directory(PathBuf),
}

/// `[uplink]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Uplink {
    /// TAP, device or shared device.
    pub kind: UplinkKind,
    /// Where the far end of the TAP, or the device, is.
    pub netns: Option<Spanned<String>>,
    /// Make the namespace if it is missing.
    pub create_netns: bool,
    /// tapway's own address on it; none: it is the device's, which is shared.
    pub address: Option<Spanned<Ipv4Net>>,
    /// The router beyond; none: that of the host on a shared device, else only the uplink's subnet
    /// is outside.
    pub gateway: Option<Spanned<Ipv4Addr>>,
    /// Addresses that packets are translated to; empty: `address`.
    pub nat_addresses: Vec<Spanned<Ipv4Addr>>,
    /// Static 1:1 translations.
    pub static_nat: Vec<StaticNat>,
    /// tapway's own MAC.
    pub mac: Option<Spanned<MacAddr>>,
    /// Largest packet, in bytes.
    pub mtu: u16,
}

/// What the uplink is.
#[derive(Clone, Debug, PartialEq)]
pub enum UplinkKind {
    /// A TAP; its far end is the router's or the host's.
    Tap {
        /// The TAP's name.
        interface: Spanned<String>,
        /// How it is opened.
        backend: TapBackend,
        /// Checksums and segmentation are left to who needs them.
        offload: bool,
    },
    /// An interface that exists.
    Device {
        /// Its name.
        device: Spanned<String>,
        /// The socket's receive buffer, in bytes.
        receive_buffer: usize,
    },
    /// An interface of this host that is shared with it, address and all.
    Shared {
        /// Its name.
        device: Spanned<String>,
        /// External ports of translated traffic; none: chosen at start.
        ports: Option<Spanned<PortSpan>>,
        /// The socket's receive buffer, in bytes.
        receive_buffer: usize,
    },
}

impl Uplink {
    /// True if the host's address is tapway's as well.
    pub const fn is_shared(&self) -> bool {
        matches!(self.kind, UplinkKind::Shared { .. })
    }

    /// tapway's own address, where the file says it.
    pub fn own_address(&self) -> Option<Ipv4Net> {
        self.address.as_ref().map(|address| *address.get_ref())
    }
}

/// One entry of `uplink.static_nat`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticNat {
    /// The address outside.
    pub external: Spanned<Ipv4Addr>,
    /// The host's address.
    pub inside: Spanned<Ipv4Addr>,
}

/// `[network.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: Spanned<String>,
    /// Subnet and tapway's address in it; none: switched only.
    pub router: Option<NetworkRouter>,
    /// Where it says that tapway chooses the subnet.
    pub wish: Option<Range<usize>>,
    /// Where automatic addresses come from; none: the whole subnet.
    pub range: Option<Spanned<AddressRange>>,
    /// Addresses that no host is given.
    pub exclude: Vec<Spanned<AddressRange>>,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// It has no way out and none in.
    pub internal: bool,
    /// This host's own place in it; none: it is not there.
    pub host: Option<HostPlace>,
    /// Its hosts may talk to each other.
    pub icc: bool,
    /// How it is translated.
    pub nat: NatPolicy,
    /// Lifetimes of sessions that are other than those of `[timeouts]`.
    pub timeouts: Option<Lifetimes>,
    /// Frames per second that a port may cause to be flooded; 0: no limit.
    pub storm_limit: u32,
    /// Relay link-local group addresses (LLDP, LACP, STP).
    pub forward_reserved: bool,
    /// Addresses for hosts that ask; none: hosts are not served.
    pub dhcp: Option<Dhcp>,
    /// Its hosts know each other by name.
    pub dns: bool,
    /// It stretches over several hosts; none: it is on this one only.
    pub vxlan: Option<NetworkVxlan>,
}

/// `dhcp` of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dhcp {
    /// Where it is in the file.
    pub span: Range<usize>,
    /// Where leases come from; none: the whole subnet.
    pub range: Option<Spanned<AddressRange>>,
    /// Never leased.
    pub exclude: Vec<Spanned<AddressRange>>,
    /// How long a lease lasts, in seconds.
    pub lease_s: u32,
    /// The domain that clients search names in; none: the network's name, if names are served.
    pub domain: Option<String>,
}

/// tapway's own place in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRouter {
    /// The subnet.
    pub subnet: Spanned<Ipv4Net>,
    /// tapway's address in it.
    pub gateway: Spanned<Ipv4Addr>,
    /// tapway's MAC in it.
    pub mac: Option<Spanned<MacAddr>>,
}

/// `[port.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: Spanned<String>,
    /// The host behind it: the port's name, unless it joins a further network.
    pub host: String,
    /// The network it joins.
    pub network: Spanned<String>,
    /// What it is.
    pub kind: PortKind,
    /// The host's address.
    pub address: Option<Spanned<Ipv4Addr>>,
    /// Where it says that tapway chooses the address.
    pub wish: Option<Range<usize>>,
    /// The host's MAC.
    pub mac: Option<Spanned<MacAddr>>,
    /// Largest packet, in bytes; none: the network's.
    pub mtu: Option<u16>,
    /// The host may only use its own MAC and address.
    pub guard: bool,
    /// Published ports.
    pub publish: Vec<Spanned<PublishSyntax>>,
    /// Ports that the host serves: told to those that link to it.
    pub expose: Vec<Spanned<ExposeSyntax>>,
    /// Links to other hosts.
    pub links: Vec<Spanned<LinkSyntax>>,
    /// MACs bound to the port.
    pub static_macs: Vec<Spanned<MacAddr>>,
    /// How much may pass it.
    pub limits: PortLimits,
    /// Further names of the host.
    pub aliases: Vec<Spanned<String>>,
}

/// What a port is.
#[derive(Clone, Debug, PartialEq)]
pub enum PortKind {
    /// A TAP.
    Tap {
        /// The namespace it is opened in; none: tapway's own.
        netns: Option<Spanned<String>>,
        /// Make the namespace if it is missing.
        create_netns: bool,
        /// The process in whose namespace it is opened, in place of one with a name.
        process: Option<u32>,
        /// Its name there.
        interface: Spanned<String>,
        /// How it is opened.
        backend: TapBackend,
        /// Checksums and segmentation are left to who needs them.
        offload: bool,
    },
    /// Frames out of a capture file.
    Replay(PathBuf),
    /// Frames into a capture file.
    Record(PathBuf),
}

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticRoute {
    /// Destination.
    pub to: Spanned<Ipv4Net>,
    /// Next router.
    pub via: Spanned<Ipv4Addr>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{path}: {error}; name a readable file with -c, or leave it out for the default")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// It is longer than any configuration.
    #[error(
        "{path}: longer than the {} MiB that a configuration may have; name a configuration with \
         -c, or make it shorter",
        MAX_FILE >> 20
    )]
    TooLong {
        /// The file.
        path: String,
    },
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] ConfigErrors),
}

/// A configuration and what is odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the file is called in messages.
    pub name: String,
    /// The configuration.
    pub config: Config,
    /// Things that are legal but hardly meant, as `FILE:LINE:COLUMN: warning: ...`.
    pub warnings: Vec<String>,
}

/// What a configuration is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'s> {
    /// What the file is called in messages.
    pub name: &'s str,
    /// The file's text.
    pub text: &'s str,
    /// What was made live: networks, ports, routes and joins, in the same language.
    pub live: &'s str,
    /// Subnets that this host has routes to: none of them is chosen for a network.
    pub routed: &'s [Ipv4Net],
}

impl Config {
    /// Reads and checks a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Loaded, ConfigErrors> {
        let sources = Sources { name, text, live: "", routed: &[] };
        Self::compose(sources, &mut Memory::default())
    }

    /// Reads and checks a file's text with what was made live. What is left to tapway is chosen
    /// as `memory` says, and entered there.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn compose(sources: Sources<'_>, memory: &mut Memory) -> Result<Loaded, ConfigErrors> {
        let Sources { name, text, live, routed } = sources;
        // Places of what was made live come behind those of the file.
        let live_at = text.len() + 1;
        let whole = format!("{text}\n{live}");
        let placed = " ".repeat(live_at) + live;
        let mut problems = problem::Problems::new(&whole, live_at);
        let draft = Self::draft(&mut problems, (text, &placed), memory, routed);
        problems.finish();
        if !problems.errors.is_empty() {
            return Err(ConfigErrors { file: name.to_owned(), errors: problems.errors });
        }
        let warnings = problems.warnings.iter().map(|odd| {
            let Problem { line, column, key, what, remedy, .. } = odd;
            format!("{name}:{line}:{column}: warning: {key}: {what}; {remedy}")
        });
        let config = Self { live_at, ..draft.config };
        Ok(Loaded { name: name.to_owned(), warnings: warnings.collect(), config })
    }

    fn draft<'i>(
        problems: &mut problem::Problems<'i>,
        (text, live): (&'i str, &'i str),
        memory: &mut Memory,
        routed: &[Ipv4Net],
    ) -> read::Draft {
        let mut draft = read::read(problems, text, live);
        resolve::resolve(problems, &mut draft, memory, routed);
        check::check(problems, &draft);
        check_vxlan::check(problems, &draft);
        check_ports::check(problems, &draft);
        links::check(problems, &draft);
        draft
    }

    /// A network.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name.get_ref() == name)
    }

    /// True if a network stretches over several hosts.
    pub fn is_stretched(&self) -> bool {
        self.networks.iter().any(|network| network.vxlan.is_some())
    }

    /// The ports of a host, its first one first.
    pub fn ports_of(&self, host: &str) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(move |port| port.host == host)
    }

    /// The port by which a host has its default route and is published: the first whose network
    /// has a way out.
    pub fn way_out_of(&self, host: &str) -> Option<&Port> {
        let has_way = |port: &&Port| match self.network(port.network.get_ref()) {
            Some(network) => network.router.is_some() && !network.internal,
            // The uplink's.
            None => true,
        };
        self.ports_of(host).find(has_way)
    }

    /// True if a host lives in the namespace of a process.
    pub fn uses_process(&self, pid: u32) -> bool {
        let is_it = |port: &Port| matches!(port.kind, PortKind::Tap { process, .. } if process == Some(pid));
        self.ports.iter().any(is_it)
    }

    /// True if a place is of what was made live.
    pub const fn is_live(&self, at: &Range<usize>) -> bool {
        at.start >= self.live_at
    }
}
