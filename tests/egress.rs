//! Writing the egress lists of a pass to files, wires and captures, without an engine.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::{self, PipeReader, Read};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use tapway::drop_reason::DropReason;
use tapway::id::PortId;
use tapway::io::{
    Devices, Egress, Faults, PortIo, ReceiveError, RecordPort, TransmitFile, WireEnd, WriteChoice,
    WriteMethod, wire,
};
use tapway::nat::Endpoint;
use tapway::packet::pcap::Reader;
use tapway::packet::{
    Burst, FrameView, Gso, Headers, MacAddr, Offload, Offloads, Received, TxLists, VNET_HEADER,
};
use tapway::testkit::build::{self, Hop};

const METHODS: [WriteChoice; 2] = [WriteChoice::IoUring, WriteChoice::Write];
const A: PortId = PortId(0);
const B: PortId = PortId(1);

/// A device that is a file, and nothing else.
struct FilePort {
    file: OwnedFd,
    has_header: bool,
    offloads: Offloads,
}

impl PortIo for FilePort {
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }

    fn max_frame(&self) -> usize {
        1514
    }

    fn receive(&mut self, _: &mut [u8]) -> Result<Received, ReceiveError> {
        Err(ReceiveError::Empty)
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn transmit_file(&self) -> Option<TransmitFile> {
        Some(TransmitFile { fd: self.file.as_raw_fd(), has_header: self.has_header })
    }

    fn refused(&mut self, error: io::Error) -> DropReason {
        match error.kind() {
            io::ErrorKind::WouldBlock => DropReason::TxQueueFull,
            io::ErrorKind::BrokenPipe => DropReason::TxDeviceGone,
            io::ErrorKind::WriteZero | io::ErrorKind::StorageFull => DropReason::TxError,
            _ => panic!("{error}"),
        }
    }

    fn send(&mut self, _: &[u8]) -> Result<(), DropReason> {
        panic!("frames are written to the file");
    }

    fn sender(&self) -> io::Result<Box<dyn PortIo>> {
        let Self { has_header, offloads, .. } = *self;
        Ok(Box::new(Self { file: self.file.try_clone()?, has_header, offloads }))
    }
}

/// A device on one end of a socket pair; the test has the other.
fn socket(has_header: bool, offloads: Offloads) -> (FilePort, UnixDatagram) {
    let (near, far) = UnixDatagram::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (FilePort { file: near.into(), has_header, offloads }, far)
}

fn received(far: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut room = vec![0; 70_000];
    std::iter::from_fn(|| far.recv(&mut room).ok().map(|len| room[..len].to_vec())).collect()
}

struct Bench {
    egress: Egress,
    devices: Devices,
    tx: TxLists,
    burst: Burst,
}

impl Bench {
    fn new(method: WriteChoice) -> Self {
        let (egress, why_not) = Egress::open(method).unwrap();
        assert_eq!(why_not, None);
        let devices = Devices::new().unwrap();
        Self { egress, devices, tx: TxLists::new(), burst: Burst::new() }
    }

    fn attach(&mut self, port: PortId, device: impl PortIo + 'static) {
        self.devices.attach(port, Box::new(device)).unwrap();
    }

    /// A frame of the pass for these ports.
    fn push(&mut self, ports: &[PortId], frame: FrameView<'_>) {
        let made = self.tx.generate_with(&[frame.bytes], frame.offload).unwrap();
        ports.iter().for_each(|port| self.tx.push(*port, made));
    }

    fn send(&mut self) -> Faults {
        let mut faults = Faults::default();
        self.egress.send(&mut self.tx, &mut self.burst, &mut self.devices, &mut faults);
        self.tx.clear();
        faults
    }
}

fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    frame.resize(len, 0);
    frame
}

/// A super-frame of TCP, and the segments that it stands for.
fn super_frame(payload: usize) -> (Vec<u8>, Offload, Vec<Vec<u8>>) {
    let hop = Hop::new(MacAddr([2; 6]), MacAddr([4; 6]));
    let at = |last, port| Endpoint::new(Ipv4Addr::new(10, 0, 0, last), port);
    let payload: Vec<u8> = (0..payload).map(|at| (at / 3) as u8).collect();
    let mut frame = build::tcp(hop, at(1, 1000), at(2, 2000), 0x18, &payload);
    let headers = Headers::parse(&frame).unwrap();
    let offload = Offload::partial(34, 16).segmented(Gso::Tcp4, 1448);
    let offload = offload.admit(&headers, &mut frame).unwrap();
    let mut segments = Vec::new();
    let view = FrameView { bytes: &frame, offload };
    view.for_each_segment(&mut Vec::new(), |segment| segments.push(segment.to_vec()));
    (frame, offload, segments)
}

