//! DNS over TCP at the gateways (RFC 7766): one small TCP endpoint for all networks of an engine.
//!
//! Packets in, packets out; who is behind an address is the engine's business. Bounds:
//! [`CONNECTIONS`] at once, of the hosts behind one port [`CONNECTIONS_OF_PORT`]; where all are in
//! use the one that was idle longest makes way (RFC 7766 6.2.3 lets a server do so). A connection
//! ends after [`IDLE`] without a query. Queries of one connection are answered one after the other.
//!
//! A client is known by its port too, not by its address only: where a port is not guarded its host
//! may use any, and is to get neither the share of others nor their answers. Each connection has a
//! socket set of its own, so that a packet costs the same however many connections there are.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::{DNS_PORT, MAX_QUERY};
use crate::id::PortId;
use crate::packet::be16;
use crate::time::Instant;

/// Connections of one engine at once.
pub const CONNECTIONS: usize = 64;
/// Of those, of the hosts behind one port.
pub const CONNECTIONS_OF_PORT: usize = 8;
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

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The switch port that its segments come in by.
    pub ingress: PortId,
    /// The host's address.
    pub host: Ipv4Addr,
    /// Its TCP port.
    pub port: u16,
}

/// The endpoint. `S` is what the engine wants to know of the client behind a packet.
pub struct TcpEndpoint<S> {
    interface: Interface,
    connections: Vec<Connection<S>>,
    device: Queues,
    to_send: Vec<(S, Vec<u8>)>,
}

struct Connection<S> {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    serial: u32,
    /// None: it listens.
    client: Option<(Client, S)>,
    /// When it was last of use.
    last_use: Instant,
    /// When it wants to be run.
    deadline: Option<Instant>,
    received: Vec<u8>,
    to_send: Vec<u8>,
    /// A query of it is being answered.
    is_asking: bool,
}

/// A query of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpQuery<S> {
    /// Of which.
    pub connection: ConnectionId,
    /// Who asks.
    pub client: Client,
    /// What the engine knows of it.
    pub station: S,
    /// The message.
    pub message: Vec<u8>,
}

impl<S: Copy> TcpEndpoint<S> {
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
        let connections = (0..CONNECTIONS).map(|_| Connection::new(now)).collect();
        Self { interface, connections, device, to_send: Vec::new() }
    }

    /// The connection of a client.
    pub fn find(&self, client: &Client) -> Option<ConnectionId> {
        let is_its = |connection: &Connection<S>| {
            connection.client.as_ref().is_some_and(|(other, _)| other == client)
        };
        let at = self.connections.iter().position(is_its)?;
        Some(ConnectionId { at: at as u8, serial: self.connections.get(at)?.serial })
    }

    /// A place for a connection that `client` opens now; none if the hosts behind its port have
    /// their share. One of others makes way if there is no room.
    pub fn admit(&mut self, now: Instant, client: Client, station: S) -> Option<ConnectionId> {
        let clients = self.connections.iter().filter_map(|connection| connection.client.as_ref());
        let of_port = clients.filter(|(other, _)| other.ingress == client.ingress);
        if of_port.count() >= CONNECTIONS_OF_PORT {
            return None;
        }
        let free = self.connections.iter().position(|connection| connection.client.is_none());
        let at = free.or_else(|| self.make_way(now))?;
        let connection = self.connections.get_mut(at)?;
        (connection.client, connection.last_use) = (Some((client, station)), now);
        Some(ConnectionId { at: at as u8, serial: connection.serial })
    }

    fn make_way(&mut self, now: Instant) -> Option<usize> {
        let idle = self.connections.iter().enumerate();
        let (at, _) = idle.min_by_key(|(_, connection)| connection.last_use)?;
        self.connections.get_mut(at)?.socket().abort();
        // What tells the other side goes before the place is used again.
        self.poll(now, at);
        self.connections.get_mut(at)?.listen_again(now);
        Some(at)
    }

    /// Takes a packet of a connection; [`TcpEndpoint::run`] does what is due then.
    pub fn receive(&mut self, now: Instant, id: ConnectionId, packet: &[u8]) {
        self.device.received = Some(packet.to_vec());
        self.poll(now, usize::from(id.at));
        self.device.received = None;
    }

    /// Does what is due of a connection; gives its next query.
    pub fn run(&mut self, now: Instant, id: ConnectionId) -> Option<TcpQuery<S>> {
        let at = usize::from(id.at);
        self.poll(now, at);
        let message = self.connections.get_mut(at)?.run(now);
        self.poll(now, at);
        let connection = self.connections.get_mut(at)?;
        let query = message.zip(connection.client).map(|(message, (client, station))| TcpQuery {
            connection: ConnectionId { at: id.at, serial: connection.serial },
            client,
            station,
            message,
        });
        if matches!(connection.socket().state(), State::Closed | State::TimeWait) {
            connection.listen_again(now);
        }
        let own = self.interface.poll_at(smol(now), &connection.sockets);
        let own = own.map(|at| Instant::from_nanos((at.total_micros().max(0) as u64) * 1000));
        let idle = connection.last_use + IDLE;
        let deadline = own.map_or(idle, |own| own.min(idle));
        connection.deadline = connection.client.is_some().then_some(deadline);
        query
    }

    /// Lets a connection be run soon: there may be more in it.
    pub fn run_again(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            connection.deadline = Some(now);
        }
    }

    /// The connections that want to be run.
    pub fn due(&self, now: Instant) -> Vec<ConnectionId> {
        let all = self.connections.iter().enumerate();
        all.filter(|(_, connection)| connection.deadline.is_some_and(|at| at <= now))
            .map(|(at, connection)| ConnectionId { at: at as u8, serial: connection.serial })
            .collect()
    }

    /// When the first of them wants to be.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.connections.iter().filter_map(|connection| connection.deadline).min()
    }

    /// Answers the query of a connection, if it is still there.
    pub fn answer(&mut self, now: Instant, id: ConnectionId, message: &[u8]) {
        let Ok(len) = u16::try_from(message.len()) else { return };
        if let Some(connection) = self.connection(id).filter(|connection| connection.is_asking) {
            connection.is_asking = false;
            (connection.last_use, connection.deadline) = (now, Some(now));
            connection.to_send.extend_from_slice(&len.to_be_bytes());
            connection.to_send.extend_from_slice(message);
        }
    }

    /// Ends a connection whose query is not answered.
    pub fn hang_up(&mut self, now: Instant, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            connection.socket().abort();
            connection.deadline = Some(now);
        }
    }

    /// Packets to send, and who is to get them.
    pub fn take_packets(&mut self) -> Vec<(S, Vec<u8>)> {
        std::mem::take(&mut self.to_send)
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        let connection = self.connections.get_mut(usize::from(id.at))?;
        (connection.serial == id.serial).then_some(connection)
    }

    fn poll(&mut self, now: Instant, at: usize) {
        let Some(connection) = self.connections.get_mut(at) else { return };
        self.interface.poll(smol(now), &mut self.device, &mut connection.sockets);
        let sent = self.device.sent.drain(..);
        if let Some((_, station)) = connection.client {
            self.to_send.extend(sent.map(|packet| (station, packet)));
        }
    }
}

