//! Interfaces of the calling thread's namespace, by rtnetlink.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::{StreamExt, TryStreamExt};
use ipnet::Ipv4Net;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::OpenError;
use crate::packet::MacAddr;

/// Frames that may wait in a TAP for tapway. The kernel's 1000 are less than one window of a fast
/// TCP connection without offloads, which then loses them.
const TX_QUEUE_FRAMES: u32 = 4096;

/// An interface as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC, if it has one.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Set up by its administrator.
    pub is_up: bool,
}

/// What an interface is to be set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Its MAC; none: left.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// An address for it.
    pub address: Option<Ipv4Net>,
    /// The default route through it.
    pub gateway: Option<Ipv4Addr>,
    /// Frames go straight into the TAP's own ring: a queue before it would only be another one.
    pub is_unqueued: bool,
}

/// Sets an interface of the calling thread's namespace as told, and up. `place` is named in
/// errors.
///
/// # Errors
/// What was refused.
pub fn configure(
    interface: &str,
    settings: &LinkSettings,
    place: &str,
) -> Result<LinkState, OpenError> {
    let what = format!("{interface} in {place}");
    run(&what, async |handle| {
        let before = find(&handle, interface, &what).await?;
        set_link(&handle, before.index, settings, &what).await?;
        if let Some(address) = settings.address {
            add_address(&handle, before.index, address, &what).await?;
        }
        if let Some(gateway) = settings.gateway {
            add_default_route(&handle, before.index, gateway, settings.address, &what).await?;
        }
        find(&handle, interface, &what).await
    })
}

/// Puts a default route back that the kernel removed when the interface was set down; one that
/// is there is left.
///
/// # Errors
/// What was refused.
pub fn restore_default_route(
    index: u32,
    settings: &LinkSettings,
    what: &str,
) -> Result<(), OpenError> {
    let Some(gateway) = settings.gateway else { return Ok(()) };
    run(what, async |handle| {
        match add_default_route(&handle, index, gateway, settings.address, what).await {
            Err(OpenError::Conflict { .. }) => Ok(()),
            other => other,
        }
    })
}

/// Sets the loopback interface of the calling thread's namespace up.
///
/// # Errors
/// If the kernel refuses.
pub fn set_loopback_up() -> Result<(), OpenError> {
    run("lo", async |handle| {
        let up = LinkUnspec::new_with_name("lo").up().build();
        handle.link().change(up).execute().await.map_err(|error| refused("setting lo up", error))
    })
}

/// An interface of the calling thread's namespace.
///
/// # Errors
/// [`OpenError::NotFound`] if there is none of that name.
pub fn link(interface: &str, place: &str) -> Result<LinkState, OpenError> {
    let what = format!("{interface} in {place}");
    run(&what, async |handle| find(&handle, interface, &what).await)
}

/// All IPv4 addresses of the calling thread's namespace, each with its interface's index.
///
/// # Errors
/// If the kernel does not tell.
pub fn addresses() -> Result<Vec<(u32, Ipv4Addr)>, OpenError> {
    run("addresses", async |handle| {
        let failed = |error| refused("listing addresses", error);
        let mut found = Vec::new();
        let mut messages = handle.address().get().execute();
        while let Some(message) = messages.try_next().await.map_err(failed)? {
            found.extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(ip)) => Some((message.header.index, *ip)),
                _ => None,
            }));
        }
        Ok(found)
    })
}

/// All interfaces of the calling thread's namespace.
///
/// # Errors
/// If the kernel does not tell.
pub fn links() -> Result<Vec<LinkState>, OpenError> {
    run("interfaces", async |handle| {
        let messages = handle.link().get().execute();
        let found: Vec<LinkMessage> =
            messages.try_collect().await.map_err(|error| refused("listing interfaces", error))?;
        Ok(found.iter().map(state_of).collect())
    })
}

/// The interface of the IPv4 default route of the calling thread's namespace; none without one.
///
/// # Errors
/// If the kernel does not tell.
pub fn default_route_interface() -> Result<Option<String>, OpenError> {
    run("routes", async |handle| {
        let failed = |error| refused("listing routes", error);
        let mut routes =
            handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        while let Some(route) = routes.try_next().await.map_err(failed)? {
            let is_main = route.header.table == RouteHeader::RT_TABLE_MAIN;
            let exit = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            if route.header.destination_prefix_length == 0
                && is_main
                && let Some(index) = exit
            {
                let link = handle.link().get().match_index(index).execute().try_next().await;
                return Ok(link.map_err(failed)?.map(|link| state_of(&link).name));
            }
        }
        Ok(None)
    })
}

