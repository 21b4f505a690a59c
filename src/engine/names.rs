//! DNS at the gateways: own names are answered at once, other questions leave as a [`NameQuery`]
//! and their answers come back as a [`Command::AnswerName`](super::Command::AnswerName).
//!
//! A host asks its own network's gateway, by UDP or TCP; a network without names has no such
//! service. A question on its way leaves nothing behind but a TCP connection. Bounds:
//! [`MAX_QUERIES`] that wait to be polled, [`ASKED_PER_PORT`] a second of the hosts behind one port
//! and [`ASKED_IN_ALL`] of all; [`MAX_ANSWERS`] that wait to be sent. Addresses are not what is
//! counted by: where a port is not guarded its host may use any.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::pipeline::{Frame, Verdict};
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId, WorkerId};
use crate::local::dns::tcp::{Client, ConnectionId, TcpEndpoint, TcpQuery};
use crate::local::dns::{DNS_PORT, NameTable, Place, Reply, Transport as Carrier, reply};
use crate::packet::tcp::{ACK, SYN};
use crate::packet::{ETHERNET_HEADER, Ipv4, MacAddr, PROTOCOL_UDP, Transport, fragment, ipv4, udp};
use crate::switch::FdbKey;
use crate::table::TokenBucket;
use crate::time::Instant;

/// Questions that wait to be polled.
const MAX_QUERIES: usize = 1024;
/// Answers that wait to be sent.
const MAX_ANSWERS: usize = 1024;
/// Answers sent in one pass; the others go in the next.
const ANSWERS_PER_PASS: usize = 64;
/// Segments of one super-frame that a connection takes: as many of the least usual size, 536 bytes
/// (RFC 9293 3.7.1), fill its window, and what is beyond was not offered.
const SEGMENTS_AT_ONCE: usize = 8;
/// Queries of one connection answered in one pass.
const ROUNDS: usize = 4;
/// Questions to other resolvers per second, of the hosts behind one port and of all.
const ASKED_PER_PORT: u32 = 500;
const ASKED_IN_ALL: u32 = 5000;

/// Who asked, and where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAsker {
    /// The port that the question came in by.
    pub ingress: PortId,
    /// The host's network.
    pub network: NetworkId,
    /// The host.
    pub host: Ipv4Addr,
    /// Its MAC.
    pub mac: MacAddr,
    /// The address that it asked.
    pub server: Ipv4Addr,
    /// Its port, if it asked by UDP.
    pub port: u16,
    /// The connection, if it asked by TCP.
    pub connection: Option<ConnectionId>,
}

/// A question that is nobody's here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameQuery {
    /// The worker that takes the answer.
    pub worker: WorkerId,
    /// Who asked.
    pub from: NameAsker,
    /// The question, as it came.
    pub message: Vec<u8>,
}

/// Where the host of a connection is, and whom it asked.
#[derive(Clone, Copy, Debug)]
struct Station {
    server: Ipv4Addr,
    network: NetworkId,
    mac: MacAddr,
}

/// The names, and what is on its way.
pub(super) struct Names {
    table: Arc<NameTable>,
    /// By port, as far as somebody asked.
    asked_by_port: Vec<TokenBucket>,
    asked_in_all: TokenBucket,
    queries: VecDeque<NameQuery>,
    answers: VecDeque<(NameAsker, Vec<u8>)>,
    /// None until somebody connects.
    tcp: Option<Box<TcpEndpoint<Station>>>,
    tcp_seed: u64,
    next_deadline: Option<Instant>,
}

impl Names {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            table: Arc::default(),
            asked_by_port: Vec::new(),
            asked_in_all: TokenBucket::new(ASKED_IN_ALL, ASKED_IN_ALL, now),
            queries: VecDeque::new(),
            answers: VecDeque::new(),
            tcp: None,
            tcp_seed: seed.rotate_left(32),
            next_deadline: None,
        }
    }

    pub(super) fn set(&mut self, table: Arc<NameTable>) {
        self.table = table;
    }

    /// Takes an answer, to be sent with the next timeout.
    pub(super) fn take_answer(&mut self, now: Instant, to: NameAsker, message: Vec<u8>) {
        match (to.connection, &mut self.tcp) {
            (Some(connection), Some(tcp)) => {
                tcp.answer(now, connection, &message);
                self.next_deadline = Some(now);
            }
            (Some(_), None) => {}
            (None, _) if self.answers.len() < MAX_ANSWERS => self.answers.push_back((to, message)),
            // The asker asks again.
            (None, _) => {}
        }
    }

    /// When there is something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.answers.is_empty() { self.next_deadline } else { Some(Instant::ZERO) }
    }

    /// True if a question that came in by a port may go on.
    fn may_ask(&mut self, now: Instant, port: PortId) -> bool {
        if self.asked_by_port.len() <= port.index() {
            let full = TokenBucket::new(ASKED_PER_PORT, ASKED_PER_PORT, now);
            self.asked_by_port.resize(port.index() + 1, full);
        }
        let by_port = self.asked_by_port.get_mut(port.index());
        by_port.is_some_and(|limit| limit.take(now)) && self.asked_in_all.take(now)
    }

    fn connection(&self, client: &Client) -> Option<ConnectionId> {
        self.tcp.as_ref()?.find(client)
    }
}

