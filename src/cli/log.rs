//! stderr through a thread of its own, so that a reader that does not read stops nothing else.
//!
//! Lines wait in a bounded queue; those without room are lost, and how many is told once the
//! reader reads again. One dump waits at most.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::EnvFilter;

/// What is logged: a filter as of `RUST_LOG`; `info` without it.
const LOG_VARIABLE: &str = "TAPWAY_LOG";
/// Lines that wait for stderr's reader.
const MAX_WAITING: usize = 1024;
/// How long the end of the process waits for stderr's reader.
const LAST_WORDS: Duration = Duration::from_millis(500);

enum Message {
    Line(Vec<u8>),
    Dump(Vec<u8>),
    /// Answered once all before it is written.
    Flush(Sender<()>),
}

/// The way to stderr; what was said last is written when it is dropped, if somebody reads.
#[derive(Debug)]
pub(super) struct Log {
    lines: Lines,
}

/// Takes lines without ever waiting.
#[derive(Clone, Debug)]
struct Lines {
    queue: Sender<Message>,
    lost: Arc<AtomicU64>,
    is_dumping: Arc<AtomicBool>,
}

impl Log {
    /// Starts the log: to stderr; where journald reads it, without times and colours.
    ///
    /// # Errors
    /// If there is no stderr, or no thread can be had.
    pub(super) fn start() -> io::Result<Self> {
        // A file of its own: nobody else waits for the lock on stderr while it is blocked.
        let log = Self::to(File::from(io::stderr().as_fd().try_clone_to_owned()?))?;
        let filter =
            EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
        let is_journal = is_journal();
        let lines = log.lines.clone();
        let format = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || lines.clone())
            .with_target(false)
            .with_ansi(io::stderr().is_terminal() && !is_journal);
        // It is set already where a test runs twice in one process.
        let _ = if is_journal { format.without_time().try_init() } else { format.try_init() };
        Ok(log)
    }

    fn to(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = bounded(MAX_WAITING);
        let lines = Lines { queue, lost: Arc::default(), is_dumping: Arc::default() };
        let (lost, is_dumping) = (lines.lost.clone(), lines.is_dumping.clone());
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(output, &waiting, &lost, &is_dumping))?;
        Ok(Self { lines })
    }

    /// Writes a text that is made only if the one before is out.
    pub(super) fn dump(&self, text: impl FnOnce() -> Option<String>) {
        let is_dumping = &self.lines.is_dumping;
        if is_dumping.swap(true, Ordering::AcqRel) {
            tracing::warn!("no dump: nobody has read the one before");
            return;
        }
        let sent = text().is_some_and(|text| {
            self.lines.queue.try_send(Message::Dump(text.into_bytes())).is_ok()
        });
        if !sent {
            is_dumping.store(false, Ordering::Release);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, is_done) = bounded(1);
        if self.lines.queue.send_timeout(Message::Flush(done), LAST_WORDS).is_ok() {
            // Nobody may be reading stderr any more.
            let _ = is_done.recv_timeout(LAST_WORDS);
        }
    }
}

impl Write for Lines {
    /// A whole line, as the formatter writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_owned())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nobody may be reading any more: an error of `output` is no reason to stop.
fn write_all(
    mut output: impl Write,
    waiting: &Receiver<Message>,
    lost: &AtomicU64,
    is_dumping: &AtomicBool,
) {
    for message in waiting {
        match message {
            Message::Line(line) => drop(output.write_all(&line)),
            Message::Dump(text) => {
                drop(output.write_all(&text));
                is_dumping.store(false, Ordering::Release);
            }
            Message::Flush(done) => drop(done.try_send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            drop(writeln!(output, "tapway: {lost} lines of the log were lost here: nobody read"));
        }
    }
}

/// True if stderr is the stream that journald offers in `JOURNAL_STREAM` (systemd.exec(5)); the
/// variable alone is inherited by every child.
fn is_journal() -> bool {
    let Ok(offered) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stderr| offered == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A reader that does not read until the gate is dropped.
    struct Gated {
        gate: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log, the gate of its reader, and what that has read.
    fn gated() -> (Log, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (open, gate) = bounded(0);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let log = Log::to(Gated { gate, written: written.clone() }).unwrap();
        (log, open, written)
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn lines_without_room_are_counted_and_told() {
        let (log, gate, written) = gated();
        for _ in 0..MAX_WAITING + 500 {
            log.lines.clone().write_all(b"line\n").unwrap();
        }
        // One line may be on its way already.
        let lost = log.lines.lost.load(Ordering::Relaxed);
        assert!((499..=500).contains(&lost), "{lost}");
        drop(gate);
        drop(log);
        let text = text(&written);
        assert!(text.contains(&format!("tapway: {lost} lines of the log were lost")), "{text}");
        assert_eq!(text.matches("line\n").count() as u64, MAX_WAITING as u64 + 500 - lost);
    }

    #[test]
    fn a_dump_is_not_made_while_another_waits() {
        let (log, gate, written) = gated();
        log.dump(|| Some("first dump".to_owned()));
        let mut is_made = false;
        log.dump(|| {
            is_made = true;
            None
        });
        assert!(!is_made);
        drop(gate);
        drop(log);
        assert_eq!(text(&written), "first dump");
    }
}