#[test]
fn order_per_port_is_kept_over_many_rounds_and_ports() {
    for method in METHODS {
        let mut bench = Bench::new(method);
        let (near_a, far_a) = socket(false, Offloads::NONE);
        let (near_b, far_b) = socket(true, Offloads::NONE);
        bench.attach(A, near_a);
        bench.attach(B, near_b);
        let (mut got_a, mut got_b) = (Vec::new(), Vec::new());
        // A socket pair holds few datagrams: small passes, and the bound is met by their number.
        for pass in 0..100 {
            for number in 0..5 {
                let frame = numbered(pass * 5 + number, 60);
                bench.push(&[A, B], FrameView::finished(&frame));
            }
            let faults = bench.send();
            assert!(faults.is_empty(), "{faults:?}");
            got_a.extend(received(&far_a));
            got_b.extend(received(&far_b));
        }
        let all: Vec<Vec<u8>> = (0..500).map(|number| numbered(number, 60)).collect();
        assert!(got_a == all);
        let headed: Vec<Vec<u8>> =
            all.iter().map(|frame| [&[0; VNET_HEADER][..], frame].concat()).collect();
        assert!(got_b == headed);
    }
}

#[test]
fn full_file_loses_the_last_frames_by_name_and_nothing_overtakes() {
    for method in METHODS {
        let mut bench = Bench::new(method);
        let (near, far) = socket(false, Offloads::NONE);
        bench.attach(A, near);
        for number in 0..1000 {
            bench.push(&[A], FrameView::finished(&numbered(number, 60)));
        }
        let faults = bench.send();
        let got = received(&far);
        assert!((1..1000).contains(&got.len()), "{}", got.len());
        assert!(got.iter().zip(0..).all(|(frame, number)| *frame == numbered(number, 60)));
        assert_eq!(faults.drops, vec![(A, DropReason::TxQueueFull); 1000 - got.len()]);
        assert!(faults.gone.is_empty());
    }
}

#[test]
fn frame_that_went_in_part_is_lost_by_name() {
    for method in METHODS {
        let mut bench = Bench::new(method);
        let (reader, file) = pipe();
        bench.attach(A, FilePort { file, has_header: false, offloads: Offloads::NONE });
        for number in 0..3 {
            bench.push(&[A], FrameView::finished(&numbered(number, 60_000)));
        }
        // The pipe holds 64 KiB.
        let expected = [(A, DropReason::TxError), (A, DropReason::TxQueueFull)];
        assert_eq!(bench.send().drops, expected);
        drop(reader);
        for _ in 0..2 {
            bench.push(&[A], FrameView::finished(&[0; 60]));
        }
        let faults = bench.send();
        assert_eq!(faults.drops, [(A, DropReason::TxDeviceGone); 2]);
        assert_eq!(faults.gone.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [A], "once");
    }
}

fn pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = io::pipe().unwrap();
    let file = OwnedFd::from(writer);
    rustix::io::ioctl_fionbio(&file, true).unwrap();
    (reader, file)
}

#[test]
fn file_that_io_uring_cannot_write_without_waiting_is_written_by_single_writes() {
    let mut bench = Bench::new(WriteChoice::IoUring);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (near, far) = socket(false, Offloads::NONE);
    let offloads = Offloads::NONE;
    bench.attach(A, FilePort { file: full.into(), has_header: false, offloads });
    bench.attach(B, near);
    for number in 0..3 {
        bench.push(&[A, B], FrameView::finished(&numbered(number, 60)));
    }
    assert_eq!(bench.egress.method(), WriteMethod::IoUring);
    assert_eq!(bench.send().drops, [(A, DropReason::TxError); 3], "each once");
    assert_eq!(bench.egress.method(), WriteMethod::Write);
    let expected: Vec<Vec<u8>> = (0..3).map(|number| numbered(number, 60)).collect();
    assert!(received(&far) == expected, "none twice");
}

#[test]
fn frames_without_a_device_are_lost_by_name() {
    let mut bench = Bench::new(WriteChoice::Write);
    bench.push(&[B], FrameView::finished(&[0; 60]));
    let faults = bench.send();
    assert_eq!(faults.drops, [(B, DropReason::TxDeviceGone)]);
    assert!(faults.gone.is_empty(), "there is none that could go");
}

