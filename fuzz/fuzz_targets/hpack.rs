//! Looks for inputs that break what `hpack::hpack` says of all inputs.
#![no_main]

#[path = "../src/hpack.rs"]
mod hpack;

libfuzzer_sys::fuzz_target!(|input: &[u8]| hpack::hpack(input));
