//! The capture reader, and the round trip of what it reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapway::testkit::fuzz::pcap(data));
