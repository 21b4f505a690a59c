//! Hears of the ends of processes that are not this one's children, by one thread for all.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::Process;

/// Ends told at once.
const MAX_EVENTS: usize = 256;
const WAKER: Token = Token(usize::MAX);
/// When an end is told again to whoever could do nothing about it.
const AGAIN: Duration = Duration::from_secs(2);

/// The number that a watched process is told by. No other one of the same watch has it, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(usize);

/// Watches processes until it is dropped.
#[derive(Debug)]
pub struct ProcessWatch {
    registry: Registry,
    next: AtomicUsize,
    waker: Arc<Waker>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ProcessWatch {
    /// Starts the thread. It calls `ended` with those that have ended since the last call; while
    /// that takes its time, further ends gather. Those that it gives back are told again after
    /// two seconds; any may be told a second time, when the process's parent takes note of it.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors.
    pub fn start(
        mut ended: impl FnMut(HashSet<WatchId>) -> HashSet<WatchId> + Send + 'static,
    ) -> io::Result<Self> {
        let mut poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Arc::new(Waker::new(&registry, WAKER)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::Builder::new().name("processes".to_owned()).spawn(move || {
            let mut events = Events::with_capacity(MAX_EVENTS);
            let mut again = HashSet::new();
            while !over.load(Ordering::Acquire) {
                match poll.poll(&mut events, (!again.is_empty()).then_some(AGAIN)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        tracing::error!(%error, "ends of commands are not heard of any more");
                        return;
                    }
                    Ok(()) => {}
                }
                let tokens = events.iter().map(|event| event.token());
                let ids = tokens.filter(|token| *token != WAKER).map(|token| WatchId(token.0));
                let ids: HashSet<WatchId> = ids.chain(again.drain()).collect();
                if !ids.is_empty() {
                    again = ended(ids);
                }
            }
        })?;
        Ok(Self { registry, next: AtomicUsize::new(0), waker, is_over, thread: Some(thread) })
    }

    /// Watches a process, which may have ended already, as long as its descriptor is open.
    ///
    /// # Errors
    /// If the system is out of room for it.
    pub fn add(&self, process: &Process) -> io::Result<WatchId> {
        let id = WatchId(self.next.fetch_add(1, Ordering::Relaxed));
        let interest = Interest::READABLE;
        self.registry.register(&mut SourceFd(&process.raw_fd()), Token(id.0), interest)?;
        Ok(id)
    }
}

impl Drop for ProcessWatch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = self.waker.wake();
        // The thread itself may be who let go of it last.
        let own = std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != own) {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    #[test]
    fn ends_are_told_of_each_and_also_those_of_the_past() {
        let (tell, told) = mpsc::channel();
        let watch = ProcessWatch::start(move |ids| {
            for id in ids {
                let _ = tell.send(id);
            }
            HashSet::new()
        })
        .unwrap();
        let start = || Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (mut first, mut second) = (start(), start());
        let one = Process::open(first.id()).unwrap();
        let two = Process::open(second.id()).unwrap();
        drop(second.stdin.take());
        second.wait().unwrap();
        let (one_id, two_id) = (watch.add(&one).unwrap(), watch.add(&two).unwrap());
        let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(next(), two_id);
        assert!(told.try_recv().is_err());
        first.kill().unwrap();
        assert_eq!(next(), one_id, "before anybody waits for it");
        first.wait().unwrap();
        drop(watch);
        assert!(told.try_iter().all(|id| id == one_id));
    }
}
