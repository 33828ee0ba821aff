//! Packets of every dialect from any bytes: nothing panics, and what is read keeps its form.
#![no_main]

#[path = "../../tests/property/decode.rs"]
#[allow(dead_code, reason = "the module is shared with the tests, which use all of it")]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::any_bytes(input));
