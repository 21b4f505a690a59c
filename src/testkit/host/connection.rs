//! Both ends of TCP connections: what a server does with a client, and an exchange of one's own.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpEndpoint};

/// What a server answers, before it closes: given the client's address and what it sent so far;
/// none: more is needed.
pub type Service = Box<dyn FnMut(SocketAddrV4, &[u8]) -> Option<Vec<u8>> + Send>;

/// How far an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No connection yet.
    Connecting,
    /// Connected.
    Running,
    /// The far side has sent everything and closed.
    Done,
    /// Refused, reset or given up.
    Failed,
}

/// A connection that this host opened.
pub(super) struct Exchange {
    /// None once the connection is over.
    pub(super) socket: Option<SocketHandle>,
    pub(super) to_send: VecDeque<u8>,
    pub(super) received: Vec<u8>,
    pub(super) progress: Progress,
}

/// A connection that a server took, or waits for.
pub(super) struct Serving {
    pub(super) socket: SocketHandle,
    pub(super) server: usize,
    pub(super) request: Vec<u8>,
    pub(super) answer: Option<VecDeque<u8>>,
}

/// A port that is served.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) service: Service,
}

impl Serving {
    pub(super) fn run(&mut self, socket: &mut tcp::Socket<'_>, server: &mut Server) -> bool {
        let Some(client) = socket.remote_endpoint().map(v4_endpoint) else { return false };
        let mut moved = drain(socket, &mut self.request);
        if self.answer.is_none() && socket.may_send() {
            let answer = (server.service)(client, &self.request);
            self.answer = answer.map(VecDeque::from);
            moved |= self.answer.is_some();
        }
        if let Some(answer) = &mut self.answer {
            moved |= fill(socket, answer);
            if answer.is_empty() && socket.may_send() {
                socket.close();
                moved = true;
            }
        }
        moved
    }
}

impl Exchange {
    pub(super) fn run(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let before = (self.progress, self.received.len(), self.to_send.len());
        match self.progress {
            Progress::Connecting if socket.may_send() || socket.may_recv() => {
                self.progress = Progress::Running;
            }
            Progress::Connecting if !socket.is_open() => self.progress = Progress::Failed,
            _ => {}
        }
        if self.progress == Progress::Running {
            fill(socket, &mut self.to_send);
            drain(socket, &mut self.received);
            if !socket.may_recv() {
                self.progress = if socket.is_open() { Progress::Done } else { Progress::Failed };
                socket.close();
            }
        }
        before != (self.progress, self.received.len(), self.to_send.len())
    }
}

/// Moves what has arrived; true if anything had.
fn drain(socket: &mut tcp::Socket<'_>, into: &mut Vec<u8>) -> bool {
    let before = into.len();
    while socket.can_recv() {
        let taken = socket.recv(|bytes| {
            into.extend_from_slice(bytes);
            (bytes.len(), bytes.len())
        });
        if taken.is_err() {
            break;
        }
    }
    into.len() > before
}

/// Sends what fits; true if anything moved.
fn fill(socket: &mut tcp::Socket<'_>, from: &mut VecDeque<u8>) -> bool {
    let mut moved = false;
    while !from.is_empty() && socket.can_send() {
        let (front, _) = from.as_slices();
        let Ok(sent) = socket.send_slice(front) else { break };
        from.drain(..sent);
        moved |= sent > 0;
    }
    moved
}

/// Closed, and nothing left to tell the far side.
pub(super) fn is_over(socket: &tcp::Socket<'_>) -> bool {
    !socket.is_open() && socket.remote_endpoint().is_none()
}

fn v4_endpoint(endpoint: IpEndpoint) -> SocketAddrV4 {
    let IpAddress::Ipv4(address) = endpoint.addr;
    SocketAddrV4::new(address, endpoint.port)
}
