//! TCP connections, opened and closed as fast as it goes, with one byte from client to server.
//!
//! The server closes first, so that the client's port is free at once: a benchmark that has no
//! ports left measures TIME_WAIT.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{CONNECT_PATIENCE, Load, SOCKET_PATIENCE, Settings, Side, tcp};
use crate::error::{BenchError, Context, Result};
use crate::testbed::{CONNECT_PORT, Route};

/// Clients that connect one after the other, at the same time.
const CLIENTS: usize = 4;
/// Threads that accept: one waits for the byte of a connection, the other goes on.
const SERVERS: usize = 2;

/// Connections per second.
pub fn measure(route: &Route, settings: Settings) -> Result<f64> {
    let window = start(route, settings)?.watch()?;
    if window.count == 0.0 {
        return Err(BenchError::Peer("no TCP connection came about".to_owned()));
    }
    Ok(window.count / window.seconds)
}

/// Starts clients and servers; the load counts connections that were closed in order.
fn start(route: &Route, settings: Settings) -> Result<Load> {
    let listener = listen(route)?;
    let mut load = Load::new(settings);
    for _ in 0..SERVERS {
        let listener = listener.try_clone().context("a listener")?;
        load.add(Side::Receiver, move |part| {
            while part.goes_on() {
                // What fails, the client sees.
                let _ = accept_and_close(&listener);
            }
        })?;
    }
    for _ in 0..CLIENTS {
        let (netns, target) = (route.client.netns.clone(), route.at(CONNECT_PORT));
        load.add(Side::Sender, move |part| {
            if netns.enter().is_err() {
                return;
            }
            while part.goes_on() {
                match open_and_close(target.into()) {
                    Ok(()) => part.add(1),
                    // Refused or timed out; not as fast as possible again.
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        })?;
    }
    Ok(load)
}

/// A listener on which accepting blocks for a while.
fn listen(route: &Route) -> Result<TcpListener> {
    let listener = tcp::listen(&route.server, CONNECT_PORT)?;
    listener.set_nonblocking(false).context("a listener")?;
    set_socket_timeout(&listener, Timeout::Recv, Some(SOCKET_PATIENCE)).context("a timeout")?;
    Ok(listener)
}

/// Reads the client's byte, for a socket closed with bytes unread is reset.
fn accept_and_close(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(SOCKET_PATIENCE))?;
    stream.read_exact(&mut [0])
}

fn open_and_close(target: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECT_PATIENCE)?;
    stream.set_read_timeout(Some(CONNECT_PATIENCE))?;
    // With it some proxies complete the handshake on the far side.
    stream.write_all(&[0])?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