impl Engine {
    /// The next question that another resolver is to be asked.
    pub fn poll_name_query(&mut self) -> Option<NameQuery> {
        self.names.queries.pop_front()
    }

    /// Answers a datagram for tapway itself if it is a question about names; none: it is not.
    pub(super) fn answer_names(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        packet: &[u8],
        ipv4: &Ipv4,
    ) -> Option<Verdict> {
        let interface = self.interfaces.get(frame.network)?;
        let is_asked = ipv4.dst == interface.address && self.names.table.serves(frame.network);
        let outcome = match ipv4.transport {
            Transport::Udp { sport, dport: DNS_PORT } if is_asked => {
                self.answer_by_udp(pass, frame, packet, (ipv4, sport))
            }
            Transport::Tcp { sport, dport: DNS_PORT, flags } if is_asked => {
                let client = Client { ingress: frame.port, host: ipv4.src, port: sport };
                let connection = match self.names.connection(&client) {
                    None if flags & (SYN | ACK) == SYN => {
                        self.admit_client(pass.now, frame, ipv4, client)
                    }
                    // As at a closed port: cheap, and its refusals are limited.
                    connection => Some(connection?),
                };
                let packet = packet.get(..usize::from(ipv4.total_len)).unwrap_or(packet);
                self.answer_by_tcp(pass, frame, packet, connection)
            }
            _ => return None,
        };
        Some(outcome.map_or_else(Verdict::Dropped, |()| Verdict::Local))
    }

    fn answer_by_udp(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        packet: &[u8],
        (ipv4, sport): (&Ipv4, u16),
    ) -> Result<(), DropReason> {
        let message = udp::payload(packet, ipv4).ok_or(DropReason::DnsMalformed)?;
        let from = NameAsker {
            ingress: frame.port,
            network: frame.network,
            host: ipv4.src,
            mac: frame.headers.src,
            server: ipv4.dst,
            port: sport,
            connection: None,
        };
        let place = Place { network: frame.network, address: Some(ipv4.src) };
        match reply(&self.names.table, &[place], message, Carrier::Udp) {
            Reply::Answer(answer) => {
                let datagram = self.name_datagram(&from, &answer);
                self.answer(pass, frame, &datagram);
                Ok(())
            }
            Reply::Forward(_) => self.ask_name(pass.now, from, message.to_vec()),
            Reply::Silence => Err(DropReason::DnsMalformed),
        }
    }

    /// Leaves a question to be polled.
    fn ask_name(
        &mut self,
        now: Instant,
        from: NameAsker,
        message: Vec<u8>,
    ) -> Result<(), DropReason> {
        if self.names.queries.len() >= MAX_QUERIES || !self.names.may_ask(now, from.ingress) {
            return Err(DropReason::DnsLimit);
        }
        let worker = self.share.worker;
        self.names.queries.push_back(NameQuery { worker, from, message });
        Ok(())
    }

    /// A place for the connection that a segment opens.
    fn admit_client(
        &mut self,
        now: Instant,
        frame: &Frame,
        ipv4: &Ipv4,
        client: Client,
    ) -> Option<ConnectionId> {
        let (network, mac, server) = (frame.network, frame.headers.src, ipv4.dst);
        let seed = self.names.tcp_seed;
        let tcp = self.names.tcp.get_or_insert_with(|| Box::new(TcpEndpoint::new(seed, now)));
        tcp.admit(now, client, Station { server, network, mac })
    }

