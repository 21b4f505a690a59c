//! The ceiling: tapway's own TAPs, read and written as its worker does, and no engine between.

use std::time::Duration;

use tapway::id::PortId;
use tapway::io::{
    Devices, Egress, Faults, Namespace, OpenError, Tap, TapBackend, TapPlan, WriteChoice,
    ask_for_short_slices,
};
use tapway::packet::{Burst, FrameRef, MacAddr, TxLists};

use super::{End, INTERFACE};
use crate::error::{BenchError, Context, Result};
use crate::testbed::MTU;

/// The two ports.
const PORTS: [PortId; 2] = [PortId(0), PortId(1)];
/// Bursts between two looks at a TAP that was not ready, while the other is; as the worker's.
const LOOK_EVERY: u32 = 4;

/// Forwards until a TAP is gone.
pub fn run(ends: &[End; 2]) -> Result<()> {
    let mut devices = Devices::new().context("waiting for TAPs")?;
    for (port, end) in PORTS.into_iter().zip(ends) {
        let tap = open(end, MTU).map_err(named)?;
        devices.attach(port, Box::new(tap)).context("waiting for a TAP")?;
    }
    ask_for_short_slices().context("time slices")?;
    // Where io_uring is not to be had tapway does without, and so does its ceiling.
    let (mut egress, _) = Egress::open(WriteChoice::Auto).map_err(named)?;
    let (mut burst, mut tx, mut faults) = (Burst::new(), TxLists::new(), Faults::default());
    let mut unlooked = 0;
    loop {
        burst.clear();
        tx.clear();
        devices.gather(&mut burst, &mut faults);
        for index in 0..burst.len() {
            let out = if burst.port(index) == Some(PORTS[0]) { PORTS[1] } else { PORTS[0] };
            tx.push(out, FrameRef::Burst(index as u16));
        }
        egress.send(&mut tx, &mut burst, &mut devices, &mut faults);
        // A frame that a TAP does not take is lost, as on any forwarder.
        faults.drops.clear();
        if let Some((_, error)) = faults.gone.pop() {
            return Err(error).context("a TAP");
        }
        unlooked = wait(&mut devices, unlooked)?;
    }
}

/// Opens a TAP of the kind that tapway's ports are by default.
pub(super) fn open(end: &End, mtu: u16) -> std::result::Result<Tap, OpenError> {
    let plan = TapPlan {
        netns: None,
        interface: INTERFACE.to_owned(),
        mac: Some(MacAddr::from_ipv4(end.address)),
        mtu,
        address: ipnet::Ipv4Net::new(end.address, 24).ok(),
        gateway: None,
        backend: TapBackend::Own,
        offload: true,
        queues: 1,
    };
    Tap::open(&Namespace::named(&end.netns)?, &plan).map(|(tap, _)| tap)
}

/// Sleeps when no TAP is ready; gives the bursts since the last look.
fn wait(devices: &mut Devices, unlooked: u32) -> Result<u32> {
    let has_ready = devices.has_ready();
    if has_ready && unlooked + 1 < LOOK_EVERY {
        return Ok(unlooked + 1);
    }
    devices.wait(has_ready.then_some(Duration::ZERO)).context("waiting for TAPs")?;
    Ok(0)
}

pub(super) fn named(error: OpenError) -> BenchError {
    BenchError::Peer(error.to_string())
}
