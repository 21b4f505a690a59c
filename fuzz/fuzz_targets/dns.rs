//! Names: any message as a query and as an upstream's answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapway::testkit::fuzz::dns(data));
