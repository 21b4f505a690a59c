//! The ceiling: tapway's own TAPs, read and written as its worker does, and no engine between.
//! [`Io`] is all of it that
//! touches a device.

use tapway::id::PortId;
use tapway::io::{Namespace, PortIo, ReceiveError, Tap, TapBackend, TapPlan};
use tapway::packet::{Burst, FrameRef, MacAddr, TxLists};

use super::{End, INTERFACE};
use crate::error::{BenchError, Context, Result};
use crate::system;
use crate::testbed::MTU;

/// Frames taken from one TAP before the other gets its turn, as the worker's.
const BUDGET: usize = 32;
/// The two ports.
const PORTS: [PortId; 2] = [PortId(0), PortId(1)];

/// Forwards until a TAP is gone.
pub fn run(ends: &[End; 2]) -> Result<()> {
    let [one, other] = ends;
    let mut io = Io { taps: [open(one)?, open(other)?], scratch: Vec::new() };
    let (mut burst, mut tx) = (Burst::new(), TxLists::new());
    loop {
        burst.clear();
        tx.clear();
        io.gather(&mut burst)?;
        for index in 0..burst.len() {
            let out = if burst.port(index) == Some(PORTS[0]) { PORTS[1] } else { PORTS[0] };
            tx.push(out, FrameRef::Burst(index as u16));
        }
        io.send(&tx, &burst);
        if burst.is_empty() {
            io.wait()?;
        }
    }
}

/// Opens a TAP of the kind that tapway's ports are by default.
fn open(end: &End) -> Result<Tap> {
    let named = |error| BenchError::Peer(format!("{error}"));
    let namespace = Namespace::named(&end.netns).map_err(named)?;
    let plan = TapPlan {
        netns: None,
        interface: INTERFACE.to_owned(),
        mac: Some(MacAddr::from_ipv4(end.address)),
        mtu: MTU,
        address: ipnet::Ipv4Net::new(end.address, 24).ok(),
        gateway: None,
        backend: TapBackend::Own,
    };
    let (tap, _) = Tap::open(&namespace, &plan).map_err(named)?;
    Ok(tap)
}

/// Input and output of a worker.
struct Io {
    taps: [Tap; 2],
    scratch: Vec<u8>,
}

impl Io {
    /// Reads what is there, up to the budget of each TAP.
    fn gather(&mut self, burst: &mut Burst) -> Result<()> {
        for (port, tap) in PORTS.into_iter().zip(&mut self.taps) {
            let max_frame = tap.max_frame();
            for _ in 0..BUDGET {
                match burst.receive(port, max_frame, |room| tap.receive(room)) {
                    Ok(Ok(_)) | Err(ReceiveError::Truncated | ReceiveError::Refused(_)) => {}
                    Ok(Err(_)) | Err(ReceiveError::Empty) => break,
                    Err(ReceiveError::Gone(error)) => return Err(error).context("a TAP"),
                }
            }
        }
        Ok(())
    }

    /// A frame that a TAP does not take is lost, as on any forwarder.
    fn send(&mut self, tx: &TxLists, burst: &Burst) {
        for (port, tap) in PORTS.into_iter().zip(&mut self.taps) {
            for frame in tx.frames(port, burst) {
                frame.for_each_segment(&mut self.scratch, |frame| {
                    let _ = tap.send(frame);
                });
            }
        }
    }

    fn wait(&self) -> Result<()> {
        system::wait_readable(self.taps.iter().filter_map(PortIo::raw_fd))
            .context("waiting for TAPs")
    }
}
