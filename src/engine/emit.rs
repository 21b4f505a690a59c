//! The way out of a packet that was decided anew: whole, by segments or in fragments.

use super::pipeline::{Frame, Verdict, wire_len};
use super::plan::Path;
use super::{Engine, Pass};
use crate::drop_reason::DropReason;
use crate::id::NetworkId;
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
        self.emit(pass, frame, path)
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
    pub(super) fn emit_pieces(
        &mut self,
        pass: &mut Pass<'_>,
        frame: &Frame,
        path: &Path,
    ) -> Verdict {
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
            let len = ETHERNET_HEADER + piece.len();
            let size = (len, ETHERNET_HEADER as u8, Offload::NONE);
            verdict = self.emit_whole(pass, (at, size), path);
        }
        verdict
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
        let mut verdict = Verdict::Dropped(DropReason::NoOtherPort);
        for port in members {
            match self.send_shared(pass, at, port, l3) {
                Ok(()) => verdict = Verdict::Flooded,
                Err(reason) if verdict != Verdict::Flooded => verdict = Verdict::Dropped(reason),
                Err(_) => {}
            }
        }
        verdict
    }
}
