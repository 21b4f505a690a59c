//! Networks over several hosts, and their peers.

use super::columns;
use crate::control::live::PeerOrigin;
use crate::control::tunnel_tables::{PeerRow, TunnelTraffic, VxlanRow};

/// Titles of what is counted.
const TRAFFIC: [&str; 5] = ["RX FRAMES", "RX BYTES", "TX FRAMES", "TX BYTES", "DROPPED"];

/// One line for each network over several hosts, under titles.
pub fn vxlan(rows: &[VxlanRow]) -> String {
    let titles =
        ["NETWORK", "VNI", "UNDERLAY", "LOCAL", "MTU", "PEERS", "ACCEPT", "GROUP", "ENDPOINTS"];
    let cells = |row: &VxlanRow| {
        let local = row.address.map_or("*".to_owned(), |address| address.to_string());
        let cells = [
            row.network.clone(),
            row.vni.to_string(),
            row.underlay.clone(),
            format!("{local}:{}", row.port),
            row.mtu.to_string(),
            row.peers.to_string(),
            if row.accepts_any { "any" } else { "peers" }.to_owned(),
            row.group.map_or("-".to_owned(), |group| group.to_string()),
            row.endpoints.to_string(),
        ];
        with_traffic(&cells, &row.traffic)
    };
    columns(&titled(&titles), &rows.iter().map(cells).collect::<Vec<_>>())
}

/// One line for each tunnel, under titles.
pub fn peers(rows: &[PeerRow]) -> String {
    let titles = ["NETWORK", "VNI", "PEER", "FROM", "STATE", "MTU", "MACS", "ENDPOINTS"];
    let cells = |row: &PeerRow| {
        let from = match row.from {
            PeerOrigin::Configured => "configured",
            PeerOrigin::Live => "live",
            PeerOrigin::Learned => "learned",
            PeerOrigin::Group => "group",
        };
        let cells = [
            row.network.clone(),
            row.vni.to_string(),
            row.peer.to_string(),
            from.to_owned(),
            if row.is_up { "UP" } else { "DOWN" }.to_owned(),
            row.mtu.to_string(),
            row.macs.to_string(),
            row.endpoints.to_string(),
        ];
        with_traffic(&cells, &row.traffic)
    };
    columns(&titled(&titles), &rows.iter().map(cells).collect::<Vec<_>>())
}

fn titled(titles: &[&str]) -> Vec<String> {
    titles.iter().chain(&TRAFFIC).map(|title| (*title).to_owned()).collect()
}

fn with_traffic(cells: &[String], traffic: &TunnelTraffic) -> Vec<String> {
    let TunnelTraffic { rx_frames, rx_bytes, tx_frames, tx_bytes, dropped, .. } = traffic;
    let counts = [rx_frames, rx_bytes, tx_frames, tx_bytes, dropped];
    cells.iter().cloned().chain(counts.map(|count| count.to_string())).collect()
}
