use std::io::Read;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError as ParserError, PcapNGReader};
use proptest::prelude::*;

use super::*;

type Kept = (u32, u64, FrameDirection, u32, Vec<u8>, String);

fn keep(frame: &CapturedFrame<'_>) -> Kept {
    let comment = frame.comment.to_owned();
    (
        frame.interface,
        frame.timestamp_ns,
        frame.direction,
        frame.wire_len,
        frame.data.to_vec(),
        comment,
    )
}

/// Every frame up to the end or the first error.
fn read_all(file: &[u8]) -> (Vec<Kept>, Vec<Interface>, Option<PcapError>) {
    let mut kept = Vec::new();
    let mut reader = match Reader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (kept, Vec::new(), Some(error)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => kept.push(keep(&frame)),
            Ok(None) => return (kept, reader.interfaces().to_vec(), None),
            Err(error) => return (kept, reader.interfaces().to_vec(), Some(error)),
        }
    }
}

const TIME: u64 = 1_700_000_000_123_456_789;

fn sample() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), 64).unwrap();
    let first = writer.add_interface("nginx1").unwrap();
    let frame: Vec<u8> = (0..100).collect();
    let received = CapturedFrame::new(first, TIME, FrameDirection::Received, &frame[..61]);
    writer.write(&received.dropped(DropReason::GuardMac)).unwrap();
    let second = writer.add_interface("uplink").unwrap();
    writer.write(&CapturedFrame::new(second, TIME + 1, FrameDirection::Sent, &frame)).unwrap();
    writer.write(&CapturedFrame::new(first, 0, FrameDirection::Unknown, &[])).unwrap();
    writer.into_inner()
}

