//! `bridge fdb`, `ip neigh`, `ip route`.

use std::fmt::Write as _;

use crate::engine::{FdbRow, NeighbourRow, RouteRow};
use crate::route::{NeighbourState, RouteKind};

/// As `bridge fdb`; tapway's own MACs are `permanent`, configured ones `static`.
pub fn fdb(rows: &[FdbRow]) -> String {
    let mut text = String::new();
    for FdbRow { mac, port, network, is_static, .. } in rows {
        let device = port.as_ref().unwrap_or(network);
        let kind = match (port, is_static) {
            (None, _) => " permanent",
            (Some(_), true) => " static",
            (Some(_), false) => "",
        };
        let _ = writeln!(text, "{mac} dev {device} master {network}{kind}");
    }
    text
}

/// As `ip neigh`.
pub fn neighbours(rows: &[NeighbourRow]) -> String {
    let mut text = String::new();
    for NeighbourRow { address, network, mac, state } in rows {
        let _ = write!(text, "{address} dev {network}");
        if let Some(mac) = mac {
            let _ = write!(text, " lladdr {mac}");
        }
        let _ = writeln!(text, " {}", state_name(*state));
    }
    text
}

/// As `ip route`.
pub fn routes(rows: &[RouteRow]) -> String {
    let mut text = String::new();
    for RouteRow { destination, via, network, kind, source } in rows {
        let _ = match destination.prefix_len() {
            0 => write!(text, "default"),
            32 => write!(text, "{}", destination.addr()),
            _ => write!(text, "{destination}"),
        };
        if let Some(via) = via {
            let _ = write!(text, " via {via}");
        }
        let _ = write!(text, " dev {network}");
        if *kind == RouteKind::Connected {
            let _ = write!(text, " proto kernel scope link");
            if let Some(source) = source {
                let _ = write!(text, " src {source}");
            }
        }
        text.push('\n');
    }
    text
}

const fn state_name(state: NeighbourState) -> &'static str {
    match state {
        NeighbourState::Incomplete => "INCOMPLETE",
        NeighbourState::Reachable => "REACHABLE",
        NeighbourState::Stale => "STALE",
        NeighbourState::Delay => "DELAY",
        NeighbourState::Probe => "PROBE",
        NeighbourState::Failed => "FAILED",
    }
}
