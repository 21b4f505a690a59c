//! Virtio-net headers, super-frames, cutting and joining.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tapway::testkit::fuzz::offload(data));
