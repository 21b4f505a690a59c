//! Counters.

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::id::PortId;
use crate::switch::Limiter;

/// Outcomes of received frames. Each frame has exactly one, once it no longer waits:
/// `received + taken_over = forwarded + flooded + local + dropped + waiting + handed_over`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames received.
    pub received: u64,
    /// Handed to one port (in one piece or in fragments).
    pub forwarded: u64,
    /// Handed to several ports, or to an unknown place.
    pub flooded: u64,
    /// Taken by tapway itself.
    pub local: u64,
    /// Ended under a drop reason.
    pub dropped: u64,
    /// Waiting for a neighbour, for other fragments, or for another worker now.
    pub waiting: u64,
    /// Received by this worker and handed over to another, whose outcome it is.
    pub handed_over: u64,
    /// Taken over from other workers.
    pub taken_over: u64,
    /// Dropped frames of ports that are not, or no longer, there; counted in `dropped` too.
    pub unknown_port: u64,
    /// Frames that tapway made: answers, errors, ARP, fragments.
    pub generated: u64,
}

/// Counters of a port, as shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// The port.
    pub port: String,
    /// Its network.
    pub network: String,
    /// Taking part in forwarding.
    pub is_up: bool,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// Frames received from the port.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// The frames on the wire that they stand for: a super-frame is several.
    pub rx_segments: u64,
    /// Frames handed to the port.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// The frames on the wire that they stand for.
    pub tx_segments: u64,
    /// Lost frames of all reasons.
    pub dropped: u64,
    /// Bytes per second that the host may send.
    pub limit_rx: Option<u32>,
    /// Bytes per second that the host gets.
    pub limit_tx: Option<u32>,
}

/// One reason at one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The port the frames came in by, or whose device refused them.
    pub port: String,
    /// The reason's name.
    pub reason: String,
    /// Frames.
    pub frames: u64,
    /// When it happens.
    pub when: String,
    /// What to do about it.
    pub remedy: String,
}

impl Engine {
    /// Outcomes of all frames.
    pub fn totals(&self) -> Totals {
        let held = self.neighbours.held_frames() + self.fragments.held_frames();
        let waiting = held.saturating_sub(self.overlay.waiting);
        Totals { waiting: waiting as u64, ..self.totals }
    }

    /// Counters of every port, by id.
    pub fn port_stats(&self) -> Vec<(PortId, PortStats)> {
        self.ports_with_ids()
            .map(|(id, port)| {
                let counters = &port.counters;
                let network = self.network(port.network).map(|network| network.bridge.name.clone());
                let stats = PortStats {
                    port: port.name.clone(),
                    network: network.unwrap_or_default(),
                    is_up: port.is_up,
                    mtu: port.mtu,
                    rx_frames: counters.rx_frames,
                    rx_bytes: counters.rx_bytes,
                    rx_segments: counters.rx_segments,
                    tx_frames: counters.tx_frames,
                    tx_bytes: counters.tx_bytes,
                    tx_segments: counters.tx_segments,
                    dropped: counters.drops().map(|(_, frames)| frames).sum(),
                    limit_rx: port.limit_rx.as_ref().map(Limiter::bytes_per_s),
                    limit_tx: port.limit_tx.as_ref().map(Limiter::bytes_per_s),
                };
                (id, stats)
            })
            .collect()
    }

    /// Every reason that occurred, by port.
    pub fn drop_rows(&self) -> Vec<DropRow> {
        self.ports_with_ids()
            .flat_map(|(_, port)| {
                port.counters.drops().map(|(reason, frames)| DropRow {
                    port: port.name.clone(),
                    reason: reason.name().to_owned(),
                    frames,
                    when: reason.when().to_owned(),
                    remedy: reason.remedy().to_owned(),
                })
            })
            .collect()
    }

    pub(super) fn ports_with_ids(&self) -> impl Iterator<Item = (PortId, &crate::switch::Port)> {
        self.ports
            .iter()
            .enumerate()
            .filter_map(|(index, port)| Some((PortId(index as u16), port.as_ref()?)))
    }
}