    /// A segment of a connection; where `frame` is a super-frame, all of them, of which `packet` is
    /// the first.
    fn answer_by_tcp(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        packet: &[u8],
        connection: Option<ConnectionId>,
    ) -> Result<(), DropReason> {
        let connection = connection.ok_or(DropReason::DnsConnections)?;
        let Some(tcp) = &mut self.names.tcp else { return Ok(()) };
        let view = pass.tx.view(frame.at, pass.burst);
        if view.offload.is_super() {
            let mut left = SEGMENTS_AT_ONCE;
            view.for_each_segment(&mut Vec::new(), |segment| {
                if let Some(packet) = segment.get(ETHERNET_HEADER..).filter(|_| left > 0) {
                    left -= 1;
                    tcp.receive(pass.now, connection, packet);
                }
            });
        } else {
            tcp.receive(pass.now, connection, packet);
        }
        self.run_names(pass, &[connection]);
        Ok(())
    }

    /// Sends what waits, and what connections have to say.
    pub(super) fn handle_names(&mut self, pass: &mut Pass<'_>) {
        for _ in 0..ANSWERS_PER_PASS {
            let Some((to, message)) = self.names.answers.pop_front() else { break };
            let datagram = self.name_datagram(&to, &message);
            self.send_to_host(pass, (to.network, to.mac), &datagram);
        }
        if self.names.next_deadline.is_some_and(|at| at <= pass.now) {
            let due = self.names.tcp.as_ref().map(|tcp| tcp.due(pass.now)).unwrap_or_default();
            self.run_names(pass, &due);
        }
    }

    /// Runs connections, and sends what they have to say.
    fn run_names(&mut self, pass: &mut Pass<'_>, connections: &[ConnectionId]) {
        let Some(mut tcp) = self.names.tcp.take() else { return };
        for connection in connections {
            self.run_connection(pass.now, &mut tcp, *connection);
        }
        for (Station { network, mac, .. }, packet) in tcp.take_packets() {
            self.send_to_host(pass, (network, mac), &packet);
        }
        self.names.next_deadline = tcp.next_deadline();
        self.names.tcp = Some(tcp);
    }

    fn run_connection(
        &mut self,
        now: Instant,
        tcp: &mut TcpEndpoint<Station>,
        connection: ConnectionId,
    ) {
        for _ in 0..ROUNDS {
            let Some(query) = tcp.run(now, connection) else { return };
            self.answer_tcp_query(now, tcp, query);
        }
        tcp.run_again(now, connection);
    }

    fn answer_tcp_query(
        &mut self,
        now: Instant,
        tcp: &mut TcpEndpoint<Station>,
        query: TcpQuery<Station>,
    ) {
        let TcpQuery { connection, client, station, message } = query;
        let (Client { ingress, host, .. }, Station { server, network, mac }) = (client, station);
        let place = Place { network, address: Some(host) };
        match reply(&self.names.table, &[place], &message, Carrier::Tcp) {
            Reply::Answer(answer) => tcp.answer(now, connection, &answer),
            Reply::Forward(_) => {
                let asked = Some(connection);
                let from =
                    NameAsker { ingress, network, host, mac, server, port: 0, connection: asked };
                if self.ask_name(now, from, message).is_err() {
                    tcp.hang_up(now, connection);
                }
            }
            Reply::Silence => tcp.hang_up(now, connection),
        }
    }

    fn name_datagram(&mut self, to: &NameAsker, message: &[u8]) -> Vec<u8> {
        let segment = udp::segment((to.server, DNS_PORT), (to.host, to.port), message);
        let (src, dst, id) = (to.server, to.host, self.nat.next_ip_id());
        let header = ipv4::NewHeader { src, dst, protocol: PROTOCOL_UDP, tos: 0, id };
        ipv4::datagram(header, &segment)
    }

    /// Sends a datagram to a host by its MAC, in fragments if it must; to all of its network if
    /// nobody knows where it is.
    fn send_to_host(
        &mut self,
        pass: &mut Pass<'_>,
        (network, mac): (NetworkId, MacAddr),
        datagram: &[u8],
    ) {
        let Some(interface) = self.interfaces.get(network) else { return };
        let (own, mtu) = (interface.mac, interface.mtu);
        let place = self.fdb.lookup(pass.now, FdbKey::new(network, mac));
        let of_port = place.and_then(|port| self.port(port)).map_or(mtu, |port| port.mtu);
        let mtu = usize::from(mtu.min(of_port));
        let ports = match place {
            Some(port) => vec![port],
            None => self.network(network).map_or_else(Vec::new, |n| n.bridge.ports().to_vec()),
        };
        let ethernet = ipv4::ethernet(mac, own);
        if datagram.len() <= mtu {
            return self.generate(pass, &ports, &[&ethernet, datagram]);
        }
        let mut pieces = Vec::new();
        fragment::fragment(datagram, mtu, |piece| pieces.push(piece.to_vec()));
        for piece in pieces {
            self.generate(pass, &ports, &[&ethernet, &piece]);
        }
    }
}
