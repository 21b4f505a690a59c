//! TCP connections of the host to a published port: accepted here, and carried on.
//!
//! Each direction ends by itself (half-close); a connection that breaks on one side is reset on
//! the other. Bounds: [`MAX_CONNECTIONS`] in all, and of one port [`MAX_CONNECTIONS_OF_PORT`], so
//! that the clients of one leave room for the others'; more wait, mostly in the kernel's backlog.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::io::{keep_alive, reset_at_close};

/// Connections of all ports together; each takes two file descriptors and two buffers.
pub(super) const MAX_CONNECTIONS: usize = 4096;
/// Of those, of one port.
const MAX_CONNECTIONS_OF_PORT: usize = 1024;
/// What is carried at once, each way.
const BUFFER_BYTES: usize = 32 * 1024;
/// How long a container may take to accept.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// After an error of the system, such as no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves a port until it is aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, target: SocketAddrV4, slots: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MAX_CONNECTIONS_OF_PORT {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    // A place is taken by who is there, not by a port that waits. The semaphore
                    // is never closed.
                    let Ok(slot) = slots.clone().acquire_owned().await else { return };
                    connections.spawn(async move {
                        carry(client, target).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, %target, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut client: TcpStream, target: SocketAddrV4) {
    let connected = tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(target)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let Ok(mut server) = connected else {
        // As a closed port of the container looks.
        let _ = reset_at_close(&client);
        return;
    };
    for end in [&client, &server] {
        let _ = (end.set_nodelay(true), keep_alive(end));
    }
    let done =
        copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES).await;
    if done.is_err() {
        let _ = (reset_at_close(&client), reset_at_close(&server));
    }
}
