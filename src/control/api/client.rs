//! Asks the API, for the command line.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::Refusal;
use crate::io::Clock;

/// Time for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long a place in the daemon's queue is waited for.
const QUEUE_TIME: Duration = Duration::from_secs(20);
/// Shortest pause before another attempt, and most that is added to it, so that those who came
/// together do not come back together.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_SPREAD_MS: u32 = 80;
/// Largest answer but a capture, in bytes: 65 536 sessions are 30 MiB.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// A client of the API on one socket. Each question has a connection of its own.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: exit code 4.
    #[error(
        "no tapway answers on {}; start one with `tapway run`, or name its socket: --socket PATH",
        .socket.display()
    )]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket belongs to another user: exit code 77.
    #[error("{}: permission denied; ask as root or as the user tapway runs as", .socket.display())]
    Permission {
        /// The socket.
        socket: PathBuf,
    },
    /// tapway refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection failed or the answer was not understood.
    #[error("{}: {what}; is it a tapway of this version?", .socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// What was received could not be written.
    #[error(transparent)]
    Sink(#[from] io::Error),
}

impl Client {
    /// A client; connects with the first question.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new(socket: &Path) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket: socket.to_owned(), runtime })
    }

    /// The answer to a question such as `/v1/links`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// The answer to a question that answers with a text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.receive(Method::GET, path, Bytes::new())?;
        String::from_utf8(body.into()).map_err(|error| self.broken(&error))
    }

    /// The answer to a request with a body in JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        self.ask(method, path, Bytes::from(body))
    }

    /// Who answers: the daemon's process.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn daemon(&self) -> Result<u32, ClientError> {
        let stream = std::os::unix::net::UnixStream::connect(&self.socket);
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let peer = peer.map_err(|error| self.broken(&io::Error::from(error)))?;
        Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = self.receive(method, path, body)?;
        serde_json::from_slice(&answer).map_err(|error| self.broken(&error))
    }

    fn receive(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let answer = async {
            let response = self.request(method, path, body).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
            Ok(body.collect().await.map_err(|error| self.broken(&error))?.to_bytes())
        };
        self.runtime.block_on(async {
            match timeout(ANSWER_TIME, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(self.broken(&"no answer within 30 s")),
            }
        })
    }

    /// Hands an endless answer to `sink` as it comes, until it ends, `sink` fails, or the process
    /// is interrupted (SIGINT, SIGTERM): then what was received so far is complete.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stream(
        &self,
        path: &str,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        use tokio::signal::unix::{SignalKind, signal};
        self.runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut body = self.request(Method::GET, path, Bytes::new()).await?.into_body();
            loop {
                let frame = tokio::select! {
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                    frame = body.frame() => frame,
                };
                match frame {
                    None => return Ok(()),
                    Some(Err(error)) => return Err(self.broken(&error)),
                    Some(Ok(frame)) => sink(frame.data_ref().map_or(&[][..], |data| data))?,
                }
            }
        })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        // It ends with the sender and the body; its errors show there.
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(path).header(hyper::header::HOST, "tapway");
        if !body.is_empty() {
            request = request.header(hyper::header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.broken(&error))?.to_bytes();
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Err(refusal.with_status(status).into()),
            Err(_) => Err(self.broken(&format_args!("answered {status}"))),
        }
    }

    /// Connects; while more wait than the daemon's queue holds, again and again.
    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let end = Clock.now() + QUEUE_TIME;
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Clock.now() < end => {
                    sleep(pause()).await;
                }
                done => return done.map_err(|error| self.unreachable(&error)),
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket }
            }
            io::ErrorKind::PermissionDenied => ClientError::Permission { socket },
            _ => self.broken(error),
        }
    }

    fn broken(&self, what: &(impl std::fmt::Display + ?Sized)) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), what: what.to_string() }
    }
}

fn pause() -> Duration {
    let mut random = [0; 4];
    let flags = rustix::rand::GetRandomFlags::NONBLOCK;
    // Without random numbers all pauses are as long.
    let _ = rustix::rand::getrandom(&mut random, flags);
    let spread = u32::from_ne_bytes(random) % PAUSE_SPREAD_MS;
    PAUSE + Duration::from_millis(u64::from(spread))
}

/// A query parameter's value with everything but letters, digits and `-._~` escaped (RFC 3986).
pub fn escape(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
