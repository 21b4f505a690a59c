//! Writing the egress lists of a pass.
//!
//! Each port's list is walked in its order. A frame that the device takes as it is stays where it
//! is, its virtio-net header is written into the room before it; any other is finished into an
//! arena of [`ARENA_BYTES`]. Small segments of one flow are joined for a device that takes
//! super-frames: one write of many costs the host behind it, and the kernel, a fraction of many.
//! Then all frames of all ports are written at once. Nothing is tried
//! again, so nothing overtakes: a frame that a device refuses is lost under a name.

use std::io;
use std::os::fd::RawFd;

use super::devices::Output;
use super::frame_writer::{FrameWriter, MethodInUse};
use super::uring::FileWrite;
use super::{Devices, Faults, OpenError, Refusal, TransmitFile, WriteChoice, WriteMethod};
use crate::drop_reason::DropReason;
use crate::id::PortId;
use crate::packet::{
    Burst, Coalescer, FrameRef, FrameView, Offloads, Outgoing, Segments, TxLists, VNET_HEADER,
};

/// Bytes of finished frames that wait to be written: in a core's second-level cache with a burst.
const ARENA_BYTES: usize = 256 * 1024;
/// Most frames that wait to be written.
const MAX_PENDING: usize = 1024;
/// Finished frames start at a cache line.
const ALIGNMENT: usize = 64;

/// Where a frame is that waits to be written.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Where the pass has it.
    Pass(FrameRef),
    /// In the arena: where it starts, its length. Behind an empty virtio-net header.
    Arena(usize, usize),
    /// Joined out of several, by its number.
    Joined(usize),
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    port: PortId,
    file: TransmitFile,
    place: Place,
    /// Frames of the list that are lost if it is refused.
    frames: u16,
}

/// Writes what a pass sends. One for each thread.
pub struct Egress {
    writer: FrameWriter,
    arena: Vec<u8>,
    used: usize,
    pending: Vec<Pending>,
    coalescer: Coalescer,
    /// Something that was joined waits to be written.
    has_joined: bool,
    /// Empty between two lists; keeps its memory.
    refusals: Vec<Refusal>,
    /// Empty between two writes; keeps its memory.
    writes: Vec<FileWrite<'static>>,
    failures: Vec<(usize, io::Error)>,
}

/// A frame and its port's way out.
#[derive(Clone, Copy)]
struct Leaving {
    port: PortId,
    file: TransmitFile,
    frame: FrameRef,
}

impl Egress {
    /// A writer, and, where io_uring was to be had but was not, why.
    ///
    /// # Errors
    /// [`OpenError::Conflict`] if io_uring is a must and is not to be had.
    pub fn open(choice: WriteChoice) -> Result<(Self, Option<String>), OpenError> {
        let (writer, why_not) = FrameWriter::open(choice)?;
        let egress = Self {
            writer,
            arena: vec![0; ARENA_BYTES],
            used: 0,
            pending: Vec::with_capacity(MAX_PENDING),
            coalescer: Coalescer::new(),
            has_joined: false,
            refusals: Vec::new(),
            writes: Vec::new(),
            failures: Vec::new(),
        };
        Ok((egress, why_not))
    }

    /// How it writes.
    pub fn method(&self) -> WriteMethod {
        self.writer.in_use().get()
    }

    /// The same for another thread to look at.
    pub(super) fn method_in_use(&self) -> MethodInUse {
        self.writer.in_use().clone()
    }

    /// Writes every list; `tx` and `burst` may be used again afterwards. Frames of a port without
    /// a device are lost as [`DropReason::TxDeviceGone`].
    pub fn send(
        &mut self,
        tx: &mut TxLists,
        burst: &mut Burst,
        devices: &mut Devices,
        faults: &mut Faults,
    ) {
        for at in 0..tx.ports().len() {
            let Some(port) = tx.ports().get(at).copied() else { break };
            match devices.output(port) {
                Some(output @ Output { file: Some(file), .. }) => {
                    if self.has_joined {
                        // Their memory is needed again.
                        self.write(tx, burst, devices, faults);
                    }
                    if self.join(port, file, output.offloads, (tx, burst)) {
                        continue;
                    }
                    for index in 0..tx.list(port).len() {
                        let Some(frame) = tx.list(port).get(index).copied() else { break };
                        let leaving = Leaving { port, file, frame };
                        if self.pending.len() >= MAX_PENDING {
                            self.write(tx, burst, devices, faults);
                        }
                        if output.offloads.take(tx.offload(frame, burst)) {
                            self.take(leaving, tx, burst);
                        } else {
                            self.finish(leaving, (tx, burst), devices, faults);
                        }
                    }
                }
                Some(Output { file: None, .. }) => {
                    self.hand_over(port, (tx, burst), devices, faults)
                }
                None => {
                    let lost = tx.list(port).iter().map(|_| (port, DropReason::TxDeviceGone));
                    faults.drops.extend(lost);
                }
            }
        }
        self.write(tx, burst, devices, faults);
    }

