//! A host's HTTP server: a thread with a listening socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::PollFlags;

use super::http;
use super::interrupt::Interrupt;
use crate::io::Clock;

/// How long a client may take for its request, and to take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the server waits for a client before it looks around.
const ROUND: Duration = Duration::from_secs(60);

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct HttpServer {
    stop: Interrupt,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Serves under a name on a listening socket.
    ///
    /// # Errors
    /// If the process is out of threads.
    pub fn start(name: &'static str, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let stop = Interrupt::default();
        let flag = stop.clone();
        let thread = std::thread::Builder::new().name(format!("http-{name}"));
        let thread = thread.spawn(move || serve(name, &listener, &flag))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(name: &str, listener: &TcpListener, stop: &Interrupt) {
    while let Ok(is_ready) = stop.wait_for(listener, PollFlags::IN, Clock.now() + ROUND) {
        if !is_ready {
            continue;
        }
        if let Ok((stream, SocketAddr::V4(client))) = listener.accept() {
            // A client that goes away or takes too long gets nothing; the next one is served.
            let _ = answer(name, stream, client);
        }
    }
}

fn answer(name: &str, mut stream: TcpStream, client: SocketAddrV4) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let deadline = Clock.now() + CLIENT_TIMEOUT;
    let mut request = Vec::new();
    let mut room = [0; 1024];
    while Clock.now() < deadline {
        let len = stream.read(&mut room)?;
        request.extend_from_slice(room.get(..len).unwrap_or_default());
        if let Some(answer) = http::respond(name, client, &request) {
            return stream.write_all(&answer);
        }
        if len == 0 {
            break;
        }
    }
    Ok(())
}
