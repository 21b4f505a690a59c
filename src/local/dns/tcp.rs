//! DNS over TCP at the gateways (RFC 7766): one small TCP endpoint for all networks of an engine.
//!
//! Packets in, packets out; who is behind an address is the engine's business. Bounds:
//! [`CONNECTIONS`] at once, of one host [`CONNECTIONS_OF_HOST`]; where all are in use the one that
//! was idle longest makes way (RFC 7766 6.2.3 lets a server do so). A connection ends after
//! [`IDLE`] without a query. Queries of one connection are answered one after the other.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::{DNS_PORT, MAX_QUERY};
use crate::packet::be16;
use crate::time::Instant;

/// Connections of one engine at once.
pub const CONNECTIONS: usize = 64;
/// Of those, of one host.
pub const CONNECTIONS_OF_HOST: usize = 8;
/// How long a connection may be without a query, or an answer be on its way.
pub const IDLE: Duration = Duration::from_secs(10);
/// Of one connection, in bytes: more than one query, and some segments of answers.
const RECEIVE_BUFFER: usize = 4096;
const SEND_BUFFER: usize = 8192;
/// Least MTU that a connection is offered: segments of any network fit.
const MTU: usize = 1500;
/// The endpoint's own address: it answers at every address that it is given packets for.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Names a connection; of a later one in its place the serial differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    at: u8,
    serial: u32,
}

/// The endpoint.
pub struct TcpEndpoint {
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    device: Queues,
}

struct Connection {
    handle: SocketHandle,
    serial: u32,
    /// None: it listens.
    host: Option<Ipv4Addr>,
    /// When it was last of use.
    last_use: Instant,
    received: Vec<u8>,
    to_send: Vec<u8>,
    /// A query of it is being answered.
    is_asking: bool,
}

/// A query of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpQuery {
    /// Of which.
    pub connection: ConnectionId,
    /// Who asks.
    pub host: Ipv4Addr,
    /// The message.
    pub message: Vec<u8>,
}

impl TcpEndpoint {
    /// An endpoint without connections. `seed` must be secret: first sequence numbers hang on it.
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut device = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, smol(now));
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(OWN), 32));
        });
        interface.set_any_ip(true);
        // What is routed to the endpoint itself it takes.
        let _ = interface.routes_mut().add_default_ipv4_route(OWN);
        let mut sockets = SocketSet::new(Vec::with_capacity(CONNECTIONS));
        let connections = (0..CONNECTIONS)
            .map(|_| Connection {
                handle: sockets.add(new_socket()),
                serial: 0,
                host: None,
                last_use: now,
                received: Vec::new(),
                to_send: Vec::new(),
                is_asking: false,
            })
            .collect();
        Self { interface, sockets, connections, device }
    }

    /// True if a connection that `host` opens now may be: it has less than its share. One of
    /// others makes way if there is no room.
    pub fn admit(&mut self, now: Instant, host: Ipv4Addr) -> bool {
        let of_host = |connection: &&Connection| connection.host == Some(host);
        if self.connections.iter().filter(of_host).count() >= CONNECTIONS_OF_HOST {
            return false;
        }
        if self.connections.iter().any(|connection| connection.host.is_none()) {
            return true;
        }
        let idle = self.connections.iter_mut().min_by_key(|connection| connection.last_use);
        if let Some(connection) = idle {
            self.sockets.get_mut::<Socket<'_>>(connection.handle).abort();
            // What tells the other side goes before the place is used again.
            self.interface.poll(smol(now), &mut self.device, &mut self.sockets);
            let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
            connection.listen_again(socket, now);
        }
        true
    }

    /// Takes a packet of a host.
    pub fn receive(&mut self, now: Instant, packet: &[u8]) {
        self.device.received = Some(packet.to_vec());
        self.interface.poll(smol(now), &mut self.device, &mut self.sockets);
        self.device.received = None;
    }

    /// Does what is due; what is asked is appended to `queries`.
    pub fn run(&mut self, now: Instant, queries: &mut Vec<TcpQuery>) {
        self.interface.poll(smol(now), &mut self.device, &mut self.sockets);
        for (at, connection) in self.connections.iter_mut().enumerate() {
            let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
            if let Some(message) = connection.run(socket, now) {
                let id = ConnectionId { at: at as u8, serial: connection.serial };
                let host = connection.host.unwrap_or(Ipv4Addr::UNSPECIFIED);
                queries.push(TcpQuery { connection: id, host, message });
            }
        }
        self.interface.poll(smol(now), &mut self.device, &mut self.sockets);
    }

    /// Answers the query of a connection, if it is still there.
    pub fn answer(&mut self, now: Instant, id: ConnectionId, message: &[u8]) {
        let Some(connection) = self.connections.get_mut(usize::from(id.at)) else { return };
        let Ok(len) = u16::try_from(message.len()) else { return };
        if connection.serial == id.serial && connection.is_asking {
            connection.is_asking = false;
            connection.last_use = now;
            connection.to_send.extend_from_slice(&len.to_be_bytes());
            connection.to_send.extend_from_slice(message);
        }
    }

    /// Ends a connection whose query is not answered.
    pub fn hang_up(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(usize::from(id.at))
            && connection.serial == id.serial
        {
            self.sockets.get_mut::<Socket<'_>>(connection.handle).abort();
        }
    }

    /// Packets to send.
    pub fn take_packets(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.device.sent)
    }

    /// The hosts that have connections.
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.connections.iter().filter_map(|connection| connection.host)
    }

    /// When [`TcpEndpoint::run`] wants to be called, if nothing happens before.
    pub fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let used = self.connections.iter().filter(|connection| connection.host.is_some());
        let idle = used.map(|connection| connection.last_use + IDLE).min()?;
        let own = self.interface.poll_at(smol(now), &self.sockets);
        let own = own.map(|at| Instant::from_nanos((at.total_micros().max(0) as u64) * 1000));
        Some(own.map_or(idle, |own| own.min(idle)))
    }
}