#[test]
fn another_reader_sees_names_times_directions_and_comments() {
    let file = sample();
    let mut reader = PcapNGReader::new(65_536, &file[..]).unwrap();
    let mut seen = Vec::new();
    loop {
        match reader.next() {
            Ok((used, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::SectionHeader(header) => assert_eq!(header.major_version, 1),
                    Block::InterfaceDescription(interface) => {
                        assert_eq!(interface.linktype.0, 1);
                        assert_eq!(interface.snaplen, 64);
                        assert_eq!(interface.if_tsresol, 9);
                        let name = interface.options.iter().find(|option| option.code.0 == 2);
                        seen.push(name.unwrap().as_str().unwrap().to_owned());
                    }
                    Block::EnhancedPacket(packet) => {
                        let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                        let options: Vec<_> = packet
                            .options
                            .iter()
                            .map(|option| (option.code.0, option.as_bytes().unwrap().to_vec()))
                            .collect();
                        seen.push(format!(
                            "{} {time} {}/{} {options:?}",
                            packet.if_id, packet.caplen, packet.origlen
                        ));
                    }
                    other => panic!("{other:?}"),
                }
                reader.consume(used);
            }
            Ok((_, _)) => panic!("a classic file"),
            Err(ParserError::Eof) => break,
            Err(ParserError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
    let comment = b"guard_mac".to_vec();
    let expected = [
        "nginx1".to_owned(),
        format!("0 {TIME} 61/61 [(2, [1, 0, 0, 0]), (1, {comment:?}), (0, [])]"),
        "uplink".to_owned(),
        format!("1 {} 64/100 [(2, [2, 0, 0, 0]), (0, [])]", TIME + 1),
        "0 0 0/0 []".to_owned(),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_was_written_is_read_back() {
    let (frames, interfaces, error) = read_all(&sample());
    assert!(error.is_none(), "{error:?}");
    let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["nginx1", "uplink"]);
    assert_eq!((interfaces[0].link_type, interfaces[0].snap_len), (LINKTYPE_ETHERNET, 64));
    let data: Vec<u8> = (0..100).collect();
    assert_eq!(
        frames,
        [
            (0, TIME, FrameDirection::Received, 61, data[..61].to_vec(), "guard_mac".to_owned()),
            (1, TIME + 1, FrameDirection::Sent, 100, data[..64].to_vec(), String::new()),
            (0, 0, FrameDirection::Unknown, 0, Vec::new(), String::new()),
        ]
    );
    let file = sample();
    let mut reader = Reader::new(&file[..]).unwrap();
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(frame.drop_reason(), Some(DropReason::GuardMac));
}

#[test]
fn an_interface_that_was_not_added_is_refused() {
    let mut writer = Writer::new(Vec::new(), 0).unwrap();
    let frame = CapturedFrame::new(0, 0, FrameDirection::Sent, &[0; 60]);
    let error = writer.write(&frame).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn long_names_and_comments_are_cut_at_a_character() {
    let long = "ü".repeat(MAX_TEXT);
    let mut writer = Writer::new(Vec::new(), 0).unwrap();
    writer.add_interface(&format!("x{long}")).unwrap();
    let frame = CapturedFrame::new(0, 0, FrameDirection::Sent, &[0; 60]);
    writer.write(&CapturedFrame { comment: &long, ..frame }).unwrap();
    let (frames, interfaces, error) = read_all(&writer.into_inner());
    assert!(error.is_none());
    assert_eq!(interfaces[0].name.len(), MAX_TEXT - 1);
    assert_eq!(frames[0].5.len(), MAX_TEXT);
}

/// Numbers of a hand-made file in either byte order.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn b16(self, value: u16) -> Vec<u8> {
        if self.0 { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    fn b32(self, value: u32) -> Vec<u8> {
        if self.0 { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    fn words(self, values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| self.b32(*value)).collect()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = body.len() as u32 + 12;
        [self.words(&[kind, length]), body, self.b32(length)].concat()
    }

    fn section(self) -> Vec<u8> {
        let version = [self.b16(1), self.b16(0)].concat();
        let body = [self.b32(BYTE_ORDER_MAGIC), version, vec![0xff; 8]].concat();
        self.block(SECTION_HEADER, &body)
    }

    fn interface(self, snap_len: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = [self.b16(1), self.b16(0), self.b32(snap_len)].concat();
        for (code, value) in options {
            body.extend(self.b16(*code));
            body.extend(self.b16(value.len() as u16));
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(INTERFACE_DESCRIPTION, &body)
    }

    fn classic(self, magic: u32) -> Vec<u8> {
        let head = [self.b32(magic), self.b16(2), self.b16(4)].concat();
        [head, self.words(&[0, 0, 65_535, 1, 7, 5, 3, 60]), vec![1, 2, 3]].concat()
    }
}

#[test]
fn classic_files_of_every_kind_are_read() {
    for order in [Order(false), Order(true)] {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let (frames, interfaces, error) = read_all(&order.classic(magic));
            assert!(error.is_none(), "{error:?}");
            let time = 7_000_000_000 + 5 * unit;
            let expected = (0, time, FrameDirection::Unknown, 60, vec![1, 2, 3], String::new());
            assert_eq!(frames, [expected]);
            assert_eq!((interfaces[0].link_type, interfaces[0].snap_len), (1, 65_535));
        }
    }
}

#[test]
fn simple_enhanced_and_obsolete_packets_of_both_orders_are_read() {
    for order in [Order(false), Order(true)] {
        let offset = if order.0 { 10i64.to_be_bytes() } else { 10i64.to_le_bytes() };
        let packet = |head: Vec<u8>| [head, order.words(&[0, 3_000, 5, 90]), vec![9; 5]].concat();
        let file = [
            order.section(),
            order.block(0x0bad_0bad, &[1; 4096]),
            order.interface(6, &[]),
            order.interface(0, &[(OPTION_IF_TSRESOL, &[0x8a]), (OPTION_IF_TSOFFSET, &offset)]),
            order.block(SIMPLE_PACKET, &[order.b32(80), vec![4; 6]].concat()),
            order.block(ENHANCED_PACKET, &packet(order.b32(1))),
            order.block(OBSOLETE_PACKET, &packet([order.b16(0), order.b16(77)].concat())),
        ]
        .concat();
        let (frames, _, error) = read_all(&file);
        assert!(error.is_none(), "{error:?}");
        let none = FrameDirection::Unknown;
        let binary = 10_000_000_000 + 3_000 * 1_000_000_000 / 1024;
        assert_eq!(frames[0], (0, 0, none, 80, vec![4; 6], String::new()));
        assert_eq!(frames[1], (1, binary, none, 90, vec![9; 5], String::new()));
        assert_eq!(frames[2], (0, 3_000_000, none, 90, vec![9; 5], String::new()));
    }
}

#[test]
fn a_second_section_may_change_the_byte_order_and_describes_its_own_interfaces() {
    let (first, second) = (Order(false), Order(true));
    let simple = |order: Order| order.block(SIMPLE_PACKET, &order.words(&[4, 0]));
    let begin = |order: Order| [order.section(), order.interface(0, &[])].concat();
    let file = [begin(first), simple(first), begin(second), simple(second)].concat();
    let (frames, interfaces, error) = read_all(&file);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((frames.len(), interfaces.len()), (2, 1));
    let orphan = [begin(first), second.section(), simple(second)].concat();
    let at = (orphan.len() - simple(second).len()) as u64;
    let (_, _, error) = read_all(&orphan);
    assert!(
        matches!(error, Some(PcapError::UnknownInterface { offset, interface: 0 }) if offset == at)
    );
}

#[test]
fn each_fault_is_named_with_its_offset() {
    let order = Order(false);
    let start = [order.section(), order.interface(0, &[])].concat();
    let at = start.len() as u64;
    let after = |tail: Vec<u8>| read_all(&[start.clone(), tail].concat()).2.unwrap().to_string();
    let huge = order.words(&[ENHANCED_PACKET, 0x7fff_fffc]);
    assert!(after(huge).contains(&format!("offset {at} has 2147483644 bytes")));
    let short = order.words(&[ENHANCED_PACKET, 16, 0, 16]);
    assert!(after(short).contains(&format!("offset {at} has a wrong length: 16")));
    let long_frame = order.block(ENHANCED_PACKET, &order.words(&[0, 0, 0, 40, 40, 0]));
    assert!(after(long_frame).contains(&format!("offset {at} has a wrong length: 40")));
    let mut trailer = order.block(SIMPLE_PACKET, &order.words(&[4, 0]));
    *trailer.last_mut().unwrap() = 1;
    assert!(after(trailer).contains(&format!("offset {at} has a wrong length")));
    let foreign = order.block(ENHANCED_PACKET, &order.words(&[9, 0, 0, 0, 0]));
    assert!(after(foreign).contains(&format!("offset {at} is of interface 9")));
    assert!(
        after(order.words(&[77, 400])).contains(&format!("ends within the record at offset {at}"))
    );
    let many: Vec<u8> = (0..MAX_INTERFACES).flat_map(|_| order.interface(0, &[])).collect();
    assert!(after(many).contains("more than 4096 interfaces"));
    assert!(matches!(read_all(b"GIF89a..").2, Some(PcapError::NotACapture { .. })));
    assert!(matches!(read_all(b"\x0a").2, Some(PcapError::Truncated { offset: 0 })));
    let mut version = order.section();
    version[12] = 2;
    assert!(matches!(read_all(&version).2, Some(PcapError::Version { major: 2, .. })));
    let mut magic = order.section();
    magic[8] = 0;
    assert!(matches!(read_all(&magic).2, Some(PcapError::ByteOrder { offset: 0 })));
    let mut classic = order.classic(0xa1b2_c3d4);
    classic[34] = 0x7f;
    assert!(matches!(read_all(&classic).2, Some(PcapError::TooLarge { offset: 24, .. })));
}

#[test]
fn every_cut_of_a_file_gives_the_frames_before_it() {
    let file = sample();
    let (whole, ..) = read_all(&file);
    for end in 0..file.len() {
        let (frames, _, error) = read_all(&file[..end]);
        assert_eq!(frames, whole[..frames.len()]);
        if let Some(error) = error {
            assert!(matches!(error, PcapError::Truncated { .. }), "{end}: {error:?}");
        }
    }
}

#[test]
fn a_claimed_length_takes_no_memory_before_the_bytes_come() {
    let order = Order(false);
    let start = [order.section(), order.interface(0, &[])].concat();
    let file = [start, order.words(&[ENHANCED_PACKET, MAX_BLOCK])].concat();
    let mut reader = Reader::new(&file[..]).unwrap();
    assert!(reader.next_frame().is_err());
    assert!(reader.memory() < 4096);
}

/// Gives one byte at a time, as a pipe may.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let len = room.len().min(1);
        self.0.read(&mut room[..len])
    }
}

proptest! {
    #[test]
    fn frames_of_any_kind_make_the_round_trip(
        frames in proptest::collection::vec(
            (0u32..3, any::<u64>(), 0u8..3, proptest::collection::vec(any::<u8>(), 0..200), ".{0,40}"),
            0..20,
        ),
    ) {
        let mut writer = Writer::new(Vec::new(), 128).unwrap();
        for name in ["a", "", "b c"] {
            writer.add_interface(name).unwrap();
        }
        let mut expected = Vec::new();
        for (interface, time, direction, data, comment) in &frames {
            let direction = match direction {
                0 => FrameDirection::Unknown,
                1 => FrameDirection::Received,
                _ => FrameDirection::Sent,
            };
            let frame = CapturedFrame::new(*interface, *time, direction, data);
            let frame = CapturedFrame { comment, ..frame };
            writer.write(&frame).unwrap();
            expected.push(keep(&CapturedFrame { data: &data[..data.len().min(128)], ..frame }));
        }
        let file = writer.into_inner();
        let mut reader = Reader::new(Trickle(&file)).unwrap();
        let mut read = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            read.push(keep(&frame));
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_damaged_file_ends_in_an_error_or_not_but_never_in_a_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = sample();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        read_all(&file);
    }
}
