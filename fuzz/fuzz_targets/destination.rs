//! Looks for inputs that break what `destinations::destination` says of all inputs.
#![no_main]

#[path = "../src/destinations.rs"]
mod destinations;

libfuzzer_sys::fuzz_target!(|input: &[u8]| destinations::destination(input));
