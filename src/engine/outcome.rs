//! How a frame's journey ends or goes on: put on a port's list, counted, or resumed after it
//! waited.

use super::pipeline::{Frame, Verdict};
use super::{Engine, Pass, Tier};
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::packet::{ETHERNET_HEADER, FrameRef, FrameView, Headers, Held, Layer, Offload, Origin};
use crate::switch::{Port, PortRole};
use crate::time::Instant;

impl Engine {
    /// Puts a frame on a port's list and counts it; `l3` is the length of its Ethernet header.
    pub(super) fn send(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        l3: u8,
    ) -> Result<(), DropReason> {
        let size = size_of(pass, frame, l3);
        self.send_sized(pass, frame, egress, size)
    }

    /// The same for a frame that others get, too: into a tunnel goes a copy.
    pub(super) fn send_shared(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        l3: u8,
    ) -> Result<(), DropReason> {
        if self.is_tunnel(egress) {
            return self.send_copy_by_tunnel(pass, frame, egress);
        }
        self.send(pass, frame, egress, l3)
    }

    /// The same for a frame of tapway's own. A limit is not about it: it is one of few, and a host
    /// that hears no ARP or DHCP because somebody floods it would lose what it has.
    pub(super) fn send_own(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
    ) -> Result<(), DropReason> {
        if self.is_tunnel(egress) {
            return self.send_copy_by_tunnel(pass, frame, egress);
        }
        let size = size_of(pass, frame, ETHERNET_HEADER as u8);
        let port = self.port_mut(egress).filter(|port| port.is_up).ok_or(DropReason::PortDown)?;
        Self::put(pass, port, (frame, egress), size)
    }

    /// The same for a part of a frame that the port's limit has admitted as a whole.
    pub(super) fn send_admitted(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
    ) -> Result<(), DropReason> {
        if self.is_tunnel(egress) {
            return self.send_by_tunnel(pass, frame, egress);
        }
        let size = size_of(pass, frame, ETHERNET_HEADER as u8);
        let port = self.port_mut(egress).filter(|port| port.is_up).ok_or(DropReason::PortDown)?;
        Self::put(pass, port, (frame, egress), size)
    }

    /// The same for a frame of known length.
    #[inline(always)]
    pub(super) fn send_sized(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        (len, l3, offload): (usize, u8, Offload),
    ) -> Result<(), DropReason> {
        let port = self.port_mut(egress).ok_or(DropReason::PortDown)?;
        if !port.is_open_tx {
            return self.send_limited(pass, frame, egress, l3);
        }
        Self::put(pass, port, (frame, egress), (len, l3, offload))
    }

    /// The same by a port that is down or has a limit, or by a tunnel. It finds the frame's size
    /// anew, so that nothing is kept for it where frames leave freely.
    #[cold]
    #[inline(never)]
    fn send_limited(
        &mut self,
        pass: &mut Pass<'_>,
        frame: FrameRef,
        egress: PortId,
        l3: u8,
    ) -> Result<(), DropReason> {
        let port = self.port_mut(egress).ok_or(DropReason::PortDown)?;
        if let PortRole::Tunnel(_) = port.role {
            return self.send_by_tunnel(pass, frame, egress);
        }
        let size = size_of(pass, frame, l3);
        port.may_send(pass.now, size)?;
        Self::put(pass, port, (frame, egress), size)
    }

    #[inline(always)]
    fn put(
        pass: &mut Pass<'_>,
        port: &mut Port,
        (frame, egress): (FrameRef, PortId),
        (len, l3, offload): (usize, u8, Offload),
    ) -> Result<(), DropReason> {
        let (largest, segments) = if offload.is_none() {
            (len, 1)
        } else {
            (offload.largest_segment(len), offload.segments(len))
        };
        if largest.saturating_sub(usize::from(l3)) > usize::from(port.mtu) {
            return Err(DropReason::Oversize);
        }
        port.counters.tx_frames += 1;
        port.counters.tx_segments += segments;
        port.counters.tx_bytes += len as u64;
        pass.tx.push(egress, frame);
        Ok(())
    }