impl<S> Connection<S> {
    fn new(now: Instant) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(new_socket());
        Self {
            sockets,
            handle,
            serial: 0,
            client: None,
            last_use: now,
            deadline: None,
            received: Vec::new(),
            to_send: Vec::new(),
            is_asking: false,
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Moves bytes, ends what is to end; gives the next query.
    fn run(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self.socket().state() {
            // What should have opened it was no segment.
            State::Listen => {
                self.client = None;
                return None;
            }
            State::Closed | State::TimeWait => return None,
            _ => {}
        }
        if now.since(self.last_use) >= IDLE {
            self.socket().abort();
            return None;
        }
        self.send();
        let is_free = !self.is_asking && self.to_send.is_empty();
        let query = if is_free { self.next_query(now) } else { None };
        let socket = self.socket();
        let is_done = is_free && query.is_none() && !socket.may_recv();
        if is_done && socket.state() == State::CloseWait {
            socket.close();
        }
        query
    }

    fn send(&mut self) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        if socket.can_send() && !self.to_send.is_empty() {
            let sent = socket.send_slice(&self.to_send).unwrap_or_default();
            self.to_send.drain(..sent);
        }
    }

    fn next_query(&mut self, now: Instant) -> Option<Vec<u8>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
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

    fn listen_again(&mut self, now: Instant) {
        *self.socket() = new_socket();
        self.serial = self.serial.wrapping_add(1);
        (self.client, self.is_asking, self.last_use) = (None, false, now);
        self.deadline = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Endpoint;
    use crate::packet::MacAddr;
    use crate::packet::tcp::SYN;
    use crate::testkit::build::{self, Hop};

    fn open(tcp: &mut TcpEndpoint<u16>, now: Instant, ingress: u16, port: u16) -> ConnectionId {
        let host = Ipv4Addr::new(10, 0, 0, 2);
        let client = Client { ingress: PortId(ingress), host, port };
        let id = tcp.admit(now, client, ingress).unwrap();
        let hop = Hop::new(MacAddr([2; 6]), MacAddr([4; 6]));
        let server = Endpoint::new(Ipv4Addr::new(10, 0, 0, 1), DNS_PORT);
        let syn = build::tcp(hop, Endpoint::new(host, port), server, SYN, b"");
        tcp.receive(now, id, &syn[14..]);
        assert_eq!(tcp.run(now, id), None);
        assert_eq!(tcp.find(&client), Some(id));
        id
    }

    #[test]
    fn a_segment_of_one_connection_lets_the_others_rest() {
        let start = Instant::from_secs(1000);
        let mut tcp = TcpEndpoint::new(7, start);
        let first = open(&mut tcp, start, 1, 4000);
        assert_eq!(tcp.take_packets().len(), 1);
        // By now the first has something to repeat, which is due, and left to its time.
        let later = start + Duration::from_secs(5);
        open(&mut tcp, later, 2, 4000);
        let sent: Vec<u16> = tcp.take_packets().into_iter().map(|(to, _)| to).collect();
        assert_eq!(sent, [2]);
        assert_eq!(tcp.due(later), [first]);
        tcp.run(later, first);
        let sent: Vec<u16> = tcp.take_packets().into_iter().map(|(to, _)| to).collect();
        assert_eq!(sent, [1]);
        assert!(tcp.due(later).is_empty());
    }

    #[test]
    fn a_place_that_nothing_opened_is_free_again() {
        let now = Instant::from_secs(1000);
        let mut tcp = TcpEndpoint::new(7, now);
        let client = Client { ingress: PortId(1), host: Ipv4Addr::new(10, 0, 0, 2), port: 4000 };
        for _ in 0..2 * CONNECTIONS {
            let id = tcp.admit(now, client, ()).unwrap();
            tcp.receive(now, id, b"no packet");
            assert_eq!(tcp.run(now, id), None);
            assert_eq!(tcp.find(&client), None);
        }
        assert_eq!(tcp.next_deadline(), None);
    }
}
