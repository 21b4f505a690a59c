//! Datagrams of the host to a published port: each client has a socket of its own towards the
//! container, so that answers find their way back.
//!
//! Bounds: [`MAX_FLOWS`] clients of a port; datagrams of more are lost. A client is forgotten after
//! [`IDLE`] without a datagram, either way.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::io::{Clock, HostSocket};
use crate::time::Instant;

/// Clients of one port.
pub(super) const MAX_FLOWS: usize = 1024;
/// How long a client that is silent is remembered.
const IDLE: Duration = Duration::from_secs(90);
/// After an error of the system.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for silent clients.
const LOOK: Duration = Duration::from_secs(5);
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// A client, and the address of this host that it asks.
type Client = (SocketAddrV4, Ipv4Addr);

struct Flow {
    towards: Arc<UdpSocket>,
    /// When a datagram passed last.
    used: Arc<AtomicU64>,
    answers: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// Serves a port until it is aborted.
pub(super) async fn serve(socket: HostSocket, target: SocketAddrV4) {
    let socket = match socket.register() {
        Ok(socket) => Arc::new(socket),
        Err(error) => return tracing::error!(%error, %target, "a published port is not served"),
    };
    let mut flows: HashMap<Client, Flow> = HashMap::new();
    let mut look = tokio::time::interval(LOOK);
    let mut room = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            received = receive(&socket, &mut room) => {
                let Ok((len, from, to)) = received else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let datagram = room.get(..len).unwrap_or_default();
                let flow = match flows.get(&(from, to)) {
                    Some(flow) => flow,
                    None if flows.len() >= MAX_FLOWS => continue,
                    None => match open(&socket, (from, to), target).await {
                        Ok(flow) => flows.entry((from, to)).or_insert(flow),
                        Err(error) => {
                            tracing::debug!(%error, %target, "a datagram is lost");
                            continue;
                        }
                    },
                };
                flow.used.store(now(), Ordering::Relaxed);
                // What the container refused before is told now, and no reason to stop.
                let _ = flow.towards.send(datagram).await;
            }
            _ = look.tick() => {
                let now = now();
                let is_used = |flow: &Flow| {
                    now.saturating_sub(flow.used.load(Ordering::Relaxed)) < IDLE.as_nanos() as u64
                };
                flows.retain(|_, flow| is_used(flow));
            }
        }
    }
}

async fn receive(
    socket: &AsyncFd<HostSocket>,
    room: &mut [u8],
) -> io::Result<(usize, SocketAddrV4, Ipv4Addr)> {
    socket.async_io(Interest::READABLE, |socket| socket.receive(room)).await
}

async fn open(
    socket: &Arc<AsyncFd<HostSocket>>,
    (client, asked): Client,
    target: SocketAddrV4,
) -> io::Result<Flow> {
    let towards = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    towards.connect(target).await?;
    let towards = Arc::new(towards);
    let used = Arc::new(AtomicU64::new(now()));
    let answers = tokio::spawn({
        // The socket is closed with the port, whatever flows there are.
        let (socket, towards, used) = (Arc::downgrade(socket), towards.clone(), used.clone());
        async move {
            loop {
                if towards.readable().await.is_err() {
                    return;
                }
                // No memory for who is silent.
                let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
                // An error is what an ICMP message said; the container may open the port yet.
                let Ok(_) = towards.try_recv_buf(&mut datagram) else { continue };
                used.store(now(), Ordering::Relaxed);
                let Some(socket) = socket.upgrade() else { return };
                let sent = socket
                    .async_io(Interest::WRITABLE, |socket| socket.send(&datagram, asked, client));
                let _ = sent.await;
            }
        }
    });
    Ok(Flow { towards, used, answers: answers.abort_handle() })
}

fn now() -> u64 {
    Clock.now().since(Instant::ZERO).as_nanos() as u64
}