/// What the calling thread's namespace routes, in any table and by any kind of route, without its
/// default routes: in order, each once.
///
/// # Errors
/// If the kernel does not tell.
pub fn routes() -> Result<Vec<Ipv4Net>, OpenError> {
    run("routes", async |handle| {
        let failed = |error| refused("listing routes", error);
        let mut found = BTreeSet::new();
        let mut messages =
            handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        while let Some(route) = messages.try_next().await.map_err(failed)? {
            let to = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(*to),
                _ => None,
            });
            let len = route.header.destination_prefix_length;
            found.extend(to.filter(|_| len > 0).and_then(|to| Ipv4Net::new(to, len).ok()));
        }
        Ok(found.into_iter().collect())
    })
}

async fn set_link(
    handle: &Handle,
    index: u32,
    settings: &LinkSettings,
    what: &str,
) -> Result<(), OpenError> {
    let LinkSettings { mac, mtu, .. } = settings;
    let queue = LinkAttribute::TxQueueLen(TX_QUEUE_FRAMES);
    let link = LinkUnspec::new_with_index(index)
        .mtu(u32::from(*mtu))
        .append_extra_attribute(queue)
        .build();
    let set = handle.link().change(link).execute().await;
    set.map_err(|error| refused(format!("setting MTU {mtu} and queue length of {what}"), error))?;
    if let Some(mac) = mac {
        let link = LinkUnspec::new_with_index(index).address(mac.0.to_vec()).build();
        let set = handle.link().change(link).execute().await;
        set.map_err(|error| refused(format!("setting the MAC of {what} to {mac}"), error))?;
    }
    if settings.is_unqueued
        && let Err(error) = remove_queue(handle, index).await
    {
        // Slower, not wrong.
        tracing::warn!(%error, "the queueing discipline of {what} stays");
    }
    let link = LinkUnspec::new_with_index(index).up().build();
    let set = handle.link().change(link).execute().await;
    set.map_err(|error| refused(format!("setting {what} up"), error))
}

/// As `tc qdisc replace dev ... root noqueue`.
async fn remove_queue(handle: &Handle, index: u32) -> io::Result<()> {
    let mut queue = TcMessage::with_index(index.cast_signed());
    queue.header.parent = TcHandle::ROOT;
    queue.attributes.push(TcAttribute::Kind("noqueue".to_owned()));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(queue));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let mut answers = handle.clone().request(request).map_err(|error| errno(&error))?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(error.to_io());
        }
    }
    Ok(())
}

async fn add_address(
    handle: &Handle,
    index: u32,
    address: Ipv4Net,
    what: &str,
) -> Result<(), OpenError> {
    let add = handle.address().add(index, IpAddr::V4(address.addr()), address.prefix_len());
    let added = add.replace().execute().await;
    added.map_err(|error| refused(format!("giving {what} the address {address}"), error))
}

async fn add_default_route(
    handle: &Handle,
    index: u32,
    gateway: Ipv4Addr,
    address: Option<Ipv4Net>,
    what: &str,
) -> Result<(), OpenError> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(gateway);
    let is_neighbour = address.is_some_and(|address| address.contains(&gateway));
    let route = if is_neighbour { route } else { route.onlink() };
    match handle.route().add(route.build()).execute().await {
        Ok(()) => Ok(()),
        Err(error) if errno(&error).kind() == io::ErrorKind::AlreadyExists => {
            Err(OpenError::Conflict {
                what: format!("a default route by {gateway} through {what}: there is another one"),
                remedy: "remove it there with `ip route del default`".to_owned(),
            })
        }
        Err(error) => Err(refused(format!("a default route by {gateway} through {what}"), error)),
    }
}

pub(super) async fn find(
    handle: &Handle,
    interface: &str,
    what: &str,
) -> Result<LinkState, OpenError> {
    let found = handle.link().get().match_name(interface).execute().try_next().await;
    match found {
        Ok(Some(message)) => Ok(state_of(&message)),
        Ok(None) => Err(not_found(what)),
        Err(error) if errno(&error).raw_os_error() == Some(libc::ENODEV) => Err(not_found(what)),
        Err(error) => Err(refused(format!("reading {what}"), error)),
    }
}

fn not_found(what: &str) -> OpenError {
    let remedy = "; `ip -br link` lists those there are".to_owned();
    OpenError::NotFound { what: format!("interface {what}"), remedy }
}

/// Reads what tapway needs out of a link message.
pub(super) fn state_of(message: &LinkMessage) -> LinkState {
    let mut state = LinkState {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        is_up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                state.mac = <[u8; 6]>::try_from(mac.as_slice()).ok().map(MacAddr);
            }
            _ => {}
        }
    }
    state
}

/// Runs `act` with a connection to the kernel, on a runtime that ends with it.
pub(super) fn run<R>(
    what: &str,
    act: impl AsyncFnOnce(Handle) -> Result<R, OpenError>,
) -> Result<R, OpenError> {
    let failed = |error| OpenError::from_io(format!("netlink for {what}"), error);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        tokio::spawn(connection);
        act(handle).await
    })
}

pub(super) fn refused(what: impl Into<String>, error: rtnetlink::Error) -> OpenError {
    OpenError::from_io(what, errno(&error))
}

fn errno(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
