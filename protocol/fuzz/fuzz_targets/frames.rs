//! Streams from any bytes: lengths add up, however a stream is cut.
#![no_main]

#[path = "../../tests/property/frames.rs"]
#[allow(dead_code, reason = "the module is shared with the tests, which use all of it")]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::any_bytes(input));