    /// Joins what can be joined of a port's list; false if it goes as it is. Of a list with frames
    /// that its device does not take, nothing is joined: it is small, or the port is plain.
    fn join(
        &mut self,
        port: PortId,
        file: TransmitFile,
        offloads: Offloads,
        (tx, burst): (&mut TxLists, &mut Burst),
    ) -> bool {
        let list = tx.list(port);
        let view = |index: usize| match list.get(index) {
            Some(frame) => tx.view(*frame, burst),
            None => FrameView::finished(&[]),
        };
        let room = MAX_PENDING - self.pending.len();
        if list.len() < 2
            || list.len() > room
            || !self.coalescer.coalesce(offloads, list.len(), view)
            || !list.iter().all(|frame| offloads.take(tx.offload(*frame, burst)))
        {
            return false;
        }
        let coalescer = std::mem::take(&mut self.coalescer);
        for outgoing in coalescer.outgoing() {
            match outgoing {
                Outgoing::Kept(index) => {
                    if let Some(frame) = tx.list(port).get(index).copied() {
                        self.take(Leaving { port, file, frame }, tx, burst);
                    }
                }
                Outgoing::Joined(joined) => self.pending.push(Pending {
                    port,
                    file,
                    place: Place::Joined(joined.number()),
                    frames: joined.segments(),
                }),
            }
        }
        self.coalescer = coalescer;
        self.has_joined = true;
        true
    }

    /// A frame that its device takes as it is.
    fn take(&mut self, leaving: Leaving, tx: &mut TxLists, burst: &mut Burst) {
        let Leaving { port, file, frame } = leaving;
        if file.has_header {
            // The same for every port that the frame leaves by.
            let header = tx.offload(frame, burst).to_header();
            if let Some(room) = tx.outgoing(frame, burst).first_chunk_mut() {
                *room = header;
            }
        }
        self.pending.push(Pending { port, file, place: Place::Pass(frame), frames: 1 });
    }

    /// A frame that its device does not take as it is: finished into the arena, in one piece or
    /// in segments.
    fn finish(
        &mut self,
        leaving: Leaving,
        (tx, burst): (&TxLists, &Burst),
        devices: &mut Devices,
        faults: &mut Faults,
    ) {
        let view = tx.view(leaving.frame, burst);
        let mut segments = Segments::new(view);
        if view.offload.is_super() && segments.is_none() {
            // Not admitted, so not of an engine.
            return faults.drops.push((leaving.port, DropReason::VnetHeader));
        }
        let largest = view.offload.largest_segment(view.bytes.len());
        loop {
            if self.room(largest).is_none() || self.pending.len() >= MAX_PENDING {
                self.write(tx, burst, devices, faults);
            }
            let start = self.start();
            let Some(room) = self.room(largest) else {
                return faults.drops.push((leaving.port, DropReason::TxError));
            };
            let len = match &mut segments {
                Some(segments) => segments.next(view.bytes, room),
                None => {
                    room.copy_from_slice(view.bytes);
                    view.offload.complete(room);
                    Some(largest)
                }
            };
            let Some(len) = len else { return };
            let Leaving { port, file, .. } = leaving;
            self.pending.push(Pending { port, file, place: Place::Arena(start, len), frames: 1 });
            self.used = start + len;
            if segments.is_none() {
                return;
            }
        }
    }

    /// Where the next frame of the arena starts.
    const fn start(&self) -> usize {
        (self.used + VNET_HEADER).next_multiple_of(ALIGNMENT)
    }

    /// Room for a frame in the arena, behind an empty header.
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.start();
        let room = self.arena.get_mut(start - VNET_HEADER..start + len)?;
        let (header, frame) = room.split_at_mut(VNET_HEADER);
        header.fill(0);
        Some(frame)
    }

    /// Frames for a device that is no file.
    fn hand_over(
        &mut self,
        port: PortId,
        (tx, burst): (&TxLists, &Burst),
        devices: &mut Devices,
        faults: &mut Faults,
    ) {
        devices.send_list(port, &mut tx.frames(port, burst), &mut self.refusals);
        for refusal in self.refusals.drain(..) {
            match refusal {
                Refusal::Lost { reason, tunnel: None } => faults.refuse(port, reason),
                of_tunnel => faults.refusals.push((port, of_tunnel)),
            }
        }
    }

    /// Writes what waits; none of it is under way when this returns.
    fn write(&mut self, tx: &TxLists, burst: &Burst, devices: &mut Devices, faults: &mut Faults) {
        let mut writes: Vec<FileWrite<'_>> = std::mem::take(&mut self.writes);
        for Pending { file, place, .. } in &self.pending {
            let bytes = match *place {
                Place::Pass(frame) => tx.with_room(frame, burst),
                Place::Arena(start, len) => {
                    self.arena.get(start - VNET_HEADER..start + len).unwrap_or_default()
                }
                Place::Joined(number) => {
                    self.coalescer.joined(number).map_or(&[][..], |joined| joined.with_header())
                }
            };
            let skipped = if file.has_header { 0 } else { VNET_HEADER };
            writes.push(FileWrite { fd: file.fd, bytes: bytes.get(skipped..).unwrap_or_default() });
        }
        self.writer.write_all(&writes, &mut self.failures);
        self.writes = emptied(writes);
        // A ring completes in any order where files differ; losses are told in order.
        self.failures.sort_by_key(|(index, _)| *index);
        for (index, error) in self.failures.drain(..) {
            if let Some(Pending { port, frames, .. }) = self.pending.get(index) {
                let reason = devices.refused(*port, error);
                for _ in 0..*frames {
                    faults.refuse(*port, reason);
                }
            }
        }
        self.pending.clear();
        self.used = 0;
        self.has_joined = false;
    }
}

/// The same memory for other lifetimes.
fn emptied(mut writes: Vec<FileWrite<'_>>) -> Vec<FileWrite<'static>> {
    writes.clear();
    let none = |_| FileWrite { fd: RawFd::default(), bytes: &[] };
    writes.into_iter().map(none).collect()
}
