//! The configuration: one TOML file, read and checked as a whole.
//!
//! Every error of a file is reported at once, each with its place, the key it is about and what
//! to do. A [`Config`] that was given out has passed all checks; `model` turns it into what the
//! dataplane and the broker are told.

mod check;
mod check_ports;
mod dataplane;
mod dns;
mod limits;
mod links;
mod names;
mod nets;
mod problem;
pub mod publishes;
mod read;
mod section;
mod syntax;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use toml::Spanned;

use crate::engine::EngineConfig;
use crate::io::{DataplaneSettings, TapBackend};
use crate::nat::NatPolicy;
use crate::packet::{MacAddr, PortSpan};

use super::hosts::{ExposeSyntax, LinkSyntax};
use super::publish_syntax::PublishSyntax;

pub use dns::Dns;
pub use problem::{ConfigErrors, Problem};

/// The configuration that holds when no file is given.
pub const DEFAULT_CONFIG: &str = include_str!("../../../tools/configs/default.toml");
/// What the embedded configuration is called in messages.
pub const DEFAULT_NAME: &str = "(embedded default)";
/// The API's socket unless configured.
pub const DEFAULT_SOCKET: &str = "/run/tapway.sock";
/// The network that a port joins unless configured.
pub const DEFAULT_NETWORK: &str = "bridge";
/// The name of the uplink, as a network and as a port.
pub const UPLINK_NAME: &str = "uplink";

/// Longest file, in bytes: far more than the most networks and ports need.
const MAX_FILE: u64 = 16 << 20;

/// A checked configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The way to the outside; none: there is none.
    pub uplink: Option<Uplink>,
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
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// Its hosts may talk to each other.
    pub icc: bool,
    /// How it is translated.
    pub nat: NatPolicy,
    /// Frames per second that a port may cause to be flooded; 0: no limit.
    pub storm_limit: u32,
    /// Relay link-local group addresses (LLDP, LACP, STP).
    pub forward_reserved: bool,
    /// Its hosts know each other by name.
    pub dns: bool,
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
    /// The network it joins.
    pub network: Spanned<String>,
    /// What it is.
    pub kind: PortKind,
    /// The host's address.
    pub address: Option<Spanned<Ipv4Addr>>,
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

impl Loaded {
    /// True if it is the embedded one.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT_NAME
    }
}

impl Config {
    /// Reads and checks a file; without one, the embedded default.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: Option<&Path>) -> Result<Loaded, LoadError> {
        let Some(path) = path else { return Ok(Self::parse(DEFAULT_NAME, DEFAULT_CONFIG)?) };
        let name = path.display().to_string();
        let bytes =
            read_file(path).map_err(|error| LoadError::Unreadable { path: name.clone(), error })?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(LoadError::TooLong { path: name });
        }
        Ok(Self::parse_bytes(&name, &bytes)?)
    }

    /// Reads and checks what should be a text. Bytes that are none are replaced, so that what
    /// else is wrong is told as well.
    fn parse_bytes(name: &str, bytes: &[u8]) -> Result<Loaded, ConfigErrors> {
        let text = String::from_utf8_lossy(bytes);
        let Err(error) = std::str::from_utf8(bytes) else { return Self::parse(name, &text) };
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        let mut problems = problem::Problems::new(&text);
        let what = format!("byte 0x{byte:02x} is not UTF-8");
        problems.error(at..at, "", what, "save the file as UTF-8 text");
        // Another encoding, or no text at all: what else would be said of it means nothing.
        if !bytes.contains(&0) {
            return Self::judge(name, problems, &text);
        }
        problems.finish();
        Err(ConfigErrors { file: name.to_owned(), errors: problems.errors })
    }

    /// Reads and checks a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Loaded, ConfigErrors> {
        Self::judge(name, problem::Problems::new(text), text)
    }

    fn judge<'i>(
        name: &str,
        mut problems: problem::Problems<'i>,
        text: &'i str,
    ) -> Result<Loaded, ConfigErrors> {
        let config = read::read(&mut problems, text);
        check::check(&mut problems, &config);
        check_ports::check(&mut problems, &config);
        links::check(&mut problems, &config);
        problems.finish();
        if !problems.errors.is_empty() {
            return Err(ConfigErrors { file: name.to_owned(), errors: problems.errors });
        }
        let warnings = problems.warnings.iter().map(|odd| {
            let Problem { line, column, key, what, remedy, .. } = odd;
            format!("{name}:{line}:{column}: warning: {key}: {what}; {remedy}")
        });
        Ok(Loaded { name: name.to_owned(), warnings: warnings.collect(), config: config.config })
    }
}

/// A file up to the byte that makes it too long: a device may have no end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
