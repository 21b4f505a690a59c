//! The hot parser against etherparse.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapway::testkit::fuzz::parse(data));
