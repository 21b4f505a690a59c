//! The API's thread: accepts, bounds and ends connections.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::hosts::Peer;
use super::routes;
use super::socket::{self, SocketFile};
use super::stall::WriteLimit;
use crate::control::capture::Captures;
use crate::control::dhcp::Leases;
use crate::control::hosts::Hosts;
use crate::control::live::Control;
use crate::control::names::NamesView;
use crate::control::registry::Registry;
use crate::io::Dataplane;

/// Connections that are answered at once; more wait in the socket's queue.
const MAX_CONNECTIONS: usize = 64;
/// Questions to the worker that wait at once; more wait for their turn.
const MAX_QUESTIONS: usize = 8;
/// Time for a client to send its request line and headers.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Longest request line and headers, in bytes (hyper's least).
const MAX_REQUEST_BYTES: usize = 8192;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a client may take nothing of its answer before it is cut off.
const STALL_TIME: Duration = Duration::from_secs(60);
/// Time for answers under way, captures above all, to end when the API stops.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for lack of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the API shows.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The dataplane.
    pub worker: Arc<Dataplane>,
    /// The devices of its ports.
    pub registry: Registry,
    /// Its DHCP leases.
    pub leases: Leases,
    /// The captures running on it.
    pub captures: Captures,
    /// The names of its hosts.
    pub names: NamesView,
    /// Commands that are hosts of it; none: there can be none.
    pub hosts: Option<Hosts>,
    /// What changes it; none: it cannot change.
    pub control: Option<Control>,
    /// One change after the other, in the order in which they came.
    pub(super) turns: Arc<tokio::sync::Mutex<()>>,
}

/// The API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another process answers there: exit code 5.
    #[error("{}: another tapway answers here; stop it, or choose another --socket", .path.display())]
    Conflict {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way: exit code 5.
    #[error("{}: exists and is not a socket; remove it, or choose another --socket", .path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on {}: {error}; choose another --socket", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The process is out of threads or file descriptors.
    #[error("cannot start the API: {0}")]
    Start(#[from] io::Error),
}

/// The running API. Dropping it ends its answers, stops it and removes the socket.
#[derive(Debug)]
pub struct ApiHandle {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    captures: Captures,
    file: Option<SocketFile>,
}

impl ApiState {
    /// The API of a worker.
    pub fn new(worker: Arc<Dataplane>, registry: Registry) -> Self {
        let captures = Captures::new(&worker);
        let (names, leases) = (NamesView::default(), Leases::default());
        let (control, turns) = (None, Arc::default());
        Self { worker, registry, leases, captures, names, hosts: None, control, turns }
    }

    /// The same, and commands can be attached to it as hosts.
    #[must_use]
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { hosts: Some(hosts), ..self }
    }

    /// The same, and what it shows can be changed.
    #[must_use]
    pub fn with_control(self, control: Control) -> Self {
        Self { control: Some(control), ..self }
    }

    /// With the leases of its DHCP server.
    #[must_use]
    pub fn with_leases(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    /// With the names of its hosts.
    #[must_use]
    pub fn with_names(self, names: NamesView) -> Self {
        Self { names, ..self }
    }
}

/// Serves the API on `socket` (mode 0600) by a thread of its own.
///
/// # Errors
/// If another process serves there, or the system refuses.
pub fn serve(socket: &Path, state: ApiState) -> Result<ApiHandle, ApiError> {
    let (listener, file) = socket::listen(socket)?;
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(MAX_QUESTIONS)
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        UnixListener::from_std(listener)?
    };
    let captures = state.captures.clone();
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("api".to_owned())
        .spawn(move || run(runtime, listener, state, stopped))?;
    Ok(ApiHandle { stop: Some(stop), thread: Some(thread), captures, file: Some(file) })
}

impl Drop for ApiHandle {
    fn drop(&mut self) {
        drop(self.file.take());
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.captures.stop_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

fn run(runtime: Runtime, listener: UnixListener, state: ApiState, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        let mut open = accept(listener, state, stopped).await;
        let ended = async { while open.join_next().await.is_some() {} };
        // What is not done by then is cut off when the runtime goes.
        let _ = timeout(GRACE, ended).await;
    });
    // A question that a stuck worker never answers must not keep the process.
    runtime.shutdown_timeout(GRACE);
}

async fn accept(
    listener: UnixListener,
    state: ApiState,
    mut stopped: oneshot::Receiver<()>,
) -> JoinSet<()> {
    let answers = routes::router(state);
    let refusals = routes::forbidden();
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return open,
            Some(_) = open.join_next() => {}
            // Each ends in bounded time but captures, of which there are fewer.
            accepted = listener.accept(), if open.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) if may_ask(&stream) => {
                    let peer = Extension(peer_of(&stream));
                    open.spawn(converse(stream, answers.clone().layer(peer)));
                }
                Ok((stream, _)) => {
                    open.spawn(converse(stream, refusals.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// The owner of this process and root may. The socket's mode says so already; a socket in a
/// directory that was copied or bound elsewhere still holds to it.
fn may_ask(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

fn peer_of(stream: &UnixStream) -> Peer {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    Peer { pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0) }
}

/// One request and its answer. An error is the client's: it is gone, or was cut off.
async fn converse(stream: UnixStream, router: Router) {
    let stream = TokioIo::new(WriteLimit::new(stream, STALL_TIME));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_REQUEST_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(stream, TowerToHyperService::new(router))
        .await;
}

impl ApiError {
    /// True if the process lacks the privilege: exit code 77.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Socket { error, .. }
            if error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// True if somebody else has the socket: exit code 5.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::NotASocket { .. })
    }
}
