//! Captures: frames and drop reasons from a running engine, as pcapng.
//!
//! ```text
//! engine -> FanOut (observer) -> bounded channel per capture -> pump thread -> the client
//! ```
//!
//! The dataplane pays for a capture by one copy of each matching frame, and never waits: a full
//! channel counts the frame as missed, and the file says how many were (an Interface Statistics
//! Block on the first interface, for all ports together). Without captures the engine has no
//! observer at all.
//!
//! A frame that is dropped is written twice: as it came in, and as it was when it ended, with
//! the reason as comment. Bounds: [`MAX_CAPTURES`], [`QUEUE_FRAMES`].

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tokio::sync::mpsc;

use crate::drop_reason::DropReason;
use crate::engine::Observer;
use crate::id::PortId;
use crate::io::{Clock, Dataplane, WorkerError};
use crate::packet::FrameView;
use crate::packet::pcap::{CapturedFrame, FrameDirection, Writer};
use crate::time::Instant;

/// Captures at once: each copies every frame once more.
pub const MAX_CAPTURES: usize = 8;
/// Frames that wait for a capture's client.
pub const QUEUE_FRAMES: usize = 4096;
/// Bytes of them: super-frames are large.
const QUEUE_BYTES: usize = 8 << 20;
/// Bytes handed to the client at once, as long as there are more.
const PIECE_BYTES: usize = 64 << 10;
/// How often a capture without frames looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(250);

/// A capture cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// [`MAX_CAPTURES`] are running.
    #[error("{MAX_CAPTURES} captures are running, and there may be no more")]
    TooMany,
    /// The dataplane is gone.
    #[error(transparent)]
    Dataplane(#[from] WorkerError),
}

/// What a capture sees.
#[derive(Debug)]
struct Record {
    at: Instant,
    port: PortId,
    direction: FrameDirection,
    reason: Option<DropReason>,
    frame: Bytes,
}

/// The way into one capture.
#[derive(Clone, Debug)]
struct Tap {
    id: u64,
    /// None: all.
    port: Option<PortId>,
    records: Sender<Record>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    missed: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Running {
    taps: Vec<Tap>,
    next_id: u64,
}

/// The captures of one worker. It may end before they do: they do not keep it.
#[derive(Clone, Debug)]
pub struct Captures {
    worker: Weak<Dataplane>,
    running: Arc<Mutex<Running>>,
}

/// A running capture; dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    captures: Captures,
    id: u64,
    records: Receiver<Record>,
    waiting: Arc<AtomicUsize>,
    missed: Arc<AtomicU64>,
}

impl Captures {
    /// No captures yet. The worker's observer is theirs from now on.
    pub fn new(worker: &Arc<Dataplane>) -> Self {
        Self { worker: Arc::downgrade(worker), running: Arc::default() }
    }

    /// Starts a capture of one port or of all. Waits for the worker.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn start(&self, port: Option<PortId>) -> Result<Capture, CaptureError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.taps.len() >= MAX_CAPTURES {
            return Err(CaptureError::TooMany);
        }
        let (sender, records) = bounded(QUEUE_FRAMES);
        let missed = Arc::<AtomicU64>::default();
        let id = running.next_id;
        running.next_id += 1;
        let waiting = Arc::<AtomicUsize>::default();
        running.taps.push(Tap {
            id,
            port,
            records: sender,
            waiting: waiting.clone(),
            missed: missed.clone(),
        });
        if let Err(gone) = self.observe(&running) {
            running.taps.retain(|tap| tap.id != id);
            return Err(gone.into());
        }
        drop(running);
        Ok(Capture { captures: self.clone(), id, records, waiting, missed })
    }

    /// Ends all captures; what they have is still written.
    pub fn stop_all(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.taps.clear();
        // A worker that is gone observes nothing any more.
        let _ = self.observe(&running);
    }

    fn stop(&self, id: u64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let before = running.taps.len();
        running.taps.retain(|tap| tap.id != id);
        if running.taps.len() != before {
            let _ = self.observe(&running);
        }
    }

    /// Gives the engine the present taps. The lock is held meanwhile, so that the last change is
    /// the one that stays; the dataplane never takes it.
    fn observe(&self, running: &Running) -> Result<(), WorkerError> {
        let worker = self.worker.upgrade().ok_or(WorkerError::Gone)?;
        if running.taps.is_empty() {
            return worker.observe(|| None);
        }
        worker.observe(|| Some(Box::new(FanOut { taps: running.taps.clone() })))
    }

    fn port_names(&self) -> Vec<(PortId, String)> {
        let Some(worker) = self.worker.upgrade() else { return Vec::new() };
        let names = worker.query(|engine, _| {
            engine.port_stats().into_iter().map(|(id, stats)| (id, stats.port)).collect()
        });
        names.unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.captures.stop(self.id);
    }
}

