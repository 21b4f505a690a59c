//! The whole engine, driven by a program of frames, time steps and commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tapway::testkit::fuzz::engine(data);
});
