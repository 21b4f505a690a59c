//! TCP connections, opened and closed as fast as it goes.
//!
//! The server closes first, so that the client's port is free at once: a benchmark that has no
//! ports left measures TIME_WAIT.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use super::{CONNECT_PATIENCE, Load, SOCKET_PATIENCE, Settings, Side, tcp};
use crate::error::{BenchError, Context, Result};
use crate::testbed::{CONNECT_PORT, Route};

/// Clients that connect one after the other, at the same time.
const CLIENTS: usize = 4;

/// Connections per second.
pub fn measure(route: &Route, settings: Settings) -> Result<f64> {
    let window = start(route, settings)?.watch()?;
    if window.count == 0.0 {
        return Err(BenchError::Peer("no TCP connection came about".to_owned()));
    }
    Ok(window.count / window.seconds)
}

/// Starts clients and a server; the load counts connections that were closed in order.
fn start(route: &Route, settings: Settings) -> Result<Load> {
    let listener = tcp::listen(&route.server, CONNECT_PORT)?;
    listener.set_nonblocking(false).context("a listener")?;
    rustix::net::sockopt::set_socket_timeout(
        &listener,
        rustix::net::sockopt::Timeout::Recv,
        Some(SOCKET_PATIENCE),
    )
    .context("a timeout")?;
    let mut load = Load::new(settings);
    load.add(Side::Receiver, move |part| {
        while part.goes_on() {
            drop(listener.accept());
        }
    })?;
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

fn open_and_close(target: std::net::SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, CONNECT_PATIENCE)?;
    stream.set_read_timeout(Some(CONNECT_PATIENCE))?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
