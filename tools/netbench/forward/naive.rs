//! A weekend's work: two TAPs of the `tun-tap` crate, and for each direction a thread that reads a
//! frame and writes it.

use std::sync::Arc;

use tun_tap::{Iface, Mode};

use super::{End, INTERFACE};
use crate::error::{BenchError, Context, Result};
use crate::process::run as run_command;
use tapway::io::Namespace;

/// Room for a frame.
const ROOM: usize = 2048;

/// Forwards until a TAP is gone.
pub fn run(ends: &[End; 2]) -> Result<()> {
    let [one, other] = ends;
    let (one, other) = (Arc::new(open(one)?), Arc::new(open(other)?));
    let (from, to) = (Arc::clone(&other), Arc::clone(&one));
    let back = std::thread::Builder::new().spawn(move || copy(&from, &to));
    let back = back.context("starting a thread")?;
    copy(&one, &other)?;
    back.join().unwrap_or_else(|_| Err(BenchError::Peer("a thread panicked".to_owned())))
}

fn open(end: &End) -> Result<Iface> {
    let failed = |error| BenchError::Peer(format!("{error}"));
    let namespace = Namespace::named(&end.netns).map_err(failed)?;
    let tap = namespace.run(|| {
        Iface::without_packet_info(INTERFACE, Mode::Tap)
            .map_err(|error| tapway::io::OpenError::from_io("opening a TAP", error))
    });
    let tap = tap.map_err(failed)?;
    let address = format!("{}/24", end.address);
    run_command(&["ip", "-n", &end.netns, "address", "add", &address, "dev", INTERFACE])?;
    run_command(&["ip", "-n", &end.netns, "link", "set", INTERFACE, "up"])?;
    Ok(tap)
}

fn copy(from: &Iface, to: &Iface) -> Result<()> {
    let mut room = [0; ROOM];
    loop {
        let len = from.recv(&mut room).context("reading a TAP")?;
        // Fails while the other one is not up yet.
        let _ = to.send(&room[..len]);
    }
}
