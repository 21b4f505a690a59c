//! The capture reader on any bytes; what it reads must survive being written and read again.

use crate::packet::pcap::{CapturedFrame, MAX_FRAME, MAX_INTERFACES, MAX_TEXT, Reader, Writer};

/// Reads a file up to its end or first error.
///
/// # Panics
/// If a bound is exceeded, the offset goes wrong, or a frame does not make the round trip.
pub fn pcap(file: &[u8]) {
    let Ok(mut reader) = Reader::new(file) else { return };
    let mut writer = memory_writer();
    while let Ok(Some(frame)) = reader.next_frame() {
        check(&frame);
        let copy = CapturedFrame { interface: 0, ..frame };
        assert!(writer.write(&copy).is_ok(), "writing to memory failed");
        let again = writer.into_inner();
        read_back(&again, &copy);
        writer = memory_writer();
    }
    assert!(reader.offset() <= file.len() as u64);
    assert!(reader.interfaces().len() <= MAX_INTERFACES);
    assert!(reader.interfaces().iter().all(|interface| interface.name.len() <= MAX_TEXT));
}

fn memory_writer() -> Writer<Vec<u8>> {
    let writer = Writer::new(Vec::new(), 0);
    let Ok(mut writer) = writer else { panic!("writing to memory failed") };
    assert!(matches!(writer.add_interface("port"), Ok(0)));
    writer
}

fn check(frame: &CapturedFrame<'_>) {
    assert!(frame.data.len() <= MAX_FRAME as usize);
    assert!(frame.wire_len as usize >= frame.data.len());
    assert!(frame.comment.len() <= MAX_TEXT);
}

fn read_back(file: &[u8], expected: &CapturedFrame<'_>) {
    let Ok(mut reader) = Reader::new(file) else { panic!("own header is refused") };
    assert!(matches!(reader.next_frame(), Ok(Some(frame)) if frame == *expected));
    assert!(matches!(reader.next_frame(), Ok(None)));
}
