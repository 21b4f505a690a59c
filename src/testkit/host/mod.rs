//! A host of its own: smoltcp's stack behind one interface, in memory.
//!
//! It answers ARP and pings, probes others with any TTL, serves TCP and makes TCP exchanges. It
//! reads no clock and has no thread: whoever owns it hands in frames and the time. Bounds:
//! [`MAX_SOCKETS`] sockets, [`QUEUE_FRAMES`] frames in each direction; what is more is lost, as
//! on a wire.
//!
//! Do not wait for a close on a wire that loses frames: smoltcp 0.14 stops its timer when three
//! duplicate acknowledgements meet a FIN without data, and never repeats it. Wait for the bytes.

mod connection;
mod device;

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::{raw, tcp};
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpProtocol, IpVersion,
};

use connection::{Exchange, Server, Serving, is_over};
use device::Queues;

pub use connection::{Progress, Service};

use super::probe::{self, ProbeAnswer, ProbeId};
use crate::packet::MacAddr;
use crate::time::Instant;

/// Sockets of a host; a server takes no more connections at the bound.
pub const MAX_SOCKETS: usize = 256;
/// Frames that wait in each direction.
pub const QUEUE_FRAMES: usize = 1024;
/// Bytes of each TCP buffer.
const TCP_BUFFER: usize = 65_535;
/// Listening sockets that a server keeps: so many may connect at once.
const BACKLOG: usize = 4;
/// ICMP packets that wait to be read.
const RAW_PACKETS: usize = 32;
/// First local port of exchanges (RFC 6335: dynamic ports).
const FIRST_PORT: u16 = 49_152;

/// Who a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its address and subnet.
    pub address: Ipv4Net,
    /// Its default route.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet, in bytes.
    pub mtu: u16,
}

/// An exchange of [`SimHost::exchange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(usize);

/// A host.
pub struct SimHost {
    address: Ipv4Addr,
    device: Queues,
    interface: Interface,
    sockets: SocketSet<'static>,
    icmp: SocketHandle,
    servers: Vec<Server>,
    serving: Vec<Serving>,
    exchanges: Vec<Exchange>,
    answers: Vec<(ProbeId, ProbeAnswer)>,
    probes: Vec<ProbeId>,
    next_seq: u16,
    next_port: u16,
}

impl HostSpec {
    /// With the MAC that belongs to the address and an MTU of 1500.
    pub const fn new(address: Ipv4Net, gateway: Option<Ipv4Addr>) -> Self {
        Self { mac: MacAddr::from_ipv4(address.addr()), address, gateway, mtu: 1500 }
    }
}

impl SimHost {
    /// A host. `seed` chooses its first sequence numbers.
    pub fn new(spec: &HostSpec, seed: u64, now: Instant) -> Self {
        let mut device = Queues::new(spec.mtu);
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(spec.mac.0)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, clock(now));
        let address = spec.address.addr();
        interface.update_ip_addrs(|addresses| {
            // The list of a new interface has room for one.
            let _ =
                addresses.push(IpCidr::new(IpAddress::Ipv4(address), spec.address.prefix_len()));
        });
        if let Some(gateway) = spec.gateway {
            // So has the route table.
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        let mut sockets = SocketSet::new(Vec::new());
        let icmp = sockets.add(raw::Socket::new(
            Some(IpVersion::Ipv4),
            Some(IpProtocol::Icmp),
            packet_buffer(),
            packet_buffer(),
        ));
        Self {
            address,
            device,
            interface,
            sockets,
            icmp,
            servers: Vec::new(),
            serving: Vec::new(),
            exchanges: Vec::new(),
            answers: Vec::new(),
            probes: Vec::new(),
            next_seq: 0,
            next_port: FIRST_PORT,
        }
    }

    /// Its address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A frame arrives.
    pub fn receive(&mut self, frame: Vec<u8>) {
        if self.device.rx.len() < QUEUE_FRAMES {
            self.device.rx.push_back(frame);
        }
    }

    /// Does everything that can be done now.
    pub fn poll(&mut self, now: Instant) {
        loop {
            let changed = self.interface.poll(clock(now), &mut self.device, &mut self.sockets);
            let moved = self.read_icmp() | self.run_servers() | self.run_exchanges();
            if changed == PollResult::None && !moved {
                break;
            }
        }
    }

