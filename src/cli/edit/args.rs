//! The command line of what changes a running switch: Docker's words for networks and published
//! ports, iproute2's for routes.

use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, Subcommand};
use ipnet::Ipv4Net;

/// `tapway network ...`
#[derive(Clone, Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network.
    #[command(after_help = "Examples:\n  tapway network create front\n  \
        tapway network create --subnet 172.22.0.0/16 dns\n  \
        tapway network create --internal --opt storm_limit=1000 back\n  \
        tapway network create --subnet 10.0.0.0/24 --vxlan 42 --peer 192.0.2.2 blue")]
    Create(CreateArgs),
    /// Remove networks that were made live.
    #[command(after_help = "Example:\n  tapway network rm front back")]
    Rm {
        /// Remove the hosts in it, too.
        #[arg(short, long)]
        force: bool,
        /// Networks.
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// List networks.
    #[command(visible_alias = "list")]
    Ls {
        /// Names only.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show networks and the hosts in them, as JSON.
    Inspect {
        /// Networks.
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Let a host join a further network, by eth1, eth2 ... beside its eth0.
    #[command(after_help = "Example:\n  tapway network connect --ip 10.1.0.9 back web")]
    Connect {
        /// Its address there [default: a free one].
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<Ipv4Addr>,
        /// Its MAC there.
        #[arg(long, value_name = "MAC")]
        mac_address: Option<String>,
        /// The interface's name [default: the next one].
        #[arg(long, value_name = "NAME")]
        interface: Option<String>,
        /// A further name there; may be repeated.
        #[arg(long, value_name = "NAME")]
        alias: Vec<String>,
        /// The network.
        network: String,
        /// The host's port.
        port: String,
    },
    /// Add and remove peers of a network over several hosts: its other tunnel endpoints.
    #[command(subcommand)]
    Peer(PeerCommand),
    /// Say which hosts are behind which peers of a network over several hosts.
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// Let a host leave a network that it was connected to live.
    Disconnect {
        /// The network.
        network: String,
        /// The host's port.
        port: String,
    },
}

/// `tapway network peer ...`
#[derive(Clone, Debug, Subcommand)]
pub enum PeerCommand {
    /// Add peers.
    #[command(after_help = "Example:\n  tapway network peer add blue 192.0.2.2 192.0.2.3")]
    Add(PeerArgs),
    /// Remove peers that were added live, or learned.
    Rm(PeerArgs),
}

/// Peers of a network.
#[derive(Args, Clone, Debug)]
pub struct PeerArgs {
    /// The network.
    pub network: String,
    /// Tunnel endpoints.
    #[arg(required = true, value_name = "ADDRESS")]
    pub addresses: Vec<IpAddr>,
}

/// `tapway network endpoint ...`
#[derive(Clone, Debug, Subcommand)]
pub enum EndpointCommand {
    /// A host is behind a peer; it may have been behind another one.
    #[command(after_help = "Example:\n  tapway network endpoint add blue --name db \\\n    \
        --address 10.0.0.7 --peer 192.0.2.2")]
    Add {
        /// The network.
        network: String,
        /// The host's name in a network with names.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Its address.
        #[arg(long, visible_alias = "ip", value_name = "ADDRESS")]
        address: Ipv4Addr,
        /// Its MAC [default: 02:42 and the address].
        #[arg(long, visible_alias = "mac-address", value_name = "MAC")]
        mac: Option<String>,
        /// The peer that it is behind.
        #[arg(long, value_name = "ADDRESS")]
        peer: IpAddr,
    },
    /// Forget hosts behind peers that were added live.
    Rm {
        /// The network.
        network: String,
        /// Their addresses.
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<Ipv4Addr>,
    },
}

/// A new network.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Its subnet, or `none` [default: a free one that this host has no route to].
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<String>,
    /// tapway's address in it [default: the first].
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Option<Ipv4Addr>,
    /// Where automatic addresses come from [default: the subnet].
    #[arg(long, value_name = "CIDR")]
    pub ip_range: Option<String>,
    /// An address or range that no host is given; may be repeated.
    #[arg(long, value_name = "RANGE")]
    pub exclude: Vec<String>,
    /// No way out, and nothing comes in from outside.
    #[arg(long)]
    pub internal: bool,
    /// Whether its hosts may talk to each other [default: true].
    #[arg(long, value_name = "BOOL")]
    pub icc: Option<bool>,
    /// Largest packet, in bytes [default: 1500, with --vxlan 1450].
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u16>,
    /// How it is translated: none, eim-eif, eim-adf, eim-apdf or apdm.
    #[arg(long, value_name = "MODE")]
    pub nat: Option<String>,
    /// Its number (VNI) on several hosts [default: it is on this host only].
    #[arg(long, value_name = "VNI")]
    pub vxlan: Option<u32>,
    /// Another host that has part of it; may be repeated [default: those of [vxlan]].
    #[arg(long, value_name = "ADDRESS", requires = "vxlan")]
    pub peer: Vec<IpAddr>,
    /// Any other key of [network.NAME] in a configuration; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Its name.
    pub name: String,
}

/// `tapway port ...`
#[derive(Clone, Debug, Subcommand)]
pub enum PortCommand {
    /// Attach a host by a TAP.
    #[command(after_help = "Examples:\n  tapway port add --netns web -p 8080:80 web\n  \
        tapway port add --network back --ip 10.1.0.9 --opt guard=false vm1")]
    Add(AddArgs),
    /// Remove ports that were made live, with what they publish.
    Rm {
        /// Ports.
        #[arg(required = true, value_name = "PORT")]
        names: Vec<String>,
    },
}

/// A new port.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// The network it joins [default: bridge].
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// The namespace its TAP is made in, made if missing [default: this host].
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Its address, or `none` [default: a free one].
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// Its MAC [default: 02:42 and the address].
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<String>,
    /// The TAP's name [default: eth0 in a namespace, else the port's name].
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// A further name of the host; may be repeated.
    #[arg(long, visible_alias = "network-alias", value_name = "NAME")]
    pub alias: Vec<String>,
    /// Publish a port: `[ip:][hostport[-end]:]port[-end][/proto]`; may be repeated.
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Any other key of [port.NAME] in a configuration; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Its name.
    pub name: String,
}

/// `tapway publish` and `tapway unpublish`.
#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    /// The host's port.
    pub port: String,
    /// What is published: `[ip:][hostport[-end]:]port[-end][/proto]`.
    #[arg(required = true, value_name = "PUBLISH")]
    pub publish: Vec<String>,
}

/// `tapway route ...`
#[derive(Clone, Debug, Subcommand)]
pub enum RouteCommand {
    /// Add a route.
    #[command(after_help = "Example:\n  tapway route add 10.0.0.0/8 via 172.17.0.9")]
    Add {
        /// Where to.
        to: Ipv4Net,
        /// The word `via`, as of iproute2.
        #[arg(value_parser = ["via"], hide_possible_values = true, value_name = "via")]
        via: String,
        /// The next router: a neighbour on a network or the uplink.
        router: Ipv4Addr,
    },
    /// Remove a route that was made live.
    #[command(visible_alias = "delete")]
    Del {
        /// Where to.
        to: Ipv4Net,
    },
}
