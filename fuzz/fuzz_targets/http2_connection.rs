//! Looks for inputs that break what `http2::http2_connection` says of all inputs.
#![no_main]

#[path = "../src/http2.rs"]
mod http2;

libfuzzer_sys::fuzz_target!(|input: &[u8]| http2::http2_connection(input));
