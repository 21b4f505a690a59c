//! The ceiling: tapway's own TAPs, read and written as its worker does, and no engine between.

use tapway::io::{Namespace, PortIo, ReceiveError, Tap, TapBackend, TapPlan};
use tapway::packet::MacAddr;

use super::{End, INTERFACE};
use crate::error::{BenchError, Context, Result};
use crate::system;
use crate::testbed::MTU;

/// Frames taken from one TAP before the other gets its turn, as the worker's.
const BUDGET: usize = 32;

/// Forwards until a TAP is gone.
pub fn run(ends: &[End; 2]) -> Result<()> {
    let [one, other] = ends;
    let (mut one, mut other) = (open(one)?, open(other)?);
    let mut room = vec![0; one.max_frame()];
    loop {
        let is_busy = pass(&mut one, &mut other, &mut room)?;
        let is_busy = pass(&mut other, &mut one, &mut room)? || is_busy;
        if !is_busy {
            wait(&one, &other)?;
        }
    }
}

/// Opens a TAP of the kind that tapway's ports are by default.
fn open(end: &End) -> Result<Tap> {
    let named = |error| BenchError::Peer(format!("{error}"));
    let namespace = Namespace::named(&end.netns).map_err(named)?;
    let address = ipnet::Ipv4Net::new(end.address, 24);
    let plan = TapPlan {
        netns: None,
        interface: INTERFACE.to_owned(),
        mac: Some(MacAddr::from_ipv4(end.address)),
        mtu: MTU,
        address: address.ok(),
        gateway: None,
        backend: TapBackend::Own,
    };
    let (tap, _) = Tap::open(&namespace, &plan).map_err(named)?;
    Ok(tap)
}

/// Moves a burst; true if there may be more.
fn pass(from: &mut Tap, to: &mut Tap, room: &mut [u8]) -> Result<bool> {
    for _ in 0..BUDGET {
        match from.receive(room) {
            Ok(len) => {
                // A frame that the device does not take is lost, as on any forwarder.
                let _ = to.send(room.get(..len).unwrap_or_default());
            }
            Err(ReceiveError::Truncated) => {}
            Err(ReceiveError::Empty) => return Ok(false),
            Err(ReceiveError::Gone(error)) => return Err(error).context("a TAP"),
        }
    }
    Ok(true)
}

fn wait(one: &Tap, other: &Tap) -> Result<()> {
    system::wait_readable([one, other].into_iter().filter_map(PortIo::raw_fd))
        .context("waiting for TAPs")
}
