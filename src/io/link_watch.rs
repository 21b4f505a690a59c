//! What becomes of ports' interfaces behind tapway's back.
//!
//! Each watched interface has a netlink socket in its namespace that gathers its link messages;
//! [`LinkWatch::poll`] reads them without waiting. A namespace whose name was removed lives on
//! while a TAP in it is open, and no message tells of that, so its name is looked at, too.

use std::io;

use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::sys::constants::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::namespace::inode_of;
use super::netlink::{LinkState, state_of};
use super::{DeviceChange, Namespace, OpenError};

/// Room for one read of messages, in bytes; the kernel sends at most this much at once.
const MESSAGES_BYTES: usize = 32 * 1024;
/// Reads of one interface in one poll: what a host does to it cannot hold the others up.
const MAX_READS: usize = 256;
/// The bit of RTNLGRP_LINK.
const LINK_GROUP: u32 = 1;

/// The watched interfaces, one of each port.
#[derive(Debug, Default)]
pub(super) struct LinkWatch {
    watched: Vec<Watched>,
}

/// One port's interface.
#[derive(Debug)]
struct Watched {
    port: String,
    /// As last seen.
    link: LinkState,
    /// Its namespace, for messages.
    place: String,
    /// Name and inode of its namespace; none: it has no name.
    netns: Option<(String, u64)>,
    socket: Socket,
    /// What was told last.
    is_told_up: bool,
    /// It was set up since the last look.
    was_set_up: bool,
    /// Messages were lost: the present state must be asked for.
    has_lost: bool,
}

impl LinkWatch {
    /// Watches an interface of `namespace` for a port, and no longer the port's former one.
    /// Changes since `link` was read are told, too.
    pub(super) fn add(
        &mut self,
        port: &str,
        namespace: &Namespace,
        link: &LinkState,
    ) -> Result<(), OpenError> {
        let socket = namespace.run(|| {
            open_socket(link.index)
                .map_err(|error| OpenError::from_io(format!("watching {}", link.name), error))
        })?;
        let netns = namespace.name().map(|name| (name.to_owned(), namespace.inode()));
        self.remove(port);
        let (port, link) = (port.to_owned(), link.clone());
        self.watched.push(Watched {
            port,
            link,
            place: namespace.place(),
            netns,
            socket,
            is_told_up: true,
            was_set_up: false,
            has_lost: false,
        });
        Ok(())
    }

    /// Watches a port's interface no longer, and lets go of its namespace.
    pub(super) fn remove(&mut self, port: &str) {
        self.watched.retain(|watched| watched.port != port);
    }

    /// The index of a port's interface.
    pub(super) fn index(&self, port: &str) -> Option<u32> {
        self.watched.iter().find(|watched| watched.port == port).map(|watched| watched.link.index)
    }

    /// What happened since the last call. An interface that is lost is watched no longer.
    pub(super) fn poll(&mut self) -> Vec<DeviceChange> {
        let mut changes = Vec::new();
        self.watched.retain_mut(|watched| {
            let (mtu, name) = (watched.link.mtu, watched.link.name.clone());
            if let Some(why) = watched.read().or_else(|| watched.missing_name()) {
                changes.push(DeviceChange::Lost { port: watched.port.clone(), why });
                return false;
            }
            let (port, to) = (watched.port.clone(), watched.link.name.clone());
            if to != name {
                changes.push(DeviceChange::Renamed { port, from: name, to });
            }
            changes.extend(watched.turn());
            if watched.link.mtu != mtu {
                let mtu = u16::try_from(watched.link.mtu).unwrap_or(u16::MAX);
                changes.push(DeviceChange::Mtu { port: watched.port.clone(), mtu });
            }
            true
        });
        changes
    }
}

impl Watched {
    /// Takes the messages that wait; says why if the interface is gone.
    fn read(&mut self) -> Option<String> {
        let mut room = Vec::with_capacity(MESSAGES_BYTES);
        for _ in 0..MAX_READS {
            room.clear();
            match self.socket.recv(&mut room, 0) {
                Ok(_) if self.take(&room) => {
                    return Some(format!("{} left {}", self.link.name, self.place));
                }
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.has_lost = true,
                // Nothing waits any more, so that an answer has room.
                Err(_) if self.has_lost => {
                    self.has_lost = ask(&self.socket, self.link.index).is_err();
                }
                Err(_) => break,
            }
        }
        None
    }

    /// Tells if it was set down, or up.
    fn turn(&mut self) -> Option<DeviceChange> {
        let port = self.port.clone();
        let (was_up, was_set_up) = (self.is_told_up, std::mem::take(&mut self.was_set_up));
        self.is_told_up = self.link.is_up;
        match self.link.is_up {
            true if was_set_up || !was_up => Some(DeviceChange::Up { port }),
            false if was_up => {
                let why = format!("{} was set down by its host", self.link.name);
                Some(DeviceChange::Down { port, why })
            }
            _ => None,
        }
    }

    /// Says why if the namespace has lost its name.
    fn missing_name(&self) -> Option<String> {
        let (name, inode) = self.netns.as_ref()?;
        (inode_of(name) != Some(*inode)).then(|| format!("network namespace {name} was removed"))
    }

    /// Takes one buffer of messages; true if the interface is gone.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
                return false;
            };
            let len = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    self.compare(&link);
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                    if link.header.index == self.link.index =>
                {
                    return true;
                }
                // The answer to a question about an interface that is no longer there.
                NetlinkPayload::Error(error) if error.raw_code() == -libc::ENODEV => return true,
                _ => {}
            }
            bytes = bytes.get(len..).unwrap_or_default();
        }
        false
    }

    fn compare(&mut self, message: &LinkMessage) {
        let now = state_of(message);
        if now.index != self.link.index {
            return;
        }
        self.was_set_up |= now.is_up && !self.link.is_up;
        // Messages of some kinds carry no MTU or name.
        let mtu = if now.mtu == 0 { self.link.mtu } else { now.mtu };
        let name = if now.name.is_empty() { self.link.name.clone() } else { now.name };
        self.link = LinkState { mtu, name, ..now };
    }
}

/// A socket in the calling thread's namespace that hears of links and has asked for one.
fn open_socket(index: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, LINK_GROUP))?;
    socket.set_non_blocking(true)?;
    ask(&socket, index)?;
    Ok(socket)
}

/// Asks for the state of an interface: it arrives like a change.
fn ask(socket: &Socket, index: u32) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(|_| ())
}
