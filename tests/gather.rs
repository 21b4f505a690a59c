//! Gathering bursts from devices in turns: whatever one of them sends, the others have theirs, and
//! no pass is held up by it.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use tapway::drop_reason::DropReason;
use tapway::id::PortId;
use tapway::io::{Devices, Faults, PortIo, ReceiveError};
use tapway::packet::{BURST_SEGMENTS, Burst, Gso, MAX_SEGMENTS, Offload, Received, VNET_HEADER};

const A: PortId = PortId(0);
const B: PortId = PortId(1);

/// A device that has these frames, each numbered.
struct Source {
    max_frame: usize,
    frames: VecDeque<(Vec<u8>, Offload)>,
}

impl Source {
    fn of(count: u32, len: usize, offload: Offload) -> Box<Self> {
        let frame = |number: u32| {
            let mut frame = number.to_be_bytes().to_vec();
            frame.resize(len, 0);
            (frame, offload)
        };
        Box::new(Self { max_frame: len, frames: (0..count).map(frame).collect() })
    }
}

impl PortIo for Source {
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }

    fn receive(&mut self, room: &mut [u8]) -> Result<Received, ReceiveError> {
        let (frame, offload) = self.frames.pop_front().ok_or(ReceiveError::Empty)?;
        room[VNET_HEADER..VNET_HEADER + frame.len()].copy_from_slice(&frame);
        Ok(Received { len: frame.len(), offload })
    }

    fn send(&mut self, _: &[u8]) -> Result<(), DropReason> {
        Ok(())
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        Ok(Source::of(0, self.max_frame, Offload::NONE))
    }
}

/// The numbers of the frames in each burst, by port, until there are none; and the most segments
/// in one.
fn bursts(a: Box<Source>, b: Box<Source>) -> (Vec<[Vec<u32>; 2]>, u64) {
    let mut devices = Devices::new().unwrap();
    devices.attach(A, a).unwrap();
    devices.attach(B, b).unwrap();
    let (mut burst, mut faults) = (Burst::new(), Faults::default());
    let (mut all, mut most) = (Vec::new(), 0);
    while devices.has_ready() {
        burst.clear();
        devices.gather(&mut burst, &mut faults);
        let mut numbers = [Vec::new(), Vec::new()];
        for index in 0..burst.len() {
            let number = u32::from_be_bytes(*burst.frame(index).first_chunk().unwrap());
            numbers[burst.port(index).unwrap().index()].push(number);
        }
        most = most.max((0..burst.len()).map(|index| burst.segments(index)).sum());
        all.push(numbers);
    }
    assert!(faults.is_empty(), "{faults:?}");
    (all, most)
}

fn all_of(bursts: &[[Vec<u32>; 2]], port: PortId) -> Vec<u32> {
    bursts.iter().flat_map(|numbers| numbers[port.index()].clone()).collect()
}

#[test]
fn tiny_segments_are_spread_over_passes_and_none_is_lost() {
    let tiny = Offload::NONE.segmented(Gso::Tcp4, 1);
    let a = Source::of(60, MAX_SEGMENTS, tiny);
    let (bursts, most) = bursts(a, Source::of(60, 1514, Offload::NONE));
    assert!(most < BURST_SEGMENTS + MAX_SEGMENTS as u64, "{most}");
    assert_eq!(bursts[0], [vec![0, 1], (0..16).collect()], "the other has its turn at once");
    assert_eq!(all_of(&bursts, A), (0..60).collect::<Vec<_>>());
    assert_eq!(all_of(&bursts, B), (0..60).collect::<Vec<_>>());
}

#[test]
fn large_frames_of_one_device_leave_the_other_its_turns() {
    let a = Source::of(40, 65_000, Offload::NONE);
    let (bursts, _) = bursts(a, Source::of(64, 1514, Offload::NONE));
    let first = bursts.iter().position(|numbers| !numbers[B.index()].is_empty());
    assert!(first.unwrap() <= 1, "{bursts:?}");
    let needed = bursts.iter().rposition(|numbers| !numbers[B.index()].is_empty()).unwrap();
    assert!(needed <= 8, "{bursts:?}");
    assert_eq!(all_of(&bursts, A), (0..40).collect::<Vec<_>>());
    assert_eq!(all_of(&bursts, B), (0..64).collect::<Vec<_>>());
}
