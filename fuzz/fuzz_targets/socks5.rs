//! Looks for inputs that break what `layer4::socks5` says of all inputs.
#![no_main]

#[path = "../src/layer4.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod layer4;

libfuzzer_sys::fuzz_target!(|input: &[u8]| layer4::socks5(input));