    /// A frame that waited goes on where it stopped.
    pub(super) fn resume(&mut self, pass: &mut Pass<'_>, held: &Held) {
        let Some(frame) = self.frame_of(pass, held) else { return };
        let verdict = match frame.headers.layer {
            Layer::Ipv4(ipv4) => self.slow_path(pass, &frame, &ipv4, None),
            Layer::Malformed(reason) => Verdict::Dropped(reason),
            _ => Verdict::Dropped(DropReason::EtherTypeNotRouted),
        };
        self.finish(pass, frame.at, frame.port, verdict);
    }

    /// A frame that waited, in this pass; none if it ends here.
    pub(super) fn frame_of(&mut self, pass: &mut Pass<'_>, held: &Held) -> Option<Frame> {
        let found = if self.is_there(held) {
            Headers::parse(&held.frame)
        } else {
            Err(DropReason::PortDown)
        };
        let place = found.and_then(|headers| {
            let at = pass
                .tx
                .generate_with(&[&held.frame], held.offload)
                .map_err(|_| DropReason::EgressQueueFull)?;
            let Held { port, network, origin, .. } = *held;
            Ok(Frame { at, port, network, headers, origin })
        });
        place.map_err(|reason| self.drop_held(pass.now, held, reason)).ok()
    }

    /// True if the port a frame came in by is still the same. A looped frame's need not be: it
    /// came in by an inside port, and arrived outside.
    pub(super) fn is_there(&self, held: &Held) -> bool {
        let is_looped = held.origin.is_looped();
        self.port(held.port).is_some_and(|port| port.network == held.network || is_looped)
    }

    /// Counts the outcome of a frame that came in by `port`.
    pub(super) fn finish(&mut self, pass: &Pass<'_>, at: FrameRef, port: PortId, verdict: Verdict) {
        match verdict {
            Verdict::Forwarded => self.totals.forwarded += 1,
            Verdict::Flooded => self.totals.flooded += 1,
            Verdict::Local => {
                self.totals.local += 1;
                self.report(pass.now, port, Tier::Local);
            }
            Verdict::Held => self.report(pass.now, port, Tier::Hold),
            Verdict::HandedOver => self.totals.handed_over += 1,
            Verdict::Dropped(reason) => {
                self.drop_frame(pass, port, reason, at);
            }
        }
    }

    /// Counts a frame that waited and ends now. What is in a datagram of tapway's own was counted
    /// when it was put there: that it ends is counted at its tunnel besides.
    pub(super) fn drop_held(&mut self, now: Instant, held: &Held, reason: DropReason) {
        if held.origin == Origin::Encapsulated {
            self.overlay.waiting = self.overlay.waiting.saturating_sub(1);
            return self.count_device_drops(held.port, reason, 1);
        }
        let frame = FrameView { bytes: &held.frame, offload: held.offload };
        self.count_drop(now, held.port, reason, frame);
    }

    /// Counts a dropped frame.
    pub(super) fn drop_frame(
        &mut self,
        pass: &Pass<'_>,
        port: PortId,
        reason: DropReason,
        at: FrameRef,
    ) {
        self.count_drop(pass.now, port, reason, pass.tx.view(at, pass.burst));
    }

    fn count_drop(&mut self, now: Instant, port: PortId, reason: DropReason, frame: FrameView<'_>) {
        self.totals.dropped += 1;
        match self.port_mut(port) {
            Some(port) => port.counters.drop(reason, 1),
            None => self.totals.unknown_port += 1,
        }
        if let Some(observer) = &mut self.observer {
            observer.dropped(now, port, reason, frame);
        }
    }
}

/// Length of a frame and of its Ethernet header, and what its sender left undone.
fn size_of(pass: &Pass<'_>, frame: FrameRef, l3: u8) -> (usize, u8, Offload) {
    let FrameView { bytes, offload } = pass.tx.view(frame, pass.burst);
    (bytes.len(), l3, offload)
}
