//! An uplink that shares the host's own address and MAC, with no rule of a packet filter and no
//! setting of the host.
//!
//! Frames leave by a packet socket on the interface. What comes in for tapway, TCP and UDP to a
//! published port or to a port out of a span that the host does not use, is copied to that socket
//! and then taken away by a filter at the interface's ingress (`clsact`), so that the host's stack
//! never sees it and refuses nothing. ICMP and fragments are copied, and the host has them, too:
//! what is not about a flow of tapway ends in the engine.
//!
//! It does not watch over what the host opens later: a server that is started on a port of the
//! span, or on a published one, is not reached from outside.
//!
//! Bounds: see [`program`]; one tapway per interface.

mod host_ports;
mod place;
mod program;
mod traffic_control;

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use self::host_ports::HostPorts;
use self::place::{Changes, Place};
use self::program::{MAX_STEPS, Takes};
use self::traffic_control::IngressFilter;
use super::netlink::{self, LinkState};
use super::raw_packet::RawPacket;
use super::{OpenError, PacketSocket, SharedPlan, Station, TakenPorts};
use crate::packet::{PROTOCOL_TCP, PortSpan};

/// A shared interface that is open; dropped, the host has its address for itself again.
#[derive(Debug)]
pub(super) struct SharedUplink {
    plan: SharedPlan,
    station: Station,
    taken: Vec<TakenPorts>,
    filter: IngressFilter,
    socket: RawPacket,
    changes: Changes,
    /// Held as long as the interface is tapway's to share.
    _claim: UnixDatagram,
}

impl SharedUplink {
    /// Shares the plan's interface; `ports` and what is `taken` are tapway's.
    ///
    /// # Errors
    /// Why not; nothing is left behind.
    pub(super) fn open(
        plan: &SharedPlan,
        ports: PortSpan,
        taken: Vec<TakenPorts>,
    ) -> Result<(Self, PacketSocket, LinkState), OpenError> {
        // First, so that no change is missed.
        let changes = Changes::open()?;
        let place = Place::read(plan)?;
        let (device, index) = (&plan.device, place.link.index);
        let claim = claim(device, index)?;
        sweep(index);
        let failed = |what: &str, error| OpenError::from_io(format!("{what} {device}"), error);
        let socket = PacketSocket::shared(plan.receive_buffer);
        let socket = socket.map_err(|error| failed("a packet socket on", error))?;
        let copy = socket.raw().map_err(|error| failed("a packet socket on", error))?;
        let station = station(plan, &place, ports);
        // Last: what it makes goes with the whole.
        let filter = IngressFilter::open(index).map_err(|error| in_the_way(device, error))?;
        let mut uplink = Self {
            plan: plan.clone(),
            station,
            taken,
            filter,
            socket: copy,
            changes,
            _claim: claim,
        };
        uplink.set_programs()?;
        socket.bind(index).map_err(|error| failed("a packet socket on", error))?;
        Ok((uplink, socket, place.link))
    }

    /// Where the host, and so tapway, is.
    pub(super) const fn station(&self) -> &Station {
        &self.station
    }

    /// Takes these ports beside the span, and no others.
    ///
    /// # Errors
    /// If they are too many, or the kernel refuses; those before stay taken.
    pub(super) fn take(&mut self, taken: &[TakenPorts]) -> Result<(), OpenError> {
        let before = std::mem::replace(&mut self.taken, taken.to_vec());
        self.set_programs().inspect_err(|_| self.taken = before)
    }

    /// The host's place if it is another one since the last call.
    ///
    /// # Errors
    /// Why the place cannot be read: the interface may have lost its address.
    pub(super) fn poll(&mut self) -> Result<Option<Station>, OpenError> {
        if !self.changes.poll() {
            return Ok(None);
        }
        let station = station(&self.plan, &Place::read(&self.plan)?, self.station.ports);
        if station == self.station {
            return Ok(None);
        }
        let has_moved = station.address != self.station.address;
        let former = std::mem::replace(&mut self.station, station);
        if has_moved && let Err(error) = self.set_programs() {
            // It is tried again with the next change.
            self.station = former;
            return Err(error);
        }
        Ok(Some(self.station.clone()))
    }

    /// Taken away first, then let through: a frame between the two is lost, and not refused.
    fn set_programs(&mut self) -> Result<(), OpenError> {
        let takes = takes(&self.station, &self.taken);
        let (at_ingress, at_socket) = (takes.at_ingress(self.filter.mark()), takes.at_socket());
        let device = &self.plan.device;
        if at_ingress.len().max(at_socket.len()) > MAX_STEPS {
            let what = "more published ports, apart from each other, than one filter can hold";
            return Err(OpenError::Conflict {
                what: format!("{} on {device}: {what}", takes.tcp.len() + takes.udp.len()),
                remedy: "publish ranges instead of single ports".to_owned(),
            });
        }
        self.filter.set(&at_ingress).map_err(|error| in_the_way(device, error))?;
        let attached = self.socket.attach(at_socket);
        attached.map_err(|error| OpenError::from_io(format!("a filter for {device}"), error))
    }
}

impl Drop for SharedUplink {
    fn drop(&mut self) {
        match self.filter.remove() {
            // With its interface it has gone.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)) => {
                let device = &self.plan.device;
                tracing::error!(%error, device, "the filter at the ingress stays");
            }
            _ => {}
        }
    }
}

