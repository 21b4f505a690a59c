//! The way out of a packet that was decided anew: whole, by segments or in fragments.

use super::pipeline::{Frame, Verdict, wire_len};
use super::plan::Path;
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::{NetworkId, PortId};
use crate::nat::Rewrite;
use crate::packet::{
    ETHERNET_HEADER, FrameRef, FrameView, Headers, Ipv4, Layer, Offload, fragment, ipv4,
};

impl Engine {
    /// Forwards a super-frame segment by segment: each is to be fragmented, or wants an
    /// identification of its own.
    pub(super) fn forward_segments(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        rewrite: &Rewrite,
        path: &Path,
    ) -> Verdict {
        let mut segments = Vec::new();
        let view = pass.tx.view(frame.at, pass.burst);
        // All or nothing, and never what other hosts' answers need.
        if !pass.tx.has_room_for_segments(view.offload.segments(view.bytes.len())) {
            return Verdict::Dropped(DropReason::EgressQueueFull);
        }
        view.for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
        if let Err(reason) = self.admit_cut(pass, &segments, path) {
            return Verdict::Dropped(reason);
        }
        let mut verdict = Verdict::Dropped(DropReason::EgressQueueFull);
        for segment in segments {
            let Ok(at) = pass.tx.generate(&[&segment]) else {
                return Verdict::Dropped(DropReason::EgressQueueFull);
            };
            let Ok(headers) = Headers::parse(&segment) else { continue };
            let Layer::Ipv4(ipv4) = headers.layer else { continue };
            self.totals.generated += 1;
            let frame = Frame { at, ..*frame };
            verdict = verdict.or(self.rewrite_and_emit(pass, &frame, &ipv4, (rewrite, path)));
        }
        verdict
    }

    fn rewrite_and_emit(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (rewrite, path): (&Rewrite, &Path),
    ) -> Verdict {
        let id = rewrite.wants_new_id(ipv4).then(|| self.nat.next_ip_id());
        let (bytes, offload) = pass.tx.view_mut(frame.at, pass.burst);
        rewrite.apply(bytes, ipv4, id, !offload.is_none());
        if bytes.len() > ETHERNET_HEADER + usize::from(path.mtu) {
            return self.emit_fragments(pass, frame, path);
        }
        self.emit_part(pass, frame.at, path)
    }

    /// Sends a rewritten frame on its path: in one piece or in fragments, to the port of its
    /// MAC or, if that is unknown, to all of the network.
    pub(super) fn emit(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        let FrameView { bytes, offload } = pass.tx.view(frame.at, pass.burst);
        if wire_len(bytes.len(), offload) > usize::from(path.mtu) {
            return self.emit_pieces(pass, frame, path);
        }
        let size = (bytes.len(), ETHERNET_HEADER as u8, offload);
        self.emit_whole(pass, (frame.at, size), path)
    }

