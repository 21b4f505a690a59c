//! Ctrl-C and its relatives as a flag that everything which waits looks at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::DemoError;
use crate::io::Clock;
use crate::time::Instant;

/// How often something that waits looks at the flag.
const LOOK: Duration = Duration::from_millis(50);

/// The signals that end a demo, caught while this lives.
#[derive(Debug)]
pub struct Signals {
    interrupt: Interrupt,
    registered: Vec<SigId>,
}

/// Whether something is to end: the number of the signal that said so, zero before.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Signals {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch() -> Result<Self, DemoError> {
        let mut signals = Self { interrupt: Interrupt::default(), registered: Vec::new() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let flag = signals.interrupt.0.clone();
            let number = signal.unsigned_abs() as usize;
            let id = signal_hook::flag::register_usize(signal, flag, number);
            signals.registered.push(id.map_err(DemoError::Signals)?);
        }
        Ok(signals)
    }

    /// The flag they set.
    pub const fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

impl Interrupt {
    /// Says so without a signal, as if by SIGTERM.
    pub fn set(&self) {
        self.0.store(SIGTERM.unsigned_abs() as usize, Ordering::SeqCst);
    }

    /// Fails if it is to end.
    ///
    /// # Errors
    /// [`DemoError::Interrupted`].
    pub fn check(&self) -> Result<(), DemoError> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => Err(DemoError::Interrupted(signal as u8)),
        }
    }

    /// Waits until a descriptor is ready (true) or `deadline` has come (false).
    ///
    /// # Errors
    /// [`DemoError::Interrupted`], or what the system says.
    pub fn wait_for(
        &self,
        fd: &impl std::os::fd::AsFd,
        flags: PollFlags,
        deadline: Instant,
    ) -> Result<bool, DemoError> {
        loop {
            self.check()?;
            let left = deadline.since(Clock.now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut fds = [PollFd::new(fd, flags)];
            match poll(&mut fds, Some(&timespec(left.min(LOOK)))) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(DemoError::system("waiting", io::Error::from(error))),
            }
        }
    }

    /// Waits until it is to end.
    pub fn wait(&self) {
        while self.check().is_ok() {
            // Woken early by a signal: it is what is waited for.
            let _ = poll(&mut [], Some(&timespec(LOOK)));
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
