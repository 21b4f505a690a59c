//! Traffic: threads that send, receive and count, on sockets made inside the hosts' namespaces.

mod connect;
mod fairness;
mod measure;
mod rtt;
mod search;
mod tcp;
mod udp;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use measure::{measure, wait_until_reachable};

use crate::error::{Context, Result};
use crate::{clock, cpu, interrupt};

/// How long a socket waits before its thread looks whether it is to stop.
const SOCKET_PATIENCE: Duration = Duration::from_millis(100);
/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long, each.
    pub span: Duration,
    /// Traffic before that, not counted: slow start, caches, address resolution.
    pub warm_up: Duration,
    /// Steps of the search for the lossless rate.
    pub steps: u32,
    /// Senders on CPU 0, receivers on CPU 1.
    pub pin: bool,
}

/// Which end a thread plays.
#[derive(Clone, Copy, Debug)]
enum Side {
    Sender,
    Receiver,
}

impl Side {
    /// Pins the calling thread if that is wanted.
    fn settle(self, settings: Settings) {
        if !settings.pin {
            return;
        }
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(match self {
            Self::Sender => 0,
            Self::Receiver => 1,
        });
        // On a machine with one CPU there is no choice to make.
        let _ = rustix::thread::sched_setaffinity(None, &cpus);
    }
}

/// Threads that make traffic until this is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    settings: Settings,
}

/// What a thread of a load has of it.
#[derive(Clone)]
struct Part {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Part {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn add(&self, count: usize) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// What happened in a span of time.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Bytes, datagrams or connections.
    count: f64,
    seconds: f64,
    /// CPU seconds of the whole machine.
    cpu_s: f64,
}

impl Load {
    fn new(settings: Settings) -> Self {
        Self { stop: Arc::default(), count: Arc::default(), threads: Vec::new(), settings }
    }

    /// Adds a thread; `act` ends when its part does not go on.
    fn add(&mut self, side: Side, act: impl FnOnce(Part) + Send + 'static) -> Result<()> {
        let part = Part { stop: Arc::clone(&self.stop), count: Arc::clone(&self.count) };
        let settings = self.settings;
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            side.settle(settings);
            act(part);
        });
        self.threads.push(thread.context("starting a thread")?);
        Ok(())
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Lets it run for the settings' warm-up and span, and counts in the latter.
    fn watch(&self) -> Result<Window> {
        interrupt::sleep(self.settings.warm_up)?;
        let (start, count, cpu) = (clock::now(), self.count(), cpu::busy_s()?);
        interrupt::sleep(self.settings.span)?;
        Ok(Window {
            count: (self.count() - count) as f64,
            seconds: start.elapsed().as_secs_f64(),
            cpu_s: cpu::busy_s()? - cpu,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been printed, and shows as traffic that does not flow.
            let _ = thread.join();
        }
    }
}

/// True if a socket only has to be tried again.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted | ConnectionRefused)
        || error.raw_os_error() == Some(libc::ENOBUFS)
}