/// What the engine reports to.
struct FanOut {
    taps: Vec<Tap>,
}

impl FanOut {
    /// Checksums are complete in a capture; a super-frame is shown as the one frame it is here.
    fn offer(&self, record: &Record, frame: FrameView<'_>) {
        let mut copy = None;
        for tap in self.taps.iter().filter(|tap| tap.port.is_none_or(|port| port == record.port)) {
            let frame = copy.get_or_insert_with(|| Bytes::from(frame.to_complete())).clone();
            let bytes = frame.len();
            let record = Record { frame, ..*record };
            let has_room = tap.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES;
            if !has_room || tap.records.try_send(record).is_err() {
                tap.waiting.fetch_sub(bytes, Ordering::Relaxed);
                tap.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Observer for FanOut {
    fn received(&mut self, at: Instant, port: PortId, frame: FrameView<'_>) {
        self.offer(&Record::new(at, port, FrameDirection::Received, None), frame);
    }

    fn dropped(&mut self, at: Instant, port: PortId, reason: DropReason, frame: FrameView<'_>) {
        self.offer(&Record::new(at, port, FrameDirection::Received, Some(reason)), frame);
    }

    fn sent(&mut self, at: Instant, port: PortId, frame: FrameView<'_>) {
        self.offer(&Record::new(at, port, FrameDirection::Sent, None), frame);
    }
}

impl Record {
    const fn new(
        at: Instant,
        port: PortId,
        direction: FrameDirection,
        reason: Option<DropReason>,
    ) -> Self {
        Self { at, port, direction, reason, frame: Bytes::new() }
    }
}

/// Writes a capture to `client` by a thread of its own, until the client is gone or the capture
/// is stopped.
///
/// # Errors
/// If the process is out of threads.
pub fn pump(capture: Capture, client: mpsc::Sender<Bytes>) -> io::Result<()> {
    let wall_offset_ns = Clock.wall_offset_ns();
    std::thread::Builder::new().name("capture".to_owned()).spawn(move || {
        // An error says that the client has hung up, which is how a capture ends.
        let _ = Pump::new(capture, client, wall_offset_ns).and_then(Pump::run);
    })?;
    Ok(())
}

/// Between a capture's channel and its client.
struct Pump {
    capture: Capture,
    writer: Writer<Pieces>,
    client: mpsc::Sender<Bytes>,
    /// The pcapng interface of each port.
    interfaces: Vec<(PortId, u32)>,
    wall_offset_ns: u64,
    reported_missed: u64,
    written: u64,
}

impl Pump {
    fn new(capture: Capture, client: mpsc::Sender<Bytes>, wall_offset_ns: u64) -> io::Result<Self> {
        let pieces = Pieces { client: client.clone(), piece: BytesMut::new() };
        let writer = Writer::new(pieces, 0)?;
        let interfaces = Vec::new();
        let mut pump = Self {
            capture,
            writer,
            client,
            interfaces,
            wall_offset_ns,
            reported_missed: 0,
            written: 0,
        };
        pump.add_interfaces()?;
        pump.writer.flush()?;
        Ok(pump)
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            match self.capture.records.recv_timeout(LOOK) {
                Ok(record) => self.write(&record)?,
                Err(RecvTimeoutError::Timeout) if self.client.is_closed() => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.report_missed()?;
                    return self.writer.flush();
                }
            }
            while let Ok(record) = self.capture.records.try_recv() {
                self.write(&record)?;
            }
            self.report_missed()?;
            self.writer.flush()?;
        }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.capture.waiting.fetch_sub(record.frame.len(), Ordering::Relaxed);
        let interface = self.interface(record.port)?;
        let time = record.at.as_nanos().wrapping_add(self.wall_offset_ns);
        let frame = CapturedFrame::new(interface, time, record.direction, &record.frame);
        self.written += 1;
        match record.reason {
            Some(reason) => self.writer.write(&frame.dropped(reason)),
            None => self.writer.write(&frame),
        }
    }

    /// The interface of a port, which may have come after the capture began.
    fn interface(&mut self, port: PortId) -> io::Result<u32> {
        let known = |pump: &Self| pump.interfaces.iter().find(|(id, _)| *id == port).copied();
        if let Some((_, interface)) = known(self) {
            return Ok(interface);
        }
        self.add_interfaces()?;
        if let Some((_, interface)) = known(self) {
            return Ok(interface);
        }
        // It is gone again.
        let interface = self.writer.add_interface(&port.to_string())?;
        self.interfaces.push((port, interface));
        Ok(interface)
    }

    fn add_interfaces(&mut self) -> io::Result<()> {
        for (port, name) in self.capture.captures.port_names() {
            if !self.interfaces.iter().any(|(id, _)| *id == port) {
                let interface = self.writer.add_interface(&name)?;
                self.interfaces.push((port, interface));
            }
        }
        Ok(())
    }

    fn report_missed(&mut self) -> io::Result<()> {
        let missed = self.capture.missed.load(Ordering::Relaxed);
        if missed == self.reported_missed || self.interfaces.is_empty() {
            return Ok(());
        }
        self.reported_missed = missed;
        let time = Clock.now().as_nanos().wrapping_add(self.wall_offset_ns);
        self.writer.write_statistics(0, time, (self.written + missed, missed))
    }
}

/// Hands what is written to the client in large pieces, and waits for it.
struct Pieces {
    client: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        self.client.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way into a capture, and its other end.
    fn tap(port: Option<PortId>) -> (Tap, Receiver<Record>) {
        let (records, receiver) = bounded(QUEUE_FRAMES);
        let (waiting, missed) = (Arc::default(), Arc::default());
        (Tap { id: 0, port, records, waiting, missed }, receiver)
    }

    #[test]
    fn bytes_that_wait_are_bounded_and_what_was_written_makes_room() {
        let (tap, receiver) = tap(None);
        let mut fan_out = FanOut { taps: vec![tap.clone()] };
        let frame = [7; 60_000];
        let fits = (QUEUE_BYTES / frame.len()) as u64;
        assert!(fits < QUEUE_FRAMES as u64, "bytes are the tighter bound here");
        let offer = |fan_out: &mut FanOut, count: u64| {
            for _ in 0..count {
                fan_out.received(Instant::ZERO, PortId(1), FrameView::finished(&frame));
            }
        };
        offer(&mut fan_out, fits + 5);
        assert_eq!((receiver.len() as u64, tap.missed.load(Ordering::Relaxed)), (fits, 5));
        assert!(tap.waiting.load(Ordering::Relaxed) <= QUEUE_BYTES);
        // As the pump does with what it writes.
        for record in receiver.try_iter().take(3) {
            tap.waiting.fetch_sub(record.frame.len(), Ordering::Relaxed);
        }
        offer(&mut fan_out, 5);
        assert_eq!((receiver.len() as u64, tap.missed.load(Ordering::Relaxed)), (fits, 7));
    }

    #[test]
    fn a_capture_that_is_full_takes_nothing_from_another() {
        let (full, full_end) = tap(None);
        let (other, other_end) = tap(Some(PortId(2)));
        let mut fan_out = FanOut { taps: vec![full.clone(), other.clone()] };
        for _ in 0..QUEUE_FRAMES + 10 {
            fan_out.sent(Instant::ZERO, PortId(1), FrameView::finished(&[1; 60]));
        }
        fan_out.sent(Instant::ZERO, PortId(2), FrameView::finished(&[2; 60]));
        assert_eq!((full_end.len(), full.missed.load(Ordering::Relaxed)), (QUEUE_FRAMES, 11));
        assert_eq!((other_end.len(), other.missed.load(Ordering::Relaxed)), (1, 0));
    }
}
