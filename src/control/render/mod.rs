//! The API's answers as text, in the shapes that eyes and scripts know: `ip -s link`,
//! `bridge fdb`, `ip neigh`, `ip route`, `iptables -t nat -L -n`, `conntrack -L`.
//!
//! Pure functions of the rows, so that golden tests and the demo print the same.

mod drops;
mod hosts;
mod leases;
mod link;
mod names;
mod nat;
mod session;
mod tables;
mod tunnels;

pub use drops::drops;
pub use hosts::hosts;
pub use leases::leases;
pub use link::{links, stats};
pub use names::names;
pub use nat::nat;
pub use session::sessions;
pub use tables::{fdb, neighbours, routes};
pub use tunnels::{peers, vxlan};

use crate::packet::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP};

/// Spaces between two columns.
const GAP: usize = 3;

/// Lines under titles, with columns as wide as what is in them.
fn columns<L: AsRef<[String]>>(titles: &[String], rows: &[L]) -> String {
    let lines: Vec<&[String]> =
        std::iter::once(titles).chain(rows.iter().map(AsRef::as_ref)).collect();
    let width = |at: usize| {
        let column = lines.iter().filter_map(|line| line.get(at));
        column.map(|cell| cell.chars().count()).max().unwrap_or_default() + GAP
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

/// The name in /etc/protocols of a protocol that passes NAT boxes.
const fn protocol_name(protocol: u8) -> Option<&'static str> {
    match protocol {
        PROTOCOL_ICMP => Some("icmp"),
        PROTOCOL_TCP => Some("tcp"),
        PROTOCOL_UDP => Some("udp"),
        47 => Some("gre"),
        50 => Some("esp"),
        51 => Some("ah"),
        132 => Some("sctp"),
        _ => None,
    }
}

/// The digits of a number, for the width of its column.
const fn width(number: u64) -> usize {
    match number.checked_ilog10() {
        Some(digits) => digits as usize + 1,
        None => 1,
    }
}