    /// The same for a frame that must be fragmented.
    fn emit_pieces(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        pass.tx.complete(frame.at, pass.burst);
        let bytes = pass.tx.frame(frame.at, pass.burst);
        match self.admit_cut(pass, &[bytes], path) {
            Ok(()) => self.emit_fragments(pass, frame, path),
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Takes a frame that leaves as these, each in one piece or in fragments, from the limit of its
    /// port: as a whole, for a part of it is of no use. Where its MAC is unknown each port sees to
    /// itself.
    fn admit_cut<T: AsRef<[u8]>>(
        &self,
        pass: &Pass<'_>,
        frames: &[T],
        path: &Path,
    ) -> Result<(), DropReason> {
        let port = path.place.and_then(|(_, port)| self.port(port));
        let Some(limit) = port.and_then(|port| port.limit_tx.as_ref()) else { return Ok(()) };
        let on_wire = |frame: &T| bytes_in_pieces(frame.as_ref(), usize::from(path.mtu));
        let bytes: usize = frames.iter().map(on_wire).sum();
        let admits = limit.admits(pass.now, bytes, Offload::NONE);
        if admits { Ok(()) } else { Err(DropReason::LimitTx) }
    }

    /// The fragments of a frame that the limit has admitted.
    fn emit_fragments(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        let bytes = pass.tx.frame(frame.at, pass.burst);
        let packet = bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        let mut pieces = Vec::new();
        fragment::fragment(packet, usize::from(path.mtu), |piece| pieces.push(piece.to_vec()));
        let ethernet = ipv4::ethernet(path.macs.1, path.macs.0);
        let mut verdict = Verdict::Dropped(DropReason::FragmentationNeeded);
        for piece in pieces {
            let Ok(at) = pass.tx.generate(&[&ethernet, &piece]) else {
                return Verdict::Dropped(DropReason::EgressQueueFull);
            };
            self.totals.generated += 1;
            verdict = verdict.or(self.emit_part(pass, at, path));
        }
        verdict
    }

    fn emit_part(&mut self, pass: &mut Pass<'_>, at: FrameRef, path: &Path) -> Verdict {
        let l3 = ETHERNET_HEADER as u8;
        let Some((_, port)) = path.place else {
            return self.emit_to_all(pass, (at, l3), path.egress);
        };
        match self.send_admitted(pass, at, port) {
            Ok(()) => Verdict::Forwarded,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// The same for a frame that fits; its size as [`Engine::send_sized`] takes it.
    pub(super) fn emit_whole(
        &mut self,
        pass: &mut Pass<'_>,
        (at, size): (FrameRef, (usize, u8, Offload)),
        path: &Path,
    ) -> Verdict {
        if let Some((_, port)) = path.place {
            return match self.send_sized(pass, at, port, size) {
                Ok(()) => Verdict::Forwarded,
                Err(reason) => Verdict::Dropped(reason),
            };
        }
        self.emit_to_all(pass, (at, size.1), path.egress)
    }

    /// The same for one whose MAC nobody has been heard with.
    pub(super) fn emit_to_all(
        &mut self,
        pass: &mut Pass<'_>,
        (at, l3): (FrameRef, u8),
        egress: NetworkId,
    ) -> Verdict {
        let members =
            self.network(egress).map_or_else(Vec::new, |network| network.bridge.ports().to_vec());
        let (mut verdict, mut lost) = (Verdict::Dropped(DropReason::NoOtherPort), Vec::new());
        for port in members {
            match self.send_shared(pass, at, port, l3) {
                Ok(()) => verdict = Verdict::Flooded,
                Err(reason) => {
                    lost.extend(self.is_named_apart(port, reason).then_some((port, reason)));
                    if verdict != Verdict::Flooded {
                        verdict = Verdict::Dropped(reason);
                    }
                }
            }
        }
        if verdict == Verdict::Flooded {
            self.count_lost_copies(&lost);
        }
        verdict
    }

    /// True if a copy that a port did not take is counted there although others got theirs: where
    /// its limit said so, and where hosts elsewhere miss it.
    pub(super) fn is_named_apart(&self, port: PortId, reason: DropReason) -> bool {
        reason == DropReason::LimitTx || reason != DropReason::PortDown && self.is_tunnel(port)
    }

    /// Counts such copies at their ports: the frame itself has its outcome.
    pub(super) fn count_lost_copies(&mut self, lost: &[(PortId, DropReason)]) {
        for (port, reason) in lost {
            self.count_device_drops(*port, *reason, 1);
        }
    }
}

/// The bytes of the frames that a frame is cut into for this MTU.
fn bytes_in_pieces(frame: &[u8], mtu: usize) -> usize {
    let packet = frame.get(ETHERNET_HEADER..).unwrap_or_default();
    if packet.len() <= mtu {
        return frame.len();
    }
    let mut bytes = 0;
    fragment::fragment(packet, mtu, |piece| bytes += ETHERNET_HEADER + piece.len());
    bytes
}
