//! DHCP: reading requests, writing answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapway::testkit::fuzz::dhcp(data));