#[test]
fn super_frame_goes_whole_to_who_takes_it_and_in_segments_to_others() {
    for method in METHODS {
        let mut bench = Bench::new(method);
        let (frame, offload, segments) = super_frame(5000);
        assert_eq!(segments.len(), 4);
        let partial = Offloads { checksum: true, ..Offloads::NONE };
        let ends: Vec<UnixDatagram> =
            [(true, Offloads::ALL), (true, partial), (false, Offloads::NONE)]
                .into_iter()
                .zip(0..)
                .map(|((has_header, offloads), id)| {
                    let (near, far) = socket(has_header, offloads);
                    bench.attach(PortId(id), near);
                    far
                })
                .collect();
        // Flooded: what is done for one port must not reach another.
        bench.push(&[A, B, PortId(2)], FrameView { bytes: &frame, offload });
        let faults = bench.send();
        assert!(faults.is_empty(), "{faults:?}");
        assert!(received(&ends[0]) == [[&offload.to_header()[..], &frame].concat()]);
        let headed: Vec<Vec<u8>> =
            segments.iter().map(|segment| [&[0; VNET_HEADER][..], segment].concat()).collect();
        assert!(received(&ends[1]) == headed);
        assert!(received(&ends[2]) == segments);
    }
}

#[test]
fn partial_checksum_is_completed_for_one_port_and_left_for_another() {
    for method in METHODS {
        let mut bench = Bench::new(method);
        let (mut frame, _, _) = super_frame(100);
        let offload = Offload::partial(34, 16);
        let whole = FrameView { bytes: &frame, offload }.to_complete();
        let (plain, far_plain) = socket(false, Offloads::NONE);
        let (able, far_able) = socket(true, Offloads::ALL);
        bench.attach(A, plain);
        bench.attach(B, able);
        bench.push(&[A, B], FrameView { bytes: &frame, offload });
        assert!(bench.send().is_empty());
        assert!(received(&far_plain) == [whole]);
        frame.splice(..0, offload.to_header());
        assert!(received(&far_able) == [frame]);
    }
}

#[test]
fn more_segments_than_arena_ring_and_list_hold_all_arrive_in_order() {
    for method in METHODS {
        let mut bench = Bench::new(method);
        let (frame, offload, segments) = super_frame(60_000);
        let expected = segments.concat();
        // 1 260 writes of 1.9 MB.
        let ports: Vec<PortId> = (0..30).map(PortId).collect();
        let ends: Vec<UnixStream> = ports
            .iter()
            .map(|port| {
                let (near, far) = UnixStream::pair().unwrap();
                near.set_nonblocking(true).unwrap();
                let file = near.into();
                let offloads = Offloads::NONE;
                bench.attach(*port, FilePort { file, has_header: false, offloads });
                far
            })
            .collect();
        bench.push(&ports, FrameView { bytes: &frame, offload });
        let faults = bench.send();
        assert!(faults.is_empty(), "{faults:?}");
        drop(bench);
        for mut end in ends {
            let mut got = Vec::new();
            end.read_to_end(&mut got).unwrap();
            assert!(got == expected);
        }
    }
}

#[test]
fn wires_and_captures_get_finished_frames() {
    let mut bench = Bench::new(WriteChoice::Auto);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcapng");
    let (near, mut far) = wire().unwrap();
    bench.attach(A, near);
    bench.attach(B, RecordPort::create(&path, "out").unwrap());
    let (frame, offload, mut expected) = super_frame(5000);
    bench.push(&[A, B], FrameView { bytes: &frame, offload });
    let (lone, _, _) = super_frame(100);
    let lone = FrameView { bytes: &lone, offload: Offload::partial(34, 16) };
    bench.push(&[A, B], lone);
    expected.push(lone.to_complete());
    assert!(bench.send().is_empty());
    bench.devices.poll_losses(B);
    let mut reader = Reader::new(std::fs::File::open(&path).unwrap()).unwrap();
    for frame in &expected {
        assert!(on_wire(&mut far) == *frame);
        assert!(reader.next_frame().unwrap().unwrap().data == frame);
    }
    assert!(reader.next_frame().unwrap().is_none());
}

fn on_wire(far: &mut WireEnd) -> Vec<u8> {
    let mut room = vec![0; VNET_HEADER + far.max_frame()];
    far.receive(&mut room).unwrap().frame_in(&room).bytes.to_vec()
}
