//! Cutting an outer frame into the payloads of its datagrams.

use super::item::{Item, MAX_BYTES};
use crate::packet::vxlan::{DATAGRAM_HEADERS, ENCAPSULATION, VXLAN_HEADER};
use crate::packet::{FrameView, Segments};

/// Bytes that the pieces of a frame take.
pub(super) fn room_for(view: FrameView<'_>) -> usize {
    let len = view.bytes.len();
    let headers = view.offload.segments(len).saturating_mul(ENCAPSULATION as u64);
    usize::try_from(view.offload.wire_bytes(len).saturating_add(headers)).unwrap_or(usize::MAX)
}

/// Finishes an unfinished frame into `arena` from `start` on: into pieces behind a VXLAN header
/// each, at most `most` of them to an item. Gives where the pieces end; none if the frame is not
/// one of an engine.
pub(super) fn cut<'a>(
    whole: Item<'a>,
    most: usize,
    (arena, start): (&mut [u8], usize),
    items: &mut Vec<Item<'a>>,
) -> Option<usize> {
    let (headers, inner) = whole.view.bytes.split_at_checked(ENCAPSULATION)?;
    let header = headers.get(DATAGRAM_HEADERS..)?;
    let offload = whole.view.offload.unwrapped(ENCAPSULATION as u16);
    if !offload.is_super() {
        let end = start + whole.len;
        let (own, copy) = arena.get_mut(start..end)?.split_at_mut_checked(VXLAN_HEADER)?;
        own.copy_from_slice(header);
        copy.copy_from_slice(inner);
        offload.complete(copy);
        items.push(Item { pieces: Some(start), ..whole });
        return Some(end);
    }
    let size = VXLAN_HEADER + offload.largest_segment(inner.len());
    let most_len = size * most.min(MAX_BYTES / size).max(1);
    let mut segments = Segments::new(FrameView { bytes: inner, offload })?;
    let (mut end, mut first) = (start, start);
    loop {
        let room = arena.get_mut(end..)?;
        let (own, room) = room.split_at_mut_checked(VXLAN_HEADER)?;
        let Some(len) = segments.next(inner, room) else { break };
        if len > room.len() {
            return None;
        }
        own.copy_from_slice(header);
        end += VXLAN_HEADER + len;
        if end - first >= most_len {
            items.push(Item { pieces: Some(first), size, len: end - first, ..whole });
            first = end;
        }
    }
    if end > first {
        items.push(Item { pieces: Some(first), size, len: end - first, ..whole });
    }
    Some(end)
}
