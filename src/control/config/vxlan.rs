//! Networks that stretch over several hosts: `[vxlan]`, `vxlan` of a network, `[[peer]]` and
//! `[[endpoint]]`. What needs two values to be judged is left to `check_vxlan`.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::problem::Problems;
use super::read::{ADDRESS, BOOL, Draft, MAC, TEXT, read_buffer, read_choice};
use super::section::Section;
use crate::control::rejection::RejectionKind;
use crate::packet::MacAddr;
use crate::packet::vxlan::{TUNNEL_OVERHEAD, VXLAN_PORT, Vni};

/// What most underlays take, in bytes.
const ETHERNET_MTU: u16 = 1500;
/// Numbers that a network can have.
const VNIS: RangeInclusive<u64> = 1..=Vni::MAX as u64;

/// `[vxlan]`: tapway as a tunnel endpoint (VTEP).
#[derive(Clone, Debug, PartialEq)]
pub struct VtepSettings {
    /// How it reaches the others.
    pub underlay: UnderlayKind,
    /// Its address; none: the kernel chooses by route, or it is the uplink's.
    pub address: Option<Spanned<Ipv4Addr>>,
    /// The UDP port of all endpoints.
    pub port: u16,
    /// The namespace of the sockets; none: this host.
    pub netns: Option<Spanned<String>>,
    /// The interface of multicast groups; none: the kernel chooses by route.
    pub device: Option<Spanned<String>>,
    /// The sockets' receive buffer, in bytes.
    pub receive_buffer: usize,
    /// Peers of every network that names none and no group.
    pub peers: Vec<Spanned<Ipv4Addr>>,
}

/// What carries encapsulated frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnderlayKind {
    /// UDP sockets of the kernel.
    #[default]
    Socket,
    /// The uplink; where it is said.
    Uplink(Range<usize>),
}

/// `vxlan` of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkVxlan {
    /// Its number, the same on all hosts.
    pub vni: Spanned<Vni>,
    /// The other tunnel endpoints that have part of it.
    pub peers: Vec<Peer>,
    /// The multicast group that frames to many go to, in place of each peer.
    pub group: Option<Spanned<Ipv4Addr>>,
    /// Whoever sends frames of the network becomes a peer.
    pub accepts_any: bool,
    /// Frames with VLAN tags pass its tunnels.
    pub carries_tags: bool,
    /// Known hosts behind peers.
    pub endpoints: Vec<Endpoint>,
}

/// Another tunnel endpoint that has part of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// Its address in the underlay.
    pub address: Spanned<Ipv4Addr>,
    /// Who said so.
    pub source: PeerSource,
}

/// Who named a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// The network, or a `[[peer]]`.
    Own,
    /// `[vxlan]`, for all networks.
    Common,
    /// Itself: it sent frames of the network, which accepts any.
    Learned,
}

/// `[[endpoint]]`: a known host behind a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its name; none: it has none.
    pub name: Option<Spanned<String>>,
    /// Its MAC; none: derived from the address.
    pub mac: Option<Spanned<MacAddr>>,
    /// Its address.
    pub address: Spanned<Ipv4Addr>,
    /// The peer that it is behind.
    pub peer: Spanned<Ipv4Addr>,
}

impl Endpoint {
    /// Its MAC, configured or derived as for ports.
    pub fn mac(&self) -> MacAddr {
        let derived = MacAddr::from_ipv4(*self.address.get_ref());
        self.mac.as_ref().map_or(derived, |mac| *mac.get_ref())
    }
}

impl Default for VtepSettings {
    fn default() -> Self {
        Self {
            underlay: UnderlayKind::Socket,
            address: None,
            port: VXLAN_PORT,
            netns: None,
            device: None,
            receive_buffer: super::read::DEFAULT_RECEIVE_BUFFER as usize,
            peers: Vec::new(),
        }
    }
}

impl VtepSettings {
    /// True if encapsulated frames leave by the uplink.
    pub const fn is_uplink(&self) -> bool {
        matches!(self.underlay, UnderlayKind::Uplink(_))
    }
}

impl NetworkVxlan {
    /// A peer by its address.
    pub fn peer(&self, address: Ipv4Addr) -> Option<&Peer> {
        self.peers.iter().find(|peer| *peer.address.get_ref() == address)
    }

    /// An endpoint by its address.
    pub fn endpoint(&self, address: Ipv4Addr) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| *endpoint.address.get_ref() == address)
    }
}

