//! Looks for inputs that break what `checks::grpc_web` says of all inputs.
#![no_main]

#[path = "../src/checks.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::grpc_web(input));
