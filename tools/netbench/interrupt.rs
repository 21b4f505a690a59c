//! Ctrl-C: a flag that every wait looks at, so that an interrupted run unwinds and removes all it
//! made on its way.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::clock::Deadline;
use crate::error::{BenchError, Context, Result};

/// How often a sleeper looks at the flag.
const LOOK: Duration = Duration::from_millis(20);

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts catching SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// If the system refuses a handler.
pub fn catch_signals() -> Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("catching signals")?;
    }
    Ok(())
}

/// True after a signal.
pub fn is_set() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Ends a measurement after a signal.
///
/// # Errors
/// [`BenchError::Interrupted`].
pub fn check() -> Result<()> {
    if is_set() { Err(BenchError::Interrupted) } else { Ok(()) }
}

/// Sleeps, unless a signal comes.
///
/// # Errors
/// [`BenchError::Interrupted`].
pub fn sleep(span: Duration) -> Result<()> {
    let end = Deadline::after(span);
    while !end.has_passed() {
        check()?;
        std::thread::sleep(end.remaining().min(LOOK));
    }
    check()
}

/// Repeats `attempt` until it succeeds or patience ends; gives its last error then.
///
/// # Errors
/// As of `attempt`, or [`BenchError::Interrupted`].
pub fn retry<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Deadline::after(patience);
    loop {
        match attempt() {
            Err(_) if !end.has_passed() => sleep(LOOK)?,
            result => return result,
        }
    }
}
