//! What watches a frame on its way: captures, traces, "who dropped it and why".
//!
//! An engine without an observer pays one untaken branch per burst and per report.

use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::packet::FrameView;
use crate::time::Instant;

/// A station of a frame's journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The bridge knew the destination.
    Bridge,
    /// The bridge flooded.
    Flood,
    /// The flow's way was known.
    FlowHit,
    /// The flow's way was not known: decided anew.
    SlowPath,
    /// A session was found.
    Session,
    /// A session was made.
    NewSession,
    /// A fragment followed the decision of its first.
    Fragment,
    /// An ICMP error about a session was translated.
    IcmpError,
    /// tapway itself took it.
    Local,
    /// It waits for a neighbour, or for its first fragment.
    Hold,
}

/// A watcher. All methods do nothing unless given.
pub trait Observer: Send {
    /// A frame came in by a port.
    fn received(&mut self, _now: Instant, _port: PortId, _frame: FrameView<'_>) {}

    /// A frame that came in by `port` reached a station.
    fn reached(&mut self, _now: Instant, _port: PortId, _tier: Tier) {}

    /// A frame that came in by `port` ended, looking as it did then.
    fn dropped(
        &mut self,
        _now: Instant,
        _port: PortId,
        _reason: DropReason,
        _frame: FrameView<'_>,
    ) {
    }

    /// A frame goes out by a port.
    fn sent(&mut self, _now: Instant, _port: PortId, _frame: FrameView<'_>) {}
}