/// Where tapway would be on a shared interface, and which ports would be its own.
///
/// # Errors
/// If the interface or its address is not there, or the host uses the ports.
pub(super) fn survey(plan: &SharedPlan) -> Result<Station, OpenError> {
    let place = Place::read(plan)?;
    let host = HostPorts::read().map_err(|error| OpenError::from_io("ports in use", error))?;
    let ports = match plan.ports {
        Some(ports) => host.check(ports).map(|()| ports),
        None => host.choose(),
    };
    let ports = ports.map_err(|error| OpenError::Conflict {
        what: format!("ports for translated traffic on {}: {error}", plan.device),
        remedy: "set `nat_ports` in [uplink] to others, or narrow net.ipv4.ip_local_port_range"
            .to_owned(),
    })?;
    Ok(station(plan, &place, ports))
}

fn station(plan: &SharedPlan, place: &Place, ports: PortSpan) -> Station {
    // A router that is no neighbour cannot be asked for its MAC.
    let gateway = plan.gateway.or(place.gateway).filter(|gateway| place.address.contains(gateway));
    Station {
        mac: place.mac,
        address: place.address,
        gateway,
        mtu: u16::try_from(place.link.mtu).unwrap_or(u16::MAX),
        ports,
    }
}

fn takes(station: &Station, taken: &[TakenPorts]) -> Takes {
    let address = station.address.addr();
    let is_here = |taken: &&TakenPorts| taken.address.is_none_or(|at| at == address);
    let of = |is_tcp: bool| {
        let published = taken.iter().filter(is_here);
        let published = published.filter(|taken| (taken.protocol == PROTOCOL_TCP) == is_tcp);
        merged(published.map(|taken| taken.ports).chain([station.ports]).collect())
    };
    Takes { address, tcp: of(true), udp: of(false) }
}

/// In rising order, and joined where they meet.
fn merged(mut spans: Vec<PortSpan>) -> Vec<PortSpan> {
    spans.sort_by_key(|span| span.first);
    let mut joined: Vec<PortSpan> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if u32::from(span.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(span.last);
            }
            _ => joined.push(span),
        }
    }
    joined
}

/// Removes what a tapway that was killed left at other interfaces: filters that are tapway's, and
/// that no running one claims.
fn sweep(own: u32) {
    let links = netlink::links().unwrap_or_default();
    for LinkState { index, name: device, .. } in links.into_iter().filter(|link| link.index != own)
    {
        let Ok(_claim) = claim(&device, index) else { continue };
        let removed = match IngressFilter::left(index) {
            Ok(Some(mut filter)) => filter.remove(),
            _ => continue,
        };
        match removed {
            Ok(()) => tracing::info!(device, "removed the filter of a tapway that was killed"),
            Err(error) => tracing::warn!(device, %error, "the filter of a killed tapway stays"),
        }
    }
}

/// A name in the namespace that only one process can have, and that ends with it.
fn claim(device: &str, index: u32) -> Result<UnixDatagram, OpenError> {
    let what = || format!("sharing {device}");
    let name = SocketAddr::from_abstract_name(format!("tapway/shared/{index}"));
    let bound = name.and_then(|name| UnixDatagram::bind_addr(&name));
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => OpenError::Conflict {
            what: format!("another tapway shares {device}"),
            remedy: "stop it, or share another interface".to_owned(),
        },
        _ => OpenError::from_io(what(), error),
    })
}

fn in_the_way(device: &str, error: io::Error) -> OpenError {
    match error.raw_os_error() {
        None | Some(libc::EEXIST | libc::EINVAL)
            if error.kind() != io::ErrorKind::PermissionDenied =>
        {
            OpenError::Conflict {
                what: format!("a filter of somebody else at the ingress of {device} ({error})"),
                remedy: format!(
                    "see `tc filter show dev {device} ingress`; tapway's preference is 77"
                ),
            }
        }
        _ => OpenError::from_io(format!("a filter at the ingress of {device}"), error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::{MacAddr, PROTOCOL_UDP};

    #[test]
    fn what_is_taken_is_the_span_and_what_is_published_here_joined_where_it_meets() {
        let host = Ipv4Addr::new(192, 168, 33, 10);
        let station = Station {
            mac: MacAddr::from_ipv4(host),
            address: "192.168.33.10/24".parse().unwrap(),
            gateway: None,
            mtu: 1500,
            ports: PortSpan { first: 61_000, last: 65_535 },
        };
        let taken = |protocol, address, first, last| TakenPorts {
            protocol,
            address,
            ports: PortSpan { first, last },
        };
        let all = [
            taken(PROTOCOL_TCP, None, 81, 90),
            taken(PROTOCOL_TCP, Some(host), 80, 80),
            taken(PROTOCOL_TCP, Some(Ipv4Addr::LOCALHOST), 22, 22),
            taken(PROTOCOL_UDP, None, 60_999, 60_999),
        ];
        let takes = takes(&station, &all);
        let show = |spans: &[PortSpan]| spans.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(show(&takes.tcp), ["80-90", "61000-65535"]);
        assert_eq!(show(&takes.udp), ["60999-65535"]);
    }
}
