//! Looks for inputs that break what `flows::flows` says of all inputs.
#![no_main]

#[path = "../src/flows.rs"]
mod flows;

libfuzzer_sys::fuzz_target!(|input: &[u8]| flows::flows(input));
