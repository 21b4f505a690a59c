//! The way out of a packet that was decided anew: whole, by segments or in fragments.

use super::pipeline::{Frame, Verdict};
use super::plan::Path;
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::nat::Rewrite;
use crate::packet::{ETHERNET_HEADER, Headers, Ipv4, Layer, fragment, ipv4};

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
        let mut verdict = Verdict::Dropped(DropReason::EgressQueueFull);
        for segment in segments {
            let Ok(at) = pass.tx.generate(&[&segment]) else {
                return Verdict::Dropped(DropReason::EgressQueueFull);
            };
            let Ok(headers) = Headers::parse(&segment) else { continue };
            let Layer::Ipv4(ipv4) = headers.layer else { continue };
            self.totals.generated += 1;
            verdict = self.rewrite_and_emit(pass, &Frame { at, ..*frame }, &ipv4, (rewrite, path));
        }
        verdict
    }

    pub(super) fn rewrite_and_emit(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        ipv4: &Ipv4,
        (rewrite, path): (&Rewrite, &Path),
    ) -> Verdict {
        let id = rewrite.wants_new_id(ipv4).then(|| self.nat.next_ip_id());
        let is_partial = !pass.tx.offload(frame.at, pass.burst).is_none();
        rewrite.apply(pass.tx.frame_mut(frame.at, pass.burst), ipv4, id, is_partial);
        self.emit(pass, frame, path)
    }

    /// Sends a rewritten frame on its path: in one piece or in fragments, to the port of its
    /// MAC or, if that is unknown, to all of the network.
    pub(super) fn emit(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        if path.fits(pass, frame) {
            return self.emit_piece(pass, frame, path);
        }
        pass.tx.complete(frame.at, pass.burst);
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
            verdict = self.emit_piece(pass, &Frame { at, ..*frame }, path);
        }
        verdict
    }

    fn emit_piece(&mut self, pass: &mut Pass<'_>, frame: &Frame, path: &Path) -> Verdict {
        let l3 = ETHERNET_HEADER as u8;
        if let Some((_, port)) = path.place {
            return match self.send(pass, frame.at, port, l3) {
                Ok(()) => Verdict::Forwarded,
                Err(reason) => Verdict::Dropped(reason),
            };
        }
        let members = self
            .network(path.egress)
            .map_or_else(Vec::new, |network| network.bridge.ports().to_vec());
        let mut verdict = Verdict::Dropped(DropReason::NoOtherPort);
        for port in members {
            match self.send(pass, frame.at, port, l3) {
                Ok(()) => verdict = Verdict::Flooded,
                Err(reason) if verdict != Verdict::Flooded => verdict = Verdict::Dropped(reason),
                Err(_) => {}
            }
        }
        verdict
    }
}
