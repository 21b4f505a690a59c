//! The resolver of one namespace: UDP and TCP at 127.0.0.11.
//!
//! Bounds: [`MAX_CONNECTIONS`] at once, each closed after [`IDLE`] without a query; the questions
//! that are on their way are bounded in `forwarder`.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::counters::count;
use super::forwarder::{Asker, Forwarder};
use crate::io::NameSockets;
use crate::local::dns::{MAX_QUERY, NameTable, Place, Reply, Transport, reply};

/// Connections at once to one namespace's resolver.
const MAX_CONNECTIONS: usize = 32;
/// Time between two queries of a connection, and to send and take each (RFC 7766 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// After an error of a socket, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The names as they are, replaced as a whole.
pub(super) type Names = Rc<RefCell<Arc<NameTable>>>;

/// What answers in one namespace; it ends when dropped.
pub(super) struct Front {
    desk: Rc<Desk>,
    tasks: [AbortHandle; 2],
}

/// What questions are answered with.
struct Desk {
    asker: Rc<str>,
    places: RefCell<Vec<Place>>,
    names: Names,
    forwarder: Rc<Forwarder>,
    connections: RefCell<Vec<AbortHandle>>,
}

impl Front {
    /// Begins to answer; inside the runtime.
    pub(super) fn open(
        (asker, places): (&str, Vec<Place>),
        sockets: NameSockets,
        names: Names,
        forwarder: Rc<Forwarder>,
    ) -> io::Result<Self> {
        let udp = Rc::new(UdpSocket::from_std(sockets.udp)?);
        let tcp = TcpListener::from_std(sockets.tcp)?;
        let desk = Rc::new(Desk {
            asker: asker.into(),
            places: RefCell::new(places),
            names,
            forwarder,
            connections: RefCell::default(),
        });
        let tasks = [
            spawn_local(serve_udp(desk.clone(), udp)).abort_handle(),
            spawn_local(serve_tcp(desk.clone(), tcp)).abort_handle(),
        ];
        Ok(Self { desk, tasks })
    }

    pub(super) fn move_to(&self, places: Vec<Place>) {
        self.desk.places.replace(places);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let connections = self.desk.connections.take();
        self.tasks.iter().chain(&connections).for_each(AbortHandle::abort);
    }
}

impl Desk {
    fn reply(&self, bytes: &[u8], transport: Transport) -> Reply {
        count(&self.forwarder.counters.queries);
        let names = self.names.borrow().clone();
        reply(&names, &self.places.borrow(), bytes, transport)
    }

    async fn answer(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.reply(bytes, transport) {
            Reply::Answer(answer) => Some(answer),
            Reply::Forward(query) => {
                let asker = Asker::Namespace(self.asker.clone());
                Some(self.forwarder.resolve(asker, (&query, bytes), transport).await)
            }
            Reply::Silence => {
                count(&self.forwarder.counters.not_a_query);
                None
            }
        }
    }
}

async fn serve_udp(desk: Rc<Desk>, socket: Rc<UdpSocket>) {
    // One byte more than a query may have: a longer one is seen to be too long.
    let mut room = [0; MAX_QUERY + 1];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut room).await else {
            sleep(PAUSE).await;
            continue;
        };
        let query = room.get(..len).unwrap_or_default();
        match desk.reply(query, Transport::Udp) {
            Reply::Answer(answer) => send(&socket, &answer, from).await,
            Reply::Silence => count(&desk.forwarder.counters.not_a_query),
            Reply::Forward(parsed) => {
                let (desk, socket, bytes) = (desk.clone(), socket.clone(), query.to_vec());
                spawn_local(async move {
                    let asker = Asker::Namespace(desk.asker.clone());
                    let asked = (&parsed, bytes.as_slice());
                    let answer = desk.forwarder.resolve(asker, asked, Transport::Udp).await;
                    send(&socket, &answer, from).await;
                });
            }
        }
    }
}

/// An asker that is gone takes no answer.
async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    let _ = socket.send_to(answer, to).await;
}

async fn serve_tcp(desk: Rc<Desk>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let mut connections = desk.connections.borrow_mut();
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= MAX_CONNECTIONS {
            count(&desk.forwarder.counters.too_many_connections);
            continue;
        }
        let conversation = converse(desk.clone(), stream);
        connections.push(spawn_local(conversation).abort_handle());
    }
}

/// An error is the asker's: it is gone, or too slow.
async fn converse(desk: Rc<Desk>, mut stream: TcpStream) {
    let _ = answer_all(&desk, &mut stream).await;
}

async fn answer_all(desk: &Desk, stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let len = usize::from(timeout(IDLE, stream.read_u16()).await??);
        if len > MAX_QUERY {
            return Ok(());
        }
        let mut query = vec![0; len];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = desk.answer(&query, Transport::Tcp).await else { return Ok(()) };
        let len = u16::try_from(answer.len()).unwrap_or_default();
        let message = [&len.to_be_bytes(), answer.as_slice()].concat();
        timeout(IDLE, stream.write_all(&message)).await??;
    }
}
