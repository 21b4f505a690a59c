//! `ip -s link`, and the counters of the whole switch.

use std::fmt::Write as _;

use super::width;
use crate::control::api::{LinkRow, StatsView};
use crate::control::registry::LinkState;
use crate::engine::{PortStats, Totals};

/// As `ip -s link`; `dropped` stands under RX and holds both directions.
pub fn links(rows: &[LinkRow]) -> String {
    let mut text = String::new();
    for row in rows {
        link(&mut text, row);
    }
    text
}

fn link(text: &mut String, row: &LinkRow) {
    let PortStats { port, network, mtu, .. } = &row.stats;
    let is_device_up = row.device.as_ref().is_none_or(|device| device.state == LinkState::Up);
    let (flags, state) = if row.stats.is_up && is_device_up {
        ("BROADCAST,MULTICAST,UP,LOWER_UP", "UP")
    } else {
        ("NO-CARRIER,BROADCAST,MULTICAST,UP", "DOWN")
    };
    let index = row.index;
    let _ = writeln!(text, "{index}: {port}: <{flags}> mtu {mtu} master {network} state {state}");
    let Some(device) = &row.device else { return counters(text, &row.stats) };
    if let Some(mac) = device.mac {
        let _ = writeln!(text, "    link/ether {mac} brd ff:ff:ff:ff:ff:ff");
    }
    if let Some(address) = device.address {
        let _ = writeln!(text, "    inet {address}");
    }
    let _ = writeln!(text, "    device {}", device.description);
    if let Some(error) = &device.last_error {
        let _ = writeln!(text, "    error {error}");
    }
    counters(text, &row.stats);
}

fn counters(text: &mut String, stats: &PortStats) {
    let PortStats { rx_bytes, rx_frames, tx_bytes, tx_frames, dropped, .. } = *stats;
    let bytes = width(rx_bytes.max(tx_bytes)).max(6);
    let packets = width(rx_frames.max(tx_frames)).max(7);
    let _ = writeln!(text, "    RX: {:>bytes$} {:>packets$} dropped", "bytes", "packets");
    let _ = writeln!(text, "        {rx_bytes:>bytes$} {rx_frames:>packets$} {dropped:>7}");
    let _ = writeln!(text, "    TX: {:>bytes$} {:>packets$}", "bytes", "packets");
    let _ = writeln!(text, "        {tx_bytes:>bytes$} {tx_frames:>packets$}");
}

/// The outcome of every frame, the use of the session table, and a line per port.
pub fn stats(view: &StatsView) -> String {
    let Totals { received, forwarded, flooded, local, dropped, waiting, unknown_port, generated } =
        view.totals;
    // What ports lost beyond the frames that came in: before tapway, or refused by a device.
    let lost: u64 = view.ports.iter().map(|port| port.dropped).sum();
    let at_devices = (lost + unknown_port).saturating_sub(dropped);
    let outcomes = [
        ("received", received),
        ("  forwarded", forwarded),
        ("  flooded", flooded),
        ("  local", local),
        ("  dropped", dropped),
        ("    unknown port", unknown_port),
        ("  waiting", waiting),
        ("generated", generated),
        ("lost at devices", at_devices),
    ];
    let mut text = String::from("frames\n");
    let digits = outcomes.iter().map(|(_, count)| width(*count)).max().unwrap_or(1).max(10);
    for (name, count) in outcomes {
        let _ = writeln!(text, "  {name:<18}{count:>digits$}");
    }
    let _ = writeln!(text, "sessions {} of {}", view.sessions.used, view.sessions.limit);
    ports(&mut text, &view.ports);
    text
}

fn ports(text: &mut String, ports: &[PortStats]) {
    let name = ports.iter().map(|port| port.port.len()).max().unwrap_or(0).max(4);
    let column = |value: fn(&PortStats) -> u64| {
        ports.iter().map(|port| width(value(port))).max().unwrap_or(1).max(10)
    };
    let (rx_frames, rx_bytes) = (column(|port| port.rx_frames), column(|port| port.rx_bytes));
    let (tx_frames, tx_bytes) = (column(|port| port.tx_frames), column(|port| port.tx_bytes));
    let dropped = column(|port| port.dropped);
    let _ = writeln!(
        text,
        "{:<name$} {:>rx_frames$} {:>rx_bytes$} {:>tx_frames$} {:>tx_bytes$} {:>dropped$}",
        "PORT", "RX FRAMES", "RX BYTES", "TX FRAMES", "TX BYTES", "DROPPED"
    );
    for port in ports {
        let _ = writeln!(
            text,
            "{:<name$} {:>rx_frames$} {:>rx_bytes$} {:>tx_frames$} {:>tx_bytes$} {:>dropped$}",
            port.port, port.rx_frames, port.rx_bytes, port.tx_frames, port.tx_bytes, port.dropped
        );
    }
}