    /// When [`SimHost::poll`] wants to be called, if nothing arrives before.
    pub fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(clock(now), &self.sockets)?;
        Some(Instant::from_nanos(
            u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000),
        ))
    }

    /// The frames it sends.
    pub fn take_frames(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.device.tx.drain(..)
    }

    /// Sends an echo request; it leaves with the next poll.
    pub fn probe(&mut self, dst: Ipv4Addr, ttl: u8) -> ProbeId {
        self.next_seq = self.next_seq.wrapping_add(1);
        let [.., id] = self.address.octets();
        let probe = ProbeId { id: u16::from(id), seq: self.next_seq };
        let packet = probe::echo_packet(probe, self.address, dst, ttl);
        let socket = self.sockets.get_mut::<raw::Socket<'_>>(self.icmp);
        // A full queue loses the request, as a wire would.
        let _ = socket.send_slice(&packet);
        self.probes.push(probe);
        probe
    }

    /// The answer to a request, once; after it later answers are ignored.
    pub fn probe_answer(&mut self, probe: ProbeId) -> Option<ProbeAnswer> {
        let at = self.answers.iter().position(|(answered, _)| *answered == probe)?;
        self.probes.retain(|waiting| *waiting != probe);
        Some(self.answers.swap_remove(at).1)
    }

    /// Waits no longer for the answer to a request.
    pub fn forget_probe(&mut self, probe: ProbeId) {
        self.probes.retain(|waiting| *waiting != probe);
        self.answers.retain(|(answered, _)| *answered != probe);
    }

    /// Serves TCP on a port.
    pub fn serve(&mut self, port: u16, service: Service) {
        self.servers.push(Server { port, service });
        self.listen(self.servers.len() - 1);
    }

    /// Connects, sends, and collects what comes until the far side closes; then closes too.
    /// None if no socket is left.
    pub fn exchange(&mut self, to: SocketAddrV4, send: &[u8]) -> Option<ExchangeId> {
        let socket = self.add_tcp()?;
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        let remote = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let connected = self.sockets.get_mut::<tcp::Socket<'_>>(socket).connect(
            self.interface.context(),
            remote,
            port,
        );
        let progress = if connected.is_ok() { Progress::Connecting } else { Progress::Failed };
        let to_send = send.iter().copied().collect();
        let socket = Some(socket);
        self.exchanges.push(Exchange { socket, to_send, received: Vec::new(), progress });
        Some(ExchangeId(self.exchanges.len() - 1))
    }

    /// How far an exchange is, and what has arrived.
    pub fn progress(&self, id: ExchangeId) -> (Progress, &[u8]) {
        match self.exchanges.get(id.0) {
            Some(exchange) => (exchange.progress, &exchange.received),
            None => (Progress::Failed, &[]),
        }
    }

    /// Closes an exchange from this side, in order.
    pub fn close(&mut self, id: ExchangeId) {
        if let Some(socket) = self.exchanges.get(id.0).and_then(|exchange| exchange.socket) {
            self.sockets.get_mut::<tcp::Socket<'_>>(socket).close();
        }
    }

    /// Gives an exchange up; the far side gets a reset if it is connected.
    pub fn abort(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(id.0) {
            exchange.progress = Progress::Failed;
            if let Some(socket) = exchange.socket {
                self.sockets.get_mut::<tcp::Socket<'_>>(socket).abort();
            }
        }
    }

    fn read_icmp(&mut self) -> bool {
        let socket = self.sockets.get_mut::<raw::Socket<'_>>(self.icmp);
        let mut is_read = false;
        while let Ok(packet) = socket.recv() {
            is_read = true;
            let found = self
                .probes
                .iter()
                .find_map(|probe| Some((*probe, probe::read_answer(packet, *probe)?)));
            self.answers.extend(found);
        }
        is_read
    }

    fn add_tcp(&mut self) -> Option<SocketHandle> {
        if self.sockets.iter().count() >= MAX_SOCKETS {
            return None;
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
        Some(self.sockets.add(tcp::Socket::new(buffer(), buffer())))
    }

    /// Keeps [`BACKLOG`] sockets of a server listening.
    fn listen(&mut self, server: usize) {
        let Some(port) = self.servers.get(server).map(|server| server.port) else { return };
        let listening = self
            .serving
            .iter()
            .filter(|serving| serving.server == server)
            .filter(|serving| self.sockets.get::<tcp::Socket<'_>>(serving.socket).is_listening())
            .count();
        for _ in listening..BACKLOG {
            let Some(socket) = self.add_tcp() else { return };
            // A new socket listens on any port but zero.
            let _ = self.sockets.get_mut::<tcp::Socket<'_>>(socket).listen(port);
            self.serving.push(Serving { socket, server, request: Vec::new(), answer: None });
        }
    }

    fn run_servers(&mut self) -> bool {
        let mut moved = false;
        for serving in &mut self.serving {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(serving.socket);
            let Some(server) = self.servers.get_mut(serving.server) else { continue };
            moved |= serving.run(socket, server);
        }
        let sockets = &mut self.sockets;
        self.serving.retain(|serving| {
            let is_over = is_over(sockets.get(serving.socket));
            if is_over {
                sockets.remove(serving.socket);
            }
            !is_over
        });
        for server in 0..self.servers.len() {
            self.listen(server);
        }
        moved
    }

    fn run_exchanges(&mut self) -> bool {
        let mut moved = false;
        for exchange in &mut self.exchanges {
            let Some(handle) = exchange.socket else { continue };
            moved |= exchange.run(self.sockets.get_mut(handle));
            if is_over(self.sockets.get(handle)) {
                self.sockets.remove(handle);
                exchange.socket = None;
            }
        }
        moved
    }
}

fn packet_buffer() -> raw::PacketBuffer<'static> {
    raw::PacketBuffer::new(
        vec![raw::PacketMetadata::EMPTY; RAW_PACKETS],
        vec![0; RAW_PACKETS * 2048],
    )
}

fn clock(now: Instant) -> smoltcp::time::Instant {
    let micros = now.as_nanos() / 1000;
    smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
