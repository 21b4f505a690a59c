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
    // The underlay's port is in no network.
    let master = if network.is_empty() { String::new() } else { format!(" master {network}") };
    let _ = writeln!(text, "{index}: {port}: <{flags}> mtu {mtu}{master} state {state}");
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
    limits(text, &row.stats);
    counters(text, &row.stats);
}

/// As they are configured: what the host sends, and what it gets.
fn limits(text: &mut String, stats: &PortStats) {
    let limits = [("rx", stats.limit_rx), ("tx", stats.limit_tx)];
    let limits = limits.into_iter().filter_map(|(way, limit)| Some((way, limit?)));
    let words: Vec<String> = limits
        .map(|(way, bytes_per_s)| format!("{way} {}", bits(u64::from(bytes_per_s) * 8)))
        .collect();
    if !words.is_empty() {
        let _ = writeln!(text, "    limit {}", words.join(" "));
    }
}

/// Bits per second in the largest unit that holds them exactly.
fn bits(bits: u64) -> String {
    let units = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")];
    match units.into_iter().find(|(unit, _)| bits.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bits / unit),
        None => format!("{bits}bit"),
    }
}

/// A packet that stands for several on the wire counts once, its segments one by one.
fn counters(text: &mut String, stats: &PortStats) {
    let PortStats { rx_bytes, rx_frames, rx_segments, dropped, .. } = *stats;
    let PortStats { tx_bytes, tx_frames, tx_segments, .. } = *stats;
    let bytes = width(rx_bytes.max(tx_bytes)).max(6);
    let packets = width(rx_frames.max(tx_frames)).max(7);
    let segments = width(rx_segments.max(tx_segments)).max(8);
    let mut row = |way: &str, [first, second, third]: [&str; 3], last: &str| {
        let _ = writeln!(
            text,
            "    {way:<3} {first:>bytes$} {second:>packets$} {third:>segments$}{last}"
        );
    };
    let numbers = |counts: [u64; 3]| counts.map(|count| count.to_string());
    let names = ["bytes", "packets", "segments"];
    row("RX:", names, " dropped");
    let rx = numbers([rx_bytes, rx_frames, rx_segments]);
    row("", rx.each_ref().map(String::as_str), &format!(" {dropped:>7}"));
    row("TX:", names, "");
    let tx = numbers([tx_bytes, tx_frames, tx_segments]);
    row("", tx.each_ref().map(String::as_str), "");
}

/// The outcome of every frame, the use of the session table, and a line per port.
pub fn stats(view: &StatsView) -> String {
    let Totals { received, forwarded, flooded, local, dropped, waiting, .. } = view.totals;
    let Totals { unknown_port, generated, .. } = view.totals;
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
    if view.workers.len() > 1 {
        workers(&mut text, &view.workers);
    }
    ports(&mut text, &view.ports);
    text
}

fn workers(text: &mut String, of_each: &[Totals]) {
    let _ = writeln!(
        text,
        "{:<8}{:>14}{:>14}{:>14}",
        "WORKER", "RECEIVED", "TAKEN OVER", "HANDED OVER"
    );
    for (worker, totals) in of_each.iter().enumerate() {
        let Totals { received, taken_over, handed_over, .. } = totals;
        let _ = writeln!(text, "{worker:<8}{received:>14}{taken_over:>14}{handed_over:>14}");
    }
}

/// A title, and what stands below.
type Column = (&'static str, fn(&PortStats) -> u64);

fn ports(text: &mut String, ports: &[PortStats]) {
    let columns: [Column; 7] = [
        ("RX FRAMES", |port| port.rx_frames),
        ("RX SEGMENTS", |port| port.rx_segments),
        ("RX BYTES", |port| port.rx_bytes),
        ("TX FRAMES", |port| port.tx_frames),
        ("TX SEGMENTS", |port| port.tx_segments),
        ("TX BYTES", |port| port.tx_bytes),
        ("DROPPED", |port| port.dropped),
    ];
    let name = ports.iter().map(|port| port.port.len()).max().unwrap_or(0).max(4);
    let widths = columns.map(|(title, value)| {
        let widest = ports.iter().map(|port| width(value(port))).max().unwrap_or(1);
        widest.max(title.len()).max(10)
    });
    let _ = write!(text, "{:<name$}", "PORT");
    for ((title, _), width) in columns.iter().zip(widths) {
        let _ = write!(text, " {title:>width$}");
    }
    let _ = writeln!(text);
    for port in ports {
        let _ = write!(text, "{:<name$}", port.port);
        for ((_, value), width) in columns.iter().zip(widths) {
            let _ = write!(text, " {:>width$}", value(port));
        }
        let _ = writeln!(text);
    }
}
