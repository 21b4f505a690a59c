//! A host that is a network namespace: the kernel's own stack, used through plain sockets.
//!
//! A socket belongs to the namespace it was opened in for good, so only opening needs a thread
//! inside.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use super::host::{Fetch, Host, Pong};
use super::http_server::HttpServer;
use super::interrupt::Interrupt;
use super::topology::HostName;
use super::{DemoError, http};
use crate::io::{Clock, EtcFile, Namespace, OpenError};
use crate::local::dns::{DNS_PORT, MAX_UDP_ANSWER};
use crate::testkit::probe::{ProbeId, echo_request, read_answer};
use crate::time::Instant;

/// How long a ping waits.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest ICMP packet read.
const PACKET: usize = 2048;
/// Where namespaces have files of their own under `/etc` (ip-netns(8)).
const NETNS_ETC: &str = "/etc/netns";

/// The host.
#[derive(Debug)]
pub struct RealHost {
    name: HostName,
    namespace: Namespace,
    interrupt: Interrupt,
    next_seq: u16,
    servers: Vec<HttpServer>,
}

impl RealHost {
    /// The host in a namespace.
    pub const fn new(name: HostName, namespace: Namespace, interrupt: Interrupt) -> Self {
        Self { name, namespace, interrupt, next_seq: 0, servers: Vec::new() }
    }

    /// Its name.
    pub const fn name(&self) -> HostName {
        self.name
    }

    fn socket(&self, kind: SocketType) -> Result<OwnedFd, DemoError> {
        let protocol = (kind == SocketType::RAW).then_some(ipproto::ICMP);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let opened = self.namespace.run(|| {
            rustix::net::socket_with(AddressFamily::INET, kind, flags, protocol)
                .map_err(|error| OpenError::from_io("opening a socket", error.into()))
        });
        Ok(opened?)
    }

    /// Connects; none if nobody answers in time, an error of the network as [`Fetch::Refused`].
    fn connect(
        &self,
        to: SocketAddrV4,
        deadline: Instant,
    ) -> Result<Result<TcpStream, Fetch>, DemoError> {
        let socket = self.socket(SocketType::STREAM)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return Ok(Err(Fetch::Refused)),
        }
        if !self.interrupt.wait_for(&socket, PollFlags::OUT, deadline)? {
            return Ok(Err(Fetch::Silence));
        }
        let state = sockopt::socket_error(&socket)
            .map_err(|error| DemoError::system("connecting", error.into()))?;
        Ok(match state {
            Ok(()) => Ok(TcpStream::from(socket)),
            Err(Errno::TIMEDOUT) => Err(Fetch::Silence),
            Err(_) => Err(Fetch::Refused),
        })
    }

    /// Reads until the answer is whole.
    fn read_body(&self, stream: &mut TcpStream, deadline: Instant) -> Result<Fetch, DemoError> {
        let mut answer = Vec::new();
        let mut room = [0; 1024];
        while answer.len() <= http::MAX_MESSAGE {
            if !self.interrupt.wait_for(stream, PollFlags::IN, deadline)? {
                return Ok(Fetch::Silence);
            }
            let got = match stream.read(&mut room) {
                Ok(len) => room.get(..len).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => return Ok(Fetch::Refused),
            };
            answer.extend_from_slice(got);
            if let Some(body) = http::body(&answer) {
                return Ok(Fetch::Body(body));
            }
            if got.is_empty() {
                break;
            }
        }
        Ok(Fetch::Refused)
    }
}

impl Host for &mut RealHost {
    fn ping(&mut self, dst: Ipv4Addr, ttl: u8) -> Result<Option<Pong>, DemoError> {
        let socket = self.socket(SocketType::RAW)?;
        let failed = |error: Errno| DemoError::system("pinging", error.into());
        sockopt::set_ip_ttl(&socket, u32::from(ttl)).map_err(failed)?;
        self.next_seq = self.next_seq.wrapping_add(1);
        let probe = ProbeId { id: std::process::id() as u16, seq: self.next_seq };
        let start = Clock.now();
        let to = SocketAddrV4::new(dst, 0);
        match rustix::net::sendto(&socket, &echo_request(probe), SendFlags::empty(), &to) {
            Ok(_) => {}
            Err(Errno::HOSTUNREACH | Errno::NETUNREACH) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let mut room = [0; PACKET];
        while self.interrupt.wait_for(&socket, PollFlags::IN, start + PING_TIMEOUT)? {
            // The socket hears all ICMP of its host; errors of other sockets' packets, too.
            let Ok((len, _)) = rustix::net::recv(&socket, &mut room, RecvFlags::empty()) else {
                continue;
            };
            let packet = room.get(..len).unwrap_or_default();
            if let Some(answer) = read_answer(packet, probe) {
                return Ok(Some(Pong { answer, rtt: Clock.now().since(start) }));
            }
        }
        Ok(None)
    }

    fn http_get(&mut self, at: SocketAddrV4, timeout: Duration) -> Result<Fetch, DemoError> {
        let deadline = Clock.now() + timeout;
        let mut stream = match self.connect(at, deadline)? {
            Ok(stream) => stream,
            Err(fetch) => return Ok(fetch),
        };
        // The request is smaller than any socket's buffer: it is taken whole, or not at all.
        if stream.write_all(&http::request(*at.ip())).is_err() {
            return Ok(Fetch::Refused);
        }
        self.read_body(&mut stream, deadline)
    }

    fn serve_http(&mut self, port: u16) -> Result<(), DemoError> {
        let listener = self.namespace.run(|| {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                .map_err(|error| OpenError::from_io(format!("listening on port {port}"), error))
        })?;
        let server = HttpServer::start(self.name.name(), listener)
            .map_err(|error| DemoError::system("starting a server", error))?;
        self.servers.push(server);
        Ok(())
    }

    /// What `ip netns exec` shows: the namespace's own, else this machine's.
    fn etc(&mut self, file: EtcFile) -> Result<Option<String>, DemoError> {
        let own = self.namespace.name().map(|name| Path::new(NETNS_ETC).join(name));
        let own = own.and_then(|dir| std::fs::read_to_string(dir.join(file.name())).ok());
        let text = own.map_or_else(|| std::fs::read_to_string(file.path()), Ok);
        Ok(Some(text.map_err(|error| DemoError::system("reading a file under /etc", error))?))
    }

    fn ask_resolver(
        &mut self,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, DemoError> {
        let file = self.etc(EtcFile::ResolvConf)?.unwrap_or_default();
        let server = file.lines().find_map(|line| line.strip_prefix("nameserver"));
        let Some(server) = server.and_then(|server| server.trim().parse().ok()) else {
            return Ok(None);
        };
        let deadline = Clock.now() + timeout;
        let socket = self.socket(SocketType::DGRAM)?;
        // Connected: what others send is not heard, and a refusal is.
        let sent = rustix::net::connect(&socket, &SocketAddrV4::new(server, DNS_PORT))
            .and_then(|()| rustix::net::send(&socket, message, SendFlags::empty()));
        if sent.is_err() || !self.interrupt.wait_for(&socket, PollFlags::IN, deadline)? {
            return Ok(None);
        }
        let mut room = [0; MAX_UDP_ANSWER];
        let received = rustix::net::recv(&socket, &mut room, RecvFlags::empty());
        Ok(received.ok().and_then(|(len, _)| room.get(..len)).map(<[u8]>::to_vec))
    }
}
