//! Where the host is on the interface that it shares: MAC, address, router.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkLayerType;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::sys::constants::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::super::netlink::{self, LinkState};
use super::super::{OpenError, SharedPlan};
use crate::packet::MacAddr;

/// The bits of RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV4_ROUTE.
const GROUPS: u32 = 1 | 1 << 4 | 1 << 6;
/// Room for one read of messages, in bytes; what they say is asked for anew.
const MESSAGES_BYTES: usize = 32 * 1024;
/// Reads in one look: a host whose routes never rest cannot hold the others up.
const MAX_READS: usize = 256;

/// The host on its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub link: LinkState,
    pub mac: MacAddr,
    /// Its first address there, and the subnet.
    pub address: Ipv4Net,
    /// The router of its default route through the interface.
    pub gateway: Option<Ipv4Addr>,
}

impl Place {
    /// Reads the host's place as it is now, in the calling thread's namespace.
    ///
    /// # Errors
    /// [`OpenError::NotFound`] if there is no such interface, or it has no address;
    /// [`OpenError::Conflict`] if it is no Ethernet interface.
    pub(super) fn read(plan: &SharedPlan) -> Result<Self, OpenError> {
        let device = &plan.device;
        netlink::run(device, async |handle| {
            let what = format!("{device} in tapway's own namespace");
            let link = netlink::find(&handle, device, &what).await?;
            let mac = mac_of(&handle, &link).await?;
            let address = address_of(&handle, &link).await?;
            let gateway = gateway_of(&handle, link.index).await?;
            Ok(Self { link, mac, address, gateway })
        })
    }
}

/// Hears of changes of links, addresses and routes.
#[derive(Debug)]
pub(super) struct Changes(Socket);

impl Changes {
    pub(super) fn open() -> Result<Self, OpenError> {
        let open = || -> std::io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        open().map(Self).map_err(|error| OpenError::from_io("watching addresses", error))
    }

    /// True if anything has changed since the last call.
    pub(super) fn poll(&self) -> bool {
        let mut room = Vec::with_capacity(MESSAGES_BYTES);
        let mut has_changed = false;
        for _ in 0..MAX_READS {
            room.clear();
            match self.0.recv(&mut room, 0) {
                Ok(_) => has_changed = true,
                // More than the socket had room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => has_changed = true,
                Err(_) => break,
            }
        }
        has_changed
    }
}

async fn mac_of(handle: &Handle, link: &LinkState) -> Result<MacAddr, OpenError> {
    let found = handle.link().get().match_index(link.index).execute().try_next().await;
    let message =
        found.map_err(|error| netlink::refused(format!("reading {}", link.name), error))?;
    let is_ethernet =
        message.is_some_and(|message| message.header.link_layer_type == LinkLayerType::Ether);
    link.mac.filter(|_| is_ethernet).ok_or_else(|| OpenError::Conflict {
        what: format!("{} is no Ethernet interface", link.name),
        remedy: "share one that is, or use an uplink of `kind = \"tap\"`".to_owned(),
    })
}

async fn address_of(handle: &Handle, link: &LinkState) -> Result<Ipv4Net, OpenError> {
    let failed = |error| netlink::refused(format!("listing addresses of {}", link.name), error);
    let mut messages = handle.address().get().set_link_index_filter(link.index).execute();
    let mut found = None;
    while let Some(message) = messages.try_next().await.map_err(failed)? {
        if message.header.index == link.index && found.is_none() {
            found = primary(&message);
        }
    }
    found.ok_or_else(|| OpenError::NotFound {
        what: format!("an IPv4 address of {}", link.name),
        remedy: format!("; give it one: `ip address add ADDRESS/PREFIX dev {}`", link.name),
    })
}

fn primary(message: &AddressMessage) -> Option<Ipv4Net> {
    if message.header.flags.contains(AddressHeaderFlags::Secondary) {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => {
            Ipv4Net::new(*ip, message.header.prefix_len).ok()
        }
        _ => None,
    })
}

/// Of several the one that the kernel prefers.
async fn gateway_of(handle: &Handle, index: u32) -> Result<Option<Ipv4Addr>, OpenError> {
    let failed = |error| netlink::refused("listing routes", error);
    let mut routes = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let mut best: Option<(u32, Ipv4Addr)> = None;
    while let Some(route) = routes.try_next().await.map_err(failed)? {
        if let Some(found) = default_by(&route, index)
            && best.is_none_or(|(metric, _)| found.0 < metric)
        {
            best = Some(found);
        }
    }
    Ok(best.map(|(_, gateway)| gateway))
}

/// Metric and router of a default route through an interface.
fn default_by(route: &RouteMessage, index: u32) -> Option<(u32, Ipv4Addr)> {
    let header = &route.header;
    if header.table != RouteHeader::RT_TABLE_MAIN
        || header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
    {
        return None;
    }
    let (mut exit, mut gateway, mut metric) = (None, None, 0);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => exit = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    gateway.filter(|_| exit == Some(index)).map(|gateway| (metric, gateway))
}
