//! Streams of bytes, as fast as they go.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};

use super::{CONNECT_PATIENCE, Load, SOCKET_PATIENCE, Settings, Side, is_passing};
use crate::error::{BenchError, Context, Result};
use crate::interrupt;
use crate::testbed::{Host, Route, STREAM_PORT};

/// Bytes per write and read.
const CHUNK: usize = 128 * 1024;

/// A TCP port of a host; accepting from it does not block.
pub fn listen(host: &Host, port: u16) -> Result<TcpListener> {
    let address = SocketAddrV4::new(host.address, port);
    host.netns.run(|| {
        let listener = TcpListener::bind(address).context(format!("listening on {address}"))?;
        listener.set_nonblocking(true).context("a listener")?;
        Ok(listener)
    })
}

/// A connection from a host, with timeouts after which its user looks around. One byte is on its
/// way already: some proxies complete the handshake on the far side with the first data only.
pub fn connect(host: &Host, target: SocketAddrV4) -> Result<TcpStream> {
    host.netns.run(|| {
        let mut stream = TcpStream::connect_timeout(&target.into(), CONNECT_PATIENCE)
            .context(format!("connecting to {target}"))?;
        stream.write_all(&[0]).context(format!("writing to {target}"))?;
        with_timeouts(stream)
    })
}

/// The next connection that comes.
pub fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (stream, _) =
        interrupt::retry(CONNECT_PATIENCE, || listener.accept().context("accepting a connection"))?;
    stream.set_nonblocking(false).context("a connection")?;
    with_timeouts(stream)
}

fn with_timeouts(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(SOCKET_PATIENCE)).context("a timeout")?;
    stream.set_write_timeout(Some(SOCKET_PATIENCE)).context("a timeout")?;
    Ok(stream)
}

/// Starts that many streams; the load counts received bytes.
pub fn start(route: &Route, streams: usize, settings: Settings) -> Result<Load> {
    let listener = listen(&route.server, STREAM_PORT)?;
    let mut load = Load::new(settings);
    for _ in 0..streams {
        let mut sender = connect(&route.client, route.at(STREAM_PORT))?;
        let mut receiver = accept(&listener)?;
        load.add(Side::Receiver, move |part| {
            let mut room = vec![0; CHUNK];
            while part.goes_on() {
                match receiver.read(&mut room) {
                    Ok(0) => return,
                    Ok(len) => part.add(len),
                    Err(error) if is_passing(&error) => {}
                    Err(_) => return,
                }
            }
        })?;
        load.add(Side::Sender, move |part| {
            let bytes = vec![0x5a; CHUNK];
            while part.goes_on() {
                match sender.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if is_passing(&error) => {}
                    Err(_) => return,
                }
            }
        })?;
    }
    Ok(load)
}

/// Throughput in Gbit/s, and CPU seconds per GB.
pub fn measure(route: &Route, streams: usize, settings: Settings) -> Result<(f64, f64)> {
    let window = start(route, streams, settings)?.watch()?;
    if window.count == 0.0 {
        return Err(BenchError::Peer("no byte of a TCP stream arrived".to_owned()));
    }
    Ok((window.count * 8.0 / window.seconds / 1e9, window.cpu_s / (window.count / 1e9)))
}
