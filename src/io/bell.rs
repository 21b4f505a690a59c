//! What wakes a worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::Waker;

/// Rings for a worker that sleeps, or is about to.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Arc<Waker>,
    is_asleep: AtomicBool,
}

impl Bell {
    pub(super) const fn new(waker: Arc<Waker>) -> Self {
        Self { waker, is_asleep: AtomicBool::new(false) }
    }

    /// The worker is about to sleep. It has to look for mail once more after this.
    pub(super) fn go_to_sleep(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
    }

    /// The worker is awake.
    pub(super) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Wakes the worker whatever it does.
    pub(super) fn ring(&self) -> io::Result<()> {
        self.waker.wake()
    }

    /// Wakes the worker if it sleeps; mail must have been sent before. Costs a system call only
    /// then.
    pub(super) fn ring_if_asleep(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // A worker that is gone needs none.
            let _ = self.waker.wake();
        }
    }
}