impl Connection {
    /// Moves bytes, ends what is to end; gives the next query.
    fn run(&mut self, socket: &mut Socket<'static>, now: Instant) -> Option<Vec<u8>> {
        match socket.state() {
            State::Listen => return None,
            State::Closed | State::TimeWait => {
                self.listen_again(socket, now);
                return None;
            }
            _ => {}
        }
        if self.host.is_none() {
            self.host = socket.remote_endpoint().map(|remote| match remote.addr {
                IpAddress::Ipv4(host) => host,
            });
            self.last_use = now;
        }
        if now.since(self.last_use) >= IDLE {
            socket.abort();
            return None;
        }
        self.send(socket);
        let is_free = !self.is_asking && self.to_send.is_empty();
        let query = if is_free { self.next_query(socket, now) } else { None };
        let is_done = is_free && query.is_none() && !socket.may_recv();
        if is_done && socket.state() == State::CloseWait {
            socket.close();
        }
        query
    }

    fn send(&mut self, socket: &mut Socket<'static>) {
        if socket.can_send() && !self.to_send.is_empty() {
            let sent = socket.send_slice(&self.to_send).unwrap_or_default();
            self.to_send.drain(..sent);
        }
    }

    fn next_query(&mut self, socket: &mut Socket<'static>, now: Instant) -> Option<Vec<u8>> {
        if self.received.len() < 2 + MAX_QUERY {
            // An error is the end of the connection, which its state tells.
            let _ = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        let len = usize::from(be16(&self.received, 0)?);
        if len > MAX_QUERY {
            socket.abort();
            return None;
        }
        let message = self.received.get(2..2 + len)?.to_vec();
        self.received.drain(..2 + len);
        self.is_asking = true;
        self.last_use = now;
        Some(message)
    }

    fn listen_again(&mut self, socket: &mut Socket<'static>, now: Instant) {
        *socket = new_socket();
        self.serial = self.serial.wrapping_add(1);
        (self.host, self.is_asking, self.last_use) = (None, false, now);
        self.received.clear();
        self.to_send.clear();
    }
}

fn new_socket() -> Socket<'static> {
    let buffer = |len| SocketBuffer::new(vec![0; len]);
    let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
    socket.set_timeout(Some(SmolDuration::from_secs(IDLE.as_secs())));
    socket.set_nagle_enabled(false);
    // A new socket can.
    let _ = socket.listen(DNS_PORT);
    socket
}

fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros((now.as_nanos() / 1000) as i64)
}

/// The device: one packet in, some out.
#[derive(Default)]
struct Queues {
    received: Option<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.take()?;
        Some((Received(packet), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}