/// `[vxlan]`; without it everything has its default.
pub(super) fn read_vtep<'i>(problems: &mut Problems<'i>, file: &mut Section<'i>) -> VtepSettings {
    let mut settings = VtepSettings::default();
    let Some(mut section) = file.take_section(problems, "vxlan") else { return settings };
    let kind = section.take::<String>(problems, "underlay", TEXT);
    let span = kind.as_ref().map(Spanned::span);
    let kind = kind
        .and_then(|kind| read_choice(problems, &section, "underlay", kind, &["socket", "uplink"]));
    if let (Some("uplink"), Some(span)) = (kind.as_deref(), span) {
        settings.underlay = UnderlayKind::Uplink(span);
        section.refuse(problems, "address", "it is the uplink's with `underlay = \"uplink\"`");
        for key in ["netns", "device", "receive_buffer"] {
            section.refuse(problems, key, "there is none with `underlay = \"uplink\"`");
        }
    } else {
        let address = section.take::<IpAddr>(problems, "address", ADDRESS);
        let key = section.key("address");
        settings.address = address.and_then(|address| over_ipv4(problems, &key, address));
        settings.netns = section.take(problems, "netns", TEXT);
        settings.device = section.take(problems, "device", TEXT);
        settings.receive_buffer = read_buffer(problems, &mut section);
    }
    if let Some(port) = section.take_number(problems, "port", 1..=u64::from(u16::MAX)) {
        settings.port = port.into_inner() as u16;
    }
    settings.peers = read_addresses(problems, &mut section, "peers");
    section.finish(problems);
    settings
}

/// `vxlan` of a network: a number, or a table.
pub(super) fn read_network<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    vtep: &VtepSettings,
) -> Option<NetworkVxlan> {
    let common = || vtep.peers.iter().map(|at| peer(at.clone(), PeerSource::Common)).collect();
    if !section.is_table("vxlan") {
        let vni = section.take_number(problems, "vxlan", VNIS);
        return Some(NetworkVxlan {
            vni: to_vni(&vni?)?,
            peers: common(),
            group: None,
            accepts_any: false,
            carries_tags: false,
            endpoints: Vec::new(),
        });
    }
    let mut table = section.take_section(problems, "vxlan")?;
    let vni = table.take_number(problems, "vni", VNIS);
    let vni = table.require(problems, "vni", vni, "42");
    let names_peers = table.has("peers");
    let peers = read_addresses(problems, &mut table, "peers");
    let group = table.take::<IpAddr>(problems, "group", "an IPv4 multicast address");
    let key = table.key("group");
    let group = group.and_then(|group| over_ipv4(problems, &key, group));
    let accept = table.take::<String>(problems, "accept", TEXT);
    let accept = accept
        .and_then(|accept| read_choice(problems, &table, "accept", accept, &["peers", "any"]));
    let tags = table.take::<bool>(problems, "vlan_tags", BOOL);
    table.finish(problems);
    let peers = match names_peers || group.is_some() {
        true => peers.into_iter().map(|at| peer(at, PeerSource::Own)).collect(),
        false => common(),
    };
    Some(NetworkVxlan {
        vni: to_vni(&vni?)?,
        peers,
        accepts_any: accept.map_or(group.is_some(), |accept| accept == "any"),
        group,
        carries_tags: tags.is_some_and(Spanned::into_inner),
        endpoints: Vec::new(),
    })
}

/// The MTU of a network with `vxlan` that names none: what fits into the underlay's packets.
pub(super) fn default_mtu(draft: &Draft) -> u16 {
    let uplink = draft.config.uplink.as_ref().filter(|_| draft.config.vtep.is_uplink());
    uplink.map_or(ETHERNET_MTU, |uplink| uplink.mtu).saturating_sub(TUNNEL_OVERHEAD)
}

/// `[[peer]]`: the same as one of `peers` of a network.
pub(super) fn read_peer<'i>(
    problems: &mut Problems<'i>,
    draft: &mut Draft,
    mut section: Section<'i>,
) {
    let network = section.take::<String>(problems, "network", TEXT);
    let network = section.require(problems, "network", network, "\"blue\"");
    let address = take_address(problems, &mut section, "address");
    let address = section.require(problems, "address", address, "\"192.0.2.2\"");
    let is_learned = problems.is_live(&section.span())
        && section.take(problems, "learned", BOOL).is_some_and(Spanned::into_inner);
    section.finish(problems);
    let (Some(network), Some(address)) = (network, address) else { return };
    if is_learned {
        // What is learned comes and goes with what is configured.
        let known = vxlan_of(draft, network.get_ref()).filter(|vxlan| vxlan.accepts_any);
        if let Some(vxlan) = known.filter(|vxlan| vxlan.peer(*address.get_ref()).is_none()) {
            vxlan.peers.push(peer(address, PeerSource::Learned));
        }
    } else if let Some(vxlan) = find(problems, draft, ("peer", &network)) {
        vxlan.peers.push(peer(address, PeerSource::Own));
    }
}

/// `[[endpoint]]`.
pub(super) fn read_endpoint<'i>(
    problems: &mut Problems<'i>,
    draft: &mut Draft,
    mut section: Section<'i>,
) {
    let network = section.take::<String>(problems, "network", TEXT);
    let network = section.require(problems, "network", network, "\"blue\"");
    let name = section.take(problems, "name", TEXT);
    let mac = section.take(problems, "mac", MAC);
    let address = section.take(problems, "address", ADDRESS);
    let address = section.require(problems, "address", address, "\"10.0.0.7\"");
    let peer = take_address(problems, &mut section, "peer");
    let peer = section.require(problems, "peer", peer, "\"192.0.2.2\"");
    let is_broken = section.has_failed(&["name", "mac"]);
    section.finish(problems);
    let (Some(network), Some(address), Some(peer), false) = (network, address, peer, is_broken)
    else {
        return;
    };
    if let Some(vxlan) = find(problems, draft, ("endpoint", &network)) {
        vxlan.endpoints.push(Endpoint { name, mac, address, peer });
    }
}

fn vxlan_of<'d>(draft: &'d mut Draft, network: &str) -> Option<&'d mut NetworkVxlan> {
    let mut networks = draft.config.networks.iter_mut();
    networks.find(|other| other.name.get_ref() == network)?.vxlan.as_mut()
}

/// What a table outside of a network's own is about.
fn find<'d>(
    problems: &mut Problems<'_>,
    draft: &'d mut Draft,
    (table, network): (&str, &Spanned<String>),
) -> Option<&'d mut NetworkVxlan> {
    let name = network.get_ref();
    // Of a network that cannot be read that has been told.
    if draft.broken_networks.contains(name) {
        return None;
    }
    let key = format!("{table}.network");
    if draft.config.network(name).is_none() {
        let (what, remedy) =
            (format!("there is no network {name}"), format!("add [network.{name}]"));
        let problem = problems.error(network.span(), key, what, remedy);
        problem.is(RejectionKind::NotFound);
        return None;
    }
    if draft.config.network(name).is_some_and(|network| network.vxlan.is_none()) {
        let what = format!("network {name} is on this host only");
        let remedy = format!("add `vxlan = 42`, or another number, to [network.{name}]");
        problems.error(network.span(), key, what, remedy).is(RejectionKind::Conflict);
        return None;
    }
    vxlan_of(draft, name)
}

const fn peer(address: Spanned<Ipv4Addr>, source: PeerSource) -> Peer {
    Peer { address, source }
}

fn to_vni(number: &Spanned<u64>) -> Option<Spanned<Vni>> {
    let vni = u32::try_from(*number.get_ref()).ok().and_then(|vni| Vni::try_from(vni).ok())?;
    Some(Spanned::new(number.span(), vni))
}

fn take_address<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    name: &'static str,
) -> Option<Spanned<Ipv4Addr>> {
    let address = section.take::<IpAddr>(problems, name, ADDRESS)?;
    let key = section.key(name);
    let good = over_ipv4(problems, &key, address);
    if good.is_none() {
        section.fail(name);
    }
    good
}

fn read_addresses<'i>(
    problems: &mut Problems<'i>,
    section: &mut Section<'i>,
    name: &'static str,
) -> Vec<Spanned<Ipv4Addr>> {
    let key = section.key(name);
    let all = section.take_list::<IpAddr>(problems, name, ADDRESS).into_iter();
    all.filter_map(|address| over_ipv4(problems, &key, address)).collect()
}

/// Tunnels are over IPv4 so far.
fn over_ipv4(
    problems: &mut Problems<'_>,
    key: &str,
    address: Spanned<IpAddr>,
) -> Option<Spanned<Ipv4Addr>> {
    match address.get_ref() {
        IpAddr::V4(v4) => Some(Spanned::new(address.span(), *v4)),
        IpAddr::V6(v6) => {
            let what = format!("{v6}: tunnels are not yet over IPv6");
            problems.error(address.span(), key, what, "use an IPv4 address of the endpoint");
            None
        }
    }
}
